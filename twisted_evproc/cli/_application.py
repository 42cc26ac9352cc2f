"""From ``file.py``, ``file.py:attribute``, ``module`` or ``module:attribute`` to something that can be run."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import attrs
from twisted.application.service import IService

from ..errors import ApplicationError
from ._runnable import Runnable, kind_of, kinds_in_words
from ._spelling import suggestion
from ._traces import place_of, traceback_of

#: From a decoded record to an event and the details it is fired with.
EventMapping: TypeAlias = Callable[[Any], tuple[Any, Mapping[str, Any]]]

#: The function by which an application maps records to events its own way.
MAPPING_NAME = "to_event"
#: The iterable in which an application brings its own events.
EVENTS_NAME = "events"
#: The sources that an application lets its events come from.
SOURCES_NAME = "sources"
#: A service that runs beside an application.
SERVICE_NAME = "service"


@attrs.frozen
class Application:
    """
    What APP on the command line stands for.

    :ivar place: ``file.py`` or ``module``, as given.
    :ivar runnable: what takes the events.
    :ivar mapping: the application's own ``to_event``, or ``None``.
    """

    place: str
    runnable: Runnable
    mapping: EventMapping | None
    _module: ModuleType

    @property
    def has_events(self) -> bool:
        """Whether the application brings events of its own."""
        return hasattr(self._module, EVENTS_NAME)

    def own_events(self) -> Any:
        """Its ``events``, whatever they are."""
        return getattr(self._module, EVENTS_NAME)

    @property
    def has_sources(self) -> bool:
        """Whether the application names sources of events."""
        # A module of that name, such as twisted_evproc.sources, was imported there for what is in it.
        return not isinstance(getattr(self._module, SOURCES_NAME, self._module), ModuleType)

    def own_sources(self) -> tuple[Any, ...]:
        """
        Its ``sources``; empty where it names none.

        :raises twisted_evproc.errors.ApplicationError: where they are no list, nor a function that returns one.
        """
        if not self.has_sources:
            return ()
        found = getattr(self._module, SOURCES_NAME)
        name = f"{self.place}:{SOURCES_NAME}"
        if callable(found):
            try:
                found = found()
            except Exception as error:
                raise ApplicationError(place_of(error) or name, f"{name}() failed:\n{traceback_of(error)}") from error
        if not isinstance(found, list | tuple):
            raise ApplicationError(name, f"has to be a list of sources, or a function that returns one, not {_described(found)}")
        return tuple(found)

    def own_service(self) -> Any:
        """
        Its ``service``, or ``None``.

        :raises twisted_evproc.errors.ApplicationError: for a class in place of an instance of it.
        """
        found = getattr(self._module, SERVICE_NAME, None)
        if isinstance(found, type) and IService.implementedBy(found):
            raise ApplicationError(f"{self.place}:{SERVICE_NAME}", f"has to be an instance, not {_described(found)}")
        return found if IService.providedBy(found) else None


def load(reference: str) -> Application:
    """
    Import an application.

    :param reference: a Python file or an importable module, each with ``:attribute`` or without; without, the module has to have
        exactly one thing that can be run.
    :raises twisted_evproc.errors.ApplicationError: where there is nothing to run, naming the place and the remedy.
    """
    place, attribute = _parts(reference)
    module = _from_file(place) if _is_file(place) else _from_name(place)
    runnable = _only(module, place) if attribute is None else _named(module, place, attribute)
    mapping = getattr(module, MAPPING_NAME, None)
    if mapping is not None and not callable(mapping):
        raise ApplicationError(
            f"{place}:{MAPPING_NAME}",
            f"has to be a function that takes a record and returns (event, details), not {_described(mapping)}",
        )
    return Application(place, runnable, mapping, module)


def _parts(reference: str) -> tuple[str, str | None]:
    place, colon, attribute = reference.rpartition(":")
    # A colon may also belong to the path of an existing file, or be that of a Windows drive.
    if not colon or Path(reference).is_file() or "/" in attribute or "\\" in attribute:
        return reference, None
    if not place or not attribute:
        raise ApplicationError(reference, "is not an application; write file.py, file.py:attribute or module:attribute")
    return place, attribute


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place or Path(place).is_file()


def _from_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise ApplicationError(place, f"the application file {what}; give the path of a Python file.{_similar_file(path)}")
    if path.suffix in (".json", ".jsonl"):
        raise ApplicationError(place, "is JSON, and no application; give the path of a Python file, and events as --events FILE")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Not under the name of a module that is there already, which other modules would then get in its place.
    name = path.stem if path.stem.isidentifier() and not _is_taken(path.stem, path) else f"application_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=importlib.machinery.SourceFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _importing(place, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]  # asserted above
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_taken(name: str, path: Path) -> bool:
    found = sys.modules.get(name)
    if found is not None:
        return True
    spec = importlib.util.find_spec(name)
    return spec is not None and (spec.origin is None or Path(spec.origin).resolve() != path.resolve())


def _from_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ApplicationError(name, "is neither a Python file (file.py) nor the name of a module (module:attribute)")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module: list[ModuleType] = []
    try:
        _importing(name, lambda: module.append(import_module(name)))
    except ApplicationError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            hint = f"  For the file, write {name}.py." if Path(f"{name}.py").is_file() else ""
            raise ApplicationError(
                name, f"there is no module {cause.name!r} in the current directory or on the Python path.{hint}"
            ) from cause
        raise
    return module[0]


def _importing(place: str, act: Callable[[], object]) -> None:
    try:
        act()
    except SystemExit as error:
        raise ApplicationError(
            place_of(error) or place,
            f"the application ended itself (SystemExit {error.code!r}) while it was loaded; put what is meant for running it "
            f'as a script under if __name__ == "__main__":',
        ) from error
    except Exception as error:
        raise ApplicationError(place_of(error) or place, f"the application cannot be loaded:\n{traceback_of(error)}") from error


def _candidates(module: ModuleType) -> dict[str, Any]:
    """What can be run, each under the first of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for name, thing in vars(module).items():
        if kind_of(thing) is not None:
            found.setdefault(id(thing), (name, thing))
    return dict(found.values())


