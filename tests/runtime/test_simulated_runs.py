"""Random workflows run by an independent discrete-event simulation, again with one node faster."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest

from configurable_agents.runtime.critical_path import critical_path
from configurable_agents.runtime.schedule import Schedule
from configurable_agents.runtime.self_time import Span
from configurable_agents.runtime.what_if import Change, what_if
from configurable_agents.telemetry import Graph


@dataclass(frozen=True)
class Workflow:
    """Tasks, each with its duration, what it waits for, and how long it is dispatched for."""

    durations: dict[str, int]
    waits_for: dict[str, list[str]]
    dispatch: dict[str, int]

    @property
    def graph(self) -> Graph:
        edges = tuple((source, task) for task, sources in self.waits_for.items() for source in sources)
        return Graph(tuple(self.durations), edges)


def random_workflow(chance: random.Random) -> Workflow:
    names = [f"t{number}" for number in range(chance.randint(2, 14))]
    return Workflow(
        {name: 2 * chance.randint(0, 50) for name in names},
        {
            name: chance.sample(names[:number], chance.randint(0, min(number, 3)))
            for number, name in enumerate(names)
        },
        {name: chance.choice([0, 0, 1, 7]) for name in names},
    )


def run_graph(workflow: Workflow, tail: int, faster: str = "") -> tuple[list[Span], int]:
    """An event queue: a task that has all it waits for is dispatched, runs, and tells its followers."""
    missing = {task: len(sources) for task, sources in workflow.waits_for.items()}
    queue = [(workflow.dispatch[task], "start", task) for task, count in missing.items() if not count]
    heapq.heapify(queue)
    began: dict[str, int] = {}
    spans: list[Span] = []
    now = 0
    while queue:
        now, kind, task = heapq.heappop(queue)
        if kind == "start":
            began[task] = now
            duration = workflow.durations[task] // (2 if task == faster else 1)
            heapq.heappush(queue, (now + duration, "end", task))
            continue
        spans.append(Span(len(spans) + 1, 0, task, began[task], now - began[task]))
        for follower, sources in workflow.waits_for.items():
            if task in sources:
                missing[follower] -= 1
                if not missing[follower]:
                    heapq.heappush(queue, (now + workflow.dispatch[follower], "start", follower))
    return spans, now + tail


@pytest.mark.parametrize("seed", range(200))
def test_what_if_in_a_declared_graph_is_what_the_simulation_gives(seed):
    chance = random.Random(seed)
    workflow = random_workflow(chance)
    tail = chance.choice([0, 5])
    spans, wall = run_graph(workflow, tail)
    chance.shuffle(spans)
    schedule = Schedule(spans, 0, wall, workflow.graph)

    for task in workflow.durations:
        if workflow.graph.edges:
            answer = what_if(schedule, Change(task, 0.5))
            assert answer.changed_wall_ns == run_graph(workflow, tail, faster=task)[1], task


@dataclass(frozen=True)
class Step:
    """Fork and join: own time before, then branches at the same time, then own time after."""

    name: str
    before: int
    branches: tuple[Step, ...]
    after: int


def random_step(chance: random.Random, depth: int) -> Step:
    branches = tuple(random_step(chance, depth - 1) for _ in range(chance.randint(0, 3) if depth else 0))
    return Step(chance.choice("abcdef"), 2 * chance.randint(0, 20), branches, 2 * chance.randint(0, 20))


def run_step(step: Step, now: int, parent: int, faster: str, spans: list[Span]) -> int:
    divisor = 2 if step.name == faster else 1
    number = len(spans) + 1
    spans.append(Span(number, parent, step.name, now, 0))
    forked = now + step.before // divisor
    joined = max(
        (run_step(branch, forked, number, faster, spans) for branch in step.branches), default=forked
    )
    ended = joined + step.after // divisor
    spans[number - 1] = Span(number, parent, step.name, now, ended - now)
    return ended


@pytest.mark.parametrize("seed", range(200))
def test_what_if_in_a_program_that_forks_and_joins_is_what_running_it_again_gives(seed):
    chance = random.Random(seed)
    steps = [random_step(chance, 3) for _ in range(chance.randint(1, 3))]

    def run(faster: str = "") -> tuple[list[Span], int]:
        spans: list[Span] = []
        now = 0
        for step in steps:
            now = run_step(step, now, 0, faster, spans)
        return spans, now

    spans, wall = run()
    chance.shuffle(spans)
    schedule = Schedule(spans, 0, wall)
    on_path = critical_path(schedule).by_node_ns

    for name in {span.node_id for span in spans}:
        answer = what_if(schedule, Change(name, 0.5))
        assert answer.changed_wall_ns == run(name)[1], name
        assert answer.saved_ns <= on_path.get(name, 0)
