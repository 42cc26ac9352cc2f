"""Processing by name, as its predecessor documents it, and without its defects."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from twisted_evproc import Event, Processor, StopProcessing, required_by, requires, want
from twisted_evproc.errors import (
    ChainTooLong,
    ConfigurationError,
    EventException,
    HandlerNotCallable,
    IncompatibleRequirementsException,
    ProcessorReregisterException,
)
from twisted_evproc.matching import Gt
from twisted_evproc.testing import result_now


class Named(Event):
    """An event with a name, and what else it is given."""

    def __init__(self, name: str, ctxt: Any = None, **more: Any) -> None:
        super().__init__(ctxt)
        self._name = name
        self.__dict__.update(more)

    @property
    def name(self) -> str:
        return self._name


class Log(list[str]):
    """Makes handlers that say when they were called."""

    def handler(self, name: str, returned: Any = None, *decorators: Callable[[Any], Any]) -> Callable[[Processor, Event], Any]:
        def call(processor: Processor, event: Event) -> Any:
            self.append(f"{name}:{event.name}")
            return returned

        call.__name__ = name
        for decorator in decorators:
            decorator(call)
        return call


@pytest.fixture
def processor() -> Processor:
    return Processor()


@pytest.fixture
def log() -> Log:
    return Log()


class TestWant:
    def test_without_it_a_handler_hears_every_event(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("all"))
        for name in ("ev1", "ev2"):
            assert result_now(processor.process(Named(name))) is None
        assert log == ["all:ev1", "all:ev2"]

    def test_names_are_alternatives_and_filters_add_to_them_and_decorators_are_alternatives(
        self, processor: Processor, log: Log
    ) -> None:
        @want("ev1", "ev2")
        @want("ev3", lambda event: event.resource == "resource")
        def handler(processor: Processor, event: Event) -> None:
            log.append(event.name)

        processor.register(handler)
        for event in (
            Named("ev1"),
            Named("ev2"),
            Named("ev3", resource="resource"),
            Named("ev3", resource="other"),
            Named("ev4"),
        ):
            result_now(processor.process(event))
        assert log == ["ev1", "ev2", "ev3"]

    def test_it_takes_filters_and_mappings_over_the_event(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("big", None, want(Gt("size", 10))))
        processor.register(log.handler("red", None, want({"colour": "red", "owner.name": "ada"})))
        owner = Named("owner")
        result_now(processor.process(Named("box", size=11, colour="blue")))
        result_now(processor.process(Named("box", size=1, colour="red", owner={"name": "ada"})))
        result_now(processor.process(Named("box", size=1, colour="red", owner=owner)))
        assert log == ["big:box", "red:box"]

    @pytest.mark.parametrize("wrong", [(), (5,), ("ev", None)])
    def test_what_it_does_not_take_is_refused_at_once(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError):
            want(*wrong)

    def test_a_method_is_decorated_in_its_class(self, processor: Processor, log: Log) -> None:
        class Handlers:
            @want("ev")
            def marked(self, processor: Processor, event: Event) -> None:
                log.append(event.name)

            def plain(self, processor: Processor, event: Event) -> None: ...

        handlers = Handlers()
        for unmarkable in (handlers.plain, len):
            with pytest.raises(ConfigurationError, match=r"@want\(\.\.\.\) cannot mark .*: decorate a method in its class"):
                want("ev")(unmarkable)
        processor.register(handlers.marked)
        for name in ("ev", "other"):
            result_now(processor.process(Named(name)))
        assert log == ["ev"]

    def test_a_decorator_without_its_arguments_is_noticed(self, processor: Processor) -> None:
        @want  # type: ignore[arg-type]  # the mistake
        def handler(processor: Processor, event: Event) -> None:
            pass

        with pytest.raises(HandlerNotCallable, match=r"@want\(\.\.\.\)"):
            processor.register(handler)

    def test_a_failing_filter_fails_the_processing(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("h", None, want("ev", lambda event: event.nothing)))
        with pytest.raises(AttributeError):
            result_now(processor.process(Named("ev")))

    def test_the_function_comes_back_unchanged(self, log: Log) -> None:
        function = log.handler("h")
        assert want("a")(requires("b")(required_by("c")(function))) is function


class TestOrder:
    def test_requirements_come_first_otherwise_in_order_of_registration(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run", None, requires("prepare")))
        processor.register(log.handler("other"))
        processor.register(log.handler("prepare"))
        processor.register(log.handler("auxiliary", None, requires("prepare"), required_by("run")))
        result_now(processor.process(Named("ev")))
        assert log == ["other:ev", "prepare:ev", "auxiliary:ev", "run:ev"]

    def test_a_missing_one_is_named_with_the_chain_that_leads_to_it(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run", None, requires("prepare")))
        processor.register(log.handler("prepare", None, requires("connect")))
        with pytest.raises(IncompatibleRequirementsException) as caught:
            result_now(processor.process(Named("ev")))
        assert caught.value.chain == ("run", "prepare", "connect")
        assert str(caught.value) == "event 'ev': 'run' requires 'prepare' requires 'connect', which is not registered"
        assert log == []

    def test_one_that_does_not_want_the_event_is_named(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run", None, requires("prepare")))
        processor.register(log.handler("prepare", None, want("other")))
        with pytest.raises(IncompatibleRequirementsException, match="'run' requires 'prepare', which does not want it"):
            result_now(processor.process(Named("ev")))
        result_now(processor.process(Named("other")))
        assert log == ["prepare:other", "run:other"]

    def test_one_required_by_another_has_to_want_what_that_wants(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run"))
        processor.register(log.handler("prepare", None, want("other"), required_by("run", "unknown")))
        with pytest.raises(IncompatibleRequirementsException, match="'run' requires 'prepare', which does not want it"):
            result_now(processor.process(Named("ev")))
        result_now(processor.process(Named("other")))
        assert log == ["prepare:other", "run:other"]

    def test_a_cycle_is_spelt_out(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("a", None, requires("b")))
        processor.register(log.handler("b", None, requires("a")))
        with pytest.raises(IncompatibleRequirementsException) as caught:
            result_now(processor.process(Named("ev")))
        assert caught.value.chain == ("a", "b", "a")


@pytest.mark.parametrize("options", [{"max_chained_events": -1}, {"max_chained_events": True}, {"clock": 5}])
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Processor(**options)


class TestRegister:
    def test_a_name_is_taken_once(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("h"))
        processor.register(log.handler("h"), name="another")
        with pytest.raises(ProcessorReregisterException, match="'h'"):
            processor.register(log.handler("h"))
        result_now(processor.process(Named("ev")))
        assert log == ["h:ev", "h:ev"]

    def test_it_takes_functions_only(self, processor: Processor) -> None:
        with pytest.raises(HandlerNotCallable):
            processor.register("handler")  # type: ignore[type-var]  # the mistake

    @pytest.mark.parametrize("decorator", [want("y"), requires("y"), required_by("y")], ids=repr)
    def test_a_decorator_above_it_comes_too_late(self, processor: Processor, log: Log, decorator: Any) -> None:
        handler = processor.register(log.handler("h"))
        with pytest.raises(ConfigurationError, match=r"comes too late for 'h', which is registered.*below @register"):
            decorator(handler)

    def test_another_function_around_a_registered_one_can_be_decorated(self, processor: Processor, log: Log) -> None:
        inner = processor.register(log.handler("h"))

        @wraps(inner)
        def around(*given: Any) -> Any:
            return inner(*given)

        processor.register(want("y")(around), name="around")
        for name in "xy":
            result_now(processor.process(Named(name)))
        assert log == ["h:x", "h:y", "h:y"]

    def test_handlers_are_called_with_the_processor_and_the_event(self, processor: Processor) -> None:
        seen: list[Any] = []
        processor.register(lambda *arguments: seen.extend(arguments), name="h")
        event = Named("ev", ctxt="context")
        result_now(processor.process(event))
        assert seen == [processor, event]
        assert event.ctxt == "context"

    def test_a_handler_registered_later_is_heard_of(self, processor: Processor, log: Log) -> None:
        for name in ("first", "second"):
            processor.register(log.handler(name))
            result_now(processor.process(Named("ev")))
        assert log == ["first:ev", "first:ev", "second:ev"]


class TestEntryPoints:
    @pytest.fixture
    def install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
        """Puts a distribution on the path, as an installer would, with a module and entry points of the group app.handlers."""
        monkeypatch.syspath_prepend(tmp_path)

        def install(name: str, source: str, points: str) -> None:
            (tmp_path / f"{name}.py").write_text(source)
            metadata = tmp_path / f"{name}-1.0.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (metadata / "entry_points.txt").write_text(f"[app.handlers]\n{points}\n")
            importlib.invalidate_caches()

        return install

    def test_handlers_of_several_distributions_are_registered_under_the_names_of_their_entry_points(
        self, processor: Processor, install: Any
    ) -> None:
        install(
            "application_of_a_test",
            "from twisted_evproc import requires\n"
            "def prepare(processor, event): event.proc.tests.args = [1]\n"
            "@requires('test_prepare')\n"
            "def run(processor, event): event.proc.tests.result = event.proc.tests.args\n",
            "test_run = application_of_a_test:run\ntest_prepare = application_of_a_test:prepare",
        )
        install(
            "plugin_of_a_test",
            "from twisted_evproc import requires, required_by\n"
            "@requires('test_prepare')\n"
            "@required_by('test_run')\n"
            "def auxiliary(processor, event): event.proc.tests.args.append(2)\n",
            "test_auxiliary = plugin_of_a_test:auxiliary",
        )
        processor.load_from("app.handlers")
        event = Named("ev")
        result_now(processor.process(event))
        assert event.proc.tests.result == [1, 2]

    def test_one_that_cannot_be_loaded_is_named_and_none_is_registered(self, processor: Processor, install: Any) -> None:
        install(
            "broken_application_of_a_test",
            "def fine(processor, event): pass\n",
            "a = broken_application_of_a_test:fine\nb = broken_application_of_a_test:missing",
        )
        with pytest.raises(EventException, match="entry point 'b' of group 'app.handlers'") as caught:
            processor.load_from("app.handlers")
        assert isinstance(caught.value.__cause__, AttributeError)
        assert processor.handlers() == ()

    def test_a_group_that_nobody_fills_gives_no_handlers(self, processor: Processor) -> None:
        processor.load_from("nobody.fills.this")
        assert processor.handlers() == ()


class TestAsynchronous:
    def test_each_handler_is_waited_for_before_the_next(self, processor: Processor, log: Log) -> None:
        waiting: Deferred[None] = Deferred()

        async def first(processor: Processor, event: Event) -> list[Event]:
            await waiting
            log.append("first")
            return [Named("chained")] if event.name == "ev" else []

        processor.register(first)
        processor.register(log.handler("second", succeed(None)))
        processing = processor.process(Named("ev"))
        assert log == []
        waiting.callback(None)
        assert result_now(processing) is None
        assert log == ["first", "second:ev", "first", "second:chained"]

    def test_a_handlers_exception_fails_the_processing_and_nothing_runs_behind_it(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("first", [Named("chained")]))
        processor.register(lambda processor, event: fail(OSError("disk")), name="failing")
        processor.register(log.handler("last"))
        with pytest.raises(OSError, match="disk"):
            result_now(processor.process(Named("ev")))
        assert log == ["first:ev"]

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_failure_that_is_returned_fails_the_processing_too(self, processor: Processor, asynchronous: bool) -> None:
        def failing(processor: Processor, event: Event) -> Failure:
            return Failure(OSError("disk"))

        async def failing_later(processor: Processor, event: Event) -> Failure:
            await succeed(None)
            return failing(processor, event)

        processor.register(failing_later if asynchronous else failing)
        with pytest.raises(OSError, match="disk"):
            result_now(processor.process(Named("ev")))

    def test_cancelling_reaches_the_handler_that_runs(self, processor: Processor, log: Log) -> None:
        processor.register(lambda processor, event: Deferred(lambda _: log.append("cancelled")), name="waits")
        processor.register(log.handler("next"))
        processing = processor.process(Named("ev"))
        processing.cancel()
        with pytest.raises(CancelledError):
            result_now(processing)
        assert log == ["cancelled"]

    def test_system_exit_passes(self, processor: Processor) -> None:
        def leave(processor: Processor, event: Event) -> None:
            raise SystemExit(3)

        processor.register(leave)
        with pytest.raises(SystemExit):
            processor.process(Named("ev"))


class TestChains:
    def test_returned_events_are_processed_first_in_first_out(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("a", [Named("b1"), Named("b2")], want("a")))
        processor.register(log.handler("more", (Named("a3") for _ in range(1)), want("a")))
        processor.register(log.handler("b1", [Named("c")], want("b1")))
        processor.register(log.handler("rest", None, want("b2", "c", "a3")))
        result_now(processor.process(Named("a")))
        assert log == ["a:a", "more:a", "b1:b1", "rest:b2", "rest:a3", "rest:c"]

    def test_a_generator_is_a_handler_in_its_turn(self, processor: Processor, log: Log) -> None:
        @want("ev")
        def first(processor: Processor, event: Event) -> Iterator[Event]:
            log.append("first")
            yield Named("chained")
            log.append("first is over")

        processor.register(log.handler("second", None, requires("first"), want("ev")))
        processor.register(first)
        processor.register(log.handler("rest", None, want("chained")))
        result_now(processor.process(Named("ev")))
        assert log == ["first", "first is over", "second:ev", "rest:chained"]

    @pytest.mark.parametrize("eventual", [lambda events: events, succeed], ids=["at once", "later"])
    def test_what_a_generator_raises_is_what_processing_fails_with(
        self, processor: Processor, log: Log, eventual: Callable[[Any], Any]
    ) -> None:
        def broken() -> Iterator[Event]:
            yield Named("chained")
            raise TypeError("no such thing")

        processor.register(lambda processor, event: eventual(broken()), name="broken")
        processor.register(log.handler("last"))
        with pytest.raises(TypeError, match="no such thing"):
            result_now(processor.process(Named("ev")))
        assert log == []

    def test_they_are_bounded(self, log: Log) -> None:
        processor = Processor(max_chained_events=3)

        def endless(processor: Processor, event: Event) -> list[Event]:
            log.append(event.name)
            return [Named("ev")]

        processor.register(endless)
        with pytest.raises(ChainTooLong, match="more than 3 events") as caught:
            result_now(processor.process(Named("ev")))
        assert caught.value.limit == 3
        assert len(log) == 4

    def test_long_ones_do_not_nest(self) -> None:
        processor = Processor()

        def count_down(processor: Processor, event: Any) -> Iterator[Event]:
            if event.left:
                yield Named("ev", left=event.left - 1)

        processor.register(count_down)
        assert result_now(processor.process(Named("ev", left=5_000))) is None

    @pytest.mark.parametrize("wrong", [5, ["not an event"], "text", Named("alone")])
    def test_what_is_no_iterable_of_events_is_named_with_its_handler(self, processor: Processor, wrong: Any) -> None:
        processor.register(lambda processor, event: wrong, name="confused")
        with pytest.raises(EventException, match="handler 'confused' returned"):
            result_now(processor.process(Named("ev")))

    @pytest.mark.parametrize("name", [None, 5, ["ev"]])
    def test_a_name_that_is_no_string_is_refused(self, processor: Processor, name: Any) -> None:
        with pytest.raises(EventException, match="has to be a string"):
            result_now(processor.process(Named(name)))

    def test_only_events_are_processed(self, processor: Processor) -> None:
        with pytest.raises(EventException, match="derive its class"):
            processor.process("ev")  # type: ignore[arg-type]  # the mistake


class TestStopProcessing:
    @pytest.fixture
    def stopping(self, processor: Processor, log: Log) -> Callable[..., Processor]:
        def make(*value: Any) -> Processor:
            def stop(processor: Processor, event: Event) -> None:
                raise StopProcessing(*value)

            processor.register(log.handler("first", [Named("chained")], want("ev")))
            processor.register(want("ev")(stop), name="stop")
            processor.register(log.handler("last"))
            return processor

        return make

    def test_without_a_value_what_was_returned_before_is_still_processed(self, stopping: Any, log: Log) -> None:
        assert result_now(stopping().process(Named("ev"))) is None
        assert log == ["first:ev", "last:chained"]

    @pytest.mark.parametrize("value", [None, 0, "value", [1]])
    def test_with_a_value_it_is_given_at_once_and_the_rest_is_dropped(self, stopping: Any, log: Log, value: Any) -> None:
        assert result_now(stopping(value).process(Named("ev"))) == value
        assert log == ["first:ev"]

    @pytest.mark.parametrize("value", [(), (7,)])
    def test_a_generator_may_stop_it_too_and_has_returned_nothing_then(
        self, processor: Processor, log: Log, value: tuple[Any, ...]
    ) -> None:
        @want("ev")
        def stop(processor: Processor, event: Event) -> Iterator[Event]:
            yield Named("yielded")
            raise StopProcessing(*value)

        processor.register(log.handler("first", [Named("chained")], want("ev")))
        processor.register(stop)
        processor.register(log.handler("last"))
        assert result_now(processor.process(Named("ev"))) == (7 if value else None)
        assert log == (["first:ev"] if value else ["first:ev", "last:chained"])


class TestEvent:
    def test_it_is_abstract(self) -> None:
        with pytest.raises(TypeError):
            Event()  # type: ignore[abstract]  # that it cannot be made is the test

    def test_namespaces_are_made_when_first_used_and_kept(self) -> None:
        event = Named("ev")
        event.proc.tests.args = (1, 2)
        assert event.proc.tests.args == (1, 2)
        assert getattr(event.proc.tests, "auxiliary", []) == []
        assert vars(event.proc.others) == {}
        del event.proc.tests.args
        assert not hasattr(event.proc.tests, "args")
        assert repr(event.proc) == "<proc: tests, others>"

    def test_what_is_missing_is_named_with_what_is_there(self) -> None:
        event = Named("ev")
        event.proc.tests.args = ()
        with pytest.raises(AttributeError, match=r"no handler has set proc\.tests\.kwargs; there is: args"):
            _ = event.proc.tests.kwargs

    def test_namespaces_cannot_be_assigned_nor_deleted(self) -> None:
        event = Named("ev")
        with pytest.raises(AttributeError, match="cannot be assigned"):
            event.proc.tests = 5
        with pytest.raises(AttributeError, match="cannot be deleted"):
            del event.proc.tests

    def test_names_with_a_leading_underscore_are_refused(self) -> None:
        event = Named("ev")
        with pytest.raises(AttributeError, match="underscore"):
            _ = event.proc._tests
        with pytest.raises(AttributeError, match="underscore"):
            event.proc.tests._args = ()

    def test_two_events_share_nothing_and_a_subclass_need_not_call_us(self) -> None:
        class Careless(Event):
            name = "careless"

            def __init__(self) -> None:
                pass

        first, second = Careless(), Careless()
        first.proc.tests.args = 1
        assert not hasattr(second.proc.tests, "args")
        assert first.ctxt is None


class TestExplain:
    def test_it_tells_the_order_and_what_rules_out(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run", None, requires("prepare"), want("ev")))
        processor.register(log.handler("prepare"))
        processor.register(log.handler("other", None, want("x", "y")))
        verdicts = processor.explain(Named("ev")).verdicts
        assert [(verdict.name, verdict.position, verdict.reason) for verdict in verdicts] == [
            ("prepare", 1, ""),
            ("run", 2, "after prepare"),
            ("other", None, "wants 'x', 'y'"),
        ]
        assert log == []

    def test_handlers_are_listed(self, processor: Processor, log: Log) -> None:
        processor.register(log.handler("run", None, requires("prepare"), want("ev")))
        (view,) = processor.handlers()
        assert (view.name, dict(view.match_spec), view.requires) == ("run", {"wants": "'ev'"}, ("prepare",))
