"""What APP on the command line stands for: something that can be run, and what its module has besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import attrs
from twisted.application.service import IService

from ..errors import ApplicationError
from ._loading import Offer, described, module_at, parts, result_of
from ._runnable import Runnable, kind_of, kinds_in_words

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
            found = result_of(found, name)
        if not isinstance(found, list | tuple):
            raise ApplicationError(name, f"has to be a list of sources, or a function that returns one, not {described(found)}")
        return tuple(found)

    def own_service(self) -> Any:
        """
        Its ``service``, or ``None``.

        :raises twisted_evproc.errors.ApplicationError: for a class in place of an instance of it.
        """
        found = getattr(self._module, SERVICE_NAME, None)
        if isinstance(found, type) and IService.implementedBy(found):
            raise ApplicationError(f"{self.place}:{SERVICE_NAME}", f"has to be an instance, not {described(found)}")
        return found if IService.providedBy(found) else None


def load(reference: str) -> Application:
    """
    Import an application.

    :param reference: a Python file or an importable module, each with ``:attribute`` or without; without, the module has to have
        exactly one thing that can be run.
    :raises twisted_evproc.errors.ApplicationError: where there is nothing to run, naming the place and the remedy.
    """
    place, attribute = parts(reference)
    module = module_at(place)
    offer = Offer(place, kinds_in_words(), module, lambda thing: kind_of(thing) is not None)
    if attribute is None:
        attribute = offer.only(
            f"has no {kinds_in_words()} at its top level; make one there, as in dispatcher = EventDispatcher(...), "
            f"or say where it is: {place}:attribute",
            "has several things that can be run",
        )
    thing = offer.named(attribute)
    kind = kind_of(thing)
    if kind is None:
        raise ApplicationError(f"{place}:{attribute}", f"has to be an {kinds_in_words()}, not {described(thing)}; {offer}.")
    mapping = getattr(module, MAPPING_NAME, None)
    if mapping is not None and not callable(mapping):
        raise ApplicationError(
            f"{place}:{MAPPING_NAME}",
            f"has to be a function that takes a record and returns (event, details), not {described(mapping)}",
        )
    return Application(place, kind.adapt(thing), mapping, module)


__all__ = ["EVENTS_NAME", "MAPPING_NAME", "SERVICE_NAME", "SOURCES_NAME", "Application", "EventMapping", "load"]
