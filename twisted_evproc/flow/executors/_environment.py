"""The environment variables that speak of a step."""

from __future__ import annotations

import os

from .._attempt import Attempt

# What the environment speaks of, oldest first, and what it said before.  Used on the reactor's thread only: a thread that is
# abandoned cannot take away what is said of a later attempt.
_spoken_of: list[Attempt] = []
_before: dict[str, str | None] = {}


def speak_of(attempt: Attempt) -> None:
    """Let this process's environment speak of an attempt, where no other of its flow runs at the same time."""
    if not attempt.alone:
        return
    if not _spoken_of:
        _before.update((name, os.environ.get(name)) for name in attempt.environment)
    _spoken_of.append(attempt)
    os.environ.update(attempt.environment)


def be_silent_about(attempt: Attempt) -> None:
    """The attempt has ended, or was given up."""
    if attempt not in _spoken_of:
        return
    _spoken_of.remove(attempt)
    if _spoken_of:
        os.environ.update(_spoken_of[-1].environment)  # another flow's
        return
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
