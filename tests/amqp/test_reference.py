"""The reference page of transports says what there is: every option, default, state, field and name, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import attrs

from twisted_evproc import amqp
from twisted_evproc.amqp import _envelope, _options, _state, _url, _wire
from twisted_evproc.amqp._topology import Topology
from twisted_evproc.amqp._wire import WireSpec
from twisted_evproc.interfaces import IEventTransport, ISubscription
from twisted_evproc.matching import one_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "amqp.rst").read_text(encoding="utf-8")

#: A row: its cells as lines, each joined to one.
Row = list[str]


def sections() -> dict[str, str]:
    """What stands below each headline."""
    parts = re.split(r"^(\S.*)\n[-~]{3,}\n", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def cells(row: str) -> Row:
    return [" ".join(cell.split()) for cell in re.split(r"^ +(?:\* )?-(?= |$)", row, flags=re.MULTILINE)[1:]]


def tables(section: str) -> list[list[Row]]:
    """The tables in a section, each with its header row."""
    found = []
    for block in re.split(r"^\.\. list-table::\n", sections()[section], flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^   \* - .*\n(?: {5,}.*\n)*", block, re.MULTILINE)
        found.append([cells(row) for row in rows])
    return found


def table(section: str, first_header: str) -> list[Row]:
    """The rows of the one table of the section that has this above its first column."""
    (found,) = [rows for rows in tables(section) if rows[0][0] == first_header]
    return found[1:]


def words(rows: list[Row]) -> list[str]:
    """What stands in the first column, without the marks of code."""
    return [row[0].strip("`") for row in rows]


def documented(rows: list[Row]) -> dict[str, str]:
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def options_of(cls: type) -> dict[str, str]:
    """The parameters of a class, each with its default as Python writes it."""
    parameters = list(inspect.signature(cls).parameters.values())
    return {each.name: "" if each.default is each.empty else repr(each.default) for each in parameters}


class TestTransports:
    def test_every_option_with_its_default(self) -> None:
        assert documented(table("Transports", "Option")) == options_of(amqp.AMQPTransport)

    def test_every_method_and_attribute(self) -> None:
        named = {name for row in table("Transports", "Method or attribute") for name in re.findall(r"``(\w+)", row[0])}
        assert named == {*IEventTransport.names(all=True), "dead_letters", "reason", "running"}
        assert all(hasattr(amqp.AMQPTransport, name) for name in named - {"running"})

    def test_parameters_are_those_of_the_methods(self) -> None:
        rows = words(table("Transports", "Method or attribute"))
        for name in ("stop", "forward"):
            (written,) = [row for row in rows if row.startswith(f"{name}(")]
            parameters = [each for each in inspect.signature(getattr(amqp.Transport, name)).parameters if each != "self"]
            assert re.findall(r"[(, *](\w+)(?==|[,)])", written) == parameters


class TestMemory:
    def test_options_are_those_of_the_other_transport(self) -> None:
        options, others = options_of(amqp.MemoryTransport), options_of(amqp.AMQPTransport)
        own = documented(table("In memory", "Option in memory"))
        assert own == {name: options[name] for name in ("broker", "clock")}
        assert set(others) - set(options) == {"url", "heartbeat", "connect_timeout"}
        assert {name: options[name] for name in options if name != "broker"}.items() <= others.items()

    def test_what_a_broker_has(self) -> None:
        named = {name for row in table("In memory", "In common") for name in re.findall(r"``(\w+)", row[0])}
        # What only transports call is said to them.
        inside = {"bind", "clock", "declare", "delete", "given_clock", "join", "leave", "queue", "refusal", "route"}
        assert (
            named == {name for name in {*dir(amqp.MemoryBroker), *vars(amqp.MemoryBroker())} if not name.startswith("_")} - inside
        )


class TestURLs:
    def test_every_option(self) -> None:
        assert words(table("URLs", "Option")) == list(_url._OPTIONS)

    def test_defaults(self) -> None:
        address, encrypted = _url.parse_url("amqp://host"), _url.parse_url("amqps://host")
        rows = {row[0]: row[1] for row in table("URLs", "Part")}
        assert rows == {
            "user and password": f"``{address.user}:{address.password}``",
            "port": f"``{address.port}``, with TLS ``{encrypted.port}``",
            "virtual host": f"``{address.virtual_host}``",
        }


class TestPublishing:
    def test_limits(self) -> None:
        said = " ".join(cell for row in table("Publishing", "What") for cell in row)
        assert re.findall(r"(\d+) bytes", said) == [
            str(limit) for limit in (_wire.MAX_KEYWORD_BYTES, _wire.MAX_VALUE_BYTES, _wire.MAX_TABLE_BYTES)
        ]
        assert f"1 to {amqp._base.MAX_ID_BYTES} bytes" in sections()["Publishing"]


class TestSubscribing:
    def test_every_option_with_its_default(self) -> None:
        defaults = {field.name: repr(field.default) for field in attrs.fields(amqp.SubscriptionOptions)}
        assert documented(table("Subscribing", "Option")) == defaults
        assert sorted(defaults) == sorted(_options.OPTION_NAMES)

    def test_everything_about_a_subscription(self) -> None:
        named = {name.partition("(")[0] for name in words(table("Subscribing", "Subscription"))}
        assert named == set(ISubscription.names(all=True))

    def test_how_many_bindings(self) -> None:
        assert f"{_wire.MAX_ALTERNATIVES} bindings" in sections()["Subscribing"]


class TestStates:
    def test_every_state_with_its_event(self) -> None:
        states = {_state.STOPPED, _state.CONNECTING, _state.UP, _state.BLOCKED, _state.DOWN}
        assert documented(table("States", "State")) == {state: _state.NAMES.get(state, "") for state in states}

    def test_the_interface_names_them_too(self) -> None:
        described = IEventTransport["state"].getDoc()
        assert set(re.findall(r"``(\w+)``", described)) == set(words(table("States", "State")))

    def test_what_a_change_has(self) -> None:
        for field in attrs.fields(amqp.StateChange):
            assert f"``{field.name}``" in sections()["States"]


class TestStatistics:
    def test_every_field(self) -> None:
        assert words(table("Statistics", "Field")) == [field.name for field in attrs.fields(amqp.TransportStatistics)]


class TestDeadLetters:
    def test_every_method_with_its_parameters(self) -> None:
        public = {
            f"{name}({', '.join(str(each) for each in list(inspect.signature(method).parameters)[1:])})"
            for name, method in inspect.getmembers(amqp.DeadLetters, inspect.isfunction)
            if not name.startswith("_")
        }
        assert {row.replace("=None", "") for row in words(table("Dead letters", "Method"))} == public

    def test_every_attribute(self) -> None:
        assert words(table("Dead letters", "Attribute")) == [field.name for field in attrs.fields(amqp.DeadLetter)]


class TestCodecs:
    def test_every_codec_with_its_parameters(self) -> None:
        written = {row.partition("(")[0]: row for row in words(table("Codecs", "Codec"))}
        assert sorted(written) == ["ClassCodec", "JSONCodec"]
        for name, row in written.items():
            # Without annotations, and with quotes as the page writes them.
            parameters = inspect.signature(getattr(amqp, name)).parameters.values()
            bare = inspect.Signature([each.replace(annotation=each.empty) for each in parameters])
            assert row == f"{name}{bare}".replace("'", '"')

    def test_what_an_encoded_event_has(self) -> None:
        for field in attrs.fields(amqp.Encoded):
            assert f"``{field.name}``" in sections()["Codecs"]


class TestEnvelope:
    FULL = amqp.Envelope("id", "/source", "type", b"", "application/json", {"kind": "order"}, "time", "trace", 1, True)

    def test_every_attribute(self) -> None:
        assert words(table("The envelope", "Attribute")) == [field.name for field in attrs.fields(amqp.Envelope)]

    def test_every_header(self) -> None:
        named = set(re.findall(r"``((?:ce|x-evproc)-\w+)``", sections()["The envelope"]))
        own = {_envelope.FAILURES_HEADER, _envelope.REASON_HEADER, _envelope.GROUP_HEADER, _envelope.DIED_HEADER}
        written = set(self.FULL.headers()) - {"kind"}
        assert named == written | own | {"ce-datacontenttype"}

    def test_a_header_is_read_into_the_attribute_that_it_stands_beside(self) -> None:
        pairs = [(row[0].strip("`"), name) for row in table("The envelope", "Attribute") for name in row[1].split(", ")]
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
        assert words(table("Names on the broker", "Name")) == [
            topology.entry.name,
            topology.marker.name,
            second.exchange.name,
            third.exchange.name,
            topology.queue("warehouse", 20).name,
            topology.dead_queue("warehouse").name,
            topology.note_queue("warehouse").name,
            topology.lock_name("warehouse"),
            rung.name,
        ]
        types = {row[0].strip("`"): row[1] for row in table("Names on the broker", "Name")}
        for exchange in (topology.entry, topology.marker, second.exchange, third.exchange, rung):
            assert types[exchange.name].startswith(f"{exchange.type} exchange")


def test_everything_public_is_named() -> None:
    for name in amqp.__all__:
        assert re.search(rf"\b{name}\b", PAGE) or name in ("Transport", "SubscriptionOptions"), name
