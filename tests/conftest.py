"""What every test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from twisted.logger import LogLevel, capturedLogs

pytest.register_assert_rewrite("twisted_evproc.testing._contract")

# No test may fail because a machine is slow.  Where changes are checked, a failed example is printed so that it can be repeated.
settings.register_profile("house", deadline=None, print_blob=os.environ.get("CI") == "true")
settings.load_profile("house")


@pytest.fixture(autouse=True)
def no_dropped_failure() -> Iterator[None]:
    """Fails a test that drops a Deferred with a failure nobody looked at."""
    with capturedLogs() as events:
        yield
    dropped = [
        str(event.get("log_failure") or event.get("log_format"))
        for event in events
        if event.get("log_level") is LogLevel.critical and event.get("log_namespace") == "twisted.internet.defer"
    ]
    if dropped:
        pytest.fail("a Deferred was dropped with a failure that nobody handled:\n" + "\n".join(dropped), pytrace=False)
