"""Where do steps run?"""

from ._choice import EXECUTORS, Executors, check_function
from ._functions import is_async
from ._inline import InlineExecutor
from ._process import ProcessExecutor
from ._thread import ThreadExecutor

__all__ = ["EXECUTORS", "Executors", "InlineExecutor", "ProcessExecutor", "ThreadExecutor", "check_function", "is_async"]
