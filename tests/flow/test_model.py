"""What is declared wrongly gets an error at once that names it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flow.harness import OwnExecutor, World
from twisted_evproc.errors import ConfigurationError, FlowDefinitionError
from twisted_evproc.flow import Eventor, ResourcePool, RunMode, StepReplay, StepStatus, or_
from twisted_evproc.flow.executors import EXECUTORS


@pytest.fixture
def ev() -> Eventor:
    return World().eventor()


def function() -> None: ...


async def coroutine() -> None: ...


GPU = ResourcePool("gpu", limit=2)


class TestEventor:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"run_mode": "recover"}, "run_mode='recover' has to be one of RunMode.restart, RunMode.recover, RunMode.continue_"),
            ({"recovery_run": -1}, "recovery_run=-1"),
            ({"recovery_run": "x"}, "recovery_run='x'"),
            ({"logging_level": "INFO"}, "logging_level='INFO' has to be a number"),
            ({"config": {"max_concurent": 2}}, "there is no configuration 'max_concurent'; there is max_concurrent, "),
            ({"config": {"max_concurrent": "2"}}, "max_concurrent='2' has to be a whole number"),
            ({"config": {"max_concurrent": True}}, "max_concurrent=True has to be a whole number"),
            ({"config": 3}, "config has to be a mapping, not 3"),
            ({"run_id": ""}, "run_id='' has to be the ID of a run, as text"),
            ({"run_id": 5}, "run_id=5 has to be the ID of a run, as text"),
            ({"store": 3}, "store=3 has to be ':memory:', a path, a URL, or an IFlowStore"),
            ({"store": "mysql://x"}, "there is no store for mysql://; use ':memory:', the path of a file, sqlite:///path or "),
            ({"name": 5}, "Eventor: name=5 has to be text"),
            ({"clock": 5}, "Eventor: clock=5 keeps no time"),
            ({"executor": ""}, "there is no executor ''; there is "),
            ({"executor": 0}, "executor=0 has to be a name"),
            ({"config": {"executor": ""}}, "there is no executor ''; there is "),
            ({"executor": "threads"}, "there is no executor 'threads'; there is "),
            ({"executor": object()}, "has to be a name"),
            ({"config": {"task_construct": "fork"}}, "task_construct"),
        ],
    )
    def test_says_what_is_wrong(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
            Eventor(**{"store": ":memory:"} | options)

    def test_accepts_what_the_predecessor_has(self) -> None:
        config = {"sleep_between_loops": 0.1, "workdir": "/x", "logdir": "/y", "task_construct": "Thread"}
        assert Eventor(store=":memory:", config=config).config["workdir"] == "/x"


class TestEvents:
    @pytest.mark.parametrize("name", ["", None, 3])
    def test_need_a_name(self, ev: Eventor, name: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="a flow event needs a name, not "):
            ev.add_event(name)

    @pytest.mark.parametrize(("text", "fault"), [("a\0b", "a NUL character"), ("a\udcff", "a lone surrogate")])
    def test_sequences_and_runs_have_names_that_every_store_takes(self, ev: Eventor, text: str, fault: str) -> None:
        a = ev.add_event("a")
        for use in (
            lambda: ev.add_event(text),
            lambda: ev.add_step(text, function),
            lambda: ev.trigger_event(a, text),
            lambda: ResourcePool(text, 1),
            lambda: Eventor(text, ":memory:"),
            lambda: Eventor(store=":memory:", run_id=text),
        ):
            with pytest.raises(FlowDefinitionError, match=f"has {fault} in it"):
                use()

    def test_are_the_same_when_defined_twice_in_the_same_way(self, ev: Eventor) -> None:
        a, b = ev.add_event("a"), ev.add_event("b")
        assert ev.add_event("a") is a
        assert ev.add_event("c", (a, b)) is ev.add_event("c", [a, b])

    def test_are_not_to_be_defined_twice_differently(self, ev: Eventor) -> None:
        a, b = ev.add_event("a"), ev.add_event("b")
        ev.add_event("c", (a, b))
        for other in (None, a, or_(a, b)):
            with pytest.raises(FlowDefinitionError, match="flow event 'c' is defined twice"):
                ev.add_event("c", other)
        with pytest.raises(FlowDefinitionError, match="flow event 'a' is defined twice"):
            ev.add_event("a", b)

    def test_of_another_flow_are_refused_everywhere(self, ev: Eventor) -> None:
        foreign = World().eventor().add_event("far")
        mine, step = ev.add_event("mine"), ev.add_step("s", function)
        for use in (
            lambda: ev.add_event("x", foreign),
            lambda: ev.add_event("x", or_(mine, foreign)),
            lambda: ev.add_assoc(foreign, step),
            lambda: ev.add_assoc(mine, foreign),
            lambda: ev.trigger_event(foreign),
            lambda: ev.add_step("t", function, triggers={StepStatus.success: foreign}),
        ):
            with pytest.raises(FlowDefinitionError, match="flow event 'far' belongs to another flow"):
                use()

    def test_that_are_names_are_refused(self, ev: Eventor) -> None:
        ev.add_event("a")
        with pytest.raises(FlowDefinitionError, match="'a' is no flow event; take what add_event"):
            ev.trigger_event("a")  # type: ignore[arg-type]  # the point
        with pytest.raises(FlowDefinitionError, match="is no expression"):
            ev.add_event("b", "a")


class TestSteps:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"name": ""}, "a step needs a name, not ''"),
            ({"func": "f"}, "step 's': func='f' cannot be called"),
            ({"args": "abc"}, "step 's': args='abc' has to be a tuple"),
            ({"args": 5}, "step 's': args=5 has to be a tuple"),
            ({"kwargs": 5}, "step 's': kwargs=5 has to be a mapping"),
            ({"kwargs": {1: 2}}, "step 's': kwargs={1: 2} has to have strings as its keys"),
            ({"triggers": 5}, "step 's': triggers has to be a mapping"),
            ({"triggers": {"success": ()}}, "step 's': triggers has 'success'; its keys are StepStatus.ready"),
            ({"triggers": {StepStatus.success: "a"}}, "step 's', triggers of StepStatus.success: takes a FlowEvent"),
            ({"acquires": 5}, r"step 's', acquires has to be a list of \(pool, amount\), not 5"),
            ({"acquires": [GPU]}, r"acquires has to be a list of \(pool, amount\)"),
            ({"acquires": [("gpu", 1)]}, "step 's', acquires: 'gpu' is no ResourcePool"),
            ({"acquires": [(GPU, 0)]}, "amount of 'gpu'=0 has to be a whole number, 1 or more"),
            ({"acquires": [(GPU, None)]}, "amount of 'gpu'=None"),
            ({"acquires": [(GPU, 3)]}, "asks for 3 of 'gpu', which has 2 in all; it would wait for ever"),
            ({"acquires": [(GPU, 1), (GPU, 2)]}, "asks for 3 of 'gpu' in all, which has 2"),
            ({"releases": [(GPU, 9)]}, "step 's', releases: asks for 9"),
            ({"recovery": 5}, "step 's': recovery has to be a mapping"),
            ({"recovery": {StepStatus.success: "skip"}}, "recovery maps a StepStatus to a StepReplay"),
            ({"recovery": {StepStatus.complete: StepReplay.skip}}, "recovery maps a StepStatus to a StepReplay"),
            ({"recovery": {3: StepReplay.skip}}, "recovery maps a StepStatus to a StepReplay"),
            ({"config": {"retry": 1}}, "step 's': there is no configuration 'retry'; there is stop_on_exception, "),
            ({"config": {"retries": -1}}, "step 's': retries=-1 has to be a whole number, 0 or more"),
            ({"config": {"retries": None}}, "step 's': retries=None"),
            ({"config": {"backoff": -1}}, "step 's': backoff=-1 has to be a number of seconds, 0 or more"),
            ({"config": {"backoff": None}}, "step 's': backoff=None"),
            ({"config": {"timeout": 0}}, "step 's': timeout=0"),
            ({"config": {"priority": "high"}}, "step 's': priority='high' has to be a whole number"),
            ({"config": {"max_concurrent": None}}, "step 's': max_concurrent=None"),
            ({"config": {"probe": 5}}, "step 's': probe=5 cannot be called"),
            ({"config": {"result": "pickle"}}, "step 's': result='pickle' has to be 'json' or 'discard'"),
            ({"config": {"executor": "moon"}}, "there is no executor 'moon'"),
            (
                {"func": coroutine, "config": {"executor": "process"}},
                "an async function runs on the reactor and not by ",
            ),
        ],
    )
    def test_say_what_is_wrong(self, ev: Eventor, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            ev.add_step(**{"name": "s", "func": function, **options})

    @pytest.mark.parametrize("executor", [*EXECUTORS, None, OwnExecutor()])
    def test_name_no_host_that_their_executor_does_not_know(self, executor: Any) -> None:
        for options, config in (({"executor": executor}, {}), ({}, {"executor": executor})):
            ev = Eventor("test", ":memory:", **options)
            with pytest.raises(FlowDefinitionError, match=r"step 's': host='gpu-17', but executor '\w+' knows no hosts"):
                ev.add_step("s", function, config=config, host="gpu-17")
            assert ev.program.steps == {}

    @pytest.mark.parametrize("host", [None, "", "localhost"])
    def test_may_name_this_machine_under_every_executor(self, ev: Eventor, host: Any) -> None:
        assert ev.add_step("s", function, host=host).host == host

    def test_may_name_a_host_when_their_executor_knows_hosts(self) -> None:
        world, executor = World(), OwnExecutor()
        executor.knows_hosts = True  # type: ignore[attr-defined]  # what some have
        ev = world.eventor(executor=executor)
        go = ev.add_event("go")
        ev.add_assoc(go, ev.add_step("s", function, host="gpu-17"))
        ev.trigger_event(go, 1)
        _ = ev.run()
        assert [attempt.host for attempt, _ in executor.attempts] == ["gpu-17"]

    def test_are_the_same_when_defined_twice_in_the_same_way(self, ev: Eventor) -> None:
        assert ev.add_step("s", function, (1,)) is ev.add_step("s", function, (1,))
        with pytest.raises(FlowDefinitionError, match="step 's' is defined twice, differently"):
            ev.add_step("s", function, (2,))

    def test_leave_the_callers_mappings_alone(self, ev: Eventor) -> None:
        a = ev.add_event("a")
        triggers, kwargs, config = {StepStatus.success: a}, {"x": 1}, {"retries": 2}
        step = ev.add_step("s", function, kwargs=kwargs, triggers=triggers, config=config)
        assert (triggers, kwargs, config) == ({StepStatus.success: a}, {"x": 1}, {"retries": 2})
        kwargs["x"] = 2
        assert step.kwargs == {"x": 1}


class TestAssociations:
    def test_take_events_and_steps_only(self, ev: Eventor) -> None:
        a = ev.add_event("a")
        with pytest.raises(FlowDefinitionError, match="'s' is neither a step nor a flow event; take what add_step"):
            ev.add_assoc(a, "s")  # type: ignore[arg-type]  # the point
        with pytest.raises(FlowDefinitionError, match=r"^add_assoc\(\) says nothing that follows from flow event 'a'"):
            ev.add_assoc(a)
        ev.add_assoc(a, [])  # type: ignore[arg-type]  # may be computed
        with pytest.raises(FlowDefinitionError, match=r"^step 's' is no flow event; take what add_event\(\) gave$"):
            ev.add_assoc(ev.add_step("s", function), a)  # type: ignore[arg-type]  # the wrong way round
        with pytest.raises(FlowDefinitionError, match="step 's' belongs to another flow"):
            ev.add_assoc(a, World().eventor().add_step("s", function))

    @pytest.mark.parametrize("delay", [-1, None, "5", True, float("nan"), float("inf")])
    def test_have_a_delay_that_is_a_number(self, ev: Eventor, delay: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="delay=.* has to be a number of seconds, 0 or more"):
            ev.add_assoc(ev.add_event("a"), ev.add_step("s", function), delay=delay)

    def test_are_the_same_when_defined_twice_in_the_same_way_and_not_to_be_defined_differently(self, ev: Eventor) -> None:
        a, b, step = ev.add_event("a"), ev.add_event("b"), ev.add_step("s", function)
        ev.add_assoc(a, step, b, delay=2)
        ev.add_assoc(a, step, b, delay=2.0)
        for delay in (0, 3):
            with pytest.raises(FlowDefinitionError, match=f"step 's' follows from flow event 'a' twice, .* of 2 and {delay} s"):
                ev.add_assoc(a, step, delay=delay)
            with pytest.raises(FlowDefinitionError, match="flow event 'b' follows from flow event 'a' twice"):
                ev.add_assoc(a, b, delay=delay)
        assert [follows.delay for follows in ev.program.consequences("a")] == [2, 2]
        ev.add_assoc(b, step)


class TestPools:
    @pytest.mark.parametrize(("name", "limit"), [("", 1), (3, 1), ("p", -1), ("p", None), ("p", "2"), ("p", True)])
    def test_need_a_name_and_a_limit(self, name: Any, limit: Any) -> None:
        with pytest.raises(FlowDefinitionError, match="resource pool"):
            ResourcePool(name, limit)

    def test_cannot_be_made_too_small_for_a_step(self, ev: Eventor) -> None:
        ev.add_step("s", function, acquires=[(GPU, 2)])
        with pytest.raises(FlowDefinitionError, match="'gpu' is given the limit 1, and step 's' asks for 2"):
            ev.add_step("t", function, acquires=[(ResourcePool("gpu", 1), 1)])


class TestRunning:
    @pytest.mark.parametrize("loops", [None, "1", 1.5, True])
    def test_takes_a_whole_number_of_loops(self, ev: Eventor, loops: Any) -> None:
        with pytest.raises(ConfigurationError, match="max_loops=.* has to be a whole number"):
            ev.run(loops)

    def test_modes_read_well(self) -> None:
        assert str(RunMode.continue_) == "RunMode.continue_"
