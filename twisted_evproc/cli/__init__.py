"""
The command ``evproc``: runs applications from the command line and looks into them.

What can be run stands in ``_runnable.py``, the commands in ``_arguments.py``.
"""

from ._main import main

__all__ = ["main"]
