"""Handler objects."""

from __future__ import annotations

import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from twisted_evproc import COLLECT, RAISE, Event, EventDispatcher, EventProcessor, Processor, want
from twisted_evproc.errors import ConfigurationError, ExecSourceError, HandlersFailed, InvocationError, SourceError
from twisted_evproc.interfaces import IEventHandler
from twisted_evproc.sources import (
    ChainEventHandler,
    DispatchEventHandler,
    EventHandler,
    EventPump,
    ExecEventHandler,
    PrintEventHandler,
    QueuedEvent,
    RaiseEventHandler,
)
from twisted_evproc.testing import assert_pending, failure_now, result_now

EVENT = QueuedEvent("test", None, {"kind": "order"}, timestamp=0)


class Returning(EventHandler):
    """Gives what it was told to, and keeps what it was called with."""

    def __init__(self, returned: Any) -> None:
        self.returned = returned
        self.heard: list[QueuedEvent] = []

    def process_event(self, event: QueuedEvent) -> Any:
        self.heard.append(event)
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned() if callable(self.returned) else self.returned


def test_every_handler_keeps_the_contract_and_has_a_readable_name() -> None:
    named = {
        str(handler): verifyObject(IEventHandler, handler)
        for handler in (
            EventHandler(),
            PrintEventHandler(),
            ExecEventHandler("\na = 1\nb = 2"),
            ExecEventHandler("stop()"),
            ExecEventHandler(""),
            ChainEventHandler(EventHandler(), PrintEventHandler()),
            ChainEventHandler(),
            RaiseEventHandler(ValueError("planned")),
            DispatchEventHandler(EventDispatcher(name="shop")),
        )
    }

    assert all(named.values())
    assert list(named)[:-1] == [
        "EventHandler",
        "print to standard output",
        "exec 'a = 1' ...",
        "exec 'stop()'",
        "exec ''",
        "chain of EventHandler, then print to standard output",
        "chain of nothing",
        "raise ValueError",
    ]
    assert list(named)[-1].startswith("dispatch to ") and "shop" in list(named)[-1]


def test_a_handler_without_process_event_names_itself() -> None:
    class Forgetful(EventHandler):
        pass

    with pytest.raises(NotImplementedError, match=r"Forgetful has to define process_event\(event\)"):
        Forgetful().process_event(EVENT)


class TestPrint:
    def test_it_prints_the_event_in_a_line(self) -> None:
        file = io.StringIO()

        assert PrintEventHandler(file).process_event(EVENT) is True
        assert file.getvalue() == f"{EVENT}\n"

    def test_without_a_file_it_prints_to_standard_output_as_it_is_then(self, capsys: pytest.CaptureFixture[str]) -> None:
        PrintEventHandler().process_event(EVENT)

        assert capsys.readouterr().out == f"{EVENT}\n"

    def test_it_is_called_by_its_file(self, tmp_path: Path) -> None:
        with (tmp_path / "out.txt").open("w") as file:
            assert str(PrintEventHandler(file)) == f"print to {tmp_path}/out.txt"
        assert str(PrintEventHandler(io.StringIO())) == "print to a StringIO"
        assert str(PrintEventHandler()) == "print to standard output"

    def test_a_file_that_is_false_is_printed_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Lines(list[str]):
            def write(self, text: str) -> int:
                self.append(text)
                return len(text)

            def flush(self) -> None:
                """Nothing is held back."""

        file: Any = Lines()
        PrintEventHandler(file).process_event(EVENT)

        assert "".join(file) == f"{EVENT}\n"
        assert capsys.readouterr().out == ""

    def test_what_is_no_file_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"file='out.txt' cannot be written to"):
            PrintEventHandler("out.txt")  # type: ignore[arg-type]  # that it is refused is the point

    def test_a_closed_file_is_a_failure_that_the_error_handler_hears_of(self) -> None:
        pump, told = EventPump(), Returning(True)
        file = io.StringIO()
        file.close()
        event = QueuedEvent("test", PrintEventHandler(file), 1)
        pump.error_handler(told)
        result_now(pump.start())

        assert result_now(pump.put(event)) is True
        error, original = told.heard[0].data
        assert isinstance(error, ValueError) and original is event
        result_now(pump.stop())


