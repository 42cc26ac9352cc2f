from __future__ import annotations

import struct
from contextvars import copy_context
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import data

from twisted_evproc.amqp._envelope import (
    FAILURES_HEADER,
    Envelope,
    current_envelope,
    enter_envelope,
    read_envelope,
    time_text,
    traceparent,
)

DETAILS = st.dictionaries(
    st.sampled_from(["kind", "a", "é"]),
    st.one_of(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.integers(-(2**63), 2**63 - 1), st.booleans()),
)


def over_the_wire(headers: dict[str, Any]) -> dict[Any, Any]:
    """Headers as the driver writes and reads them."""
    pieces: list[bytes] = []
    data.encode_table(pieces, headers)
    decoded: dict[Any, Any] = data.decode_table(b"".join(pieces), 0)[0]
    return decoded


def read(headers: Any, message_id: Any = None, content_type: Any = None) -> Envelope:
    return read_envelope(headers, b"", content_type, message_id, False)


def typed(details: Any) -> dict[str, tuple[type, Any]]:
    return {name: (type(value), value) for name, value in details.items()}


class TestHeaders:
    @given(DETAILS, st.integers(0, 2**40))
    def test_what_is_written_is_read_with_its_types(self, details: dict[str, Any], failures: int) -> None:
        envelope = Envelope("i", "s", "t", b"body", "application/json", details, "2026-01-01T00:00:00Z", "00-x", failures, True)

        back = read_envelope(over_the_wire(envelope.headers()), b"body", "application/json", "i", True)

        assert back == envelope
        assert typed(back.details) == typed(details)
        assert type(back.failures) is int

    def test_what_is_not_known_is_no_header(self) -> None:
        assert Envelope("i", "s", "t", b"").headers() == {"ce-specversion": "1.0", "ce-id": "i", "ce-source": "s", "ce-type": "t"}


class TestForeignPublishers:
    def test_nothing_at_all(self) -> None:
        assert read(None) == Envelope("", "", "", b"")

    def test_the_messages_own_id(self) -> None:
        assert read({}, "m").id == "m"
        assert read({"ce-id": "c"}, "m").id == "c"
        assert read({"ce-id": ""}, "m").id == "m"
        assert read({"ce-id": 5}, b"\xff").id == ""

    @pytest.mark.parametrize(
        "value",
        [
            datetime(2026, 1, 1, tzinfo=UTC),
            {"nested": 1},
            [1, "a"],
            b"bytes",
            Decimal("1.5"),
            None,
        ],
    )
    def test_headers_of_other_types_are_no_details(self, value: Any) -> None:
        headers = over_the_wire(
            {"kind": value, "a": 1, "ce-id": value, "ce-time": value, "traceparent": value, FAILURES_HEADER: value}
        )

        assert read(headers) == Envelope("", "", "", b"", details={"a": 1})

    @pytest.mark.parametrize(
        ("raw", "value"),
        [
            (struct.pack(">cb", b"b", -3), -3),
            (struct.pack(">cB", b"B", 3), 3),
            (struct.pack(">ch", b"s", 3), 3),
            (struct.pack(">ci", b"I", 3), 3),
            (struct.pack(">cq", b"l", 3), 3),
            (struct.pack(">cq", b"l", -(2**63)), -(2**63)),
            # The driver cuts floating numbers: what comes is a whole number like any other.
            (struct.pack(">cd", b"d", 3.7), 3),
        ],
    )
    def test_whole_numbers_of_every_width_are_plain(self, raw: bytes, value: int) -> None:
        table = b"\x04kind" + raw
        headers = data.decode_table(struct.pack(">I", len(table)) + table, 0)[0]

        assert typed(read(headers).details) == {"kind": (int, value)}

    def test_names_and_texts_that_are_not_utf_8(self) -> None:
        table = b"\x01\xff" + b"t\x01" + b"\x01a" + b"S\x00\x00\x00\x01\xff"
        headers = data.decode_table(struct.pack(">I", len(table)) + table, 0)[0]

        assert headers == {b"\xff": True, "a": b"\xff"}
        assert read(headers, content_type=b"\xff") == Envelope("", "", "", b"")

    def test_headers_that_are_no_keywords_are_no_details(self) -> None:
        assert read({"x-death": 1, "ce-extra": "e", "a b": 1, "": 1, "ok": 1}).details == {"ok": 1}

    @pytest.mark.parametrize(("value", "failures"), [(-1, 0), (True, 0), ("3", 0), (3, 3), (data.long(3), 3)])
    def test_the_number_of_failures(self, value: Any, failures: int) -> None:
        assert read({FAILURES_HEADER: value}).failures == failures

    def test_the_media_type_and_the_trace_by_either_name(self) -> None:
        headers = {"ce-datacontenttype": "text/plain", "traceparent": "00-a"}

        assert (read(headers).content_type, read(headers).traceparent) == ("text/plain", "00-a")
        assert read({**headers, "ce-traceparent": "00-b"}, content_type="text/csv") == Envelope(
            "", "", "", b"", "text/csv", {"traceparent": "00-a"}, traceparent="00-b"
        )


class TestContext:
    def test_an_envelope_belongs_to_its_context(self) -> None:
        envelope = Envelope("i", "s", "t", b"", traceparent="00-a")

        def handle() -> tuple[object, str]:
            enter_envelope(envelope)
            return current_envelope(), traceparent.get()

        assert copy_context().run(handle) == (envelope, "00-a")
        assert current_envelope() is None and traceparent.get() == ""


def test_times_are_rfc_3339() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000Z"
    assert time_text(1_767_225_600.1239) == "2026-01-01T00:00:00.123Z"
