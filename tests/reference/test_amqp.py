"""The reference page of transports says what there is: every option, default, state, field and name, and no other."""

from __future__ import annotations

import re
from typing import Any

import attrs

from tests.pages import called, options, pairs, public, section_of, table, words, wrong_calls
from twisted_evproc import amqp
from twisted_evproc.amqp import _envelope, _options, _state, _url, _wire
from twisted_evproc.amqp._topology import Topology
from twisted_evproc.amqp._wire import WireSpec
from twisted_evproc.interfaces import IEventTransport, ISubscription
from twisted_evproc.matching import one_of

PAGE = "reference/amqp"


class TestTransports:
    def test_every_option_with_its_default(self) -> None:
        assert pairs(table(PAGE, "Option", section="Transports")) == options(amqp.AMQPTransport)

    def test_every_method_and_attribute(self) -> None:
        rows = table(PAGE, "Method or attribute", section="Transports")
        assert {*called(rows)} == {*IEventTransport.names(all=True), "dead_letters", "reason", "running"}
        assert all(hasattr(amqp.AMQPTransport, name) for name in {*called(rows)} - {"running"})
        assert wrong_calls(rows, amqp.Transport) == []


class TestMemory:
    def test_options_are_those_of_the_other_transport(self) -> None:
        ours, others = options(amqp.MemoryTransport), options(amqp.AMQPTransport)
        own = pairs(table(PAGE, "Option in memory", section="In memory"))
        assert own == {name: ours[name] for name in ("broker", "clock")}
        assert set(others) - set(ours) == {"url", "heartbeat", "connect_timeout"}
        assert {name: ours[name] for name in ours if name != "broker"}.items() <= others.items()

    def test_what_a_broker_has(self) -> None:
        rows = table(PAGE, "In common", section="In memory")
        # What only transports call is said to them.
        inside = {"bind", "clock", "declare", "delete", "given_clock", "join", "leave", "queue", "refusal", "route"}
        given = {name for name in vars(amqp.MemoryBroker()) if not name.startswith("_")}
        assert {*called(rows)} == (public(amqp.MemoryBroker) | given) - inside
        assert wrong_calls(rows, amqp.MemoryBroker) == []


class TestURLs:
    def test_every_option(self) -> None:
        assert words(table(PAGE, "Option", section="URLs")) == list(_url._OPTIONS)

    def test_defaults(self) -> None:
        address, encrypted = _url.parse_url("amqp://host"), _url.parse_url("amqps://host")
        rows = {row[0]: row[1] for row in table(PAGE, "Part", section="URLs")}
        assert rows == {
            "user and password": f"``{address.user}:{address.password}``",
            "port": f"``{address.port}``, with TLS ``{encrypted.port}``",
            "virtual host": f"``{address.virtual_host}``",
        }


class TestPublishing:
    def test_limits(self) -> None:
        said = " ".join(cell for row in table(PAGE, "What", section="Publishing") for cell in row)
        assert re.findall(r"(\d+) bytes", said) == [
            str(limit) for limit in (_wire.MAX_KEYWORD_BYTES, _wire.MAX_VALUE_BYTES, _wire.MAX_TABLE_BYTES)
        ]
        assert f"1 to {amqp._base.MAX_ID_BYTES} bytes" in section_of(PAGE, "Publishing")


class TestSubscribing:
    def test_every_option_with_its_default(self) -> None:
        defaults = {field.name: repr(field.default) for field in attrs.fields(amqp.SubscriptionOptions)}
        assert pairs(table(PAGE, "Option", section="Subscribing")) == defaults
        assert sorted(defaults) == sorted(_options.OPTION_NAMES)

    def test_everything_about_a_subscription(self) -> None:
        assert {*called(table(PAGE, "Subscription", section="Subscribing"))} == set(ISubscription.names(all=True))

    def test_how_many_bindings(self) -> None:
        assert f"{_wire.MAX_ALTERNATIVES} bindings" in section_of(PAGE, "Subscribing")


