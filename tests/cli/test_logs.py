from __future__ import annotations

from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure

from twisted_evproc import EventDispatcher, Outcome
from twisted_evproc.cli._logs import MAX_HELD, CommandLog


class Heard:
    def __init__(self, least: LogLevel = LogLevel.warn) -> None:
        self.events: list[LogEvent] = []
        self.log = CommandLog(self.events.append, least)
        self.logger = Logger("twisted_evproc.dispatch", observer=LogPublisher(self.log))

    def fail(self) -> Failure:
        failure = Failure(ValueError("no"))
        self.logger.failure("handler failed", failure, handler_name="pack")
        return failure


def test_a_claimed_failure_is_not_logged() -> None:
    heard = Heard()
    heard.log.claim(heard.fail())
    heard.log.release()
    assert heard.events == []
    assert not heard.log.unclaimed


def test_a_failure_that_no_outcome_shows_is_logged_and_counted() -> None:
    heard = Heard()
    heard.fail()
    assert heard.events == []
    heard.log.release()
    heard.log.release()
    assert [event["log_format"] for event in heard.events] == ["handler failed"]
    assert heard.log.unclaimed == {("pack", "ValueError"): 1}


def test_holds_back_a_bounded_number() -> None:
    heard = Heard()
    kept = [heard.fail() for _ in range(MAX_HELD + 1)]
    assert len(heard.events) == len(kept)


def test_everything_else_comes_through_by_its_level() -> None:
    heard, verbose = Heard(), Heard(LogLevel.info)
    for each in (heard, verbose):
        each.logger.info("info")
        each.logger.warn("warning")
        each.logger.failure("not of a handler", Failure(ValueError("no")))
    assert [event["log_format"] for event in heard.events] == ["warning", "not of a handler"]
    assert len(verbose.events) == 3


def test_knows_what_a_dispatcher_logs() -> None:
    heard = Heard()
    dispatcher = EventDispatcher()
    dispatcher.start()

    @dispatcher.handler("during")
    def bad(event: object) -> None:
        raise ValueError("no")

    globalLogPublisher.addObserver(heard.log)
    try:
        outcomes: list[Outcome] = []
        for event in ("x", "y"):
            dispatcher.fire_event(event).addCallback(outcomes.append)
    finally:
        globalLogPublisher.removeObserver(heard.log)
    heard.log.claim(outcomes[0].failures[0])
    heard.log.release()
    assert [event["event"] for event in heard.events] == ["y"]
    assert heard.log.unclaimed == {("bad", "ValueError"): 1}
