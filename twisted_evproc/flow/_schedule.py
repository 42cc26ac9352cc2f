"""Flow events that happen by the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from .._calendar import Calendar


class Schedule:
    """
    Lets a flow event happen at times of day, each time for a sequence of its own.

    The sequence is the time that was due, as ``2026-11-21T06:00:00Z``: so no time counts twice, whoever repeats it.

    :ivar event: name of the flow event.
    :ivar key: as a delay row names it.
    """

    def __init__(self, event: str, cron: str, time_zone: str | tzinfo | None) -> None:
        """
        :param cron: a cron expression.
        :param time_zone: its zone; ``None`` for UTC.
        """
        self.event = event
        self._calendar = Calendar(cron, time_zone)
        self.key = f"schedule {self._calendar}"

    def next_after(self, now: float) -> tuple[float, str]:
        """
        When it is next time.

        :param now: in seconds since the epoch, as what is returned.
        :return: the time, and the sequence it stands for.
        """
        due = next(self._calendar.after(datetime.fromtimestamp(now, UTC)))
        return due.timestamp(), due.strftime("%Y-%m-%dT%H:%M:%SZ")
