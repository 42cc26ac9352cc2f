"""
A synchronous program: threads that serve requests, and a dispatcher that tells others what happens in them.

Run it::

    python docs/examples/synchronous.py

Handlers run in the reactor's thread.  They see the context variables of the request that fired the event, and the request waits
for them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

from twisted.internet.threads import deferToThread

from twisted_evproc import RAISE, EventDispatcher
from twisted_evproc.blocking import BlockingDispatcher, setup

request_id: ContextVar[str] = ContextVar("request_id")

# Until setup() is called no other thread knows the dispatcher: handlers can be added to it directly.
events = EventDispatcher(["kind"], name="shop", on_failure=RAISE)
stock = {"kettle": 3}


@events.handler("before", kind="order")
def keep_stock(item: str) -> int:
    # All handlers run in one thread, so that this needs no lock.
    if stock.get(item, 0) == 0:
        raise LookupError(f"no {item} left")
    stock[item] -= 1
    return stock[item]


@events.handler("during", kind="order")
async def write_letter(item: str) -> str:
    # What blocks goes to a thread; the reactor, and with it every other request, goes on.
    await deferToThread(post, item)
    return f"letter for {request_id.get()}"


def post(item: str) -> None:
    """Stands for something that takes its time, and knows nothing of Twisted."""


shop = BlockingDispatcher(events, timeout=30)


def serve(number: int) -> str:
    """One request, in a thread of the server."""
    request_id.set(f"request {number}")
    try:
        outcome = shop.fire_event("kettle", kind="order")
    except LookupError as error:
        return f"409 Conflict: {error}"
    return f"200 OK: {outcome.values[1]}"


def main() -> None:
    setup()
    shop.start()
    with ThreadPoolExecutor(8) as server:
        answers = list(server.map(lambda number: copy_context().run(serve, number), range(1, 6)))
    shop.stop()
    for number, answer in enumerate(answers, 1):
        own = answer == f"200 OK: letter for request {number}"
        print("its own letter" if own else answer)


if __name__ == "__main__":
    main()
