"""The graph of a workflow as data: who follows whom, what loops back, and what a join waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from configurable_agents.core.conditions import Condition, parse_condition
from configurable_agents.core.schema import END, START, Edge, Node, Workflow
from configurable_agents.telemetry import Graph


@dataclass(frozen=True)
class Plan:
    """A checked workflow, ready to run."""

    workflow: Workflow
    conditions: Mapping[str, Condition]
    """By their text."""

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return self.workflow.nodes_by_id

    @cached_property
    def edges_from(self) -> dict[str, list[Edge]]:
        return edges_from(self.workflow.edges)

    @cached_property
    def declared_graph(self) -> Graph:
        """Without START and END, for those who compute critical paths from it."""
        pairs = dict.fromkeys(
            (source, target)
            for source, target in arrows(self.workflow.edges)
            if source in self.nodes and target in self.nodes
        )
        return Graph(tuple(self.nodes), tuple(pairs))

    @cached_property
    def joins(self) -> frozenset[str]:
        """Nodes that several forward edges lead to."""
        return frozenset(node for node in self.nodes if len(self._forward_sources.get(node, ())) > 1)

    def leads_to(self, source: str, target: str) -> bool:
        """Whether `target` can follow `source` without going back."""
        return target in self._reached.get(source, frozenset())

    @cached_property
    def _forward_sources(self) -> dict[str, set[str]]:
        sources: dict[str, set[str]] = {}
        for source, target in forward_arrows(self.workflow.edges):
            sources.setdefault(target, set()).add(source)
        return sources

    @cached_property
    def _reached(self) -> dict[str, frozenset[str]]:
        followers: dict[str, set[str]] = {}
        for source, target in forward_arrows(self.workflow.edges):
            followers.setdefault(source, set()).add(target)
        return {node: frozenset(reached_from(node, followers)) for node in (START, *self.nodes)}

    @cached_property
    def cyclic_nodes(self) -> frozenset[str]:
        """Nodes that can run more than once in a run."""
        return frozenset(node for cycle in cycles(self.workflow.edges) for node in cycle)


def plan_of(workflow: Workflow) -> Plan:
    """Of a workflow that has been checked."""
    texts = {route.condition.logic for edge in workflow.edges for route in edge.routes}
    return Plan(workflow, {text: parse_condition(text) for text in texts})


def edges_from(edges: Iterable[Edge]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(edge.from_, []).append(edge)
    return found


def targets(edge: Edge) -> Iterator[str]:
    """Everywhere an edge may lead."""
    if edge.parallel is not None:
        yield edge.parallel.target_node
    elif edge.loop is not None:
        yield edge.loop.exit_to
        yield from edge.plain_targets or [edge.from_]
    else:
        yield from edge.plain_targets
        yield from (route.to for route in edge.routes)


def arrows(edges: Iterable[Edge]) -> Iterator[tuple[str, str]]:
    for edge in edges:
        for target in targets(edge):
            yield edge.from_, target


def forward_arrows(edges: Iterable[Edge]) -> list[tuple[str, str]]:
    """Arrows that do not lead back to a node on the way there, as seen from START in the order written."""
    followers: dict[str, list[str]] = {}
    for source, target in arrows(edges):
        followers.setdefault(source, []).append(target)
    forward: list[tuple[str, str]] = []
    finished: set[str] = set()
    for beginning in (START, *followers):
        if beginning not in finished:
            forward.extend(_explored(beginning, followers, finished))
    return list(dict.fromkeys(forward))


def _explored(
    beginning: str, followers: Mapping[str, list[str]], finished: set[str]
) -> Iterator[tuple[str, str]]:
    """Depth first, without recursion: a workflow may be a long chain."""
    on_the_way = {beginning}
    stack = [(beginning, iter(followers.get(beginning, ())))]
    while stack:
        node, rest = stack[-1]
        target = next(rest, None)
        if target is None:
            stack.pop()
            on_the_way.discard(node)
            finished.add(node)
        elif target not in on_the_way:
            yield node, target
            if target not in finished:
                on_the_way.add(target)
                stack.append((target, iter(followers.get(target, ()))))


def reached_from(node: str, followers: Mapping[str, Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(followers.get(node, ()))
    while waiting:
        following = waiting.pop()
        if following not in reached:
            reached.add(following)
            waiting.extend(followers.get(following, ()))
    return reached


def cycles(edges: Iterable[Edge]) -> list[list[str]]:
    """Groups of nodes that lead to each other, in the order of the edges."""
    followers: dict[str, list[str]] = {}
    for source, target in arrows(edges):
        if target != END:
            followers.setdefault(source, []).append(target)
    reached = {node: reached_from(node, followers) for node in followers}
    groups: list[list[str]] = []
    for node in followers:
        if node in reached[node] and not any(node in group for group in groups):
            groups.append([other for other in followers if other in reached[node] and node in reached[other]])
    return groups
