"""What waits for the broker, what was sent, and what becomes of it; the broker is played by the test, the time is a clock's."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_evproc.amqp._publisher import WINDOW_SIZE, Message, Publisher
from twisted_evproc.amqp._statistics import Counts
from twisted_evproc.errors import Overflow, PublishRefused, PublishTimeout, TransportStopped, Unroutable

TIMEOUT = 30.0


class Wire:
    """An outlet that keeps what is sent; messages whose ID begins with ``bad`` cannot be written."""

    def __init__(self) -> None:
        self.sent: dict[int, Message] = {}

    def send(self, message: Message, number: int) -> str | None:
        if message.id.startswith("bad"):
            return "it cannot be written"
        assert number == len(self.sent) + 1
        self.sent[number] = message
        return None

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.sent.values()]


class Subject:
    """A publisher, with everything around it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.counts = Counts()
        given = {"window": 3, "max_waiting": 2, "max_waiting_size": 100, "timeout": TIMEOUT, "name": "<transport>"}
        self.publisher = Publisher(self.clock, self.counts, why=lambda: "down: no broker", **{**given, **options})

    def connect(self) -> Wire:
        wire = Wire()
        self.publisher.attach(wire)
        return wire

    def submit(self, event_id: str, size: int = 1, **options: Any) -> Answer:
        return Answer(self.publisher.submit(message(event_id, size, **options)), event_id)


class Answer:
    """What a publication came to."""

    def __init__(self, deferred: Deferred[Any], value: object) -> None:
        self.deferred = deferred
        self.value = value
        self.results: list[Any] = []
        deferred.addBoth(self.results.append)

    @property
    def is_there(self) -> bool:
        return bool(self.results)

    @property
    def confirmed(self) -> bool:
        return self.results == [self.value]

    def error(self, kind: type[BaseException]) -> Any:
        (result,) = self.results
        assert isinstance(result, Failure)
        assert result.check(kind), result
        return result.value


def message(event_id: str, size: int = 1, **options: Any) -> Message:
    return Message("shop", "s.open", {"role": "admin", "ce-id": event_id}, b"x" * size, "application/json", event_id, **options)


# -- confirmations


def test_it_sends_in_order_and_only_so_many_at_once() -> None:
    subject = Subject()
    wire = subject.connect()
    answers = [subject.submit(event_id) for event_id in "abcde"]
    assert wire.ids == ["a", "b", "c"]
    assert (subject.publisher.waiting, subject.publisher.waiting_size, subject.publisher.in_flight) == (2, 2, 3)
    subject.publisher.confirmed(2, False, True)
    assert [answer.confirmed for answer in answers] == [False, True, False, False, False]
    assert wire.ids == ["a", "b", "c", "d"]
    subject.publisher.confirmed(4, True, True)
    assert [answer.confirmed for answer in answers] == [True, True, True, True, False]
    subject.publisher.confirmed(5, False, True)
    assert answers[4].confirmed
    assert (subject.publisher.waiting, subject.publisher.waiting_size, subject.publisher.in_flight) == (0, 0, 0)
    assert vars(subject.counts) == {**vars(Counts()), "confirmed": 5}


def test_a_confirmation_that_nobody_waits_for_is_ignored() -> None:
    subject = Subject()
    _ = subject.connect()
    answer = subject.submit("a")
    subject.publisher.confirmed(7, False, True)
    assert not answer.is_there
    subject.publisher.confirmed(1, False, True)
    subject.publisher.confirmed(1, False, False)
    assert answer.confirmed


def test_what_the_broker_does_not_take_fails() -> None:
    subject = Subject()
    _ = subject.connect()
    answers = [subject.submit(event_id) for event_id in "abc"]
    subject.publisher.confirmed(2, True, False)
    assert "did not take the event b" in str(answers[1].error(PublishRefused))
    assert answers[0].error(PublishRefused).event_id == "a"
    assert not answers[2].is_there
    assert subject.counts.refused == 2


def test_what_comes_back_is_never_confirmed() -> None:
    subject = Subject()
    _ = subject.connect()
    answers = [subject.submit("a"), subject.submit("b"), subject.submit("c", droppable=True)]
    subject.publisher.returned(3)
    subject.publisher.returned(2)
    subject.publisher.confirmed(3, True, True)
    assert answers[0].confirmed
    assert "takes the event b (role='admin')" in str(answers[1].error(Unroutable))
    assert answers[2].confirmed
    assert (subject.counts.confirmed, subject.counts.unroutable) == (2, 1)


