"""
Flows of all shapes, killed at every point and at random moments, also while they recover: nothing is lost, and nothing that was
recorded is done again.

``EVPROC_KILL_SEED`` repeats a run of these tests; each prints its seed.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import attrs
import psycopg
import pytest

from twisted_evproc.flow.crashtest import History, Kill, Point, Side
from twisted_evproc.flow.crashtest._crashtest import Undisturbed, undisturbed
from twisted_evproc.flow.crashtest._history import NO_KILL, FilePlace, Place, history
from twisted_evproc.flow.crashtest._judge import State
from twisted_evproc.flow.crashtest._lives import Lives

HERE = Path(__file__).parent
LOADER = "twisted_evproc.cli._crashtest:load_builder"
SEED = int(os.environ.get("EVPROC_KILL_SEED", random.SystemRandom().randrange(1 << 32)))
SECONDS = 60.0

SHAPES = (
    "chain",
    "inline",
    "processes",
    "fan",
    "retries",
    "resources",
    "delays",
    "sequences",
    "failing",
    "mending",
    "probed",
    "looping",
)
#: What the second and third life are killed at: they may have ended before.
LATER = [Point(number, side) for number in range(1, 6) for side in Side]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In memory where possible: a killed process loses none of what the system has, and a disk would only be slow."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="evproc-kill-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        temporary = Path(name, "tmp")
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
        yield Path(name)
        assert list(temporary.iterdir()) == [], "files were left among the temporary ones"


@attrs.frozen
class SchemaPlace:
    """A schema of a PostgreSQL database."""

    database: str
    name: str

    @property
    def url(self) -> str:
        return f"{self.database}?options={quote(f'-csearch_path={self.name}')}&application_name={self.name}"

    def settle(self) -> None:
        # A server process ends what it is at before it notices that its client has gone.
        with psycopg.connect(self.database, autocommit=True) as connection:
            while connection.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = %s", (self.name,)).fetchall():
                connection.execute("SELECT pg_sleep(0.002)")


def schemas(database: str) -> Callable[[Path], Place]:
    numbers = itertools.count()

    def make(_: Path) -> Place:
        place = SchemaPlace(database, f"kill_{next(numbers)}")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {place.name}".encode())
        return place

    return make


def file(folder: Path) -> Place:
    return FilePlace(str(folder / "flow.db"))


#: Chooses the histories of a shape.
Plan = Callable[[random.Random, Undisturbed], list[list[Kill]]]


def everywhere(chance: random.Random, calm: Undisturbed) -> list[list[Kill]]:
    """Every point, and as many random moments as a third of that; each with none to two more crashes while it recovers."""
    first = [Kill(Point(number, side)) for number in range(1, calm.changes + 1) for side in Side]
    first += [Kill(seconds=chance.uniform(0.0, calm.seconds)) for _ in range(len(first) // 3)]
    return [[kill, *_later(chance)] for kill in first]


def every_point(_: random.Random, calm: Undisturbed) -> list[list[Kill]]:
    """Each once."""
    return [[Kill(Point(number, side))] for number in range(1, calm.changes + 1) for side in Side]


def some(chance: random.Random, calm: Undisturbed) -> list[list[Kill]]:
    """Each change from a side chosen by chance, with another crash while it recovers."""
    return [[Kill(Point(number, chance.choice(list(Side)))), *_later(chance, 1)] for number in range(1, calm.changes + 1)]


def _later(chance: random.Random, least: int = 0) -> list[Kill]:
    later = [Kill(chance.choice(LATER)), Kill(seconds=chance.uniform(0.0, 0.03))]
    chance.shuffle(later)
    return later[: chance.randrange(least, 3)]


def kill_shape(shape: str, folder: Path, place: Callable[[Path], Place], plan: Plan) -> list[History]:
    found = []
    with Lives(f"{HERE / 'flows.py'}:{shape}", LOADER) as lives:
        home = folder / shape
        home.mkdir()
        calm = undisturbed(lives, home, SECONDS)
        for number, kills in enumerate(plan(random.Random(f"{SEED} {shape}"), calm)):
            own = home / str(number)
            own.mkdir()
            found.append(history(lives, own, place(own), kills, calm.state, timeout=SECONDS))
    return found


def kill_all(shapes: tuple[str, ...], folder: Path, place: Callable[[Path], Place], plan: Plan) -> list[History]:
    print(f"EVPROC_KILL_SEED={SEED}")
    with ThreadPoolExecutor(2) as pool:
        histories = [found for each in pool.map(lambda shape: kill_shape(shape, folder, place, plan), shapes) for found in each]
    print(f"{len(histories)} histories, {sum(found.killed for found in histories)} SIGKILLs")
    return histories


def faults_in(histories: list[History]) -> list[str]:
    return [
        f"{Path(found.folder).parent.name}, killed {', then '.join(map(str, found.kills))}: {fault}"
        for found in histories
        for fault in found.faults
    ]


def files_left(histories: list[History]) -> set[str]:
    """But for journals and logs."""
    names = {path.name for found in histories for path in Path(found.folder).iterdir()}
    return {name for name in names if not name.startswith("life-")}


def dropped_failures(histories: list[History]) -> list[str]:
    logs = [path for found in histories for path in Path(found.folder).glob("*.log")]
    return [text for text in (log.read_text() for log in logs) if "Unhandled" in text]


class TestSQLite:
    def test_nothing_is_lost_and_nothing_recorded_is_done_again(self, folder: Path) -> None:
        found = kill_all(SHAPES, folder, file, everywhere)

        assert faults_in(found) == []
        assert sum(history.killed for history in found) >= 300
        # Crashes in recoveries, and calls that were repeated, were among them: otherwise this shows little.
        assert sum(history.killed > 1 for history in found) >= 50
        assert sum(history.killed > 2 for history in found) >= 10
        assert sum(len(history.repeats) for history in found) >= 50
        # Who reads a store that nobody has open leaves two files beside it; the lock is gone.
        assert files_left(found) - {"flow.db-wal", "flow.db-shm"} == {"flow.db"}
        assert dropped_failures(found) == []

    def test_nor_in_recoveries_of_a_run_that_failed(self, folder: Path) -> None:
        print(f"EVPROC_KILL_SEED={SEED}")
        chance = random.Random(f"{SEED} recovering")
        with Lives(f"{HERE / 'flows.py'}:recovering", LOADER) as lives:

            def run(name: str, kills: list[Kill], expected: State | None) -> History:
                own = folder / name
                own.mkdir()
                return history(lives, own, file(own), kills, expected, timeout=SECONDS)

            calm = run("calm", [NO_KILL], None)
            points = [Point(number, side) for number in range(1, calm.changes + 1) for side in Side]
            found = [run(str(point), [NO_KILL, Kill(point), *_later(chance)], calm.state) for point in points]
            # Where chance puts the later kills, few of them hit a recovery that has begun: these do, at the same point again.
            found += [run(f"{point} twice", [NO_KILL, Kill(point), Kill(point)], calm.state) for point in points]

        assert (calm.faults, calm.state.status, calm.state.recovery) == ((), "success", 1)
        assert faults_in(found) == []
        assert sum(history.killed for history in found) >= len(points)
        assert sum(history.state.recovery > 2 for history in found) >= 4

    @pytest.mark.parametrize(
        "shape",
        [
            "anonymous",
            "named",
            "unlucky",
        ],
    )
    def test_nor_where_that_is_hard(self, folder: Path, shape: str) -> None:
        found = kill_all((shape,), folder, file, every_point)

        assert faults_in(found) == []


class TestPostgreSQL:
    def test_nothing_is_lost_and_nothing_recorded_is_done_again(self, folder: Path, database: str) -> None:
        found = kill_all(("chain", "fan", "retries", "resources", "sequences", "mending"), folder, schemas(database), some)

        assert faults_in(found) == []
        assert sum(history.killed for history in found) >= 60
        assert sum(history.killed > 1 for history in found) >= 20
        assert dropped_failures(found) == []


class TestControls:
    """The harness catches what it is there for."""

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("acts_before_it_commits", "was begun, and the store does not know of it"),
            ("acknowledges_before_it_commits", "was called durable"),
            ("runs_successes_again", "was run again though its record was committed"),
            ("drops_what_is_in_doubt", "is active, without a crash it is success"),
        ],
    )
    def test_a_planted_fault_is_caught(self, folder: Path, fault: str, words: str) -> None:
        with Lives(f"{HERE / 'faults.py'}:{fault}", LOADER) as lives:
            calm = undisturbed(lives, folder, SECONDS)
            found = []
            for side in Side:
                own = folder / side.name
                own.mkdir()
                kills = [Kill(Point(3, side))]
                found.append(history(lives, own, file(own), kills, calm.state, timeout=SECONDS))

        assert [each.killed for each in found] == [1, 1, 1]
        assert any(words in fault for fault in faults_in(found)), faults_in(found)

    def test_a_process_that_outlives_its_engine_is_caught(self, folder: Path) -> None:
        with Lives(f"{HERE / 'faults.py'}:leaves_a_process", LOADER) as lives:
            found = history(lives, folder, file(folder), [], None, timeout=SECONDS)

        assert [str(fault) for fault in found.faults] == ["a process outlived it: sleep 600"]
