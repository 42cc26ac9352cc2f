"""
A chat over TCP.  Its protocol and its services only fire events; handlers decide what comes of them.

Run it, and connect with as many terminals as you like::

    twistd --nodaemon --no_save --python docs/examples/chat.py
    telnet 127.0.0.1 8007

The first line a client sends is its name.  ``/who`` tells who is there.  When the server is stopped (Ctrl-C), everybody is told
before the connections are closed.  ``CHAT_ENDPOINT`` may name another endpoint to listen on.
"""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from twisted_evproc import EventDispatcher, IEventDispatcher, Outcome, StopProcessing, one_of
from twisted_evproc.service import DispatcherService, ServiceStack

log = Logger()


def not_taken(failure: Failure) -> None:
    """What handlers raise is logged by the dispatcher, and does not come here."""
    log.failure("an event was not taken", failure)


@attrs.frozen
class ChatEvent:
    """Somebody did something."""

    client: ChatProtocol
    text: str = ""


class ChatProtocol(LineReceiver):
    """Turns what comes over one connection into events."""

    delimiter = b"\n"

    def __init__(self, dispatcher: IEventDispatcher) -> None:
        self.dispatcher = dispatcher
        self.name = ""

    def lineReceived(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if self.name:
            self.fire("said", text)
        else:
            self.name = text
            self.fire("joined")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.name:
            self.fire("left")

    def fire(self, kind: str, text: str = "") -> None:
        # The next line is read when the handlers are done with this one: a fast sender waits, not our memory.
        self.pauseProducing()
        firing = self.dispatcher.fire_event(ChatEvent(self, text), kind=kind)
        self.handled = firing.addErrback(not_taken).addCallback(self.go_on)

    def go_on(self, outcome: Outcome | None) -> None:
        self.resumeProducing()

    def tell(self, text: str) -> None:
        self.sendLine(text.encode())


class ChatFactory(Factory):
    def __init__(self, dispatcher: IEventDispatcher) -> None:
        self.dispatcher = dispatcher

    def buildProtocol(self, addr: Any) -> ChatProtocol:
        return ChatProtocol(self.dispatcher)


class DoorService(Service):
    """Fires that the chat opens and closes.  It has not stopped before all handlers have heard of that."""

    def __init__(self, dispatcher: IEventDispatcher) -> None:
        self.dispatcher = dispatcher

    def startService(self) -> None:
        super().startService()
        self.opened = self.dispatcher.fire_event("open", kind="door").addErrback(not_taken)

    def stopService(self) -> Deferred[Outcome]:
        super().stopService()
        return self.dispatcher.fire_event("closed", kind="door")


def add_handlers(dispatcher: EventDispatcher) -> None:
    present: dict[str, ChatProtocol] = {}

    @dispatcher.handler("before", kind="said", where=lambda event: event.text == "/who")
    def who(event: ChatEvent) -> None:
        event.client.tell("here: " + ", ".join(sorted(present)))
        raise StopProcessing()

    @dispatcher.handler("before", kind="joined")
    def refuse_taken_names(event: ChatEvent) -> None:
        if event.client.name in present:
            event.client.tell(f"{event.client.name} is here already; choose another name")
            event.client.name = ""
            raise StopProcessing()
        present[event.client.name] = event.client

    @dispatcher.handler("before", kind="left")
    def forget(event: ChatEvent) -> None:
        present.pop(event.client.name, None)

    sentences = {"joined": "{name} has joined", "left": "{name} has left", "said": "{name}: {text}"}

    for kind, sentence in sentences.items():

        @dispatcher.handler("during", kind=kind, handler_name=f"relay_{kind}")
        def relay(event: ChatEvent, sentence: str = sentence) -> None:
            for name, client in present.items():
                if name != event.client.name:
                    client.tell(sentence.format(name=event.client.name, text=event.text))

    @dispatcher.handler("during", kind="door", where=lambda event: event == "closed")
    async def say_goodbye(event: str) -> None:
        for client in present.values():
            client.tell("the chat is closed, goodbye")

    @dispatcher.handler("after", kind=one_of("door", "joined", "left"))
    def note(event: Any) -> None:
        log.info("{event}; {count} present", event=event if isinstance(event, str) else event.client.name, count=len(present))


def make_service(reactor: Any, endpoint: str) -> ServiceStack:
    dispatcher = EventDispatcher(["kind"], name="chat")
    add_handlers(dispatcher)
    return ServiceStack(
        DispatcherService(dispatcher, stop_timeout=10),
        StreamServerEndpointService(serverFromString(reactor, endpoint), ChatFactory(dispatcher)),
        DoorService(dispatcher),
    )


application = Application("chat")
make_service(reactor, os.environ.get("CHAT_ENDPOINT", "tcp:8007:interface=127.0.0.1")).setServiceParent(application)
