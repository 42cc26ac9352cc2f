"""What every transport promises: in memory, and over RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.amqp.worlds import BrokerWorld, Heard, MemoryWorld, Slow, World
from twisted_evproc import EventDispatcher
from twisted_evproc._reactor import default_clock
from twisted_evproc.amqp import (
    AMQPTransport,
    Encoded,
    MemoryBroker,
    MemoryTransport,
    RecentEvents,
    StateChange,
    current_envelope,
    traceparent,
)
from twisted_evproc.errors import (
    ConfigurationError,
    EventNotEncodable,
    EventTooLarge,
    SubscriptionRefused,
    TransportError,
    TransportStopped,
    Unroutable,
    WireError,
)
from twisted_evproc.interfaces import IEventHandler, IEventTransport, ISubscription
from twisted_evproc.matching import ANY, one_of, present
from twisted_evproc.processing import Event, EventProcessor, Processor
from twisted_evproc.sources import QueuedEvent


@pytest.fixture(params=["memory", "amqp"])
def world(request: pytest.FixtureRequest, exchange: str) -> Iterator[World]:
    if request.param == "memory":
        found: World = MemoryWorld(exchange)
    else:
        found = BrokerWorld(exchange, request.getfixturevalue("amqp_url"), default_clock(None))
    yield found
    pytest_twisted.blockon(Deferred.fromCoroutine(found.close()))


class Poison:
    """A handler that fails until it is cured."""

    def __init__(self, error: type[Exception] = ValueError) -> None:
        self.error = error
        self.cured = False
        self.heard = Heard()

    def __call__(self, event: Any) -> None:
        cured = self.cured
        self.heard(event)
        if not cured:
            raise self.error(f"poison: {event}")


#: Many deliveries, little time.
SOON = (0.01, 0.02)


async def dead_within(world: World, transport: Any, group: str, heard: Heard, deliveries: int) -> list[Any]:
    """The dead letters of a group, after so many deliveries."""
    await world.until(heard.reached(deliveries))
    letters = transport.dead_letters(group)
    while not await world.until(letters.count()):
        pass
    found: list[Any] = await world.until(letters.list())
    return found


class TestPublishing:
    @pytest_twisted.ensureDeferred
    async def test_gives_the_id_that_the_event_arrives_with(self, world: World) -> None:
        transport = await world.started(source="/shop")
        heard = Heard()
        await world.until(transport.subscribe("all", heard))
        event: dict[str, Any] = {"text": "é\N{SNOWMAN}", "list": [1, -2.5, None, True, {"x": []}]}

        ids = [await world.until(transport.publish(event, role="a", level=3, ok=True, nothing=None)) for _ in range(2)]
        ids.append(await world.until(transport.publish("again", event_id="my own")))
        await world.until(heard.reached(3))

        assert list(heard) == [event, event, "again"]
        assert ids[0] != ids[1] and ids[2] == "my own"
        assert [envelope.id for envelope in heard.envelopes] == ids
        first = heard.envelopes[0]
        assert first.details == {"role": "a", "level": 3, "ok": True}
        assert [type(value) for value in first.details.values()] == [str, int, bool]
        assert (first.source, first.type, first.content_type) == ("/shop", "twisted_evproc.event", "application/json")
        assert (first.failures, first.redelivered, first.traceparent) == (0, False, "")
        assert first.time.endswith("Z")

    @pytest_twisted.ensureDeferred
    async def test_fails_for_an_event_that_nobody_is_bound_to(self, world: World) -> None:
        transport = await world.started()
        heard = Heard()
        await world.until(transport.subscribe("a", heard, role="a"))

        error = await world.error(transport.publish(1, event_id="lost", role="b", level=1), Unroutable)

        assert str(error) == (
            f"no group on the exchange {world.exchange!r} takes the event lost (role='b', level=1).  Subscribe one, or make the "
            f"transport with unroutable='drop'."
        )
        await world.until(transport.publish(2, role="a"))
        await world.until(heard.reached(1))
        assert list(heard) == [2]

    @pytest_twisted.ensureDeferred
    async def test_of_many_at_once_blames_the_right_ones(self, world: World) -> None:
        transport = await world.started()
        heard = Heard()
        await world.until(transport.subscribe("even", heard, even=True))

        results = await world.until(DeferredList([transport.publish(n, even=n % 3 == 0) for n in range(300)], consumeErrors=True))

        assert [ok for ok, _ in results] == [n % 3 == 0 for n in range(300)]
        assert {type(result.value) for ok, result in results if not ok} == {Unroutable}
        await world.until(heard.reached(100))
        assert list(heard) == list(range(0, 300, 3))

    @pytest_twisted.ensureDeferred
    async def test_may_drop_what_nobody_is_bound_to(self, world: World) -> None:
        transport = await world.started(unroutable="drop")

        assert await world.until(transport.publish(1, event_id="x")) == "x"

    @pytest_twisted.ensureDeferred
    async def test_waits_for_no_start_and_outlives_no_stop(self, world: World) -> None:
        transport = world.transport()

        error = await world.error(transport.publish(1), TransportStopped)
        assert str(error) == f"{transport!r} is not running; start() it before publishing"
        await world.until(transport.start())
        await world.until(transport.stop())
        await world.error(transport.publish(1), TransportStopped)

    @pytest_twisted.ensureDeferred
    async def test_counts(self, world: World) -> None:
        transport = await world.started()
        heard, poison = Heard(), Poison()
        await world.until(transport.subscribe("heard", heard, dedupe=10, good=True))
        await world.until(transport.subscribe("poison", poison, max_deliveries=2, retry_delays=SOON, good=False))

        await world.until(transport.publish(1, good=True, event_id="one"))
        await world.until(transport.publish(1, good=True, event_id="one"))
        await world.until(transport.publish(2, good=False))
        await world.error(transport.publish(3), Unroutable)
        await world.until(transport.publish(4, good=True))
        await world.until(heard.reached(2))
        await dead_within(world, transport, "poison", poison.heard, 2)

        found = transport.statistics()
        assert (found.published, found.confirmed, found.unroutable, found.refused) == (5, 4, 1, 0)
        assert (found.waiting, found.waiting_size, found.in_flight, found.under_way) == (0, 0, 0, 0)
        assert (found.received, found.handled, found.duplicates, found.retried, found.dead) == (5, 2, 1, 1, 1)
        assert found.connects >= 1


#: What a group wants, and an event that it gets.
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all": ({}, {}),
    "any": ({"n": ANY, "role": None}, {}),
    "one": ({"n": 1}, {"n": 1}),
    "text": ({"n": "1"}, {"n": "1"}),
    "true": ({"n": True}, {"n": True}),
    "there": ({"n": present}, {"n": 7}),
    "several": ({"n": one_of(1, "x", False)}, {"n": "x"}),
    "role": ({"role": "a"}, {"role": "a"}),
    "both": ({"role": "a", "n": one_of(0, True)}, {"role": "a", "n": 0}),
    "other": ({"role": present, "n": ""}, {"role": "z", "n": ""}),
}
EVENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "all any"),
    ({"n": None}, "all any"),
    ({"n": 1}, "all any one there several"),
    ({"n": "1"}, "all any text there"),
    ({"n": True}, "all any true there"),
    ({"n": 0}, "all any there"),
    ({"n": False}, "all any there several"),
    ({"n": "x"}, "all any there several"),
    ({"n": "1.0"}, "all any there"),
    ({"n": -(2**63)}, "all any there"),
    ({"n": ""}, "all any there"),
    ({"role": "a"}, "all any role"),
    ({"role": "A"}, "all any"),
    ({"role": "a", "n": 0}, "all any there role both"),
    ({"role": "a", "n": True}, "all any there role both true"),
    ({"role": "a", "n": 1}, "all any there role one several"),
    ({"role": "", "n": ""}, "all any there other"),
    ({"role": "a.b #*", "n": "1", "more": "x"}, "all any there text"),
]


class TestMatching:
    @pytest.mark.parametrize("route_by", [None, "n", "role"])
    @pytest_twisted.ensureDeferred
    async def test_by_value_and_type(self, world: World, route_by: str | None) -> None:
        transport = await world.started(route_by=route_by)
        groups = {name: Heard() for name in SPECS}
        for name, (spec, _) in SPECS.items():
            await world.until(transport.subscribe(name, groups[name], **spec))

        for number, (details, _) in enumerate(EVENTS):
            await world.until(transport.publish(number, **details))
        expected = {name: [number for number, (_, takers) in enumerate(EVENTS) if name in takers.split()] for name in SPECS}
        for name, (_, details) in SPECS.items():
            # In order: with this one everything before it has come.
            await world.until(transport.publish(f"end of {name}", **details))
            while f"end of {name}" not in groups[name]:
                await world.until(groups[name].reached(len(groups[name]) + 1))

        assert {name: [event for event in heard if isinstance(event, int)] for name, heard in groups.items()} == expected

    @pytest_twisted.ensureDeferred
    async def test_change_lets_go_of_the_old_values(self, world: World) -> None:
        transport = await world.started(route_by="role")
        slow, others = Slow(), Heard()
        subscription = await world.until(transport.subscribe("g", slow, role=one_of("a", "b"), level=1, window=1))
        await world.until(transport.subscribe("others", others, role=one_of("a", "b"), level=1))
        for number in range(2):
            await world.until(transport.publish(number, role="a", level=1))
        await world.until(slow.reached(1))

        await world.until(subscription.change(role=one_of("b", "c")))

        assert subscription.match_spec == {"role": one_of("b", "c")}
        await world.until(transport.publish("for others", role="a", level=1))
        await world.until(transport.publish("b", role="b"))
        await world.until(transport.publish("c", role="c", level=2))
        for number in range(4):
            await world.until(slow.reached(number + 1))
            slow.pending[number].callback(None)
        await world.until(others.reached(3))
        # What waited already was still handled.
        assert list(slow) == [0, 1, "b", "c"]
        assert list(others) == [0, 1, "for others"]
        await world.until(subscription.change(role="d"))
        await world.error(transport.publish(1, role="c"), Unroutable)

    @pytest_twisted.ensureDeferred
    async def test_change_refuses_what_cannot_cross_the_wire(self, world: World) -> None:
        transport = await world.started()
        heard = Heard()
        subscription = await world.until(transport.subscribe("g", heard, n=1))

        with pytest.raises(WireError, match=r"n=1\.5 cannot cross the wire"):
            subscription.change(n=1.5)
        with pytest.raises(WireError, match=r"'window' is an option of subscribe"):
            subscription.change(window=1)
        choosy = await world.until(transport.subscribe("choosy", EventDispatcher(["n"], name="choosy")))
        with pytest.raises(WireError, match=r"'role' is no match-spec keyword of .*choosy.*; allowed there: n\."):
            choosy.change(role="a")

        assert subscription.match_spec == {"n": 1}
        await world.until(transport.publish(1, n=1))
        await world.until(heard.reached(1))

    @pytest.mark.parametrize("end", ["unsubscribe", "delete"])
    @pytest_twisted.ensureDeferred
    async def test_change_refuses_what_has_ended(self, world: World, end: str) -> None:
        transport, heard = await world.started(), Heard()
        subscription = await world.until(transport.subscribe("g", Heard(), n=1))
        # Too late or not: one that has begun may be done with.
        changing = subscription.change(n=2)
        ending = getattr(subscription, end)()

        while_it_ends = await world.error(subscription.change(n=3), TransportError)
        await world.until(DeferredList([changing, ending], consumeErrors=True))
        behind_that = await world.error(subscription.change(n=3), TransportError)

        for error in (while_it_ends, behind_that):
            assert "has ended and binds its group no more; subscribe() the group with the new match-spec" in str(error)
        await world.until(transport.subscribe("g", heard, n=1))
        await world.error(transport.publish(3, n=3), Unroutable)
        await world.until(transport.publish(1, n=1))
        await world.until(heard.reached(1))


class TestGroups:
    @pytest_twisted.ensureDeferred
    async def test_get_a_copy_each_which_members_share(self, world: World) -> None:
        first, second = await world.started(), await world.started()
        members, alone = [Heard(), Heard()], Heard()
        await world.until(first.subscribe("shared", members[0], window=1))
        await world.until(second.subscribe("shared", members[1], window=1))
        await world.until(second.subscribe("alone", alone))

        for number in range(20):
            await world.until(first.publish(number))
        await world.until(alone.reached(20))
        while len(members[0]) + len(members[1]) < 20:
            await world.until(DeferredList([each.reached(len(each) + 1) for each in members], fireOnOneCallback=True))

        assert sorted([*members[0], *members[1]]) == list(alone) == list(range(20))
        assert min(map(len, members)) >= 5

    @pytest_twisted.ensureDeferred
    async def test_keep_events_while_all_members_are_away(self, world: World) -> None:
        publisher, member = await world.started(), await world.started()
        subscription = await world.until(member.subscribe("g", Heard(), n=1))
        assert subscription.active
        await world.until(member.stop())
        assert not subscription.active

        await world.until(publisher.publish("kept", n=1))

        late, heard = await world.started(), Heard()
        await world.until(late.subscribe("g", heard, n=1))
        await world.until(heard.reached(1))
        assert (list(heard), heard.envelopes[0].redelivered) == (["kept"], False)

    @pytest_twisted.ensureDeferred
    async def test_unsubscribe_leaves_them_their_events(self, world: World) -> None:
        transport, heard, slow = await world.started(), Heard(), Slow()
        subscription = await world.until(transport.subscribe("g", slow, window=1))
        await world.until(transport.publish(1))
        await world.until(slow.reached(1))

        leaving = subscription.unsubscribe()
        await world.until(transport.publish(2))
        assert not leaving.called
        slow.pending[0].callback(None)
        await world.until(leaving)

        assert not subscription.active
        await world.until(transport.subscribe("g", heard))
        await world.until(heard.reached(1))
        assert (list(slow), list(heard)) == ([1], [2])

    @pytest_twisted.ensureDeferred
    async def test_delete_removes_them(self, world: World) -> None:
        transport, heard, slow = await world.started(), Heard(), Slow()
        subscription = await world.until(transport.subscribe("g", slow, window=1))
        await world.until(transport.publish(1))
        await world.until(transport.publish(2))
        await world.until(slow.reached(1))

        leaving = subscription.delete()
        slow.pending[0].callback(None)
        await world.until(leaving)

        await world.error(transport.publish(3), Unroutable)
        error = await world.error(transport.dead_letters("g").count(), TransportError)
        assert str(error).startswith(f"there is no group 'g' on the exchange {world.exchange!r}: no queue ")
        await world.until(transport.subscribe("g", heard))
        await world.until(transport.publish(4))
        await world.until(heard.reached(1))
        assert list(heard) == [4]

    @pytest_twisted.ensureDeferred
    async def test_are_refused_with_other_options_than_they_were_made_with(self, world: World) -> None:
        first, second = await world.started(), await world.started()
        await world.until(first.subscribe("g", Heard()))

        error = await world.error(second.subscribe("g", Heard(), crash_limit=1), SubscriptionRefused)

        assert str(error).startswith("the group 'g' cannot be subscribed: there is queue ")
        assert isinstance(error, SubscriptionRefused) and error.group == "g"
        # Its name is free again.
        await world.until(second.subscribe("g", Heard()))

    @pytest_twisted.ensureDeferred
    async def test_are_refused_where_another_keyword_routes(self, world: World) -> None:
        first = await world.started()
        await world.until(first.subscribe("g", Heard()))
        # Not before: the exchange is routed as whoever makes it says.
        second = await world.started(route_by="role")

        error = await world.error(second.subscribe("h", Heard()), SubscriptionRefused)

        assert "is routed by" in str(error) and "Give route_by=None, or another exchange" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_handle_no_more_at_once_than_the_window(self, world: World) -> None:
        transport, slow = await world.started(), Slow()
        await world.until(transport.subscribe("g", slow, window=3))
        for number in range(9):
            await world.until(transport.publish(number))

        for finished in range(9):
            await world.until(slow.reached(min(finished + 3, 9)))
            assert len(slow) == min(finished + 3, 9)
            slow.pending[finished].callback(None)

        assert list(slow) == list(range(9))

    @pytest_twisted.ensureDeferred
    async def test_with_a_window_of_one_are_served_in_order(self, world: World) -> None:
        transport, done = await world.started(), Heard()
        await world.until(transport.subscribe("pace", Heard(), pace=True))

        async def handle(event: int) -> None:
            # Later ones are quicker.
            for _ in range(5 - event):
                await transport.publish("pace", pace=True)
            done(event)

        await world.until(transport.subscribe("g", handle, window=1, pace=False))
        for number in range(6):
            await world.until(transport.publish(number, pace=False))

        await world.until(done.reached(6))
        assert list(done) == list(range(6))


class TestAcknowledging:
    @pytest_twisted.ensureDeferred
    async def test_comes_after_the_last_phase(self, world: World) -> None:
        first, second = await world.started(), await world.started()
        dispatcher, calls, last, heard = EventDispatcher(("n",)), Heard(), Slow(), Heard()
        await world.until(dispatcher.start())
        dispatcher.add_event_handler(calls, "before")
        dispatcher.add_event_handler(last, "after", n=1)
        await world.until(first.subscribe("g", dispatcher))
        event_id = await world.until(first.publish("event", n=1))
        await world.until(last.reached(1))
        await world.until(second.subscribe("g", heard))

        await world.lose(first)

        await world.until(heard.reached(1))
        assert (list(calls), list(last), list(heard)) == (["event"], ["event"], ["event"])
        assert [each.envelopes[0].id for each in (calls, last, heard)] == [event_id] * 3
        assert [each.envelopes[0].redelivered for each in (calls, heard)] == [False, True]
        assert heard.envelopes[0].failures == 0
        last.pending[0].callback(None)

    @pytest_twisted.ensureDeferred
    async def test_means_that_it_does_not_come_again(self, world: World) -> None:
        first, second = await world.started(), await world.started()
        slow, heard = Slow(), Heard()
        await world.until(first.subscribe("g", slow))
        for number in range(3):
            await world.until(first.publish(number))
        await world.until(slow.reached(3))
        slow.pending[1].callback(None)
        await world.until(first.publish(3))
        await world.until(slow.reached(4))
        slow.pending[3].callback(None)
        # Answered behind the acknowledgements.
        await world.until(first.publish(4))
        await world.until(slow.reached(5))

        await world.until(first.stop(0.1))
        await world.until(second.subscribe("g", heard))
        await world.until(heard.reached(3))
        await world.until(second.publish("end"))
        await world.until(heard.reached(4))

        assert sorted(heard[:3]) == [0, 2, 4] and heard[3] == "end"
        assert [envelope.redelivered for envelope in heard.envelopes] == [True, True, True, False]

    @pytest_twisted.ensureDeferred
    async def test_that_never_comes_ends_with_a_dead_letter(self, world: World) -> None:
        transport, slow = await world.started(), Slow()
        await world.until(transport.subscribe("g", slow, crash_limit=2))
        event_id = await world.until(transport.publish("crash"))

        for deliveries in range(1, 4):
            await world.until(slow.reached(deliveries))
            await world.cut(transport)
        # When it is there, the broker knows of the last cut.
        (letter,) = await dead_within(world, transport, "g", slow, 3)
        await world.until(transport.publish("end"))
        await world.until(slow.reached(4))

        assert list(slow) == ["crash"] * 3 + ["end"]
        assert [envelope.redelivered for envelope in slow.envelopes] == [False, True, True, False]
        assert (letter.envelope.id, letter.envelope.body) == (event_id, b'"crash"')
        assert letter.reason == "each member that it was given to went away (crash_limit)"
        assert letter.died.endswith("Z") and "T" in letter.died


class TestFailing:
    @pytest_twisted.ensureDeferred
    async def test_is_tried_again_and_then_dead(self, world: World) -> None:
        transport, poison = await world.started(), Poison()
        await world.until(transport.subscribe("g", poison, max_deliveries=4, retry_delays=SOON, bad=True))
        event_id = await world.until(transport.publish("event", bad=True))

        (letter,) = await dead_within(world, transport, "g", poison.heard, 4)

        assert list(poison.heard) == ["event"] * 4
        assert [envelope.id for envelope in poison.heard.envelopes] == [event_id] * 4
        assert [envelope.failures for envelope in poison.heard.envelopes] == [0, 1, 2, 3]
        assert [envelope.details for envelope in poison.heard.envelopes] == [{"bad": True}] * 4
        assert letter.reason == "ValueError: poison: event"
        assert (letter.envelope.id, letter.envelope.failures, letter.envelope.details) == (event_id, 4, {"bad": True})
        assert letter.died.endswith("Z")

    @pytest_twisted.ensureDeferred
    async def test_may_say_what_no_header_takes(self, world: World) -> None:
        transport, heard = await world.started(), Heard()

        def handle(event: Any) -> None:
            heard(event)
            raise ValueError("no file \udc80" + "\N{SNOWMAN}" * 5000)

        await world.until(transport.subscribe("g", handle, max_deliveries=2, retry_delays=SOON))
        await world.until(transport.publish("event"))

        (letter,) = await dead_within(world, transport, "g", heard, 2)

        assert letter.reason.startswith(r"ValueError: no file \udc80" + "\N{SNOWMAN}" * 100)
        assert (list(heard), letter.envelope.failures) == (["event"] * 2, 2)

    @pytest_twisted.ensureDeferred
    async def test_does_not_keep_others_waiting(self, world: World) -> None:
        transport, done = await world.started(), Heard()

        def handle(event: Any) -> Deferred[None]:
            envelope = current_envelope()
            assert envelope is not None
            if event == "bad" and not envelope.failures:
                raise ValueError(event)
            done(event)
            return succeed(None)

        await world.until(transport.subscribe("g", handle, window=1, retry_delays=(0.3,)))
        for event in ("bad", 1, 2):
            await world.until(transport.publish(event))
        await world.until(done.reached(3))

        assert list(done) == [1, 2, "bad"]

    @pytest_twisted.ensureDeferred
    async def test_is_tried_again_though_another_group_went_with_what_waited(self, world: World) -> None:
        transport, poison, others = await world.started(), Poison(), Poison()
        doomed = await world.until(transport.subscribe("doomed", others, retry_delays=(1.0,), bad="others"))
        await world.until(transport.subscribe("g", poison, retry_delays=(1.0,), bad="mine"))
        # More than the broker looks at together.
        for number in range(60):
            await world.until(transport.publish(number, bad="others"))
        await world.until(others.heard.reached(60))
        await world.until(doomed.delete())

        await world.until(transport.publish("event", bad="mine"))

        await world.until(poison.heard.reached(2))
        assert (list(poison.heard), len(others.heard)) == (["event"] * 2, 60)
        # What nobody waits for is not kept either.
        await world.until(transport.subscribe("doomed", late := Heard(), bad="others"))
        await world.until(transport.publish("late", bad="others"))
        await world.until(late.reached(1))
        assert list(late) == ["late"]

    @pytest_twisted.ensureDeferred
    async def test_by_a_fatal_error_is_dead_at_once(self, world: World) -> None:
        transport, poison = await world.started(), Poison(KeyError)
        await world.until(transport.subscribe("g", poison, fatal=(LookupError,)))
        await world.until(transport.publish("event"))

        (letter,) = await dead_within(world, transport, "g", poison.heard, 1)

        assert letter.reason == "KeyError: 'poison: event'"
        assert (list(poison.heard), letter.envelope.failures) == (["event"], 1)

    @pytest_twisted.ensureDeferred
    async def test_to_be_read_is_dead_at_once(self, world: World) -> None:
        class Text:
            def encode(self, event: Any) -> Encoded:
                return Encoded(event.encode(), "application/json", "text")

            def decode(self, body: bytes, content_type: str, event_type: str) -> Any:
                return f"{body.decode()} {content_type} {event_type}"

        transport, strict, lenient = await world.started(codec=Text()), Heard(), Heard()
        other = await world.started()
        await world.until(other.subscribe("strict", strict))
        await world.until(transport.subscribe("lenient", lenient))
        await world.until(other.subscribe("chosen", chosen := Heard(), codec=Text()))
        event_id = await world.until(transport.publish("{not json", event_id="é 1"))
        await world.until(lenient.reached(1))
        await world.until(chosen.reached(1))

        (letter,) = await dead_within(world, transport, "strict", strict, 0)

        assert (letter.envelope.id, letter.envelope.body) == (event_id, b"{not json")
        assert letter.reason.startswith("EventNotDecodable: the event é 1 cannot be read: ")
        assert (list(strict), list(lenient), list(chosen)) == ([], ["{not json application/json text"] * 1, lenient)

    @pytest_twisted.ensureDeferred
    async def test_in_a_dispatcher_counts_once_for_all_handlers(self, world: World) -> None:
        transport, dispatcher, heard = await world.started(), EventDispatcher(), Heard()
        await world.until(dispatcher.start())

        async def bad(event: Any) -> None:
            await succeed(None)
            raise LookupError("no")

        dispatcher.add_event_handler(bad, "before")
        dispatcher.add_event_handler(bad, "after")
        dispatcher.add_event_handler(heard, "after")
        await world.until(transport.subscribe("g", dispatcher, max_deliveries=2, retry_delays=SOON))
        await world.until(transport.publish(1))

        (letter,) = await dead_within(world, transport, "g", heard, 2)

        assert letter.reason.startswith("HandlersFailed: 2 handlers failed")

    @pytest_twisted.ensureDeferred
    async def test_letters_can_be_replayed(self, world: World) -> None:
        transport, poison = await world.started(), Poison()
        await world.until(transport.subscribe("g", poison, max_deliveries=2, retry_delays=SOON))
        await world.until(transport.subscribe("other", other := Heard()))
        ids = [await world.until(transport.publish(number)) for number in range(3)]
        letters = transport.dead_letters("g")
        await world.until(poison.heard.reached(6))
        while await world.until(letters.count()) < 3:
            pass
        in_order = [letter.envelope.id for letter in await world.until(letters.list())]
        assert sorted(in_order) == ids
        # Looking at some of them moves none.
        for limit in (1, 2, 1, 3):
            assert [letter.envelope.id for letter in await world.until(letters.list(limit))] == in_order[:limit]
        poison.cured = True

        replayed = await world.until(letters.replay([ids[1], "unknown"]))

        assert [letter.envelope.id for letter in replayed] == [ids[1]]
        await world.until(poison.heard.reached(7))
        assert (poison.heard[-1], poison.heard.envelopes[-1].id, poison.heard.envelopes[-1].failures) == (1, ids[1], 0)
        assert await world.until(letters.count()) == 2
        assert len(await world.until(letters.replay())) == 2
        await world.until(poison.heard.reached(9))
        assert sorted(poison.heard[-2:]) == [0, 2]
        assert await world.until(letters.count()) == 0
        assert await world.until(letters.replay()) == []
        # For the group alone.
        assert list(other) == [0, 1, 2]

    @pytest_twisted.ensureDeferred
    async def test_letters_can_be_purged(self, world: World) -> None:
        transport, poison = await world.started(), Poison()
        await world.until(transport.subscribe("g", poison, max_deliveries=1))
        ids = [await world.until(transport.publish(number)) for number in range(3)]
        letters = transport.dead_letters("g")
        await world.until(poison.heard.reached(3))
        while await world.until(letters.count()) < 3:
            pass

        assert [letter.envelope.id for letter in await world.until(letters.purge([ids[2]]))] == [ids[2]]
        assert sorted(letter.envelope.id for letter in await world.until(letters.list())) == ids[:2]
        assert sorted(letter.envelope.id for letter in await world.until(letters.purge())) == ids[:2]
        assert await world.until(letters.count()) == 0
        assert list(poison.heard) == [0, 1, 2]

    @pytest_twisted.ensureDeferred
    async def test_letters_of_nobody(self, world: World) -> None:
        transport = await world.started()
        await world.until(transport.subscribe("g", Heard()))

        for call in ("count", "list", "replay", "purge"):
            error = await world.error(getattr(transport.dead_letters("h"), call)(), TransportError)
            assert str(error).startswith(f"there is no group 'h' on the exchange {world.exchange!r}: no queue ")
        assert await world.until(transport.dead_letters("g").list()) == []


class TestDuplicates:
    @pytest_twisted.ensureDeferred
    async def test_are_dropped_where_that_is_wanted(self, world: World) -> None:
        transport, once, always = await world.started(), Heard(), Heard()
        await world.until(transport.subscribe("once", once, dedupe=2))
        await world.until(transport.subscribe("always", always))

        for event_id in ("a", "b", "a", "b", "c", "a"):
            await world.until(transport.publish(event_id, event_id=event_id))
        await world.until(always.reached(6))
        await world.until(transport.publish("end"))
        while "end" not in once:
            await world.until(once.reached(len(once) + 1))

        # "a" was forgotten for "c".
        assert list(once) == ["a", "b", "c", "a", "end"]
        assert list(always) == ["a", "b", "a", "b", "c", "a", "end"][: len(always)]
        assert transport.statistics().duplicates == 2

    @pytest_twisted.ensureDeferred
    async def test_with_the_id_of_an_event_from_elsewhere_are_none(self, world: World) -> None:
        here, there, heard = await world.started(source="/here"), await world.started(source="/there"), Heard()
        await world.until(here.subscribe("g", heard, dedupe=10))

        for transport, event in ((here, "here"), (there, "there"), (here, "again")):
            await world.until(transport.publish(event, event_id="1"))
        await world.until(there.publish("end"))
        await world.until(heard.reached(3))

        assert list(heard) == ["here", "there", "end"]
        assert [envelope.id for envelope in heard.envelopes[:2]] == ["1", "1"]
        assert here.statistics().duplicates == 1

    @pytest_twisted.ensureDeferred
    async def test_of_what_failed_are_none(self, world: World) -> None:
        transport, poison = await world.started(), Poison()
        await world.until(transport.subscribe("g", poison, dedupe=10, retry_delays=(0.2,)))
        await world.until(transport.publish(1))
        await world.until(poison.heard.reached(1))
        poison.cured = True
        await world.until(poison.heard.reached(2))

        assert (list(poison.heard), transport.statistics().duplicates) == ([1, 1], 0)

    @pytest_twisted.ensureDeferred
    async def test_that_cannot_be_told_wait_until_they_can(self, world: World) -> None:
        class Locked(RecentEvents):
            asked = 0

            def seen(self, scope: str, event_id: str) -> bool:
                self.asked += 1
                if self.asked == 1:
                    raise OSError("locked")
                return super().seen(scope, event_id)

        transport, heard, locked = await world.started(), Heard(), Locked(100_000)
        await world.until(transport.subscribe("g", heard, dedupe=locked, max_deliveries=1, crash_limit=0))
        for _ in range(2):
            await world.until(transport.publish("event", event_id="1"))

        while not transport.statistics().duplicates:
            await world.until(transport.publish("later"))

        assert heard.count("event") == 1
        assert await world.until(transport.dead_letters("g").count()) == 0

    @pytest_twisted.ensureDeferred
    async def test_that_cannot_be_told_go_back_when_the_subscription_ends(self, world: World) -> None:
        class Broken(RecentEvents):
            def __init__(self, size: int) -> None:
                super().__init__(size)
                self.asked: Deferred[None] = Deferred()

            def seen(self, scope: str, event_id: str) -> bool:
                if not self.asked.called:
                    self.asked.callback(None)
                raise OSError("gone")

        transport, heard = await world.started(), Heard()
        broken = Broken(10)
        subscription = await world.until(transport.subscribe("g", Heard(), dedupe=broken))
        await world.until(transport.publish("event"))
        await world.until(broken.asked)

        await world.until(subscription.unsubscribe())

        await world.until(transport.subscribe("g", heard))
        await world.until(heard.reached(1))
        assert list(heard) == ["event"]


class TestStopping:
    @pytest_twisted.ensureDeferred
    async def test_waits_for_handlers_and_what_they_publish(self, world: World) -> None:
        transport, other, out, heard = await world.started(), await world.started(), Heard(), Heard()
        wait: Deferred[None] = Deferred()
        begun = Heard()

        async def handle(event: Any) -> None:
            begun(event)
            await wait
            await transport.publish("result", out=True)

        await world.until(other.subscribe("out", out, out=True))
        await world.until(transport.subscribe("in", handle, out=False, window=1))
        await world.until(transport.publish(1, out=False))
        await world.until(transport.publish(2, out=False))
        await world.until(begun.reached(1))

        stopping, again = transport.stop(), transport.stop()
        await world.until(other.publish("end", out=True))
        await world.until(out.reached(1))
        assert not stopping.called and not again.called
        wait.callback(None)
        await world.until(stopping)
        await world.until(again)

        assert transport.state == "stopped"
        await world.until(out.reached(2))
        await world.until(other.subscribe("in", heard, out=False))
        await world.until(heard.reached(1))
        assert (list(begun), list(out), list(heard)) == ([1], ["end", "result"], [2])
        await world.until(transport.stop())

    @pytest.mark.parametrize("end", ["unsubscribe", "delete"])
    @pytest_twisted.ensureDeferred
    async def test_waits_for_handlers_of_a_subscription_that_is_ending(self, world: World, end: str) -> None:
        transport, other, out, begun = await world.started(), await world.started(), Heard(), Heard()
        wait: Deferred[None] = Deferred()

        async def handle(event: Any) -> None:
            begun(event)
            await wait
            await transport.publish("result", out=True)

        await world.until(other.subscribe("out", out, out=True))
        subscription = await world.until(transport.subscribe("in", handle, out=False))
        await world.until(transport.publish(1, out=False))
        await world.until(begun.reached(1))

        ending = getattr(subscription, end)()
        # The group may be subscribed again meanwhile.
        await world.until(transport.subscribe("in", Heard(), out=False))
        stopping = transport.stop()
        await world.until(other.publish("end", out=True))
        await world.until(out.reached(1))
        assert not stopping.called and not ending.called
        wait.callback(None)
        await world.until(stopping)

        await world.until(out.reached(2))
        assert (list(begun), list(out)) == ([1], ["end", "result"])
        _ = ending.addErrback(lambda failure: failure.trap(TransportError))  # the connection may be gone by now
        await world.until(ending)

    @pytest_twisted.ensureDeferred
    async def test_in_a_hurry_gives_back_events_of_a_subscription_that_is_ending(self, world: World) -> None:
        transport, other, slow, heard = await world.started(), await world.started(), Slow(), Heard()
        subscription = await world.until(transport.subscribe("g", slow))
        await world.until(transport.publish(1))
        await world.until(slow.reached(1))
        ending = subscription.unsubscribe()

        await world.until(transport.stop(0.05))
        await world.until(ending)

        await world.until(transport.start())
        assert not subscription.active
        await world.until(other.subscribe("g", heard))
        await world.until(heard.reached(1))
        assert heard.envelopes[0].redelivered

    @pytest.mark.parametrize("end", ["unsubscribe", "stop"])
    @pytest.mark.parametrize("waits", ["not", "at once", "later"])
    @pytest_twisted.ensureDeferred
    async def test_may_be_asked_for_by_a_handler(self, world: World, end: str, waits: str) -> None:
        transport, other, begun, late = await world.started(), await world.started(), Heard(), Heard()
        done: Deferred[None] = Deferred()
        ends: dict[str, Any] = {"stop": transport.stop}

        def handle(event: Any) -> Any:
            begun(event)
            ending = ends[end]()
            return None if waits == "not" else ending

        async def handle_later(event: Any) -> None:
            begun(event)
            await transport.publish("pace", pace=True)
            await ends[end]()
            done.callback(None)

        await world.until(other.subscribe("pace", Heard(), pace=True))
        subscription = await world.until(transport.subscribe("g", handle_later if waits == "later" else handle, pace=False))
        ends["unsubscribe"] = subscription.unsubscribe
        await world.until(transport.publish(1, pace=False))
        await world.until(begun.reached(1))

        if waits == "later":
            await world.until(done)
        await world.until(transport.stop())

        await world.until(other.subscribe("g", late, pace=False))
        await world.until(other.publish("end", pace=False))
        await world.until(late.reached(1))
        assert (list(begun), list(late), transport.state) == ([1], ["end"], "stopped")

    @pytest_twisted.ensureDeferred
    async def test_may_be_asked_for_by_several_handlers_while_another_is_at_work(self, world: World) -> None:
        transport, other, slow, late, stopped = await world.started(), await world.started(), Slow(), Heard(), Heard()

        async def stop(event: Any) -> None:
            await transport.stop()
            stopped(event)

        await world.until(transport.subscribe("slow", slow, slow=True))
        await world.until(transport.subscribe("stop", stop, stop=True))
        await world.until(transport.publish("work", slow=True))
        await world.until(slow.reached(1))
        # In one turn, so that both have come before the first of them is heard of.
        await world.until(DeferredList([transport.publish(number, stop=True) for number in range(2)]))
        await world.until(other.publish("pace", stop=True))
        assert not stopped
        slow.pending[0].callback(None)
        await world.until(transport.stop())

        assert {0, 1} >= set(stopped) != set()
        await world.until(other.subscribe("slow", late, slow=True))
        await world.until(other.publish("end", slow=True))
        await world.until(late.reached(1))
        assert list(late) == ["end"]

    @pytest_twisted.ensureDeferred
    async def test_of_a_group_that_a_handler_deletes(self, world: World) -> None:
        transport, done = await world.started(), Heard()

        async def handle(event: Any) -> None:
            await subscription.delete()
            done(event)

        subscription = await world.until(transport.subscribe("g", handle))
        await world.until(transport.publish(1))
        await world.until(done.reached(1))

        await world.error(transport.publish(2), Unroutable)
        assert list(done) == [1]

    @pytest_twisted.ensureDeferred
    async def test_in_a_hurry_gives_events_back(self, world: World) -> None:
        transport, other, slow, heard = await world.started(), await world.started(), Slow(), Heard()
        await world.until(transport.subscribe("g", slow))
        await world.until(transport.publish(1))
        await world.until(slow.reached(1))

        await world.until(transport.stop(0.05))

        await world.until(other.subscribe("g", heard))
        await world.until(heard.reached(1))
        assert heard.envelopes[0].redelivered
        assert transport.statistics().under_way == 0

    @pytest_twisted.ensureDeferred
    async def test_does_not_wait_for_what_swallows_its_cancellation(self, world: World) -> None:
        transport, other, begun, heard = await world.started(), await world.started(), Heard(), Heard()
        never: Deferred[None] = Deferred()

        async def stubborn(event: Any) -> None:
            begun(event)
            try:
                await Deferred()
            except CancelledError:
                await never

        await world.until(transport.subscribe("g", stubborn))
        await world.until(transport.publish(1))
        await world.until(begun.reached(1))

        await world.until(transport.stop(0.05))

        await world.until(other.subscribe("g", heard))
        await world.until(heard.reached(1))
        never.callback(None)

    @pytest_twisted.ensureDeferred
    async def test_and_starting_again(self, world: World) -> None:
        transport, heard = await world.started(), Heard()
        subscription = await world.until(transport.subscribe("g", heard))
        await world.until(transport.stop())
        assert not subscription.active

        await world.until(transport.start())
        await world.until(transport.publish(1))
        await world.until(heard.reached(1))
        assert subscription.active
        stopping = transport.stop()
        await world.until(transport.start())
        await world.until(stopping)
        await world.until(transport.publish(2))
        await world.until(heard.reached(2))

    @pytest_twisted.ensureDeferred
    async def test_tells(self, world: World) -> None:
        transport = world.transport()
        told: list[StateChange] = []
        transport.dispatcher.add_event_handler(told.append, "during")
        assert (transport.state, transport.running) == ("stopped", False)
        await world.until(transport.start())
        assert transport.running
        await world.until(transport.subscribe("g", Heard()))
        await world.until(transport.publish(1))
        assert (transport.state, transport.reason) == ("up", "")
        await world.until(transport.stop())

        assert transport.state == "stopped"
        assert [(change.name, change.state) for change in told] == [("transport_up", "up"), ("transport_stopped", "stopped")]


class TestSubscribing:
    @pytest_twisted.ensureDeferred
    async def test_before_the_start(self, world: World) -> None:
        transport, heard = world.transport(), Heard()
        subscribing = transport.subscribe("g", heard)
        assert not subscribing.called
        await world.until(transport.start())

        subscription = await world.until(subscribing)

        assert subscription.active and subscription.group == "g" and subscription.match_spec == {}
        assert verifyObject(ISubscription, subscription)
        assert verifyObject(IEventTransport, transport)
        await world.until(transport.publish(1))
        await world.until(heard.reached(1))

    @pytest_twisted.ensureDeferred
    async def test_twice_is_refused(self, world: World) -> None:
        transport = await world.started()
        await world.until(transport.subscribe("g", Heard()))

        with pytest.raises(ConfigurationError, match=r"the group 'g' is subscribed on .* already: change\(\) that subscription"):
            transport.subscribe("g", Heard())

    @pytest_twisted.ensureDeferred
    async def test_a_dispatcher_gets_the_details_that_it_allows(self, world: World) -> None:
        transport, dispatcher, admins, all_ = await world.started(), EventDispatcher(("role",)), Heard(), Heard()
        await world.until(dispatcher.start())
        dispatcher.add_event_handler(admins, "during", role="admin")
        dispatcher.add_event_handler(all_, "after")
        await world.until(transport.subscribe("g", dispatcher, role=present))

        await world.until(transport.publish(1, role="admin", level=3))
        await world.until(transport.publish(2, role="guest"))
        await world.until(all_.reached(2))

        assert (list(admins), list(all_)) == ([1], [1, 2])
        with pytest.raises(WireError, match=r"'level' is no match-spec keyword of .*; allowed there: role\."):
            transport.subscribe("h", dispatcher, level=1)

    @pytest_twisted.ensureDeferred
    async def test_a_dispatcher_that_does_not_run_misses_nothing(self, world: World) -> None:
        transport, dispatcher, heard = await world.started(), EventDispatcher(), Heard()
        dispatcher.add_event_handler(heard, "during")
        await world.until(transport.subscribe("g", dispatcher, retry_delays=(0.1,), max_deliveries=100))
        await world.until(transport.publish(1))
        while not transport.statistics().retried:
            await world.until(transport.publish("later"))

        await world.until(dispatcher.start())

        while 1 not in heard:
            await world.until(heard.reached(len(heard) + 1))
        assert heard.envelopes[list(heard).index(1)].failures >= 1

    @pytest_twisted.ensureDeferred
    async def test_other_targets(self, world: World) -> None:
        transport = await world.started()
        by_content, found = EventProcessor(), Heard()

        @by_content.processor({"kind": "order"})
        def order(event: Any) -> None:
            found(("content", event["kind"]))

        @implementer(IEventHandler)
        class Handler:
            def process_event(self, event: QueuedEvent) -> bool:
                found(("handler", event.data["kind"], event.originator.details["role"]))
                return False

        async def coroutine(event: Any) -> None:
            await transport.publish("from a handler", role="inner")
            found(("coroutine", event["kind"]))

        for name, target in {"content": by_content, "handler": Handler(), "coroutine": coroutine}.items():
            await world.until(transport.subscribe(name, target, role="outer"))
        await world.until(transport.subscribe("inner", inner := Heard(), role="inner"))
        await world.until(transport.publish({"kind": "order"}, role="outer"))
        await world.until(found.reached(3))
        await world.until(inner.reached(1))

        assert sorted(found) == [("content", "order"), ("coroutine", "order"), ("handler", "order", "outer")]

    @pytest_twisted.ensureDeferred
    async def test_a_processor_by_name(self, world: World) -> None:
        class Named(Event):
            name = ""

            def __init__(self, name: str) -> None:
                self.name = name

        class Names:
            def encode(self, event: Event) -> Encoded:
                return Encoded(event.name.encode(), "text/plain", "name")

            def decode(self, body: bytes, content_type: str, event_type: str) -> Event:
                return Named(body.decode())

        transport, processor, heard = await world.started(codec=Names()), Processor(), Heard()

        @processor.register
        def everything(context: Any, event: Event) -> None:
            heard(event.name)

        await world.until(transport.subscribe("g", processor))
        await world.until(transport.publish(Named("begun")))
        await world.until(heard.reached(1))

        assert list(heard) == ["begun"]


class TestForwarding:
    @pytest_twisted.ensureDeferred
    async def test_publishes_what_a_dispatcher_is_fired_with(self, world: World) -> None:
        transport, dispatcher, heard = await world.started(), EventDispatcher(("role", "level")), Heard()
        await world.until(dispatcher.start())
        await world.until(transport.subscribe("g", heard, role="a"))

        forwarding = await world.until(transport.forward(dispatcher, role="a"))
        firing = dispatcher.fire_event({"n": 1}, role="a", level=2)
        assert not firing.called
        outcome = await world.until(firing)
        await world.until(dispatcher.fire_event({"n": 2}, role="b"))
        await world.until(heard.reached(1))

        assert outcome.failures == ()
        assert list(heard) == [{"n": 1}]
        assert heard.envelopes[0].details == {"role": "a", "level": 2}
        assert outcome.values == (heard.envelopes[0].id,)
        await world.until(forwarding.stop())
        await world.until(forwarding.stop())
        await world.until(dispatcher.fire_event({"n": 3}, role="a"))
        await world.until(transport.publish("end", role="a"))
        await world.until(heard.reached(2))
        assert list(heard) == [{"n": 1}, "end"]

    @pytest_twisted.ensureDeferred
    async def test_fails_as_a_handler_does(self, world: World) -> None:
        transport, dispatcher = await world.started(), EventDispatcher(("role",))
        await world.until(dispatcher.start())
        await world.until(transport.forward(dispatcher, "before"))

        unroutable = await world.until(dispatcher.fire_event(1, role="a"))
        impossible = await world.until(dispatcher.fire_event(1, role=1.5))

        assert [failure.type for failure in (*unroutable.failures, *impossible.failures)] == [Unroutable, WireError]

    @pytest_twisted.ensureDeferred
    async def test_publishes_details_that_are_named_like_an_option_of_publish(self, world: World) -> None:
        transport, dispatcher, heard = await world.started(), EventDispatcher(("event_id",)), Heard()
        await world.until(dispatcher.start())
        await world.until(transport.subscribe("g", heard, event_id=5))
        await world.until(transport.forward(dispatcher))

        outcome = await world.until(dispatcher.fire_event(1, event_id=5))
        await world.until(heard.reached(1))

        assert outcome.failures == ()
        assert heard.envelopes[0].details == {"event_id": 5}
        assert heard.envelopes[0].id == outcome.values[0] != 5


class TestContext:
    @pytest_twisted.ensureDeferred
    async def test_of_an_event_is_there_behind_awaits_too(self, world: World) -> None:
        transport, heard, out = await world.started(), Heard(), Heard()
        seen: list[Any] = []
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

        async def handle(event: Any) -> None:
            for _ in range(2):
                await transport.publish("inner", step="out")
                envelope = current_envelope()
                assert envelope is not None
                seen.append((event, envelope.id, traceparent.get()))
            heard(event)

        await world.until(transport.subscribe("out", out, step="out"))
        await world.until(transport.subscribe("in", handle, step="in"))
        token = traceparent.set(trace)
        publishing = transport.publish("traced", step="in", event_id="1")
        traceparent.reset(token)
        await world.until(publishing)
        await world.until(transport.publish("plain", step="in", event_id="2"))
        await world.until(heard.reached(2))
        await world.until(out.reached(4))

        assert sorted(seen) == [("plain", "2", "")] * 2 + [("traced", "1", trace)] * 2
        assert sorted(envelope.traceparent for envelope in out.envelopes) == ["", "", trace, trace]
        assert (current_envelope(), traceparent.get()) == (None, "")


def memory(**options: Any) -> Any:
    return MemoryTransport(**{"exchange": "x", "clock": Clock(), **options})


def amqp(**options: Any) -> Any:
    return AMQPTransport("amqp://localhost", **{"exchange": "x", "clock": Clock(), **options})


@pytest.mark.parametrize("make", [memory, amqp])
class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"exchange": ""}, r"exchange='' has to be a name of 1 to 100 bytes"),
            ({"exchange": "amq.topic"}, r"names that begin with 'amq\.' belong to the broker"),
            ({"route_by": "a-b"}, r"a keyword has to be a Python identifier"),
            ({"route_by": 5}, r"route_by=5 has to be a keyword, or None"),
            ({"codec": int}, r"codec=<class 'int'> has to be a codec"),
            ({"source": None}, r"source=None has to be a URI reference"),
            ({"unroutable": "ignore"}, r"unroutable='ignore' has to be 'fail' or 'drop'"),
            ({"window": 0}, r"window=0 has to be a whole number, 1 or more"),
            ({"max_waiting": -1}, r"max_waiting=-1 has to be a whole number, 0 or more"),
            ({"max_waiting_size": None}, r"max_waiting_size=None has to be a whole number"),
            ({"max_event_size": True}, r"max_event_size=True has to be a whole number"),
            ({"publish_timeout": 0}, r"publish_timeout=0 has to be a number of seconds above 0, or None"),
            ({"clock": 5}, r"clock=5 keeps no time"),
            ({"random": 5}, r"random=5 has to be a random\.Random, such as Random\(1\), or None"),
        ],
    )
    def test_of_the_transport(self, make: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make(**options)

    @pytest.mark.parametrize(
        ("details", "error", "message"),
        [
            ({"n": 1.5}, WireError, r"n=1\.5 cannot cross the wire: only str, int and bool"),
            ({"n": b"x"}, WireError, r"n=b'x' cannot cross the wire"),
            ({"n": 2**63}, WireError, r"n=9223372036854775808 cannot cross the wire: a whole number there has 64 bits"),
            ({"n": "\0"}, WireError, r"text there has no NUL"),
            ({"window": 1}, WireError, r"'window' is an option of subscribe\(\), so that no group could match on it"),
            ({"x-match": "any"}, WireError, r"'x-match' cannot cross the wire: a keyword has to be a Python identifier"),
            ({"event_id": ""}, ConfigurationError, r"event_id='' has to be 1 to 255 bytes of printable text"),
            ({"event_id": 5}, ConfigurationError, r"event_id=5 has to be"),
        ],
    )
    def test_of_publish(self, make: Any, details: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make().publish(1, **details)

    def test_of_publish_the_event(self, make: Any) -> None:
        with pytest.raises(
            EventNotEncodable, match="an event of type object cannot be published: the event is an object, for which"
        ):
            make().publish(object())
        with pytest.raises(EventTooLarge, match="the event has 12 bytes, and 10 are allowed"):
            make(max_event_size=10).publish("x" * 10)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": 0}, r"window=0 has to be a whole number, 1 or more"),
            ({"max_deliveries": None}, r"max_deliveries=None has to be a whole number, 1 or more"),
            ({"crash_limit": -1}, r"crash_limit=-1 has to be a whole number, 0 or more"),
            ({"retry_delays": 5}, r"retry_delays=5 has to be a list of seconds, such as \(1, 5, 30\)"),
            ({"retry_delays": ()}, r"retry_delays=\(\) has to have one delay at least"),
            ({"retry_delays": (1, 0)}, r"each of retry_delays=0 has to be a number of seconds above 0"),
            ({"fatal": "ValueError"}, r"fatal='ValueError' has to be exception types"),
            ({"fatal": (5,)}, r"fatal=\(5,\) has to be exception types"),
            ({"dedupe": 0}, r"the number of events to remember=0 has to be a whole number"),
            ({"dedupe": "x"}, r"dedupe='x' has to be a number of events to remember, or an object with open, seen"),
            ({"codec": 5}, r"codec=5 has to be a codec, with encode\(event\)"),
            ({"n": 1.5}, r"n=1\.5 cannot cross the wire"),
            ({"n": one_of(1, 2.5)}, r"n=2\.5 cannot cross the wire"),
        ],
    )
    def test_of_subscribe(self, make: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make().subscribe("g", print, **options)

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (None, "the target of a subscription is None, which takes no events: give a dispatcher"),
            (5, "the target of a subscription is 5, which takes no events"),
            (EventDispatcher, "the target of a subscription is .*, a class: give an instance of it"),
        ],
    )
    def test_of_subscribe_the_target(self, make: Any, target: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make().subscribe("g", target)

    @pytest.mark.parametrize("group", ["", None, "a\nb", "x" * 101])
    def test_of_subscribe_the_group(self, make: Any, group: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"group=.* has to be a name of 1 to 100 bytes of printable text"):
            make().subscribe(group, print)

    def test_of_forward(self, make: Any) -> None:
        with pytest.raises(ConfigurationError, match="5 has no events to forward: it has to be an EventDispatcher"):
            make().forward(5)

    def test_of_stop(self, make: Any) -> None:
        with pytest.raises(ConfigurationError, match="timeout=-1 has to be a number of seconds above 0"):
            make().stop(-1)

    def test_of_dead_letters(self, make: Any) -> None:
        letters = make().dead_letters("g")
        with pytest.raises(ConfigurationError, match="limit=0 has to be a whole number"):
            letters.list(0)
        for call in (letters.replay, letters.purge):
            with pytest.raises(ConfigurationError, match="ids='abc' has to be a list of events' IDs, or None for all"):
                call("abc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heartbeat": 0}, r"heartbeat=0 has to be a whole number, 1 or more"),
        ({"heartbeat": 65_536}, r"heartbeat=65536 has to be 65535 seconds or less: the protocol has no room for more"),
        ({"connect_timeout": None}, r"connect_timeout=None has to be a number of seconds above 0"),
    ],
)
def test_arguments_of_connections(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        amqp(**options)


@pytest_twisted.ensureDeferred
async def test_the_longest_heartbeat_connects(exchange: str, amqp_url: str) -> None:
    world = BrokerWorld(exchange, amqp_url, default_clock(None))
    transport = await world.started(heartbeat=65_535)
    await world.until(transport.subscribe("g", Heard()))
    await world.close()


def test_a_broker_in_memory_is_one() -> None:
    with pytest.raises(ConfigurationError, match=r"broker='amqp://' has to be a MemoryBroker, or None"):
        MemoryTransport("amqp://", exchange="x")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ConfigurationError, match="clock=5 keeps no time"):
        MemoryBroker(clock=5)  # type: ignore[arg-type]  # what is refused
