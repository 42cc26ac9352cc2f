"""What a flow is: flow events, steps, associations and resource pools, as a program declares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .._options import seconds
from ..errors import ConfigurationError, FlowDefinitionError
from ._expressions import Combinable
from ._status import DEFAULT_RECOVERY, StepReplay, StepStatus, TaskStatus


@attrs.frozen(eq=False)
class FlowEvent(Combinable):
    """
    A named gate in a flow; made by ``Eventor.add_event``.

    :ivar name: any text.
    :ivar expr: the expression from which it follows, or ``None``.
    """

    name: str
    expr: Any = None

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class ResourcePool:
    """
    So many of something that steps need while they run.

    :ivar name: by which the store knows it.
    :ivar limit: how many there are; the newest limit counts.
    """

    name: str
    limit: int = attrs.field()

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:  # type: ignore[redundant-expr]  # users' input
            raise FlowDefinitionError(f"a resource pool needs a name, not {self.name!r}")
        _ = check_text(self.name, "name of a resource pool")
        _ = at_least_number(self.limit, f"resource pool {self.name!r}: limit", 0)


@attrs.frozen
class Done:
    """What a probe gives when the attempt has done its work; see :func:`done`."""

    value: Any = None


class ProbeAnswer:
    """What a probe gives when the attempt has not, or nobody knows."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: The attempt has not done its work: it is run again.
NOT_DONE = ProbeAnswer("NOT_DONE")
#: Nobody knows: the step fails, and says so.
UNKNOWN = ProbeAnswer("UNKNOWN")


def done(value: Any = None) -> Done:
    """
    What a probe gives when the attempt has done its work.

    :param value: taken as the step's result.
    """
    return Done(value)


#: The names that a step's configuration may have, and what each is unless it says otherwise; ``None`` for the flow's own.
STEP_DEFAULTS: dict[str, Any] = {
    "stop_on_exception": None,
    "max_concurrent": 0,
    "retries": 0,
    "backoff": 1.0,
    "timeout": None,
    "executor": None,
    "priority": 0,
    "probe": None,
    "result": "json",
}

#: The names that a flow's configuration may have.  The last four are the predecessor's; of them only ``task_construct`` does
#: anything.
FLOW_DEFAULTS: dict[str, Any] = {
    "max_concurrent": 1,
    "stop_on_exception": True,
    "executor": None,
    "durability": "full",
    "task_construct": None,
    "sleep_between_loops": 1,
    "workdir": "/tmp",
    "logdir": "/tmp",
}


@attrs.frozen(eq=False)
class Step:
    """
    A callable that tasks execute; made by ``Eventor.add_step``.

    :ivar name: any text.
    :ivar func: called with ``args`` and ``kwargs``; may be ``async def``.
    :ivar triggers: what of a task triggers which flow events, by name.
    :ivar acquires: pool name to amount.
    :ivar releases: pool name to amount; ``None`` for what was acquired.
    :ivar recovery: what a recovery does, by the status of the task before.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    triggers: Mapping[StepStatus, tuple[str, ...]]
    acquires: Mapping[str, int]
    releases: Mapping[str, int] | None
    recovery: Mapping[TaskStatus, StepReplay]
    stop_on_exception: bool
    max_concurrent: int
    retries: int
    backoff: float
    timeout: float | None
    executor: Any
    priority: int
    probe: Callable[[str], Any] | None
    result: str
    host: str | None

    @property
    def handles_failure(self) -> bool:
        """Whether something is triggered by its failure."""
        return bool(self.triggers.get(StepStatus.failure) or self.triggers.get(StepStatus.complete))

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class Association:
    """
    What follows from a flow event.

    :ivar step: whether the target is a step, rather than a flow event.
    :ivar target: its name.
    :ivar delay: seconds to wait before.
    """

    step: bool
    target: str
    delay: float

    @property
    def key(self) -> str:
        """As a delay row names it."""
        return f"{'step' if self.step else 'event'} {self.target}"


def one_or_several(value: Any, kind: type[Any], what: str) -> tuple[Any, ...]:
    """
    One thing of a kind, or a tuple or list of them, as a tuple.

    :raises twisted_evproc.errors.FlowDefinitionError: for anything else.
    """
    found = (value,) if isinstance(value, kind) else value
    if not isinstance(found, tuple | list | set | frozenset) or not all(isinstance(each, kind) for each in found):
        raise FlowDefinitionError(f"{what}: takes a {kind.__name__} or several of them, not {value!r:.80}")
    return tuple(found)


def check_config(config: Any, defaults: Mapping[str, Any], what: str) -> dict[str, Any]:
    """
    A configuration with the defaults filled in.

    :raises twisted_evproc.errors.FlowDefinitionError: for a name or value that makes no sense.
    """
    if not isinstance(config, Mapping):
        raise FlowDefinitionError(f"{what}: config has to be a mapping, not {config!r:.80}")
    unknown = [str(name) for name in config if name not in defaults]
    if unknown:
        raise FlowDefinitionError(
            f"{what}: there is no configuration {', '.join(map(repr, unknown))}; there is {', '.join(defaults)}"
        )
    return {**defaults, **config}


def check_step_config(config: Any, what: str) -> dict[str, Any]:
    """
    A step's configuration with the defaults filled in.

    :raises twisted_evproc.errors.FlowDefinitionError: for a name or value that makes no sense.
    """
    chosen = check_config(config, STEP_DEFAULTS, what)
    if chosen["result"] not in ("json", "discard"):
        raise FlowDefinitionError(f"{what}: result={chosen['result']!r} has to be 'json' or 'discard'")
    if chosen["probe"] is not None and not callable(chosen["probe"]):
        raise FlowDefinitionError(f"{what}: probe={chosen['probe']!r} cannot be called")
    for name, least in (("retries", 0), ("max_concurrent", None), ("priority", None)):
        _ = at_least_number(chosen[name], f"{what}: {name}", least)
    try:
        chosen["timeout"] = seconds(chosen["timeout"], f"{what}: timeout")
    except ConfigurationError as error:
        raise FlowDefinitionError(str(error)) from None
    chosen["backoff"] = delay_seconds(chosen["backoff"], f"{what}: backoff")
    return chosen


def check_text(text: str, what: str) -> str:
    """
    Text that every store, and the environment of a step's process, can take.

    :raises twisted_evproc.errors.FlowDefinitionError: for NUL, and for lone surrogates, as the names of odd files have them.
    """
    try:
        whole = text.encode()
    except UnicodeEncodeError:
        raise FlowDefinitionError(f"{what}: {text!r:.80} has a lone surrogate in it, which is no character") from None
    if b"\0" in whole:
        raise FlowDefinitionError(f"{what}: {text!r:.80} has a NUL character in it")
    return text


def at_least_number(value: Any, what: str, least: int | None) -> int:
    """
    A whole number.

    :param least: ``None`` for any.
    :raises twisted_evproc.errors.FlowDefinitionError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        bound = "" if least is None else f", {least} or more"
        raise FlowDefinitionError(f"{what}={value!r:.80} has to be a whole number{bound}")
    return value


