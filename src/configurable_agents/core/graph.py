"""Runs a plan on LangGraph.

LangGraph runs nodes in steps: all that are due run at the same time, then their outputs become the state of
the next step. Each node says where it leads when it ends. A join that is due while something that leads to it
still runs puts itself off to the next step, so it sees the outputs of every branch that was taken, and waits
for none that was not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError, InvalidUpdateError
from langgraph.graph import START as ENTRY
from langgraph.graph import StateGraph
from langgraph.types import Command, Send
from typing_extensions import TypedDict

from configurable_agents.core.plan import Plan
from configurable_agents.core.schema import END, START, Edge, Loop, Node, Parallel
from configurable_agents.errors import IterationLimitError, OutputMismatchError, RouteError

STEPS_MAX = 1_000_000
"""Far beyond what the limits of cycles allow; LangGraph wants a number."""
ITEMS_MAX = 10_000
"""Executions of one node at the same time."""
BEGIN = "__begin__"
COLLECT_PREFIX = "__collect__"
ITEM = "__item__"

RunNode: TypeAlias = Callable[[Node, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Item(NamedTuple):
    """One of the items a node runs for at the same time."""

    position: int
    value: Any
    collect_field: str


class Collected(NamedTuple):
    """What one of them gave."""

    position: int
    value: Any


class _Beginning(NamedTuple):
    """Begins a collection anew."""


class _Partial(list[Collected]):
    """A collection in the making: in the order in which results came."""


@dataclass(frozen=True, slots=True)
class _Destinations:
    """Where a node leads: nodes by name, or one node once per item."""

    nodes: tuple[str, ...] = ()
    sends: tuple[Send, ...] = ()
    update: tuple[tuple[str, Any], ...] = ()

    def plus(self, other: _Destinations) -> _Destinations:
        return _Destinations(
            (*self.nodes, *other.nodes), (*self.sends, *other.sends), (*self.update, *other.update)
        )


async def run_graph(plan: Plan, state: dict[str, Any], run_node: RunNode) -> dict[str, Any]:
    """The state at the end. `run_node` gives the fields that a node writes; what it raises passes through."""
    compiled = _Walk(plan, run_node).compiled()
    try:
        ended = await compiled.ainvoke(state, {"recursion_limit": STEPS_MAX, "callbacks": []})
    except GraphRecursionError as error:
        raise IterationLimitError(
            f"the run took more than {STEPS_MAX:,} steps; give its cycles a limit"
        ) from error
    except InvalidUpdateError as error:
        raise OutputMismatchError(_written_twice(error, plan)) from error
    return {name: ended.get(name) for name in plan.workflow.state.fields}


def _written_twice(error: InvalidUpdateError, plan: Plan) -> str:
    named = [name for name in plan.workflow.state.fields if f"'{name}'" in str(error)]
    what = f"the field {named[0]!r}" if named else "one field"
    return f"two nodes that ran at the same time both wrote {what}; let each write a field of its own"


class _Walk:
    """One run through the graph: how often each node ran, and what is due in which step."""

    def __init__(self, plan: Plan, run_node: RunNode) -> None:
        self._plan = plan
        self._run_node = run_node
        self._due: dict[int, set[str]] = {}
        self._runs: dict[str, int] = {}
        self._rounds: dict[int, int] = {}
        """Times a loop went back, by the identity of its edge."""

    def compiled(self) -> Any:
        builder: Any = StateGraph(self._schema())
        builder.add_node(BEGIN, self._begin)
        builder.add_edge(ENTRY, BEGIN)
        for node in self._plan.nodes.values():
            builder.add_node(node.id, self._step_of(node))
        for parallel in self._parallels():
            builder.add_node(COLLECT_PREFIX + parallel.target_node, self._collecting(parallel))
        return builder.compile()

    def _schema(self) -> Any:
        collecting = {parallel.collect_field for parallel in self._parallels()}
        kinds: dict[str, Any] = {
            name: Annotated[Any, _collect] if name in collecting else Any
            for name in self._plan.workflow.state.fields
        }
        return TypedDict("State", kinds)  # type: ignore[operator]

    def _parallels(self) -> Iterator[Parallel]:
        for edge in self._plan.workflow.edges:
            if edge.parallel is not None:
                yield edge.parallel

    async def _begin(self, state: dict[str, Any], config: RunnableConfig) -> Command[Any]:
        return self._command({}, self._destinations(START, state), _step(config))

    def _step_of(self, node: Node) -> Callable[..., Awaitable[Command[Any]]]:
        is_join = node.id in self._plan.joins

        async def step(state: dict[str, Any], config: RunnableConfig) -> Command[Any]:
            now = _step(config)
            item: Item | None = state.pop(ITEM, None)
            if is_join and item is None and self._is_too_early(node.id, now):
                return self._command({}, _Destinations((node.id,)), now)
            self._count(node.id)
            if item is not None:
                return await self._run_item(node, state, item, now)
            outputs = await self._run_node(node, state)
            after = {**state, **outputs}
            return self._command(outputs, self._destinations(node.id, after), now)

        return step

    async def _run_item(self, node: Node, state: dict[str, Any], item: Item, now: int) -> Command[Any]:
        values = {**state, "item": item.value, "index": item.position}
        values |= {"_parallel_item": item.value, "_parallel_index": item.position}
        outputs = await self._run_node(node, values)
        result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        update = {item.collect_field: Collected(item.position, result)}
        return self._command(update, _Destinations((COLLECT_PREFIX + node.id,)), now)

    def _collecting(self, parallel: Parallel) -> Callable[..., Awaitable[Command[Any]]]:
        """Runs once all items are done: puts the results in order and goes on where the node leads."""

        async def collect(state: dict[str, Any], config: RunnableConfig) -> Command[Any]:
            partial = sorted(state[parallel.collect_field], key=itemgetter(0))
            update = {parallel.collect_field: [result.value for result in partial]}
            after = {**state, **update}
            return self._command(update, self._destinations(parallel.target_node, after), _step(config))

        return collect

    def _is_too_early(self, join: str, now: int) -> bool:
        return any(self._plan.leads_to(other, join) for other in self._due.get(now, ()) if other != join)

    def _command(self, update: dict[str, Any], leads: _Destinations, now: int) -> Command[Any]:
        due = self._due.setdefault(now + 1, set())
        due.update(name.removeprefix(COLLECT_PREFIX) for name in leads.nodes)
        due.update(send.node for send in leads.sends)
        self._due.pop(now - 1, None)
        return Command(update={**update, **dict(leads.update)}, goto=[*leads.nodes, *leads.sends])

    def _count(self, node_id: str) -> None:
        """Raises `IterationLimitError` when a node of a cycle has run as often as it may."""
        runs = self._runs[node_id] = self._runs.get(node_id, 0) + 1
        limit = self._plan.workflow.config.execution.max_iterations
        if limit is not None and runs > limit and node_id in self._plan.cyclic_nodes:
            raise IterationLimitError(
                f"node {node_id!r} would run more than {limit:,} times; raise config.execution.max_iterations"
                " if that is right"
            )

    # --- where a node leads ------------------------------------------------------------------------

    def _destinations(self, node_id: str, state: Mapping[str, Any]) -> _Destinations:
        leads = _Destinations()
        for edge in self._plan.edges_from.get(node_id, ()):
            leads = leads.plus(self._along(edge, state))
        return leads

    def _along(self, edge: Edge, state: Mapping[str, Any]) -> _Destinations:
        if edge.parallel is not None:
            return self._per_item(edge.parallel, state)
        if edge.loop is not None:
            return _to(self._around(edge, edge.loop, state))
        if edge.routes:
            return _to([self._routed(edge, state)])
        return _to(edge.plain_targets)

    def _around(self, edge: Edge, loop: Loop, state: Mapping[str, Any]) -> list[str]:
        """Back, until the field is true or the node has run as often as the loop allows."""
        rounds = self._rounds.get(id(edge), 0) + 1
        if state.get(loop.condition_field) or rounds >= loop.max_iterations:
            self._rounds[id(edge)] = 0
            return [loop.exit_to]
        self._rounds[id(edge)] = rounds
        return edge.plain_targets or [edge.from_]

    def _routed(self, edge: Edge, state: Mapping[str, Any]) -> str:
        for route in edge.routes:
            if self._plan.conditions[route.condition.logic].holds(state):
                return route.to
        raise RouteError(
            f"none of the routes from {edge.from_!r} applies; add one with condition: {{logic: default}}"
        )

    def _per_item(self, parallel: Parallel, state: Mapping[str, Any]) -> _Destinations:
        items = state.get(parallel.items_field) or []
        if len(items) > ITEMS_MAX:
            raise OutputMismatchError(
                f"{parallel.items_field!r} has {len(items):,} items; {parallel.target_node!r} runs for up to"
                f" {ITEMS_MAX:,} at the same time"
            )
        if not items:
            update: tuple[tuple[str, Any], ...] = ((parallel.collect_field, []),)
            onward = self._destinations(parallel.target_node, {**state, parallel.collect_field: []})
            return _Destinations(update=update).plus(onward)
        sends = tuple(
            Send(parallel.target_node, {**state, ITEM: Item(index, value, parallel.collect_field)})
            for index, value in enumerate(items)
        )
        return _Destinations(sends=sends, update=((parallel.collect_field, _Beginning()),))


def _to(names: list[str]) -> _Destinations:
    return _Destinations(tuple(name for name in names if name != END))


def _step(config: Mapping[str, Any]) -> int:
    step: int = config["metadata"]["langgraph_step"]
    return step


def _collect(kept: Any, update: Any) -> Any:
    """Adds results of items to a collection; anything else replaces it."""
    if isinstance(update, _Beginning):
        return _Partial()
    if isinstance(update, Collected):
        return _Partial([*(kept if isinstance(kept, _Partial) else ()), update])
    return update
