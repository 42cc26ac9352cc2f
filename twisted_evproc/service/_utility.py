"""Dispatchers as utilities of the Zope component architecture."""

from __future__ import annotations

from typing import Any

from zope.interface import Invalid
from zope.interface.interfaces import ComponentLookupError, IComponentLookup, IComponentRegistry, IInterface
from zope.interface.verify import verifyObject

from ..errors import ConfigurationError, MissingExtra, listing
from ..interfaces import IEventDispatcher


def register(
    dispatcher: Any, name: str = "", *, provided: Any = IEventDispatcher, site_manager: Any = None, info: str = ""
) -> None:
    """
    Register a dispatcher as a utility, found with ``zope.component.getUtility(IEventDispatcher, name)``.

    Registering the same one again changes nothing.

    :param dispatcher: provides ``provided``.
    :param name: the name of the utility; empty for the one without a name.
    :param provided: the interface it is registered for.
    :param site_manager: where; any ``zope.interface.registry.Components``.  ``None`` for the global one of zope.component.
    :param info: where the registration comes from; shown when another one is refused.
    :raises twisted_evproc.errors.ConfigurationError: for an object that does not provide the interface, and while another one is
        registered there under this name.
    :raises twisted_evproc.errors.MissingExtra: without ``site_manager`` where zope.component is not installed.
    """
    _check_name(name)
    _check_provides(dispatcher, provided)
    site = _registry(site_manager)
    there = _registration(site, provided, name)
    if there is None:
        site.registerUtility(dispatcher, provided, name, info=info)
    elif there.component is not dispatcher:
        raise ConfigurationError(
            f"{dispatcher!r} cannot be registered for {provided.__name__} under the name {name!r}: {there.component!r} is there"
            f"{f' ({there.info})' if there.info else ''}.  Unregister that first, or take another name."
        )


def unregister(dispatcher: Any, name: str = "", *, provided: Any = IEventDispatcher, site_manager: Any = None) -> None:
    """
    Undo :func:`register`.

    :param dispatcher: the one that was registered.
    :param name: as for :func:`register`.
    :param provided: as for :func:`register`.
    :param site_manager: as for :func:`register`.
    :raises zope.interface.interfaces.ComponentLookupError: (a ``LookupError``) when that one is not registered there under this
        name.
    :raises twisted_evproc.errors.MissingExtra: as for :func:`register`.
    """
    _check_name(name)
    site = _registry(site_manager)
    there = _registration(site, provided, name)
    if there is None:
        raise ComponentLookupError(_not_there(provided, name, (known.name for known in _registrations(site, provided))))
    if there.component is not dispatcher:
        raise ComponentLookupError(
            f"{dispatcher!r} is not registered for {provided.__name__} under the name {name!r}: {there.component!r} is."
        )
    site.unregisterUtility(there.component, provided, name)


def look_up(name: str = "", *, provided: Any = IEventDispatcher, site_manager: Any = None) -> Any:
    """
    The dispatcher registered under a name.

    :param name: the name of the utility.
    :param provided: the interface it is registered for.
    :param site_manager: where to look, its bases included; ``None`` for where ``zope.component.getUtility`` looks.
    :raises zope.interface.interfaces.ComponentLookupError: (a ``LookupError``) that lists the names there are.
    :raises twisted_evproc.errors.MissingExtra: as for :func:`register`.
    """
    _check_name(name)
    if site_manager is None:
        site = zope_component("looking up a dispatcher without site_manager").getSiteManager()
    elif IComponentLookup.providedBy(site_manager):
        site = site_manager
    else:
        raise ConfigurationError(
            f"site_manager={site_manager!r} is no component registry; give a zope.interface.registry.Components"
        )
    found = site.queryUtility(provided, name)
    if found is None:
        raise ComponentLookupError(_not_there(provided, name, (known for known, _ in site.getUtilitiesFor(provided))))
    return found


def zope_component(feature: str) -> Any:
    """
    The package zope.component, which is not required.

    :param feature: what needs it.
    :raises twisted_evproc.errors.MissingExtra: where it is not installed.
    """
    try:
        import zope.component
    except ImportError as error:
        raise MissingExtra(feature, "zca") from error
    return zope.component


def _registry(site_manager: Any) -> Any:
    if site_manager is None:
        return zope_component("registering without site_manager").getGlobalSiteManager()
    if not IComponentRegistry.providedBy(site_manager):
        raise ConfigurationError(
            f"site_manager={site_manager!r} is no component registry; give a zope.interface.registry.Components"
        )
    return site_manager


def _registrations(site: Any, provided: Any) -> list[Any]:
    # Those made there, not those of its bases: a site may have a utility of its own under a name that its base uses.
    return [known for known in site.registeredUtilities() if known.provided is provided]


def _registration(site: Any, provided: Any, name: str) -> Any:
    return next((known for known in _registrations(site, provided) if known.name == name), None)


def _not_there(provided: Any, name: str, names: Any) -> str:
    return f"no {provided.__name__} is registered under the name {name!r}; there are: {listing(names)}"


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise ConfigurationError(f"name={name!r} has to be a string; the empty one is the utility without a name")


def _check_provides(component: Any, provided: Any) -> None:
    if not IInterface.providedBy(provided):
        raise ConfigurationError(f"provided={provided!r} is no interface of zope.interface")
    try:
        verifyObject(provided, component)
    except Invalid as error:
        hint = "; give an instance of it" if isinstance(component, type) else ""
        problem = " ".join(str(error).split())
        raise ConfigurationError(f"{component!r} cannot be registered for {provided.__name__}{hint}: {problem}") from error
