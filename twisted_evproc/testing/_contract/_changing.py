"""Adding and removing while events are fired, and handlers that do so."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from ...dispatch import HandlerID
from .._deferreds import result_now
from ._scene import Contract, Scene, fired


class Changing(Contract):
    """Adding and removing while events are fired, and handlers that do so."""

    def test_a_handler_added_hears_the_next_firing_first(self) -> None:
        scene = self.scene()

        def adds(event: Any) -> None:
            scene.plain("same phase")
            scene.plain("later phase", "after")

        scene.add(adds, "before", max_calls=1)
        scene.slow("slow", "before")
        firing = scene.fire()
        scene.plain("added while it waits", "after")
        scene.pending["slow"].callback(None)
        result_now(firing)

        assert scene.calls == ["slow"]
        _ = scene.fire()
        scene.pending["slow"].callback(None)
        assert scene.calls == ["slow", "slow", "same phase", "later phase", "added while it waits"]

    def test_a_removed_handler_is_not_called_by_firings_under_way(self) -> None:
        scene = self.scene()
        ids: dict[str, HandlerID] = {}

        def removes(event: Any) -> None:
            result_now(scene.dispatcher.remove_event_handler(ids["same phase"]))
            result_now(scene.dispatcher.remove_event_handler(ids["later phase"]))

        scene.add(removes, max_calls=1)
        ids["same phase"] = scene.plain("same phase")
        ids["later phase"] = scene.plain("later phase", "after")
        scene.plain("stays", "after")
        outcome = result_now(scene.fire())

        assert scene.calls == ["stays"]
        assert [result.name for result in outcome.results if not result.skipped] == ["removes", "stays"]

    def test_a_removed_handler_is_not_called_by_firings_that_wait(self) -> None:
        scene = self.scene()
        scene.slow("slow", "before")
        handler_id = scene.plain("removed", "after")
        firing = scene.fire()
        result_now(scene.dispatcher.remove_event_handler(handler_id))
        scene.pending["slow"].callback(None)
        result_now(firing)
        assert scene.calls == ["slow"]

    def test_the_removed_handler_fulfils_requirements(self) -> None:
        scene = self.scene()
        scene.slow("slow", "before")
        handler_id = scene.plain("required")
        scene.plain("requires it", requires="required")
        firing = scene.fire()
        result_now(scene.dispatcher.remove_event_handler(handler_id))
        scene.pending["slow"].callback(None)
        result_now(firing)
        assert scene.calls == ["slow", "requires it"]

    def test_removal_waits_for_the_running_calls(self) -> None:
        scene = self.scene()
        pending: list[Deferred[None]] = []

        def slow(event: Any) -> Deferred[None]:
            pending.append(Deferred())
            return pending[-1]

        handler_id = scene.add(slow)
        for _ in range(2):
            _ = scene.fire()
        removal = scene.dispatcher.remove_event_handler(handler_id)

        assert not fired(removal)
        assert not result_now(scene.fire()).handled
        pending[1].callback(None)
        assert not fired(removal)
        pending[0].callback(None)
        assert result_now(removal) is None

    def test_removal_by_a_handler_waits_for_the_running_call_of_another(self) -> None:
        scene = self.scene()
        slow = scene.slow("slow")
        removals: list[Deferred[None]] = []
        scene.add(lambda event: removals.append(scene.dispatcher.remove_event_handler(slow)))
        firing = scene.fire()

        assert not fired(removals[0])
        scene.pending["slow"].callback("done")
        assert fired(removals[0])
        assert result_now(firing).values == ("done", None)

    def test_removal_waits_whether_the_call_fails_or_not(self) -> None:
        scene = self.scene()
        handler_id = scene.slow("slow")
        _ = scene.fire()
        removal = scene.dispatcher.remove_event_handler(handler_id)
        scene.pending["slow"].errback(ValueError("x"))
        result_now(removal)

    def test_removal_waits_for_a_first_call_and_for_later_ones(self) -> None:
        scene = self.scene()
        waits: list[Deferred[None]] = []

        async def sometimes(event: Any) -> None:
            if event == "slow":
                waits.append(Deferred())
                await waits[-1]

        handler_id = scene.add(sometimes)
        result_now(scene.fire("fast"))
        result_now(scene.fire("fast"))
        firing = scene.fire("slow")
        removal = scene.dispatcher.remove_event_handler(handler_id)

        assert not fired(removal)
        waits[0].callback(None)
        assert fired(removal) and fired(firing)

    def _check_self_removal(self, scene: Scene, handler: Callable[[Any], Any], ids: list[HandlerID], calls_before: int) -> None:
        ids.append(scene.add(handler))
        for _ in range(calls_before):
            result_now(scene.fire("stay"))
        firing = scene.fire("go")
        for _ in range(3):
            scene.clock.advance(1)
        assert result_now(firing).values == ("removed",)
        assert not result_now(scene.fire("go")).handled

    def _later(self, scene: Scene) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        scene.clock.callLater(1, deferred.callback, None)
        return deferred

    def test_self_removal_in_a_synchronous_handler(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_in_a_synchronous_handler(calls_before)

    def _self_removal_in_a_synchronous_handler(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        def handler(event: Any) -> Any:
            if event == "go":
                return scene.dispatcher.remove_event_handler(ids[0]).addCallback(lambda _: "removed")
            return None

        self._check_self_removal(scene, handler, ids, calls_before)

    def test_self_removal_in_a_coroutine_at_once(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_in_a_coroutine_at_once(calls_before)

    def _self_removal_in_a_coroutine_at_once(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        async def handler(event: Any) -> Any:
            if event == "go":
                await scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self._check_self_removal(scene, handler, ids, calls_before)

    def test_self_removal_in_a_coroutine_behind_an_await(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_in_a_coroutine_behind_an_await(calls_before)

    def _self_removal_in_a_coroutine_behind_an_await(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        async def handler(event: Any) -> Any:
            if event == "go":
                await self._later(scene)
                await scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self._check_self_removal(scene, handler, ids, calls_before)

    def test_self_removal_in_inline_callbacks_at_once(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_in_inline_callbacks_at_once(calls_before)

    def _self_removal_in_inline_callbacks_at_once(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        @inlineCallbacks
        def handler(event: Any) -> Generator[Deferred[Any], Any, Any]:
            if event == "go":
                yield scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self._check_self_removal(scene, handler, ids, calls_before)

    def test_self_removal_in_inline_callbacks_behind_a_yield(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_in_inline_callbacks_behind_a_yield(calls_before)

    def _self_removal_in_inline_callbacks_behind_a_yield(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        @inlineCallbacks
        def handler(event: Any) -> Generator[Deferred[Any], Any, Any]:
            if event == "go":
                yield self._later(scene)
                yield scene.dispatcher.remove_event_handler(ids[0])
            return "removed"

        self._check_self_removal(scene, handler, ids, calls_before)

    def test_self_removal_through_a_nested_firing(self) -> None:
        for calls_before in (0, 1, 3):
            self._self_removal_through_a_nested_firing(calls_before)

    def _self_removal_through_a_nested_firing(self, calls_before: int) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []

        async def remover(event: Any) -> None:
            await self._later(scene)
            await scene.dispatcher.remove_event_handler(ids[0])

        async def handler(event: Any) -> Any:
            if event == "go":
                await scene.fire("nested", user="remover")
            return "removed"

        scene.add(remover, user="remover")
        ids.append(scene.add(handler, role="outer"))
        for _ in range(calls_before):
            result_now(scene.fire("stay", role="outer"))
        firing = scene.fire("go", role="outer")
        for _ in range(3):
            scene.clock.advance(1)
        assert result_now(firing).values == ("removed",)

    def test_self_removal_other_calls_are_waited_for(self) -> None:
        scene = self.scene()
        ids: list[HandlerID] = []
        other: Deferred[None] = Deferred()

        async def handler(event: Any) -> str:
            if event == "other":
                await other
            else:
                await self._later(scene)
                await scene.dispatcher.remove_event_handler(ids[0])
            return "done"

        ids.append(scene.add(handler))
        _ = scene.fire("other")
        firing = scene.fire("go")
        scene.clock.advance(1)
        assert not fired(firing)
        other.callback(None)
        assert result_now(firing).values == ("done",)

    def test_a_handler_may_wait_for_what_it_fires(self) -> None:
        scene = self.scene()

        async def outer(event: Any) -> tuple[Any, ...]:
            outcome = await scene.fire("inner", user="inner")
            return outcome.values

        scene.slow("inner", user="inner")
        scene.add(outer, user="outer")
        firing = scene.fire("outer", user="outer")
        scene.pending["inner"].callback("value")
        assert result_now(firing).values == (("value",),)

    def test_a_handler_may_wait_for_stop(self) -> None:
        scene = self.scene()
        scene.add(lambda event: scene.dispatcher.stop().addCallback(lambda _: "stopped"))
        scene.plain("after", "after")
        outcome = result_now(scene.fire())
        assert outcome.values == ("stopped", None)
        assert not scene.dispatcher.running

    def test_a_coroutine_may_wait_for_stop_behind_an_await(self) -> None:
        for calls_before in (0, 1, 3):
            self._a_coroutine_may_wait_for_stop_behind_an_await(calls_before)

    def _a_coroutine_may_wait_for_stop_behind_an_await(self, calls_before: int) -> None:
        scene = self.scene()
        waiting: Deferred[None] = Deferred()

        async def stops(event: Any) -> None:
            if event == "go":
                await waiting
                await scene.dispatcher.stop()

        scene.add(stops)
        for _ in range(calls_before):
            result_now(scene.fire("stay"))
        firing = scene.fire("go")
        waiting.callback(None)
        assert result_now(firing).failures == ()

    def test_a_firing_may_end_inside_another(self) -> None:
        scene = self.scene()
        scene.slow("slow", user="first")
        scene.add(lambda event: scene.pending["slow"].callback("from inside"), user="second")
        first = scene.fire(user="first")
        result_now(scene.fire(user="second"))
        assert result_now(first).values == ("from inside",)
