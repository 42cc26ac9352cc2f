"""The lines that are fed to an application: of JSON from a file or pipe, or what its own iterable gives, in bounded memory."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from .._json import decode
from ..dispatch import Outcome
from ..errors import ApplicationError
from ._loading import described
from ._traces import place_of, traceback_of
from ._words import counted

CHUNK_BYTES = 65_536
#: Longer lines are reported and skipped: memory stays bounded.
MAX_LINE_BYTES = 32 * 1024 * 1024


class LineError(Exception):
    """
    A line that is no event.

    :ivar column: where in the line, counted in characters from 1, or ``None`` where that says nothing.
    :ivar cause: the exception of the application's own code, or ``None``.
    """

    def __init__(self, problem: str, column: int | None = None, cause: BaseException | None = None) -> None:
        super().__init__(problem)
        self.column = column
        self.cause = cause


class Line(Protocol):
    """One line of input, or what stands for it."""

    @property
    def number(self) -> int:
        """Counted from 1."""

    def record(self) -> Any:
        """
        The value it holds.

        :raises LineError: when it holds none.
        """


@attrs.frozen
class JSONLine:
    """A line of a file, not decoded yet."""

    number: int
    raw: bytes
    only_objects: bool

    def record(self) -> Any:
        """See :meth:`Line.record`."""
        expected = "expected one JSON object a line" if self.only_objects else "expected one JSON value a line"
        try:
            text = self.raw.decode("utf-8").removeprefix("\ufeff").rstrip()
        except UnicodeDecodeError as error:
            raise LineError(f"not UTF-8 text; {expected}", len(self.raw[: error.start].decode("utf-8")) + 1) from error
        try:
            record = decode(text)
        except json.JSONDecodeError as error:
            hint = ""
            if text in ("{", "["):
                hint = "; is this one JSON text over several lines?  Put each event on a line of its own"
            raise LineError(f"not JSON: {error.msg}; {expected}{hint}", error.colno) from error
        except ValueError as error:
            raise LineError(f"not JSON: {error}; {expected}", 1) from error
        if self.only_objects and not isinstance(record, dict):
            raise LineError(f"{expected}, not {_JSON_NAMES[type(record)]}", 1)
        return record


_JSON_NAMES = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


@attrs.frozen
class LongJSONLine:
    """A line that was too long to be kept."""

    number: int
    limit: int

    def record(self) -> Any:
        """See :meth:`Line.record`."""
        raise LineError(f"longer than {self.limit} bytes; expected one JSON object a line", self.limit + 1)


@attrs.frozen
class ReadyLine:
    """A record of an application's own iterable."""

    number: int
    value: Any

    def record(self) -> Any:
        """See :meth:`Line.record`."""
        return self.value


class Lines(Protocol):
    """
    Lines, a few at a time.

    :ivar name: what messages call them.
    """

    name: str

    def read(self) -> Sequence[Line] | Deferred[Sequence[Line] | None] | None:
        """
        The next lines, possibly none yet; ``None`` at the end.

        :return: the lines, or a Deferred of them, which fails with
            :class:`~twisted_evproc.errors.ApplicationError` when no more can be had; cancelling it gives up reading.
        :raises twisted_evproc.errors.ApplicationError: as above.
        """

    def drain(self) -> bool:
        """
        Let no further lines come than there are; :meth:`read` gives these, then ``None``.

        :return: ``False`` where nothing has come in that was not read: nobody need read on.
        """
        return False

    def finished(self, line: Line, result: Outcome | Failure) -> None:
        """Hear what became of a line that was not dropped: the outcome of its event, or why there is none."""
        return

    def close(self) -> Deferred[None]:
        """Give back what is held.  What was not read is dropped."""
        return succeed(None)


