"""From ``file.py``, ``file.py:attribute``, ``module`` or ``module:attribute`` to a flow."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import ApplicationError
from ._application import _described, _from_file, _from_name, _is_file, _parts
from ._spelling import suggestion
from ._traces import place_of, traceback_of

if TYPE_CHECKING:
    from ..flow import Eventor, RunMode

#: The function by which an application makes its flow; it is called with a run mode.
BUILD_NAME = "build_flow"

# How each SQLite file begins.
_SQLITE = b"SQLite format 3\0"


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


def _is_store(place: str) -> bool:
    try:
        with open(place, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def load_flow(reference: str) -> FlowApplication:
    """
    Import an application with a flow.

    :param reference: a Python file or an importable module, each with ``:attribute`` or without; without, the module has to
        have a function ``build_flow(run_mode)`` or exactly one :class:`~twisted_evproc.flow.Eventor`.
    :raises twisted_evproc.errors.ApplicationError: where there is no flow, naming the place and the remedy.
    """
    from ..flow import Eventor

    place, attribute = _parts(reference)
    if _is_store(place):
        raise ApplicationError(place, "is the store of a flow's runs, and this command takes the application")
    module = _from_file(place) if _is_file(place) else _from_name(place)
    if attribute is None:
        attribute = BUILD_NAME if callable(getattr(module, BUILD_NAME, None)) else _only(module, place)
    thing: Any = module
    for name in attribute.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            raise ApplicationError(
                f"{place}:{attribute}", f"there is no {name!r}; {_offer(module, place)}.{suggestion(name, dir(thing))}"
            ) from None
    where = f"{place}:{attribute}"
    if isinstance(thing, Eventor):
        return FlowApplication(place, lambda mode: _in_mode(thing, mode))
    if callable(thing) and not isinstance(thing, type):
        return FlowApplication(place, lambda mode: _built(thing, mode, where))
    raise ApplicationError(
        where, f"has to be an Eventor, or a function that takes a run mode and returns one, not {_described(thing)}"
    )


def _in_mode(flow: Eventor, mode: RunMode) -> Eventor:
    flow.run_mode = mode
    return flow


def _built(make: Callable[[RunMode], Any], mode: RunMode, where: str) -> Eventor:
    from ..flow import Eventor

    try:
        made = make(mode)
    except Exception as error:
        raise ApplicationError(place_of(error) or where, f"{where}() failed:\n{traceback_of(error)}") from error
    if not isinstance(made, Eventor):
        raise ApplicationError(where, f"has to return an Eventor, not {_described(made)}")
    return made


def _candidates(module: ModuleType) -> dict[str, Any]:
    from ..flow import Eventor

    found: dict[int, tuple[str, Any]] = {}
    for name, thing in vars(module).items():
        if isinstance(thing, Eventor):
            found.setdefault(id(thing), (name, thing))
    return dict(found.values())


def _offer(module: ModuleType, place: str) -> str:
    names = ", ".join(f"{place}:{name}" for name in _candidates(module))
    return f"it has {names}" if names else "it has no Eventor at its top level"


def _only(module: ModuleType, place: str) -> str:
    found = _candidates(module)
    if not found:
        raise ApplicationError(
            place,
            f"has no flow at its top level; make one there, as in flow = Eventor(...), or define {BUILD_NAME}(run_mode), "
            f"which returns one",
        )
    if len(found) > 1:
        raise ApplicationError(place, f"has several flows; choose one: {_offer(module, place)[7:]}")
    (name,) = found
    return name


__all__ = ["BUILD_NAME", "FlowApplication", "load_flow"]
