"""
What tests of handlers, and of code that fires events, need.

Nothing here imports pytest or starts a reactor.
"""

from ._assertions import (
    assert_fired,
    assert_handled,
    assert_no_failures,
    assert_not_fired,
    assert_order,
    assert_unhandled,
)
from ._capture import Captured, Fired, capture
from ._contract._dispatcher import DispatcherContract, FailurePolicyContract
from ._contract._sources import EventGeneratorContract, EventSourceContract
from ._deferreds import assert_pending, failure_now, result_now
from ._fake_dispatcher import FakeDispatcher
from ._flow_store import FakeFlowStore
from ._sources import FakeSink, ManualSource, RecordingHandler

__all__ = [
    # what was fired
    "Captured",
    "Fired",
    "assert_fired",
    "assert_handled",
    "assert_no_failures",
    "assert_not_fired",
    "assert_order",
    "assert_unhandled",
    "capture",
    # what became of a Deferred
    "assert_pending",
    "failure_now",
    "result_now",
    # in place of the real thing
    "FakeDispatcher",
    "FakeFlowStore",
    "FakeSink",
    "ManualSource",
    "RecordingHandler",
    # contracts
    "DispatcherContract",
    "EventGeneratorContract",
    "EventSourceContract",
    "FailurePolicyContract",
]