def check_truth(value: Any, what: str, *, optional: bool = False) -> None:
    """
    See that ``stop_on_exception`` is true or false.

    :param optional: whether it may be ``None``, for what the flow says.
    :raises twisted_evproc.errors.FlowDefinitionError: for anything else.
    """
    if not isinstance(value, bool) and not (optional and value is None):
        raise FlowDefinitionError(f"{what}: stop_on_exception={value!r} has to be True or False")


def amounts(requests: Any, what: str, note: Callable[[ResourcePool], None]) -> dict[str, int]:
    """
    ``[(pool, amount), ...]`` as pool name to amount.

    :param note: is called with each pool.
    :raises twisted_evproc.errors.FlowDefinitionError: for anything else, or more than a pool has.
    """
    found: dict[str, int] = {}
    try:
        pairs = [(pool, amount) for pool, amount in requests]
    except (TypeError, ValueError):
        raise FlowDefinitionError(f"{what} has to be a list of (pool, amount), not {requests!r:.80}") from None
    for pool, amount in pairs:
        if not isinstance(pool, ResourcePool):
            raise FlowDefinitionError(f"{what}: {pool!r:.80} is no ResourcePool")
        _ = at_least_number(amount, f"{what}: amount of {pool.name!r}", 1)
        if pool.limit < amount:
            raise FlowDefinitionError(
                f"{what}: asks for {amount} of {pool.name!r}, which has {pool.limit} in all; it would wait for ever"
            )
        note(pool)
        found[pool.name] = found.get(pool.name, 0) + amount
        if found[pool.name] > pool.limit:
            raise FlowDefinitionError(f"{what}: asks for {found[pool.name]} of {pool.name!r} in all, which has {pool.limit}")
    return found


def make_recovery(recovery: Any, what: str) -> dict[TaskStatus, StepReplay]:
    """
    Recovery choices by task status, with the defaults filled in.

    :raises twisted_evproc.errors.FlowDefinitionError: for anything else.
    """
    chosen = dict(DEFAULT_RECOVERY)
    if not isinstance(recovery, Mapping):
        raise FlowDefinitionError(f"{what}: recovery has to be a mapping of StepStatus to StepReplay, not {recovery!r:.80}")
    for status, replay in recovery.items():
        name = getattr(status, "name", "")
        if name not in TaskStatus.__members__ or not isinstance(replay, StepReplay):
            raise FlowDefinitionError(f"{what}: recovery maps a StepStatus to a StepReplay, not {status!r} to {replay!r}")
        chosen[TaskStatus[name]] = replay
    return chosen


def delay_seconds(delay: Any, what: str) -> float:
    """
    A number of seconds, 0 or more.

    :raises twisted_evproc.errors.FlowDefinitionError: for anything else.
    """
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < float("inf"):
        raise FlowDefinitionError(f"{what}={delay!r:.80} has to be a number of seconds, 0 or more")
    return delay
