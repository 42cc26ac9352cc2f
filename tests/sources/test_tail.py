"""A file that is followed, with real files and a clock that the test advances."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_evproc.errors import ConfigurationError, LineTooLong, PumpStopped, QueueOverflow
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import EventHandler, EventPump, QueuedEvent, RaiseEventHandler
from twisted_evproc.sources._tail import CHUNK, LATE_POLLS, FileTailSource
from twisted_evproc.testing import EventSourceContract, FakeSink, assert_pending


class Scene:
    """A file, its source, and where its events go."""

    def __init__(self, folder: Path, clock: Clock | None = None, sink: FakeSink | None = None, **options: Any) -> None:
        self.path = folder / "app.log"
        self.clock = clock or Clock()
        self.sink = sink or FakeSink()
        self.source = FileTailSource(self.path, clock=self.clock, **options)

    def start(self) -> Scene:
        self.source.start(self.sink)
        return self

    def write(self, text: str | bytes, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    def poll(self, times: int = 1) -> list[Any]:
        """What comes by so many polls."""
        before = len(self.sink.events)
        self.clock.pump([1.0] * times)
        return self.sink.data[before:]

    def stop(self) -> None:
        stopped = self.source.stop()
        assert stopped.called
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def scene(tmp_path: Path, clock: Clock) -> Iterator[Scene]:
    scene = Scene(tmp_path, clock)
    yield scene
    scene.sink.resume()
    scene.stop()
    assert open_files(tmp_path) == []


def open_files(folder: Path) -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if name.startswith(str(folder)):
            found.append(name)
    return found


class TestContract(EventSourceContract):
    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.scene = Scene(tmp_path)
        self.scene.path.touch()
        self.number = 0

    def make_source(self) -> Any:
        return self.scene.source

    def happen(self, source: Any) -> None:
        self.number += 1
        self.scene.write(f"{self.number}\n")
        self.scene.clock.advance(1)


class TestLines:
    def test_it_provides_the_interface_and_says_what_it_is(self, scene: Scene) -> None:
        assert verifyObject(IEventSource, scene.source)
        assert str(scene.source) == f"lines of {scene.path}"

    def test_lines_there_at_the_start_are_left_out(self, scene: Scene) -> None:
        scene.write("old\n")
        scene.start()
        scene.write("new\n")

        assert scene.poll() == ["new"]

    def test_from_start_takes_them(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, from_start=True)
        scene.write("old\r\n\nolder\n")
        scene.start()

        assert scene.sink.data == ["old", "", "older"]
        scene.stop()

    def test_a_line_waits_for_its_end(self, scene: Scene) -> None:
        scene.write("")
        scene.start()
        scene.write("caf\xe9".encode()[:4])
        assert scene.poll(3) == []
        scene.write("caf\xe9 au lait\r".encode()[4:])
        assert scene.poll() == []
        scene.write("\nnext")

        assert scene.poll() == ["caf\xe9 au lait"]

    def test_a_line_begun_before_the_start_comes_whole(self, scene: Scene) -> None:
        scene.write("old\n" * 40_000 + "begun ")
        scene.start()
        scene.write("and ended\n")

        assert scene.poll() == ["begun and ended"]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "latin-1"])
    @pytest.mark.parametrize("old_lines", [1, 30_000])
    def test_encodings(self, tmp_path: Path, encoding: str, old_lines: int) -> None:
        scene = Scene(tmp_path, encoding=encoding)
        old = ("alt\n" * old_lines).encode(encoding)
        whole = ("alt\n" * old_lines + "Stra\xdfe\nN\xf8tter\n").encode(encoding)
        end = len(old)
        scene.write(whole[: end + 3])
        scene.start()
        for position in range(end + 3, len(whole), 5):
            scene.write(whole[position : position + 5])
            scene.poll()

        assert scene.sink.data == ["Stra\xdfe", "N\xf8tter"]
        scene.stop()

    def test_bytes_that_cannot_be_decoded_are_shown(self, scene: Scene) -> None:
        scene.start()
        scene.write(b"\xff\xfe\nnext\n")

        assert scene.poll() == ["\\xff\\xfe", "next"]

    def test_decode_makes_the_data_and_its_failure_is_an_event(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, decode=json.loads).start()
        scene.write('{"a": 1}\nno json\n[2]\n')

        assert scene.poll() == [{"a": 1}, "no json", [2]]
        handler: Any = scene.sink.events[1].handler
        assert isinstance(handler, RaiseEventHandler)
        assert isinstance(handler.error, json.JSONDecodeError)
        scene.stop()

    def test_a_line_that_is_too_long_is_an_event_and_the_next_is_read(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, max_line_length=10).start()
        scene.write("x" * 3 * CHUNK + "\nnext\n")

        assert scene.poll() == ["x" * 80, "next"]
        handler: Any = scene.sink.events[0].handler
        assert isinstance(handler, RaiseEventHandler)
        assert isinstance(handler.error, LineTooLong)
        scene.stop()

    def test_events_name_their_source_and_handler(self, tmp_path: Path) -> None:
        handler = EventHandler()
        scene = Scene(tmp_path, handler=handler).start()
        scene.write("line\n")
        scene.poll()

        assert (scene.sink.events[0].originator, scene.sink.events[0].handler) == (scene.source, handler)
        scene.stop()


class TestWhichFile:
    def test_a_file_that_comes_later_is_read_from_its_start(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.start()
        assert scene.poll(3) == []
        scene.write("first\n")

        assert scene.poll() == ["first"]
        assert len(logged()) == 1
        assert "there is no such file yet" in logged()[0]

    def test_rotation_reads_the_old_file_to_its_end_first(self, scene: Scene) -> None:
        scene.start()
        scene.write("one\n")
        scene.poll()
        scene.write("two\nthree")
        scene.path.rename(scene.path.with_suffix(".old"))
        scene.write("four\n")

        assert scene.poll() == ["two", "three", "four"]

    def test_a_renamed_file_is_read_until_there_is_another(self, scene: Scene) -> None:
        scene.start()
        scene.write("one\n")
        scene.poll()
        old = scene.path.with_suffix(".old")
        scene.path.rename(old)
        scene.write("two\n", old)
        assert scene.poll(3 + LATE_POLLS) == ["two"]
        scene.write("three\n", old)
        scene.write("four\n")

        assert scene.poll() == ["three", "four"]

    def test_a_writer_that_is_late_is_heard(self, scene: Scene) -> None:
        scene.start()
        scene.write("one\n")
        scene.poll()
        old = scene.path.with_suffix(".old")
        scene.path.rename(old)
        scene.write("new\n")
        assert scene.poll() == ["new"]
        scene.write("late\nand later", old)
        scene.write("newer\n")
        assert scene.poll() == ["late", "newer"]

        assert scene.poll(LATE_POLLS) == ["and later"]
        scene.write("much too late\n", old)
        assert scene.poll(2) == []

    def test_numbered_files_that_came_and_went_between_two_polls(self, scene: Scene) -> None:
        scene.start()
        scene.write("0\n")
        scene.poll()
        for number in range(1, 5):
            rotate(scene.path)
            scene.write(f"{number}\n{number}!")

        assert scene.poll() == ["1", "1!", "2", "2!", "3", "3!", "4"]

    def test_a_chain_that_does_not_lead_to_our_file_is_left_alone(self, scene: Scene) -> None:
        scene.write("ancient\n", Path(f"{scene.path}.1"))
        scene.start()
        scene.write("one\n")
        scene.poll()
        scene.path.unlink()
        scene.write("two\n")

        assert scene.poll() == ["two"]

    def test_numbered_files_are_found_when_the_old_one_was_rotated_out_of_existence(self, scene: Scene) -> None:
        written_at(1, Path(f"{scene.path}.1"), "ancient\n")
        scene.start()
        written_at(2, scene.path, "0\n")
        scene.poll()
        written_at(3, scene.path, "0 too\n")
        for number in range(1, 5):
            rotate(scene.path, keep=2)
            written_at(3 + number, scene.path, f"{number}\n{number}!")

        assert scene.poll() == ["0 too", "2", "2!", "3", "3!", "4"]
        assert scene.poll(LATE_POLLS) == []

    def test_older_ones_are_left_alone_when_the_old_one_is_gone(self, scene: Scene) -> None:
        written_at(1, Path(f"{scene.path}.1"), "ancient\n")
        scene.start()
        written_at(2, scene.path, "one\n")
        scene.poll()
        rotate(scene.path)
        written_at(3, scene.path, "two\n")
        scene.poll()
        written_at(4, Path(f"{scene.path}.1"), "late\n")
        scene.path.unlink()
        scene.write("three\n")
        rotate(scene.path)
        written_at(5, Path(f"{scene.path}.1"), "three too\n")
        scene.write("four\n")

        assert scene.poll() == ["late", "three", "three too", "four"]

    def test_deletion(self, scene: Scene) -> None:
        scene.start()
        scene.write("one\n")
        scene.poll()
        scene.write("two\n")
        scene.path.unlink()
        assert scene.poll(2) == ["two"]
        scene.write("three\n")

        assert scene.poll() == ["three"]

    def test_a_symbolic_link_that_is_switched(self, scene: Scene, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        scene.write("old\n", first)
        scene.path.symlink_to(first)
        scene.start()
        scene.write("one\n", first)
        scene.write("two\n", second)
        switch = tmp_path / "switch"
        switch.symlink_to(second)
        switch.rename(scene.path)

        assert scene.poll() == ["one", "two"]

    @pytest.mark.parametrize("after", ["b\n", "bbb\n", "longer than before\nand more\n"])
    def test_truncation_is_noticed_whatever_the_size(self, scene: Scene, after: str) -> None:
        scene.start()
        scene.write("aaa\n")
        scene.poll()
        os.truncate(scene.path, 0)
        scene.write(after)

        assert scene.poll(2) == after.splitlines()

    def test_a_line_cut_by_truncation_is_a_line(self, scene: Scene) -> None:
        scene.start()
        scene.write("one\nbegun")
        scene.poll()
        os.truncate(scene.path, 0)
        scene.write("two\n")

        assert scene.poll() == ["begun", "two"]

    def test_the_folder_may_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        scene = Scene(Path("."))
        monkeypatch.chdir("/")
        scene.path = tmp_path / "app.log"
        scene.start()
        scene.write("one\n")

        assert scene.poll() == ["one"]
        scene.stop()


def written_at(time: float, path: Path, text: str) -> None:
    """Add to a file at a time that the test says."""
    with path.open("a") as file:
        file.write(text)
    os.utime(path, (time, time))


def rotate(path: Path, keep: int = 9) -> None:
    """As RotatingFileHandler does."""
    Path(f"{path}.{keep}").unlink(missing_ok=True)
    for number in range(keep - 1, 0, -1):
        if Path(f"{path}.{number}").exists():
            Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
    path.rename(f"{path}.1")


class TestTrouble:
    def test_a_directory_is_named_once_and_a_file_in_its_place_is_read(
        self, scene: Scene, logged: Callable[[], list[str]]
    ) -> None:
        scene.path.mkdir()
        scene.start()
        scene.poll(3)
        assert len(logged()) == 1
        assert "is a directory" in logged()[0]
        scene.path.rmdir()
        scene.write("one\n")

        assert scene.poll() == ["one"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_must_not_be_read_is_named_once(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.write("secret\n")
        scene.path.chmod(0)
        scene.start()
        scene.poll(3)
        assert len(logged()) == 1
        scene.path.chmod(0o600)

        assert scene.poll() == []

    def test_a_loop_of_links_is_named_once(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.path.symlink_to(scene.path)
        scene.start()
        scene.poll(3)

        assert len(logged()) == 1
        assert "Too many levels of symbolic links" in logged()[0]

    def test_what_is_no_regular_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
            for path, kind in ((tmp_path / "fifo", "a FIFO"), (tmp_path / "socket", "a socket"), (Path("/dev/null"), "a device")):
                source = FileTailSource(path, clock=Clock())
                with pytest.raises(ConfigurationError, match=f"{path} is {kind}: only a regular file can be followed"):
                    source.start(FakeSink())

    def test_a_fifo_in_its_place_is_named_and_the_file_read_on(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.start()
        scene.write("one\n")
        scene.poll()
        del logged()[:]
        old = scene.path.with_suffix(".old")
        scene.path.rename(old)
        os.mkfifo(scene.path)
        scene.write("two\n", old)

        assert scene.poll(3) == ["two"]
        assert "is a FIFO" in logged()[-1]
        assert len(logged()) == 2  # the first: no file yet

    @pytest.mark.parametrize(
        "options",
        [
            {"path": ""},
            {"path": "a\0b"},
            {"path": 3},
            {"decode": "json"},
            {"encoding": "no-such"},
            {"poll_interval": 0},
            {"poll_interval": None},
            {"max_line_length": 0},
            {"max_line_length": None},
            {"handler": "print"},
        ],
    )
    def test_options_that_make_no_sense(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            FileTailSource(**{"path": "app.log", **options})

    def test_it_is_started_once(self, scene: Scene) -> None:
        scene.start()
        with pytest.raises(ConfigurationError, match="was started already"):
            scene.start()

    @pytest.mark.parametrize("error", [QueueOverflow(1, "event"), PumpStopped("event", "pump")])
    def test_lines_that_are_not_taken_are_logged_once_and_counted(
        self, scene: Scene, logged: Callable[[], list[str]], error: Exception
    ) -> None:
        scene.write("")
        scene.start()
        scene.sink.refuse(error)
        scene.write("1\n2\n3\n")
        scene.poll()
        scene.sink.resume()
        scene.write("4\n")

        assert scene.poll() == ["4"]
        scene.stop()
        assert len(logged()) == 2
        assert type(error).__name__ in logged()[0]
        assert "3 events were not taken in all" in logged()[1]

    def test_a_sink_that_raises_is_logged(self, scene: Scene, logged: Callable[[], list[str]]) -> None:
        scene.write("")
        pump = EventPump(clock=scene.clock)  # without a handler
        pump.add_event_generator(scene.source)
        assert pump.start().called
        scene.write("1\n2\n")
        scene.poll()

        assert pump.stop().called
        assert "has no handler" in logged()[0]
        assert "2 events were not taken in all" in logged()[1]


class TestWaiting:
    def test_nothing_is_read_while_a_put_waits(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, sink=FakeSink(room=1), from_start=True)
        scene.write("x" * 99 + "\n")
        scene.write(("y" * 99 + "\n") * 10_000)
        scene.start()
        scene.poll(5)

        assert len(scene.sink.events) == 1
        assert len(scene.source._lines) <= CHUNK // 100 + 1
        scene.sink.resume()
        assert len(scene.sink.events) == 10_001
        scene.stop()

    def test_many_lines_leave_the_reactor_its_turn(self, tmp_path: Path) -> None:
        class Ageing(Clock):
            def seconds(self) -> float:
                self.rightNow += 0.001
                return self.rightNow

        scene = Scene(tmp_path, clock=Ageing(), from_start=True)
        scene.write("x\n" * 100)
        scene.start()
        assert 5 < len(scene.sink.events) < 15
        for _ in range(20):
            scene.clock.advance(0)
        assert len(scene.sink.events) == 100
        scene.stop()

    def test_a_pump_hands_lines_on_in_order(self, tmp_path: Path, clock: Clock) -> None:
        scene = Scene(tmp_path, clock)
        seen: list[Any] = []

        class Seen(EventHandler):
            def process_event(self, event: QueuedEvent) -> bool:
                seen.append(event.data)
                return True

        pump = EventPump(max_queued=2, clock=clock, handler=Seen())
        pump.add_event_generator(scene.source)
        assert pump.start().called
        scene.write("".join(f"{number}\n" for number in range(500)))
        scene.poll()

        assert pump.stop().called
        assert seen == [str(number) for number in range(500)]


class TestStopAndStartAgain:
    def test_stop_waits_for_the_put_and_the_next_start_goes_on(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, sink=FakeSink(room=2), from_start=True)
        scene.write("1\n2\n3\n4\n5")
        scene.start()
        stopped = scene.source.stop()
        assert_pending(stopped)
        scene.sink.resume()
        assert stopped.called
        assert scene.sink.data == ["1", "2", "3"]
        assert scene.clock.getDelayedCalls() == []
        assert open_files(tmp_path) == []
        scene.write("!\n6\n")
        scene.start()

        assert scene.sink.data == ["1", "2", "3", "4", "5!", "6"]
        scene.stop()

    def test_cancelling_takes_the_event_back_and_loses_nothing(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, sink=FakeSink(room=1), from_start=True)
        scene.write("1\n2\n3\n")
        scene.start()
        stopped = scene.source.stop()
        stopped.cancel()
        assert stopped.called
        assert scene.sink.waiting == []
        scene.sink.resume()
        assert scene.sink.data == ["1"]
        scene.start()

        assert scene.sink.data == ["1", "2", "3"]
        scene.stop()

    def test_what_happened_meanwhile_is_made_up_for(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path).start()
        scene.write("0\nbeg")
        scene.poll()
        scene.stop()
        scene.write("un\n1\n")
        rotate(scene.path)
        scene.write("2\n")
        rotate(scene.path)
        scene.write("3\n")
        scene.start()

        assert scene.sink.data == ["0", "begun", "1", "2", "3"]
        scene.stop()

    def test_a_file_deleted_meanwhile_ends_its_line(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path).start()
        scene.write("0\nbegun")
        scene.poll()
        scene.stop()
        scene.path.rename(tmp_path / "elsewhere")
        scene.write("1\n")
        scene.start()

        assert scene.sink.data == ["0", "begun", "1"]
        scene.stop()

    def test_a_handler_may_stop_it(self, tmp_path: Path, clock: Clock) -> None:
        scene = Scene(tmp_path, clock, from_start=True)
        stopped: list[Deferred[None]] = []

        class Stopping(FakeSink):
            def put(self, event: QueuedEvent) -> Deferred[bool]:
                if event.data == "2":
                    stopped.append(scene.source.stop())
                return super().put(event)

        scene.sink = Stopping()
        scene.write("1\n2\n3\n")
        scene.start()

        assert scene.sink.data == ["1", "2"]
        assert stopped[0].called
        assert clock.getDelayedCalls() == []

    def test_stopping_what_does_not_run_changes_nothing(self, scene: Scene) -> None:
        scene.stop()


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("begin"), st.just(0)),
    st.tuples(st.just("rotate"), st.just(0)),
    st.tuples(st.just("remove"), st.just(0)),
    st.tuples(st.just("truncate"), st.just(0)),
    st.tuples(st.just("poll"), st.integers(1, 2)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("fill"), st.just(0)),
    st.tuples(st.just("make room"), st.integers(1, 5)),
)


@settings(max_examples=150)
@given(
    steps=st.lists(STEPS, max_size=25), newline=st.sampled_from(["\n", "\r\n"]), encoding=st.sampled_from(["utf-8", "utf-16-le"])
)
def test_no_line_is_lost_and_none_comes_twice(steps: list[tuple[str, int]], newline: str, encoding: str) -> None:
    """
    Whatever is done to the file; but it is read before it is truncated or removed for good: what was written since the last poll
    is lost then.
    """
    with TemporaryDirectory() as folder:
        scene = Scene(Path(folder), encoding=encoding)
        scene.write("")
        scene.start()
        written: list[str] = []
        begun = False

        def write(text: str) -> None:
            scene.write(text.encode(encoding))

        def end_line() -> None:
            nonlocal begun
            begun = False

        def read_all() -> None:
            scene.sink.resume()
            scene.poll()

        for step, number in steps:
            if step == "append":
                for _ in range(number):
                    if begun:
                        write(f"-end{newline}")
                        written[-1] += "-end"
                        end_line()
                    else:
                        written.append(f"line {len(written)} \xe9")
                        write(written[-1] + newline)
            elif step == "begin" and not begun:
                written.append(f"begun {len(written)}")
                write(written[-1])
                begun = True
            elif step == "rotate" and scene.path.exists():
                rotate(scene.path)
                if len(list(Path(folder).iterdir())) > 8:
                    read_all()
                write("")
                end_line()
            elif step == "remove" and scene.path.exists():
                read_all()
                scene.path.unlink()
                write("")
                read_all()
                end_line()
            elif step == "truncate" and scene.path.exists():
                read_all()
                os.truncate(scene.path, 0)
                end_line()
            elif step == "poll":
                scene.poll(number)
            elif step == "restart":
                scene.sink.resume()
                scene.stop()
                scene.start()
            elif step == "fill":
                scene.sink.pause()
            elif step == "make room":
                scene.sink.resume(number)
        if begun:
            write(newline)
        read_all()
        read_all()
        scene.stop()

        assert scene.sink.data == written
