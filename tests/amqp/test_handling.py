"""What follows from how handling an event went."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import capturedLogs

from twisted_evproc import EventDispatcher
from twisted_evproc.amqp import Envelope, JSONCodec, RecentEvents, SubscriptionOptions, current_envelope
from twisted_evproc.amqp._handling import DONE, GIVEN_BACK, LATER, Dead, Handling, Retry, Verdict, check_target
from twisted_evproc.amqp._statistics import Counts
from twisted_evproc.testing import assert_pending, result_now


def envelope(body: bytes = b"1", failures: int = 0, event_id: str = "id") -> Envelope:
    return Envelope(event_id, "/here", "type", body, "application/json", {"n": 1}, failures=failures)


class Scene:
    def __init__(self, target: Any, **options: Any) -> None:
        self.counts = Counts()
        self.handling = Handling(target, SubscriptionOptions(**options), JSONCodec(), "scope", self.counts)
        self.verdicts: list[Verdict] = []

    def take(self, given: Envelope) -> None:
        self.handling.take(given, self.verdicts.append)


def raiser(error: Exception) -> Any:
    def handle(event: Any) -> None:
        raise error

    return handle


def test_what_is_handled_is_done() -> None:
    heard: list[Any] = []
    scene = Scene(lambda event: heard.append((event, current_envelope())))
    scene.take(envelope(b'{"a": 1}'))
    assert scene.verdicts == [DONE]
    assert heard == [({"a": 1}, envelope(b'{"a": 1}'))]
    assert (scene.counts.received, scene.counts.handled, current_envelope()) == (1, 1, None)


@pytest.mark.parametrize(("failures", "delay"), [(0, 1), (1, 5), (2, 5)])
def test_what_fails_is_tried_again_later(failures: int, delay: float) -> None:
    scene = Scene(raiser(ValueError("no")), retry_delays=(1, 5), max_deliveries=4)
    scene.take(envelope(failures=failures))
    assert scene.verdicts == [Retry(delay, "ValueError: no")]
    assert scene.counts.retried == 1


def test_what_fails_too_often_is_dead() -> None:
    scene = Scene(lambda event: fail(ValueError("x" * 5000)), max_deliveries=4)
    scene.take(envelope(failures=3))
    (verdict,) = scene.verdicts
    assert isinstance(verdict, Dead)
    assert verdict.reason == ("ValueError: " + "x" * 5000)[:2000]
    assert (scene.counts.dead, scene.counts.retried) == (1, 0)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("no file a\udc80", "no file a\\udc80"),
        ("\N{SNOWMAN}" * 1000, "\N{SNOWMAN}" * 662),
        ("\udc80" * 1000, ("\\udc80" * 332)[:1988]),
    ],
)
def test_a_reason_fits_into_a_header(text: str, written: str) -> None:
    scene = Scene(raiser(ValueError(text)), max_deliveries=1)
    scene.take(envelope())
    assert scene.verdicts == [Dead(f"ValueError: {written}")]


@pytest.mark.parametrize(("error", "dead"), [(KeyError("k"), True), (ValueError("v"), False)])
def test_fatal_errors(error: Exception, dead: bool) -> None:
    scene = Scene(raiser(error), fatal=(LookupError,))
    scene.take(envelope())
    assert isinstance(scene.verdicts[0], Dead) is dead


def test_what_cannot_be_read_is_dead() -> None:
    scene = Scene(print)
    scene.take(envelope(b"{"))
    (verdict,) = scene.verdicts
    assert isinstance(verdict, Dead)
    assert verdict.reason.startswith("EventNotDecodable: the event id cannot be read: ")


def test_failures_are_logged() -> None:
    with capturedLogs() as logged:
        Scene(raiser(ValueError("no")), max_deliveries=1).take(envelope())
    assert [(event["log_failure"].type, event["id"], event["scope"]) for event in logged] == [(ValueError, "id", "scope")]


def test_what_is_cut_short_is_given_back() -> None:
    cancelled: list[Any] = []
    scene = Scene(lambda event: Deferred(cancelled.append))
    scene.take(envelope())
    drained = scene.handling.drained()
    assert_pending(drained)
    assert (scene.handling.under_way, scene.counts.under_way) == (1, 1)

    scene.handling.cut_short()

    assert (scene.verdicts, len(cancelled), scene.handling.under_way, scene.counts.under_way) == ([GIVEN_BACK], 1, 0, 0)
    result_now(drained)


def test_what_goes_on_all_the_same_is_given_back_and_forgotten() -> None:
    never: Deferred[Any] = Deferred()

    async def stubborn(event: Any) -> Any:
        try:
            await Deferred()
        except CancelledError:
            return await never

    scene = Scene(stubborn)
    scene.take(envelope())
    with capturedLogs() as logged:
        scene.handling.cut_short()
    assert (scene.verdicts, scene.counts.under_way) == ([GIVEN_BACK], 0)
    result_now(scene.handling.drained())
    assert [(event["number"], event["scope"]) for event in logged] == [(1, "scope")]
    never.callback(None)
    assert (scene.verdicts, scene.counts.under_way, scene.counts.handled) == ([GIVEN_BACK], 0, 0)


def test_a_handler_at_work_is_waited_for_also_while_it_is_being_called() -> None:
    drained: list[Deferred[None]] = []
    scene: Scene = Scene(lambda event: drained.append(scene.handling.drained()))

    def tell(verdict: Verdict) -> None:
        assert_pending(drained[0])
        scene.verdicts.append(verdict)

    scene.handling.take(envelope(), tell)
    result_now(drained[0])
    assert (scene.verdicts, scene.counts.under_way) == ([DONE], 0)


def test_a_handler_waits_for_others_that_do_not_wait_themselves() -> None:
    slow: Deferred[None] = Deferred()
    ended: list[Any] = []

    async def wait(event: Any) -> None:
        assert scene.handling.is_calling_us
        await scene.handling.others_drained()
        ended.append(event)

    scene: Scene = Scene(lambda event: slow if event == 0 else wait(event))
    for number in range(3):
        scene.take(envelope(b"%d" % number))
    assert (ended, scene.handling.is_calling_us) == ([], False)
    slow.callback(None)
    assert (ended, scene.verdicts) == ([1, 2], [DONE] * 3)


def test_what_a_handler_leaves_behind_is_not_being_called() -> None:
    later: Deferred[None] = Deferred()
    found: list[bool] = []

    async def left_behind() -> None:
        await later
        found.append(scene.handling.is_calling_us)

    scene: Scene = Scene(lambda event: [Deferred.fromCoroutine(left_behind())])
    scene.take(envelope())
    later.callback(None)
    assert found == [False]


def test_events_whose_handlers_wait_for_the_same_deferred_have_a_verdict_each() -> None:
    shared: Deferred[None] = Deferred()
    scene = Scene(lambda event: shared)
    for _ in range(2):
        scene.take(envelope())
    assert (scene.handling.under_way, scene.verdicts) == (2, [])
    shared.callback(None)
    assert scene.verdicts == [DONE, DONE]
    assert (scene.handling.under_way, scene.counts.under_way) == (0, 0)


@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize("event_ids", [("a", "b"), ("", "")])
def test_a_deferred_that_several_handlers_wait_for_fails_for_each(size: int | None, event_ids: tuple[str, ...]) -> None:
    shared: Deferred[None] = Deferred()
    scene = Scene(lambda event: shared, dedupe=size and RecentEvents(size), retry_delays=(1,))
    for event_id in event_ids:
        scene.take(envelope(event_id=event_id))
    shared.errback(ValueError("no"))
    assert scene.verdicts == [Retry(1, "ValueError: no")] * 2
    assert (scene.counts.handled, scene.counts.retried, scene.counts.under_way) == (0, 2, 0)


def test_a_deferred_that_a_deduplicator_gives_to_several_says_the_same_to_each() -> None:
    answer: Deferred[bool] = Deferred()

    class Waiting(RecentEvents):
        def seen(self, scope: str, event_id: str) -> Any:
            return answer

    heard: list[Any] = []
    scene = Scene(heard.append, dedupe=Waiting(1))
    for event_id in ("a", "b"):
        scene.take(envelope(event_id=event_id))
    answer.callback(True)
    assert (heard, scene.verdicts, scene.counts.duplicates) == ([], [DONE, DONE], 2)


def test_what_cannot_be_remembered_was_handled_all_the_same() -> None:
    written: Deferred[None] = Deferred()

    class Waiting(RecentEvents):
        def remember(self, scope: str, event_id: str) -> Any:
            return written

    scene = Scene(lambda event: None, dedupe=Waiting(1))
    for event_id in ("a", "b"):
        scene.take(envelope(event_id=event_id))
    with capturedLogs() as logged:
        written.errback(OSError("disk"))
    assert (scene.verdicts, scene.counts.handled) == ([DONE, DONE], 2)
    assert [(event["log_failure"].type, event["id"]) for event in logged] == [(OSError, "a"), (OSError, "b")]


def test_after_beginning_again_a_cancellation_is_a_failure() -> None:
    scene = Scene(raiser(CancelledError()))
    scene.handling.cut_short()
    scene.handling.begin()
    scene.take(envelope())
    assert isinstance(scene.verdicts[0], Retry)


def test_what_was_handled_before_is_not_handled_again() -> None:
    heard: list[Any] = []
    scene = Scene(heard.append, dedupe=RecentEvents(10))
    for event_id in ("a", "a", "b", "", ""):
        scene.take(envelope(event_id=event_id))
    assert scene.verdicts == [DONE] * 5
    # Events without an ID cannot be told apart.
    assert (len(heard), scene.counts.duplicates, scene.counts.handled) == (4, 1, 4)


def test_it_is_remembered_only_once_it_is_handled() -> None:
    seen = RecentEvents(10)
    waiting: Deferred[None] = Deferred()
    scene = Scene(lambda event: waiting, dedupe=seen)
    scene.take(envelope())
    assert not seen.seen("scope", "/here id")
    waiting.callback(None)
    assert seen.seen("scope", "/here id")


@pytest.mark.parametrize("error", [OSError("disk"), CancelledError()])
def test_what_a_deduplicator_does_not_tell_it_is_asked_later(error: Exception) -> None:
    class Broken(RecentEvents):
        broken = True

        def seen(self, scope: str, event_id: str) -> bool:
            if self.broken:
                raise error
            return super().seen(scope, event_id)

    heard: list[Any] = []
    broken = Broken(1)
    scene = Scene(heard.append, dedupe=broken, max_deliveries=1)
    with capturedLogs() as logged:
        scene.take(envelope())
    assert (scene.verdicts, heard) == ([LATER], [])
    assert [(event["log_failure"].value, event["id"]) for event in logged] == [(error, "id")]
    broken.broken = False
    scene.handling.take(envelope(), scene.verdicts.append, again=True)
    assert (scene.verdicts, heard) == ([LATER, DONE], [1])
    assert (scene.counts.received, scene.counts.handled, scene.counts.under_way) == (1, 1, 0)


def test_who_asks_a_deduplicator_can_be_cut_short() -> None:
    class Silent(RecentEvents):
        def seen(self, scope: str, event_id: str) -> Any:
            return Deferred()

    scene = Scene(print, dedupe=Silent(1))
    scene.take(envelope())
    scene.handling.cut_short()
    assert scene.verdicts == [GIVEN_BACK]


def test_a_dispatcher_that_does_not_run_takes_nothing() -> None:
    dispatcher = EventDispatcher(("n",))
    scene = Scene(dispatcher)
    scene.take(envelope())
    (verdict,) = scene.verdicts
    assert isinstance(verdict, Retry)
    assert "does not run; start it before the transport, and stop it after it" in verdict.reason
    _ = dispatcher.start()
    scene.take(envelope())
    assert scene.verdicts[1] is DONE


def test_who_exits_is_not_held_back() -> None:
    def leave(event: Any) -> None:
        raise SystemExit(3)

    scene = Scene(leave)
    with pytest.raises(SystemExit):
        scene.take(envelope())
    assert (scene.handling.under_way, scene.counts.under_way) == (0, 0)


def test_a_bound_method_is_a_target() -> None:
    heard: list[Any] = []
    check_target(heard.append)("event", envelope())
    assert heard == ["event"]


def test_a_repeat_waits_for_the_delivery_that_is_at_work() -> None:
    calls: list[Deferred[None]] = []

    def handle(event: Any) -> Deferred[None]:
        calls.append(Deferred())
        return calls[-1]

    scene = Scene(handle, dedupe=RecentEvents(10), retry_delays=(1,))
    for _ in range(3):
        scene.take(envelope())
    scene.take(envelope(event_id="another"))
    assert (len(calls), scene.verdicts) == (2, [])

    # The first one fails, so that the second one is handled; that is enough for the third one.
    calls[0].errback(ValueError("no"))
    assert (len(calls), scene.verdicts) == (3, [Retry(1, "ValueError: no")])
    calls[2].callback(None)
    assert scene.verdicts[1:] == [DONE, DONE]
    assert (scene.counts.handled, scene.counts.duplicates, scene.counts.under_way) == (1, 1, 1)
    calls[1].callback(None)


def test_a_repeat_that_waits_can_be_cut_short() -> None:
    scene = Scene(lambda event: Deferred(), dedupe=RecentEvents(10))
    for _ in range(3):
        scene.take(envelope())
    scene.handling.cut_short()
    assert scene.verdicts == [GIVEN_BACK] * 3
    assert scene.counts.under_way == 0


def test_a_repeat_waits_for_what_goes_on_though_it_was_cut_short() -> None:
    end: Deferred[None] = Deferred()
    calls: list[Any] = []

    async def stubborn(event: Any) -> None:
        calls.append(event)
        try:
            await Deferred()
        except CancelledError:
            await end

    scene = Scene(stubborn, dedupe=RecentEvents(10))
    scene.take(envelope())
    scene.handling.cut_short()
    scene.handling.begin()
    scene.take(envelope())
    assert (len(calls), scene.verdicts) == (1, [GIVEN_BACK])
    end.callback(None)
    assert (len(calls), scene.verdicts, scene.counts.duplicates) == (1, [GIVEN_BACK, DONE], 1)
