"""
What the flows of DBOS take, for :mod:`benchmarks.flow`.

Run as a program by an interpreter that has DBOS, and that need not have anything of ours::

    python benchmarks/_dbos.py DATABASE-URL threads|coroutines FLOWS STEPS

It prints ``{"seconds": ..., "version": ...}``.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import sys
import time

from dbos import DBOS  # type: ignore[import-not-found]  # it is in another environment


def main(url: str, kind: str, flows: int, steps: int) -> None:
    """Run so many flows of so many steps, all at once."""
    DBOS(config={"name": "benchmark", "system_database_url": url, "log_level": "ERROR"})

    @DBOS.step()
    def step(number: int) -> int:
        return number

    @DBOS.workflow()
    def flow(_: int) -> None:
        for number in range(steps):
            step(number)

    @DBOS.step()
    async def step_async(number: int) -> int:
        return number

    @DBOS.workflow()
    async def flow_async(_: int) -> None:
        for number in range(steps):
            await step_async(number)

    def in_threads() -> None:
        for handle in [DBOS.start_workflow(flow, sequence) for sequence in range(flows)]:
            handle.get_result()

    async def in_coroutines() -> None:
        for handle in [await DBOS.start_workflow_async(flow_async, sequence) for sequence in range(flows)]:
            await handle.get_result()

    DBOS.launch()
    begun = time.perf_counter()
    if kind == "threads":
        in_threads()
    else:
        asyncio.run(in_coroutines())
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "version": importlib.metadata.version("dbos")}), flush=True)
    # Its threads have nothing more to do for us, and take their time to end.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
