"""Did you mean ...?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the most similar known word, with a space before it; empty when none is similar."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"  Did you mean {close[0]!r}?" if close else ""


__all__ = ["suggestion"]
