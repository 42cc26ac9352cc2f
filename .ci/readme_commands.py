"""
Print the commands of one block of README.rst, as a shell script.

A block is a ``.. code-block:: console`` under a comment that names it (``.. main-job``); its commands follow ``$``.  The checks
run what this prints, so that they and the README cannot differ.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.rst"
DIRECTIVE = ".. code-block:: console"


def commands(readme: str, name: str) -> list[str]:
    """
    The commands of a block, in order.

    :param readme: the text of the README.
    :param name: what the comment above the block says.
    :raises ValueError: where there is no such block, or it has no command.
    """
    block = re.search(rf"^\.\. {re.escape(name)}\n{re.escape(DIRECTIVE)}\n\n((?:   .*\n|\n)+)", readme, re.MULTILINE)
    if block is None:
        raise ValueError(f"README.rst has no {DIRECTIVE!r} directly under the comment '.. {name}'")
    found = [line.removeprefix("   $ ") for line in block[1].splitlines() if line.startswith("   $ ")]
    if not found:
        raise ValueError(f"the block {name!r} of README.rst has no line that begins with '$ '")
    return found


if __name__ == "__main__":
    try:
        print("\n".join(commands(README.read_text(encoding="utf-8"), sys.argv[1])))
    except ValueError as error:
        sys.exit(str(error))