class TestStates:
    def test_every_state_with_its_event(self) -> None:
        states = {_state.STOPPED, _state.CONNECTING, _state.UP, _state.BLOCKED, _state.DOWN}
        assert pairs(table(PAGE, "State", section="States")) == {state: _state.NAMES.get(state, "") for state in states}

    def test_the_interface_names_them_too(self) -> None:
        described = IEventTransport["state"].getDoc()
        assert set(re.findall(r"``(\w+)``", described)) == set(words(table(PAGE, "State", section="States")))

    def test_what_a_change_has(self) -> None:
        for field in attrs.fields(amqp.StateChange):
            assert f"``{field.name}``" in section_of(PAGE, "States")


class TestStatistics:
    def test_every_field(self) -> None:
        assert words(table(PAGE, "Field", section="Statistics")) == [
            field.name for field in attrs.fields(amqp.TransportStatistics)
        ]


class TestDeadLetters:
    def test_every_method_with_its_parameters(self) -> None:
        rows = table(PAGE, "Method", section="Dead letters")
        assert {*called(rows)} == public(amqp.DeadLetters)
        assert wrong_calls(rows, amqp.DeadLetters) == []

    def test_every_attribute(self) -> None:
        assert words(table(PAGE, "Attribute", section="Dead letters")) == [field.name for field in attrs.fields(amqp.DeadLetter)]


class TestCodecs:
    def test_every_codec_with_its_parameters(self) -> None:
        rows = table(PAGE, "Codec", section="Codecs")
        assert sorted(called(rows)) == ["ClassCodec", "JSONCodec"]
        assert wrong_calls(rows, amqp) == []

    def test_what_an_encoded_event_has(self) -> None:
        for field in attrs.fields(amqp.Encoded):
            assert f"``{field.name}``" in section_of(PAGE, "Codecs")


class TestEnvelope:
    FULL = amqp.Envelope("id", "/source", "type", b"", "application/json", {"kind": "order"}, "time", "trace", 1, True)

    def test_every_attribute(self) -> None:
        assert words(table(PAGE, "Attribute", section="The envelope")) == [field.name for field in attrs.fields(amqp.Envelope)]

    def test_every_header(self) -> None:
        named = set(re.findall(r"``((?:ce|x-evproc)-\w+)``", section_of(PAGE, "The envelope")))
        own = {_envelope.FAILURES_HEADER, _envelope.REASON_HEADER, _envelope.GROUP_HEADER, _envelope.DIED_HEADER}
        written = set(self.FULL.headers()) - {"kind"}
        assert named == written | own | {"ce-datacontenttype"}

    def test_a_header_is_read_into_the_attribute_that_it_stands_beside(self) -> None:
        pairs = [
            (row[0].strip("`"), name) for row in table(PAGE, "Attribute", section="The envelope") for name in row[1].split(", ")
        ]
        for attribute, name in pairs:
            header = name.strip("`")
            if not name.startswith("``") or header in ("message_id", "content_type"):
                continue
            value: Any = 3 if attribute == "failures" else "value"
            read = _envelope.read_envelope({header: value}, b"", None, None, False)
            assert getattr(read, attribute) == value


class TestNames:
    def test_every_name(self) -> None:
        topology = Topology("shop", "kind")
        rung = topology.rung(1.0)[0]
        spec = WireSpec({"kind": one_of("order"), "express": True})
        leaving_open = WireSpec({"express": True})
        (second,), (third,) = (list(topology.routes("queue", each)) for each in (spec, leaving_open))
        assert second.exchange is not None and third.exchange is not None
        assert words(table(PAGE, "Name", section="Names on the broker")) == [
            topology.entry.name,
            topology.marker.name,
            second.exchange.name,
            third.exchange.name,
            topology.queue("warehouse", 20).name,
            topology.dead_queue("warehouse").name,
            topology.note_queue("warehouse").name,
            topology.lock_name("warehouse"),
            rung.name,
            topology.way_back.name,
            topology.orphans[0].name,
        ]
        types = {row[0].strip("`"): row[1] for row in table(PAGE, "Name", section="Names on the broker")}
        for exchange in (topology.entry, topology.marker, second.exchange, third.exchange, rung):
            assert types[exchange.name].startswith(f"{exchange.type} exchange")


class TestFlows:
    def test_every_call(self) -> None:
        rows = table(PAGE, "Call", section="Flows")
        assert called(rows) == ["forward_flow", "FlowTrigger"]
        assert wrong_calls(rows, amqp) == []
