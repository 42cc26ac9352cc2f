"""The lines that are written to a file, as they come."""

from __future__ import annotations

import os
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from .._options import checked_clock, flag, needed_seconds
from .._reactor import default_clock
from ..errors import ConfigurationError
from ..interfaces import IEventSource
from ._line_events import LineEvents
from ._splitter import MAX_LINE_LENGTH, Line
from ._work import Work, started_already

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import IEventSink

_LOG = Logger(namespace="twisted_evproc.sources")

#: So many bytes are read at a time.
CHUNK = 65_536

#: So many bytes before the place where we read on are compared each time: others there mean that the file was begun anew.
MARK = 256

#: So many polls a file that was rotated away is read on, for writers that have not opened the new one yet.
LATE_POLLS = 5

#: Rotated files are looked for up to this number: ``path.1`` to ``path.20``.
MAX_NUMBER = 20

#: A decoder that begins in the middle of a text needs these from its beginning.
_BYTE_ORDER_MARKS = {"utf-16": (BOM_UTF16_LE, BOM_UTF16_BE), "utf-32": (BOM_UTF32_LE, BOM_UTF32_BE)}


class _Reader:
    """
    One file, and how far it has been read.

    What it knows outlives :meth:`close`, so that :meth:`open` can go on there.

    :ivar identity: device and number of the file, whatever its name.
    :ivar late_polls: how many times it is still read, once it was rotated away.
    """

    def __init__(self, descriptor: int, identity: tuple[int, int], events: LineEvents) -> None:
        self.identity = identity
        self.late_polls = LATE_POLLS
        self._descriptor: int | None = descriptor
        self._events = events
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._splitter = self._events.splitter()
        self._position = 0
        self._mark = b""

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    def open(self, descriptor: int) -> None:
        """Read on by this descriptor."""
        self._descriptor = descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def status(self) -> os.stat_result:
        """What the system knows of the file, whatever its name, also when it has none any more."""
        assert self._descriptor is not None
        return os.fstat(self._descriptor)

    def skip(self) -> None:
        """Leave out all lines that have ended.  One that has only begun is read whole."""
        assert self._descriptor is not None
        size = self.status().st_size
        begin = max(0, size - CHUNK)
        begin -= begin % 4  # at no place is a character of UTF-16 or UTF-32 cut
        if begin:
            for mark in _BYTE_ORDER_MARKS.get(self._events.encoding, ()):
                if os.pread(self._descriptor, len(mark), 0) == mark:
                    self._splitter.feed(mark)
        found = os.pread(self._descriptor, size - begin, begin)
        self._splitter.feed(found)
        self._position = begin + len(found)
        self._mark = found[-MARK:]

    def read(self) -> list[Line] | None:
        """
        The lines that end in the next chunk, ``None`` when there is none.

        :raises OSError: when it cannot be read.
        """
        assert self._descriptor is not None
        known = len(self._mark)
        found = os.pread(self._descriptor, known + CHUNK, self._position - known)
        if not found.startswith(self._mark):
            # Shorter than it was, or other bytes where we have been: truncated, and perhaps written again since.
            lines = self.finish()
            self._begin_anew()
            return lines
        new = len(found) - known
        if not new:
            return None
        self._position += new
        self._mark = found[-MARK:]
        return self._splitter.feed(found[known:])

    def finish(self) -> list[Line]:
        """The line that has begun, if there is one: it ends here."""
        return self._splitter.finish()


