from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.exceptions import ChannelClosedByBroker

from twisted_evproc.amqp._topology import EVERYTHING, NO_VALUE, Binding, Exchange, Topology, check_name, word_of
from twisted_evproc.amqp._wire import WireSpec
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.matching import ANY, one_of, present

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(".*#%~-2Es")))
VALUES = st.one_of(TEXTS, INTEGERS, st.booleans(), st.text("a.*#%é", min_size=130, max_size=200))
NAMES = st.text(st.sampled_from(".%abé"), min_size=1, max_size=6)
LONGEST = "n" * 100


class TestWords:
    @given(VALUES)
    def test_a_word_has_one_dot_and_no_wildcard(self, value: Any) -> None:
        word = word_of(value)

        assert word.count(".") == 1
        assert not set(word) & set("*#") and word.isascii() and word.isprintable()
        assert word not in {NO_VALUE, EVERYTHING}

    @given(VALUES, VALUES)
    def test_words_are_as_different_as_values_with_their_types(self, one: Any, other: Any) -> None:
        assert (word_of(one) == word_of(other)) is (type(one) is type(other) and one == other)

    @pytest.mark.parametrize(
        ("one", "other"), [("1", 1), (1, True), ("true", True), ("", "-"), (".", "%2E"), ("a.b", "a%2Eb"), ("#", "%23")]
    )
    def test_neighbours_are_told_apart(self, one: Any, other: Any) -> None:
        assert word_of(one) != word_of(other)

    def test_words_that_a_person_can_read(self) -> None:
        assert [word_of("open"), word_of(-5), word_of(True), word_of("a.b"), word_of("")] == [
            "s.open",
            "i.-5",
            "b.true",
            "s.a%2Eb",
            "s.",
        ]

    def test_long_words_differ_by_their_ends(self) -> None:
        assert word_of("x" * 5000) != word_of("x" * 5000 + "y")


class TestNames:
    @given(NAMES, NAMES, NAMES, NAMES)
    def test_no_two_groups_share_a_queue(self, exchange: str, group: str, other_exchange: str, other_group: str) -> None:
        def names(exchange: str, group: str) -> list[str]:
            topology = Topology(exchange, None)
            own = [topology.queue(group, 1), topology.dead_queue(group), topology.note_queue(group)]
            shared = [topology.rung(5)[1], topology.orphans[1]]
            return [*(queue.name for queue in (*own, *shared)), topology.lock_name(group)]

        mine, others = names(exchange, group), names(other_exchange, other_group)
        shared = set(mine) & set(others)

        assert len(set(mine)) == 6
        if exchange != other_exchange:
            assert shared == set()
        elif group != other_group:
            assert shared == set(mine[3:5])  # the ladder belongs to the exchange

    @pytest.mark.parametrize("group", ["a.dead", "a.lock", "a.bindings", "retry.5000ms", "retry.orphans"])
    def test_a_group_may_be_named_like_a_queue_of_ours(self, group: str) -> None:
        topology = Topology("e", None)

        ladder = {topology.rung(5)[1].name, topology.orphans[1].name}
        taken = {topology.dead_name("a"), topology.lock_name("a"), topology.note_queue("a").name, *ladder}
        assert topology.queue_name(group) not in taken

    def test_names_without_dots_stay_readable(self) -> None:
        assert Topology("orders", None).dead_name("billing") == "orders.billing.dead"

    def test_no_name_is_too_long_for_the_broker(self) -> None:
        topology = Topology(LONGEST, LONGEST)
        values = one_of("." * 8000, *("x" * length for length in range(100, 250)))
        routes = list(topology.routes("q", WireSpec({LONGEST: values, "b": 1})))
        names = [
            topology.marker.name,
            topology.queue_name(LONGEST),
            topology.dead_name(LONGEST),
            topology.lock_name(LONGEST),
            topology.note_queue(LONGEST).name,
            topology.rung(4_000_000)[0].name,
            topology.way_back.name,
            topology.back_to(LONGEST).routing_key,
            topology.orphans[0].name,
            *(route.exchange.name for route in routes if route.exchange is not None),
            *(binding.routing_key for route in routes for binding in route.bindings),
        ]

        assert len(routes) == 151
        assert max(len(name.encode()) for name in names) <= 255

    @pytest.mark.parametrize("name", ["", "a\nb", "x" * 101, "é" * 40, "." * 40, 5, None])
    def test_what_is_no_name(self, name: Any) -> None:
        with pytest.raises(ConfigurationError, match="group=.* has to be a name of 1 to 100 bytes .*choose another one"):
            check_name(name, "group")

    def test_the_brokers_own_names(self) -> None:
        with pytest.raises(ConfigurationError, match=r"exchange='amq\.topic': .* belong to the broker; choose another one"):
            Topology("amq.topic", None)

    @pytest.mark.parametrize("route_by", ["", "a-b", "a" * 101])
    def test_what_cannot_route(self, route_by: str) -> None:
        with pytest.raises(ConfigurationError, match="route_by=.* has to be a keyword"):
            Topology("e", route_by)


