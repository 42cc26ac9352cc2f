"""Durable flows and other processes, over both transports; and a process that is killed at the worst of moments."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from tests.cli.started import ROOT, Started, started
from twisted_evproc.amqp import (
    AMQPTransport,
    FlowTrigger,
    MemoryBroker,
    MemoryTransport,
    Transport,
    current_envelope,
    forward_flow,
)
from twisted_evproc.errors import ConfigurationError, FlowDefinitionError
from twisted_evproc.flow import Eventor, FlowEvent, RunMode, StepStatus, current_step
from twisted_evproc.flow.store import read_store
from twisted_evproc.testing import FakeFlowStore

Pair = Callable[..., AbstractAsyncContextManager[tuple[Any, Any]]]


@pytest.fixture(params=["memory", "amqp"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Two transports on one exchange, each as of a process of its own; they run inside the context."""
    exchange = request.getfixturevalue("exchange")
    url = request.getfixturevalue("amqp_url") if request.param == "amqp" else ""

    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[tuple[Transport, Transport]]:
        options.setdefault("unroutable", "drop")
        broker = MemoryBroker()
        transports: list[Any] = [
            AMQPTransport(url, exchange=exchange, route_by="kind", **options)
            if url
            else MemoryTransport(broker, exchange=exchange, route_by="kind", **options)
            for _ in range(2)
        ]
        for transport in transports:
            await transport.start()
        try:
            yield transports[0], transports[1]
        finally:
            for transport in transports:
                await transport.stop(5)

    return made