class TestExec:
    def test_it_executes_its_source_each_time_in_the_same_namespace(self) -> None:
        namespace: dict[str, Any] = {"count": 0}
        handler = ExecEventHandler("count += 1", namespace=namespace)

        assert [handler.process_event(EVENT), handler.process_event(EVENT)] == [True, True]
        assert namespace["count"] == 2

    def test_an_empty_namespace_given_is_the_one_that_is_used(self) -> None:
        namespace: dict[str, Any] = {}
        ExecEventHandler("found = 1", namespace=namespace).process_event(EVENT)

        assert namespace["found"] == 1

    def test_neither_the_event_nor_its_data_is_seen_by_the_source_or_executed(self) -> None:
        namespace: dict[str, Any] = {}
        handler = ExecEventHandler("seen = sorted(name for name in globals() if name[0] != '_')", namespace=namespace)
        handler.process_event(QueuedEvent("test", None, "raise AssertionError('executed')"))

        assert namespace["seen"] == []

    @pytest.mark.parametrize("source", ["a = ", "a\0b", "\ud800", "(" * 1000, None, 5, b"a = 1"])
    def test_what_does_not_compile_is_refused_when_it_is_made(self, source: Any) -> None:
        with pytest.raises(ExecSourceError, match="source of an ExecEventHandler") as refused:
            ExecEventHandler(source)

        assert isinstance(refused.value, SyntaxError | SourceError | ConfigurationError)

    def test_the_reason_is_the_cause(self) -> None:
        with pytest.raises(ExecSourceError) as refused:
            ExecEventHandler("a = ")

        assert isinstance(refused.value.__cause__, SyntaxError)

    def test_a_namespace_that_exec_cannot_work_in_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"namespace=\[\] has to be a dict"):
            ExecEventHandler("pass", namespace=[])  # type: ignore[arg-type]  # that it is refused is the point

    def test_the_source_is_compiled_without_our_future_statements(self) -> None:
        namespace: dict[str, Any] = {}
        ExecEventHandler("def f(a: 1 + 1): ...", namespace=namespace).process_event(EVENT)

        assert namespace["f"].__annotations__ == {"a": 2}

    def test_what_it_raises_is_its_failure(self) -> None:
        with pytest.raises(ZeroDivisionError):
            ExecEventHandler("1 / 0").process_event(EVENT)


async def coroutine_of(value: Any) -> Any:
    return value