class TestRoutes:
    @pytest.mark.parametrize(
        ("spec", "exchange", "bindings"),
        [
            ({}, None, [("e", "q", "#", {})]),
            ({"kind": ANY}, None, [("e", "q", "#", {})]),
            ({"kind": "x"}, None, [("e", "q", "s.x", {})]),
            (
                {"kind": "x", "a": 1},
                "e.by.s.x",
                [("e.by.s.x", "q", "", {"x-match": "all", "a": 1}), ("e", "e.by.s.x", "s.x", {})],
            ),
            ({"kind": present}, "e.by.#", [("e.by.#", "q", "", {"x-match": "all", "kind": None}), ("e", "e.by.#", "#", {})]),
            ({"a": True}, "e.by.#", [("e.by.#", "q", "", {"x-match": "all", "a": True}), ("e", "e.by.#", "#", {})]),
        ],
    )
    def test_the_way_of_a_match_spec(self, spec: dict[str, Any], exchange: str | None, bindings: list[Any]) -> None:
        (route,) = Topology("e", "kind").routes("q", WireSpec(spec))

        assert (None if route.exchange is None else route.exchange.name) == exchange
        assert [(each.source, each.destination, each.routing_key, each.arguments) for each in route.bindings] == bindings

    def test_keys_of_bindings_tell_types_apart(self) -> None:
        keys = {Binding("e", "q", "queue", "", {"a": value}).key for value in (1, True, "1", "True", None, "None")}

        assert len(keys) == 6
        assert Binding("e", "q", "queue", "", {"a": 1, "b": 2}).key == Binding("e", "q", "queue", "", {"b": 2, "a": 1}).key


@pytest.fixture
def connection(amqp_url: str) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection
    if connection.is_open:
        connection.close()


def declare(channel: Any, exchange: Exchange) -> None:
    channel.exchange_declare(exchange.name, exchange.type, durable=True, arguments=dict(exchange.arguments))


def declare_entry(channel: Any, topology: Topology) -> None:
    declare(channel, topology.marker)
    declare(channel, topology.entry)


def subscribe(channel: Any, topology: Topology, spec: WireSpec) -> str:
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    for route in topology.routes(queue, spec):
        if route.exchange is not None:
            declare(channel, route.exchange)
        for each in route.bindings:
            bind = channel.queue_bind if each.kind == "queue" else channel.exchange_bind
            bind(each.destination, each.source, routing_key=each.routing_key, arguments=dict(each.arguments))
    return queue