@implementer(IEventSource)
class FileTailSource:
    r"""
    Follows a file as ``tail -F`` does, and puts an event for each line.

    Lines end in ``\n`` or ``\r\n``; one that has only begun waits for its end.  The file is polled.  It need not be there yet,
    may be deleted, and may lie behind a symbolic link that is switched.

    When it is *rotated* (renamed or deleted, and another one created), the old file is read to its end, then the new one from its
    start.  A line that the old one ends in the middle of counts as a line.  Writers that keep the old file open may go on: it is
    read for five polls more.  Of files that came and went between two polls, those are found that are called ``path.1``,
    ``path.2`` and so on, as ``logrotate`` and ``logging.handlers.RotatingFileHandler`` name them; with dates for names, or
    compressed at once, they are lost.  When the old file itself was rotated out of existence, those are found that are still
    there and were last written at a later time than it.

    When it is *truncated* (``copytruncate``), it is read from its start.  That is noticed by its size, and by the last 256 bytes
    that were read: also when it has grown again meanwhile.  What was written between the last poll and the truncation is lost,
    and a file that holds the same 256 bytes at the same place as before is not recognized.

    While a ``put`` waits nothing is read, and no more than 64 KiB of lines wait in memory.

    :meth:`stop` waits for the event that is being put.  Started again, this object goes on where it stopped, and loses and
    repeats nothing, unless the file is gone by then; a new one, as in a new process, knows nothing of that.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        handler: Any = None,
        decode: Callable[[str], Any] | None = None,
        encoding: str = "utf-8",
        from_start: bool = False,
        poll_interval: float = 1.0,
        max_line_length: int = MAX_LINE_LENGTH,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        :param path: of a regular file.
        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`, a dispatcher or a processor; ``None`` for the
            handler of the pump.
        :param decode: makes an event's data of a line, such as ``json.loads``; ``None`` for the line itself.
        :param encoding: of the file.  What cannot be decoded appears as ``\\x..``.
        :param from_start: whether lines that are there at the first start are put.  A file that comes later is always read from
            its start.
        :param poll_interval: seconds between two looks at the file.
        :param max_line_length: in characters.  Longer lines go to the pump's error handler as
            :class:`~twisted_evproc.errors.LineTooLong`.
        :param clock: ``None`` for the global reactor.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        """
        self._path = _checked_path(path)
        self._events = LineEvents(handler, decode, encoding, max_line_length)
        self._skip = not flag(from_start, "from_start")
        self._poll_interval = needed_seconds(poll_interval, "poll_interval")
        self._clock = checked_clock(clock, "clock")
        self._work: Work | None = None
        # The file that is read, and those that came after it, in order.
        self._files: deque[_Reader] = deque()
        # Files that were read to their end and rotated away.
        self._late: list[_Reader] = []
        # Lines that were read and not put.
        self._lines: deque[Line] = deque()
        self._said = ""

    def __str__(self) -> str:
        return f"lines of {self._path}"

    def start(self, sink: IEventSink) -> None:
        """
        See :meth:`IEventSource.start`.

        :raises twisted_evproc.errors.ConfigurationError: for a FIFO, a socket or a device, and when it runs already.
        """
        if self._work is not None:
            raise started_already(self)
        self._said = ""
        if not self._files:
            self._files.extend(self._begin())
        work = self._work = Work(self, sink, default_clock(self._clock))
        work.begin(self._follow(work))

    def stop(self) -> Deferred[None]:
        """
        See :meth:`IEventSource.stop`.

        Cancelling it takes the event back whose ``put`` waits.
        """
        return succeed(None) if self._work is None else self._work.end()

    def _begin(self) -> list[_Reader]:
        try:
            reader = self._opened(self._path)
        except OSError as error:
            self._say(error)
            # What comes in its place will have been written while we were there.
            self._skip = self._skip and not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
            return []
        self._skip_lines(reader)
        return [reader]

    def _skip_lines(self, reader: _Reader) -> None:
        # Once: whatever comes later was written while we were there.
        if self._skip:
            reader.skip()
            self._skip = False

    async def _follow(self, work: Work) -> None:
        try:
            while not work.stopping:
                try:
                    await self._poll(work)
                except CancelledError:
                    raise
                except Exception as error:
                    self._say(error)
                await work.nap(self._poll_interval)
        finally:
            for reader in self._late:
                self._lines.extend(reader.finish())
            for reader in (*self._late, *self._files):
                reader.close()
            self._late.clear()
            self._work = None

    async def _poll(self, work: Work) -> None:
        await self._put_lines(work)
        for late in tuple(self._late):
            await self._read_late(late, work)
        if not self._files:
            self._files.extend(self._successors(None))
        while self._files and not work.stopping:
            reader = self._files[0]
            if self._at_hand(reader):
                if not await self._read(reader, work):
                    return
                if len(self._files) == 1:
                    self._files.extend(self._successors(reader))
                # Between our last look and the new file's creation something may have been written.
                if len(self._files) == 1 or not await self._read(reader, work):
                    return
                self._late.append(reader)
            self._files.popleft()
            self._lines.extend(reader.finish())
            await self._put_lines(work)
            if not self._files:
                self._files.extend(self._successors(None))

    async def _read_late(self, reader: _Reader, work: Work) -> None:
        try:
            ended = await self._read(reader, work)
        except OSError as error:
            # Nobody could open it again: its name is not known.
            self._say(error)
            ended, reader.late_polls = True, 0
        reader.late_polls -= 1
        if ended and reader.late_polls <= 0:
            self._late.remove(reader)
            reader.close()
            self._lines.extend(reader.finish())
            await self._put_lines(work)

    async def _read(self, reader: _Reader, work: Work) -> bool:
        """Put what can be read now; gives whether that is all, rather than that we are to stop."""
        while not work.stopping:
            try:
                lines = reader.read()
            except OSError:
                reader.close()  # opened anew, by the next poll, it may do again: a network came back
                raise
            if lines is None:
                return True
            self._lines.extend(lines)
            await self._put_lines(work)
        return False

    async def _put_lines(self, work: Work) -> None:
        lines = self._lines
        while lines and not work.stopping:
            waiting = work.put(self._events.event(self, lines[0]))
            if waiting is not None:
                await waiting
            # Not before: when the event is taken back, its line is there for the next start.
            lines.popleft()

    # -- which file

    def _successors(self, reader: _Reader | None) -> list[_Reader]:
        """The files that came after this one, in order; none while the path still leads to it, or to nothing."""
        try:
            if reader is not None and _identity(os.stat(self._path)) == reader.identity:
                return []
            newest = self._opened(self._path)
        except FileNotFoundError as error:
            if reader is None:
                self._skip = False
                self._say(error)
            return []
        self._said = ""
        self._skip_lines(newest)
        return [newest] if reader is None else [*self._between(reader, newest.identity), newest]

    def _between(self, old: _Reader, newest: tuple[int, int]) -> list[_Reader]:
        found: list[_Reader] = []
        for name in self._numbered():
            try:
                reader = self._opened(name)
            except (OSError, ConfigurationError):
                break
            if reader.identity == old.identity:
                reader.close()
                return found[::-1]
            if reader.identity == newest:
                reader.close()  # rotated just now; it is in our hands already
            else:
                found.append(reader)
        later = self._later(found, old)
        for reader in found[len(later) :]:
            reader.close()
        return later[::-1]

    def _later(self, numbered: list[_Reader], old: _Reader) -> list[_Reader]:
        """Of the numbered files, newest first, those that came after one that is not among them."""
        gone = old.status()
        if gone.st_nlink:
            return []  # it was not rotated out of existence: who knows what the others are
        # Rotated before it, they were written to their end before it was.  When that is the same tick of the file system's clock,
        # they are left alone: better a line lost, as from files that are gone, than whole files twice.
        known = {late.identity for late in self._late}
        return list(takewhile(lambda one: one.identity not in known and one.status().st_mtime_ns > gone.st_mtime_ns, numbered))

    def _numbered(self) -> Iterator[str]:
        return (f"{self._path}.{number}" for number in range(1, MAX_NUMBER + 1))

    def _at_hand(self, reader: _Reader) -> bool:
        """
        Whether a file is open, or can be opened again, maybe under the name that rotation gave it.

        :raises OSError: when that cannot be said now.
        """
        if reader.is_open:
            return True
        for name in (self._path, *self._numbered()):
            try:
                if _identity(os.stat(name)) != reader.identity:
                    continue
                descriptor, status = _open(name)
            except FileNotFoundError:
                if name != self._path:
                    return False
                continue
            if _identity(status) == reader.identity:
                reader.open(descriptor)
                self._said = ""
                return True
            os.close(descriptor)
        return False

    def _opened(self, path: str) -> _Reader:
        descriptor, status = _open(path)
        return _Reader(descriptor, _identity(status), self._events)

    def _say(self, error: Exception) -> None:
        # Once, not with every poll.
        text = f"{type(error).__name__}: {error}"
        if text == self._said:
            return
        self._said = text
        if isinstance(error, FileNotFoundError):
            _LOG.warn(
                "{source}: there is no such file yet; it is looked for every {interval} s",
                source=self,
                interval=self._poll_interval,
            )
        elif isinstance(error, OSError | ConfigurationError):
            _LOG.error(
                "{source}: {error}; tried again every {interval} s", source=self, error=error, interval=self._poll_interval
            )
        else:
            _LOG.failure("{source}: a poll failed; tried again every {interval} s", source=self, interval=self._poll_interval)


def _checked_path(path: Any) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise ConfigurationError(f"path={path!r} has to be the path of a file")
    # Daemons change their folder.
    return os.path.abspath(text)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(path: str) -> tuple[int, os.stat_result]:
    # Looked at before it is opened, for that alone can set a device going; and after, for it may be another one by then.
    _check_kind(path, os.stat(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        _check_kind(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _check_kind(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{path} is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(
            f"{path} is {_kind(status.st_mode)}: only a regular file can be followed, so give the path of one"
        )


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
