"""How the documentation is built: ``sphinx-build -n -W docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

version_namespace: dict[str, str] = {}
exec((ROOT / "twisted_evproc" / "_version.py").read_text(encoding="utf-8"), version_namespace)  # noqa: S102  our own file

project = "twisted_evproc"
author = "The twisted_evproc developers"
copyright = f"2026, {author}"  # noqa: A001  the name that Sphinx reads
version = release = version_namespace.pop("__version__")
del version_namespace  # Sphinx keeps what it finds here, and cannot store it

extensions = [
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    # sphinx.ext.autodoc shows nothing of zope interfaces; pydoctor does, and gives its names to :class: and friends.
    "pydoctor.sphinx_ext.build_apidocs",
]
exclude_patterns = ["_build", "examples"]
default_role = "any"
nitpicky = True
# The words of others' libraries are named in our pages, but their inventories are not fetched: a build needs no network.
nitpick_ignore_regex = [("py:.*", r"(twisted|zope|crochet|collections|asyncio|typing)\..*")]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

doctest_test_doctest_blocks = "default"

pydoctor_url_path = "/reference/api/"
pydoctor_args = [
    f"--project-name={project}",
    f"--project-version={release}",
    f"--project-base-dir={ROOT}",
    "--docformat=restructuredtext",
    "--theme=readthedocs",
    "--cls-member-order=source",
    "--html-output={outdir}/reference/api",
    "--system-class=sphinx_roles.HouseSystem",
    "--warnings-as-errors",
    str(ROOT / "twisted_evproc"),
]