SPECS: list[dict[str, Any]] = [
    {},
    *({"kind": value} for value in ("1", 1, True, "", "a.b", "*", "#", "-", "é☃", 2**40, -5, "x" * 4000)),
    *({"a": value} for value in ("1", 1, True, False, 0, "", "é☃", 2**40, -(2**63), -5)),
    {"kind": present},
    {"a": present},
    {"kind": "1", "a": present},
    {"kind": one_of("1", 1), "a": one_of("x", 5, False)},
    {"kind": present, "a": 1},
]
DETAILS: list[dict[str, Any]] = [
    {},
    *({"kind": value} for value in ("1", 1, True, "", "a.b", "a", "*", "#", "-", "é☃", 2**40, -5, "x" * 4000, "x" * 4001)),
    *({"a": value} for value in ("1", 1, True, False, 0, "", "é☃", 2**40, -(2**63), -5)),
    *({"kind": kind, "a": a} for kind in ("1", 1, True) for a in ("x", 5, False, 0, 1, True)),
]


class TestAtTheBroker:
    @pytest.mark.parametrize("route_by", [None, "kind", "a"])
    def test_it_matches_as_a_match_spec_does(self, connection: Any, exchange: str, route_by: str | None) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        topology = Topology(exchange, route_by)
        declare_entry(channel, topology)
        specs = [WireSpec(spec) for spec in SPECS]
        queues = [subscribe(channel, topology, spec) for spec in specs]

        for number, details in enumerate(DETAILS):
            channel.basic_publish(
                exchange,
                topology.routing_key(details),
                str(number).encode(),
                pika.BasicProperties(headers=details),
                mandatory=True,
            )

        for spec, queue in zip(specs, queues, strict=True):
            got = []
            while (delivery := channel.basic_get(queue, auto_ack=True))[0] is not None:
                got.append(int(delivery[2]))
            assert got == [number for number, details in enumerate(DETAILS) if spec.matches(details)], str(spec)[:100]

    def test_an_event_for_nobody_comes_back_in_spite_of_the_marker(self, connection: Any, exchange: str) -> None:
        channel = connection.channel()
        channel.confirm_delivery()
        topology = Topology(exchange, "kind")
        declare_entry(channel, topology)
        subscribe(channel, topology, WireSpec({"kind": "x", "a": 1}))

        channel.basic_publish(exchange, "s.x", b"", pika.BasicProperties(headers={"kind": "x", "a": 1}), mandatory=True)
        others: list[dict[str, Any]] = [{"kind": "y"}, {"kind": "x", "a": 2}]
        for details in others:
            with pytest.raises(pika.exceptions.UnroutableError) as caught:
                channel.basic_publish(
                    exchange, topology.routing_key(details), b"", pika.BasicProperties(headers=details), mandatory=True
                )
            assert [message.method.reply_code for message in caught.value.messages] == [312]

    @pytest.mark.parametrize(("one", "other"), [("kind", "a"), ("kind", None), (None, "kind")])
    def test_a_program_that_routes_by_another_keyword_is_refused(
        self, connection: Any, exchange: str, one: str | None, other: str | None
    ) -> None:
        declare_entry(connection.channel(), Topology(exchange, one))
        declare_entry(connection.channel(), Topology(exchange, one))

        with pytest.raises(ChannelClosedByBroker) as caught:
            declare_entry(connection.channel(), Topology(exchange, other))
        assert caught.value.reply_code == 406
        assert "alternate-exchange" in caught.value.reply_text

    def test_the_queues_are_ones_that_the_broker_takes(self, connection: Any, exchange: str) -> None:
        channel = connection.channel()
        topology = Topology(exchange, None)
        for exchange_, queue, binding in (topology.orphans, topology.rung(0.001)):
            declare(channel, exchange_)
            channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
            channel.queue_bind(binding.destination, binding.source)
        for queue in (topology.queue("g", 3), topology.dead_queue("g"), topology.note_queue("g")):
            channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        declare(channel, topology.way_back)
        back = topology.back_to("g")
        channel.queue_bind(back.destination, back.source, back.routing_key)
        channel.confirm_delivery()

        for group in ("gone", "g"):
            channel.basic_publish(topology.rung(0.001)[0].name, topology.queue_name(group), group.encode(), mandatory=True)

        delivery = next(channel.consume(topology.queue_name("g"), inactivity_timeout=60))
        assert delivery[2] == b"g"
