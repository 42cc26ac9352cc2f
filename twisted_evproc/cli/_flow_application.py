"""What APP on the command line stands for where it is to have a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import ApplicationError
from ._flow_store import is_sqlite
from ._loading import Offer, described, module_at, parts, result_of

if TYPE_CHECKING:
    from ..flow import Eventor, RunMode

#: The function by which an application makes its flow; it is called with a run mode.
BUILD_NAME = "build_flow"


@attrs.frozen
class FlowApplication:
    """
    What APP on the command line stands for.

    :ivar place: ``file.py`` or ``module``, as given.
    """

    place: str
    _make: Callable[[RunMode], Eventor]

    def flow(self, mode: RunMode | None = None) -> Eventor:
        """
        Its flow.

        :param mode: how it is to begin; ``None`` when it is only looked at.
        :raises twisted_evproc.errors.ApplicationError: when it cannot be made.
        """
        from ..flow import RunMode

        return self._make(RunMode.continue_ if mode is None else mode)


def load_flow(reference: str) -> FlowApplication:
    """
    Import an application with a flow.

    :param reference: a Python file or an importable module, each with ``:attribute`` or without; without, the module has to
        have a function ``build_flow(run_mode)`` or exactly one :class:`~twisted_evproc.flow.Eventor`.
    :raises twisted_evproc.errors.ApplicationError: where there is no flow, naming the place and the remedy.
    """
    from ..flow import Eventor

    place, attribute = parts(reference)
    if is_sqlite(place):
        raise ApplicationError(place, "is the store of a flow's runs, and this command takes the application")
    module = module_at(place)
    offer = Offer(place, "Eventor", module, lambda thing: isinstance(thing, Eventor))
    if attribute is None and callable(getattr(module, BUILD_NAME, None)):
        attribute = BUILD_NAME
    if attribute is None:
        attribute = offer.only(
            f"has no flow at its top level; make one there, as in flow = Eventor(...), or define {BUILD_NAME}(run_mode), "
            f"which returns one",
            "has several flows",
        )
    thing = offer.named(attribute)
    where = f"{place}:{attribute}"
    if isinstance(thing, Eventor):
        return FlowApplication(place, lambda mode: _in_mode(thing, mode))
    if callable(thing) and not isinstance(thing, type):
        return FlowApplication(place, lambda mode: _built(thing, mode, where))
    raise ApplicationError(
        where, f"has to be an Eventor, or a function that takes a run mode and returns one, not {described(thing)}"
    )


def _in_mode(flow: Eventor, mode: RunMode) -> Eventor:
    flow.run_mode = mode
    return flow


def _built(make: Callable[[RunMode], Any], mode: RunMode, where: str) -> Eventor:
    from ..flow import Eventor

    made = result_of(lambda: make(mode), where)
    if not isinstance(made, Eventor):
        raise ApplicationError(where, f"has to return an Eventor, not {described(made)}")
    return made


__all__ = ["BUILD_NAME", "FlowApplication", "load_flow"]
