"""Which handlers hear an event."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs

from ...matching import ANY, Eq, glob, one_of
from .._deferreds import result_now
from ._scene import Contract, failures_in


class Matching(Contract):
    """Which handlers hear an event."""

    def test_a_match_spec_is_a_subset_of_the_details(self) -> None:
        scene = self.scene()
        scene.plain("all")
        scene.plain("type", event_type="login")
        scene.plain("both", event_type="login", user="ada")

        assert scene.heard() == ["all"]
        assert scene.heard(event_type="login") == ["all", "type"]
        assert scene.heard(event_type="login", user="ada") == ["all", "type", "both"]
        assert scene.heard(event_type="login", user="bob", role="admin") == ["all", "type"]
        assert scene.heard(event_type="logout", user="ada") == ["all"]

    def test_a_keyword_that_is_asked_for_has_to_be_there(self) -> None:
        scene = self.scene()
        scene.plain("admins", role="admin")

        assert scene.heard() == []
        assert scene.heard(user="ada") == []
        assert scene.heard(role="admin") == ["admins"]

    def test_a_wildcard_matches_everything_and_absence(self) -> None:
        for wildcard in (None, ANY):
            scene = self.scene()
            scene.plain("any", role=wildcard, user="ada")

            assert scene.heard(user="ada") == ["any"]
            assert scene.heard(user="ada", role="admin") == ["any"]
            assert scene.heard(user="ada", role=None) == ["any"]
            assert scene.heard(role="admin") == []

    def test_none_as_a_detail_equals_nothing_but_the_wildcard(self) -> None:
        scene = self.scene()
        scene.plain("value", role="admin")
        scene.plain("one of", role=one_of("admin", "root"))
        scene.plain("glob", role=glob("*"))
        scene.plain("wildcard", role=None)

        assert scene.heard(role=None) == ["wildcard"]

    def test_matchers_stand_for_several_values(self) -> None:
        scene = self.scene()
        scene.plain("one of", role=one_of("admin", "root"))
        scene.plain("glob", user=glob("a*"))

        assert scene.heard(role="root", user="ada") == ["one of", "glob"]
        assert scene.heard(role="guest", user="ada") == ["glob"]
        assert scene.heard(role="admin", user="bob") == ["one of"]
        assert scene.heard(role="admin", user=7) == ["one of"]

    def test_unhashable_values_match(self) -> None:
        scene = self.scene()
        scene.plain("list", user=["ada", "bob"])
        scene.plain("one of", user=one_of("cleo", ["ada", "bob"]))
        scene.plain("set", user=frozenset({"ada"}))
        scene.plain("other")

        assert scene.heard(user=["ada", "bob"]) == ["list", "one of", "other"]
        assert scene.heard(user=["ada"]) == ["other"]
        assert scene.heard(user={"ada"}) == ["set", "other"]
        assert scene.heard(user="cleo", role={}) == ["one of", "other"]

    def test_a_detail_that_changes_in_place_is_looked_at_each_time(self) -> None:
        scene = self.scene()
        scene.plain("list", user=["ada"])
        users = ["ada"]

        assert scene.heard(user=users) == ["list"]
        users.append("bob")
        assert scene.heard(user=users) == []

    def test_where_looks_at_the_event(self) -> None:
        scene = self.scene()
        scene.plain("predicate", where=lambda event: event["size"] > 1)
        scene.plain("filter", where=Eq("size", 2))
        scene.plain("both", where=Eq("size", 2), user="ada")

        assert scene.heard({"size": 1}, user="ada") == []
        assert scene.heard({"size": 2}) == ["predicate", "filter"]
        assert scene.heard({"size": 3}, user="ada") == ["predicate"]
        assert scene.heard({"size": 2}, user="ada") == ["predicate", "filter", "both"]

    def test_where_is_asked_before_any_handler_runs(self) -> None:
        scene = self.scene()
        order: list[str] = []

        def asked(event: Any) -> bool:
            order.append("where")
            return True

        scene.add(lambda event: order.append("handler"), "before")
        scene.add(lambda event: order.append("late handler"), "after", where=asked)
        result_now(scene.fire())

        assert order == ["where", "handler", "late handler"]

    def test_where_that_raises_is_a_failure_of_its_handler(self) -> None:
        with capturedLogs() as logged:
            scene = self.scene()
            scene.plain("broken", where=lambda event: event.nothing)
            scene.plain("other")
            outcome = result_now(scene.fire())

            assert scene.calls == ["other"]
            assert [(result.name, result.failure is not None) for result in outcome.results] == [
                ("broken", True),
                ("other", False),
            ]
            assert failures_in(logged) == [AttributeError]

    def test_every_handler_gets_the_very_event(self) -> None:
        scene = self.scene()
        event = object()
        heard: list[Any] = []
        for phase in scene.phases:
            scene.add(heard.append, phase)
        outcome = result_now(scene.fire(event))

        assert all(one is event for one in heard) and len(heard) == 3
        assert outcome.event is event

    def test_values_that_compare_strangely_do_no_harm(self) -> None:
        scene = self.scene()

        class Strange:
            __hash__ = None  # type: ignore[assignment]  # that is the point

            def __eq__(self, other: object) -> bool:
                raise RuntimeError("cannot be compared")

        scene.plain("list", user=["ada"])
        scene.plain("other")

        assert scene.heard(user=Strange()) == ["other"]
