"""Giving a function what its parameters ask for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import MethodType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, overload

import attrs
from twisted.internet.defer import Deferred

from ..dispatch import arrived, forwarded, peek, qualified_name_of
from ..errors import DecorationError, DependencyError
from ._event import Event

T = TypeVar("T")

_ABSENT: Any = object()
_NO_NAMES: Mapping[str, Any] = {}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@attrs.frozen
class Dependency:
    """
    What :func:`Depends` stands for.

    :ivar function: gives the value; its own parameters are injected.
    :ivar cached: whether one value serves a whole invocation.
    """

    function: Callable[..., Any]
    cached: bool


@overload
def Depends(callable: Callable[..., Coroutine[Any, Any, T]], cache: bool = True) -> T: ...
@overload
def Depends(callable: Callable[..., Deferred[T]], cache: bool = True) -> T: ...
@overload
def Depends(callable: Callable[..., T], cache: bool = True) -> T: ...
def Depends(callable: Callable[..., Any], cache: bool = True) -> Any:  # noqa: A002, N802  named like that wherever there is one
    """
    Say, as a parameter's default, that its value comes from a function.

    :param callable: called with its own parameters injected; may return a Deferred or be ``async def``.
    :param cache: whether one value serves a whole invocation.  What depends on something that is not cached is not cached either.
    :return: to the type checker, what the function returns.
    """
    if not _is_callable(callable):
        raise DecorationError(f"Depends({callable!r}) needs a function that gives the value")
    return Dependency(callable, cache)


_is_callable = callable  # the parameter above has its name


class Invocation:
    """
    One event on its way to its handlers, with what was made for it.

    :ivar event: the event as it came.
    :ivar seen: the event as injection sees it.
    :ivar names: values that only one handler sees, by name.
    :ivar chosen: such names of each handler that was chosen, by its callee.
    """

    __slots__ = ("_cache", "_seen", "chosen", "event", "names", "seen")

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.event = event
        self.seen: Any = event
        self.names: Mapping[str, Any] = _NO_NAMES
        self.chosen: Mapping[Any, Mapping[str, Any]] = _NO_NAMES
        # Made when first needed: most invocations inject nothing.
        self._cache: dict[Any, tuple[Any, bool]] | None = None
        # What cached values were made of is told apart by identity, so it has to stay.
        self._seen: list[Any] | None = None

    def __repr__(self) -> str:
        return repr(self.event)

    def seeing(self, event: Any, names: Mapping[str, Any]) -> Invocation:
        """The same invocation for a handler that sees another event and other names; the cache is shared."""
        if self._cache is None:
            self._cache = {}
        if self._seen is None:
            self._seen = []
        other = Invocation(self.event)
        other.seen = event
        other.names = names or _NO_NAMES
        other._cache = self._cache
        other._seen = self._seen
        self._seen.append((event, other.names))
        return other

    async def cached(self, key: Any, make: Callable[[], Awaitable[tuple[Any, bool]]]) -> tuple[Any, bool]:
        """
        The value of a key, made once, and whether it may serve the whole invocation.

        :param make: gives both.
        """
        if self._cache is None:
            self._cache = {}
        if key in self._cache:
            return self._cache[key]
        made = await make()
        if made[1]:
            self._cache[key] = made
        return made


async def eventually(value: Any) -> Any:
    """A value, waited for if need be; a Deferred may be somebody else's, who waits for it too."""
    if isinstance(value, Deferred):
        return await arrived(forwarded(peek(value)))
    # In the context of whoever waits, not in its own as a handler: what a dependency sets there is for the handler to see.
    return await value if isinstance(value, Coroutine) else value


@attrs.frozen
class _Field:
    """A parameter that is a field of the event."""

    name: str
    default: Any
    check: Callable[[Any], Any] | None


