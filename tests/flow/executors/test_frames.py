from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.flow.executors._child import describe_exit
from twisted_evproc.flow.executors._frames import FrameTooLong, Received, framed, read_frame, write_frame


class TestReceived:
    @given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 30))
    def test_gives_payloads_in_whatever_pieces_they_arrive(self, payloads: list[bytes], size: int) -> None:
        received = Received(50)
        sent = b"".join(map(framed, payloads))

        assert [got for at in range(0, len(sent), size) for got in received.feed(sent[at : at + size])] == payloads

    def test_refuses_what_is_too_long_before_it_comes(self) -> None:
        with pytest.raises(FrameTooLong) as caught:
            _ = list(Received(10).feed(framed(b"x" * 11)[:8]))

        assert caught.value.length == 11


class TestDescriptors:
    def test_carry_frames(self) -> None:
        reading, writing = os.pipe()
        write_frame(writing, b"one")
        write_frame(writing, b"")
        _ = os.write(writing, framed(b"half")[:-1])
        os.close(writing)

        assert [read_frame(reading) for _ in range(4)] == [b"one", b"", None, None]
        os.close(reading)


class TestExit:
    @pytest.mark.parametrize(
        ("code", "words"),
        [(0, "exit status 0"), (-11, "killed by SIGSEGV"), (-40, "killed by signal 40"), (-15, "killed by SIGTERM")],
    )
    def test_is_described(self, code: int, words: str) -> None:
        assert describe_exit(code) == words
