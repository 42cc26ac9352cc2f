"""Every page of the reference has a test here that is named after it."""

from __future__ import annotations

from pathlib import Path

from tests.pages import DOCS


def test_every_page_has_its_test() -> None:
    pages = {page.stem.replace("-", "_") for page in (DOCS / "reference").glob("*.rst")} - {"index"}
    tested = {module.stem.removeprefix("test_") for module in Path(__file__).parent.glob("test_*.py")} - {"pages"}
    assert tested == pages
