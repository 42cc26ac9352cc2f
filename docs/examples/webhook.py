"""
Webhooks, brought to the handlers of a dispatcher.

Run it, and post something to it::

    python docs/examples/webhook.py
    curl --json '{"action": "opened", "issue": {"title": "It leaks"}}' -H 'X-GitHub-Event: issues' http://127.0.0.1:8080/github

With ``WEBHOOK_SECRET`` set it takes signed deliveries only.  ``WEBHOOK_ENDPOINT`` may name another endpoint to listen on, and
``WEBHOOK_HOSTS`` the names by which it is called, with blanks in between.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_evproc import COLLECT, EventDispatcher
from twisted_evproc.sources import DispatchEventHandler, EventPump, WebhookSource

# What fails is logged by the pump: a dispatcher that collects failures does not log them too.
dispatcher = EventDispatcher(["kind", "action"], name="webhooks", on_failure=COLLECT)


@dispatcher.handler("during", kind="issues", action="opened")
def triage(payload: Any) -> None:
    print(f"new issue: {payload['issue']['title']}", flush=True)


@dispatcher.handler("during", kind="ping")
def answer_ping(payload: Any) -> None:
    print(f"ping: {payload['zen']}", flush=True)


def details(event: Any) -> dict[str, Any]:
    """What handlers choose by.  The event has the headers of its request beside the data."""
    return {
        "kind": event.headers.get("X-GitHub-Event"),
        "action": event.data.get("action") if isinstance(event.data, dict) else None,
    }


def make_source() -> WebhookSource:
    hosts = os.environ.get("WEBHOOK_HOSTS")
    return WebhookSource(
        os.environ.get("WEBHOOK_ENDPOINT", "tcp:8080:interface=127.0.0.1"),
        path="/github",
        handler=DispatchEventHandler(dispatcher, details),
        hosts=hosts.split() if hosts else None,
        secret=os.environ.get("WEBHOOK_SECRET"),
        max_body_bytes=1_000_000,
    )


async def main(reactor: Any) -> None:
    source = make_source()
    pump = EventPump()
    pump.add_event_generator(source)
    await dispatcher.start()
    await pump.start()
    # Ctrl-C: requests that wait are answered, and what is queued is handled.
    reactor.addSystemEventTrigger("before", "shutdown", pump.stop, 20)
    print(source, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main)