class JSONLineSplitter:
    """Cuts chunks of bytes into lines that stay bytes, for columns in messages; blank ones are counted and left out."""

    def __init__(self, only_objects: bool, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._only_objects = only_objects
        self._max_bytes = max_bytes
        self._number = 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end in this chunk."""
        first, *rest = chunk.split(b"\n")
        self._extend(first)
        lines: list[Line] = []
        for part in rest:
            lines += self.finish()
            self._extend(part)
        return lines

    def finish(self) -> list[Line]:
        """End the line begun, also where no newline did."""
        self._number += 1
        raw = b"".join(self._begun)
        too_long = self._begun_bytes > self._max_bytes
        self._begun, self._begun_bytes = [], 0
        if too_long:
            return [LongJSONLine(self._number, self._max_bytes)]
        return [JSONLine(self._number, raw, self._only_objects)] if raw and not raw.isspace() else []

    def _extend(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        if self._begun_bytes > self._max_bytes:
            self._begun = []
        elif part:
            self._begun.append(part)


class JSONLines(Lines):
    """
    Lines of JSON out of chunks of bytes.

    :param name: the file's, for messages.
    :param read_chunk: gives the next chunk, by a Deferred, empty at the end.
    :param only_objects: whether anything but a JSON object is an error.
    """

    def __init__(self, name: str, read_chunk: Callable[[], Deferred[bytes]], only_objects: bool) -> None:
        self.name = name
        self._read_chunk = read_chunk
        self._splitter = JSONLineSplitter(only_objects)
        self._ended = False

    def read(self) -> Deferred[Sequence[Line] | None] | None:
        """See :meth:`Lines.read`."""
        if self._ended:
            return None
        return self._read_chunk().addCallbacks(self._split, self._unreadable)

    def _split(self, chunk: bytes) -> Sequence[Line] | None:
        if chunk:
            return self._splitter.feed(chunk)
        self._ended = True
        return self._splitter.finish()

    def _unreadable(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, OSError):
            raise ApplicationError(self.name, f"cannot be read: {error.strerror}") from error
        failure.raiseException()


class IterableLines(Lines):
    """The records of an application's own iterable, one at a time."""

    def __init__(self, name: str, records: Iterable[Any]) -> None:
        self.name = name
        self._records: Iterator[Any] = iter(records)
        self._number = 0

    def read(self) -> Sequence[Line] | None:
        """See :meth:`Lines.read`."""
        try:
            record = next(self._records)
        except StopIteration:
            return None
        except Exception as error:
            raise _iteration_failed(self.name, self._number, error) from error
        self._number += 1
        return [ReadyLine(self._number, record)]


class AsyncIterableLines(Lines):
    """As :class:`IterableLines`, for ``async for``."""

    def __init__(self, name: str, records: AsyncIterable[Any]) -> None:
        self.name = name
        self._records: AsyncIterator[Any] = aiter(records)
        self._number = 0

    def read(self) -> Deferred[Sequence[Line] | None]:
        """See :meth:`Lines.read`."""
        return Deferred.fromCoroutine(self._next())

    async def _next(self) -> Sequence[Line] | None:
        try:
            record = await anext(self._records)
        except StopAsyncIteration:
            return None
        except CancelledError:
            raise
        except Exception as error:
            raise _iteration_failed(self.name, self._number, error) from error
        self._number += 1
        return [ReadyLine(self._number, record)]


def _iteration_failed(name: str, number: int, error: Exception) -> ApplicationError:
    place = place_of(error) or name
    return ApplicationError(place, f"{name} failed after {counted(number, 'event')}:\n{traceback_of(error)}")


def iterable_lines(name: str, records: Any) -> Lines:
    """
    The lines for an application's ``events``: an iterable, an async iterable, or a function that returns one.

    :raises twisted_evproc.errors.ApplicationError: for anything else.
    """
    if callable(records):
        try:
            records = records()
        except Exception as error:
            raise _iteration_failed(name, 0, error) from error
    if isinstance(records, AsyncIterable):
        return AsyncIterableLines(name, records)
    if isinstance(records, Iterable) and not isinstance(records, str | bytes | Mapping):
        return IterableLines(name, records)
    raise ApplicationError(
        name,
        f"has to be an iterable of events, or a function that returns one, not {described(records)}; correct or rename it, "
        f"or give the events with --events FILE",
    )


class ThreadReader:
    """
    Reads a file descriptor in a thread of its own, one chunk each time it is called.

    Regular files and terminals cannot be watched by every reactor, and a pipe may be shared with a program that expects it to
    block.  The thread is a daemon that keeps no lock while it reads: a program can end while no input comes.

    :param descriptor: stays open; who opened it closes it.
    """

    def __init__(self, descriptor: int, reactor: IReactorFromThreads) -> None:
        self._descriptor = descriptor
        self._reactor = reactor
        self._asked: SimpleQueue[Deferred[bytes]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self) -> Deferred[bytes]:
        """
        Read the next chunk.

        :return: fires with what there is, at most ``CHUNK_BYTES``, empty at the end; fails with ``OSError``.  After it was
            cancelled, what was read is lost.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="evproc events", daemon=True)
            self._thread.start()
        asked: Deferred[bytes] = Deferred()
        self._asked.put(asked)
        return asked

    def _work(self) -> None:
        while True:
            asked = self._asked.get()
            answer: bytes | Failure
            try:
                answer = os.read(self._descriptor, CHUNK_BYTES)
            except OSError:
                answer = Failure()
            self._reactor.callFromThread(self._deliver, asked, answer)

    @staticmethod
    def _deliver(asked: Deferred[bytes], answer: bytes | Failure) -> None:
        if not asked.called:
            asked.callback(answer)


__all__ = [
    "AsyncIterableLines",
    "IterableLines",
    "JSONLine",
    "Line",
    "LineError",
    "JSONLines",
    "JSONLineSplitter",
    "LongJSONLine",
    "ReadyLine",
    "Lines",
    "ThreadReader",
    "iterable_lines",
]
