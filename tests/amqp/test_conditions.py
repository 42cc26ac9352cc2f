"""What an operator meets: brokers that are not there, refuse or are full, foreign publishers, handlers that are slow or hang."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from tests.amqp.broker import OwnBroker, free_ports
from twisted_evproc.amqp import AMQPTransport, Envelope, StateChange, current_envelope
from twisted_evproc.amqp._topology import Topology
from twisted_evproc.errors import (
    EventTooLarge,
    Overflow,
    PublishRefused,
    PublishTimeout,
    SubscriptionRefused,
    TransportStopped,
    Unroutable,
)

_USERS = itertools.count(1)


class States:
    """The states that a transport has told."""

    def __init__(self, transport: AMQPTransport) -> None:
        self.transport = transport
        self.told: list[StateChange] = []
        self._waiting: list[Deferred[None]] = []
        transport.dispatcher.add_event_handler(self._hear, "during")

    def _hear(self, change: StateChange) -> None:
        self.told.append(change)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def become(self, state: str) -> StateChange:
        """Waits until the transport is in a state, if it is not."""
        while not self.told or self.told[-1].state != state:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        return self.told[-1]


@asynccontextmanager
async def running(url: str, exchange: str, **options: Any) -> AsyncIterator[tuple[AMQPTransport, States]]:
    """A transport that has been started; what is not confirmed in the end fails."""
    transport = AMQPTransport(url, exchange=exchange, **options)
    states = States(transport)
    await transport.start()
    try:
        yield transport, states
    finally:
        await transport.stop(5)


class Answer:
    """What a publication came to."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.results: list[Any] = []
        self.there: Deferred[None] = Deferred()
        deferred.addBoth(self._hear)

    def _hear(self, result: Any) -> None:
        self.results.append(result)
        self.there.callback(None)

    async def error(self, kind: type[BaseException]) -> Any:
        await self.there
        (result,) = self.results
        assert isinstance(result, Failure)
        assert result.check(kind), result
        return result.value


class Heard:
    """A handler that keeps what it gets, and is waited for."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.envelopes: list[Envelope | None] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self.envelopes.append(current_envelope())
        due = [each for each in self._waiting if each[0] <= len(self.events)]
        self._waiting = [each for each in self._waiting if each not in due]
        for _, waiting in due:
            waiting.callback(None)

    async def have(self, count: int) -> None:
        if len(self.events) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((count, waiting))
            await waiting


async def until(happened: Callable[[], Any]) -> None:
    """For what nothing tells of: it is looked for in every turn of the reactor; pytest ends a test that hangs."""
    while not happened():
        await deferLater(reactor, 0.01)


def add_user(broker: OwnBroker, vhost: str, *rights: str) -> str:
    """A new user with these rights to configure, write and read; gives its URL."""
    user = f"user{next(_USERS)}"
    assert broker.evaluate(f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"secret">>, <<"tests">>)') == "ok"
    permit(broker, vhost, user, *rights)
    return broker.url(vhost, user, "secret")


def permit(broker: OwnBroker, vhost: str, user: str, *rights: str) -> None:
    arguments = ", ".join(f'<<"{each}">>' for each in (user, vhost, *rights, "tests"))
    assert broker.evaluate(f"rabbit_auth_backend_internal:set_permissions({arguments})") == "ok"


@contextmanager
def foreign(url: str) -> Iterator[Any]:
    """A channel of a program that is not ours."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


@pytest.fixture
def alarming(broker: OwnBroker) -> Iterator[OwnBroker]:
    yield broker
    broker.alarm(False)


@pytest.fixture
def nowhere() -> str:
    """The URL of a broker that is not there."""
    return f"amqp://guest:top-secret@127.0.0.1:{free_ports(1)[0]}/"


# -- no broker


@pytest_twisted.ensureDeferred
async def test_without_a_broker_it_starts_and_says_what_is_wrong(nowhere: str, exchange: str) -> None:
    with capturedLogs() as logged:
        async with running(nowhere, exchange) as (transport, states):
            change = await states.become("down")
            assert change.name == "transport_down"
            assert change.reason.startswith(f"no connection to {transport.address}: ")
            assert "refused" in change.reason
            assert transport.reason == change.reason
        assert transport.state == "stopped"
    texts = [formatEvent(event) for event in logged]
    # Once, and not for every attempt.
    assert len([text for text in texts if change.reason in text]) == 1
    assert not [text for text in [*texts, repr(transport), change.reason] if "top-secret" in text]


