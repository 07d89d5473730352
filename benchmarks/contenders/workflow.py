"""A workflow whose nodes compute for 1 ms each, plain and observed, one by one in turn."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import hot_path
from answering import absent, answer

NODE_S = 0.001
BLOCK_NODES = 100
FIRST_BLOCKS = 5
"""Left out of the turns and reported apart: senders and exporters load what they need meanwhile."""


worked_ns = 0
"""What the latest `work` took by its own clock."""


def work(steps: int) -> None:
    """Computes in one C function that makes no objects: the speed of a Python loop depends by some percent
    on who called it, and that of making objects on how memory happens to lie."""
    global worked_ns  # noqa: PLW0603
    began = time.perf_counter_ns()
    deque(itertools.repeat(None, steps), maxlen=0)
    worked_ns = time.perf_counter_ns() - began


def calibrated_steps() -> int:
    """Steps that take a millisecond when nobody is in the way."""
    steps = 10_000
    return max(1, round(steps * NODE_S / min(_seconds(work, steps) for _ in range(50))))


def _seconds(function: Callable[[int], Any], steps: int) -> float:
    began = time.perf_counter()
    function(steps)
    return time.perf_counter() - began


def observed_work(name: str, steps: int) -> Callable[[], Any]:
    """`work`, observed by the tool: it is put in the place of the empty function that the tool wraps."""
    hot_path.empty = lambda: work(steps)  # type: ignore[assignment, return-value]
    return hot_path.TOOLS[name]()


def block_seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    for _ in range(BLOCK_NODES):
        function()
    return time.perf_counter() - began


def first_cpu_seconds(function: Callable[[], Any]) -> float:
    """CPU time of the process while the first blocks run."""
    before = time.process_time()
    for _ in range(FIRST_BLOCKS):
        block_seconds(function)
    return time.process_time() - before


def _other_threads_ns() -> int:
    """CPU time of all threads of the process but this one, those that have ended included."""
    return time.process_time_ns() - time.thread_time_ns()


def main() -> None:
    steps = calibrated_steps()

    def plain() -> None:
        work(steps)

    try:
        observed = observed_work(sys.argv[1], steps)
    except ImportError as error:
        absent(f"not installed ({error})")
    first_percent = 100 * (first_cpu_seconds(observed) / first_cpu_seconds(plain) - 1)

    def turn(nodes: int) -> dict[str, Any]:
        """Plain and observed nodes one by one, each way round in turn, so that whatever drifts hits both."""
        around: dict[Callable[[], Any], list[int]] = {plain: [], observed: []}
        whole = {plain: 0, observed: 0}
        threads_ns = _other_threads_ns()
        for index in range(nodes):
            for function in (plain, observed) if index % 2 else (observed, plain):
                before = time.perf_counter_ns()
                function()
                taken = time.perf_counter_ns() - before
                whole[function] += taken
                around[function].append(taken - worked_ns)
        threads_ns = _other_threads_ns() - threads_ns
        node_ns = 1e9 * NODE_S
        added_ns = statistics.fmean(around[observed]) - statistics.fmean(around[plain])
        own_percent = 100 * added_ns / node_ns
        threads_percent = 100 * threads_ns / nodes / node_ns
        return {
            "slowdown_percent": own_percent,
            "threads_percent": threads_percent,
            "clock_percent": 100 * (whole[observed] / whole[plain] - 1),
            "first_percent": first_percent,
        }

    answer(turn)


if __name__ == "__main__":
    main()
