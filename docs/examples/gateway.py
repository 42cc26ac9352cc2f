"""
A gateway: readings come in as lines over TCP, orders are posted as JSON, and one dispatcher hears of both.

Run it in the foreground, or as a service, and talk to it::

    evproc run docs/examples/gateway.py
    twist evproc docs/examples/gateway.py

    printf 'boiler 71.5\\nboiler 98\\n' | nc -N 127.0.0.1 4040
    curl --json '{"kind": "order", "item": "kettle"}' http://127.0.0.1:8080/events

Other endpoints can be given by ``GATEWAY_LINES`` and ``GATEWAY_WEBHOOK``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from twisted_evproc import EventDispatcher
from twisted_evproc.sources import LineSource, WebhookSource

dispatcher = EventDispatcher(["kind"])


def reading(line: str) -> dict[str, Any]:
    """What a line such as ``boiler 71.5`` says."""
    device, celsius = line.split()
    return {"kind": "reading", "device": device, "celsius": float(celsius)}


sources = [
    LineSource(os.environ.get("GATEWAY_LINES", "tcp:4040:interface=127.0.0.1"), decode=reading),
    WebhookSource(os.environ.get("GATEWAY_WEBHOOK", "tcp:8080:interface=127.0.0.1"), path="/events", max_body_bytes=1_000),
]


@dispatcher.handler("before")
def note(event: Mapping[str, Any]) -> None:
    """Every event, whichever way it came."""
    print("heard of:", event["kind"], flush=True)


@dispatcher.handler("during", kind="reading", where=lambda event: event["celsius"] > 90)
def warn(event: Mapping[str, Any]) -> str:
    """A reading that somebody has to look at."""
    print("too hot:", event["device"], flush=True)
    return f"{event['device']} is too hot"


@dispatcher.handler("during", kind="order")
async def pack(event: Mapping[str, Any]) -> str:
    """Takes a while; when the gateway is stopped, it is waited for."""
    print("packing:", event["item"], flush=True)
    await deferLater(cast(IReactorTime, reactor), 0.1)
    print("packed:", event["item"], flush=True)
    return f"{event['item']} is packed"
