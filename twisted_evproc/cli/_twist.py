"""``twist evproc``: an application and its sources as a Twisted service."""

from __future__ import annotations

import atexit
import os
import platform
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import twisted
from twisted.application.service import IService
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from .._version import __version__
from ..errors import ApplicationError, EvprocError
from ..service import ServiceStack, UtilityService
from ._application import EVENTS_NAME, SERVICE_NAME, SOURCES_NAME, Application, load
from ._background import BackgroundApplication
from ._numbers import count, seconds
from ._status import ExitStatus
from ._traces import ending_of

_LOG = Logger(namespace="twisted_evproc.cli")

#: What was cancelled has this long to end before the process ends without it.
GRACE_SECONDS = 1.0

EXAMPLES = (
    "twist evproc gateway.py",
    "twist --log-format=text --log-level=debug evproc gateway.py",
    "twist --log-file=gateway.log evproc --stop-timeout=20 --concurrency=10 shop.gateway:dispatcher",
)


class Options(UsageOptions):
    """The command line behind ``twist evproc``."""

    synopsis = "[options] APP"
    longdesc = (
        "Runs an application, a Python file or a module with a dispatcher or a processor, on the events of the 'sources' that it "
        "names, until SIGTERM or SIGINT.  Then the sources are stopped, and what they have brought is processed."
    )
    optParameters = (  # noqa: N815  a name of Twisted's
        (
            "stop-timeout",
            None,
            None,
            "Seconds after which stopping cancels the events that are under way (default: none, they are waited for).",
            seconds,
        ),
        (
            "concurrency",
            None,
            1,
            "Events that are processed at the same time (default: 1, one after the other).",
            count,
        ),
    )

    def opt_version(self) -> NoReturn:
        """Write the version and leave."""
        print(f"evproc {__version__} (Twisted {twisted.__version__}, Python {platform.python_version()})")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:  # noqa: N802  a name of Twisted's
        """Take APP."""
        if not arguments:
            raise UsageError("say which application: twist evproc APP")
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is one argument too many; options stand before APP")
        self["application"] = arguments[0]

    def getUsage(self, width: int | None = None) -> str:  # noqa: N802  a name of Twisted's
        """The help, with examples."""
        usage: str = super().getUsage(width)
        return "\n".join([usage.rstrip("\n"), "", "Examples:", *(f"  {example}" for example in EXAMPLES), ""])


def makeService(options: Options) -> IService:  # noqa: N802  a name of Twisted's
    """
    The service of an application: its own ``service``, where it has one, and on top what brings events from its sources to it.

    :raises SystemExit: with words on the standard error stream, when the application cannot be used.
    """
    from twisted.internet import reactor

    ending = _ProcessEnding(reactor)
    try:
        application = load(options["application"])
        return ApplicationService(application, options["stop-timeout"], options["concurrency"], reactor, ending.leave)
    except EvprocError as error:
        _unusable(error)


class ApplicationService(ServiceStack):
    """
    An application, as a service of a process that ends with it.

    Where the application cannot be started, or a handler ends the program, the process ends too, and its exit status says so.
    """

    def __init__(
        self,
        application: Application,
        stop_timeout: float | None,
        concurrency: int,
        reactor: Any,
        leave: Callable[[int], None],
    ) -> None:
        """
        :param stop_timeout: seconds after which stopping cancels what is under way; ``None`` for no limit.
        :param concurrency: how many events are processed at the same time.
        :param leave: ends the process with an exit status.
        :raises twisted_evproc.errors.ApplicationError: for sources that are none, and where there is neither a source
            nor a service.
        """
        self._leave = leave
        background = BackgroundApplication(
            application, reactor, reactor.callWhenRunning, self._background_ended, concurrency=concurrency
        )
        own = application.own_service()
        unused = f"; its {EVENTS_NAME!r} are for 'evproc run'" if application.has_events else ""
        if own is None and not background.sources:
            raise ApplicationError(
                application.place,
                f"nothing would ever happen: it has neither {SOURCES_NAME!r} nor a {SERVICE_NAME!r}{unused}.  Let it name the "
                f"sources of its events, or a service that fires them",
            )
        if unused:
            _LOG.warn("{place} has events that are not used: they are for 'evproc run'", place=application.place)
        limit = None if stop_timeout is None else stop_timeout + GRACE_SECONDS
        children = [_BackgroundService(background, stop_timeout, application.place)]
        if own is not None:
            if own.name is None:
                own.setName(SERVICE_NAME)
            children.insert(0, own)
        super().__init__(*children, stop_timeout=limit, clock=reactor)

    def startService(self) -> None:  # noqa: N802  a name of Twisted's
        """See :meth:`ServiceStack.startService`."""
        try:
            super().startService()
        except EvprocError as error:
            _unusable(error)
        _ = self.when_started().addErrback(self._not_started)

    def report_start_failure(self, failure: Failure) -> None:
        """See :meth:`ServiceStack.report_start_failure`; an error of ours says in one line what there is to say."""
        if isinstance(failure.value, EvprocError):
            _LOG.error("{error}", error=str(failure.value))
        else:
            super().report_start_failure(failure)

    def _not_started(self, failure: Failure) -> None:
        # It was logged; and nothing is to be done where it was stopped before it worked.
        if not failure.check(CancelledError):
            self._leave(ExitStatus.UNUSABLE)

    def _background_ended(self, failure: Failure) -> None:
        if isinstance(failure.value, SystemExit):
            _LOG.info("{ending}", ending=ending_of(failure.value))
            code = failure.value.code
            self._leave(code if isinstance(code, int) else int(code is not None))
        else:
            _LOG.failure("{service!r} has ended", failure, service=self)
            self._leave(ExitStatus.HANDLERS_FAILED)


class _BackgroundService(UtilityService):
    """The application itself."""

    def report_start_failure(self, failure: Failure) -> None:
        """See :meth:`UtilityService.report_start_failure`; the stack fails with the same, and reports it."""


class _ProcessEnding:
    """
    Ends a process that ``twist`` runs with an exit status; ``twist`` itself gives 0 unless a signal ended it.

    To be made before the application's own code registers anything at ``atexit``: what came first is called last there.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._status = 0
        _ = atexit.register(self._exit)

    def leave(self, status: int) -> None:
        """Stop the reactor, and let the process end with this status."""
        self._status = status
        self._reactor.callWhenRunning(self._reactor.stop)

    def _exit(self) -> None:
        if not self._status:
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(self._status)


def _unusable(error: EvprocError) -> NoReturn:
    print(f"twist evproc: error: {error}", file=sys.stderr)
    raise SystemExit(ExitStatus.UNUSABLE)


__all__ = ["ApplicationService", "Options", "makeService"]
