"""
What does a flow lose or do again when its process is killed?

Kills it at each change of its store in turn, continues it, and compares.
"""

from ._crashtest import Choice, Undisturbed, crash_test
from ._history import History, Kill
from ._judge import Fault, Repeat
from ._life import Builder
from ._watched import Point, Side

__all__ = ["Builder", "Choice", "Fault", "History", "Kill", "Point", "Repeat", "Side", "Undisturbed", "crash_test"]
