"""The calls of a channel that wait for an answer, as Deferreds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties
from twisted.internet.defer import Deferred, fail

from ..errors import TransportError
from ._topology import Binding, Exchange, Queue

PERSISTENT = 2


class ChannelClosed(TransportError):
    """
    The channel is gone.

    :ivar code: the broker's reply code, or 0 when it was not the broker that closed it.
    """

    def __init__(self, error: BaseException) -> None:
        self.code: int = getattr(error, "reply_code", 0)
        self.text = str(getattr(error, "reply_text", error))
        super().__init__(f"the channel is closed: {self.text}" + (f" ({self.code})" if self.code else ""))


class BrokerChannel:
    """
    A channel whose calls fail when it is closed, whoever closes it.

    :ivar closed: fires with a :class:`ChannelClosed`.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._calls: set[Deferred[Any]] = set()
        self._why: ChannelClosed | None = None
        self._got: Callable[[Any], None] | None = None
        self.closed: Deferred[ChannelClosed] = Deferred()
        channel.add_on_close_callback(self._when_closed)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._why is None and self._channel.is_open

    @property
    def raw(self) -> Channel:
        """The driver's channel, for what has no answer."""
        return self._channel

    def _when_closed(self, _: Channel, error: BaseException) -> None:
        why = self._why = ChannelClosed(error)
        calls, self._calls = self._calls, set()
        for call in calls:
            call.errback(why)
        self.closed.callback(why)

    def _call(self, method: str, **arguments: Any) -> Deferred[Any]:
        if self._why is not None:
            return fail(self._why)
        answered: Deferred[Any] = Deferred(self._calls.discard)
        self._calls.add(answered)

        def answer(frame: Any) -> None:
            if answered in self._calls:
                self._calls.discard(answered)
                answered.callback(frame)

        try:
            getattr(self._channel, method)(callback=answer, **arguments)
        except AMQPError as error:
            # the connection has gone, and the channel was not told yet
            self._calls.discard(answered)
            return fail(ChannelClosed(error))
        except BaseException:
            self._calls.discard(answered)
            raise
        return answered

    def declare_exchange(self, exchange: Exchange) -> Deferred[Any]:
        """Declare a durable exchange."""
        return self._call(
            "exchange_declare",
            exchange=exchange.name,
            exchange_type=exchange.type,
            durable=True,
            arguments=dict(exchange.arguments),
        )

    def find_exchange(self, name: str) -> Deferred[Any]:
        """See that an exchange is there; one that does not exist closes the channel."""
        return self._call("exchange_declare", exchange=name, passive=True)

    def delete_unused_exchange(self, name: str) -> Deferred[Any]:
        """Delete an exchange; one that is used closes the channel."""
        return self._call("exchange_delete", exchange=name, if_unused=True)

    def declare_queue(self, queue: Queue) -> Deferred[Any]:
        """Declare a durable queue."""
        return self._call("queue_declare", queue=queue.name, durable=True, arguments=dict(queue.arguments))

    def count(self, queue: str) -> Deferred[int]:
        """How many messages wait in a queue; one that does not exist closes the channel."""
        counted: Deferred[int] = self._call("queue_declare", queue=queue, passive=True).addCallback(
            lambda frame: frame.method.message_count
        )
        return counted

    async def lock(self, name: str) -> str:
        """
        Have something to oneself, until :meth:`unlock` or the end of the channel.  What is taken closes the channel.

        The broker lets one consumer at a time have a queue to itself; the queue goes with it.

        :return: what :meth:`unlock` wants.
        """
        await self._call("queue_declare", queue=name, durable=True, auto_delete=True)
        consuming: Deferred[Any] = self._call(
            "basic_consume", queue=name, exclusive=True, auto_ack=True, on_message_callback=lambda *_: None
        )
        tag: str = (await consuming).method.consumer_tag
        return tag

    def unlock(self, tag: str) -> Deferred[Any]:
        """Undo :meth:`lock`."""
        return self.cancel(tag)

    def delete_queue(self, name: str) -> Deferred[Any]:
        """Delete a queue with what is in it; one that does not exist is no error."""
        return self._call("queue_delete", queue=name)

    def purge(self, name: str) -> Deferred[int]:
        """Empty a queue; gives how many messages that were."""
        purged: Deferred[int] = self._call("queue_purge", queue=name).addCallback(lambda frame: frame.method.message_count)
        return purged

    def bind(self, binding: Binding) -> Deferred[Any]:
        """Make a binding; one that is there already is no error."""
        return self._bind("bind", binding)

    def unbind(self, binding: Binding) -> Deferred[Any]:
        """Remove a binding; one that is not there is no error."""
        return self._bind("unbind", binding)

    def _bind(self, verb: str, binding: Binding) -> Deferred[Any]:
        arguments: dict[str, Any] = {"routing_key": binding.routing_key, "arguments": dict(binding.arguments) or None}
        if binding.kind == "queue":
            return self._call(f"queue_{verb}", queue=binding.destination, exchange=binding.source, **arguments)
        return self._call(f"exchange_{verb}", destination=binding.destination, source=binding.source, **arguments)

    def confirm(self, heard: Any) -> Deferred[Any]:
        """
        Let the broker confirm what is published.

        :param heard: gets its frames.
        """
        return self._call("confirm_delivery", ack_nack_callback=heard)

    def prefetch(self, count: int) -> Deferred[Any]:
        """Have so many deliveries unacknowledged, at most."""
        return self._call("basic_qos", prefetch_count=count)

    def consume(self, queue: str, heard: Any) -> Deferred[str]:
        """Get the messages of a queue; gives the consumer's tag."""
        tagged: Deferred[str] = self._call("basic_consume", queue=queue, on_message_callback=heard).addCallback(
            lambda frame: frame.method.consumer_tag
        )
        return tagged

    def cancel(self, tag: str) -> Deferred[Any]:
        """Get no more messages of a queue."""
        return self._call("basic_cancel", consumer_tag=tag)

    def get(self, queue: str) -> Deferred[tuple[Basic.GetOk, BasicProperties, bytes] | None]:
        """
        Take one message, which is to be acknowledged; ``None`` where there is none.

        One call at a time.
        """
        if self._why is not None:
            return fail(self._why)
        answered: Deferred[Any] = Deferred(self._calls.discard)
        self._calls.add(answered)

        def answer(found: Any) -> None:
            if answered in self._calls:
                self._calls.discard(answered)
                answered.callback(found)

        try:
            if self._got is None:
                self._channel.add_callback(self._got_nothing, [Basic.GetEmpty], one_shot=False)
            self._got = answer
            self._channel.basic_get(queue, lambda _, method, properties, body: answer((method, properties, body)))
        except AMQPError as error:
            self._calls.discard(answered)
            return fail(ChannelClosed(error))
        return answered

    def _got_nothing(self, _: Any) -> None:
        if self._got is not None:
            self._got(None)

    def acknowledge(self, tag: int, multiple: bool = False) -> None:
        """Acknowledge a delivery; nothing is done where the channel is gone, and the broker delivers it again."""
        if self.is_open:
            try:
                self._channel.basic_ack(tag, multiple)
            except AMQPError:
                pass  # the connection has gone, and the channel was not told yet

    def give_back(self, tag: int) -> None:
        """Let the broker deliver a message again; as :meth:`acknowledge` where the channel is gone."""
        if self.is_open:
            try:
                self._channel.basic_nack(tag, requeue=True)
            except AMQPError:
                pass  # as above

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties) -> bool:
        """Publish a message that has to reach a queue; gives whether the channel took it."""
        if not self.is_open:
            return False
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except AMQPError:
            return False
        return True

    def close(self) -> None:
        """Close it; ``closed`` fires once it is."""
        if self.is_open:
            try:
                self._channel.close()
            except AMQPError:
                pass  # as above


def properties_of(headers: Mapping[str, Any], content_type: str, message_id: str) -> BasicProperties:
    """The properties of a message that is to survive the broker."""
    return BasicProperties(
        content_type=content_type or None, headers=dict(headers), delivery_mode=PERSISTENT, message_id=message_id or None
    )
