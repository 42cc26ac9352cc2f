"""Events that are plain values, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from ..errors import ConfigurationError
from ..interfaces import ICodec

JSON_TYPE = "application/json"
#: The CloudEvents ``type`` of an event that is a plain value.
PLAIN_TYPE = "twisted_evproc.event"

TOO_DEEP = "it is nested too deeply, or contains itself"


@attrs.frozen
class Encoded:
    """
    An event as bytes.

    :ivar content_type: the media type of ``body``.
    :ivar type: the CloudEvents ``type``.
    """

    body: bytes
    content_type: str = JSON_TYPE
    type: str = PLAIN_TYPE


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


@implementer(ICodec)
class JSONCodec:
    """
    Plain JSON values: what is read is equal to what was written, but that tuples come as lists.

    What would come as something else (a date, bytes, NaN, an object, a key that is no string) is refused.
    """

    def __init__(self, event_type: str = PLAIN_TYPE) -> None:
        """
        :param event_type: the CloudEvents ``type`` of all events.
        """
        check_event_type("event_type", event_type)
        self._type = event_type

    def encode(self, event: Any) -> Encoded:
        """See :meth:`ICodec.encode`."""
        try:
            body = _ENCODER.encode(event)
            # The library writes more than JSON can tell apart (dates and bytes as text, NaN as null): reading it again shows it.
            read = _DECODER.decode(body)
            problem = None if read == event else _problem(event, read, "the event")
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        except Exception as error:
            raise TypeError(_refused(event, error)) from error
        if problem is not None:
            raise TypeError(problem)
        return Encoded(body, JSON_TYPE, self._type)

    def decode(self, body: bytes, content_type: str, event_type: str) -> Any:
        """See :meth:`ICodec.decode`."""
        check_json(content_type)
        try:
            return _DECODER.decode(body)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None


_ABSENT: Any = object()


def _refused(event: Any, error: Exception) -> str:
    """Where the library found something that it does not write; it tells only what."""
    try:
        return _problem(event, _ABSENT, "the event") or str(error)
    except Exception:  # noqa: BLE001  the event's own code; the first error says more
        return str(error)


def _problem(value: Any, read: Any, place: str) -> str | None:
    """What of a value JSON would change; ``read`` is what it has become, where that is known."""
    if isinstance(value, Mapping):
        if not isinstance(value, dict):
            return _no_form(value, place)
        for key, item in value.items():
            if not isinstance(key, str):
                return f"{place} has the key {safe_repr(key)}, and JSON knows only text for keys.  Give str({safe_repr(key)})"
            there = _ABSENT if read is _ABSENT else read.get(key, None)
            problem = _text_problem(key, place) or _problem(item, there, f"{place}[{key!r}]")
            if problem is not None:
                return problem
        return None
    if isinstance(value, list | tuple):
        items = [_ABSENT] * len(value) if read is _ABSENT else read
        return next(filter(None, (_problem(item, items[at], f"{place}[{at}]") for at, item in enumerate(value))), None)
    if isinstance(value, str) and (problem := _text_problem(value, place)) is not None:
        return problem
    if isinstance(value, float) and value - value != 0:
        return f"{place} is {safe_repr(value)}, for which JSON has no number.  Give None, or text"
    plain = value is None or type(value) in (bool, int, float, str)
    # Members of an enumeration that are text or numbers too come as these, and equal them.
    return None if (plain and read is _ABSENT) or (read is not _ABSENT and read == value) else _no_form(value, place)


def _no_form(value: Any, place: str) -> str:
    name = type(value).__name__
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return (
        f"{place} is {article} {name}, for which JSON has no form.  Give plain values, or a codec that knows the class: "
        f"codec=ClassCodec(...)"
    )


def _text_problem(text: str, place: str) -> str | None:
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return f"{place} has half a surrogate pair in {safe_repr(text)[:100]}, which is no text.  Give text that UTF-8 can write"
    return None


def check_event_type(what: str, event_type: Any) -> None:
    """
    Refuse what is no CloudEvents ``type``.

    :raises twisted_evproc.errors.ConfigurationError: for anything but printable text.
    """
    if not isinstance(event_type, str) or not event_type or not event_type.isprintable():
        raise ConfigurationError(
            f"{what}={safe_repr(event_type)} has to be printable text that is not empty, such as 'com.example.order'"
        )


def check_json(content_type: str) -> None:
    """
    Refuse a media type that is not JSON; none at all is taken for JSON.

    :raises ValueError: for any other.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media and media != JSON_TYPE and not media.endswith("+json"):
        raise ValueError(
            f"it is {media}, and the codec reads {JSON_TYPE}.  Publish JSON, or give the transport a codec for {media}"
        )
