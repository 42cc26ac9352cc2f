"""Dead letters as a queue may give them: in any order."""

from __future__ import annotations

from typing import Any

from twisted_evproc.amqp import DeadLetter, Envelope
from twisted_evproc.amqp._dead import DeadLetters
from twisted_evproc.amqp._topology import Topology
from twisted_evproc.testing import result_now


def letter(id_: str, died: str) -> DeadLetter:
    return DeadLetter(Envelope(id_, "/test", "test", b"1"), "it failed", died)


#: As they lie there: two of one time, and one of which nobody knows when it died.
LETTERS = [letter("c", "2026-03-02T11:00:02.000Z"), letter("b1", "2026-03-02T11:00:01.000Z"),
           letter("b2", "2026-03-02T11:00:01.000Z"), letter("a", "")]  # fmt: skip


class ListDrawer:
    """See ``Drawer``; notes what was answered."""

    def __init__(self) -> None:
        self.left = list(enumerate(LETTERS))
        self.answers: list[tuple[str, str]] = []

    async def count(self) -> int:
        return len(self.left)

    async def take(self) -> tuple[int, DeadLetter] | None:
        return self.left.pop(0) if self.left else None

    def acknowledge(self, tag: int) -> None:
        self.answers.append(("gone", LETTERS[tag].envelope.id))

    def give_back(self, tag: int) -> None:
        self.answers.append(("back", LETTERS[tag].envelope.id))

    def close(self) -> None:
        self.answers.append(("closed", ""))


class Publishing:
    """Notes what was put back, and has done it at once."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def submit(self, message: Any) -> str:
        self.ids.append(message.id)
        return str(message.id)


class Letters(DeadLetters):
    """Of that queue."""

    def __init__(self) -> None:
        self.drawer, self.publishing = ListDrawer(), Publishing()
        super().__init__(Topology("shop", None), "payments", self.publishing, lambda: True)  # type: ignore[arg-type]  # as much as is asked

    async def _drawer(self, connection: Any) -> ListDrawer:
        return self.drawer


def ids(found: list[DeadLetter]) -> list[str]:
    return [each.envelope.id for each in found]


def test_the_oldest_is_listed_first_wherever_it_lies() -> None:
    assert ids(result_now(Letters().list())) == ["a", "b1", "b2", "c"]


def test_a_limit_takes_the_oldest_and_all_are_given_back() -> None:
    letters = Letters()
    assert ids(result_now(letters.list(2))) == ["a", "b1"]
    assert sorted(letters.drawer.answers) == [("back", "a"), ("back", "b1"), ("back", "b2"), ("back", "c"), ("closed", "")]


def test_the_oldest_is_replayed_first() -> None:
    letters = Letters()
    assert ids(result_now(letters.replay(["c", "b2", "a"]))) == letters.publishing.ids == ["a", "b2", "c"]
    assert letters.drawer.answers == [("gone", "a"), ("gone", "b2"), ("gone", "c"), ("back", "b1"), ("closed", "")]
