"""
Values as strict JSON, or the reason why not.

``json`` and a walk of our own: ``msgspec`` is quicker, but it writes sets, dates and bytes as something else, lets NaN through as
``null``, and does not say where in a value the trouble is.
"""

from __future__ import annotations

import json
import math

from ..._json import decode

MAX_DEPTH = 200

_write = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def encode(value: object, root: str = "result") -> str:
    """
    A value as JSON text; tuples become lists.

    :param root: what the value is called in messages.
    :raises TypeError: with the problem in words and its place, as in ``result['a'][3] is a set``.
    """
    _check(value, root, 0)
    try:
        return _write(value)
    except (TypeError, ValueError, RecursionError) as error:
        # Only a value that changes meanwhile comes here, or one of a class that says something else each time.
        raise TypeError(f"{root} has no form in JSON: {error}") from error


def _check(value: object, place: str, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, int):
        _check_integer(value, place)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{place} is {float(value)!r}, which JSON does not know")
    elif depth > MAX_DEPTH:
        raise TypeError(f"{place[:60]}... is nested more than {MAX_DEPTH} levels deep, or in itself")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check(item, f"{place}[{number}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{place} has a key of type {type(key).__name__}; keys have to be strings")
            _check_text(key, f"a key of {place}")
            _check(item, f"{place}[{key!r}]", depth + 1)
    else:
        raise TypeError(f"{place} is {_with_article(type(value).__name__)}")


def _check_text(text: str, place: str) -> None:
    if "\0" in text:
        raise TypeError(f"{place} has a NUL character in it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise TypeError(f"{place} has a lone surrogate in it, which is no character") from None


def _check_integer(number: int, place: str) -> None:
    if number.bit_length() > 10_000:
        try:
            int.__repr__(number)
        except ValueError:
            raise TypeError(f"{place} is an integer of {number.bit_length()} bits, too large to be written in digits") from None


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


__all__ = ["MAX_DEPTH", "decode", "encode"]