def test_two_with_one_id_are_told_apart() -> None:
    subject = Subject()
    _ = subject.connect()
    # The first one reaches a group, the second one, with other details, nobody; both have one routing key.
    first, second = subject.submit("a"), subject.submit("a")
    subject.publisher.returned(2)
    subject.publisher.confirmed(2, True, True)
    assert first.confirmed
    second.error(Unroutable)


# -- other people's code


def test_an_error_behind_an_answer_is_whose_it_is() -> None:
    subject = Subject()
    _ = subject.connect()
    first = subject.publisher.submit(message("a"))
    first.addCallback(lambda _: 1 / 0)
    failed: list[Any] = []
    second = subject.submit("b")
    subject.publisher.confirmed(2, True, True)
    assert second.confirmed
    first.addErrback(failed.append)
    assert failed[0].check(ZeroDivisionError)


def test_publishing_behind_an_answer_keeps_the_order() -> None:
    subject = Subject(max_waiting=10)
    wire = subject.connect()
    more: list[Answer] = []

    def publish_again(_: Any, event_id: str) -> None:
        more.append(subject.submit(f"{event_id}2"))

    for event_id in "abcd":
        deferred: Deferred[Any] = subject.publisher.submit(message(event_id))
        deferred.addCallback(publish_again, event_id)
    subject.publisher.confirmed(3, True, True)
    assert wire.ids == ["a", "b", "c", "d", "a2", "b2"]
    assert subject.publisher.waiting == 1
    subject.publisher.confirmed(6, True, True)
    assert wire.ids == ["a", "b", "c", "d", "a2", "b2", "c2", "d2"]
    assert [answer.confirmed for answer in more] == [True, True, False, False]


def test_giving_up_behind_an_answer_leaves_the_other_answers_right() -> None:
    subject = Subject()
    _ = subject.connect()
    first = subject.publisher.submit(message("a"))
    first.addCallback(lambda _: subject.publisher.give_up())
    second, third = subject.submit("b"), subject.submit("c")
    subject.publisher.confirmed(2, True, True)
    assert second.confirmed
    third.error(TransportStopped)


def test_publishing_behind_giving_up_has_a_deadline_too() -> None:
    subject = Subject()
    again: list[Answer] = []
    deferred = subject.publisher.submit(message("a"))
    deferred.addErrback(lambda _: again.append(subject.submit("b")))
    subject.publisher.give_up()
    subject.clock.advance(TIMEOUT)
    again[0].error(PublishTimeout)
    assert subject.clock.getDelayedCalls() == []


# -- limits


def test_too_many_do_not_wait() -> None:
    subject = Subject(max_waiting=2)
    waiting = [subject.submit("a"), subject.submit("b")]
    overflow = subject.submit("c").error(Overflow)
    assert overflow.waiting == 2
    assert "<transport>: 2 events (2 bytes) wait for the broker already" in str(overflow)
    assert subject.counts.refused == 1
    # What puts failed events aside must not be turned away: the consumers' windows bound it.
    unlimited = subject.submit("d", limited=False)
    assert subject.connect().ids == ["a", "b", "d"]
    subject.publisher.confirmed(3, True, True)
    assert all(answer.confirmed for answer in [*waiting, unlimited])


def test_too_many_bytes_do_not_wait() -> None:
    subject = Subject(max_waiting_size=100, max_waiting=1000)
    subject.submit("a", 60)
    subject.submit("b", 41).error(Overflow)
    fits = subject.submit("c", 40)
    assert subject.publisher.waiting_size == 100
    fits.deferred.cancel()
    fits.error(CancelledError)
    assert subject.publisher.waiting_size == 60
    assert subject.connect().ids == ["a"]
    assert subject.publisher.waiting_size == 0


def test_none_may_wait() -> None:
    subject = Subject(max_waiting=0, window=1)
    subject.submit("a").error(Overflow)
    _ = subject.connect()
    taken = subject.submit("b")
    subject.submit("c").error(Overflow)
    subject.publisher.confirmed(1, False, True)
    assert taken.confirmed
    assert not subject.submit("d").is_there


