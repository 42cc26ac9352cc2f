"""What the fake dispatcher has beyond the contract."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from twisted_evproc import RAISE, one_of
from twisted_evproc.errors import ConfigurationError, HandlerTimeout, KeywordNotAllowed, KeywordReserved, UnknownHandler
from twisted_evproc.testing import FakeDispatcher, assert_fired, assert_unhandled, capture, failure_now, result_now


@pytest.fixture
def fake() -> FakeDispatcher:
    fake = FakeDispatcher()
    result_now(fake.start())
    return fake


class TestRecord:
    def test_everything_fired_is_written_down(self, fake: FakeDispatcher) -> None:
        result_now(fake.fire_event("login", user="ada"))
        assert_unhandled(fake.fired, "login", user="ada")

    def test_also_while_it_is_not_started(self) -> None:
        fake = FakeDispatcher()
        result_now(fake.fire_event("login"))
        assert_unhandled(fake.fired, "login")

    def test_one_under_way_is_not_over(self, fake: FakeDispatcher) -> None:
        waiting: Deferred[None] = Deferred()
        result_now(fake.add_event_handler(lambda event: waiting, "during"))
        firing = fake.fire_event("slow")
        assert [fired.state for fired in fake.fired] == ["running"]
        waiting.callback(None)
        assert result_now(firing) is fake.fired[0].outcome

    def test_one_that_is_refused_is_not_written_down(self) -> None:
        fake = FakeDispatcher(["user"])
        with pytest.raises(KeywordNotAllowed):
            fake.fire_event("login", role="admin")
        assert len(fake.fired) == 0


class TestOptions:
    def test_any_keyword_by_default(self, fake: FakeDispatcher) -> None:
        heard: list[Any] = []
        result_now(fake.add_event_handler(heard.append, "during", whatever="this"))
        result_now(fake.fire_event(1, whatever="this", more=2))
        result_now(fake.fire_event(2, whatever="that"))
        assert heard == [1]
        assert fake.allowed_match_spec_keywords is None

    def test_it_has_a_clock_of_its_own(self, fake: FakeDispatcher) -> None:
        result_now(fake.add_event_handler(lambda event: Deferred(), "during", timeout=3))
        firing = fake.fire_event("slow")
        fake.clock.advance(3)
        assert [failure.type for failure in result_now(firing).failures] == [HandlerTimeout]

    def test_or_the_one_given(self) -> None:
        clock = Clock()
        assert FakeDispatcher(clock=clock).clock is clock

    @pytest.mark.parametrize(
        "options",
        [
            {"allowed_match_spec_keywords": "user"},
            {"phases": ()},
            {"phases": ("one", "one")},
            {"on_failure": "LOG"},
            {"clock": 5},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            FakeDispatcher(**options)

    def test_its_name_is_text(self) -> None:
        assert (FakeDispatcher(name=5).name, repr(FakeDispatcher(name=5))) == ("5", "<FakeDispatcher '5'>")  # type: ignore[arg-type]  # the test

    def test_reserved_words_cannot_be_keywords(self) -> None:
        with pytest.raises(KeywordReserved):
            FakeDispatcher(["where"])


class TestScripts:
    def test_answers_come_without_handlers(self, fake: FakeDispatcher) -> None:
        heard: list[Any] = []
        result_now(fake.add_event_handler(heard.append, "during"))
        fake.answers(1, 2, kind="ask")
        outcome = result_now(fake.fire_event("event", kind="ask", user="ada"))
        assert (outcome.values, outcome.event, dict(outcome.details)) == ((1, 2), "event", {"kind": "ask", "user": "ada"})
        assert outcome.handled
        assert heard == []
        result_now(fake.fire_event("other", kind="tell"))
        assert heard == ["other"]

    def test_no_answer_is_an_unhandled_event(self, fake: FakeDispatcher) -> None:
        result_now(fake.add_event_handler(print, "during"))
        fake.answers()
        assert not result_now(fake.fire_event("event")).handled

    def test_failures(self, fake: FakeDispatcher) -> None:
        error = OSError("planted")
        fake.fails_with(error, where=lambda event: event > 1)
        assert failure_now(fake.fire_event(2)) is error
        assert not result_now(fake.fire_event(1)).handled
        assert_fired(fake.fired, 2, times=1)

    def test_the_last_one_that_matches_counts(self, fake: FakeDispatcher) -> None:
        fake.answers("any")
        fake.answers("ada's", user=one_of("ada", "eve"))
        fake.fails_with(OSError(), user="eve")
        assert result_now(fake.fire_event("event")).values == ("any",)
        assert result_now(fake.fire_event("event", user="ada")).values == ("ada's",)
        failure_now(fake.fire_event("event", user="eve"), OSError)

    def test_they_are_captured(self, fake: FakeDispatcher) -> None:
        fake.answers(1, kind="ask")
        fake.fails_with(OSError(), kind="break")
        with capture(fake) as captured:
            result_now(fake.fire_event("event", kind="ask"))
            failure_now(fake.fire_event("event", kind="break"))
        assert [fired.state for fired in captured] == ["handled", "cancelled"]

    def test_a_keyword_that_is_not_allowed_is_refused(self) -> None:
        with pytest.raises(KeywordNotAllowed):
            FakeDispatcher(["user"]).answers(1, role="admin")


class TestObservers:
    def test_something_else_is_refused(self, fake: FakeDispatcher) -> None:
        with pytest.raises(ConfigurationError, match="firing_started"):
            fake.add_observer(object())
        with pytest.raises(UnknownHandler):
            fake.remove_observer(object())


def test_stopping_with_a_time_out_and_a_policy_that_raises() -> None:
    fake = FakeDispatcher(on_failure=RAISE)
    result_now(fake.start())
    result_now(fake.add_event_handler(lambda event: Deferred(), "during"))
    firing = fake.fire_event("slow")
    stopped = fake.stop(timeout=2)
    fake.clock.advance(2)
    assert stopped.called and firing.called


def test_nothing_in_the_package_imports_a_reactor_or_pytest() -> None:
    program = "import sys, twisted_evproc.testing; print({'pytest', '_pytest', 'twisted.internet.reactor'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (child.returncode, child.stdout) == (0, "set()\n"), child.stderr


def test_waiting_for_the_end_can_be_cancelled(fake: FakeDispatcher) -> None:
    waiting: Deferred[None] = Deferred()
    result_now(fake.add_event_handler(lambda event: waiting, "during"))
    firing = fake.fire_event("slow")
    stopped = fake.stop(timeout=2)
    stopped.cancel()
    failure_now(stopped, CancelledError)
    fake.clock.advance(2)
    waiting.callback(None)
    assert result_now(firing).handled
