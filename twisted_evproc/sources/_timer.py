"""Events that come by themselves, every so many seconds or by the calendar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .._calendar import Calendar
from .._options import checked_clock, flag, needed_seconds
from .._reactor import default_clock
from ..errors import ConfigurationError
from ..interfaces import IEventSource
from ._event import QueuedEvent
from ._handlers import RaiseEventHandler, as_handler
from ._work import Work, started_already

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from ..interfaces import IEventSink

#: Whoever waits for a time of day looks at least this often whether it has come: clocks are set, and machines suspended.
LOOK_SECONDS = 60.0

#: Ticks of a calendar that were missed are counted up to here.
MAX_COUNTED = 10_000

#: Rounding must not make a tick wait for another turn of the clock; in intervals.
TOLERANCE = 1e-9


@attrs.frozen
class Tick:
    """
    That it is time.

    :ivar scheduled: when it was due, with its time zone.
    :ivar count: 1 for the first tick after the start, and so on; those that were missed are not counted.
    :ivar missed: how many ticks fell due between the one before and this one, and were not put.
    """

    scheduled: datetime
    count: int
    missed: int


class _Schedule(Protocol):
    """When ticks are due."""

    def begin(self, clock: IReactorTime) -> datetime:
        """From now on; gives the time of day."""

    def passed(self) -> tuple[int, datetime]:
        """How many ticks have fallen due since this was asked, and when the last of them did."""

    def remaining(self) -> float:
        """Seconds until the next."""


class _Interval:
    """Every so many seconds of a clock that nobody sets."""

    def __init__(self, interval: float, now: Callable[[], datetime]) -> None:
        self._interval = interval
        self._now = now
        self._seconds: Callable[[], float] = time.monotonic
        self._begun = 0.0
        self._number = 0

    def begin(self, clock: IReactorTime) -> datetime:
        # Reactors count the time of day; a clock that was given for tests counts what the test says.
        self._seconds = time.monotonic if isinstance(clock, ReactorBase) else clock.seconds
        self._begun = self._seconds()
        self._number = 0
        return self._now()

    def passed(self) -> tuple[int, datetime]:
        elapsed = self._seconds() - self._begun
        number = max(self._number, int(elapsed / self._interval + TOLERANCE))
        passed = number - self._number
        self._number = number
        late = max(0.0, elapsed - number * self._interval)
        return passed, self._now() - timedelta(seconds=late)

    def remaining(self) -> float:
        # A little early, for the same reason; passed() counts that as due.
        due = self._begun + (self._number + 1 - TOLERANCE / 2) * self._interval
        return max(0.0, due - self._seconds())


class _Dates:
    """When the time of day fits a cron expression."""

    def __init__(self, calendar: Calendar, now: Callable[[], datetime]) -> None:
        self._calendar = calendar
        self._now = now
        self._seen: datetime
        self._coming: Iterator[datetime]
        self._next: datetime

    def begin(self, clock: IReactorTime) -> datetime:
        moment = self._now()
        self._follow(moment)
        return moment.astimezone(self._calendar.zone)

    def _follow(self, moment: datetime) -> None:
        self._seen = moment
        self._coming = self._calendar.after(moment)
        self._next = next(self._coming)

    def passed(self) -> tuple[int, datetime]:
        moment = self._now()
        if moment < self._seen - timedelta(seconds=LOOK_SECONDS):
            self._follow(moment)
        self._seen = moment
        passed, last = 0, moment
        while self._next <= moment:
            passed, last = passed + 1, self._next
            if passed >= MAX_COUNTED:
                self._follow(moment)
            else:
                self._next = next(self._coming)
        return passed, last.astimezone(self._calendar.zone)

    def remaining(self) -> float:
        return (self._next - self._now()).total_seconds()


@implementer(IEventSource)
class TimerSource:
    """
    Puts a :class:`Tick` every so many seconds, or when a cron expression says so.

    Ticks never pile up.  While a ``put`` waits none is put; those that fall due meanwhile are missed, and counted in the
    next one.  The same becomes of those that fell due while the program was kept from its work: it makes up for them with one
    tick.

    An *interval* is counted by a clock that nobody sets; time in which the machine is suspended is not counted.  Ticks do not
    drift: the hundredth is due a hundred intervals after the start.  Twisted's reactors wait by the time of day, though, and when
    that is set back they wait for longer.

    A *cron expression* is compared with the time of day in its zone.  That is looked at once a minute, so that a clock that was
    set, or a machine that was suspended, is noticed: what fell due meanwhile leads to one tick.  When the clock was set back by
    more than a minute, times that come again count again; by less, they do not.  When clocks change, it goes as with Debian's
    cron: what is to happen at a fixed time of day happens once on every day, be that time left out (then it happens as soon as
    the clock has been put forward) or shown twice; what is to happen every so many minutes goes on evenly.
    """

    def __init__(
        self,
        interval: float | None = None,
        *,
        cron: str | None = None,
        time_zone: str | tzinfo | None = None,
        data: Callable[[Tick], Any] | None = None,
        at_once: bool = False,
        handler: Any = None,
        clock: IReactorTime | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """
        :param interval: seconds from one tick to the next.
        :param cron: a cron expression, in place of an interval: five fields, as ``30 3 * * MON-FRI``, or six with seconds first.
            This needs the extra ``cron``.
        :param time_zone: of the cron expression, by name (``Europe/Oslo``) or as an object; ``None`` for UTC.
        :param data: makes an event's data of the tick; ``None`` for the tick itself.
        :param at_once: whether there is a tick at the start too; otherwise the first comes after one interval.
        :param handler: an :class:`~twisted_evproc.interfaces.IEventHandler`, a dispatcher or a processor; ``None`` for the
            handler of the pump.
        :param clock: to wait by; ``None`` for the global reactor.
        :param now: gives the time of day, as a ``datetime`` with a time zone; ``None`` for that of the machine.
        :raises twisted_evproc.errors.ConfigurationError: for an option that makes no sense.
        :raises twisted_evproc.errors.MissingExtra: for a cron expression, when what the extra brings is not installed.
        """
        if (interval is None) == (cron is None):
            raise ConfigurationError("a TimerSource takes either interval (seconds) or cron (an expression): give one of them")
        if cron is None and time_zone is not None:
            raise ConfigurationError(f"time_zone={time_zone!r} goes with cron: an interval is the same everywhere")
        for function, option in ((data, "data"), (now, "now")):
            if function is not None and not callable(function):
                raise ConfigurationError(f"{option}={function!r} has to be a function, such as {option}={_EXAMPLES[option]}")
        self._given_now = now
        self._schedule: _Schedule
        if cron is None:
            self._schedule = _Interval(needed_seconds(interval, "interval"), self._now)
            self._name = f"timer every {interval:g} s"
        else:
            calendar = Calendar(cron, time_zone)
            self._schedule = _Dates(calendar, self._now)
            self._name = f"timer at {calendar}"
        self._data = data
        self._at_once = flag(at_once, "at_once")
        self._handler = as_handler(handler, "handler")
        self._clock = checked_clock(clock, "clock")
        self._work: Work | None = None

    def __str__(self) -> str:
        return self._name

    def start(self, sink: IEventSink) -> None:
        """
        See :meth:`IEventSource.start`.

        :raises twisted_evproc.errors.ConfigurationError: when it runs already, or ``now`` gives something else than it has to.
        """
        if self._work is not None:
            raise started_already(self)
        clock = default_clock(self._clock)
        begun = self._schedule.begin(clock)
        work = self._work = Work(self, sink, clock)
        work.begin(self._tick(work, begun))

    def stop(self) -> Deferred[None]:
        """
        See :meth:`IEventSource.stop`.

        Cancelling it takes the event back whose ``put`` waits.
        """
        return succeed(None) if self._work is None else self._work.end()

    async def _tick(self, work: Work, begun: datetime) -> None:
        try:
            count = missed = 0
            passed, due = int(self._at_once), begun
            while not work.stopping:
                if passed:
                    count += 1
                    waiting = work.put(self._event(Tick(due, count, missed + passed - 1)))
                    if waiting is not None:
                        await waiting
                    missed, _ = self._schedule.passed()
                else:
                    await work.nap(min(self._schedule.remaining(), LOOK_SECONDS))
                passed, due = self._schedule.passed()
        finally:
            self._work = None

    def _event(self, tick: Tick) -> QueuedEvent:
        try:
            return QueuedEvent(self, self._handler, tick if self._data is None else self._data(tick))
        except Exception as error:
            return QueuedEvent(self, RaiseEventHandler(error), tick)

    def _now(self) -> datetime:
        if self._given_now is None:
            return datetime.now(UTC)
        found: Any = self._given_now()
        if not isinstance(found, datetime) or found.utcoffset() is None:
            raise ConfigurationError(f"now() has to give a datetime with a time zone, such as datetime.now(UTC), not {found!r}")
        return found.astimezone(UTC)


_EXAMPLES = {"data": "lambda tick: 'check'", "now": "lambda: datetime.now(UTC)"}