def test_large_messages_make_the_window_smaller() -> None:
    subject = Subject(window=1000, max_waiting=1000, max_waiting_size=WINDOW_SIZE * 4)
    wire = subject.connect()
    subject.submit("first")
    for event_id in "abc":
        subject.submit(event_id, WINDOW_SIZE // 2)
    assert wire.ids == ["first", "a"]
    subject.publisher.confirmed(1, False, True)
    assert wire.ids == ["first", "a", "b"]
    # One larger than all that goes out when it is alone.
    huge = subject.submit("huge", WINDOW_SIZE + 1)
    subject.publisher.confirmed(3, True, True)
    assert wire.ids == ["first", "a", "b", "c"]
    subject.publisher.confirmed(4, False, True)
    assert wire.ids[-1] == "huge"
    subject.publisher.confirmed(5, False, True)
    assert huge.confirmed


# -- the connection


def test_what_was_not_confirmed_is_sent_again_before_what_waits() -> None:
    subject = Subject(max_waiting=10)
    wire = subject.connect()
    answers = [subject.submit(event_id) for event_id in "abcde"]
    subject.publisher.confirmed(2, False, True)
    assert wire.ids == ["a", "b", "c", "d"]
    subject.publisher.returned(1)
    subject.publisher.detach()
    late = subject.submit("f")
    assert wire.ids == ["a", "b", "c", "d"]
    wire = subject.connect()
    assert wire.ids == ["a", "c", "d"]
    # The numbers begin anew, and what was returned before does not count: there may be a group by now.
    subject.publisher.confirmed(1, False, True)
    subject.publisher.confirmed(3, True, True)
    subject.publisher.confirmed(5, True, True)
    assert wire.ids == ["a", "c", "d", "e", "f"]
    assert all(answer.confirmed for answer in [*answers, late])


def test_while_blocked_it_sends_nothing() -> None:
    subject = Subject(max_waiting=1)
    wire = subject.connect()
    subject.submit("a")
    subject.publisher.block(True)
    subject.submit("b")
    subject.submit("c").error(Overflow)
    subject.publisher.confirmed(1, False, True)
    assert wire.ids == ["a"]
    subject.publisher.block(False)
    assert wire.ids == ["a", "b"]


def test_a_message_that_cannot_be_written_takes_no_number() -> None:
    subject = Subject(window=2)
    wire = subject.connect()
    bad = subject.submit("bad at once").error(PublishRefused)
    assert "it cannot be written" in str(bad)
    first, second = subject.submit("a"), subject.submit("b")
    waiting, last = subject.submit("bad later"), subject.submit("c")
    subject.publisher.returned(2)
    subject.publisher.confirmed(2, True, True)
    assert first.confirmed
    second.error(Unroutable)
    waiting.error(PublishRefused)
    assert wire.ids == ["a", "b", "c"]
    subject.publisher.confirmed(3, False, True)
    assert last.confirmed


TOO_LARGE = "PRECONDITION_FAILED - message size 50 is larger than configured max size 40"
REFUSED = "ACCESS_REFUSED - access to exchange 'shop' in vhost '/' refused for user 'anna'"


def test_a_message_for_which_the_broker_closes_the_channel_is_not_sent_again() -> None:
    subject = Subject(window=5)
    wire = subject.connect()
    answers = [subject.submit("a"), subject.submit("b", 50), subject.submit("c", 60), subject.submit("d", 30)]
    subject.publisher.closed(wire, 406, TOO_LARGE)
    error = answers[1].error(PublishRefused)
    assert "message size 50 is larger than configured max size 40 (406).  Put the data elsewhere" in str(error)
    assert error.event_id == "b"
    late = subject.submit("e")
    assert len(wire.ids) == 4
    wire = subject.connect()
    assert wire.ids == ["a", "c", "d", "e"]
    subject.publisher.closed(wire, 406, "PRECONDITION_FAILED - in other words")
    answers[2].error(PublishRefused)
    assert subject.connect().ids == ["a", "d", "e"]
    subject.publisher.confirmed(3, True, True)
    assert all(answer.confirmed for answer in [answers[0], answers[3], late])
    assert subject.counts.refused == 2


def test_without_access_all_for_that_exchange_fail() -> None:
    subject = Subject(window=5)
    wire = subject.connect()
    answers = [subject.submit("a"), subject.submit("b")]
    elsewhere = Answer(subject.publisher.submit(Message("", "shop.g.dead", {}, b"", "", "c", limited=False)), "c")
    subject.publisher.closed(wire, 403, REFUSED)
    for answer in answers:
        assert "access to exchange 'shop' in vhost '/' refused for user 'anna' (403)" in str(answer.error(PublishRefused))
    assert subject.connect().ids == ["c"]
    subject.publisher.confirmed(1, False, True)
    assert elsewhere.confirmed


def test_without_access_to_a_topic_only_its_messages_fail() -> None:
    subject = Subject(window=5)
    wire = subject.connect()
    other = message("b")
    other.routing_key = "s.closed"
    first, second = subject.submit("a"), Answer(subject.publisher.submit(other), other.id)
    subject.publisher.closed(wire, 403, "ACCESS_REFUSED - access to topic 's.open' in exchange 'shop' in vhost '/' refused")
    first.error(PublishRefused)
    assert not second.is_there
    nameless = subject.connect()
    third = Answer(subject.publisher.submit(Message("", "shop.g.dead", {}, b"", "", "c", limited=False)), "c")
    subject.publisher.closed(nameless, 403, REFUSED.replace("shop", "amq.default"))
    third.error(PublishRefused)
    assert subject.connect().ids == ["b"]


def test_what_is_put_aside_where_nothing_is_any_more_fails() -> None:
    subject = Subject(window=5)
    wire = subject.connect()
    event = subject.submit("a")
    aside = Answer(subject.publisher.submit(Message("shop.retry.100ms", "shop.g", {}, b"", "", "b", limited=False)), "b")
    subject.publisher.closed(wire, 404, "NOT_FOUND - no exchange 'shop.retry.100ms' in vhost '/'")
    aside.error(Unroutable)
    wire = subject.connect()
    assert wire.ids == ["a"]
    # Where events go is declared for every channel.
    subject.publisher.closed(wire, 404, "NOT_FOUND - no exchange 'shop' in vhost '/'")
    assert subject.connect().ids == ["a"]
    assert not event.is_there


@pytest.mark.parametrize("code", [0, 200, 320, 541])
def test_for_other_reasons_everything_is_sent_again(code: int) -> None:
    subject = Subject()
    wire = subject.connect()
    subject.submit("a")
    subject.publisher.closed(wire, code, "CONNECTION_FORCED - broker forced connection closure")
    assert subject.connect().ids == ["a"]


def test_an_old_channel_has_nothing_to_say() -> None:
    subject = Subject()
    old = subject.connect()
    new = subject.connect()
    answer = subject.submit("a")
    subject.publisher.closed(old, 403, REFUSED)
    assert not answer.is_there
    subject.submit("b")
    assert new.ids == ["a", "b"]


# -- deadlines


def test_it_does_not_wait_for_ever() -> None:
    subject = Subject(window=1)
    wire = subject.connect()
    sent = subject.submit("a")
    subject.clock.advance(10)
    waiting = subject.submit("b")
    unlimited = subject.submit("c", limited=False)
    subject.clock.advance(TIMEOUT - 10.1)
    assert not sent.is_there
    subject.clock.advance(0.1)
    error = sent.error(PublishTimeout)
    assert error.sent
    assert "did not confirm the event a within 30 s (down: no broker); it was sent, and may arrive all the same" in str(error)
    subject.clock.advance(10)
    error = waiting.error(PublishTimeout)
    assert not error.sent
    assert "it was not sent" in str(error)
    assert subject.clock.getDelayedCalls() == []
    # What has its answer is not sent again.
    subject.publisher.detach()
    assert subject.connect().ids == ["c"]
    assert wire.ids == ["a"]
    assert not unlimited.is_there
    assert subject.counts.refused == 2


def test_what_was_sent_and_waits_again_says_so() -> None:
    subject = Subject()
    _ = subject.connect()
    answer = subject.submit("a")
    subject.publisher.detach()
    subject.publisher.block(True)
    wire = subject.connect()
    assert subject.publisher.waiting == 1
    subject.clock.advance(TIMEOUT)
    assert answer.error(PublishTimeout).sent
    assert (subject.publisher.waiting, subject.publisher.waiting_size) == (0, 0)
    subject.publisher.block(False)
    assert wire.ids == []


def test_a_late_confirmation_is_no_second_answer() -> None:
    subject = Subject()
    _ = subject.connect()
    answer = subject.submit("a")
    subject.clock.advance(TIMEOUT)
    answer.error(PublishTimeout)
    subject.publisher.confirmed(1, False, True)
    assert subject.publisher.in_flight == 0
    assert (subject.counts.confirmed, subject.counts.refused) == (0, 1)


def test_without_a_deadline_it_waits_for_ever() -> None:
    subject = Subject(timeout=None)
    answer = subject.submit("a")
    assert subject.clock.getDelayedCalls() == []
    subject.clock.advance(1e9)
    assert not answer.is_there
    assert subject.connect().ids == ["a"]


def test_there_is_one_timer_and_none_where_nothing_is_due() -> None:
    subject = Subject(window=1000)
    _ = subject.connect()
    for number in range(100):
        subject.submit(str(number))
        subject.clock.advance(0.1)
    assert len(subject.clock.getDelayedCalls()) == 1
    subject.publisher.confirmed(50, True, True)
    subject.clock.advance(TIMEOUT - 9)
    (call,) = subject.clock.getDelayedCalls()
    # That of the oldest one that has no answer.
    assert call.getTime() == pytest.approx(5.0 + TIMEOUT)
    subject.publisher.confirmed(100, True, True)
    subject.clock.advance(5)
    assert subject.clock.getDelayedCalls() == []


def test_what_is_confirmed_is_let_go_whatever_its_neighbours_do() -> None:
    subject = Subject(window=10)
    _ = subject.connect()
    stuck = subject.submit("a")
    sent = [message("b"), message("c")]
    kept = [subject.publisher.submit(each) for each in sent]
    alive = [weakref.ref(each) for each in sent]
    sent.clear()
    subject.connect().sent.clear()
    subject.publisher.confirmed(2, False, True)
    subject.publisher.returned(3)
    subject.publisher.confirmed(3, False, True)
    kept[1].addErrback(lambda failure: failure.trap(Unroutable))
    _ = gc.collect()
    assert [each() for each in alive] == [None, None]
    assert not stuck.is_there
    assert kept


# -- taking back, and the end


def test_what_is_not_sent_can_be_taken_back() -> None:
    subject = Subject(window=1)
    wire = subject.connect()
    sent, waiting, last = subject.submit("a"), subject.submit("b", 5), subject.submit("c")
    waiting.deferred.cancel()
    waiting.error(CancelledError)
    assert (subject.publisher.waiting, subject.publisher.waiting_size) == (1, 1)
    sent.deferred.cancel()
    sent.error(CancelledError)
    subject.publisher.confirmed(1, False, True)
    assert wire.ids == ["a", "c"]
    assert not last.is_there
    assert subject.counts.confirmed == 0


def test_taken_back_in_flight_it_is_not_sent_again() -> None:
    subject = Subject()
    _ = subject.connect()
    first, second = subject.submit("a"), subject.submit("b")
    first.deferred.cancel()
    first.error(CancelledError)
    subject.publisher.detach()
    assert subject.connect().ids == ["b"]
    subject.publisher.confirmed(1, False, True)
    assert second.confirmed


def test_taking_back_a_large_one_lets_those_behind_it_go() -> None:
    subject = Subject(window_size=10)
    wire = subject.connect()
    subject.submit("a", 5)
    large = subject.submit("b", 6)
    subject.submit("c", 5)
    assert wire.ids == ["a"]
    large.deferred.cancel()
    large.error(CancelledError)
    assert wire.ids == ["a", "c"]


def test_many_are_taken_back_without_looking_for_each() -> None:
    subject = Subject(max_waiting=100_000, max_waiting_size=10**9)
    answers = [subject.submit("a") for _ in range(20_000)]
    compared = 0

    class Counted(Message):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

        __hash__ = object.__hash__

    last = [Answer(subject.publisher.submit(Counted("", "", {}, b"", "", str(number))), str(number)) for number in range(1_000)]
    for answer in [*reversed(last), *reversed(answers)]:
        answer.deferred.cancel()
        answer.error(CancelledError)
    assert compared < 5_000
    assert subject.publisher.waiting == 0


def test_it_is_idle_when_nobody_waits_for_an_answer() -> None:
    subject = Subject(window=1)
    _ = subject.connect()
    assert Answer(subject.publisher.idle(), None).confirmed
    subject.submit("a")
    waiting = subject.submit("b")
    idle, also = Answer(subject.publisher.idle(), None), Answer(subject.publisher.idle(), None)
    subject.publisher.confirmed(1, False, True)
    assert not idle.is_there
    waiting.deferred.cancel()
    waiting.error(CancelledError)
    assert idle.confirmed
    assert also.confirmed


def test_it_is_idle_after_the_last_deadline_though_the_broker_never_comes_back() -> None:
    subject = Subject(window=1)
    _ = subject.connect()
    sent, waiting = subject.submit("a"), subject.submit("b")
    subject.publisher.detach()
    idle = Answer(subject.publisher.idle(), None)
    subject.clock.advance(TIMEOUT)
    sent.error(PublishTimeout)
    waiting.error(PublishTimeout)
    assert idle.confirmed


def test_giving_up_answers_everything_and_leaves_nothing() -> None:
    subject = Subject(window=1)
    _ = subject.connect()
    sent, waiting, unlimited = subject.submit("a"), subject.submit("b"), subject.submit("c", limited=False)
    idle = Answer(subject.publisher.idle(), None)
    subject.publisher.give_up()
    assert "confirmed the event a; it was sent, and may arrive" in str(sent.error(TransportStopped))
    assert "<transport> was stopped before the broker confirmed the event b; it was not sent" in str(
        waiting.error(TransportStopped)
    )
    unlimited.error(TransportStopped)
    assert idle.confirmed
    assert subject.clock.getDelayedCalls() == []
    assert (subject.publisher.waiting, subject.publisher.waiting_size, subject.publisher.in_flight) == (0, 0, 0)
    # Started again, it works as before; what the broker says of the old ones is nobody's.
    wire = subject.connect()
    again = subject.submit("d")
    assert wire.ids == ["d"]
    subject.publisher.confirmed(1, False, True)
    assert again.confirmed


# -- anything, in any order


class PublisherAgainstModel(RuleBasedStateMachine):
    """
    The model: messages by their number, each with what the broker has, and what is to be answered.

    The broker takes what is sent over the present channel, decides each once, and forgets the channel when it is lost.
    """

    WINDOW, WAITING, SIZE, WINDOW_SIZE = 3, 4, 12, 9

    def __init__(self) -> None:
        super().__init__()
        self.subject = Subject(
            window=self.WINDOW, max_waiting=self.WAITING, max_waiting_size=self.SIZE, window_size=self.WINDOW_SIZE
        )
        self.publisher = self.subject.publisher
        self.messages: list[Message] = []
        self.answers: list[Answer] = []
        self.taken_back: set[int] = set()
        self.wire: Wire | None = self.subject.connect()
        self.open: dict[int, bool] = {}
        self.seen = 0
        self.unroutable: set[int] = set()
        self.confirmed: set[int] = set()

    def place(self, sent: Message) -> int:
        return next(number for number, each in enumerate(self.messages) if each is sent)

    def hear(self) -> None:
        """The broker reads what was sent, and gives back at once what nobody is bound to."""
        while self.wire is not None and self.seen < len(self.wire.sent):
            self.seen += 1
            sent = self.wire.sent[self.seen]
            self.open[self.seen] = returned = self.place(sent) in self.unroutable
            if returned:
                self.publisher.returned(self.seen)

    @rule(
        size=st.sampled_from([1, 0, 2, 5, 11]),
        limited=st.booleans(),
        unroutable=st.booleans(),
        bad=st.integers(0, 9),
        same=st.booleans(),
    )
    def submit(self, size: int, limited: bool, unroutable: bool, bad: int, same: bool) -> None:
        place = len(self.messages)
        sent = message("same" if same else f"{'bad' if bad == 0 else ''}{place}", size, limited=limited)
        self.messages.append(sent)
        if unroutable:
            self.unroutable.add(place)
        waiting, waiting_size = self.publisher.waiting, self.publisher.waiting_size
        answer = Answer(self.publisher.submit(sent), sent.id)
        self.answers.append(answer)
        if answer.is_there and isinstance(answer.results[0], Failure) and answer.results[0].check(Overflow):
            assert limited
            assert waiting >= self.WAITING or waiting_size + size > self.SIZE
        elif limited and self.publisher.waiting > waiting:
            assert waiting < self.WAITING
            assert waiting_size + size <= self.SIZE
        self.hear()

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9), multiple=st.booleans(), taken=st.booleans())
    def decide(self, pick: int, multiple: bool, taken: bool) -> None:
        numbers = sorted(self.open)
        number = numbers[pick % len(numbers)]
        decided = [each for each in numbers if each == number or (multiple and each < number)]
        assert self.wire is not None
        for each in decided:
            if not self.open.pop(each) and taken:
                self.confirmed.add(self.place(self.wire.sent[each]))
        self.publisher.confirmed(number, multiple, taken)
        self.hear()

    @rule()
    def attach(self) -> None:
        self.wire, self.seen = Wire(), 0
        self.open.clear()
        self.publisher.attach(self.wire)
        self.hear()

    @rule()
    def detach(self) -> None:
        self.wire = None
        self.open.clear()
        self.publisher.detach()

    @precondition(lambda self: self.wire is not None)
    @rule(code=st.sampled_from([0, 403, 406]))
    def close(self, code: int) -> None:
        wire, self.wire = self.wire, None
        self.open.clear()
        self.publisher.closed(wire, code, "in words")  # type: ignore[arg-type]  # there is one: the precondition

    @rule(blocked=st.booleans())
    def block(self, blocked: bool) -> None:
        self.publisher.block(blocked)
        self.hear()

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, TIMEOUT]))
    def wait(self, seconds: float) -> None:
        self.subject.clock.advance(seconds)
        self.hear()

    @precondition(lambda self: self.answers)
    @rule(pick=st.integers(0, 9))
    def take_back(self, pick: int) -> None:
        place = len(self.answers) - 1 - pick % len(self.answers)
        self.answers[place].deferred.cancel()
        self.hear()

    @rule(really=st.integers(0, 5))
    def give_up(self, really: int) -> None:
        if really != 5:
            return
        self.publisher.give_up()
        self.open.clear()
        assert self.subject.clock.getDelayedCalls() == []
        assert all(answer.is_there for answer in self.answers)

    @invariant()
    def everything_is_answered_at_most_once_and_truly(self) -> None:
        for place, answer in enumerate(self.answers):
            assert len(answer.results) <= 1
            if answer.confirmed:
                assert place in self.confirmed
                assert place not in self.unroutable

    @invariant()
    def bounds_hold(self) -> None:
        assert self.publisher.in_flight <= self.WINDOW
        unanswered = [each for each, answer in zip(self.messages, self.answers, strict=True) if not answer.is_there]
        assert self.publisher.waiting <= len(unanswered) <= self.publisher.waiting + self.publisher.in_flight
        assert 0 <= self.publisher.waiting_size <= sum(len(each.body) for each in unanswered)
        limited = [each for each in unanswered if each.limited]
        calls = self.subject.clock.getDelayedCalls()
        assert len(calls) <= 1
        assert calls or not limited

    @invariant()
    def what_is_sent_is_in_order(self) -> None:
        if self.wire is not None:
            places = [self.place(sent) for sent in self.wire.sent.values()]
            assert places == sorted(places)
            assert sum(len(self.wire.sent[number].body) for number in self.open) <= max(
                self.WINDOW_SIZE, *(len(self.wire.sent[number].body) for number in self.open), 0
            )

    def teardown(self) -> None:
        """In the end a broker that takes everything comes: everything is answered, nothing is left."""
        self.publisher.block(False)
        self.attach()
        while self.open:
            self.decide(9, True, True)
        assert all(answer.is_there for answer in self.answers)
        assert (self.publisher.waiting, self.publisher.waiting_size, self.publisher.in_flight) == (0, 0, 0)
        assert Answer(self.publisher.idle(), None).confirmed
        self.subject.clock.advance(TIMEOUT)
        assert self.subject.clock.getDelayedCalls() == []


def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    run_state_machine_as_test(PublisherAgainstModel, settings=settings(stateful_step_count=40))
