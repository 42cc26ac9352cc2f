"""Times of day that fit a cron expression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any, cast
from zoneinfo import ZoneInfo

from .errors import ConfigurationError, MissingExtra


class Calendar:
    """
    When the time of day in a zone fits a cron expression.

    When clocks change, it goes as with Debian's cron: what is to happen at a fixed time of day happens once on every day, be that
    time left out (then it happens as soon as the clock has been put forward) or shown twice; what is to happen every so many
    minutes goes on evenly.

    :ivar expression: the expression.
    :ivar zone: the zone.
    """

    def __init__(self, expression: str, time_zone: str | tzinfo | None) -> None:
        """
        :param expression: five fields, as ``30 3 * * MON-FRI``, or six with seconds first.
        :param time_zone: by name (``Europe/Oslo``) or as an object; ``None`` for UTC.
        :raises twisted_evproc.errors.ConfigurationError: for what is neither.
        :raises twisted_evproc.errors.MissingExtra: when what the extra ``cron`` brings is not installed.
        """
        self.expression = expression
        self.zone = _zone(time_zone)
        self._simulate = _simulator()
        if not isinstance(expression, str):
            raise ConfigurationError(f"cron={expression!r} has to be text, such as '30 3 * * MON-FRI'")
        try:
            next(self.after(datetime.now(UTC)))
        except StopIteration:
            raise ConfigurationError(f"cron={expression!r} never fits within the next 50 years") from None
        except Exception as error:
            raise ConfigurationError(
                f"cron={expression!r} is no cron expression: {error}.  It has five fields, minute, hour, day of the month, month "
                f"and day of the week, such as '30 3 * * MON-FRI'; or six, the first of them the second."
            ) from error

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times behind a moment, in UTC, without end."""
        # In UTC: two times of one zone are compared by what the clock on the wall shows, which shows some times twice.
        last = moment
        for local in self._simulate(self.expression, moment.astimezone(self.zone)):
            found = local.astimezone(UTC)
            if found > last:  # what falls into the hour that is left out comes several times, at its end
                yield found
                last = found

    def __str__(self) -> str:
        return f"{self.expression!r} in {self.zone}"


def _zone(zone: Any) -> tzinfo:
    if zone is None:
        return UTC
    if isinstance(zone, tzinfo):
        return zone
    try:
        return ZoneInfo(zone)
    except Exception as error:
        # KeyError, ValueError, OSError or TypeError, by what is wrong with the name.
        raise ConfigurationError(
            f"time_zone={zone!r} is not known here: give a name such as 'Europe/Oslo'; where the system has no time zones, the "
            f"package tzdata brings them"
        ) from error


def _simulator() -> Callable[[str, datetime], Iterator[datetime]]:
    try:
        from cronsim import CronSim
    except ImportError as error:
        raise MissingExtra("a cron expression", "cron") from error
    return cast("Callable[[str, datetime], Iterator[datetime]]", CronSim)