@pytest_twisted.ensureDeferred
async def test_what_waits_too_long_for_a_broker_fails(nowhere: str, exchange: str) -> None:
    clock = Clock()
    async with running(nowhere, exchange, clock=clock) as (transport, states):
        await states.become("down")
        answer = Answer(transport.publish("event"))
        clock.advance(29.9)
        assert answer.results == []
        clock.advance(0.1)
        error = await answer.error(PublishTimeout)
        assert not error.sent
        assert f"within 30 s (down: no connection to {transport.address}: " in str(error)
        assert str(error).endswith("; it was not sent")
        assert transport.statistics().waiting == 0


@pytest_twisted.ensureDeferred
async def test_what_waits_is_published_when_the_broker_comes(own_broker: OwnBroker, exchange: str) -> None:
    own_broker.kill()
    heard = Heard()
    async with running(own_broker.url(), exchange, unroutable="drop") as (transport, states):
        subscribed = Answer(transport.subscribe("group", heard))
        await states.become("down")
        waiting = transport.publish("first")
        assert transport.statistics().waiting == 1
        own_broker.spawn()
        await deferToThread(own_broker.wait)
        await waiting
        await states.become("up")
        await subscribed.there
        (subscription,) = subscribed.results
        await transport.publish("second")
        # The first one was published before the group was bound, or after.
        await until(lambda: "second" in heard.events)
        assert [change.state for change in states.told] == ["down", "up"]
        await subscription.delete()


# -- a broker that refuses us


@pytest_twisted.ensureDeferred
async def test_a_wrong_password(broker: OwnBroker, vhost: str, exchange: str) -> None:
    with capturedLogs() as logged:
        async with running(broker.url(vhost, "guest", "top-secret"), exchange) as (transport, states):
            change = await states.become("down")
            assert f"the broker at 127.0.0.1:{broker.port} refuses the user 'guest': unknown, a wrong password" in change.reason
            assert "Correct the URL" in change.reason
    assert not [event for event in logged if "top-secret" in f"{formatEvent(event)} {event.get('log_failure')}"]
    assert "top-secret" not in f"{change} {transport!r}"


@pytest_twisted.ensureDeferred
async def test_a_wrong_virtual_host(broker: OwnBroker, exchange: str) -> None:
    async with running(broker.url("no_such"), exchange) as (_, states):
        change = await states.become("down")
        assert (
            f"the broker at 127.0.0.1:{broker.port} has no virtual host 'no_such' that the user 'guest' may use" in change.reason
        )
        assert "Correct the URL, or make it on the broker" in change.reason


@pytest_twisted.ensureDeferred
async def test_a_virtual_host_of_others(broker: OwnBroker, vhost: str, exchange: str) -> None:
    url = add_user(broker, vhost, ".*", ".*", ".*").replace(f"/{vhost}", "/%2F")
    async with running(url, exchange) as (_, states):
        assert "has no virtual host '/' that the user 'user" in (await states.become("down")).reason


@pytest_twisted.ensureDeferred
async def test_a_user_that_may_not_make_the_exchange(broker: OwnBroker, vhost: str, exchange: str) -> None:
    async with running(add_user(broker, vhost, "", ".*", ".*"), exchange) as (transport, states):
        change = await states.become("down")
        assert f"ACCESS_REFUSED - access to exchange '{exchange}.routed-by.' in vhost '{vhost}' refused for user" in change.reason
        assert "Let the user do that (rabbitmqctl set_permissions)" in change.reason
        # As soon as it may, everything goes on.
        waiting = Answer(transport.publish("event"))
        permit(broker, vhost, transport.address.user, ".*", ".*", ".*")
        await states.become("up")
        await waiting.error(Unroutable)