class Signature:
    """
    What a function's parameters ask for, worked out once.

    :ivar function: the function.
    """

    def __init__(self, function: Callable[..., Any], products: int = 0) -> None:
        """
        :param products: how many products of named factories it has to take.
        :raises twisted_evproc.errors.DecorationError: when it cannot be called like that.
        """
        self.function = function
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as error:
            raise DecorationError(f"the parameters of {function!r} cannot be found out: {error}") from error
        self.positional: list[Any] = []
        self.named: dict[str, Any] = {}
        self.products = products
        annotations = _annotations(function)
        # Where there is *args, it takes all products, and what stands before it are fields.
        gathers = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
        left = products
        for number, parameter in enumerate(parameters):
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self.positional.extend([_PRODUCT] * left)
                left = 0
                continue
            positional = parameter.kind in _POSITIONAL
            source = self._source(parameter, annotations.get(parameter.name, parameter.annotation), number == 0 and positional)
            if isinstance(source, _Field) and left and positional and not gathers:
                source = _PRODUCT
                left -= 1
            if positional:
                self.positional.append(source)
            else:
                self.named[parameter.name] = source
        if left:
            raise DecorationError(
                f"{qualified_name_of(function)} has no parameters for {left} of the {products} products of its factories.  Add "
                f"parameters behind the event, or *args."
            )
        self.takes_event_alone = self.positional == [_EVENT] and not self.named

    def _source(self, parameter: inspect.Parameter, annotation: Any, first: bool) -> Any:
        if isinstance(parameter.default, Dependency):
            return _Needed(parameter.default)
        if _is_model(annotation):
            return _Model(annotation)
        if annotation in _EVENT_TYPES or get_origin(annotation) in _EVENT_TYPES:
            return _EVENT
        if first and annotation in (parameter.empty, Any) and parameter.default is parameter.empty:
            return _EVENT
        default = _ABSENT if parameter.default is parameter.empty else parameter.default
        if default is _ABSENT and get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
            default = None
        return _Field(parameter.name, default, _checker(annotation) if annotation is not parameter.empty else None)

    async def call(self, invocation: Invocation, products: Sequence[Any] = ()) -> tuple[Any, bool]:
        """
        Call the function.

        :param products: of its named factories.
        :return: what it gave, waited for, and whether that may serve the whole invocation.
        :raises twisted_evproc.errors.DependencyError: when a parameter has no value.
        """
        if self.takes_event_alone:
            return await eventually(self.function(invocation.seen)), True
        lasting = True
        left = iter(products)
        positional = []
        for source in self.positional:
            value, lasts = (next(left), True) if source is _PRODUCT else await self._value(source, invocation)
            positional.append(value)
            lasting = lasting and lasts
        named = {}
        for name, source in self.named.items():
            named[name], lasts = await self._value(source, invocation)
            lasting = lasting and lasts
        return await eventually(self.function(*positional, **named)), lasting

    async def _value(self, source: Any, invocation: Invocation) -> tuple[Any, bool]:
        if source is _EVENT:
            return invocation.seen, True
        if isinstance(source, _Needed):
            return await source.value(invocation)
        if isinstance(source, _Model):
            return self._checked(source.name, source.validate, invocation.seen), True
        return self._field(source, invocation), True

    def _field(self, field: _Field, invocation: Invocation) -> Any:
        if field.name in invocation.names:
            return invocation.names[field.name]
        event = invocation.seen
        try:
            value = event[field.name] if isinstance(event, Mapping) and field.name in event else _ABSENT
        except Exception as error:
            raise DependencyError(f"{self._asks(field.name)}, and the event fails to give it: {error!r}") from error
        if value is _ABSENT:
            if field.default is _ABSENT:
                raise DependencyError(
                    f"{self._asks(field.name)}, which the event has not.  Give the parameter a default, or filter on "
                    f"{{{field.name!r}: typing.Any}}."
                )
            return field.default
        return value if field.check is None else self._checked(f"field {field.name!r}", field.check, value)

    def _checked(self, what: str, check: Callable[[Any], Any], value: Any) -> Any:
        try:
            return check(value)
        except Exception as error:
            raise DependencyError(f"{self._asks(what)}, and the event's value will not do: {error}") from error

    def _asks(self, what: str) -> str:
        return f"{qualified_name_of(self.function)} asks for {what}"


class _Needed:
    """A parameter that is what a function gives."""

    def __init__(self, dependency: Dependency) -> None:
        self._signature = Signature(dependency.function)
        self._cached = dependency.cached
        self._identity = identity_of(dependency.function)

    async def value(self, invocation: Invocation) -> tuple[Any, bool]:
        """What it gives, and whether that may serve the whole invocation."""

        async def make() -> tuple[Any, bool]:
            value, lasting = await self._signature.call(invocation)
            return value, lasting and self._cached

        # Handlers of one invocation may see different events (pre-processors) and names: what is made of one is not for another.
        return await invocation.cached((self._identity, self._cached, id(invocation.seen), id(invocation.names)), make)


def identity_of(function: Callable[..., Any]) -> Any:
    """
    What tells a function from others, as long as it is there: it may be equal to another, and need not be hashable.

    A method is made anew whenever it is asked for.
    """
    return (id(function.__self__), id(function.__func__)) if isinstance(function, MethodType) else id(function)


class _Kind:
    """A source that needs no more words."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


_EVENT: Any = _Kind("EVENT")
_PRODUCT: Any = _Kind("PRODUCT")
_EVENT_TYPES = (Event, dict, Mapping)


class _Model:
    """A parameter that is a pydantic model of the event."""

    def __init__(self, model: Any) -> None:
        self.name = f"a {model.__name__}"
        self.validate: Callable[[Any], Any] = model.model_validate


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    # Annotations may be text, as under "from __future__ import annotations".  One by one: a name that only type checkers know, or
    # a class inside a function, stays text and means nothing here, which is no reason to know nothing of the others.
    target: Any = function.__init__ if inspect.isclass(function) else function
    target = target if inspect.isroutine(target) else type(target).__call__
    target = inspect.unwrap(target)
    found = dict(getattr(target, "__annotations__", {}))
    scope = getattr(target, "__globals__", {})
    for name, annotation in found.items():
        if isinstance(annotation, str):
            try:
                found[name] = eval(annotation, scope)  # noqa: S307  the annotation is the program's own source
            except Exception:
                continue
    return found


def _is_model(annotation: Any) -> bool:
    try:
        from pydantic import BaseModel
    except ImportError:
        return False
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _checker(annotation: Any) -> Callable[[Any], Any] | None:
    """Converts and checks a value as an annotation says, where pydantic is installed and knows the annotation."""
    if annotation is Any or isinstance(annotation, str):
        return None
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return None
    try:
        check: Callable[[Any], Any] = TypeAdapter(annotation).validate_python
        return check
    except Exception:
        # a type of the application's own that pydantic knows nothing of: handed on as it is
        return None
