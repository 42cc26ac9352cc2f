"""What went wrong in a step, as the store keeps it."""

from __future__ import annotations

import json

from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

#: More of a message or a traceback than this is not kept.
MAX_CHARACTERS = 10_000


def describe(failure: Failure) -> str:
    """A failure as JSON: class, message and traceback."""
    return json.dumps(
        {
            "type": failure.type.__name__ if failure.type is not None else "Failure",
            "message": _storable(safe_str(failure.value)),
            "traceback": _storable(failure.getTraceback()),
        }
    )


def summary(error: str | None) -> str | None:
    """Class and message of a failure that was described, in one line."""
    if error is None:
        return None
    described = json.loads(error)
    return f"{described['type']}: {described['message']}".rstrip(": ")


def _storable(text: str) -> str:
    # Neither NUL nor half a character may come into a database; the end of a traceback says more than its beginning.
    return text[-MAX_CHARACTERS:].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
