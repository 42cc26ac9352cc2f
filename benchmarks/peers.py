"""The same three handlers under other people's dispatchers: each gives a function that tells them about an event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Fire = Callable[[], object]
Handlers = Sequence[Callable[[Any], Any]]


def deferred_list(handlers: Handlers) -> Fire:
    """What a Twisted application writes by hand, phase by phase."""
    from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

    def phase(_: Any, handler: Callable[[Any], Any]) -> Deferred[Any]:
        return DeferredList([maybeDeferred(handler, 1)], consumeErrors=True)

    def fire() -> Deferred[Any]:
        done: Deferred[Any] = phase(None, handlers[0])
        for handler in handlers[1:]:
            done.addCallback(phase, handler)
        return done

    return fire


def blinker(handlers: Handlers) -> Fire:
    from blinker import Signal

    signal = Signal()
    for handler in handlers:
        signal.connect(handler)
    return lambda: signal.send(1)


def pluggy(handlers: Handlers) -> Fire:
    import pluggy as library

    specify, implement = library.HookspecMarker("peer"), library.HookimplMarker("peer")

    class Specification:
        @specify
        def hear(self, event: Any) -> Any: ...

    manager = library.PluginManager("peer")
    manager.add_hookspecs(Specification)
    for handler in handlers:
        plugin = type("Plugin", (), {"hear": staticmethod(implement(lambda event, handler=handler: handler(event)))})
        manager.register(plugin, handler.__name__)
    return lambda: manager.hook.hear(event=1)


def pyee(handlers: Handlers) -> Fire:
    from pyee.base import EventEmitter

    emitter = EventEmitter()
    for handler in handlers:
        emitter.on("event", handler)
    return lambda: emitter.emit("event", 1)


def pydispatcher(handlers: Handlers) -> Fire:
    from pydispatch import dispatcher

    sender = object()
    for handler in handlers:
        dispatcher.connect(handler, signal="event", sender=sender, weak=False)
    return lambda: dispatcher.send("event", sender, event=1)


def zope_component(handlers: Handlers) -> Fire:
    from zope.component.globalregistry import BaseGlobalComponents
    from zope.interface import Interface, implementer

    class IEvent(Interface):
        """What is fired."""

    @implementer(IEvent)
    class Event:
        """One of them."""

    components = BaseGlobalComponents("peer")
    for handler in handlers:
        components.registerHandler(lambda event, handler=handler: handler(event), (IEvent,))
    event = Event()
    return lambda: components.handle(event)


def psygnal(handlers: Handlers) -> Fire:
    from psygnal import SignalInstance

    signal = SignalInstance((int,))
    for handler in handlers:
        signal.connect(handler)
    return lambda: signal.emit(1)


ALL = {
    "blinker": blinker,
    "pluggy": pluggy,
    "pyee": pyee,
    "PyDispatcher": pydispatcher,
    "zope.component": zope_component,
    "psygnal": psygnal,
}


def installed(handlers: Handlers) -> Iterator[tuple[str, Fire]]:
    """The peers that can be imported, each with a function that fires; says which cannot."""
    for name, make in ALL.items():
        try:
            fire = make(handlers)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            yield name, fire
