"""Registering handlers, and what they are known by."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

from ...dispatch import HandlerID
from ...errors import ConfigurationError, HandlerNotCallable, UnknownHandler, UnknownPhase
from .._deferreds import result_now
from ._scene import Contract, fired, raises, refused


class Registering(Contract):
    """Registering handlers, and what they are known by."""

    def test_a_phase_that_is_not_there(self) -> None:
        scene = self.scene()
        refused(lambda: scene.add(print, "durign"), UnknownPhase, "'durign'.*'before', 'during', 'after'")
        refused(lambda: scene.add(print, 1), UnknownPhase, "1")  # type: ignore[arg-type]  # that is the point

    def test_an_option_that_makes_no_sense(self) -> None:
        for option, value in (
            ("max_calls", 0),
            ("max_calls", -1),
            ("max_calls", 1.5),
            ("max_calls", True),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", float("nan")),
            ("timeout", float("inf")),
            ("timeout", "1"),
            ("handler_name", ""),
            ("handler_name", 3),
            ("requires", 3),
            ("requires", [3]),
            ("required_by", [""]),
            ("where", 3),
        ):
            scene = self.scene()
            options: dict[str, Any] = {option: value}
            refused(partial(scene.add, print, **options), ConfigurationError)
            assert not result_now(scene.fire()).handled

    def test_what_cannot_be_called(self) -> None:
        scene = self.scene()
        refused(lambda: scene.add("print"), HandlerNotCallable, "'print'")  # type: ignore[arg-type]  # that is the point

    def test_what_cannot_be_weakly_referenced(self) -> None:
        scene = self.scene()
        refused(lambda: scene.add((3).__add__, use_weakref=True), HandlerNotCallable, "without use_weakref")

    def test_stopping_in_no_time(self) -> None:
        scene = self.scene()
        refused(lambda: scene.dispatcher.stop(timeout=-1), ConfigurationError)

    def test_ids_are_hashable_and_differ(self) -> None:
        scene = self.scene()
        ids = {scene.plain(str(number)) for number in range(100)}
        assert len(ids) == 100
        assert all(isinstance(handler_id, HandlerID) for handler_id in ids)

    def test_removing_an_unknown_id_fails_with_a_lookup_error(self) -> None:
        scene = self.scene()
        handler_id = scene.plain("handler")
        result_now(scene.dispatcher.remove_event_handler(handler_id))
        for unknown in (handler_id, self.scene().plain("handler"), None, "handler", 1):
            removal = scene.dispatcher.remove_event_handler(unknown)
            with raises(LookupError) as caught:
                result_now(removal)
            assert isinstance(caught.value, UnknownHandler)

    def test_an_unhashable_id_is_unknown_too(self) -> None:
        scene = self.scene()
        with raises(LookupError):
            result_now(scene.dispatcher.remove_event_handler([]))

    def test_max_calls_never_more_than_n_calls_then_removed(self) -> None:
        scene = self.scene()
        handler_id = scene.plain("twice", max_calls=2)
        assert [scene.heard() for _ in range(4)] == [["twice"], ["twice"], [], []]
        with raises(UnknownHandler):
            result_now(scene.dispatcher.remove_event_handler(handler_id))

    def test_max_calls_re_entrancy_included(self) -> None:
        scene = self.scene()
        called: list[int] = []

        def handler(event: int) -> None:
            called.append(event)
            if event < 10:
                result_now(scene.fire(event + 1))

        scene.add(handler, max_calls=3)
        result_now(scene.fire(0))
        assert called == [0, 1, 2]

    def test_max_calls_calls_begun_count(self) -> None:
        scene = self.scene()
        scene.slow("slow", max_calls=1)
        first = scene.fire()
        second = scene.fire()

        assert scene.calls == ["slow"]
        assert not result_now(second).handled
        assert not fired(first)
        scene.pending["slow"].callback("done")
        assert result_now(first).values == ("done",)

    def test_max_calls_failed_calls_count(self) -> None:
        scene = self.scene()
        scene.failing("failing", max_calls=1)
        assert [scene.heard(), scene.heard()] == [["failing"], []]

    def test_max_calls_firings_that_are_under_way_do_not_exceed_them(self) -> None:
        scene = self.scene()
        scene.slow("gate", "before")
        scene.plain("once", max_calls=1)
        gates = []
        firings = []
        for _ in range(3):
            firings.append(scene.fire())
            gates.append(scene.pending["gate"])
        scene.calls.clear()
        for gate in gates:
            gate.callback(None)

        assert scene.calls == ["once"]
        assert [[result.name for result in result_now(firing).results if not result.skipped] for firing in firings] == [
            ["gate", "once"],
            ["gate"],
            ["gate"],
        ]

    def test_max_calls_of_a_weak_handler(self) -> None:
        scene = self.scene()
        heard: list[Any] = []

        def handler(event: Any) -> None:
            heard.append(event)

        scene.add(handler, use_weakref=True, max_calls=1)
        result_now(scene.fire(1))
        result_now(scene.fire(2))
        assert heard == [1]

    def test_weak_functions_and_bound_methods_go_with_their_owner(self) -> None:
        scene = self.scene()

        class Listener:
            def heard(self, event: Any) -> None:
                scene.calls.append("method")

        def function(event: Any) -> None:
            scene.calls.append("function")

        listener = Listener()
        scene.add(listener.heard, use_weakref=True)
        scene.add(function, use_weakref=True)
        assert scene.heard() == ["method", "function"]
        del listener
        gc.collect()
        assert scene.heard() == ["function"]
        del function
        gc.collect()
        assert scene.heard() == []

    def test_a_weak_handler_that_goes_while_a_firing_is_under_way_is_not_called(self) -> None:
        scene = self.scene()

        def function(event: Any) -> None:
            scene.calls.append("function")

        scene.slow("slow", "before")
        scene.add(function, "after", use_weakref=True)
        firing = scene.fire()
        del function
        gc.collect()
        scene.pending["slow"].callback(None)

        assert scene.calls == ["slow"]
        assert [result.name for result in result_now(firing).results if not result.skipped] == ["slow"]

    def test_strong_registrations_keep_their_function(self) -> None:
        scene = self.scene()
        scene.add(lambda event: scene.calls.append("lambda"))
        gc.collect()
        assert scene.heard() == ["lambda"]
