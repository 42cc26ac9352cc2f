"""
An event on its way: the event as bytes, and what is known about it.

On the wire it is a CloudEvents 1.0 event in binary mode: the attributes are headers that begin with ``ce-``, the data is the
body; details are headers under their own names.  https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from math import modf
from typing import Any

import attrs

from ._wire import WireValue

SPEC_VERSION = "1.0"

#: How often handlers have failed for an event, and why the last time.
FAILURES_HEADER = "x-evproc-failures"
REASON_HEADER = "x-evproc-reason"
#: The most that is counted: one more has to fit into a header too.
_MOST = 2**63 - 2
GROUP_HEADER = "x-evproc-group"
DIED_HEADER = "x-evproc-died"
#: Of a message whose own headers cannot be read: why.  It never crosses the wire.
UNREADABLE_HEADER = "x-evproc-unreadable"


@attrs.frozen
class Envelope:
    """
    An event on its way.

    :ivar id: the same for every delivery of the event; unique together with ``source``.
    :ivar source: who published it, a URI reference.
    :ivar type: what kind of event it is, in CloudEvents' sense; the codec says so.
    :ivar body: the event as the codec wrote it.
    :ivar content_type: the media type of ``body``.
    :ivar details: keywords and values on which groups match.
    :ivar time: when it was published (RFC 3339), or ``""``.
    :ivar traceparent: the trace it belongs to, as W3C Trace Context writes it, or ``""``.
    :ivar failures: how often handlers of the group have failed for it so far.
    :ivar redelivered: whether the broker has given it before to a member that went away without an answer.
    :ivar unreadable: why its headers could not be read, or ``""``; such an event is a dead letter at once.
    """

    id: str
    source: str
    type: str
    body: bytes = attrs.field(repr=False)
    content_type: str = ""
    details: Mapping[str, WireValue] = attrs.field(factory=dict)
    time: str = ""
    traceparent: str = ""
    failures: int = 0
    redelivered: bool = False
    unreadable: str = ""

    def headers(self) -> dict[str, Any]:
        """What of it are headers."""
        headers: dict[str, Any] = {
            **self.details,
            "ce-specversion": SPEC_VERSION,
            "ce-id": self.id,
            "ce-source": self.source,
            "ce-type": self.type,
        }
        if self.time:
            headers["ce-time"] = self.time
        if self.traceparent:
            headers["ce-traceparent"] = self.traceparent
        if self.failures:
            headers[FAILURES_HEADER] = self.failures
        return headers


def read_envelope(
    headers: Mapping[str, Any] | None, body: bytes, content_type: str | None, message_id: str | None, redelivered: bool
) -> Envelope:
    """
    The envelope of what came in, from whomever: what is not there is empty, what is no detail is left out.

    The broker matches a little more than details can say: to it a whole floating number equals the integer, bytes equal the text,
    and a header without a value is there.

    :param message_id: the message's own ID, for publishers that write no CloudEvents.
    """
    given = headers or {}
    return Envelope(
        id=_text(given.get("ce-id")) or _text(message_id),
        source=_text(given.get("ce-source")),
        type=_text(given.get("ce-type")),
        body=body,
        content_type=_text(content_type) or _text(given.get("ce-datacontenttype")),
        details=_details(given),
        time=_text(given.get("ce-time")),
        traceparent=_text(given.get("ce-traceparent")) or _text(given.get("traceparent")),
        failures=_count(given.get(FAILURES_HEADER)),
        redelivered=redelivered,
        unreadable=_text(given.get(UNREADABLE_HEADER)),
    )


def _details(headers: Mapping[Any, Any]) -> dict[str, WireValue]:
    details: dict[str, WireValue] = {}
    for name, value in headers.items():
        # The driver gives names and texts that are not UTF-8 as bytes.
        if not isinstance(name, str) or not name.isidentifier():
            continue
        if isinstance(value, bool | str):
            details[name] = value
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            # The driver gives whole numbers of 64 bits a class of their own, which would be a type of its own to match on; it
            # cuts floating numbers to such ones, so that these, which only foreign publishers send, cannot be told from them.
            details[name] = int(value)
    return details


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return min(int(value), _MOST) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def time_text(seconds: float) -> str:
    """A time as RFC 3339 writes it."""
    fraction, whole = modf(seconds)
    microseconds = round(fraction * 1e6)
    if not 0 <= microseconds < 1_000_000:
        # before 1970, or a fraction that rounds up
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{_second_text(whole)}.{microseconds // 1000:03d}Z"


# Many events are of the same second.
@lru_cache(maxsize=2)
def _second_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


#: The envelope of the event whose handler we are in, also behind its awaits.
_current: ContextVar[Envelope | None] = ContextVar("twisted_evproc_current_envelope", default=None)
#: The trace that what is published belongs to; a handler's is that of its event.
traceparent: ContextVar[str] = ContextVar("twisted_evproc_traceparent", default="")


def current_envelope() -> Envelope | None:
    """The envelope of the event that is being handled, or ``None``."""
    return _current.get()


def enter_envelope(envelope: Envelope) -> None:
    """Let the present context be that of an event."""
    _ = _current.set(envelope)
    _ = traceparent.set(envelope.traceparent)
