"""``evproc dead``: the dead letters of a group on a broker."""

from __future__ import annotations

import argparse
import base64
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from .._json import decode, encode
from ..errors import ApplicationError, TransportError, WaitTimeout
from ..matching import one_of
from ._amqp import URL_VARIABLE, make_dead_letter_transport
from ._in_reactor import in_reactor
from ._logs import begin_logging
from ._output import Output
from ._status import ExitStatus
from ._words import aligned, clipped, counted, pairs_in_words, printable

if TYPE_CHECKING:
    from ..amqp import AMQPTransport, DeadLetter, DeadLetters, Envelope

LIST, REPLAY, PURGE = "list", "replay", "purge"
ACTIONS = (LIST, REPLAY, PURGE)

#: Of a reason as text; JSON has all of it.
REASON_WIDTH = 120
_MAX_HEARTBEAT = 10
_STOP_SECONDS = 1.0


def dead(options: argparse.Namespace) -> int:
    """
    Perform the command.

    :return: the exit status.
    """
    _check(options)
    # A broker that falls silent is noticed by its heartbeat.
    heartbeat = min(_MAX_HEARTBEAT, math.ceil(options.timeout))
    transport = make_dead_letter_transport(
        options, connect_timeout=options.timeout, publish_timeout=options.timeout, heartbeat=heartbeat
    )
    if options.verbose:
        _ = begin_logging(sys.stderr, verbose=True)
    output = Output(sys.stdout)
    status = in_reactor(lambda: Deferred.fromCoroutine(_perform(options, transport, output)), "evproc dead")
    output.flush()
    return status


def _check(options: argparse.Namespace) -> None:
    """
    See that the arguments go together.

    :raises twisted_evproc.errors.ApplicationError: when they do not.
    """
    action = options.action
    if action == LIST and (options.ids or options.all):
        raise ApplicationError(
            "dead list", f"lists them all; {'IDs' if options.ids else '--all'} can be given to replay and purge"
        )
    if action != LIST and options.limit is not None:
        raise ApplicationError(f"dead {action}", "has no --limit; give the IDs of those that are meant, or --all")
    if action != LIST and options.ids and options.all:
        raise ApplicationError(f"dead {action}", "give IDs, or --all, not both")
    if action != LIST and not options.ids and not options.all:
        raise ApplicationError(
            f"dead {action}", f"say which: their IDs, as 'evproc dead list {printable(options.group)}' shows them, or --all"
        )


async def _perform(options: argparse.Namespace, transport: AMQPTransport, output: Output) -> int:
    try:
        await _connected(transport, options.timeout)
        letters = transport.dead_letters(options.group)
        if options.action == LIST:
            return await _list(letters, options, output)
        return await _act(letters, options, output)
    finally:
        await transport.stop(_STOP_SECONDS)


async def _connected(transport: AMQPTransport, timeout: float) -> None:
    """
    Start a transport.

    :raises twisted_evproc.errors.TransportError: when it is not up at the first attempt.
    """
    change = transport.dispatcher.wait_for_event(timeout, name=one_of("transport_up", "transport_down"))
    await transport.start()
    try:
        found = await change
    except WaitTimeout as error:
        raise _unreachable(transport, f"{transport.address} did not answer in {timeout:g} s") from error
    if found.name != "transport_up":
        raise _unreachable(transport, found.reason)


def _unreachable(transport: AMQPTransport, reason: str) -> TransportError:
    # What the broker itself says has its remedy with it.
    remedy = f"  Start the broker, or correct --amqp or {URL_VARIABLE}." if str(transport.address) in reason else ""
    return TransportError(f"{reason.rstrip('.')}.{remedy}")


async def _list(letters: DeadLetters, options: argparse.Namespace, output: Output) -> int:
    count = await letters.count()
    found: Sequence[DeadLetter] = await letters.list(options.limit)
    if options.json:
        for letter in found:
            output.line(encode(_row(letter)))
        return ExitStatus.SUCCESS
    if found:
        rows: list[tuple[str, ...]] = [("id", "died", "type", "details", "failures", "reason"), *map(_cells, found)]
        for number, line in enumerate(aligned(rows)):
            output.line(line if number else output.colour(line, "dim"))
    if not options.quiet:
        more = f", of {count}" if len(found) < count else ""
        output.line(f"{_counted(len(found))} of group {printable(options.group)}{more}")
    return ExitStatus.SUCCESS


async def _act(letters: DeadLetters, options: argparse.Namespace, output: Output) -> int:
    ids = None if options.all else options.ids
    found: Sequence[DeadLetter] = await (letters.replay(ids) if options.action == REPLAY else letters.purge(ids))
    done = "replayed" if options.action == REPLAY else "purged"
    known = {letter.envelope.id for letter in found}
    missing = [wanted for wanted in dict.fromkeys(ids or ()) if wanted not in known]
    if options.json:
        for letter in found:
            output.line(encode({**_row(letter), "done": done}))
        for wanted in missing:
            output.line(encode({"id": wanted, "done": None}))
    elif not options.quiet:
        output.line(f"{_counted(len(found))} of group {printable(options.group)} {done}")
    for wanted in missing:
        print(f"evproc: error: group {printable(options.group)} has no dead letter with the ID {wanted!r}", file=sys.stderr)
    return ExitStatus.HANDLERS_FAILED if missing else ExitStatus.SUCCESS


def _counted(number: int) -> str:
    return counted(number, "dead letter") if number else "no dead letters"


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    envelope = letter.envelope
    reason = clipped(printable(letter.reason), REASON_WIDTH)
    cells = (envelope.id, letter.died, envelope.type, pairs_in_words(envelope.details), str(envelope.failures))
    return (*(printable(cell) or "-" for cell in cells), reason or "-")


def _row(letter: DeadLetter) -> dict[str, Any]:
    envelope = letter.envelope
    return {
        "id": envelope.id,
        "died": letter.died,
        "type": envelope.type,
        "source": envelope.source,
        "time": envelope.time,
        "details": dict(envelope.details),
        "failures": envelope.failures,
        "reason": letter.reason,
        **_data(envelope),
    }


def _data(envelope: Envelope) -> dict[str, Any]:
    """What the event is: ``data`` where it is JSON, otherwise ``data_base64``, as the JSON form of CloudEvents has it."""
    kind = envelope.content_type.partition(";")[0].strip().lower()
    if not kind or kind == "application/json" or kind.endswith("+json"):
        try:
            return {"data": decode(envelope.body.decode())}
        except ValueError:
            pass  # whatever it says, it is not JSON
    return {"data_base64": base64.b64encode(envelope.body).decode("ascii")}


__all__ = ["ACTIONS", "dead"]
