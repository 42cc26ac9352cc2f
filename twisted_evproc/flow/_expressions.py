"""When does a flow event follow from others?  Expressions, and the gates they become."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import attrs

from .._options import needed_seconds
from ..errors import ConfigurationError, FlowDefinitionError

if TYPE_CHECKING:
    from ._model import FlowEvent


class Combinable:
    """What stands in an expression.  Python's own operators cannot be asked: ``a and b`` would be ``b``, in silence."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a flow event is neither true nor false, nor is an expression.  Write and_(a, b) and or_(a, b) in place of and "
            "and or; there is no not, only not_by(a, seconds)."
        )


@attrs.frozen
class Count(Combinable):
    """So many of the operands."""

    need: int
    operands: tuple[Operand, ...]


@attrs.frozen
class NotBy(Combinable):
    """An event has not happened so many seconds after the first trigger of its sequence."""

    event: FlowEvent
    seconds: float


Operand: TypeAlias = "FlowEvent | Count | NotBy"


def and_(*operands: Any) -> Count:
    """All of the operands: flow events, expressions, or tuples (all of what is in them)."""
    return _count(len(operands), operands, "and_")


def or_(*operands: Any) -> Count:
    """At least one of the operands."""
    return _count(1, operands, "or_")


def at_least(n: int, *operands: Any) -> Count:
    """
    At least ``n`` of the operands.

    :raises twisted_evproc.errors.FlowDefinitionError: when there are not as many.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(operands):  # type: ignore[redundant-expr]  # users' input
        raise FlowDefinitionError(
            f"at_least({n!r}, ...) needs a number from 1 to that of its operands, which are {len(operands)}"
        )
    return _count(n, operands, "at_least")


def not_by(event: FlowEvent, seconds: float) -> NotBy:
    """
    That an event has not happened ``seconds`` after the first trigger of its sequence.

    It stays true when the event happens later.

    :raises twisted_evproc.errors.FlowDefinitionError: for what is no flow event, or no number of seconds above 0.
    """
    try:
        limit = needed_seconds(seconds, "not_by: seconds")
    except ConfigurationError as error:
        raise FlowDefinitionError(str(error)) from None
    _check_event(event)
    return NotBy(event, limit)


def _count(need: int, operands: tuple[Any, ...], what: str) -> Count:
    if not operands:
        raise FlowDefinitionError(f"{what}() needs at least one operand")
    return Count(need, tuple(map(as_operand, operands)))


def as_operand(expression: Any) -> Operand:
    """
    An expression in its normal form.

    :raises twisted_evproc.errors.FlowDefinitionError: for what is no expression.
    """
    if isinstance(expression, Count | NotBy):
        return expression
    if isinstance(expression, tuple | list):
        return and_(*expression)
    _check_event(expression)
    event: FlowEvent = expression
    return event


def _check_event(event: Any) -> None:
    from ._model import FlowEvent

    if not isinstance(event, FlowEvent):
        raise FlowDefinitionError(
            f"{event!r:.80} is no expression: it takes flow events as add_event() gives them, and_(...), or_(...), "
            f"at_least(...), not_by(...) and tuples of these"
        )


@attrs.frozen
class Gate:
    """
    An expression as counters, one for each of its nodes.

    :ivar needs: how many operands each node needs; the root is node 0.
    :ivar parents: the node above each node; -1 above the root.
    :ivar leaves: name of a flow event to the nodes it is an operand of.
    :ivar watches: ``(node, event name, seconds)`` of each ``not_by``.
    """

    needs: tuple[int, ...]
    parents: tuple[int, ...]
    leaves: dict[str, tuple[int, ...]]
    watches: tuple[tuple[int, str, float], ...]

    def count(self, left: list[int], node: int) -> bool:
        """
        One more operand of a node holds.

        :param left: how many operands each node still needs; changed.
        :return: whether the whole holds now, and did not before.
        """
        while node >= 0:
            left[node] -= 1
            if left[node] != 0:
                return False
            node = self.parents[node]
        return True


def make_gate(expression: Any) -> Gate:
    """The gate of an expression."""
    needs: list[int] = []
    parents: list[int] = []
    leaves: dict[str, list[int]] = {}
    watches: list[tuple[int, str, float]] = []
    root = as_operand(expression)
    # depth first, without recursion: expressions are as deep as users like
    left: list[tuple[Operand, int]] = [(root if isinstance(root, Count) else Count(1, (root,)), -1)]
    while left:
        operand, parent = left.pop()
        if isinstance(operand, Count):
            node = len(needs)
            # An event that stands twice under one node holds twice at once.
            needs.append(operand.need)
            parents.append(parent)
            left += [(each, node) for each in operand.operands]
        elif isinstance(operand, NotBy):
            watches.append((parent, operand.event.name, operand.seconds))
        else:
            leaves.setdefault(operand.name, []).append(parent)
    return Gate(tuple(needs), tuple(parents), {name: tuple(nodes) for name, nodes in leaves.items()}, tuple(watches))


def events_of(expression: Any) -> Iterable[FlowEvent]:
    """The flow events that an expression speaks of."""
    left: list[Operand] = [as_operand(expression)]
    while left:
        operand = left.pop()
        if isinstance(operand, Count):
            left += operand.operands
        else:
            yield operand.event if isinstance(operand, NotBy) else operand