def _offer(module: ModuleType, place: str) -> str:
    names = ", ".join(f"{place}:{name}" for name in _candidates(module))
    return f"it has {names}" if names else f"it has no {kinds_in_words()} at its top level"


def _only(module: ModuleType, place: str) -> Runnable:
    found = _candidates(module)
    if not found:
        raise ApplicationError(
            place,
            f"has no {kinds_in_words()} at its top level; make one there, as in dispatcher = EventDispatcher(...), "
            f"or say where it is: {place}:attribute",
        )
    if len(found) > 1:
        raise ApplicationError(place, f"has several things that can be run; choose one: {_offer(module, place)[7:]}")
    (thing,) = found.values()
    return _adapted(thing)


def _named(module: ModuleType, place: str, attribute: str) -> Runnable:
    thing: Any = module
    for name in attribute.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            raise ApplicationError(
                f"{place}:{attribute}", f"there is no {name!r}; {_offer(module, place)}.{suggestion(name, dir(thing))}"
            ) from None
    if kind_of(thing) is None:
        raise ApplicationError(
            f"{place}:{attribute}", f"has to be an {kinds_in_words()}, not {_described(thing)}; {_offer(module, place)}."
        )
    return _adapted(thing)


def _adapted(thing: object) -> Runnable:
    kind = kind_of(thing)
    assert kind is not None
    return kind.adapt(thing)


def _described(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    name = type(thing).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _similar_file(path: Path) -> str:
    folder = path.parent
    return suggestion(path.name, (each.name for each in folder.glob("*.py"))) if folder.is_dir() else ""


__all__ = ["EVENTS_NAME", "MAPPING_NAME", "SERVICE_NAME", "SOURCES_NAME", "Application", "EventMapping", "load"]
