"""
ZCML directives for dispatchers and handlers; ``meta.zcml`` beside this makes them known.

The only module that imports zope.configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from ..dispatch import ABORT, COLLECT, LOG, RAISE, EventDispatcher, peek, qualified_name_of
from ..errors import ConfigurationError, MissingExtra
from ..interfaces import IEventDispatcher
from ..matching import glob, one_of, regex
from ._utility import look_up, register, zope_component

try:
    from zope.configuration.fields import Bool, GlobalObject, Tokens
    from zope.schema import Choice, Float, Int, TextLine
except ImportError as error:
    raise MissingExtra("ZCML", "zca") from error

_LOG = Logger(namespace="twisted_evproc.service")

_POLICIES = {"LOG": LOG, "COLLECT": COLLECT, "ABORT": ABORT, "RAISE": RAISE}

# Actions without a conflict are executed by order, then as they stand in the files: a handler may stand before its dispatcher.
_REGISTER, _ADD_HANDLER, _START = range(3)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "yes", "false", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text.lower() in ("true", "yes")


#: Types that the text of a match value may stand for.
_TYPES: dict[str, Callable[[str], Any]] = {"text": str, "int": int, "float": float, "bool": _boolean}


class IDispatcherDirective(Interface):
    """Register an event dispatcher as a utility."""

    name = TextLine(title="Name", description="Name of the utility; left out for the one without a name.", required=False)
    keywords = Tokens(
        title="Keywords", description="What handlers may match on.", required=False, value_type=TextLine(missing_value="")
    )
    phases = Tokens(
        title="Phases", description="Names of its phases, in order.", required=False, value_type=TextLine(missing_value="")
    )
    on_failure = TextLine(
        title="Failure policy",
        description="LOG, COLLECT, ABORT or RAISE, or the dotted name of a failure policy.",
        required=False,
    )
    max_concurrent_firings = Int(title="Most firings under way", required=False)
    max_waiting_firings = Int(title="Most firings that wait", required=False)
    serialize_by = TextLine(title="Keyword to serialize by", required=False)
    start = Bool(title="Start", description="Start it as the last action of the configuration.", required=False, default=False)


class IHandlerDirective(Interface):
    """Add a handler to a dispatcher that is registered as a utility."""

    dispatcher = TextLine(title="Dispatcher", description="Name of the dispatcher's utility.", required=False)
    handler = GlobalObject(title="Handler", description="Dotted name of the function.")
    phase = TextLine(title="Phase")
    handler_name = TextLine(title="Name of the handler", required=False)
    where = GlobalObject(title="Filter", description="Dotted name of a filter or predicate over the event.", required=False)
    requires = Tokens(
        title="Requires",
        description="Names of handlers that finish first.",
        required=False,
        value_type=TextLine(missing_value=""),
    )
    required_by = Tokens(
        title="Required by", description="Names of handlers that wait.", required=False, value_type=TextLine(missing_value="")
    )
    max_calls = Int(title="Most calls", required=False)
    timeout = Float(title="Time-out", description="Seconds.", required=False)


class IMatchDirective(Interface):
    """A keyword of the handler's match-spec, and what it has to be."""

    keyword = TextLine(title="Keyword")
    value = TextLine(title="Value", description="An equal one.", required=False)
    values = Tokens(title="Values", description="One of these.", required=False, value_type=TextLine(missing_value=""))
    type = Choice(title="Type", description="What the text of values stands for.", values=sorted(_TYPES), default="text")
    glob = TextLine(title="Pattern", description="As for file names.", required=False)
    regex = TextLine(title="Expression", description="Is found in the text.", required=False)
    object = GlobalObject(title="Object", description="Dotted name of a value or a matcher.", required=False)


def dispatcher(
    context: Any,
    name: str = "",
    start: bool = False,
    keywords: Any = (),
    on_failure: str | None = None,
    **options: Any,
) -> None:
    """The directive ``dispatcher``."""
    if on_failure is not None:
        options["on_failure"] = _POLICIES[on_failure] if on_failure in _POLICIES else context.resolve(on_failure)
    # The discriminator of the directive utility, so that both cannot claim one name.
    context.action(
        discriminator=("utility", IEventDispatcher, name),
        callable=_register,
        args=(name, str(context.info), keywords, options),
        order=_REGISTER,
    )
    if start:
        context.action(discriminator=("evproc:start", name), callable=_start, args=(name,), order=_START)


class HandlerDirective:
    """The directive ``handler`` with its ``match`` elements."""

    def __init__(self, context: Any, handler: Any, phase: str, dispatcher: str = "", **options: Any) -> None:
        self._context = context
        self._handler = handler
        self._phase = phase
        self._dispatcher = dispatcher
        self._options = options
        self._match_spec: dict[str, Any] = {}

    def match(self, context: Any, keyword: str, type: str, **given: Any) -> None:  # noqa: A002  the name of an attribute in ZCML
        """The directive ``match``."""
        if len(given) != 1:
            raise ConfigurationError(f"match keyword={keyword!r} takes one of value, values, glob, regex and object")
        if keyword in self._match_spec:
            raise ConfigurationError(f"match keyword={keyword!r} is there twice; give several values as values=")
        # Refuses what no dispatcher would allow, such as the name of an option, which would be taken for that.
        EventDispatcher((keyword,))
        [(way, what)] = given.items()
        self._match_spec[keyword] = _match_value(keyword, type, way, what)

    def __call__(self) -> None:
        """All of it has been read."""
        spec = ", ".join(f"{keyword}={value!r}" for keyword, value in sorted(self._match_spec.items()))
        name = self._options.get("handler_name") or qualified_name_of(self._handler)
        # Strings alone: zope.configuration sorts discriminators that conflict.
        self._context.action(
            discriminator=("evproc:handler", self._dispatcher, self._phase, name, spec),
            callable=_add_handler,
            args=(self._dispatcher, self._handler, self._phase, {**self._options, **self._match_spec}),
            order=_ADD_HANDLER,
        )


def _match_value(keyword: str, type_: str, way: str, what: Any) -> Any:
    if way not in ("value", "values") and type_ != "text":
        raise ConfigurationError(f"match keyword={keyword!r}: type={type_!r} goes with value and values, not with {way}")
    try:
        if way == "value":
            return _TYPES[type_](what)
        if way == "values":
            return one_of(*map(_TYPES[type_], what))
    except ValueError as error:
        raise ConfigurationError(f"match keyword={keyword!r}: {error}") from error
    if way == "object":
        return what
    return glob(what) if way == "glob" else regex(what)


def _site() -> Any:
    # As the directives of zope.component do: hooks may have set another one than the global.
    return zope_component("ZCML").getSiteManager()


def _register(name: str, info: str, keywords: Any, options: dict[str, Any]) -> None:
    register(EventDispatcher(keywords, name=name, **options), name, site_manager=_site(), info=info)


def _add_handler(name: str, handler: Any, phase: str, options: dict[str, Any]) -> None:
    _own(look_up(name, site_manager=_site()).add_event_handler(handler, phase, **options), handler)


def _start(name: str) -> None:
    _own(look_up(name, site_manager=_site()).start(), name)


def _own(deferred: Deferred[Any], what: object) -> None:
    """Raise a failure that is there, and log one that comes later."""
    found = peek(deferred)
    if isinstance(found, Failure):
        found.raiseException()
    if isinstance(found, Deferred):
        _ = deferred.addErrback(lambda failure: _LOG.failure("what ZCML asked for {what!r} failed", failure, what=what))
