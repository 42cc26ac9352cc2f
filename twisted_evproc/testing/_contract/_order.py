"""Phases, and the order inside them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from ...errors import OrderingError, RequirementCycle
from .._deferreds import result_now
from ._scene import Contract, fired, refused


class Order(Contract):
    """Phases, and the order inside them."""

    def test_they_run_in_the_order_given(self) -> None:
        scene = self.scene(phases=["zulu", "alpha", "mike", "bravo"])
        for phase in sorted(scene.phases):
            scene.plain(f"{phase} 1", phase)
            scene.plain(f"{phase} 2", phase)

        assert scene.heard() == [f"{phase} {number}" for phase in ("zulu", "alpha", "mike", "bravo") for number in (1, 2)]

    def test_one_phase_is_enough(self) -> None:
        scene = self.scene(phases=["only"])
        scene.plain("handler", "only")
        assert scene.heard() == ["handler"]

    def test_the_next_one_waits_for_all_of_this_one(self) -> None:
        scene = self.scene()
        scene.slow("b1", "before")
        scene.slow("b2", "before")
        scene.plain("d", "during")
        scene.slow("a", "after")

        firing = scene.fire()
        assert scene.calls == ["b1", "b2"]
        scene.pending["b2"].callback(None)
        assert scene.calls == ["b1", "b2"]
        scene.pending["b1"].callback(None)
        assert scene.calls == ["b1", "b2", "d", "a"]
        assert not fired(firing)
        scene.pending["a"].callback(None)
        assert fired(firing)

    def test_asynchronous_handlers_of_one_phase_run_concurrently(self) -> None:
        scene = self.scene()
        scene.slow("slow")
        scene.plain("plain")
        waiting: Deferred[None] = Deferred()

        async def coroutine(event: Any) -> None:
            scene.calls.append("coroutine")
            await waiting
            scene.calls.append("coroutine goes on")

        scene.add(coroutine)
        scene.plain("last")
        firing = scene.fire()

        assert scene.calls == ["slow", "plain", "coroutine", "last"]
        waiting.callback(None)
        assert scene.calls[4:] == ["coroutine goes on"]
        assert not fired(firing)
        scene.pending["slow"].callback(None)
        assert fired(firing)

    def test_synchronous_handlers_run_straight_through(self) -> None:
        scene = self.scene()
        for phase in scene.phases:
            scene.plain(phase, phase, value=phase)
        assert result_now(scene.fire()).values == ("before", "during", "after")

    def test_phases_after_a_failure_run_under_the_default_policy(self) -> None:
        scene = self.scene()
        scene.failing("b", "before")
        scene.plain("a", "after")
        assert scene.heard() == ["b", "a"]

    def test_registration_order_inside_a_phase(self) -> None:
        scene = self.scene()
        for number in range(20):
            scene.plain(f"h{number}", **({"user": "ada"} if number % 3 else {}), **({"role": "admin"} if number % 2 else {}))
        assert scene.heard(user="ada", role="admin") == [f"h{number}" for number in range(20)]

    def test_required_handlers_come_first(self) -> None:
        scene = self.scene()
        scene.plain("c", requires="b")
        scene.plain("b", requires=["a"])
        scene.plain("x")
        scene.plain("a")
        assert scene.heard() == ["x", "a", "b", "c"]

    def test_required_by_is_the_same_from_the_other_side(self) -> None:
        scene = self.scene()
        scene.plain("b")
        scene.plain("a", required_by="b")
        assert scene.heard() == ["a", "b"]

    def test_a_handler_waits_for_the_one_it_requires_and_others_do_not(self) -> None:
        scene = self.scene()
        scene.slow("a")
        scene.plain("b", requires="a")
        scene.plain("c")
        scene.plain("d", requires="b")

        firing = scene.fire()
        assert scene.calls == ["a", "c"]
        scene.pending["a"].callback(None)
        assert scene.calls == ["a", "c", "b", "d"]
        assert [result.name for result in result_now(firing).results] == ["a", "c", "b", "d"]

    def test_of_a_name_that_several_have_all_are_waited_for(self) -> None:
        scene = self.scene()
        pending: list[Deferred[None]] = []

        def slow(event: Any) -> Deferred[None]:
            pending.append(Deferred())
            return pending[-1]

        scene.add(slow, handler_name="slow")
        scene.add(slow, handler_name="slow")
        scene.plain("last", requires="slow")
        _ = scene.fire()
        pending[1].callback(None)
        assert scene.calls == []
        pending[0].callback(None)
        assert scene.calls == ["last"]

    def test_a_name_that_is_not_there_counts_as_fulfilled(self) -> None:
        scene = self.scene()
        scene.plain("b", requires=["a", "nobody"])
        scene.plain("a", user="ada")

        assert scene.heard() == ["b"]
        assert scene.heard(user="ada") == ["a", "b"]

    def test_a_required_handler_in_an_earlier_phase(self) -> None:
        scene = self.scene()
        scene.plain("late", "after", requires="early")
        scene.failing("early", "before")
        outcome = result_now(scene.fire())

        assert scene.calls == ["early"]
        assert outcome.results[1].skipped

    def test_a_requirement_on_a_later_phase_is_refused(self) -> None:
        scene = self.scene()
        scene.plain("late", "after")
        refused(lambda: scene.plain("early", "before", requires="late"), OrderingError, "'early'.*'late'.*'after'")
        scene.plain("middle", "during", required_by="later")
        refused(lambda: scene.plain("later", "before"), OrderingError)
        assert scene.heard() == ["middle", "late"]

    def test_a_cycle_is_refused_and_spelt_out(self) -> None:
        scene = self.scene()
        scene.plain("a", requires="b")
        scene.plain("b", requires="c")
        refused(lambda: scene.plain("c", requires="a"), RequirementCycle, "'a' requires 'b' requires 'c' requires 'a'")
        refused(lambda: scene.plain("self", requires="self"), RequirementCycle)
        assert scene.heard() == ["b", "a"]

    def test_handlers_whose_required_handler_failed_are_skipped(self) -> None:
        scene = self.scene()
        scene.failing("a")
        scene.plain("b", requires="a")
        scene.plain("c", requires="b")
        scene.plain("d")
        outcome = result_now(scene.fire())

        assert scene.calls == ["a", "d"]
        skipped = {result.name: result.reason for result in outcome.results if result.skipped}
        assert set(skipped) == {"b", "c"}
        assert "'a' failed" in skipped["b"]
        assert outcome.values == (None,)

    def test_also_when_the_required_handler_fails_late(self) -> None:
        scene = self.scene()
        scene.slow("a")
        scene.plain("b", requires="a")
        firing = scene.fire()
        scene.pending["a"].errback(ValueError("x"))

        assert result_now(firing).results[1].skipped
        assert scene.calls == ["a"]
