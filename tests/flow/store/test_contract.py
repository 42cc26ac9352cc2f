"""What every store promises, whatever it is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from twisted_evproc.errors import RunExists, RunLost, StoreUnusable, UnknownRun
from twisted_evproc.flow import Batch, HoldRow, PoolRow, TaskRow
from twisted_evproc.flow.store import read_store
from twisted_evproc.interfaces import IFlowStore

from .conftest import every_kind, numbers, some

StoreAt = Callable[..., IFlowStore]


def writers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("store ")]


class TestOpening:
    @ensureDeferred
    async def test_it_is_a_store(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        assert verifyObject(IFlowStore, store)
        assert store.state == "closed"
        await gatherResults([store.open(), store.open()])
        await store.open()
        assert store.state == "open"

    @ensureDeferred
    async def test_once_closed_its_thread_is_gone(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        assert len(writers()) == 1
        await gatherResults([store.close(), store.close()])
        assert (writers(), store.state) == ([], "closed")
        await store.close()

    @ensureDeferred
    async def test_nothing_can_be_done_while_it_is_closed(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        for call in (store.runs, lambda: store.take("run", "host:1"), lambda: store.commit("run", 1, Batch())):
            with pytest.raises(StoreUnusable, match=r"closed; open\(\) it first"):
                await call()

    @ensureDeferred
    async def test_close_finishes_what_was_put_before(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        run = (await store.begin("flow", None, "host:1")).run
        done: list[str] = []
        commits = [
            store.commit(run.run_id, 1, some(number)).addCallback(lambda _: done.append("commit")) for number in range(100)
        ]
        closing = store.close().addCallback(lambda _: done.append("close"))
        with pytest.raises(StoreUnusable, match="closed"):
            await store.commit(run.run_id, 1, some(1))
        await closing
        assert done == ["commit"] * 100 + ["close"]
        await gatherResults(commits)

    @ensureDeferred
    async def test_a_listener_that_fails_stops_nobody(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        heard: list[str] = []
        store.watch_state(lambda state: 1 / 0)
        store.watch_state(heard.append)
        with capturedLogs() as events:
            await store.open()
            await store.close()
        assert heard == ["open", "closed"]
        assert len([event for event in events if "log_failure" in event]) == 2


class TestRuns:
    @ensureDeferred
    async def test_a_new_run(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        run = (await store.begin("flow", "mine", "host:1")).run
        assert run[:6] == ("mine", "flow", "running", 0, 1, "host:1")
        assert run.created > 1.7e9 and run.ended is None

    @ensureDeferred
    async def test_runs_come_oldest_first_and_by_flow(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        begun = [
            (await store.begin(name, run_id, "host:1")).run for name, run_id in [("b", "z"), ("a", None), ("b", "c"), ("b", None)]
        ]
        assert await store.runs() == begun
        assert await store.runs("b") == [begun[0], *begun[2:]]
        assert len({run.run_id for run in begun}) == 4

    @ensureDeferred
    async def test_an_id_is_taken_once(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        await store.begin("flow", "mine", "host:1")
        with pytest.raises(RunExists, match="'mine'"):
            await store.begin("other", "mine", "host:1")
        assert [run.name for run in await store.runs()] == ["flow"]

    @ensureDeferred
    async def test_an_unknown_run_is_named_with_those_there_are(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        await store.begin("flow", "mine", "host:1")
        with pytest.raises(UnknownRun, match="no run 'yours'.*'mine'"):
            await store.take("yours", "host:1")


class TestCommit:
    @ensureDeferred
    async def test_what_is_committed_is_there_as_it_was(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        run = (await store.begin("flow", None, "host:1")).run
        batch = every_kind(run)
        await store.commit(run.run_id, 1, batch)
        snapshot = await store.take(run.run_id, "host:2")
        assert batch.run is not None
        assert snapshot.run == batch.run._replace(epoch=2, owner="host:2")
        assert snapshot.triggers == list(batch.triggers.values())
        assert snapshot.tasks == list(batch.tasks.values())
        assert [type(field) for task in snapshot.tasks for field in task] == [
            type(field) for task in batch.tasks.values() for field in task
        ]
        assert snapshot.delays == list(batch.delays.values())
        assert snapshot.holds == list(batch.holds.values())

    @ensureDeferred
    async def test_it_is_there_after_reopening(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        run = (await store.begin("flow", "run", "host:1")).run
        batch = every_kind(run)
        await store.commit("run", 1, batch)
        await store.close()
        await store.open()
        assert (await store.take("run", "host:1")).tasks == list(batch.tasks.values())

    @ensureDeferred
    async def test_the_newest_row_of_a_key_counts(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        await store.begin("flow", "run", "host:1")
        statuses = ["ready", "active", "success"]
        await gatherResults([store.commit("run", 1, some(1, status=status)) for status in statuses])
        await store.commit("run", 1, some(1, status="failure"))
        await store.commit("run", 1, some(1, recovery=1, status="ready"))
        tasks = (await store.take("run", "host:1")).tasks
        assert [(task.recovery, task.status) for task in tasks] == [(0, "failure"), (1, "ready")]

    @ensureDeferred
    async def test_many_at_once(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        runs = [(await store.begin("flow", None, "host:1")).run.run_id for _ in range(30)]
        done: list[int] = []
        commits = [
            store.commit(runs[number % 30], 1, some(number)).addCallback(lambda _, number: done.append(number), number)
            for number in range(3_000)
        ]
        await gatherResults(commits)
        assert done == list(range(3_000))
        for place, run_id in enumerate(runs):
            assert numbers((await store.take(run_id, "host:1")).tasks) == list(range(place, 3_000, 30))

    @ensureDeferred
    async def test_what_is_given_back_is_held_no_more(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        one = (await store.begin("flow", "one", "host:1")).run
        await store.begin("flow", "two", "host:1")
        for amount, expected in ((2, {"gpu": 2}), (3, {"gpu": 3}), (0, {}), (0, {})):
            batch = Batch()
            batch.run = one._replace(status="pending")
            batch.holds["gpu", "step", "1"] = HoldRow("gpu", "step", "1", amount)
            batch.pools["gpu"] = PoolRow("gpu", amount)
            await store.commit("one", 1, batch)
            assert (await store.take("two", "host:1")).foreign_holds == expected
        assert (await store.take("one", "host:1")).holds == []

    @ensureDeferred
    @pytest.mark.parametrize(
        ("status", "held"), [("pending", {"gpu": 1}), ("stuck", {"gpu": 1}), ("success", {}), ("failure", {})]
    )
    async def test_what_an_ended_run_holds_is_free(self, url: str, store_at: StoreAt, status: str, held: dict[str, int]) -> None:
        store = store_at(url)
        await store.open()
        one = (await store.begin("flow", "one", "host:1")).run
        batch = Batch()
        batch.run = one._replace(status=status, program="{}")
        batch.holds["gpu", "step", "1"] = HoldRow("gpu", "step", "1", 1)
        await store.commit("one", 1, batch)

        assert (await store.begin("flow", "two", "host:1")).foreign_holds == held
        assert (await store.take("one", "host:1")).run.program == "{}"

    @ensureDeferred
    async def test_an_empty_batch_is_nothing(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        await store.begin("flow", "run", "host:1")
        await store.commit("run", 1, Batch())
        assert (await store.take("run", "host:1")).tasks == []


def busy(store: Any) -> Callable[[], Deferred[None]]:
    """Keeps the writer busy until what is returned is called, so that all commits put meanwhile share one transaction."""
    gate = threading.Event()
    done: Deferred[None] = store._thread.call(lambda _: gate.wait(30)).addCallback(lambda _: None)

    def free() -> Deferred[None]:
        gate.set()
        return done

    return free


class TestGroup:
    @ensureDeferred
    async def test_what_queued_up_shares_a_transaction(self, database: str, store_at: StoreAt) -> None:
        store: Any = store_at(database)
        await store.open()
        for run_id in ("one", "two"):
            await store.begin("flow", run_id, "host:1")
        free = busy(store)
        commits = [store.commit(run_id, 1, some(number)) for number in range(400) for run_id in ("one", "two")]
        sizes: list[int] = []
        write = store._thread._writer._write

        def measure(group: list[Any]) -> Any:
            sizes.append(len(group))
            return write(group)

        store._thread._writer._write = measure
        await free()
        await gatherResults(commits)
        assert sizes == [800]
        for run_id in ("one", "two"):
            assert numbers((await store.take(run_id, "host:1")).tasks) == list(range(400))

    @ensureDeferred
    async def test_the_newest_row_of_a_key_counts(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        await store.begin("flow", "run", "host:1")
        free = busy(store)
        commits = [store.commit("run", 1, some(1, status=status)) for status in ("ready", "active", "success")]
        commits.append(store.commit("run", 1, some(1, recovery=1, status="ready")))
        for amount in (2, 1, 0, 3, 0):
            batch = Batch()
            batch.holds["gpu", "step", "1"] = HoldRow("gpu", "step", "1", amount)
            batch.holds["gpu", "step", "2"] = HoldRow("gpu", "step", "2", amount + 1)
            batch.pools["gpu"] = PoolRow("gpu", amount)
            commits.append(store.commit("run", 1, batch))
        await free()
        await gatherResults(commits)
        snapshot = await store.take("run", "host:1")
        assert [(task.recovery, task.status) for task in snapshot.tasks] == [(0, "success"), (1, "ready")]
        assert [(trigger.recovery, trigger.event) for trigger in snapshot.triggers] == [(0, "event"), (1, "event")]
        assert snapshot.holds == [HoldRow("gpu", "step", "2", 1)]

    @ensureDeferred
    async def test_one_at_fault_fails_alone(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        for run_id in ("good", "bad", "old"):
            await store.begin("flow", run_id, "host:1")
        await store.take("old", "host:1")
        free = busy(store)
        good = [store.commit("good", 1, some(1)), store.commit("bad", 1, some(2))]
        lost, failed, after = store.commit("old", 1, some(3)), store.commit("bad", 1, wrong(4)), store.commit("bad", 1, some(5))
        good.append(store.commit("good", 1, some(6)))
        await free()
        await gatherResults(good)
        with pytest.raises(RunLost):
            await lost
        with pytest.raises(StoreUnusable) as caught:
            await failed
        with pytest.raises(StoreUnusable, match="earlier commit of run 'bad' failed"):
            await after
        assert caught.value.__cause__ is not None
        found = {run_id: numbers((await store.take(run_id, "host:1")).tasks) for run_id in ("good", "bad", "old")}
        assert found == {"good": [1, 6], "bad": [2], "old": []}


class TestEpoch:
    @ensureDeferred
    async def test_an_older_engine_cannot_commit(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        await store.begin("flow", "run", "host:1")
        await store.begin("flow", "other", "host:1")
        assert (await store.take("run", "host:1")).run.epoch == 2
        commits = [store.commit("run", 1, some(1)), store.commit("other", 1, some(2)), store.commit("run", 2, some(3))]
        with pytest.raises(RunLost, match="'run'.*epoch 1"):
            await commits[0]
        await gatherResults(commits[1:])
        assert numbers((await store.take("run", "host:1")).tasks) == [3]
        assert numbers((await store.take("other", "host:1")).tasks) == [2]

    @ensureDeferred
    async def test_nor_can_one_of_a_run_that_is_not_there(self, url: str, store_at: StoreAt) -> None:
        store = store_at(url)
        await store.open()
        with pytest.raises(RunLost):
            await store.commit("nowhere", 1, some(1))


def wrong(number: int) -> Batch:
    """A batch that no database takes, after a row that it would."""
    batch = some(number)
    batch.tasks["bad", "1"] = TaskRow(0, "bad", "1", None, 1, 1, 1.0, None, None, None, None, None, False)  # type: ignore[arg-type]  # on purpose
    return batch


class TestWhatCannotBeStored:
    @ensureDeferred
    async def test_fails_alone_and_whole(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        for run_id in ("good", "bad"):
            await store.begin("flow", run_id, "host:1")
        commits = [
            store.commit("good", 1, some(1)),
            store.commit("bad", 1, some(2)),
            store.commit("bad", 1, wrong(3)),
            store.commit("good", 1, some(4)),
        ]
        with pytest.raises(StoreUnusable) as caught:
            await commits[2]
        assert caught.value.__cause__ is not None
        await gatherResults([commits[0], commits[1], commits[3]])
        assert numbers((await store.take("good", "host:1")).tasks) == [1, 4]
        assert numbers((await store.take("bad", "host:1")).tasks) == [2]
        assert store.state == "open"

    @ensureDeferred
    async def test_what_came_after_it_fails_too_until_the_run_is_taken_again(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        await store.begin("flow", "run", "host:1")
        commits = [store.commit("run", 1, wrong(1)), store.commit("run", 1, some(2))]
        with pytest.raises(StoreUnusable):
            await commits[0]
        with pytest.raises(StoreUnusable, match="earlier commit of run 'run' failed"):
            await commits[1]
        with pytest.raises(StoreUnusable, match="earlier commit"):
            await store.commit("run", 1, some(3))
        assert (await store.take("run", "host:1")).tasks == []
        await store.commit("run", 2, some(4))
        assert numbers((await store.take("run", "host:1")).tasks) == [4]

    @pytest.mark.parametrize("text", ["\ud800", "nul\0"])
    @ensureDeferred
    async def test_names_that_are_no_text_are_errors_or_come_back(self, url: str, store_at: StoreAt, text: str) -> None:
        store = store_at(url)
        await store.open()
        await store.begin("flow", "run", "host:1")
        batch = Batch()
        batch.tasks[text, "1"] = TaskRow(0, text, "1", "ready", 1, 1, 1.0, None, None, None, None, None, False)
        try:
            await store.commit("run", 1, batch)
        except StoreUnusable:
            tasks: list[TaskRow] = []
        else:
            tasks = list(batch.tasks.values())
        assert (await store.take("run", "host:1")).tasks == tasks


class TestReader:
    @ensureDeferred
    async def test_it_sees_what_is_there_while_the_engine_works(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        run = (await store.begin("flow", "run", "host:1")).run
        batch = every_kind(run)
        await store.commit("run", 1, batch)
        with read_store(lasting) as reader:
            assert reader.run("run") == batch.run
            assert reader.runs() == reader.runs("flow") == [batch.run]
            assert reader.runs("other") == []
            assert reader.load("run").tasks == list(batch.tasks.values())
            assert reader.pools() == [PoolRow("gpu", 4)]
            await store.commit("run", 1, some(9))
            assert "9" in {task.sequence for task in reader.load("run").tasks}
            with pytest.raises(UnknownRun, match="'run'"):
                reader.load("no")

    @ensureDeferred
    async def test_it_reads_after_the_engine_has_ended(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        await store.begin("flow", "run", "host:1")
        await store.commit("run", 1, some(1))
        await store.close()
        with read_store(lasting) as reader:
            assert numbers(reader.load("run").tasks) == [1]
            assert reader.living_owner("run") is None

    @ensureDeferred
    async def test_it_writes_nothing(self, lasting: str, store_at: StoreAt) -> None:
        store = store_at(lasting)
        await store.open()
        with read_store(lasting) as reader, pytest.raises(reader._database.error, match="read-?only"):
            reader._database.execute("DELETE FROM runs")


class TestInBetween:
    @ensureDeferred
    async def test_it_can_be_closed_while_it_opens(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        opening = store.open()
        with pytest.raises(StoreUnusable, match="closed"):
            await store.runs()
        closing = store.close()
        with pytest.raises(StoreUnusable, match="being closed"):
            await store.open()
        await gatherResults([opening, closing])
        assert (store.state, writers()) == ("closed", [])

    @ensureDeferred
    async def test_even_when_that_fails(self, tmp_path: Path, store_at: StoreAt) -> None:
        store = store_at(str(tmp_path))
        opening, closing = store.open(), store.close()
        with pytest.raises(StoreUnusable):
            await opening
        await closing
        assert (store.state, writers()) == ("closed", [])

    @ensureDeferred
    async def test_a_cancelled_commit_is_written_all_the_same(self, database: str, store_at: StoreAt) -> None:
        store = store_at(database)
        await store.open()
        await store.begin("flow", "run", "host:1")
        commit = store.commit("run", 1, some(1))
        commit.cancel()
        with pytest.raises(CancelledError):
            await commit
        assert numbers((await store.take("run", "host:1")).tasks) == [1]
