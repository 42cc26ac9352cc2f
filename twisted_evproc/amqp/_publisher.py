"""Events on their way to the broker: what waits, what was sent, what became of it.  Knows no driver."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall

from ..errors import EvprocError, Overflow, PublishRefused, PublishTimeout, TransportStopped, Unroutable
from ._blame import blamed
from ._statistics import Counts

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

#: How many bytes are sent before the first of them are confirmed; one message goes out however large it is.
WINDOW_SIZE = 16 * 1_048_576


@attrs.define(eq=False)
class Message:
    """
    Something to publish.

    :ivar id: the event's.
    :ivar droppable: whether it may reach nobody.
    :ivar limited: whether it is an event of a user, which must not wait for ever.
    :ivar sent: whether it ever went out.
    :ivar answered: what whoever published it waits for; ``None`` once nobody does.
    """

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    body: bytes
    content_type: str
    id: str
    droppable: bool = False
    limited: bool = True
    deadline: float = 0.0
    sent: bool = False
    answered: Deferred[str] | None = None


class Outlet(Protocol):
    """What can send: a channel in confirm mode."""

    def send(self, message: Message, number: int) -> str | None:
        """
        Send a message.

        :param number: 1 for the first one, 2 for the next one, and so on; what the broker says of it names it so.
        :return: why it cannot be sent at all, in which case the number is free for the next one; ``None`` where it went out, and
            where the channel is gone.
        """


class Publisher:
    """
    Sends messages in order, at most ``window`` of them unconfirmed, and lets others wait.

    What was sent over a connection that is lost before the confirmation is sent again over the next one.

    Answers call other people's code, which may publish again: whatever an answer is for is taken out of the tables first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        counts: Counts,
        *,
        window: int,
        max_waiting: int,
        max_waiting_size: int,
        timeout: float | None,
        name: str,
        why: Callable[[], str],
        window_size: int = WINDOW_SIZE,
    ) -> None:
        """
        :param timeout: seconds for each message of a user, or ``None``.
        :param why: says what the state of the transport is, for messages.
        """
        self._clock = clock
        self._counts = counts
        self._window = window
        self._window_size = window_size
        self._max_waiting = max_waiting
        self._max_size = max_waiting_size
        self._timeout = timeout
        self._name = name
        self._why = why
        self._outlet: Outlet | None = None
        self._blocked = False
        self._number = 0
        # Sent, by their number on the present channel; and those that are not sent, in order.
        self._in_flight: dict[int, Message] = {}
        self._in_flight_size = 0
        self._waiting: OrderedDict[Message, None] = OrderedDict()
        self._size = 0
        self._returned: set[int] = set()
        # Those with a deadline and without an answer, in order.
        self._deadlines: dict[Message, None] = {}
        self._timer: IDelayedCall | None = None
        self._unanswered = 0
        self._idle: list[Deferred[None]] = []

    # -- what others see

    @property
    def waiting(self) -> int:
        """How many messages are not sent."""
        return len(self._waiting)

    @property
    def waiting_size(self) -> int:
        """The bytes of the messages that are not sent."""
        return self._size

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not confirmed."""
        return len(self._in_flight)

    def submit(self, message: Message) -> Deferred[str]:
        """
        Send a message as soon as that is possible.

        :return: fires with the event's ID once it is confirmed; fails with ``Unroutable``, ``Overflow``, ``PublishTimeout``,
            ``PublishRefused`` or ``TransportStopped``.  Cancelling it takes back what is not sent.
        """
        at_once = not self._waiting and self._has_room_for(message)
        if message.limited and not at_once and self._is_full_for(message):
            self._counts.refused += 1
            return fail(Overflow(len(self._waiting), self._size, self._name))
        answered: Deferred[str] = Deferred(lambda _: self._take_back(message))
        message.answered = answered
        self._unanswered += 1
        if message.limited and self._timeout is not None:
            message.deadline = self._clock.seconds() + self._timeout
            self._deadlines[message] = None
            if self._timer is None:
                self._timer = self._clock.callLater(self._timeout, self._look_at_deadlines)
        if at_once:
            self._send(message)
        else:
            self._waiting[message] = None
            self._size += len(message.body)
        return answered

    def idle(self) -> Deferred[None]:
        """Fires once nobody waits for an answer."""
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        self._tell_idle()
        return waiting

    def give_up(self) -> None:
        """Fail everything that has no answer yet, and leave nothing behind."""
        pending = [*self._in_flight.values(), *self._waiting]
        self._in_flight.clear()
        self._in_flight_size = 0
        self._waiting.clear()
        self._size = 0
        self._deadlines.clear()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for message in pending:
            self._answer(
                message,
                TransportStopped(
                    f"{self._name} was stopped before the broker confirmed the event {message.id}"
                    + ("; it was sent, and may arrive all the same" if message.sent else "; it was not sent")
                ),
            )
        self._tell_idle()

    # -- what the connection says

    def attach(self, outlet: Outlet) -> None:
        """A channel in confirm mode is there: send again what it is not known of whether it arrived, then what waits."""
        self._outlet = outlet
        self._number = 0
        self._returned.clear()
        again, self._in_flight, self._in_flight_size = self._in_flight, {}, 0
        for message in reversed(again.values()):
            if message.answered is not None:
                self._waiting[message] = None
                self._waiting.move_to_end(message, last=False)
                self._size += len(message.body)
        self._go_on()

    def detach(self) -> None:
        """The channel is gone."""
        self._outlet = None

    def closed(self, outlet: Outlet, code: int, text: str) -> None:
        """
        The broker has closed a channel: the messages that it did so for are not sent again.

        :param code: why, or 0 when it was not the broker.
        """
        if outlet is not self._outlet:
            return
        self.detach()
        for number, refusal in blamed(code, text, self._in_flight):
            self._answer(self._landed(number), refusal)
        self._tell_idle()

    def block(self, blocked: bool) -> None:
        """The broker takes nothing for now, or takes messages again."""
        self._blocked = blocked
        self._go_on()

    def returned(self, number: int) -> None:
        """The broker gives a message back; its confirmation comes behind that."""
        self._returned.add(number)

    def confirmed(self, number: int, multiple: bool, taken: bool) -> None:
        """
        The broker says what became of a message.

        :param multiple: whether it says so of all before it too.
        :param taken: whether it took it.
        """
        numbers = [number] if number in self._in_flight else []
        if multiple:
            numbers = []
            for sent in self._in_flight:
                if sent > number:
                    break
                numbers.append(sent)
        for sent, message in [(sent, self._landed(sent)) for sent in numbers]:
            self._judge(message, taken, self._was_returned(sent))
        self._go_on()
        self._tell_idle()

    # -- inside

    def _has_room_for(self, message: Message) -> bool:
        return (
            self._outlet is not None
            and not self._blocked
            and len(self._in_flight) < self._window
            and (not self._in_flight_size or self._in_flight_size + len(message.body) <= self._window_size)
        )

    def _is_full_for(self, message: Message) -> bool:
        return len(self._waiting) >= self._max_waiting or self._size + len(message.body) > self._max_size

    def _send(self, message: Message) -> None:
        assert self._outlet is not None
        number = self._number + 1
        impossible = self._outlet.send(message, number)
        if impossible is not None:
            self._answer(message, PublishRefused(message.id, impossible))
            return
        self._number = number
        message.sent = True
        self._in_flight[number] = message
        self._in_flight_size += len(message.body)

    def _landed(self, number: int) -> Message:
        message = self._in_flight.pop(number)
        self._in_flight_size -= len(message.body)
        return message

    def _go_on(self) -> None:
        while self._waiting:
            message = next(iter(self._waiting))
            if not self._has_room_for(message):
                return
            self._drop(message)
            self._send(message)

    def _was_returned(self, number: int) -> bool:
        if number in self._returned:
            self._returned.discard(number)
            return True
        return False

    def _judge(self, message: Message, taken: bool, returned: bool) -> None:
        if not taken:
            self._answer(message, PublishRefused(message.id, "it could not store it (a queue is full, or the broker in trouble)"))
        elif returned and not message.droppable:
            self._answer(message, Unroutable(message.id, _shown(message), message.exchange))
        else:
            self._answer(message, None)

    def _answer(self, message: Message, error: EvprocError | None) -> None:
        answered = self._settle(message)
        if answered is None:
            return  # it was given up before
        counts = self._counts
        if message.limited:
            if error is None:
                counts.confirmed += 1
            elif isinstance(error, Unroutable):
                counts.unroutable += 1
            else:
                counts.refused += 1
        if error is None:
            answered.callback(message.id)
        else:
            answered.errback(error)

    def _settle(self, message: Message) -> Deferred[str] | None:
        """Nobody waits for an answer to a message any more; gives what waited."""
        answered, message.answered = message.answered, None
        if answered is not None:
            self._unanswered -= 1
            _ = self._deadlines.pop(message, None)
        return answered

    def _take_back(self, message: Message) -> None:
        # What is in flight cannot be taken back: nobody waits for its answer any more.
        _ = self._settle(message)
        self._drop(message)
        self._go_on()
        self._tell_idle()

    def _drop(self, message: Message) -> None:
        if message in self._waiting:
            del self._waiting[message]
            self._size -= len(message.body)

    def _look_at_deadlines(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        assert self._timeout is not None
        due = []
        for message in self._deadlines:
            if message.deadline > now:
                self._timer = self._clock.callLater(message.deadline - now, self._look_at_deadlines)
                break
            due.append(message)
        for message in due:
            self._drop(message)
        for message in due:
            self._answer(message, PublishTimeout(message.id, self._timeout, message.sent, self._why()))
        self._go_on()
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._unanswered:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)


def _shown(message: Message) -> str:
    details = ", ".join(f"{name}={value!r}" for name, value in message.headers.items() if name.isidentifier())
    return details or "without details"
