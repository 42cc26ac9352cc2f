"""The how-to page shows what really happens, the messages of errors included."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-handlers.rst"


def test_the_page_says_what_happens() -> None:
    # Sphinx runs it too, but looks at no error's text.
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

    assert found.failed == 0
    assert found.attempted > 50
