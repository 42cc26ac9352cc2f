"""How much an executor does at the same time."""

from __future__ import annotations

import os
from typing import Any

from ...errors import ConfigurationError


def check_size(size: Any) -> int:
    """
    A number of workers.

    :raises twisted_evproc.errors.ConfigurationError: for what is no whole number of 1 or more.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigurationError(f"size={size!r} has to be a whole number, 1 or more")
    return size


def processors() -> int:
    """How many processors this process may use, and 2 where there is one: a step that waits is not to stop all others."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return max(2, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
