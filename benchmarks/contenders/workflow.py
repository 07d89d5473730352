"""A workflow whose nodes compute for 1 ms each, plain and observed, a block of nodes at a time in turn."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import hot_path
from answering import absent, answer

NODE_S = 0.001
BLOCK_NODES = 100
FIRST_BLOCKS = 5
"""Left out of the turns and reported apart: senders and exporters load what they need meanwhile."""


def work(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step * step
    return total


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
        """Pairs of blocks, each way round in turn, so that whatever drifts hits both."""
        slower = []
        cpu = {plain: 0.0, observed: 0.0}
        for index in range(max(2, nodes // BLOCK_NODES)):
            taken: dict[Callable[[], Any], float] = {}
            for function in (plain, observed) if index % 2 else (observed, plain):
                before = time.process_time()
                taken[function] = block_seconds(function)
                cpu[function] += time.process_time() - before
            slower.append(taken[observed] / taken[plain] - 1)
        return {
            "slowdown_percent": 100 * statistics.median(slower),
            "first_percent": first_percent,
            "cpu_percent": 100 * (cpu[observed] / cpu[plain] - 1),
        }

    answer(turn)


if __name__ == "__main__":
    main()
