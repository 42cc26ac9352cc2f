"""PostgreSQL: engines that share a store, and connections that break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from twisted_evproc.errors import ConfigurationError, RunExists, RunInUse, RunLost, StoreUnusable
from twisted_evproc.flow import Batch, HoldRow
from twisted_evproc.flow.store import open_store, read_store
from twisted_evproc.interfaces import IFlowStore

from .conftest import administer, numbers, some, state_of

StoreAt = Callable[..., IFlowStore]


def kill_connections(url: str, *others: int) -> int:
    """End all connections to a database, as an administrator does; how many there were."""
    name = url.rpartition("/")[2]
    ended = administer(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND NOT pid = ANY(%s)",
        name,
        list(others),
    )
    return len(ended)


async def process_id(store: Any) -> int:
    pid: int = await store._thread.call(lambda _: store._thread.database.query("SELECT pg_backend_pid()")[0][0])
    return pid


class TestTwoEngines:
    @ensureDeferred
    async def test_share_a_store_but_no_run(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = store_at(postgresql), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        await first.begin("flow", "one", "host:1")
        await second.begin("flow", "two", "host:2")
        with pytest.raises(RunInUse, match="'one' belongs to the engine in process host:1"):
            await second.take("one", "host:2")
        with pytest.raises(RunExists):
            await second.begin("flow", "one", "host:2")
        await gatherResults([first.commit("one", 1, some(1)), second.commit("two", 1, some(2))])
        assert (await first.take("one", "host:1")).run.epoch == 2

    @ensureDeferred
    async def test_a_run_is_free_once_its_engine_has_closed(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = store_at(postgresql), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        await first.begin("flow", "run", "host:1")
        await first.commit("run", 1, some(1))
        await first.close()
        snapshot = await second.take("run", "host:2")
        assert (numbers(snapshot.tasks), snapshot.run.owner, snapshot.run.epoch) == ([1], "host:2", 2)

    @ensureDeferred
    async def test_one_that_lost_its_connection_and_then_its_run_learns_it(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = store_at(postgresql), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        await first.begin("flow", "run", "host:1")
        await first.begin("flow", "kept", "host:1")
        await first.commit("run", 1, some(1))
        assert kill_connections(postgresql, await process_id(second)) == 1
        assert (await second.take("run", "host:2")).run.epoch == 2
        commits = [first.commit("run", 1, some(2)), first.commit("kept", 1, some(3))]
        with pytest.raises(RunLost, match="'run'"):
            await commits[0]
        await commits[1]
        await second.commit("run", 2, some(4))
        assert numbers((await second.take("run", "host:2")).tasks) == [1, 4]
        with pytest.raises(RunInUse):
            await second.take("kept", "host:2")

    @ensureDeferred
    async def test_one_whose_epoch_is_over_learns_it_and_gives_up_the_lock(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = store_at(postgresql), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        await first.begin("flow", "run", "host:1")
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute("UPDATE runs SET epoch = 7")
        with pytest.raises(RunLost):
            await first.commit("run", 1, some(1))
        assert (await second.take("run", "host:2")).run.epoch == 8

    @ensureDeferred
    async def test_a_lock_that_a_lost_connection_still_has_is_taken_later(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = cast("Any", store_at(postgresql)), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        with psycopg.connect(postgresql, autocommit=True) as lost:
            lost.execute("SELECT pg_advisory_lock(%s)", (first._thread.database._key("run run"),))
            await first.begin("flow", "run", "host:1")
            await first.commit("run", 1, some(1))
            lost.execute("SELECT pg_advisory_unlock_all()")
        await first.commit("run", 1, some(2))
        with pytest.raises(RunInUse):
            await second.take("run", "host:2")
        assert numbers((await first.take("run", "host:1")).tasks) == [1, 2]

    @ensureDeferred
    async def test_what_a_run_holds_is_free_once_its_engine_is_dead(self, postgresql: str, store_at: StoreAt) -> None:
        first, second = store_at(postgresql), store_at(postgresql)
        await gatherResults([first.open(), second.open()])
        for run_id in ("one", "two"):
            await first.begin("flow", run_id, "host:1")
            batch = Batch()
            batch.holds["gpu", "step", "1"] = HoldRow("gpu", "step", "1", 1)
            batch.holds["gpu", "step", "2"] = HoldRow("gpu", "step", "2", 2)
            await first.commit(run_id, 1, batch)
        assert (await second.begin("flow", "other", "host:2")).foreign_holds == {"gpu": 6}
        with read_store(postgresql) as reader:
            assert reader.load("other").foreign_holds == {"gpu": 6}
            # Its runs are left as a process leaves them that is killed.
            await first.close()
            assert reader.load("other").foreign_holds == {}
        assert (await second.take("one", "host:2")).foreign_holds == {}
        assert (await second.take("other", "host:2")).foreign_holds == {"gpu": 3}

    @ensureDeferred
    async def test_a_reader_knows_who_lives(self, postgresql: str, store_at: StoreAt) -> None:
        store = store_at(postgresql)
        await store.open()
        await store.begin("flow", "run", "host:1")
        with read_store(postgresql) as reader:
            assert reader.living_owner("run") == "host:1"
            await store.close()
            assert reader.living_owner("run") is None

    @ensureDeferred
    async def test_schemas_are_stores_of_their_own(self, postgresql: str, store_at: StoreAt) -> None:
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA beside")
        stores = [store_at(postgresql), store_at(f"{postgresql}?options=-csearch_path%3Dbeside")]
        for store in stores:
            await store.open()
            await store.begin("flow", "run", "host:1")


def waits(state: str) -> bool:
    return state.startswith("commits wait")


class TestWaiting:
    @ensureDeferred
    async def test_a_killed_connection_costs_nothing(self, postgresql: str, store_at: StoreAt) -> None:
        store = store_at(postgresql)
        await store.open()
        await store.begin("flow", "run", "host:1")
        states: list[str] = []
        store.watch_state(states.append)
        done: list[int] = []
        commits = []
        for number in range(1_000):
            commits.append(store.commit("run", 1, some(number)).addCallback(lambda _, number: done.append(number), number))
            if number % 100 == 50:
                await commits[-20]
                assert kill_connections(postgresql) == 1
        await gatherResults(commits)
        assert done == list(range(1_000))
        assert numbers((await store.take("run", "host:1")).tasks) == list(range(1_000))
        assert any("the connection is lost" in state or "the server ended the connection" in state for state in states)
        assert store.state == states[-1] == "open"

    @ensureDeferred
    async def test_while_another_transaction_has_the_run(self, postgresql: str, store_at: StoreAt) -> None:
        store: Any = store_at(postgresql)
        await store.open()
        await store.begin("flow", "run", "host:1")
        await store._thread.call(lambda _: store._thread.database.execute("SET lock_timeout = 20"))
        waiting = state_of(store, waits)
        with psycopg.connect(postgresql) as other:
            other.execute("SELECT * FROM runs FOR UPDATE")
            commit = store.commit("run", 1, some(1))
            assert "another transaction is in the way" in await waiting
        await commit

    @ensureDeferred
    async def test_while_nobody_may_connect(self, postgresql: str, store_at: StoreAt) -> None:
        store = store_at(postgresql)
        await store.open()
        await store.begin("flow", "run", "host:1")
        name = postgresql.rpartition("/")[2]
        administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        kill_connections(postgresql)
        waiting = state_of(store, lambda state: "not currently accepting connections" in state)
        commit = store.commit("run", 1, some(1))
        await waiting
        administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await commit
        assert numbers((await store.take("run", "host:1")).tasks) == [1]

    @ensureDeferred
    async def test_a_commit_of_which_nobody_knows_is_written_again(self, postgresql: str, store_at: StoreAt) -> None:
        store: Any = store_at(postgresql)
        await store.open()
        database = store._thread.database
        commit, failures = database.commit, [True]

        def unclear() -> None:
            commit()
            if failures:
                failures.pop()
                raise psycopg.OperationalError("planted")

        database.commit = unclear
        assert (await store.begin("flow", "run", "host:1")).run.epoch == 1
        failures.append(True)
        await store.commit("run", 1, some(1))
        assert numbers((await store.take("run", "host:1")).tasks) == [1]
        assert not failures


class TestDurability:
    @pytest.mark.parametrize(("durability", "setting"), [("full", "on"), ("normal", "off")])
    @ensureDeferred
    async def test_is_what_was_asked_for(self, postgresql: str, store_at: StoreAt, durability: str, setting: str) -> None:
        administer(f"ALTER DATABASE {postgresql.rpartition('/')[2]} SET synchronous_commit = off")
        store: Any = store_at(postgresql, durability=durability)
        await store.open()
        assert await store._thread.call(lambda _: store._thread.database.query("SHOW synchronous_commit")) == [(setting,)]


class TestPlace:
    @ensureDeferred
    async def test_a_server_that_is_not_there(self, store_at: StoreAt) -> None:
        store = store_at("postgresql://ann:geheim@127.0.0.1:1/x")
        with pytest.raises(StoreUnusable, match="postgresql://ann@127.0.0.1:1/x: .*refused") as caught:
            await store.open()
        assert "geheim" not in f"{caught.value} {store!r} {caught.value.__cause__}"
        assert store.state == "closed"

    def test_a_url_that_is_none_does_not_show_its_password(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            open_store("postgresql://ann:geheim@host:no-port:1/x?nonsense")
        assert "geheim" not in str(caught.value)

    @ensureDeferred
    async def test_tables_of_others_may_stand_beside_but_not_in_the_way(self, postgresql: str, store_at: StoreAt) -> None:
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute("CREATE TABLE customers (name text)")
            await store_at(postgresql).open()
            connection.execute("DROP TABLE meta")
        with pytest.raises(StoreUnusable, match="holds something else, with tables delays, holds, pools, runs, tasks, triggers"):
            await store_at(postgresql).open()
