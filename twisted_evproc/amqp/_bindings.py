"""
Binds a group's queue to what the group wants, and to nothing else.

The broker does not tell what a queue is bound to, and whoever bound it may have been another program, long ago.  So the bindings
are written down in the broker itself, in a note: the one message of a queue beside the group's.  While they are changed, one
member of the group has them to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from ._channel import BrokerChannel, ChannelClosed
from ._publisher import Message
from ._topology import Binding, Exchange, Topology
from ._wire import WireSpec

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

NOT_FOUND = 404
IN_USE = 406
#: With 403 the broker says both that somebody else is at it and that we never may.
_TAKEN = "in exclusive use"


class Locked(Exception):
    """Another member of the group changes the bindings at this moment."""


class NoteMissing(Locked):
    """
    The note about the bindings is not there at this moment.

    One that somebody had taken when its connection or the broker went away comes back a little later than the lock.
    """


async def bind_group(
    channel: BrokerChannel,
    topology: Topology,
    group: str,
    spec: WireSpec,
    publish: Callable[[Message], Deferred[Any]],
    *,
    noted: bool = False,
) -> list[Exchange]:
    """
    Bind a group's queue to what a match-spec wants, and unbind it from the rest.

    :param channel: not used for anything else.
    :param publish: over another connection than the channel's, which is to go on when the broker takes no messages for now.
    :param noted: whether there has to be a note about the bindings.
    :return: exchanges that may not be needed any more.
    :raises NoteMissing: when there is none all the same.
    :raises Locked: when another member of the group is doing the same; the channel is closed then.
    """
    try:
        lock = await channel.lock(topology.lock_name(group))
    except ChannelClosed as error:
        # It goes when its holder goes, also between our declaring it and taking it.
        if _TAKEN in error.text or error.code == NOT_FOUND:
            raise Locked from None
        raise
    queue = topology.note_queue(group)
    await channel.declare_queue(queue)
    tag, old = await _noted(channel, queue.name)
    if noted and not tag:
        raise NoteMissing
    routes = list(topology.routes(topology.queue_name(group), spec))
    new = {binding.key: binding for route in routes for binding in route.bindings}
    obsolete = [binding for key, binding in old.items() if key not in new]
    # Cut short here, what is written down is more than what is bound: nothing stays bound for ever.
    await publish(_note(queue.name, [*new.values(), *obsolete]))
    for exchange in {route.exchange.name: route.exchange for route in routes if route.exchange is not None}.values():
        await channel.declare_exchange(exchange)
    for binding in new.values():
        await channel.bind(binding)
    # The way into an exchange is shared with other groups.
    own = [binding for binding in obsolete if binding.kind == "queue"]
    for binding in own:
        await channel.unbind(binding)
    if obsolete:
        await publish(_note(queue.name, new.values()))
    if tag:
        channel.acknowledge(tag, multiple=True)
    await channel.unlock(lock)
    used = {topology.exchange, *(binding.source for binding in new.values())}
    return [Exchange(name, "headers") for name in sorted({binding.source for binding in own} - used)]


async def noted_sources(channel: BrokerChannel, topology: Topology, group: str) -> list[str]:
    """The names of the exchanges of the second step that a group's queue is bound to; the note about it is left as it is."""
    queue = topology.note_queue(group)
    await channel.declare_queue(queue)
    tag, old = await _noted(channel, queue.name)
    if tag:
        channel.give_back(tag)
    return sorted({binding.source for binding in old.values() if binding.kind == "queue"} - {topology.exchange})


async def _noted(channel: BrokerChannel, queue: str) -> tuple[int, dict[tuple[Any, ...], Binding]]:
    # Whoever was cut short may have left two: the broker drops the older one in its own time.
    last, found = 0, {}
    while (message := await channel.get(queue)) is not None:
        method, _, body = message
        last = method.delivery_tag
        try:
            bindings = [Binding(**each) for each in msgspec.json.decode(body, type=list[dict[str, Any]])]
        except (msgspec.MsgspecError, TypeError):
            # Somebody else wrote there.  It is replaced; what it meant stays bound.
            continue
        found.update({binding.key: binding for binding in bindings})
    return last, found


def _note(queue: str, bindings: Iterable[Binding]) -> Message:
    body = msgspec.json.encode(
        [
            {
                "source": each.source,
                "destination": each.destination,
                "kind": each.kind,
                "routing_key": each.routing_key,
                "arguments": dict(each.arguments),
            }
            for each in bindings
        ]
    )
    return Message("", queue, {}, body, "application/json", "", limited=False)
