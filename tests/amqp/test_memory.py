"""What only a broker in memory can be made to do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.amqp.worlds import Heard, Slow
from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import MemoryBroker, MemoryTransport
from twisted_evproc.errors import (
    ConfigurationError,
    Overflow,
    PublishTimeout,
    SubscriptionRefused,
    TransportError,
    TransportStopped,
    WireError,
)
from twisted_evproc.testing import assert_pending, failure_now, result_now


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(clock=self.clock)
        self.states: list[str] = []

    def transport(self, **options: Any) -> MemoryTransport:
        transport = MemoryTransport(self.broker, **{"exchange": "x", **options})
        _ = transport.dispatcher.add_event_handler(lambda change: self.states.append(change.state), "during")
        _ = transport.start()
        self.clock.advance(0)
        return transport

    def now(self, deferred: Deferred[Any], seconds: float = 0) -> Any:
        self.clock.advance(seconds)
        return result_now(deferred)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_nothing_happens_within_a_call(scene: Scene) -> None:
    transport, heard = scene.transport(), Heard()
    subscribing = transport.subscribe("g", heard)
    assert_pending(subscribing)
    scene.clock.advance(0)
    publishing = transport.publish(1)
    assert_pending(publishing)
    assert not heard
    assert transport.statistics().in_flight == 1
    _ = scene.now(publishing)
    assert list(heard) == [1]


def test_a_subscription_reminds_of_the_start(scene: Scene) -> None:
    with capturedLogs() as logs:
        early = MemoryTransport(scene.broker, exchange="x")
        subscribing = early.subscribe("early", Heard())
        _ = early.start()
        scene.clock.advance(0)
        assert logs == []
        _ = scene.now(subscribing)
        forgotten = MemoryTransport(scene.broker, exchange="x")
        subscribing = forgotten.subscribe("forgotten", Heard())
        assert logs == []
        scene.clock.advance(0)
        assert_pending(subscribing)
    assert [event["log_level"].name for event in logs] == ["warn"]
    assert "the group 'forgotten' waits for " in formatEvent(logs[0])
    assert formatEvent(logs[0]).endswith("which was not started: call start()")


@pytest.mark.parametrize("keyword", ["max_delivery", "retry_delay", "dedup", "crash_limits", "windows"])
def test_an_option_that_was_written_wrongly_is_not_matched_on(scene: Scene, keyword: str) -> None:
    transport = scene.transport()
    with pytest.raises(WireError, match=f"'{keyword}' would be matched on, and is almost the option '.*'.  Did you mean that"):
        _ = transport.subscribe("g", Heard(), **{keyword: 3})
    _ = scene.now(transport.subscribe("g", EventDispatcher([keyword]), **{keyword: 3}))


@pytest.mark.parametrize("keyword", ["code", "kind", "max_price", "delay", "user_limit"])
def test_other_words_are(scene: Scene, keyword: str) -> None:
    _ = scene.now(scene.transport().subscribe("g", Heard(), **{keyword: 3}))


def test_a_broker_that_is_down(scene: Scene) -> None:
    transport, heard = scene.transport(max_waiting=2, publish_timeout=5), Heard()
    subscription = scene.now(transport.subscribe("g", heard))
    scene.broker.go_down("it burns")
    assert (transport.state, transport.reason, subscription.active) == ("down", "it burns", False)

    first, second, third = (transport.publish(number) for number in range(3))
    assert "2 events (2 bytes) wait for the broker already" in str(failure_now(third, Overflow))
    assert transport.statistics().waiting == 2
    for call in (subscription.change(n=1), subscription.delete(), transport.dead_letters("g").count()):
        assert "try again when the transport is up" in str(failure_now(call, TransportError))
    scene.clock.advance(4.9)
    assert_pending(first)
    scene.clock.advance(0.1)
    error = failure_now(first, PublishTimeout)
    assert "within 5 s (down: it burns); it was not sent" in str(error)
    failure_now(second, PublishTimeout)

    waiting = transport.publish("waits")
    scene.broker.come_up()
    _ = scene.now(waiting)
    assert (list(heard), subscription.active, scene.states) == (["waits"], True, ["up", "down", "up"])
    assert transport.statistics().connects == 2


def test_starting_while_the_broker_is_down(scene: Scene) -> None:
    scene.broker.go_down()
    transport, heard = scene.transport(), Heard()
    subscribing = transport.subscribe("g", heard)
    scene.clock.advance(10)
    assert transport.state == "down"
    assert_pending(subscribing)
    scene.broker.come_up()
    assert scene.now(subscribing).active


def test_what_was_sent_and_not_confirmed_is_sent_again(scene: Scene) -> None:
    transport, heard = scene.transport(), Heard()
    _ = scene.now(transport.subscribe("g", heard))
    publishing = transport.publish(1)
    scene.broker.cut(transport)
    assert transport.state == "connecting"
    _ = scene.now(publishing)
    assert list(heard) == [1]
    publishing = transport.publish(2)
    scene.broker.go_down()
    scene.clock.advance(1)
    assert_pending(publishing)
    scene.broker.come_up()
    _ = scene.now(publishing)
    assert list(heard) == [1, 2]


def test_a_broker_that_takes_nothing(scene: Scene) -> None:
    transport, heard = scene.transport(), Heard()
    _ = scene.now(transport.subscribe("g", heard))
    scene.broker.block()
    assert (transport.state, transport.reason) == ("blocked", "the broker takes no events for now")
    publishing = transport.publish(1)
    scene.clock.advance(10)
    assert_pending(publishing)
    late = scene.transport()
    assert late.state == "blocked"
    scene.broker.block(False)
    _ = scene.now(publishing)
    assert (list(heard), transport.state, late.state) == ([1], "up", "up")
    assert scene.states == ["up", "blocked", "blocked", "up", "up"]
    with pytest.raises(ConfigurationError, match="blocked='no' has to be True or False"):
        scene.broker.block("no")  # type: ignore[arg-type]  # what is refused


def test_a_transport_that_is_lost_stays_away(scene: Scene) -> None:
    first, second = scene.transport(), scene.transport()
    slow, heard = Slow(), Heard()
    _ = scene.now(first.subscribe("g", slow))
    event_id = scene.now(first.publish(1))
    scene.broker.lose(first)
    scene.broker.go_down()
    scene.broker.come_up()
    _ = scene.now(second.subscribe("g", heard))
    assert (first.state, [envelope.id for envelope in heard.envelopes]) == ("down", [event_id])
    # Its word counts no more.
    slow.pending[0].callback(None)
    assert heard.envelopes[0].redelivered
    with pytest.raises(ConfigurationError, match="is not at this broker; give a MemoryTransport of it that was started"):
        scene.broker.lose(first)


def test_stopping_in_a_hurry_gives_up_what_is_not_confirmed(scene: Scene) -> None:
    transport = scene.transport()
    scene.broker.go_down()
    publishing = transport.publish(1)
    stopping = transport.stop(3)
    scene.clock.advance(2)
    assert_pending(stopping)
    scene.clock.advance(1)
    assert "before the broker confirmed the event" in str(failure_now(publishing, TransportStopped))
    assert result_now(stopping) is None
    assert scene.clock.getDelayedCalls() == []


def test_nothing_is_left_behind(scene: Scene) -> None:
    transport, heard = scene.transport(), Heard()
    _ = scene.now(transport.subscribe("g", heard))
    _ = scene.now(transport.publish(1))
    _ = scene.now(transport.stop())
    assert scene.clock.getDelayedCalls() == []


def test_retries_come_by_the_clock(scene: Scene) -> None:
    transport, heard = scene.transport(), Heard()

    def fail(event: Any) -> None:
        heard(event)
        raise ValueError(event)

    _ = scene.now(transport.subscribe("g", fail, retry_delays=(2, 30), max_deliveries=4))
    _ = scene.now(transport.publish(1))
    counts = []
    for seconds in (1.5, 0.5, 29.5, 0.5, 29.5, 0.5):
        scene.clock.advance(seconds)
        counts.append(len(heard))
    assert counts == [1, 2, 2, 3, 3, 4]
    assert scene.now(transport.dead_letters("g").count()) == 1


def test_a_retry_outlives_the_member_and_the_brokers_absence(scene: Scene) -> None:
    first, second, heard = scene.transport(), scene.transport(), Heard()
    _ = scene.now(first.subscribe("g", lambda event: 1 / 0, retry_delays=(10,)))
    event_id = scene.now(first.publish(1))
    scene.broker.lose(first)
    scene.broker.go_down()
    scene.clock.advance(60)
    scene.broker.come_up()
    _ = scene.now(second.subscribe("g", heard))
    assert [(envelope.id, envelope.failures, envelope.redelivered) for envelope in heard.envelopes] == [(event_id, 1, False)]


def test_a_member_whose_group_is_deleted_by_another_makes_it_anew(scene: Scene) -> None:
    first, second, heard = scene.transport(), scene.transport(), Heard()
    remaining = scene.now(first.subscribe("g", heard, n=1))
    _ = scene.now(scene.now(second.subscribe("g", Heard(), n=1)).delete())
    assert remaining.active
    _ = scene.now(second.publish(1, n=1))
    assert list(heard) == [1]


def test_a_deduplicator_that_cannot_be_opened_is_tried_again(scene: Scene) -> None:
    class Memory:
        opened = 0

        def open(self) -> None:
            self.opened += 1
            if self.opened < 3:
                raise OSError("locked")

        def seen(self, scope: str, event_id: str) -> bool:
            return (scope, event_id) == ("x.g", "/x old")

        def remember(self, scope: str, event_id: str) -> None:
            pass

        def close(self) -> None:
            pass

    transport, heard = scene.transport(), Heard()
    subscribing = transport.subscribe("g", heard, dedupe=Memory())
    for seconds in (0, 1, 0.5):
        scene.clock.advance(seconds)
        assert_pending(subscribing)
    _ = scene.now(subscribing, 0.5)
    _ = scene.now(transport.publish(1, event_id="old"))
    _ = scene.now(transport.publish(2, event_id="new"))
    assert list(heard) == [2]


class Unhurried:
    """A deduplicator that goes on opening, whoever cancels that."""

    def __init__(self) -> None:
        self.opening: list[Deferred[None]] = []

    async def open(self) -> None:
        opened: Deferred[None] = Deferred()
        self.opening.append(opened)
        waiting: Deferred[None] = Deferred()
        opened.addCallback(waiting.callback)
        try:
            await waiting
        except CancelledError:
            again: Deferred[None] = Deferred()
            opened.addCallback(again.callback)
            await again

    def seen(self, scope: str, event_id: str) -> bool:
        return False

    def remember(self, scope: str, event_id: str) -> None:
        pass

    def close(self) -> None:
        pass


def test_who_unsubscribes_while_the_deduplicator_opens_takes_nothing(scene: Scene) -> None:
    first, second, heard, others = scene.transport(), scene.transport(), Heard(), Heard()
    dedupe = Unhurried()
    _ = first.subscribe("g", heard, dedupe=dedupe)
    scene.clock.advance(0)
    stopping = first.stop()
    scene.clock.advance(0)
    _ = scene.now(second.subscribe("g", others))
    dedupe.opening[0].callback(None)
    _ = scene.now(stopping)
    for event in range(4):
        _ = scene.now(second.publish(event))
    assert (list(heard), list(others)) == ([], [0, 1, 2, 3])


def test_a_deduplicator_that_opens_late_does_not_end_the_attempt_behind_it(scene: Scene) -> None:
    transport, heard, dedupe = scene.transport(), Heard(), Unhurried()
    subscribing = transport.subscribe("g", heard, dedupe=dedupe)
    scene.clock.advance(0)
    scene.broker.cut(transport)
    scene.clock.advance(0)
    late, current = dedupe.opening
    late.callback(None)
    scene.broker.go_down()
    scene.broker.come_up()
    scene.clock.advance(0)
    current.callback(None)
    dedupe.opening[2].callback(None)
    subscription = scene.now(subscribing)
    assert (subscription.active, len(dedupe.opening)) == (True, 3)
    _ = scene.now(transport.publish(1))
    assert list(heard) == [1]


def test_what_is_on_its_way_aside_when_the_connection_is_lost_is_not_told_as_refused(scene: Scene) -> None:
    transport, calls = scene.transport(), Heard()

    def fail(event: Any) -> None:
        calls(event)
        if len(calls) == 1:
            _ = scene.clock.callLater(0, scene.broker.cut, transport)
        raise ValueError(event)

    _ = scene.now(transport.subscribe("g", fail, max_deliveries=1))
    with capturedLogs() as logs:
        _ = scene.now(transport.publish(1))
        scene.clock.advance(5)
    assert scene.now(transport.dead_letters("g").count()) == 1
    assert [log["log_format"] for log in logs if "put aside" in log["log_format"]] == []
    assert list(calls) == [1, 1]


def test_a_transport_that_routes_otherwise_is_down(scene: Scene) -> None:
    _ = scene.transport()
    other = scene.transport(route_by="role")
    assert other.state == "down"
    assert other.reason.startswith("the exchange 'x' is routed by None, and not by 'role': all transports on one exchange")
    failed = other.subscribe("g", Heard())
    scene.clock.advance(0)
    failure_now(failed, SubscriptionRefused)


def test_without_pika() -> None:
    program = """
import sys
sys.modules["pika"] = None
from twisted.internet.task import Clock
from twisted_evproc.amqp import MemoryTransport
clock, heard = Clock(), []
transport = MemoryTransport(exchange="x", clock=clock)
transport.start(); transport.subscribe("g", heard.append); clock.advance(0)
transport.publish("event"); clock.advance(0)
transport.dead_letters("g").count().addCallback(heard.append); clock.advance(0)
print(heard, "twisted.internet.reactor" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['event', 0] False\n", "")


def test_without_msgspec_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["msgspec"] = None
from twisted_evproc.errors import MissingExtra
try:
    import twisted_evproc.amqp
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "twisted_evproc.amqp needs a library that is not installed; install twisted_evproc[amqp].\n"
    assert done.stderr == ""
