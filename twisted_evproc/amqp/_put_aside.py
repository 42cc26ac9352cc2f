"""The message that puts an event aside whose handlers failed: for later, or for good."""

from __future__ import annotations

from ._envelope import DIED_HEADER, FAILURES_HEADER, GROUP_HEADER, REASON_HEADER, Envelope, time_text
from ._handling import Dead, Retry
from ._publisher import Message
from ._topology import Topology


def put_aside(verdict: Retry | Dead, envelope: Envelope, topology: Topology, group: str, now: float) -> Message:
    """
    What is to be published for an event before it is acknowledged.

    :param now: seconds since the epoch.
    """
    headers = {**envelope.headers(), FAILURES_HEADER: envelope.failures + 1, REASON_HEADER: verdict.reason}
    if isinstance(verdict, Retry):
        exchange, routing_key = topology.rung(verdict.delay)[0].name, topology.queue_name(group)
    else:
        exchange, routing_key = "", topology.dead_name(group)
        headers[GROUP_HEADER] = group
        headers[DIED_HEADER] = time_text(now)
    return Message(exchange, routing_key, headers, envelope.body, envelope.content_type, envelope.id, limited=False)
