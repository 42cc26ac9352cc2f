"""
pydoctor reads Sphinx's cross-references as our docstrings write them.

It strips the role of ``:class:`~package.module.Name``` itself, but looks for the name with the tilde, and it looks for the names
of other libraries in inventories that a build without network does not have.
"""

from __future__ import annotations

import re
from typing import Any

from pydoctor.extensions import DocumentableMixin, ExtRegistrar
from pydoctor.model import System

PACKAGE = "twisted_evproc"
OTHERS = re.compile(r"(asyncio|attrs|collections|contextvars|crochet|fnmatch|logging|operator|re|twisted|typing|zope)(\.|$)")
REFERENCE = re.compile(r":(?:py:)?(?:mod|func|data|const|class|meth|attr|exc|obj):`(~?)\.?([\w.]+)`")


def in_words_of_pydoctor(docstring: str) -> str:
    """
    The docstring with names of others as literals, and those with a tilde as a short label and the target.

    A target is left as it is otherwise, so that one that does not exist is still reported.
    """

    def replaced(match: re.Match[str]) -> str:
        short, target = match.groups()
        label = target.rpartition(".")[2] if short else target
        return f"``{label}``" if OTHERS.match(target) else f"`{label} <{target}>`"

    return REFERENCE.sub(replaced, docstring)


class SphinxRoles(DocumentableMixin):
    """Every documented object takes its docstring through here."""

    def _setDocstringValue(self, doc: str, lineno: int) -> None:
        super()._setDocstringValue(in_words_of_pydoctor(doc), lineno)  # type: ignore[misc]  # mixed into a Documentable


class HouseSystem(System):
    """What ``--system-class`` names."""

    custom_extensions: list[Any] = ["sphinx_roles"]  # noqa: RUF012  declared without ClassVar by its base


def setup_pydoctor_extension(registrar: ExtRegistrar) -> None:
    """Called by pydoctor."""
    registrar.register_mixin(SphinxRoles)
