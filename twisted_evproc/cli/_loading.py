"""From ``file.py``, ``file.py:attribute``, ``module`` or ``module:attribute`` to what is there."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import attrs

from ..errors import ApplicationError
from ._spelling import suggestion
from ._traces import place_of, traceback_of

T = TypeVar("T")


def parts(reference: str) -> tuple[str, str | None]:
    """
    The place, a file or a module, and the attribute, or ``None``.

    :param reference: as it stands on the command line.
    :raises twisted_evproc.errors.ApplicationError: where one of them is empty.
    """
    place, colon, attribute = reference.rpartition(":")
    # A colon may also belong to the path of an existing file, or be that of a Windows drive.
    if not colon or Path(reference).is_file() or "/" in attribute or "\\" in attribute:
        return reference, None
    if not place or not attribute:
        raise ApplicationError(reference, "is not an application; write file.py, file.py:attribute or module:attribute")
    return place, attribute


def module_at(place: str) -> ModuleType:
    """
    Import a Python file or a module.

    :raises twisted_evproc.errors.ApplicationError: where there is none, or it cannot be imported.
    """
    return _from_file(place) if _is_file(place) else _from_name(place)


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
    if getattr(module[0], "__file__", None) is None and Path(name).is_dir():
        # Python takes any directory for a package, in which there is nothing.
        raise ApplicationError(name, "is a directory; give the path of a Python file, or a module as package.module")
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


@attrs.frozen
class Offer:
    """
    What of a module can be meant.

    :ivar place: the module, as given.
    :ivar noun: what messages call what is looked for.
    """

    place: str
    noun: str
    _module: ModuleType
    _fits: Callable[[object], bool]

    def only(self, none: str, several: str) -> str:
        """
        The name of the one thing that fits; the first where it has several names.

        :param none: what to say where there is none.
        :param several: what to say where there are several, before they are named.
        :raises twisted_evproc.errors.ApplicationError: in both cases.
        """
        names = self._names()
        if not names:
            raise ApplicationError(self.place, none)
        if len(names) > 1:
            raise ApplicationError(self.place, f"{several}; choose one: {self._listed(names)}")
        return names[0]

    def named(self, attribute: str) -> Any:
        """
        What has a name, whether it fits or not.

        :param attribute: may have dots in it.
        :raises twisted_evproc.errors.ApplicationError: where there is none.
        """
        thing: Any = self._module
        for name in attribute.split("."):
            try:
                thing = getattr(thing, name)
            except AttributeError:
                raise ApplicationError(
                    f"{self.place}:{attribute}", f"there is no {name!r}; {self}.{suggestion(name, dir(thing))}"
                ) from None
        return thing

    def __str__(self) -> str:
        names = self._names()
        return f"it has {self._listed(names)}" if names else f"it has no {self.noun} at its top level"

    def _names(self) -> list[str]:
        found: dict[int, str] = {}
        for name, thing in vars(self._module).items():
            if self._fits(thing):
                found.setdefault(id(thing), name)
        return list(found.values())

    def _listed(self, names: list[str]) -> str:
        return ", ".join(f"{self.place}:{name}" for name in names)


def result_of(function: Callable[[], T], where: str) -> T:
    """
    Call a function of an application.

    :param where: place and name of the function.
    :raises twisted_evproc.errors.ApplicationError: when it fails.
    """
    try:
        return function()
    except Exception as error:
        raise ApplicationError(place_of(error) or where, f"{where}() failed:\n{traceback_of(error)}") from error


def described(thing: object) -> str:
    """What a thing is, for messages."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    name = type(thing).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _similar_file(path: Path) -> str:
    folder = path.parent
    return suggestion(path.name, (each.name for each in folder.glob("*.py"))) if folder.is_dir() else ""


__all__ = ["Offer", "described", "module_at", "parts", "result_of"]
