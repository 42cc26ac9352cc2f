"""Ticks, on a clock and a time of day that the test sets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_evproc.errors import ConfigurationError, MissingExtra, PumpStopped
from twisted_evproc.interfaces import IEventSource
from twisted_evproc.sources import RaiseEventHandler
from twisted_evproc.sources._timer import LOOK_SECONDS, MAX_COUNTED, Tick, TimerSource
from twisted_evproc.testing import EventSourceContract, FakeSink, assert_pending

BEGIN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday


class Scene:
    """A timer, the two clocks it looks at, and where its ticks go."""

    def __init__(self, interval: float | None = None, begin: datetime = BEGIN, **options: Any) -> None:
        self.clock = Clock()
        self.now = begin
        self.sink = FakeSink()
        self.source = TimerSource(interval, clock=self.clock, now=lambda: self.now, **options)

    def start(self) -> Scene:
        self.source.start(self.sink)
        return self

    def pass_time(self, seconds: float, step: float | None = None) -> list[Any]:
        """What comes while so much time passes on both clocks."""
        before = len(self.sink.events)
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            length = min(step or seconds, (end - self.now).total_seconds())
            self.now += timedelta(seconds=length)
            self.clock.advance(length)
        return self.sink.data[before:]

    def stop(self) -> None:
        assert self.source.stop().called
        assert self.clock.getDelayedCalls() == []


def at(text: str, zone: Any = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def scheduled(ticks: list[Any]) -> list[str]:
    return [tick.scheduled.isoformat(sep=" ", timespec="minutes") for tick in ticks]


class TestContract(EventSourceContract):
    def make_source(self) -> Any:
        self.scene = Scene(1)
        return self.scene.source

    def happen(self, source: Any) -> None:
        self.scene.pass_time(1)


class TestInterval:
    def test_it_provides_the_interface_and_says_what_it_is(self) -> None:
        assert verifyObject(IEventSource, TimerSource(1.5))
        assert str(TimerSource(1.5)) == "timer every 1.5 s"

    def test_the_first_tick_comes_after_one_interval(self) -> None:
        scene = Scene(10).start()
        assert scene.pass_time(9, step=1) == []

        assert scene.pass_time(11, step=1) == [
            Tick(BEGIN + timedelta(seconds=10), 1, 0),
            Tick(BEGIN + timedelta(seconds=20), 2, 0),
        ]
        scene.stop()

    def test_at_once_there_is_one_at_the_start_too(self) -> None:
        scene = Scene(10, at_once=True).start()

        assert scene.sink.data == [Tick(BEGIN, 1, 0)]
        assert scene.pass_time(10) == [Tick(BEGIN + timedelta(seconds=10), 2, 0)]
        scene.stop()

    def test_an_interval_longer_than_a_look(self) -> None:
        scene = Scene(LOOK_SECONDS * 2.5).start()

        assert len(scene.pass_time(LOOK_SECONDS * 10, step=1)) == 4
        scene.stop()

    def test_the_time_of_day_may_be_set(self) -> None:
        scene = Scene(10).start()
        scene.now -= timedelta(hours=5)
        assert len(scene.pass_time(30, step=1)) == 3
        scene.now += timedelta(hours=50)

        assert [tick.missed for tick in scene.pass_time(30, step=1)] == [0, 0, 0]
        scene.stop()

    def test_ticks_that_fell_due_at_once_are_one(self) -> None:
        scene = Scene(10).start()

        assert scene.pass_time(57) == [Tick(BEGIN + timedelta(seconds=50), 1, 4)]
        assert scene.pass_time(3) == [Tick(BEGIN + timedelta(seconds=60), 2, 0)]
        scene.stop()

    def test_while_a_put_waits_ticks_are_missed_and_counted(self) -> None:
        scene = Scene(10).start()
        scene.sink.pause()
        scene.pass_time(45, step=1)
        assert len(scene.sink.waiting) == 1
        scene.sink.resume()
        assert len(scene.sink.events) == 1

        assert scene.pass_time(15, step=1) == [
            Tick(BEGIN + timedelta(seconds=50), 2, 3),
            Tick(BEGIN + timedelta(seconds=60), 3, 0),
        ]
        scene.stop()

    @given(interval=st.floats(0.001, 1_000), steps=st.lists(st.floats(0.01, 5), max_size=20))
    def test_every_tick_is_put_or_counted(self, interval: float, steps: list[float]) -> None:
        scene = Scene(interval).start()
        elapsed = 0.0
        for step in steps:
            scene.pass_time(step * interval)
            elapsed += step
        due = sum(1 + tick.missed for tick in scene.sink.data)

        assert elapsed - 1.001 < due < elapsed + 0.001
        assert [tick.count for tick in scene.sink.data] == list(range(1, len(scene.sink.data) + 1))
        scene.stop()

    @pytest.mark.parametrize("interval", [0.1, 0.3, 1 / 3, 0.7])
    def test_rounding_skips_no_tick(self, interval: float) -> None:
        scene = Scene(interval).start()
        for _ in range(1_000):
            scene.clock.advance(interval)

        assert [tick.missed for tick in scene.sink.data] == [0] * 1_000
        scene.stop()

    def test_each_start_begins_anew(self) -> None:
        scene = Scene(10).start()
        scene.pass_time(10)
        scene.stop()
        assert scene.pass_time(100) == []
        scene.start()

        assert scene.pass_time(10) == [Tick(BEGIN + timedelta(seconds=120), 1, 0)]
        scene.stop()

    def test_stop_waits_for_the_put_and_cancelling_takes_it_back(self) -> None:
        scene = Scene(10).start()
        scene.sink.pause()
        scene.pass_time(10)
        stopped = scene.source.stop()
        assert_pending(stopped)
        stopped.cancel()

        assert stopped.called
        assert scene.sink.waiting == []
        assert scene.clock.getDelayedCalls() == []
        scene.stop()

    def test_it_is_started_once(self) -> None:
        scene = Scene(10).start()
        with pytest.raises(ConfigurationError, match="was started already"):
            scene.start()
        scene.stop()

    def test_a_tick_that_is_not_taken_is_logged_once(self, logged: Callable[[], list[str]]) -> None:
        scene = Scene(10).start()
        scene.sink.refuse(PumpStopped("event", "pump"))
        scene.pass_time(30, step=10)
        scene.stop()

        assert len(logged()) == 2
        assert "timer every 10 s: 3 events were not taken in all" in logged()[1]


class TestData:
    def test_a_function_makes_it_of_the_tick(self) -> None:
        scene = Scene(10, data=lambda tick: f"check {tick.count}").start()

        assert scene.pass_time(20, step=10) == ["check 1", "check 2"]
        scene.stop()

    def test_its_failure_is_an_event(self) -> None:
        scene = Scene(10, data=lambda tick: tick.no_such).start()
        scene.pass_time(10)
        handler: Any = scene.sink.events[0].handler

        assert isinstance(handler, RaiseEventHandler)
        assert isinstance(handler.error, AttributeError)
        assert scene.sink.data == [Tick(BEGIN + timedelta(seconds=10), 1, 0)]
        scene.stop()


class TestCron:
    def test_it_says_what_it_is(self) -> None:
        assert str(TimerSource(cron="0 3 * * *", time_zone="Europe/Oslo")) == "timer at '0 3 * * *' in Europe/Oslo"
        assert str(TimerSource(cron="0 3 * * *")) == "timer at '0 3 * * *' in UTC"

    def test_it_follows_the_calendar(self) -> None:
        scene = Scene(cron="30 3 * * MON-FRI", begin=at("2026-03-05 12:00")).start()

        assert scheduled(scene.pass_time(5 * 86_400, step=30)) == [
            "2026-03-06 03:30+00:00",
            "2026-03-09 03:30+00:00",
            "2026-03-10 03:30+00:00",
        ]
        scene.stop()

    def test_seconds_may_come_first(self) -> None:
        scene = Scene(cron="*/20 * * * * *").start()

        assert [tick.scheduled.second for tick in scene.pass_time(60, step=1)] == [20, 40, 0]
        scene.stop()

    def test_the_zone_is_the_one_asked_for(self) -> None:
        for zone in ("America/New_York", ZoneInfo("America/New_York"), timezone(timedelta(hours=-5))):
            scene = Scene(cron="0 8 * * *", time_zone=zone).start()
            assert scheduled(scene.pass_time(86_400, step=60)) == ["2026-03-02 08:00-05:00"]
            scene.stop()

    @pytest.mark.parametrize(
        ("cron", "begin", "hours", "expected"),
        [
            # 2026-03-29, 02:00 becomes 03:00; 2026-10-25, 03:00 becomes 02:00
            ("30 2 * * *", "2026-03-28 12:00", 48, ["2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"]),
            ("0,30 2 * * *", "2026-03-28 12:00", 24, ["2026-03-29 03:00+02:00"]),
            ("30 2 * * *", "2026-10-24 12:00", 48, ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]),
            (
                "30 * * * *",
                "2026-10-25 01:00",
                4,
                ["2026-10-25 01:30+02:00", "2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00", "2026-10-25 03:30+01:00"],
            ),
            ("30 * * * *", "2026-03-29 01:00", 2, ["2026-03-29 01:30+01:00", "2026-03-29 03:30+02:00"]),
        ],
    )
    def test_when_clocks_change(self, cron: str, begin: str, hours: int, expected: list[str]) -> None:
        zone = ZoneInfo("Europe/Oslo")
        scene = Scene(cron=cron, time_zone="Europe/Oslo", begin=at(begin, zone).astimezone(UTC)).start()

        assert scheduled(scene.pass_time(hours * 3_600, step=60)) == expected
        scene.stop()

    def test_a_start_in_the_hour_shown_twice_does_not_repeat_it(self) -> None:
        begin = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Oslo"), fold=1).astimezone(UTC)
        scene = Scene(cron="30 2 * * *", time_zone="Europe/Oslo", begin=begin).start()

        assert scene.pass_time(3_600, step=60) == []
        scene.stop()

    def test_a_suspended_machine_makes_up_with_one_tick(self) -> None:
        scene = Scene(cron="0 * * * *").start()
        scene.now += timedelta(hours=5, minutes=30)  # and no time passes for the reactor
        scene.clock.advance(LOOK_SECONDS)

        assert scene.sink.data == [Tick(at("2026-03-02 17:00"), 1, 4)]
        assert scheduled(scene.pass_time(3_600, step=60)) == ["2026-03-02 18:00+00:00"]
        scene.stop()

    def test_a_clock_set_back_follows_the_time_of_day_anew(self) -> None:
        scene = Scene(cron="0 * * * *").start()
        scene.pass_time(3_660, step=60)
        scene.now -= timedelta(minutes=30)

        assert scheduled(scene.pass_time(3_600, step=60)) == ["2026-03-02 13:00+00:00"]
        scene.stop()

    def test_a_clock_set_back_by_a_moment_repeats_nothing(self) -> None:
        scene = Scene(cron="*/10 * * * * *").start()
        assert len(scene.pass_time(10, step=1)) == 1
        scene.now -= timedelta(seconds=15)

        assert scene.pass_time(24, step=1) == []
        assert [tick.scheduled.second for tick in scene.pass_time(1)] == [20]
        scene.stop()

    def test_counting_what_was_missed_has_an_end(self) -> None:
        scene = Scene(cron="* * * * *", begin=at("1970-01-01 00:00")).start()
        scene.now = at("2026-03-02 12:00")
        scene.clock.advance(LOOK_SECONDS)

        assert [tick.missed for tick in scene.sink.data] == [MAX_COUNTED - 1]
        assert scheduled(scene.pass_time(60)) == ["2026-03-02 12:01+00:00"]
        scene.stop()

    def test_while_a_put_waits_ticks_are_missed_and_counted(self) -> None:
        scene = Scene(cron="0 * * * *").start()
        scene.sink.pause()
        scene.pass_time(4 * 3_600 + 60, step=60)
        scene.sink.resume()

        assert scene.pass_time(3_600, step=60) == [Tick(at("2026-03-02 17:00"), 2, 3)]
        scene.stop()

    def test_at_once(self) -> None:
        scene = Scene(cron="0 * * * *", time_zone="Europe/Oslo", at_once=True).start()

        assert scheduled(scene.sink.data) == ["2026-03-02 13:00+01:00"]
        scene.stop()

    def test_without_the_library_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cronsim", None)
        TimerSource(1)
        with pytest.raises(MissingExtra, match=r"a cron expression needs .* install twisted_evproc\[cron\]"):
            TimerSource(cron="0 * * * *")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, "either interval .* or cron"),
            ({"interval": 1, "cron": "* * * * *"}, "either interval .* or cron"),
            ({"interval": 0}, "interval=0"),
            ({"interval": float("nan")}, "interval=nan"),
            ({"interval": 1, "time_zone": "UTC"}, "time_zone='UTC' goes with cron"),
            ({"interval": 1, "data": "check"}, "data='check' has to be a function"),
            ({"interval": 1, "now": BEGIN}, "now=.* has to be a function"),
            ({"interval": 1, "handler": "print"}, "handler"),
            ({"cron": "often"}, "cron='often' is no cron expression"),
            ({"cron": "61 * * * *"}, "cron='61 .* is no cron expression: Bad minute"),
            ({"cron": 5}, "cron=5 has to be text"),
            ({"interval": None, "cron": None}, "either interval .* or cron"),
            ({"interval": 1, "at_once": "no"}, "at_once='no' has to be True or False"),
            ({"interval": 1, "clock": 3}, "clock=3 keeps no time"),
            ({"cron": "0 0 30 2 *"}, "cron='0 0 30 2 .*' is no cron expression"),
            ({"cron": "* * */20 * 1L"}, "never fits"),
            ({"cron": "* * * * *", "time_zone": "Europe/Atlantis"}, "time_zone='Europe/Atlantis' is not known"),
            ({"cron": "* * * * *", "time_zone": 3}, "time_zone=3"),
        ],
    )
    def test_what_makes_no_sense(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            TimerSource(**options)

    def test_a_time_of_day_without_a_zone_is_refused_at_the_start(self) -> None:
        source = TimerSource(1, clock=Clock(), now=lambda: datetime(2026, 3, 2))  # noqa: DTZ001  that is the point
        with pytest.raises(ConfigurationError, match="has to give a datetime with a time zone"):
            source.start(FakeSink())

    def test_the_zone_of_now_does_not_matter(self) -> None:
        scene = Scene(10, begin=BEGIN.astimezone(ZoneInfo("Asia/Tokyo"))).start()

        assert scene.pass_time(10) == [Tick(BEGIN + timedelta(seconds=10), 1, 0)]
        scene.stop()
