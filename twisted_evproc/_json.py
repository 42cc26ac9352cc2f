"""
Strict JSON, one value a line: what is read and what is written has a meaning everywhere.

Neither side knows NaN, Infinity or numbers that are too large to be told from it, nor halves of surrogate pairs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from twisted.python.reflect import safe_repr

MAX_INTEGER_BITS = 14_000


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text} is out of range")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)


def decode(text: str) -> Any:
    """
    The value of a JSON text.

    :raises ValueError: for anything else; a ``json.JSONDecodeError`` where the place is known.
    """
    try:
        value = _DECODER.decode(text)
        # Escapes of the surrogate range are rare: only then is it worth looking for a lone one, which no file or socket takes.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text") from None
    return value


def encode(value: Any) -> str:
    """
    A value as one line of strict, ASCII-only JSON.

    What JSON has no form for appears as its ``repr``: other types, NaN, a key that is no string.
    """
    try:
        text = json.dumps(value, allow_nan=False, default=safe_repr)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_strict(value, ()), allow_nan=False)
    # Escapes of the surrogate range are rare, and harmless in pairs: only then is it worth looking for a lone one.
    return json.dumps(_strict(value, ()), allow_nan=False) if "\\ud" in text else text


def _strict(value: Any, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Python refuses to write larger ones in decimal digits.
        return value if value.bit_length() < MAX_INTEGER_BITS else safe_repr(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else safe_repr(value)
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if id(value) in above or len(above) > 100:
        return "..."
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {
            _strict(key if isinstance(key, str) else safe_repr(key), above): _strict(item, above) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_strict(item, above) for item in value]
    return _strict(safe_repr(value), above)


__all__ = ["decode", "encode"]