@pytest_twisted.ensureDeferred
async def test_a_user_that_may_not_publish(broker: OwnBroker, vhost: str, exchange: str) -> None:
    async with running(add_user(broker, vhost, ".*", ".*routed-by.*", ".*"), exchange, unroutable="drop") as (transport, states):
        answers = [Answer(transport.publish("event")) for _ in range(3)]
        for answer in answers:
            error = await answer.error(PublishRefused)
            assert f"access to exchange '{exchange}' in vhost '{vhost}' refused for user" in str(error)
            assert "Let the user write there" in str(error)
        assert transport.statistics().refused == 3
        permit(broker, vhost, transport.address.user, ".*", ".*", ".*")
        await transport.publish("event")
        # It was down while the channel was made anew, and said why.
        down = [change.reason for change in states.told if change.state == "down"]
        assert down
        assert all("the channel is closed: ACCESS_REFUSED - access to exchange" in reason for reason in down)


@pytest_twisted.ensureDeferred
async def test_a_user_that_may_not_subscribe(broker: OwnBroker, vhost: str, exchange: str) -> None:
    async with running(add_user(broker, vhost, ".*", ".*", f"^{exchange}(.routed-by.)?$"), exchange) as (transport, states):
        await states.become("up")
        answer = Answer(transport.subscribe("group", Heard()))
        error = await answer.error(SubscriptionRefused)
        assert "the group 'group' cannot be subscribed: the broker says: ACCESS_REFUSED" in str(error)
        assert "set_permissions" in str(error)
        assert transport.state == "up"


# -- an exchange or queue that is not ours


@pytest_twisted.ensureDeferred
async def test_an_exchange_that_is_routed_by_another_keyword(amqp_url: str, exchange: str) -> None:
    async with running(amqp_url, exchange, route_by="role") as (_, states):
        await states.become("up")
        async with running(amqp_url, exchange, route_by="level") as (_, others):
            reason = (await others.become("down")).reason
            assert f"the exchange {exchange!r} is routed by the keyword 'role', but here by the keyword 'level'" in reason
            assert "Give route_by='role', or another exchange." in reason
        async with running(amqp_url, exchange) as (transport, others):
            assert "Give route_by='role'" in (await others.become("down")).reason
            error = await Answer(transport.subscribe("group", Heard())).error(SubscriptionRefused)
            assert f"the exchange {exchange!r} is routed by the keyword 'role', but here by no keyword" in str(error)


@pytest_twisted.ensureDeferred
async def test_an_exchange_of_another_make(amqp_url: str, exchange: str) -> None:
    with foreign(amqp_url) as channel:
        channel.exchange_declare(exchange, "fanout", durable=True)
        async with running(amqp_url, exchange) as (_, states):
            reason = (await states.become("down")).reason
            assert f"there is exchange {exchange!r} already, made with other options" in reason
            assert "received 'topic' but current is 'fanout'" in reason
            channel.exchange_delete(exchange)
            await states.become("up")
        channel.exchange_delete(exchange)
        channel.exchange_declare(exchange, "topic", durable=True)
        async with running(amqp_url, exchange) as (_, states):
            assert f"the exchange {exchange!r} was made by another program" in (await states.become("down")).reason


@pytest_twisted.ensureDeferred
async def test_a_queue_of_another_make(amqp_url: str, exchange: str) -> None:
    with foreign(amqp_url) as channel:
        channel.queue_declare(f"{exchange}.group", durable=True)
    async with running(amqp_url, exchange) as (transport, _):
        error = await Answer(transport.subscribe("group", Heard())).error(SubscriptionRefused)
        assert f"there is queue '{exchange}.group' already, made with other options" in str(error)
        assert "Use another name, or delete it on the broker." in str(error)
        # Others are not concerned.
        heard = Heard()
        await transport.subscribe("other", heard)
        await transport.publish("event")
        await heard.have(1)


# -- a broker that takes nothing for now


