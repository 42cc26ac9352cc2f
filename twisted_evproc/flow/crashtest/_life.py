"""One life of a flow: from the start of its process to its end, or to where it is killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from ..._reactor import default_clock
from ...errors import ApplicationError
from .._eventor import Eventor
from .._result import FlowResult
from .._status import RunMode
from ..store import open_store
from ._journal import Journal
from ._watched import Point, WatchedStore, journalled

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

#: Makes a flow that has not run yet.
Builder: TypeAlias = Callable[[RunMode], Eventor]


@attrs.frozen
class Life:
    """
    What a process is to do.

    :ivar store: path or URL of the store, in place of the flow's own.
    :ivar journal: path of the journal.
    :ivar mode: ``restart`` for the first life, ``continue_`` for all others.
    :ivar point: where to die, or ``None``.
    """

    store: str
    journal: str
    mode: RunMode
    point: Point | None = None


def live(build: Builder, life: Life, begins: Callable[[], object]) -> None:
    """
    Run a flow on the reactor of this process, once.

    :param begins: called when all is ready.
    """
    journal = Journal(life.journal)
    try:
        flow = prepared(build, life, journal)
        reactor = cast("IReactorCore", default_clock(None))

        def start() -> None:
            begins()
            _ = flow.run().addBoth(ended)

        def ended(result: FlowResult | Failure) -> None:
            if isinstance(result, Failure):
                journal.over(None, _in_words(result.value))
            else:
                journal.over(result.status.name, None)
            reactor.stop()

        reactor.callWhenRunning(start)
        reactor.run()
    except BaseException as error:
        journal.over(None, _in_words(error))
        raise


def _in_words(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {safe_str(error)}"


def prepared(build: Builder, life: Life, journal: Journal) -> Eventor:
    """
    A flow that keeps its run in the store of a life, and writes down what happens.

    :raises twisted_evproc.errors.ApplicationError: when what was built is no flow.
    """
    flow: Any = build(life.mode)
    if not isinstance(flow, Eventor):
        raise ApplicationError(
            getattr(build, "__qualname__", repr(build)), f"has to return an Eventor that has not run yet, not {flow!r:.80}"
        )
    store = open_store(life.store, durability=flow.config["durability"])
    flow.store = WatchedStore(store, journal, life.point)
    steps = flow.program.steps
    for name, step in steps.items():
        steps[name] = attrs.evolve(step, func=journalled(step.func, journal))
    return flow


__all__ = ["Builder", "Life", "live", "prepared"]
