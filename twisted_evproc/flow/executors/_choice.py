"""Which executor runs a step?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults

from ...errors import FlowDefinitionError
from ._functions import check_plain, is_async
from ._inline import InlineExecutor
from ._process import ProcessExecutor
from ._thread import ThreadExecutor
from ._use import Use

if TYPE_CHECKING:
    from ...interfaces import IStepExecutor
    from .._model import Step

#: The executors that come with the package, by the names that configuration calls them.
EXECUTORS: dict[str, Callable[[], Any]] = {"inline": InlineExecutor, "thread": ThreadExecutor, "process": ProcessExecutor}

#: What the predecessor calls ``task_construct``, by the name of the class.
CONSTRUCTS = {"Process": "process", "Thread": "thread"}

#: What ``host`` of a step may be under every executor.
THIS_MACHINE = (None, "", "localhost")


def check_function(function: Callable[..., Any], step: str, executor: Any) -> None:
    """
    Whether a step's function can run where the step says.

    :raises twisted_evproc.errors.FlowDefinitionError: when it is asynchronous, and is to run away from the reactor.
    """
    if executor in ("thread", "process"):
        check_plain(function, step, executor)
    elif isinstance(executor, ThreadExecutor | ProcessExecutor):
        check_plain(function, step, executor.name)


class Executors:
    """The executors of a flow: made when first needed, and stopped when the flow has run."""

    def __init__(self, default: Any, construct: Any) -> None:
        """
        :param default: a name or an executor, for steps that do not say; ``None`` for threads, and for the reactor where the
            function is ``async def``.
        :param construct: what the predecessor calls ``task_construct``; counts where ``default`` is ``None``.
        """
        if default is None and construct is not None:
            name = getattr(construct, "__name__", str(construct)).rpartition(".")[2]
            if name not in CONSTRUCTS:
                raise FlowDefinitionError(
                    f"task_construct={construct!r}: there is {', '.join(CONSTRUCTS)}; or choose an executor"
                )
            default = CONSTRUCTS[name]
        self._default = default
        self._used: dict[Any, Use] = {}
        if default is not None:
            self.check(default)

    def check(self, executor: Any) -> None:
        """
        Whether this names an executor, or is one.

        :raises twisted_evproc.errors.FlowDefinitionError: when it does not.
        """
        if isinstance(executor, str):
            if executor not in EXECUTORS:
                raise FlowDefinitionError(f"there is no executor {executor!r}; there is {', '.join(EXECUTORS)}")
        elif not all(callable(getattr(executor, name, None)) for name in ("start", "submit", "adopt", "stop")):
            raise FlowDefinitionError(f"executor={executor!r:.80} has to be a name ({', '.join(EXECUTORS)}) or an IStepExecutor")

    def check_host(self, step: Step) -> None:
        """
        Whether what runs a step knows of the host that it names: an executor whose ``knows_hosts`` is true does.

        :raises twisted_evproc.errors.FlowDefinitionError: when it does not, so that the step would run here.
        """
        chosen = self._default if step.executor is None else step.executor
        if step.host in THIS_MACHINE or getattr(chosen, "knows_hosts", False):
            return
        if chosen is None:
            chosen = "inline" if is_async(step.func) else "thread"
        raise FlowDefinitionError(
            f"step {step.name!r}: host={step.host!r:.80}, but executor {getattr(chosen, 'name', chosen)!r:.80} knows no hosts "
            f"and would run it on this machine; leave the host out, or give an executor of your own that has knows_hosts = True"
        )

    def of_step(self, step: Step) -> IStepExecutor | Deferred[IStepExecutor]:
        """
        Where the tasks of a step run.

        :return: a Deferred while it is being started; fails when that does.
        """
        chosen = self._default if step.executor is None else step.executor
        if chosen is None:
            return self.local_for(step.func)
        use = self._use(chosen)
        if step.executor is None and isinstance(use.executor, ThreadExecutor | ProcessExecutor) and is_async(step.func):
            # What the flow says of its steps in general cannot mean those; what a step says of itself is an error there.
            return self.local_for(step.func)
        return use.ready()

    def local_for(self, function: Callable[..., Any]) -> IStepExecutor:
        """Where a function runs if nobody has chosen; these are ready as soon as they are made."""
        return self._use("inline" if is_async(function) else "thread").executor

    def _use(self, chosen: Any) -> Use:
        use = self._used.get(chosen)
        if use is None or use.is_over:
            use = self._used[chosen] = Use.begin(EXECUTORS[chosen]() if isinstance(chosen, str) else chosen)
        return use

    async def stop(self) -> None:
        """Stop those that were used, except what another flow still uses.  What fails of it is logged."""
        used, self._used = self._used, {}
        _ = await gatherResults([stopped for use in used.values() if (stopped := use.end(0.001)) is not None])
