"""Events that were seen: in each kind of database, by several processes, and past the end of one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_evproc.errors import ConfigurationError, StoreTooNew, StoreUnusable
from twisted_evproc.flow.store import SeenEvents
from twisted_evproc.interfaces import IDeduplicator, IFlowStore

SeenAt = Callable[..., SeenEvents]
StoreAt = Callable[..., IFlowStore]

#: A process of its own: remembers one ID after the other, and says each when it is remembered.
CHILD = """
import os, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted_evproc.flow.store import SeenEvents

async def remember(reactor, url, prefix, fault, count):
    seen = SeenEvents(url)
    await seen.open()
    if fault:
        # It answers before it commits: what was acknowledged is written with the next transaction.
        database = seen._thread.database
        begin, commit = database.begin, database.commit
        database.commit = lambda: None
        database.begin = lambda: (commit() if database._open.in_transaction else None, begin())
    for number in range(int(count)):
        await seen.remember("exchange group", f"{prefix}{number}")
        os.write(1, f"{number}\\n".encode())
    await Deferred()

react(lambda reactor, *arguments: Deferred.fromCoroutine(remember(reactor, *arguments)), sys.argv[1:])
"""


@pytest.fixture
def seen_at() -> Iterator[SeenAt]:
    made: list[SeenEvents] = []

    def make(url: str, **options: Any) -> SeenEvents:
        made.append(SeenEvents(url, **options))
        return made[-1]

    yield make
    for seen in made:
        pytest_twisted.blockon(seen.close())


@pytest.fixture
def rememberer() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(url: str, prefix: str, fault: str = "", count: int = 1_000_000) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", CHILD, url, prefix, fault, str(count)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def acknowledged(process: subprocess.Popen[str], least: int) -> list[int]:
    """What a child remembered by its own words; it is killed after so many."""
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(least)]
    process.kill()
    rest = process.stdout.read()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    return said + [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]


def rows(url: str) -> list[tuple[str, str]]:
    """What is in the table, seen from outside."""
    statement = "SELECT scope, event_id FROM evproc_seen_event ORDER BY scope, event_id"
    if url.startswith("postgresql"):
        with psycopg.connect(url) as there:
            return there.execute(statement).fetchall()
    here = sqlite3.connect(url)
    try:
        return here.execute(statement).fetchall()
    finally:
        here.close()


def state_of(seen: SeenEvents, wanted: str) -> Deferred[str]:
    """Fires with the next state that begins so."""
    found: Deferred[str] = Deferred()

    def hear(state: str) -> None:
        if state.startswith(wanted) and not found.called:
            found.callback(state)

    seen.watch_state(hear)
    return found


class TestContract:
    @ensureDeferred
    async def test_it_provides_its_interface(self, database: str, seen_at: SeenAt) -> None:
        assert verifyObject(IDeduplicator, seen_at(database))

    @ensureDeferred
    async def test_what_was_remembered_was_seen(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        assert await seen.seen("exchange group", "id") is False
        await seen.remember("exchange group", "id")
        assert await seen.seen("exchange group", "id") is True

    @ensureDeferred
    async def test_scopes_and_ids_are_compared_exactly(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        await seen.remember("one", "Id 1")
        others = [("two", "Id 1"), ("On", "eId 1"), ("one", "id 1"), ("one", "Id 1 "), ("one", "Id"), ("one", "Id _"), ("", "")]
        assert await gatherResults([seen.seen(scope, event_id) for scope, event_id in others]) == [False] * len(others)

    @ensureDeferred
    async def test_remembering_twice_is_no_error(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        await gatherResults([seen.remember("s", "id"), seen.remember("s", "id")])
        await seen.remember("s", "id")
        assert await seen.seen("s", "id") is True

    @ensureDeferred
    async def test_a_question_waits_for_what_is_being_remembered(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        order: list[str] = []

        def note(answer: object, what: str) -> None:
            order.append(f"{what}: {answer}")

        # The first is under way, the second waits for it.
        done = [seen.remember("s", name).addCallback(note, name) for name in ("first", "second")]
        # A transaction of its own would come before that of the second.
        asked = seen.seen("s", "second").addCallback(note, "second")
        await gatherResults(done)
        await asked
        assert order == ["first: None", "second: None", "second: True"]

    @ensureDeferred
    async def test_many_at_a_time_in_many_scopes(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        keys = [(f"scope {number % 7}", f"id {number}") for number in range(3_000)]
        await gatherResults([seen.remember(*key) for key in keys[::2]])
        answers = await gatherResults([seen.seen(*key) for key in keys])
        assert answers == [number % 2 == 0 for number in range(3_000)]

    @ensureDeferred
    async def test_text_that_a_key_may_be(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        # Nothing that a database could compress: the longest key has to fit into its index as it is.
        widest = "".join(chr(0x1_0000 + 7_919 * number % 0xF_0000) for number in range(512))
        keys = [("", ""), ("s", "x" * 512), (widest[:128], widest), ("'; DROP", '"],[%s {}\\'), ("é", "e\u0301\n\t")]
        await gatherResults([seen.remember(*key) for key in keys])
        assert await gatherResults([seen.seen(*key) for key in keys]) == [True] * len(keys)

    @pytest.mark.parametrize(
        ("scope", "event_id", "named"),
        [
            ("s", "x" * 513, "event_id="),
            ("s", "a\0b", "event_id="),
            ("s", "\ud800", "event_id="),
            ("s", 7, "event_id=7 has to be text of 512 characters at most"),
            ("s", b"id", "event_id="),
            ("x" * 513, "id", "scope="),
            ("é" * 257, "id", "scope="),
            ("a\0b", "id", "scope="),
            (None, "id", "scope=None has to be text of 512 bytes at most"),
        ],
    )
    @ensureDeferred
    async def test_what_is_no_key(self, seen_at: SeenAt, scope: Any, event_id: Any, named: str) -> None:
        seen = seen_at(":memory:")
        await seen.open()
        for method in (seen.seen, seen.remember):
            with pytest.raises(ConfigurationError, match=named):
                await method(scope, event_id)

    @ensureDeferred
    async def test_closing_finishes_what_was_asked_for(self, lasting: str, seen_at: SeenAt) -> None:
        seen = seen_at(lasting)
        await seen.open()
        done = [seen.remember("s", f"{number}") for number in range(2_500)]
        question = seen.seen("s", "other")
        closed = seen.close()
        assert await gatherResults(done) == [None] * 2_500
        assert await question is False
        await closed
        assert len(rows(lasting)) == 2_500

    @ensureDeferred
    async def test_it_is_used_between_open_and_close(self, lasting: str, seen_at: SeenAt) -> None:
        seen = seen_at(lasting)
        await seen.close()
        for method in (seen.seen, seen.remember):
            with pytest.raises(StoreUnusable, match=r"is closed; open\(\) it first"):
                await method("s", "id")
        await gatherResults([seen.open(), seen.open()])
        assert seen.state == "open"
        await seen.remember("s", "id")
        await gatherResults([seen.close(), seen.close()])
        assert seen.state == "closed"
        with pytest.raises(StoreUnusable, match=r"is closed; open\(\) it first"):
            await seen.seen("s", "id")
        await seen.open()
        assert await seen.seen("s", "id") is True

    @ensureDeferred
    async def test_questions_are_answered_though_nobody_waits_for_some(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database)
        await seen.open()
        dropped = seen.remember("s", "id")
        kept = seen.remember("s", "id")
        dropped.addErrback(lambda _: None)
        dropped.cancel()
        await kept
        assert await seen.seen("s", "id") is True


class TestOptions:
    @pytest.mark.parametrize("keep", [0, -1.0, float("nan"), float("inf"), True, "week"])
    def test_how_long(self, keep: Any) -> None:
        with pytest.raises(ConfigurationError, match="keep="):
            SeenEvents(":memory:", keep=keep)

    @pytest.mark.parametrize(
        ("url", "named"),
        [("mysql://localhost/x", "no store for mysql"), ("", "no path"), ("postgresql://h?x=y", "none that")],
    )
    def test_where(self, url: str, named: str) -> None:
        with pytest.raises(ConfigurationError, match=named):
            SeenEvents(url)

    def test_whose_time(self) -> None:
        with pytest.raises(ConfigurationError, match="clock=7 keeps no time"):
            SeenEvents(":memory:", clock=7)  # type: ignore[arg-type]  # that is the point

    def test_a_password_is_not_shown(self) -> None:
        seen = SeenEvents("postgresql://me:secret@127.0.0.1/there")
        assert repr(seen) == "<SeenEvents postgresql://me@127.0.0.1/there: closed>"


class TestAge:
    @ensureDeferred
    async def test_an_id_counts_for_so_long(self, database: str, seen_at: SeenAt) -> None:
        clock = Clock()
        seen = seen_at(database, keep=60.0, clock=clock)
        await seen.open()
        await seen.remember("s", "id")
        clock.advance(59.0)
        assert await seen.seen("s", "id") is True
        clock.advance(1.0)
        assert await seen.seen("s", "id") is False

    @ensureDeferred
    async def test_it_counts_anew_once_it_is_remembered_again(self, lasting: str, seen_at: SeenAt) -> None:
        clock = Clock()
        seen = seen_at(lasting, keep=60.0, clock=clock)
        await seen.open()
        await seen.remember("s", "id")
        clock.advance(100.0)
        await seen.remember("s", "id")
        assert await seen.seen("s", "id") is True
        clock.advance(59.0)
        await seen.close()
        await seen.open()  # which purges
        await seen.close()
        assert rows(lasting) == [("s", "id")]

    @ensureDeferred
    async def test_without_a_limit_nothing_goes(self, lasting: str, seen_at: SeenAt) -> None:
        clock = Clock()
        seen = seen_at(lasting, keep=None, clock=clock)
        await seen.open()
        await seen.remember("s", "id")
        clock.advance(1e12)
        await seen.close()
        await seen.open()
        assert await seen.seen("s", "id") is True

    @ensureDeferred
    async def test_the_time_is_the_databases(self, lasting: str, seen_at: SeenAt) -> None:
        seen = seen_at(lasting, keep=3_600.0)
        await seen.open()
        await seen.remember("s", "new")
        await seen.remember("s", "old")
        statement = "UPDATE evproc_seen_event SET at = at - 3600 WHERE event_id = 'old'"
        if lasting.startswith("postgresql"):
            with psycopg.connect(lasting) as there:
                there.execute(statement)
        else:
            here = sqlite3.connect(lasting)
            here.execute(statement)
            here.commit()
            here.close()
        assert await gatherResults([seen.seen("s", "new"), seen.seen("s", "old")]) == [True, False]

    @ensureDeferred
    async def test_old_ones_go_when_it_is_opened(self, lasting: str, seen_at: SeenAt) -> None:
        clock = Clock()
        seen = seen_at(lasting, keep=60.0, clock=clock)
        await seen.open()
        # More than three slices.
        await gatherResults([seen.remember("s", f"old {number}") for number in range(3_500)])
        clock.advance(30.0)
        await seen.remember("s", "new")
        clock.advance(30.0)
        await seen.close()
        await seen.open()
        while seen._purging:
            # Between two slices others have their turn.
            assert await seen.seen("s", "new") is True
        assert rows(lasting) == [("s", "new")]

    @ensureDeferred
    async def test_old_ones_go_as_new_ones_come(self, lasting: str, seen_at: SeenAt) -> None:
        clock = Clock()
        seen = seen_at(lasting, keep=60.0, clock=clock)
        await seen.open()
        for batch in range(20):
            await gatherResults([seen.remember("s", f"{batch} {number}") for number in range(300)])
            clock.advance(30.0)
        await seen.close()
        # Of 6 000, those of the last minute, and what came since the last purge.
        assert len(rows(lasting)) <= 3 * 300 + 500

    @ensureDeferred
    async def test_nothing_wakes_up_by_itself(self, database: str, seen_at: SeenAt) -> None:
        from twisted.internet import reactor  # noqa: TID251  # pytest-twisted has installed it

        clock = Clock()
        before = set(reactor.getDelayedCalls())
        seen = seen_at(database, clock=clock)
        await seen.open()
        await gatherResults([seen.remember("s", f"{number}") for number in range(1_000)])
        assert set(reactor.getDelayedCalls()) == before
        assert clock.getDelayedCalls() == []


class TestSharing:
    @ensureDeferred
    async def test_two_open_it_at_once_and_see_each_others(self, lasting: str, seen_at: SeenAt) -> None:
        several = [seen_at(lasting) for _ in range(4)]
        await gatherResults([seen.open() for seen in several])
        first, second, *_ = several
        await first.remember("s", "id")
        assert await second.seen("s", "id") is True

    @ensureDeferred
    async def test_all_remember_the_same_at_once(self, lasting: str, seen_at: SeenAt) -> None:
        several = [seen_at(lasting) for _ in range(3)]
        await gatherResults([seen.open() for seen in several])
        ids = [f"{number}" for number in range(400)]
        # Each in another order.
        orders = [ids, ids[::-1], ids[200:] + ids[:200]]
        for _ in range(3):
            await gatherResults(
                [seen.remember("s", event_id) for seen, order in zip(several, orders, strict=True) for event_id in order]
            )
        assert rows(lasting) == sorted(("s", event_id) for event_id in ids)

    @ensureDeferred
    async def test_several_purge_at_once(self, lasting: str, seen_at: SeenAt) -> None:
        clock = Clock()
        several = [seen_at(lasting, keep=60.0, clock=clock) for _ in range(3)]
        await several[0].open()
        await gatherResults([several[0].remember("s", f"{number}") for number in range(4_000)])
        await several[0].close()
        clock.advance(60.0)
        await gatherResults([seen.open() for seen in several])
        await gatherResults([seen.remember("s", f"{number}") for seen in several for number in range(100)])
        while any(seen._purging for seen in several):
            await gatherResults([seen.seen("s", "0") for seen in several])
        assert rows(lasting) == sorted(("s", f"{number}") for number in range(100))

    @ensureDeferred
    async def test_processes_share_it(self, lasting: str, seen_at: SeenAt, rememberer: Any) -> None:
        processes = [rememberer(lasting, prefix) for prefix in ("a", "b")]
        said = [[int(process.stdout.readline()) for _ in range(20)] for process in processes]
        seen = seen_at(lasting)
        await seen.open()
        for prefix, numbers in zip("ab", said, strict=True):
            answers = [seen.seen("exchange group", f"{prefix}{number}") for number in numbers]
            assert await gatherResults(answers) == [True] * 20
        for process in processes:
            process.kill()
        assert numbers == list(range(20))


class TestKilled:
    @pytest.mark.parametrize("least", [1, 37, 120])
    @ensureDeferred
    async def test_nothing_acknowledged_is_lost(self, lasting: str, seen_at: SeenAt, rememberer: Any, least: int) -> None:
        said = acknowledged(rememberer(lasting, "id "), least)
        seen = seen_at(lasting)
        await seen.open()
        assert await gatherResults([seen.seen("exchange group", f"id {number}") for number in said]) == [True] * len(said)
        # At most the one that was under way is there without having been acknowledged.
        assert len(said) <= len(rows(lasting)) <= len(said) + 1

    @ensureDeferred
    async def test_one_that_answers_before_it_commits_is_caught(self, path: str, rememberer: Any) -> None:
        """The control: this harness notices the fault that it is there for."""
        # It stays at the twentieth: a twenty-first would commit that one.
        said = acknowledged(rememberer(path, "id ", "lie", 20), 20)
        assert len(rows(path)) < len(said)

    @ensureDeferred
    async def test_each_is_forced_to_the_disk(self, path: str, seen_at: SeenAt) -> None:
        seen = seen_at(path)
        await seen.open()
        database = seen._thread.database

        def pragmas(_: bool) -> list[Any]:
            return [database.query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")]

        assert await seen._thread.call(pragmas) == ["wal", 2]

    @ensureDeferred
    async def test_those_in_flight_share_transactions(self, database: str, seen_at: SeenAt) -> None:
        seen = seen_at(database, keep=None)
        await seen.open()
        place = seen._thread.database
        begun: list[int] = []
        begin = place.begin
        place.begin = lambda: (begun.append(1), begin())[1]  # type: ignore[method-assign, func-returns-value]  # counts them
        await gatherResults([seen.remember("s", f"{number}") for number in range(400)])
        # The first goes at once, and the rest together.
        assert len(begun) == 2


class TestWaiting:
    @ensureDeferred
    async def test_a_file_that_another_has_locked(self, path: str, seen_at: SeenAt) -> None:
        seen = seen_at(path)
        await seen.open()
        waiting = state_of(seen, "commits wait: the database is locked")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        remembered = seen.remember("s", "id")
        await waiting
        assert not remembered.called
        other.execute("ROLLBACK")
        other.close()
        await remembered
        assert (await seen.seen("s", "id"), seen.state) == (True, "open")

    @ensureDeferred
    async def test_closed_while_it_waits(self, path: str, seen_at: SeenAt) -> None:
        seen = seen_at(path)
        await seen.open()
        waiting = state_of(seen, "commits wait")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        first = seen.remember("s", "first")
        second, asked = seen.remember("s", "second"), seen.seen("s", "second")
        await waiting
        closed = seen.close()
        for done in (first, second, asked):
            with pytest.raises(StoreUnusable, match="closed while commits waited"):
                await done
        await closed
        other.close()
        assert rows(path) == []

    @ensureDeferred
    async def test_a_connection_that_is_lost(self, postgresql: str, seen_at: SeenAt) -> None:
        seen = seen_at(postgresql)
        await seen.open()
        await seen.remember("s", "before")
        with psycopg.connect(postgresql, autocommit=True) as there:
            there.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await seen.remember("s", "after")
        assert await gatherResults([seen.seen("s", "before"), seen.seen("s", "after")]) == [True, True]

    @ensureDeferred
    async def test_what_waiting_does_not_mend(self, lasting: str, seen_at: SeenAt) -> None:
        seen = seen_at(lasting, keep=None)
        await seen.open()
        if lasting.startswith("postgresql"):
            with psycopg.connect(lasting) as there:
                there.execute("DROP TABLE evproc_seen_event")
        else:
            here = sqlite3.connect(lasting)
            here.execute("DROP TABLE evproc_seen_event")
            here.close()
        for method in (seen.seen, seen.remember):
            with pytest.raises(StoreUnusable, match="evproc_seen_event"):
                await method("s", "id")


class TestBesideAFlow:
    @ensureDeferred
    async def test_one_postgresql_database_holds_both(self, postgresql: str, seen_at: SeenAt, store_at: StoreAt) -> None:
        seen, store = seen_at(postgresql), store_at(postgresql)
        await gatherResults([seen.open(), store.open()])
        remembered = seen.remember("s", "id")
        await store.begin("flow", "run", "host:1")
        await remembered
        assert await seen.seen("s", "id") is True

    @pytest.mark.parametrize("running", [True, False])
    @ensureDeferred
    async def test_the_file_of_a_flow_is_refused(self, path: str, seen_at: SeenAt, store_at: StoreAt, running: bool) -> None:
        store = store_at(path)
        await store.open()
        if not running:
            await store.close()
        with pytest.raises(StoreUnusable, match="holds runs of flows.*a file of their own"):
            await seen_at(path).open()
        if running:
            await store.begin("flow", "run", "host:1")

    @ensureDeferred
    async def test_a_flow_refuses_this_file(self, path: str, seen_at: SeenAt, store_at: StoreAt) -> None:
        seen = seen_at(path)
        await seen.open()
        await seen.remember("s", "id")
        with pytest.raises(StoreUnusable, match=r"with tables evproc_seen_event, evproc_seen_meta; choose another place"):
            await store_at(path).open()
        assert await seen.seen("s", "id") is True


class TestVersions:
    def execute(self, url: str, statement: str) -> None:
        if url.startswith("postgresql"):
            with psycopg.connect(url) as there:
                there.execute(statement.encode())
        else:
            here = sqlite3.connect(url)
            here.execute(statement)
            here.commit()
            here.close()

    @ensureDeferred
    async def test_a_newer_table_is_left_alone(self, lasting: str, seen_at: SeenAt) -> None:
        seen = seen_at(lasting)
        await seen.open()
        await seen.close()
        self.execute(lasting, "UPDATE evproc_seen_meta SET value = '2'")
        with pytest.raises(StoreTooNew, match="has schema version 2, and this version knows 1"):
            await seen.open()
        self.execute(lasting, "UPDATE evproc_seen_meta SET value = '1'")
        await seen.open()

    @ensureDeferred
    async def test_something_else_is_left_alone(self, lasting: str, seen_at: SeenAt) -> None:
        self.execute(lasting, "CREATE TABLE evproc_seen_event (letter TEXT)")
        with pytest.raises(StoreUnusable, match="holds something else, with tables evproc_seen_event; choose another place for"):
            await seen_at(lasting).open()
        assert not lasting.endswith(".db") or not Path(f"{lasting}-wal").exists()
