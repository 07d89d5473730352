"""What the runner costs per node, beside LangGraph itself.

    python benchmarks/runner_overhead.py [--nodes 50] [--repeats 9]

The same chain of nodes that do nothing is run by LangGraph alone and by the runner, which times, records (in
memory) and checks each. The figures are of whole runs, with the graph compiled each time; the fastest of the
repeats is what the code costs, the median what this machine made of it. Goal: under 1 ms per node of our own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from langgraph.graph import START, StateGraph

from configurable_agents.core.checks import Checked, workflow_of
from configurable_agents.runtime.executor import RunOptions, WorkflowExecution
from configurable_agents.testing import MemoryRecorder

GOAL_MS = 1.0
FUNCTIONS = """
async def on_loop(state):
    return {"number": 1}

def in_thread(state):
    return {"number": 1}
"""
MODULE = "runner_overhead_functions"


class State(TypedDict):
    number: int


class Figures(NamedTuple):
    """Milliseconds per node."""

    fastest_ms: float
    median_ms: float


def main() -> int:
    arguments = parse_arguments()
    nodes, repeats = arguments.nodes, arguments.repeats
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{MODULE}.py").write_text(FUNCTIONS, encoding="utf-8")
        sys.path.insert(0, folder)
        alone = measured(lambda: langgraph_alone(nodes), nodes, repeats)
        print(f"chain of {nodes} nodes, best (median) of {repeats} runs, ms per node")
        print(f"  LangGraph alone                 {shown(alone)}")
        own = [
            report("the runner, coroutine nodes", f"{MODULE}:on_loop", alone, arguments),
            report("the runner, nodes in threads", f"{MODULE}:in_thread", alone, arguments),
        ]
    reached = own[0] < GOAL_MS
    print(f"goal: under {GOAL_MS:g} ms of our own per node: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


def report(title: str, function: str, alone: Figures, arguments: argparse.Namespace) -> float:
    """Prints one line, and returns our own milliseconds per node."""
    checked = chain(function, arguments.nodes)
    ours = measured(lambda: the_runner(checked), arguments.nodes, arguments.repeats)
    own_ms = ours.fastest_ms - alone.fastest_ms
    ratio = ours.fastest_ms / alone.fastest_ms
    print(f"  {title:<30}  {shown(ours)}   own {own_ms:.3f} ms, {ratio:.1f} times LangGraph alone")
    return own_ms


def measured(run: Callable[[], Awaitable[None]], nodes: int, repeats: int) -> Figures:
    asyncio.run(once(run))  # loads what is loaded once
    times_ms = [asyncio.run(once(run)) / nodes for _ in range(repeats)]
    return Figures(min(times_ms), statistics.median(times_ms))


async def once(run: Callable[[], Awaitable[None]]) -> float:
    began_s = time.perf_counter()
    await run()
    return (time.perf_counter() - began_s) * 1_000


async def langgraph_alone(nodes: int) -> None:
    async def step(_: State) -> dict[str, int]:
        return {"number": 1}

    builder: Any = StateGraph(State)
    for index in range(nodes):
        builder.add_node(f"n{index}", step)
        builder.add_edge(START if index == 0 else f"n{index - 1}", f"n{index}")
    await builder.compile().ainvoke({"number": 0}, {"recursion_limit": nodes + 10})


async def the_runner(checked: Checked) -> None:
    await WorkflowExecution(checked, {}, RunOptions(recorder=MemoryRecorder())).run()


def chain(function: str, nodes: int) -> Checked:
    names = [f"n{index}" for index in range(nodes)]
    return workflow_of(
        {
            "schema_version": "1.0",
            "flow": {"name": "chain"},
            "state": {"fields": {"number": {"type": "int", "default": 0}}},
            "nodes": [{"id": name, "python": function, "outputs": ["number"]} for name in names],
            "edges": [
                {"from": source, "to": target}
                for source, target in zip(["START", *names], names, strict=False)
            ],
        }
    )


def shown(figures: Figures) -> str:
    return f"{figures.fastest_ms:6.3f} ({figures.median_ms:.3f})"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