class Heard:
    """Notes what it is called with; tells when so much was."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, event: Any = None) -> None:
        self.all.append(event)
        waiting, self._waiting = self._waiting, []
        for count, done in waiting:
            if len(self.all) >= count:
                done.callback(None)
            else:
                self._waiting.append((count, done))

    async def come(self, count: int) -> list[Any]:
        """Waits for so many."""
        if len(self.all) < count:
            done: Deferred[None] = Deferred()
            self._waiting.append((count, done))
            await done
            # What calls it is to end first.
            await deferLater(reactor, 0)
        return self.all


class Flow:
    """
    A flow of one step, in a file.

    :ivar ran: the sequences for which its step ran.
    """

    def __init__(self, path: Path, name: str = "flow", step: Callable[[], Any] | None = None) -> None:
        self.path = path
        self.ran = Heard()
        self.eventor = Eventor(name, path, RunMode.continue_, config={"executor": "inline", "max_concurrent": 0})
        self.go = self.eventor.add_event("go")
        self.done = self.eventor.add_event("done")
        self._step = step
        self.eventor.add_assoc(self.go, self.eventor.add_step("step", self._run, triggers={StepStatus.success: self.done}))

    def _run(self) -> Any:
        self.ran(current_step().sequence)
        return None if self._step is None else self._step()

    def trigger(self, sequence: Callable[[Any], Any] | None = None) -> FlowTrigger:
        return FlowTrigger(self.eventor, self.go, sequence)

    async def end(self) -> None:
        """Waits until it has ended, which it does by itself."""
        while self.eventor.running:
            await deferToThread(lambda: None)

    def sequences(self, event: FlowEvent | None = None) -> list[str]:
        """Of a flow event, in the store; in all runs."""
        with read_store(self.path) as reader:
            runs = reader.runs(self.eventor.name)
            triggers = [trigger for run in runs for trigger in reader.load(run.run_id).triggers]
        return sorted(trigger.sequence for trigger in triggers if trigger.event == (self.go if event is None else event).name)


def number(event: Any) -> Any:
    return event["number"]


class TestFromFlowToFlow:
    @pytest_twisted.ensureDeferred
    async def test_a_change_of_state_makes_an_event_of_another_flow_happen(self, pair: Pair, tmp_path: Path) -> None:
        first, second = Flow(tmp_path / "first.db", "first"), Flow(tmp_path / "second.db", "second")
        async with pair() as (here, there):
            await there.subscribe("second", second.trigger(lambda change: change["sequence"]), kind="event", name="done")
            forward_flow(here, first.eventor)
            await here.subscribe("first", first.trigger(number), kind="order")
            await there.publish({"number": 7}, kind="order")
            await there.publish({"number": 8}, kind="order")
            assert sorted(await second.ran.come(2)) == ["7", "8"]
            await first.end()
            await second.end()
        assert first.sequences(first.done) == second.sequences() == ["7", "8"]

    @pytest_twisted.ensureDeferred
    async def test_what_is_published_of_a_flow(self, pair: Pair, tmp_path: Path) -> None:
        flow, heard, details = Flow(tmp_path / "flow.db"), Heard(), []

        def hear(change: Any) -> None:
            envelope = current_envelope()
            assert envelope is not None
            details.append(dict(envelope.details))
            heard(change)

        async with pair() as (here, there):
            await there.subscribe("all", hear, window=1)
            forward_flow(here, flow.eventor)
            flow.eventor.trigger_event(flow.go, 1)
            result = await flow.eventor.run()
            changes = await heard.come(5)
        assert [(change["kind"], change["name"], change["sequence"], change["status"]) for change in changes] == [
            ("event", "go", "1", "happened"),
            ("task", "step", "1", "ready"),
            ("task", "step", "1", "active"),
            ("task", "step", "1", "success"),
            ("event", "done", "1", "happened"),
        ]
        assert details == [{**change, "flow": "flow", "run": result.run_id} for change in changes]

    @pytest_twisted.ensureDeferred
    async def test_some_changes_until_it_is_stopped(self, pair: Pair, tmp_path: Path) -> None:
        flow, heard = Flow(tmp_path / "flow.db"), Heard()
        async with pair() as (here, there):
            await there.subscribe("all", heard)
            forwarding = forward_flow(here, flow.eventor, kind="task", status="success")
            flow.eventor.trigger_event(flow.go, 1)
            await flow.eventor.run()
            await heard.come(1)
            await forwarding.stop()
            flow.eventor.trigger_event(flow.go, 2)
            await flow.eventor.run()
            await here.publish("last", kind="other")
            changes = await heard.come(2)
        assert [change if change == "last" else (change["name"], change["sequence"]) for change in changes] == [
            ("step", "1"),
            "last",
        ]


class TestFlowTrigger:
    @pytest_twisted.ensureDeferred
    async def test_an_event_is_handled_once_it_is_committed(self, pair: Pair, tmp_path: Path) -> None:
        hold: Deferred[None] = Deferred()
        flow = Flow(tmp_path / "flow.db", step=lambda: hold)
        async with pair() as (here, there):
            await here.subscribe("flow", flow.trigger(number), kind="order")
            await there.publish({"number": 1}, kind="order")
            await flow.ran.come(1)
            waits, again = Heard(), Heard()
            store = flow.eventor._drive._watched
            assert store is not None
            store.watch_state(lambda state: again() if state == "open" else waits())
            other = sqlite3.connect(flow.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            await there.publish({"number": 2}, kind="order")
            await waits.come(1)
            assert here.statistics().under_way == 1
            other.execute("ROLLBACK")
            other.close()
            assert await flow.ran.come(2) == ["1", "2"]
            hold.callback(None)
            await flow.end()
            await here.stop()
            assert (here.statistics().handled, here.statistics().under_way) == (2, 0)

    @pytest_twisted.ensureDeferred
    async def test_a_flow_that_has_ended_is_run_again(self, pair: Pair, tmp_path: Path) -> None:
        flow = Flow(tmp_path / "flow.db")
        async with pair() as (here, there):
            await here.subscribe("flow", flow.trigger(number), kind="order")
            for count in range(1, 6):
                await there.publish({"number": count}, kind="order")
                await flow.ran.come(count)
                if count % 2:
                    await flow.end()
            await flow.end()
        assert flow.ran.all == flow.sequences() == ["1", "2", "3", "4", "5"]
        with read_store(flow.path) as reader:
            assert len(reader.runs("flow")) == 1

    @pytest_twisted.ensureDeferred
    async def test_what_comes_to_a_run_that_a_failure_has_stopped_follows_when_it_is_recovered(
        self, pair: Pair, tmp_path: Path
    ) -> None:
        broken = [ValueError("no")]

        def step() -> None:
            if broken:
                raise broken[0]

        flow, handled = Flow(tmp_path / "flow.db", step=step), Heard()
        trigger = flow.trigger(number)

        async def hear(event: Any) -> None:
            await trigger(event)
            handled()

        with capturedLogs() as logs:
            async with pair() as (here, there):
                await here.subscribe("flow", hear, kind="order")
                for count in (1, 2):
                    await there.publish({"number": count}, kind="order")
                    await handled.come(count)
                    await flow.end()
            told = [event for event in logs if "nothing follows in run" in str(event.get("log_format"))]
            assert [(event["flow"], event["tasks"]) for event in told] == [(flow.eventor, "step 1")] * 2
            assert flow.ran.all == ["1"]
            broken.clear()
            flow.eventor.run_mode = RunMode.recover
            assert await flow.eventor.run()
        assert sorted(flow.ran.all[1:]) == ["1", "2"]

    @pytest.mark.parametrize("handled", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_what_comes_to_a_run_that_goes_on_after_a_failure_follows(
        self, pair: Pair, tmp_path: Path, handled: bool
    ) -> None:
        ran = Heard()

        def step() -> None:
            ran()
            raise ValueError("no")

        eventor = Eventor(
            "flow", tmp_path / "flow.db", RunMode.continue_, config={"executor": "inline", "stop_on_exception": handled}
        )
        go, failed = eventor.add_event("go"), eventor.add_event("failed")
        eventor.add_assoc(go, eventor.add_step("step", step, triggers={StepStatus.failure: failed} if handled else {}))
        with capturedLogs() as logs:
            async with pair() as (here, there):
                await here.subscribe("flow", FlowTrigger(eventor, go), kind="order")
                for count in (1, 2):
                    await there.publish("lamp", kind="order")
                    await ran.come(count)
                while eventor.running:
                    await deferToThread(lambda: None)
        assert not [event for event in logs if "nothing follows in run" in str(event.get("log_format"))]

    @pytest_twisted.ensureDeferred
    async def test_the_id_of_an_event_is_its_sequence(self, pair: Pair, tmp_path: Path) -> None:
        flow = Flow(tmp_path / "flow.db")
        async with pair() as (here, there):
            await here.subscribe("flow", flow.trigger(), kind="order", window=1)
            await there.publish("lamp", kind="order", event_id="one")
            await there.publish("lamp", kind="order", event_id="one")
            await there.publish("bulb", kind="order", event_id="two")
            await flow.ran.come(2)
            await flow.end()
        # Started again, as another process would be.
        again = Flow(tmp_path / "flow.db")
        async with pair() as (here, there):
            await here.subscribe("flow", again.trigger(), kind="order", window=1)
            await there.publish("bulb", kind="order", event_id="two")
            await there.publish("cup", kind="order", event_id="three")
            await again.ran.come(1)
            await again.end()
        assert (flow.ran.all, again.ran.all) == (["one", "two"], ["three"])
        assert flow.sequences() == ["one", "three", "two"]

    @pytest_twisted.ensureDeferred
    async def test_its_steps_have_no_event_that_is_being_handled(self, pair: Pair) -> None:
        found = Heard()
        # It commits at once, where the event is handled.
        eventor = Eventor("flow", FakeFlowStore(), RunMode.continue_, config={"executor": "inline"})
        go = eventor.add_event("go")
        eventor.add_assoc(go, eventor.add_step("step", lambda: found(current_envelope())))
        async with pair() as (here, there):
            await here.subscribe("flow", FlowTrigger(eventor, go), kind="order")
            await there.publish("lamp", kind="order")
            assert await found.come(1) == [None]

    @pytest_twisted.ensureDeferred
    async def test_a_sequence_that_cannot_be_told_makes_a_dead_letter(self, pair: Pair, tmp_path: Path) -> None:
        flow, asked = Flow(tmp_path / "flow.db"), Heard()

        def broken(event: Any) -> Any:
            asked(event)
            return event["number"]

        with capturedLogs():
            async with pair() as (here, there):
                await here.subscribe("flow", flow.trigger(broken), kind="order", max_deliveries=2, retry_delays=(0.001,))
                await there.publish({"article": "lamp"}, kind="order")
                await asked.come(2)
                await here.stop()
                [letter] = await there.dead_letters("flow").list()
        assert (letter.reason, letter.envelope.failures) == ("KeyError: 'number'", 2)
        assert not flow.eventor.running

    @pytest.mark.parametrize(
        ("sequence", "reason"),
        [
            (lambda event: None, "gave None for an event; it has to give a text or a number"),
            (lambda event: "a\0b", "sequence"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_so_does_one_that_is_none(
        self, pair: Pair, tmp_path: Path, sequence: Callable[[Any], Any], reason: str
    ) -> None:
        flow, died = Flow(tmp_path / "flow.db"), Heard()
        trigger = flow.trigger(sequence)

        def hear(event: Any) -> Any:
            died()
            return trigger(event)

        with capturedLogs():
            async with pair() as (here, there):
                await here.subscribe("flow", hear, kind="order", max_deliveries=1)
                await there.publish("lamp", kind="order")
                await died.come(1)
                await here.stop()
                [letter] = await there.dead_letters("flow").list()
        assert reason in letter.reason

    @pytest_twisted.ensureDeferred
    async def test_an_event_for_a_run_that_is_cancelled_is_not_acknowledged(self, pair: Pair, tmp_path: Path) -> None:
        flow, heard = Flow(tmp_path / "flow.db"), Heard()
        run = flow.eventor.run()
        flow.eventor.cancel()
        await run
        trigger = flow.trigger()

        def hear(event: Any) -> Any:
            heard()
            return trigger(event)

        with capturedLogs():
            async with pair() as (here, there):
                await here.subscribe("flow", hear, kind="order", max_deliveries=1)
                await there.publish("lamp", kind="order")
                await heard.come(1)
                await here.stop()
                [letter] = await there.dead_letters("flow").list()
        assert "is cancelled and takes no flow events; begin another run" in letter.reason

    @pytest_twisted.ensureDeferred
    async def test_an_event_while_another_process_has_the_flow_is_not_acknowledged(self, pair: Pair, tmp_path: Path) -> None:
        hold: Deferred[None] = Deferred()
        owner, flow, heard = Flow(tmp_path / "flow.db", step=lambda: hold), Flow(tmp_path / "flow.db"), Heard()
        owner.eventor.trigger_event(owner.go, "owner")
        run = owner.eventor.run()
        await owner.ran.come(1)
        trigger = flow.trigger(number)

        def hear(event: Any) -> Any:
            heard()
            return trigger(event)

        with capturedLogs() as logs:
            async with pair() as (here, there):
                await here.subscribe("flow", hear, kind="order", retry_delays=(0.001,), max_deliveries=1_000)
                await there.publish({"number": 1}, kind="order")
                await heard.come(3)
                assert flow.ran.all == []
                hold.callback(None)
                await run
                await flow.ran.come(1)
                await flow.end()
        assert any("was run because an event had come" in str(event.get("log_format")) for event in logs)
        assert flow.sequences() == ["1", "owner"]


class TestWhatMakesNoSense:
    @pytest.fixture
    def eventor(self, tmp_path: Path) -> Eventor:
        return Eventor("flow", tmp_path / "flow.db", RunMode.continue_)

    def test_no_flow(self, eventor: Eventor) -> None:
        with pytest.raises(ConfigurationError, match="FlowTrigger needs an Eventor, not 7"):
            FlowTrigger(7, eventor.add_event("go"))  # type: ignore[arg-type]  # the point of it
        with pytest.raises(ConfigurationError, match="needs an Eventor, not 7"):
            forward_flow(MemoryTransport(MemoryBroker(), exchange="x"), 7)  # type: ignore[arg-type]  # the point of it

    def test_a_flow_that_would_leave_its_run_behind(self, tmp_path: Path) -> None:
        eventor = Eventor("flow", tmp_path / "flow.db")
        with pytest.raises(ConfigurationError, match=r"<Eventor 'flow'> begins a new run .*; give it run_mode=RunMode.continue_"):
            FlowTrigger(eventor, eventor.add_event("go"))

    def test_a_flow_event_of_another_flow(self, eventor: Eventor, tmp_path: Path) -> None:
        other = Eventor("other", tmp_path / "other.db", RunMode.continue_)
        with pytest.raises(FlowDefinitionError):
            FlowTrigger(eventor, other.add_event("go"))

    def test_no_function(self, eventor: Eventor) -> None:
        with pytest.raises(ConfigurationError, match="sequence='number' has to be a function of the event, or None for its ID"):
            FlowTrigger(eventor, eventor.add_event("go"), "number")  # type: ignore[arg-type]  # the point of it

    def test_an_unknown_keyword(self, eventor: Eventor) -> None:
        with pytest.raises(ConfigurationError, match="colour"):
            forward_flow(MemoryTransport(MemoryBroker(), exchange="x"), eventor, colour="red")

    def test_an_event_without_an_id(self, eventor: Eventor) -> None:
        with pytest.raises(ValueError, match="an event has no ID; give sequence="):
            FlowTrigger(eventor, eventor.add_event("go"))("lamp")


_CHILD = """
import os, signal, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted_evproc.amqp import AMQPTransport, FlowTrigger, current_envelope
from twisted_evproc.flow import Eventor, RunMode, current_step
from twisted_evproc.flow.store import open_store

