"""The way back is told as it was."""

from __future__ import annotations

from itertools import pairwise

import pytest
from twisted.internet.defer import Deferred

from tests.flow.views.scenes import Play, fail, shop
from twisted_evproc.errors import FlowDefinitionError
from twisted_evproc.flow import ResourcePool, RunMode, StepStatus, not_by
from twisted_evproc.flow.views import Sight, infer, why


def told(play: Play, name: str, sequence: str | None = None, **options: str) -> list[str]:
    living = options.pop("living", None)
    kind = options.pop("kind", None)
    return [f"{'  ' * each.depth}{each.mark} {each.text}" for each in why(play.sight(living), name, sequence, kind, now=play.now)]


def text(play: Play, name: str, sequence: str | None = None, **options: str) -> str:
    return "\n".join(told(play, name, sequence, **options))


class TestWhyNot:
    def test_it_goes_back_through_an_expression_to_the_step_that_failed(self) -> None:
        lines = told(shop(), "send", "1")

        assert lines[0] == "no step 'send' has not been reached for sequence 1"
        found = "\n".join(lines)
        assert "it needs 'paid' and one of ('packed', 'by hand')" in found
        assert "yes flow event 'paid' happened for sequence 1" in found
        assert "one of ('packed', 'by hand') does not hold: 0 of the 1 it needs" in found
        assert "no it comes from success of step 'pack'" in found
        assert "step 'pack' failed instead" in found
        assert "failed step 'pack' failed" in found and "ValueError: no boxes" in found
        assert "'by hand' has not happened for sequence 1: nothing in the flow leads to it" in found
        assert lines[-1].startswith("note the run has failed and begins nothing more: nothing handles the failure of 'pack' [1]")

    def test_each_thing_is_explained_once(self) -> None:
        found = text(shop(), "send", "1")

        assert found.count("flow event 'order' happened for sequence 1") == 1
        assert "flow event 'order' happened: see above" in found

    def test_a_delay_says_when_it_is_due(self) -> None:
        play = shop(packs=True)
        play.clock.advance(600)

        found = text(play, "ask", "1")

        assert "waits it follows from flow event 'sent' after 1 hour" in found
        assert "(in 50 minutes)" in found
        assert "delays wait until it is continued" in found

    def test_an_event_that_was_to_stay_away_and_did_not(self) -> None:
        assert "'paid' happened in time" in text(shop(), "late", "1")

    def test_an_event_that_is_watched(self) -> None:
        play = Play()
        order = play.flow.add_event("order")
        paid = play.flow.add_event("paid")
        play.flow.add_event("late", not_by(paid, 60))
        play.flow.trigger_event(order, 1)
        play.run()
        assert "'paid' has to stay away until" in text(play, "late", "1")

        play.clock.advance(61)
        assert "nobody works on the run, so nothing came of it" in text(play, "late", "1")

    def test_resources_name_their_holders(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        gpu = ResourcePool("gpu", 2)
        play.step("first", go, play.waiting("first"), acquires=[(gpu, 2)])
        play.step("second", go, acquires=[(gpu, 1)])
        play.flow.trigger_event(go, "a")
        play.run()

        found = text(play, "second", "a", living="host:1")

        assert "step 'second' waits for resources" in found
        assert "it needs 1 of 'gpu', of which 0 of 2 are free: step 'first' [a] holds 2" in found

    def test_the_limit_of_a_step(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        play.step("one at a time", go, play.waiting("it"), config={"max_concurrent": 1})
        play.flow.trigger_event(go, 1)
        play.flow.trigger_event(go, 2)
        play.run()

        found = text(play, "one at a time", "2", living="host:1")

        assert "has not begun" in found and "the step may run 1 at a time, and 1 of it run" in found

    def test_another_attempt_that_is_due(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        play.step("flaky", go, fail, config={"retries": 3, "backoff": 100})
        play.flow.trigger_event(go, 1)
        play.run()

        assert "waits for attempt 2, due" in text(play, "flaky", "1", living="host:1")

    def test_a_step_whose_engine_died(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        play.step("long", go, play.waiting("long"))
        play.flow.trigger_event(go, 1)
        play.run()

        assert "waits step 'long' runs since" in text(play, "long", "1", living="host:1")
        dead = text(play, "long", "1")
        assert "nobody knows how far it came" in dead
        assert "the run is interrupted: its engine" in dead

    def test_nothing_has_happened_yet(self) -> None:
        play = Play()
        play.step("never", play.flow.add_event("go"))
        play.run()

        assert "no flow event has happened in this run yet" in text(play, "never")

    def test_a_step_that_nothing_leads_to(self) -> None:
        play = Play()
        play.flow.add_step("alone", fail)
        play.flow.trigger_event(play.flow.add_event("go"), 1)
        play.run()

        assert "no flow event leads to it" in text(play, "alone", "1")

    def test_without_a_description_it_says_so(self) -> None:
        play = shop()
        sight = Sight(infer(play.snapshot), play.snapshot, None)

        found = "\n".join(each.text for each in why(sight, "pack", "1", now=play.now))
        assert "step 'pack' failed" in found
        assert "has no description" in "\n".join(
            each.text for each in why(Sight(infer(play.snapshot), play.snapshot, None), "order", "2", now=play.now)
        )


class TestWhy:
    def test_it_goes_back_to_the_program(self) -> None:
        lines = told(shop(packs=True), "send", "1")

        assert lines[0].startswith("yes step 'send' succeeded")
        assert lines[1].startswith("  yes flow event 'ship' happened for sequence 1")
        assert any("step 'charge' triggers it with its success" in line for line in lines)
        assert any(line.endswith("the program triggered it") for line in lines)
        # What the expression did not need is left out.
        assert not any("by hand' has not happened" in line for line in lines)

    def test_a_flow_event_that_the_calendar_brought(self) -> None:
        play = Play()
        night = play.flow.add_event("night")
        play.flow.add_schedule(night, "0 0 * * *")
        play.step("back up", night)
        play.run(max_loops=-1).clock.advance(24 * 3600)

        assert any(line.endswith(": its schedule said so") for line in told(play, "back up"))

    def test_a_handled_failure(self) -> None:
        play = Play()
        go, sorry = play.flow.add_event("go"), play.flow.add_event("sorry")
        play.step("bad", go, fail, triggers={StepStatus.failure: sorry})
        play.flow.trigger_event(go, 1)
        play.run()

        assert "its failure is handled" in text(play, "sorry", "1")

    def test_a_recovery_that_skipped_says_when_it_was_done(self) -> None:
        play = shop()
        play.clock.advance(100)
        again = shop(before=play, packs=True, mode=RunMode.recover)

        assert "was not run again in recovery 1: it counts as done since it succeeded in recovery 0" in text(again, "charge", "1")


class TestChoice:
    def test_the_sequence_that_says_most(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        done: list[int] = []

        def second_fails() -> None:
            done.append(1)
            if len(done) == 2:
                fail()

        play.step("some", go, second_fails)
        for sequence in (1, 2, 10):
            play.flow.trigger_event(go, sequence)
        play.run()

        lines = told(play, "some")

        assert lines[0].startswith("note for sequence 2, the one that says most of 3")
        assert lines[1].startswith("failed step 'some' failed")

    def test_a_name_that_is_that_of_a_step_and_an_event(self) -> None:
        play = Play()
        go = play.flow.add_event("go")
        play.step("go", go)
        play.flow.trigger_event(go, 1)
        play.run()

        assert told(play, "go", "1")[0].startswith("yes step 'go' succeeded")
        assert told(play, "go", "1", kind="event")[0].startswith("yes flow event 'go' happened")

    def test_an_unknown_name_is_an_error(self) -> None:
        with pytest.raises(FlowDefinitionError, match="no step or flow event 'sned'"):
            told(shop(), "sned")

    def test_a_long_way_back_ends(self) -> None:
        play = Play()
        events = [play.flow.add_event(f"e{number}") for number in range(200)]
        for before, after in pairwise(events):
            play.flow.add_assoc(before, after)
        play.step("last", events[-1])
        play.flow.trigger_event(events[0], 1)
        play.run()

        found = told(play, "last", "1")

        assert len(found) < 60
        assert any("and so on; ask about" in line for line in found)

    def test_a_circle_ends(self) -> None:
        play = Play()
        a, b = play.flow.add_event("a"), play.flow.add_event("b")
        play.flow.add_assoc(a, b)
        play.flow.add_assoc(b, a)
        play.step("s", b)
        play.flow.trigger_event(play.flow.add_event("other"), 1)
        play.run()

        assert "see above" in text(play, "s", "1")


def test_the_engine_of_a_play_can_wait() -> None:
    # The control of the tests above: what is to be pending is.
    play = Play()
    go = play.flow.add_event("go")
    play.step("long", go, play.waiting("long"))
    play.flow.trigger_event(go, 1)
    play.run()
    assert isinstance(play.pending["long"], Deferred)
    assert play.snapshot.tasks[0].status == "active"
