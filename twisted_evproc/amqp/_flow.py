"""Durable flows and other processes: a flow's changes of state are published, events from elsewhere make flow events happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..errors import ConfigurationError
from ..flow import Eventor, FlowEvent, FlowResult, RunMode
from ._envelope import current_envelope
from ._forwarding import Forwarding

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from ..interfaces import IEventTransport

_LOG = Logger(namespace="twisted_evproc.amqp")


def forward_flow(transport: IEventTransport, eventor: Eventor, **match_spec: Any) -> Forwarding:
    """
    Publish a flow's changes of state, each once it is committed.

    An event is a mapping with ``kind``, ``name``, ``sequence`` and ``status``; its details are these and ``flow`` and ``run``.
    What a crash keeps from being told right after it was committed is not told later: the store knows it, and the flow goes on.

    :param match_spec: which changes: ``flow``, ``run``, ``kind``, ``name``, ``sequence`` or ``status``, as handlers of
        ``eventor.dispatcher`` match.
    :return: what ends it.
    :raises twisted_evproc.errors.ConfigurationError: for something that is no flow, or an unknown keyword.
    """
    if not isinstance(eventor, Eventor):
        raise ConfigurationError(f"forward_flow() needs an Eventor, not {eventor!r}")

    def publish(change: Any, details: Mapping[str, Any], /) -> Deferred[str]:
        return transport.publish(change._asdict(), **details)

    return Forwarding(publish, eventor.dispatcher, "after", match_spec, repr(transport))


class FlowTrigger:
    """
    A target of a subscription: every event makes a flow event happen.

    The event is acknowledged once that is committed.  A flow that is not running is run: it goes on with its run.  An event that
    is delivered twice has the same sequence both times, and a flow event happens once in a sequence of a run.

    While the flow's store cannot be written, events wait with the broker.  Where the flow event cannot happen, since the run is
    cancelled or another process has it, handling the event fails.  In a run that a failure has stopped (``stop_on_exception``) it
    happens, and what follows from it follows once the run is recovered; the log says so for each time that the flow is run.
    """

    def __init__(self, eventor: Eventor, event: FlowEvent, sequence: Callable[[Any], Any] | None = None) -> None:
        """
        :param eventor: the flow, with ``run_mode=RunMode.continue_``: a program that is started again goes on with the run that
            it has acknowledged events for.
        :param event: the flow event.
        :param sequence: from an event as it came to its sequence, any text or number; ``None`` for the event's ID.  Of an ID that
            a foreign publisher does not make unique by itself, make one here.
        :raises twisted_evproc.errors.ConfigurationError: for something that is no flow, one that would begin a new run, a flow
            event of another flow, or no function.
        """
        if not isinstance(eventor, Eventor):
            raise ConfigurationError(f"FlowTrigger needs an Eventor, not {eventor!r}")
        if sequence is not None and not callable(sequence):
            raise ConfigurationError(f"sequence={sequence!r} has to be a function of the event, or None for its ID")
        if eventor.run_mode is RunMode.restart:
            raise ConfigurationError(
                f"{eventor!r} begins a new run whenever its program is started, and what was acknowledged would be left behind "
                f"in the old one; give it run_mode=RunMode.continue_"
            )
        _ = eventor.program.check_event(event)
        self._eventor = eventor
        self._event = event
        self._sequence = sequence

    def __repr__(self) -> str:
        return f"<FlowTrigger {self._event} of {self._eventor!r}>"

    def __call__(self, event: Any) -> Deferred[None]:
        """Let the flow event happen; fires once that is committed."""
        # The flow outlives the event: its steps are not to take this event for theirs, nor what they publish for its trace.
        return Context().run(self._trigger, self._sequence_of(event))

    def _trigger(self, sequence: Any) -> Deferred[None]:
        safe = self._eventor.trigger_durably(self._event, sequence)
        if not self._eventor.running:
            _ = self._eventor.run().addCallbacks(self._ended, self._broke)
        return safe

    def _sequence_of(self, event: Any) -> Any:
        # Without a sequence of its own, an event that is delivered twice would happen twice.
        if self._sequence is not None:
            sequence = self._sequence(event)
            if sequence is None:
                raise ValueError(f"{self!r}: {self._sequence!r} gave None for an event; it has to give a text or a number")
            return sequence
        envelope = current_envelope()
        if envelope is None or not envelope.id:
            raise ValueError(f"{self!r}: an event has no ID; give sequence=, a function that tells its sequence by what it says")
        return envelope.id

    def _ended(self, result: FlowResult) -> None:
        steps = self._eventor.program.steps
        stopped_by = [
            f"{task.step} {task.sequence}"
            for task in result.failures
            if not task.handled and (task.step not in steps or steps[task.step].stop_on_exception)
        ]
        if stopped_by:
            _LOG.error(
                "{flow} was run because an event had come, but nothing follows in run {run}, which was stopped by the failure of "
                "{tasks}.  What comes is kept; recover the run (run_mode=RunMode.recover, or evproc flow recover)",
                flow=self._eventor,
                run=result.run_id,
                tasks=", ".join(stopped_by),
            )

    def _broke(self, failure: Failure) -> None:
        _LOG.failure("{flow} was run because an event had come, and ended", failure, flow=self._eventor)
