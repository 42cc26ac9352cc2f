"""A durable flow that runs with the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from .._options import seconds
from .._reactor import default_clock
from ..dispatch import peek, watch
from ..errors import ConfigurationError
from ..flow import Eventor, FlowResult
from ._drained import DrainedService

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_LOG = Logger(namespace="twisted_evproc.service")


class FlowService(DrainedService):
    """
    Runs a flow from the application's start on.

    Stopping begins no new step and waits for those that run; what is left goes on when the flow is continued.  What keeps the
    flow from running (its store is in use, say) is logged as critical; a flow that has come to its end leaves the service idle.

    :ivar eventor: the flow.
    :ivar ended: what the flow came to: a :class:`~twisted_evproc.flow.FlowResult`, a Failure, or ``None`` while it runs.
    """

    def __init__(
        self, eventor: Eventor, stop_timeout: float | None = None, name: str | None = None, *, clock: IReactorTime | None = None
    ) -> None:
        """
        :param eventor: the flow; ``run_mode=RunMode.continue_`` makes it go on where the application was stopped.
        :param stop_timeout: seconds after which steps that still run are ended, as if the process had died; ``None`` for no
            limit.
        :param name: under which a service collection finds it; ``None`` for no name.
        :param clock: for the time-out; ``None`` for the global reactor.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        if not isinstance(eventor, Eventor):
            raise ConfigurationError(f"FlowService needs an Eventor, not {eventor!r}")
        self.eventor = eventor
        self.ended: FlowResult | Failure | None = None
        self._stop_timeout = seconds(stop_timeout, "stop_timeout")
        self._clock = clock
        self._run: Deferred[FlowResult] | None = None
        super().__init__(name)

    def __repr__(self) -> str:
        return f"<FlowService{f' {self.name!r}' if self.name else ''} of {self.eventor!r}>"

    def begin(self) -> Deferred[None]:
        """Let the flow run."""
        self.ended = None
        self._run = self.eventor.run()
        found = peek(self._run)
        if isinstance(found, Deferred):
            watch(self._run, self._has_ended)
        else:
            self._has_ended(found)
        return succeed(None)

    def end(self) -> Deferred[None]:
        """Begin nothing new, and wait for what runs."""
        run = self._run
        if run is None or self.ended is not None:
            return succeed(None)
        over: Deferred[None] = Deferred()
        timer: IDelayedCall | None = None
        if self._stop_timeout is not None:
            timer = default_clock(self._clock).callLater(self._stop_timeout, run.cancel)

        def ended(_: object) -> None:
            if timer is not None and timer.active():
                timer.cancel()
            over.callback(None)

        watch(run, ended)
        self.eventor.stop()
        return over

    def _has_ended(self, result: FlowResult | Failure) -> None:
        self.ended = result
        if isinstance(result, Failure):
            _LOG.failure("{service!r} does not run", result, service=self)
