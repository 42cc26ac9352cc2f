"""What a test says about what was fired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from twisted_evproc import COLLECT, EventDispatcher, glob
from twisted_evproc.testing import (
    Captured,
    assert_fired,
    assert_handled,
    assert_no_failures,
    assert_not_fired,
    assert_order,
    assert_unhandled,
    capture,
    result_now,
)


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def dispatcher() -> EventDispatcher:
    dispatcher = EventDispatcher(["role", "user"], on_failure=COLLECT)
    result_now(dispatcher.start())

    @dispatcher.handler("during", role="admin")
    def audit(event: Any) -> None:
        pass

    return dispatcher


@pytest.fixture
def captured(dispatcher: EventDispatcher) -> Captured:
    with capture(dispatcher) as captured:
        result_now(dispatcher.fire_event("login", user="ada", role="admin"))
        result_now(dispatcher.fire_event("login", user="bob"))
        result_now(dispatcher.fire_event("logout", user="ada"))
    return captured


class TestFired:
    def test_what_was_fired_is_given_back(self, captured: Captured) -> None:
        assert len(assert_fired(captured)) == 3
        assert [fired.details["user"] for fired in assert_fired(captured, "login")] == ["ada", "bob"]
        assert assert_fired(captured, user="ada", times=2).events == ["login", "logout"]
        assert assert_fired(captured, glob("log*"), times=3) is not captured
        assert assert_fired(captured, where=lambda event: event == "logout", times=1)
        assert len(assert_fired(captured, "login", user="eve", times=0)) == 0

    def test_the_message_shows_what_was_and_the_nearest(self, captured: Captured) -> None:
        assert message_of(lambda: assert_fired(captured, "logout", user="bob", role=None)) == (
            "nothing was fired with event='logout', user='bob', role=None; what was fired:\n"
            "  1. 'login', user='ada', role='admin': handled\n"
            "  2. 'login', user='bob': unhandled\n"
            "  3. 'logout', user='ada': unhandled   <- nearest: user is 'ada'"
        )

    def test_a_detail_that_is_not_there_is_named(self, captured: Captured) -> None:
        assert "<- nearest: role is not there" in message_of(lambda: assert_fired(captured, "logout", role="admin"))

    def test_how_often(self, captured: Captured) -> None:
        assert message_of(lambda: assert_fired(captured, "login", times=1)) == (
            "fired 2 times, not 1 with event='login'; what was fired:\n"
            "  1. 'login', user='ada', role='admin': handled   <- this\n"
            "  2. 'login', user='bob': unhandled   <- this\n"
            "  3. 'logout', user='ada': unhandled"
        )
        assert message_of(lambda: assert_fired(captured, "signup", times=2)).startswith("fired never, not 2 with event='signup'")

    def test_nothing_at_all(self) -> None:
        assert message_of(lambda: assert_fired([], "login")) == "nothing was fired with event='login': nothing was fired at all."

    def test_a_dispatcher_that_is_not_started_is_named(self) -> None:
        dispatcher = EventDispatcher(name="shop")
        with capture(dispatcher) as captured:
            result_now(dispatcher.fire_event("login"))
        assert message_of(lambda: assert_fired(captured)).endswith("<EventDispatcher 'shop'> is not started: call start() first.")

    def test_a_filter_that_fails_is_no_match(self, captured: Captured) -> None:
        assert "fails with AttributeError" in message_of(lambda: assert_fired(captured, where=lambda event: event.nothing))

    def test_of_many_a_few_are_shown_and_the_nearest(self, dispatcher: EventDispatcher) -> None:
        with capture(dispatcher) as captured:
            for number in range(100):
                result_now(dispatcher.fire_event(number, user="ada" if number == 70 else "bob"))
        lines = message_of(lambda: assert_fired(captured, -1, user="ada")).splitlines()
        assert len(lines) == 23
        assert lines[-2:] == ["  71. 70, user='ada': unhandled   <- nearest: event is 70", "  ... 100 in all"]


class TestNotFired:
    def test_what_was_not(self, captured: Captured) -> None:
        assert_not_fired(captured, "signup")
        assert_not_fired(captured, "logout", user="bob")
        assert_not_fired([])

    def test_what_was(self, captured: Captured) -> None:
        assert message_of(lambda: assert_not_fired(captured, user="bob")) == (
            "fired once with user='bob'; what was fired:\n  1. 'login', user='bob': unhandled"
        )


class TestHandled:
    def test_by_anybody_or_by_name(self, captured: Captured) -> None:
        assert len(assert_handled(captured, "login", role="admin")) == 1
        assert_handled(captured, role="admin", by="audit")
        assert_unhandled(captured, "logout")

    def test_by_nobody(self, captured: Captured) -> None:
        assert message_of(lambda: assert_handled(captured, "logout")) == (
            "nobody handled <Fired 'logout', user='ada': unhandled>; called: nobody"
        )

    def test_by_another(self, captured: Captured) -> None:
        assert message_of(lambda: assert_handled(captured, role="admin", by=["audit", "mail"])) == (
            "<Fired 'login', user='ada', role='admin': handled> did not call 'mail'; called: 'audit'"
        )

    def test_each_time(self, captured: Captured) -> None:
        assert "user='bob'" in message_of(lambda: assert_handled(captured, "login"))

    def test_not_fired_at_all(self, captured: Captured) -> None:
        assert "nothing was fired" in message_of(lambda: assert_handled(captured, "signup"))
        assert "nothing was fired" in message_of(lambda: assert_unhandled(captured, "signup"))

    def test_unhandled_after_all_handled(self, captured: Captured) -> None:
        assert "is not unhandled; called: 'audit'" in message_of(lambda: assert_unhandled(captured, role="admin"))

    def test_handlers_of_one_under_way_count(self, dispatcher: EventDispatcher) -> None:
        waiting: Deferred[None] = Deferred()
        result_now(dispatcher.add_event_handler(lambda event: waiting, "after"))
        with capture(dispatcher) as captured:
            firing = dispatcher.fire_event("login", role="admin")
        assert_handled(captured, by="audit")
        assert "is not unhandled" in message_of(lambda: assert_unhandled(captured))
        assert "has not come to an end" in message_of(lambda: assert_no_failures(captured))
        waiting.callback(None)
        result_now(firing)
        assert_no_failures(captured)


class TestNoFailures:
    def test_tracebacks_are_shown(self, dispatcher: EventDispatcher) -> None:
        @dispatcher.handler("after", role="admin")
        def breaks(event: Any) -> None:
            raise ValueError("planted")

        with capture(dispatcher) as captured:
            outcome = result_now(dispatcher.fire_event("login", role="admin"))
        for found in (captured, outcome):
            message = message_of(lambda found=found: assert_no_failures(found))  # type: ignore[misc]  # mypy takes it for two types
            assert message.startswith("1 handler(s) failed:\n'breaks' for ")
            assert "in breaks" in message and "ValueError: planted" in message

    def test_none(self, captured: Captured) -> None:
        assert_no_failures(captured)


class TestOrder:
    def test_others_may_stand_between(self, captured: Captured) -> None:
        assert_order(captured, "login", "logout")
        assert_order(captured, "login", "login", glob("*out"))
        assert_order(captured)

    def test_another_order(self, captured: Captured) -> None:
        message = message_of(lambda: assert_order(captured, "logout", "login"))
        assert message.startswith("'login' was not fired behind 'logout'; what was fired:\n")
        assert "'signup' was not fired;" in message_of(lambda: assert_order(captured, "signup"))