url, exchange, path, what = sys.argv[1:]
store = open_store(path)
store.watch_state(lambda state: print("store:", state, flush=True))
ev = Eventor("flow", store, RunMode.continue_, config={"executor": "inline", "max_concurrent": 0})
go = ev.add_event("go")

def step():
    print("step:", current_step().sequence, current_step().attempt, flush=True)
    if what == "wait":
        return Deferred()
    if what == "die":
        # Committed, and not acknowledged: who waits for that is told after this.
        os.kill(os.getpid(), signal.SIGKILL)

ev.add_assoc(go, ev.add_step("step", step))
trigger = FlowTrigger(ev, go)

async def handle(event):
    print("event:", event, current_envelope().redelivered, flush=True)
    await trigger(event)
    print("safe:", event, flush=True)

async def main(reactor):
    transport = AMQPTransport(url, exchange=exchange)
    await transport.start()
    await transport.subscribe("flow", handle, kind="order", window=1)
    print("ready", flush=True)
    await Deferred()

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class TestKilled:
    @pytest.fixture
    def child(self, amqp_url: str, exchange: str, tmp_path: Path) -> Any:
        program = tmp_path / "child.py"
        program.write_text(_CHILD)

        def start(what: str) -> Any:
            arguments = str(program), amqp_url, exchange, str(tmp_path / "flow.db"), what
            return started(sys.executable, *arguments, folder=tmp_path, PYTHONPATH=str(ROOT))

        return start

    @asynccontextmanager
    async def shop(self, url: str, exchange: str) -> AsyncIterator[AMQPTransport]:
        transport = AMQPTransport(url, exchange=exchange)
        await transport.start()
        try:
            yield transport
        finally:
            await transport.stop(5)

    def wait_for(self, child: Started, pattern: str) -> Deferred[Any]:
        return deferToThread(child.wait_for, pattern)

    @pytest_twisted.ensureDeferred
    async def test_before_the_commit_it_is_delivered_again(
        self, child: Any, amqp_url: str, exchange: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "flow.db"
        async with self.shop(amqp_url, exchange) as shop:
            with child("wait") as process:
                await self.wait_for(process, "^ready$")
                await shop.publish("lamp", kind="order", event_id="a")
                await self.wait_for(process, "^safe: lamp$")
                other = sqlite3.connect(path, isolation_level=None)
                other.execute("BEGIN IMMEDIATE")
                await shop.publish("bulb", kind="order", event_id="b")
                await self.wait_for(process, "^store: .*locked")
                assert "event: bulb False" in process.text
                assert await deferToThread(process.end, signal.SIGKILL) == -signal.SIGKILL
                assert "safe: bulb" not in process.text
                other.execute("ROLLBACK")
                other.close()
            assert self.triggers(path) == ["a"]
            with child("go on") as process:
                await self.wait_for(process, "^safe: bulb$")
                await self.wait_for(process, "^step: b 1$")
                await self.wait_for(process, "^store: closed$")
                assert "event: bulb True" in process.text
                # What was acknowledged goes on by itself, in the same run.
                assert "step: a 2" in process.text
        assert self.triggers(path) == ["a", "b"]

    @pytest_twisted.ensureDeferred
    async def test_behind_the_commit_it_happens_once(self, child: Any, amqp_url: str, exchange: str, tmp_path: Path) -> None:
        path = tmp_path / "flow.db"
        async with self.shop(amqp_url, exchange) as shop:
            with child("die") as process:
                await self.wait_for(process, "^ready$")
                await shop.publish("lamp", kind="order", event_id="a")
                assert await deferToThread(process.rest) == -signal.SIGKILL
                assert "step: a 1" in process.text
                assert "safe:" not in process.text
            assert self.triggers(path) == ["a"]
            with child("go on") as process:
                await self.wait_for(process, "^safe: lamp$")
                await self.wait_for(process, "^store: closed$")
                assert "event: lamp True" in process.text
                # It was active, and is run again for that: there is one task, and this was its second attempt.
                assert process.text.count("step: a") == 1
                assert "step: a 2" in process.text
        assert self.triggers(path) == ["a"]

    def triggers(self, path: Path) -> list[str]:
        with read_store(path) as reader:
            [run] = reader.runs("flow")
            return sorted(trigger.sequence for trigger in reader.load(run.run_id).triggers)
