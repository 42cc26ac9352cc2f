"""What follows when a handler fails."""

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs

from ..errors import ConfigurationError


class Action(Enum):
    """What is done about one failure."""

    LOG = "log"
    COLLECT = "collect"
    ABORT = "abort"
    RAISE = "raise"


@attrs.frozen(repr=False)
class FailurePolicy:
    """
    Decides what is done about a handler's exception.

    :ivar action: what is done about exceptions of ``types``.
    :ivar types: exception classes.
    :ivar otherwise: the policy for all others.
    """

    action: Action
    types: tuple[type[BaseException], ...] = (BaseException,)
    otherwise: FailurePolicy | None = None

    def only(self, *types: Any, otherwise: FailurePolicy | None = None) -> FailurePolicy:
        """
        This policy for some exceptions alone.

        :param types: exception classes, at least one.
        :param otherwise: the policy for all others; ``None`` is ``LOG``.
        :raises twisted_evproc.errors.ConfigurationError: for anything else.
        """
        if not types or not all(isinstance(cls, type) and issubclass(cls, BaseException) for cls in types):
            raise ConfigurationError(f"{self!r}.only() takes exception classes, not {types!r}")
        return FailurePolicy(self.action, types, check_policy(LOG if otherwise is None else otherwise, "otherwise"))

    def action_for(self, error: BaseException) -> Action:
        """What is done about this exception."""
        if isinstance(error, self.types) or self.otherwise is None:
            return self.action
        return self.otherwise.action_for(error)

    def may(self, action: Action) -> bool:
        """Whether some exception would lead to this."""
        return self.action is action or (self.otherwise is not None and self.otherwise.may(action))

    def __repr__(self) -> str:
        if self.otherwise is None:
            return self.action.name
        types = ", ".join(cls.__name__ for cls in self.types)
        return f"{self.action.name}.only({types}, otherwise={self.otherwise!r})"


#: Each failure is logged once, at once, with handler, phase and event; everything else runs.
LOG = FailurePolicy(Action.LOG)
#: Failures are in the outcome only; everything else runs.
COLLECT = FailurePolicy(Action.COLLECT)
#: Each failure is logged; the phase is finished and the later ones are skipped.
ABORT = FailurePolicy(Action.ABORT)
#: The phase is finished, the later ones are skipped, and the firing's Deferred fails.
RAISE = FailurePolicy(Action.RAISE)


def check_policy(policy: Any, option: str) -> FailurePolicy:
    """
    The policy, if it is one.

    :raises twisted_evproc.errors.ConfigurationError: naming the option and what it takes.
    """
    if not isinstance(policy, FailurePolicy):
        raise ConfigurationError(
            f"{option}={policy!r} is no failure policy; take LOG, COLLECT, ABORT or RAISE, or limit one of them to "
            f"exception types, as in RAISE.only(ValueError, otherwise=LOG)"
        )
    return policy
