"""An event with a name, and the scratch space that its handlers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NoReturn


class Namespace:
    """
    What handlers of one event leave for each other under one name.

    Any attribute can be set, read and deleted, but for names with a leading underscore.
    """

    # Kept apart, so that no name a handler may choose meets one of ours.
    __slots__ = ("_Namespace__path", "__dict__")

    def __init__(self, path: str) -> None:
        object.__setattr__(self, "_Namespace__path", path)

    def __setattr__(self, name: str, value: Any) -> None:
        _check_name(name)
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        known = ", ".join(sorted(vars(self))) or "nothing yet"
        raise AttributeError(f"no handler has set {self.__path}.{name}; there is: {known}", name=name, obj=self)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"<{self.__path} {values}>" if values else f"<{self.__path}>"


class Scratch:
    """
    Namespaces, made when they are first asked for.

    Each of its attributes is a :class:`Namespace`: handlers that belong together agree on one name, and disturb nobody else.
    """

    def __getattr__(self, name: str) -> Namespace:
        _check_name(name)
        namespace = Namespace(f"proc.{name}")
        self.__dict__[name] = namespace
        return namespace

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"proc.{name} is a namespace and cannot be assigned; set an attribute of it, as in proc.{name}.result = ..."
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"proc.{name} is a namespace and cannot be deleted; delete attributes of it")

    def __repr__(self) -> str:
        return f"<proc: {', '.join(self.__dict__) or 'nothing yet'}>"


class Event(ABC):
    """
    An event for a :class:`~twisted_evproc.processing.Processor`: a subclass says what its ``name`` is.

    :ivar ctxt: whatever the program wants its handlers to have at hand, or ``None``.
    """

    ctxt: Any = None
    _scratch: Scratch | None = None

    def __init__(self, ctxt: Any = None) -> None:
        self.ctxt = ctxt

    @property
    @abstractmethod
    def name(self) -> str:
        """What handlers want it by."""

    @property
    def proc(self) -> Scratch:
        """The namespaces in which handlers leave things for each other: ``event.proc.tests.args``."""
        if self._scratch is None:
            self._scratch = Scratch()
        return self._scratch

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _check_name(name: str) -> None:
    if name.startswith("_"):
        raise AttributeError(f"{name!r} cannot be used in proc: names with a leading underscore are kept for Python itself")