class Slow(Heard):
    """A handler that does not come to an end before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work: list[Deferred[None]] = []
        self.fast = False

    def __call__(self, event: Any) -> Any:
        super().__call__(event)
        if self.fast:
            return None
        self.at_work.append(Deferred())
        return self.at_work[-1]

    def finish(self) -> None:
        at_work, self.at_work = self.at_work, []
        for deferred in at_work:
            deferred.callback(None)

    def hurry(self) -> None:
        """Ends what is at work, and waits no more."""
        self.fast = True
        self.finish()


@pytest_twisted.ensureDeferred
async def test_on_the_memory_alarm_publishing_waits_and_consuming_goes_on(
    alarming: OwnBroker, amqp_url: str, exchange: str
) -> None:
    slow = Slow()
    async with running(amqp_url, exchange, max_waiting=5, window=20) as (transport, states):
        await transport.subscribe("group", slow, window=5)
        for number in range(10):
            await transport.publish(number)
        await slow.have(5)
        alarming.alarm(True)
        # It is the first event sent from now on that makes the broker say so.
        answers = [Answer(transport.publish(10))]
        change = await states.become("blocked")
        assert change.name == "transport_blocked"
        assert change.reason == "the broker takes no events for now: low on memory"
        # The broker gives further ones only after these are acknowledged.
        slow.finish()
        await slow.have(10)
        assert transport.state == "blocked"
        answers += [Answer(transport.publish(number)) for number in range(11, 16)]
        assert transport.statistics().waiting == 5
        assert "5 events (10 bytes) wait" in str(await Answer(transport.publish("one too many")).error(Overflow))
        assert [answer.results for answer in answers] == [[]] * 6
        alarming.alarm(False)
        await states.become("up")
        await gatherResults([answer.there for answer in answers])
        assert all(isinstance(answer.results[0], str) for answer in answers)
        slow.hurry()
        await slow.have(16)
        assert slow.events == list(range(16))


@pytest_twisted.ensureDeferred
async def test_on_the_memory_alarm_only_so_many_bytes_wait(alarming: OwnBroker, amqp_url: str, exchange: str) -> None:
    async with running(amqp_url, exchange, max_waiting_size=1000, unroutable="drop") as (transport, states):
        await states.become("up")
        alarming.alarm(True)
        answers = [Answer(transport.publish("x"))]
        await states.become("blocked")
        answers.append(Answer(transport.publish("x" * 900)))
        assert "1 events (902 bytes) wait" in str(await Answer(transport.publish("x" * 200)).error(Overflow))
        alarming.alarm(False)
        await gatherResults([answer.there for answer in answers])


@pytest_twisted.ensureDeferred
async def test_subscribing_on_the_memory_alarm_does_not_stop_those_who_consume(
    alarming: OwnBroker, amqp_url: str, exchange: str
) -> None:
    slow, late = Slow(), Heard()
    async with running(amqp_url, exchange) as (transport, _):
        await transport.subscribe("group", slow, window=1)
        for number in range(4):
            await transport.publish(number)
        await slow.have(1)
        alarming.alarm(True)
        subscribed = Answer(transport.subscribe("late", late))
        # What is written down about the new group's bindings is a message, which the broker does not take now.
        with foreign(amqp_url) as channel:
            await until(lambda: exists(channel, f"{exchange}.late.bindings"))
        slow.hurry()
        await slow.have(4)
        assert subscribed.results == []
        alarming.alarm(False)
        await subscribed.there
        await transport.publish("event")
        await late.have(1)


def exists(channel: Any, queue: str) -> bool:
    connection = channel.connection
    try:
        connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


@pytest_twisted.ensureDeferred
async def test_a_failed_event_waits_for_its_place_while_the_broker_takes_nothing(
    alarming: OwnBroker, amqp_url: str, exchange: str
) -> None:
    first, heard = Deferred[None](), Heard()

    def handle(event: Any) -> Deferred[None] | None:
        heard(event)
        return first if len(heard.events) == 1 else None

    async with running(amqp_url, exchange, max_waiting=0) as (transport, states):
        await transport.subscribe("group", handle, retry_delays=(0.01,))
        await transport.publish("event")
        await heard.have(1)
        alarming.alarm(True)
        answer = Answer(transport.publish("second"))
        await states.become("blocked")
        first.errback(ValueError("poison"))
        await until(lambda: transport.statistics().waiting == 1)
        alarming.alarm(False)
        await answer.there
        await heard.have(3)
        assert sorted(heard.events) == ["event", "event", "second"]


@pytest_twisted.ensureDeferred
async def test_a_broker_without_room_on_its_disk(broker: OwnBroker, amqp_url: str, exchange: str) -> None:
    async with running(amqp_url, exchange, unroutable="drop") as (transport, states):
        await transport.publish("first")
        assert broker.evaluate("rabbit_disk_monitor:set_disk_free_limit(1 bsl 60)") == "ok"
        try:
            answer = Answer(transport.publish("second"))
            assert (await states.become("blocked")).reason == "the broker takes no events for now: low on disk"
            assert answer.results == []
        finally:
            assert broker.evaluate("rabbit_disk_monitor:set_disk_free_limit(1000000)") == "ok"
        await answer.there
        assert isinstance(answer.results[0], str)


# -- events that are too large


@pytest_twisted.ensureDeferred
async def test_an_event_that_is_too_large_for_us(amqp_url: str, exchange: str) -> None:
    async with running(amqp_url, exchange, max_event_size=100) as (transport, _):
        with pytest.raises(EventTooLarge, match="the event has 101 bytes, and 100 are allowed") as caught:
            transport.publish("x" * 99)
        assert (caught.value.size, caught.value.limit) == (101, 100)
        assert transport.statistics().published == 0


@pytest_twisted.ensureDeferred
async def test_an_event_that_is_too_large_for_the_broker(broker: OwnBroker, amqp_url: str, exchange: str) -> None:
    heard = Heard()
    # The broker reads this for each new channel.
    assert broker.evaluate("application:set_env(rabbit, max_message_size, 2000)") == "ok"
    try:
        async with running(amqp_url, exchange) as (transport, states):
            await transport.subscribe("group", heard)
            answers = [Answer(transport.publish(event)) for event in ("a", "b" * 2500, "c", "d" * 2500, "e")]
            for answer in (answers[1], answers[3]):
                error = await answer.error(PublishRefused)
                assert "message size 2502 is larger than configured max size 2000 (406)" in str(error)
                assert "raise max_message_size on the broker" in str(error)
            await gatherResults([answers[number].there for number in (0, 2, 4)])
            assert all(isinstance(answers[number].results[0], str) for number in (0, 2, 4))
            await until(lambda: {"a", "c", "e"} == set(heard.events))
            assert [change.reason for change in states.told if change.state == "down"] != []
            assert transport.statistics().refused == 2
    finally:
        assert broker.evaluate("application:set_env(rabbit, max_message_size, 134217728)") == "ok"


# -- foreign publishers

EVENT = b'"event"'


@pytest_twisted.ensureDeferred
async def test_what_foreign_publishers_send_is_handled_or_a_dead_letter(amqp_url: str, exchange: str) -> None:
    heard = Heard()
    async with running(amqp_url, exchange, route_by="role") as (transport, _):
        await transport.subscribe("group", heard)

        def send(properties: pika.BasicProperties | None, body: bytes = EVENT) -> None:
            channel.basic_publish(exchange, "whatever", body, properties)

        with foreign(amqp_url) as channel:
            # Each is there before the next one, and before ours, which comes over another connection.
            channel.confirm_delivery()
            send(None)
            send(pika.BasicProperties(headers={}), b"1")
            send(
                pika.BasicProperties(content_type="application/json", message_id="1", headers={"ce-id": 5, "role": "admin"}), b"2"
            )
            send(pika.BasicProperties(content_type="application/vnd.api+json", message_id="2", timestamp=2**40), b"3")
            other = {
                "when": datetime(2026, 1, 1, tzinfo=UTC),
                "table": {"a": [1, None]},
                "bytes": b"\xff",
                "none": None,
                "big": 2**62,
            }
            send(pika.BasicProperties(headers=other, message_id="3"), b"4")
            send(pika.BasicProperties(headers={"role": "x" * 100_000}, message_id="4"), b"5")
            send(
                pika.BasicProperties(headers={"x-evproc-failures": -5, "x-evproc-reason": 7, "x-death": "none"}, message_id="5"),
                b"6",
            )
            send(pika.BasicProperties(headers={"x-evproc-failures": "many", "x-evproc-died": {}}, message_id="6"), b"7")
            send(pika.BasicProperties(headers={"x-evproc-failures": 10**9}, message_id="7"), b"8")
            # These cannot be read.
            send(pika.BasicProperties(message_id="broken"), b"{broken")
            send(pika.BasicProperties(message_id="empty"), b"")
            send(pika.BasicProperties(message_id="image", content_type="image/png"), b"\x89PNG")
            send(pika.BasicProperties(message_id="nested"), b"[" * 100_000)
            await transport.publish("ours")
            await until(lambda: "ours" in heard.events)
        assert heard.events == ["event", 1, 2, 3, 4, 5, 6, 7, 8, "ours"]
        envelopes = [envelope for envelope in heard.envelopes if envelope is not None]
        assert [envelope.id for envelope in envelopes[:9]] == ["", "", "1", "2", "3", "4", "5", "6", "7"]
        assert envelopes[2].details == {"role": "admin"}
        assert envelopes[4].details == {"big": 2**62}
        assert [envelope.failures for envelope in envelopes[5:9]] == [0, 0, 0, 10**9]
        dead = transport.dead_letters("group")
        letters = Answer(until_dead(dead, 4))
        await letters.there
        reasons = {letter.envelope.id: letter.reason for letter in letters.results[0]}
        assert set(reasons) == {"broken", "empty", "image", "nested"}
        assert all(reason.startswith("EventNotDecodable: the event ") for reason in reasons.values())
        assert "it is image/png, and the codec reads application/json" in reasons["image"]


@pytest_twisted.ensureDeferred
async def test_a_group_that_is_deleted_while_its_bindings_are_locked_is_bound_again(amqp_url: str, exchange: str) -> None:
    heard, topology = Heard(), Topology(exchange, None)
    lock, queue, note = topology.lock_name("group"), topology.queue_name("group"), topology.note_queue("group").name
    async with running(amqp_url, exchange) as (transport, _):
        subscription = await transport.subscribe("group", heard, role="a")
        with foreign(amqp_url) as channel:
            channel.queue_declare(lock, durable=True, auto_delete=True)
            channel.basic_consume(lock, lambda *_: None, exclusive=True)
            for name in (queue, note):
                channel.queue_delete(name)
            await until(lambda: not subscription.active)
            # It looks for the lock several times.
            await deferLater(reactor, 0.5)
            assert not subscription.active
        await until(lambda: subscription.active)
        await transport.publish("event", role="a")
        await heard.have(1)


def until_dead(dead: Any, count: int) -> Deferred[Any]:
    async def look() -> Any:
        while await dead.count() < count:
            await deferLater(reactor, 0.01)
        return await dead.list()

    return Deferred.fromCoroutine(look())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param('{<<"x-evproc-failures">>, signedint, 1000000000}', id="many failures"),
        pytest.param('{<<"x-evproc-failures">>, long, 9223372036854775807}', id="as many failures as can be"),
        pytest.param('{<<"x-evproc-failures">>, long, -9223372036854775807}', id="less than no failures"),
        pytest.param('{<<"x-evproc-failures">>, longstr, <<"many">>}', id="text for a number"),
        pytest.param('{<<"temperature">>, double, 1.5}', id="floating"),
        pytest.param('{<<"temperature">>, double, 1.0e300}', id="a floating number that is no integer of 64 bits"),
        pytest.param('{<<"name">>, longstr, binary:copy(<<"x">>, 131000)}', id="headers that have no room for ours"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_foreign_event_that_fails_becomes_a_dead_letter(
    broker: OwnBroker, vhost: str, amqp_url: str, exchange: str, headers: str
) -> None:
    heard = Heard()

    def handle(event: Any) -> None:
        heard(event)
        if event == "poison":
            raise ValueError("poison")

    async with running(amqp_url, exchange) as (transport, _):
        await transport.subscribe("group", handle, retry_delays=(0.01,), max_deliveries=3, crash_limit=2)
        place = f'rabbit_misc:r(<<"{vhost}">>, exchange, <<"{exchange}">>)'
        properties = f'[{{message_id, <<"foreign">>}}, {{headers, [{headers}]}}]'
        broker.evaluate(f'rabbit_basic:publish({place}, <<"any">>, {properties}, <<"\\"poison\\"">>)')
        await transport.publish("after")
        (letter,) = await until_dead(transport.dead_letters("group"), 1)
        assert (letter.envelope.id, letter.envelope.body) == ("foreign", b'"poison"')
        assert letter.reason
        # Whatever the headers say, it was tried; and others are handled as before.
        assert "poison" in heard.events
        await transport.publish("last")
        await until(lambda: "last" in heard.events)
        assert {"after", "last"} < set(heard.events)


# -- handlers that are slow, and publishers that are fast

QUEUED = 8_000
KILOBYTE = "x" * 1000


def alive(kind: type[Any]) -> int:
    _ = gc.collect()
    return len([each for each in gc.get_objects() if type(each) is kind])


@pytest_twisted.ensureDeferred
async def test_a_slow_consumer_holds_no_more_than_its_window(amqp_url: str, exchange: str) -> None:
    slow = Slow()
    async with running(amqp_url, exchange) as (transport, _):
        subscription = await transport.subscribe("group", slow, window=64)
        await subscription.unsubscribe()
        for _ in range(QUEUED // 1000):
            await gatherResults([transport.publish(KILOBYTE) for _ in range(1000)])
        handled = most = 0

        def handle(event: Any) -> Any:
            nonlocal handled
            handled += 1
            deferred: Deferred[None] = Deferred()
            slow.at_work.append(deferred)
            return deferred

        envelopes = alive(Envelope)
        tracemalloc.start()
        try:
            await transport.subscribe("group", handle, window=64)
            while handled < QUEUED:
                most = max(most, len(slow.at_work))
                slow.finish()
                await deferLater(reactor, 0)
            slow.finish()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most <= 64
        assert alive(Envelope) - envelopes <= 64
        # All of them have 8 MB.
        assert peak < 2_000_000, peak


@pytest_twisted.ensureDeferred
async def test_a_publisher_that_is_faster_than_the_broker_is_told(alarming: OwnBroker, amqp_url: str, exchange: str) -> None:
    async with running(amqp_url, exchange, window=100, max_waiting=200, unroutable="drop") as (transport, states):
        await states.become("up")
        alarming.alarm(True)
        first = Answer(transport.publish("first"))
        await states.become("blocked")
        _ = gc.collect()
        tracemalloc.start()
        try:
            answers = [Answer(transport.publish(KILOBYTE)) for _ in range(200)]
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(2_000):
                error = await Answer(transport.publish(KILOBYTE)).error(Overflow)
                assert error.waiting == 200
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 500_000
        assert transport.statistics().refused == 2_000
        alarming.alarm(False)
        await gatherResults([answer.there for answer in [first, *answers]])
        assert transport.statistics().confirmed == 201


@pytest_twisted.ensureDeferred
async def test_a_handler_that_hangs_holds_up_nobody_until_the_window_is_full(amqp_url: str, exchange: str) -> None:
    heard = Heard()

    def handle(event: Any) -> Deferred[None] | None:
        heard(event)
        return Deferred() if event == "hang" else None

    async with running(amqp_url, exchange) as (transport, _):
        await transport.subscribe("group", handle, window=3)
        for event in ("hang", "a", "hang", "b", "c", "hang", "d"):
            await transport.publish(event)
        # It is heard before its handler has returned.
        await until(lambda: transport.statistics().under_way == 3)
        assert heard.events == ["hang", "a", "hang", "b", "c", "hang"]
        await transport.stop(0.1)
        assert transport.state == "stopped"
        assert transport.statistics().under_way == 0
        with pytest.raises(TransportStopped):
            await transport.publish("late")
    again = Heard()
    async with running(amqp_url, exchange) as (transport, _):
        await transport.subscribe("group", again)
        await again.have(4)
        # They stayed with the broker, and so did what was behind them; what was handled did not.
        assert sorted(again.events) == ["d", "hang", "hang", "hang"]
        ids = {envelope.id for envelope in heard.envelopes if envelope is not None}
        assert len(ids & {envelope.id for envelope in again.envelopes if envelope is not None}) == 3