class TestChain:
    def test_each_hears_the_event_in_order(self) -> None:
        first, second = Returning(1), Returning("yes")

        assert ChainEventHandler(first, second).process_event(EVENT) == "yes"
        assert first.heard == second.heard == [EVENT]

    def test_an_empty_chain_succeeds(self) -> None:
        assert ChainEventHandler().process_event(EVENT) is True

    @pytest.mark.parametrize("way", [lambda value: value, succeed, coroutine_of], ids=["plain", "Deferred", "coroutine"])
    @pytest.mark.parametrize("false", [False, None, 0, ""])
    def test_the_first_false_result_ends_it(self, way: Callable[[Any], Any], false: Any) -> None:
        before, last = Returning(lambda: way(True)), Returning(True)

        assert result_now(ChainEventHandler(before, Returning(lambda: way(false)), last).process_event(EVENT)) == false
        assert len(before.heard) == 1 and last.heard == []

    @pytest.mark.parametrize("failing", [ValueError("planned"), lambda: fail(ValueError("planned"))], ids=["raised", "Deferred"])
    def test_a_failure_ends_it(self, failing: Any) -> None:
        last = Returning(True)

        async def process() -> Any:
            return await coroutine_of(ChainEventHandler(Returning(True), Returning(failing), last).process_event(EVENT))

        found: list[Any] = []
        try:
            found.append(failure_now(result_now(process())))
        except ValueError as error:
            found.append(error)
        assert str(found[0]) == "planned"
        assert last.heard == []

    @pytest.mark.parametrize("position", [0, 1])
    def test_each_is_waited_for(self, position: int) -> None:
        waiting: Deferred[bool] = Deferred()
        handlers = [Returning(True) for _ in range(3)]
        handlers[position].returned = waiting
        deferred = Deferred.fromCoroutine(ChainEventHandler(*handlers).process_event(EVENT))

        assert [len(handler.heard) for handler in handlers] == [1] * (position + 1) + [0] * (2 - position)
        waiting.callback(True)
        assert result_now(deferred) is True
        assert len(handlers[2].heard) == 1

    @pytest.mark.parametrize("position", [0, 1])
    def test_a_handlers_own_deferred_keeps_its_result_for_others(self, position: int) -> None:
        own: Deferred[str] = Deferred()
        handlers = [Returning(True), Returning(True)]
        handlers[position].returned = own
        deferred = Deferred.fromCoroutine(ChainEventHandler(*handlers, Returning(True)).process_event(EVENT))
        own.callback("mine")

        assert result_now(deferred) is True
        assert result_now(own) == "mine"

    def test_what_is_no_handler_is_refused_with_its_number(self) -> None:
        with pytest.raises(ConfigurationError, match=r"handler 2 is <class .*PrintEventHandler'>"):
            ChainEventHandler(PrintEventHandler(), PrintEventHandler)


def test_the_raising_handler_fails_with_its_error() -> None:
    error = ValueError("planned")
    with pytest.raises(ValueError, match="planned") as raised:
        RaiseEventHandler(error).process_event(EVENT)

    assert raised.value is error


