"""What counts as a number, and which."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, TypeAlias

#: A number as comparisons see it.
Number: TypeAlias = int | float | Fraction

#: Numbers whose decimal notation has more digits than this are not read from text; Python's own limit for integers.
MAX_DIGITS = 4300

_NUMERAL = re.compile(
    r"[+-]?(?:(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?|\.(?P<only>[0-9]+))(?:[eE](?P<exponent>[+-]?[0-9]{1,9}))?"
)


def as_number(value: Any) -> Number | None:
    """
    A value as a number that comparisons take without loss, or ``None`` where it is no number.

    Numbers are integers, floats, fractions, decimals and other reals, and text in decimal notation, blanks around it allowed.  No
    numbers are booleans, NaN, other text (``"nan"``, ``"inf"``, ``"1_000"``, ``"0x1F"``), and text or decimals that would take
    more than 4300 digits to write out.
    """
    if type(value) is int or type(value) is Fraction:
        return value
    if type(value) is float:
        return None if math.isnan(value) else value
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            return _number_in_text(str.__str__(value))
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Fraction):
            return Fraction(value.numerator, value.denominator)
        if isinstance(value, Decimal):
            return _number_in_decimal(value)
        if isinstance(value, Real):
            number = float(value)
            return None if math.isnan(number) else number
    except Exception:  # noqa: BLE001  a type of number that fails to be one raises what it likes: events come from outside
        return None
    return None


def _number_in_text(text: str) -> Number | None:
    # A float has 17 digits, and Fraction("1e999999999") takes minutes and all memory: hence exact, and bounded before converting.
    if len(text) > MAX_DIGITS + 100:
        return None
    numeral = _NUMERAL.fullmatch(text.strip())
    if numeral is None:
        return None
    whole, part, only, exponent = numeral.group("whole", "part", "only", "exponent")
    digits = (whole or "") + (part or "") + (only or "")
    if len(digits) + abs(int(exponent or 0)) > MAX_DIGITS:
        return None
    if part is None and only is None and exponent is None:
        return int(numeral.group())
    return Fraction(numeral.group())


def _number_in_decimal(value: Decimal) -> Number | None:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return float(value) if value.is_infinite() else None
    return Fraction(value) if len(digits) + abs(exponent) <= MAX_DIGITS else None