class TestDispatch:
    def test_the_data_is_fired_without_details(self) -> None:
        dispatcher, heard = EventDispatcher(), list[Any]()
        result_now(dispatcher.start())
        _ = dispatcher.add_event_handler(heard.append, "during")

        assert result_now(DispatchEventHandler(dispatcher).process_event(EVENT)) is True
        assert heard == [EVENT.data]

    @pytest.mark.parametrize("details", [{"kind": "order"}, lambda event: event.data], ids=["mapping", "function"])
    def test_details_are_a_mapping_or_made_from_the_event(self, details: Any) -> None:
        dispatcher, heard = EventDispatcher(["kind"]), list[Any]()
        result_now(dispatcher.start())
        _ = dispatcher.add_event_handler(heard.append, "during", kind="order")
        _ = dispatcher.add_event_handler(lambda event: pytest.fail("not for it"), "during", kind="refund")

        assert result_now(DispatchEventHandler(dispatcher, details).process_event(EVENT)) is True
        assert heard == [EVENT.data]

    def test_details_that_are_neither_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="details='kind' has to be a mapping, or a function"):
            DispatchEventHandler(EventDispatcher(), "kind")  # type: ignore[arg-type]  # that it is refused is the point

    def test_details_with_keys_that_are_no_keywords_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="has to have keywords for keys"):
            DispatchEventHandler(EventDispatcher(), {1: 1})  # type: ignore[dict-item]  # that it is refused is the point

    def test_a_function_that_gives_none_is_a_failure(self) -> None:
        nonsense: Any = lambda event: "kind"  # noqa: E731  # its type is the point
        with pytest.raises(ConfigurationError, match="the function for them gave 'kind'"):
            DispatchEventHandler(EventDispatcher(), nonsense).process_event(EVENT)

    @pytest.mark.parametrize("policy", [COLLECT, RAISE, "default"])
    @pytest.mark.parametrize("eventual", [False, True])
    def test_one_failure_is_the_failure(self, policy: Any, eventual: bool) -> None:
        dispatcher = EventDispatcher(**({} if policy == "default" else {"on_failure": policy}))
        result_now(dispatcher.start())
        waiting: Deferred[None] = Deferred()

        async def handler(event: Any) -> None:
            if eventual:
                await waiting
            raise ValueError("planned")

        _ = dispatcher.add_event_handler(handler, "during")
        _ = dispatcher.add_event_handler(lambda event: 1, "during")
        deferred = Deferred.fromCoroutine(await_it(DispatchEventHandler(dispatcher), EVENT))
        if eventual:
            assert_pending(deferred)
            waiting.callback(None)

        assert str(failure_now(deferred, ValueError)) == "planned"

    @pytest.mark.parametrize("policy", [COLLECT, RAISE])
    def test_several_failures_are_a_group(self, policy: Any) -> None:
        dispatcher = EventDispatcher(on_failure=policy)
        result_now(dispatcher.start())
        for error in (ValueError("first"), KeyError("second")):
            _ = dispatcher.add_event_handler(RaiseEventHandler(error).process_event, "during")

        group = failure_now(Deferred.fromCoroutine(await_it(DispatchEventHandler(dispatcher), EVENT)), HandlersFailed)
        assert isinstance(group, HandlersFailed)
        assert [type(error) for error in group.exceptions] == [ValueError, KeyError]

    def test_a_firing_is_waited_for(self) -> None:
        dispatcher = EventDispatcher()
        result_now(dispatcher.start())
        waiting: Deferred[int] = Deferred()
        _ = dispatcher.add_event_handler(lambda event: waiting, "during")
        deferred = Deferred.fromCoroutine(await_it(DispatchEventHandler(dispatcher), EVENT))

        assert_pending(deferred)
        waiting.callback(1)
        assert result_now(deferred) is True

    def test_a_processor_processes_the_data(self) -> None:
        class Order(Event):
            name = "order"

        processor, heard = Processor(), list[Any]()

        @processor.register
        @want("order")
        def check(processor: Any, event: Any) -> None:
            heard.append(event)

        order = Order()
        assert result_now(DispatchEventHandler(processor).process_event(QueuedEvent("test", None, order))) is True
        assert heard == [order]

    def test_an_event_processor_invokes_for_the_data_and_a_false_result_is_its_own_affair(self) -> None:
        processor, heard = EventProcessor(), list[Any]()

        @processor.processor({"kind": "order"})
        def process(event: Any) -> bool:
            heard.append(event)
            return False

        assert result_now(DispatchEventHandler(processor).process_event(EVENT)) is True
        assert heard == [EVENT.data]

    def test_an_event_processor_without_a_match_fails(self) -> None:
        handler = DispatchEventHandler(EventProcessor())

        failure_now(Deferred.fromCoroutine(await_it(handler, EVENT)), InvocationError)

    def test_a_dispatcher_of_another_make_keeps_the_result_of_its_deferred(self) -> None:
        class Own:
            fired: Deferred[str] = Deferred()

            def fire_event(self, event: Any) -> Deferred[str]:
                return self.fired

        own = Own()
        found = DispatchEventHandler(own).process_event(EVENT)
        own.fired.callback("mine")

        assert result_now(found) is True
        assert result_now(own.fired) == "mine"

    def test_what_takes_no_events_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="takes no events"):
            DispatchEventHandler(object())

    @pytest.mark.parametrize("made", [EventDispatcher, Processor, EventProcessor])
    def test_a_class_is_refused(self, made: type) -> None:
        with pytest.raises(ConfigurationError, match=rf"is a class: give an instance of it, {made.__name__}\(...\)"):
            DispatchEventHandler(made)

    def test_processors_take_no_details(self) -> None:
        with pytest.raises(ConfigurationError, match="takes no details; leave them out"):
            DispatchEventHandler(Processor(), {"kind": 1})


def await_it(handler: EventHandler, event: QueuedEvent) -> Coroutine[Any, Any, Any]:
    """What becomes of a handler's result, whether it is raised, failed with, or awaited."""

    async def process() -> Any:
        returned = handler.process_event(event)
        from twisted_evproc.sources._call import eventually

        return await eventually(returned)

    return process()
