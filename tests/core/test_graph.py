"""The order in which nodes run: fan-out, joins, routes, loops and parallel items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from configurable_agents.core.checks import workflow_of
from configurable_agents.core.graph import run_graph
from configurable_agents.core.mermaid import mermaid
from configurable_agents.core.plan import Plan
from configurable_agents.core.schema import Node
from configurable_agents.errors import IterationLimitError, OutputMismatchError, RouteError

Step = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def edge(source: str, target: str | list[str]) -> dict[str, Any]:
    return {"from": source, "to": target}


def routes(source: str, *pairs: tuple[str, str]) -> dict[str, Any]:
    return {"from": source, "routes": [{"condition": {"logic": logic}, "to": to} for logic, to in pairs]}


def plan_of(nodes: str, edges: list[dict[str, Any]], **execution: int) -> Plan:
    """Each letter is a node that writes the field of its name in upper case."""
    fields: dict[str, Any] = {name.upper(): {"type": "int", "default": 0} for name in nodes}
    fields |= {"items": {"type": "list", "default": [3, 1, 2]}, "results": {"type": "list", "default": []}}
    return workflow_of(
        {
            "schema_version": "1.0",
            "flow": {"name": "letters"},
            "state": {"fields": fields},
            "nodes": [{"id": name, "python": "m:f", "outputs": [name.upper()]} for name in nodes],
            "edges": edges,
            "config": {"execution": execution},
        }
    ).plan


def count(node: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {node.upper(): state[node.upper()] + 1}


def walk(plan: Plan, step: Step = count, **state: Any) -> tuple[list[str], dict[str, Any]]:
    """The nodes in the order they began, and the state at the end."""
    order: list[str] = []

    async def run_node(node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
        order.append(node.id + (str(values["item"]) if "item" in values else ""))
        await asyncio.sleep(0)
        return step(node.id, values)

    beginning = {name: field.default for name, field in plan.workflow.state.fields.items()}
    return order, asyncio.run(run_graph(plan, {**beginning, **state}, run_node))


def test_a_chain_runs_in_order_and_its_last_node_needs_no_edge_to_end() -> None:
    order, state = walk(plan_of("abc", [edge("START", "a"), edge("a", "b"), edge("b", "c")]))
    assert order == ["a", "b", "c"]
    assert (state["A"], state["B"], state["C"]) == (1, 1, 1)


def test_a_join_waits_for_all_branches_and_runs_once() -> None:
    edges = [edge("START", ["a", "b"]), edge("a", "d"), edge("b", "c"), edge("c", "d"), edge("d", "END")]
    order, state = walk(plan_of("abcd", edges))
    assert order == ["a", "b", "c", "d"]
    assert state["D"] == 1


def test_a_join_behind_a_join_runs_once_and_last() -> None:
    edges = [
        *(edge("START", ["a", "b"]), edge("a", "c"), edge("b", "d"), edge("d", "c")),
        *(edge("c", "e"), edge("b", "e")),
    ]
    assert walk(plan_of("abcde", edges))[0] == ["a", "b", "d", "c", "e"]


def test_a_join_does_not_wait_for_a_branch_that_was_not_taken() -> None:
    edges = [
        edge("START", ["a", "b"]),
        routes("a", ("A > 5", "c"), ("default", "END")),
        *(edge("c", "d"), edge("b", "d"), edge("d", "END")),
    ]
    assert walk(plan_of("abcd", edges))[0] == ["a", "b", "d"]
    assert walk(plan_of("abcd", edges), A=9)[0] == ["a", "b", "c", "d"]


def test_a_join_waits_while_a_branch_loops() -> None:
    loop = {"from": "b", "loop": {"condition_field": "A", "max_iterations": 4, "exit_to": "c"}}
    edges = [edge("START", ["a", "b"]), loop, edge("a", "c")]
    order, _ = walk(plan_of("abc", edges), lambda node, state: {} if node == "a" else count(node, state))
    assert order == ["a", "b", "b", "b", "b", "c"]


def test_routes_are_tried_in_order_with_what_the_node_has_just_written() -> None:
    edges = [
        edge("START", "a"),
        routes("a", ("state.A == 1", "b"), ("state.A >= 1", "c"), ("default", "END")),
    ]
    assert walk(plan_of("abc", [*edges, edge("b", "c")]))[0] == ["a", "b", "c"]
    assert walk(plan_of("abc", [*edges, edge("b", "c")]), A=1)[0] == ["a", "c"]


def test_no_route_that_applies_is_an_error_that_names_the_node() -> None:
    with pytest.raises(RouteError, match="none of the routes from 'a' applies"):
        walk(plan_of("ab", [edge("START", "a"), routes("a", ("A > 5", "b"))]))


def test_a_loop_ends_when_its_field_is_true_or_its_rounds_are_used_up() -> None:
    loop = {"from": "a", "loop": {"condition_field": "B", "max_iterations": 3, "exit_to": "b"}}
    plan = plan_of("ab", [edge("START", "a"), loop])
    assert walk(plan)[0] == ["a", "a", "a", "b"]

    def satisfied(node: str, state: Mapping[str, Any]) -> dict[str, Any]:
        return {"A": state["A"] + 1, "B": state["A"] + 1 >= 2} if node == "a" else {}

    assert walk(plan, satisfied)[0] == ["a", "a", "b"]


def test_a_loop_may_lead_back_to_an_earlier_node_and_counts_anew_when_entered_again() -> None:
    loop = {
        "from": "b",
        "to": "a",
        "loop": {"condition_field": "results", "max_iterations": 2, "exit_to": "c"},
    }
    edges = [edge("START", "a"), edge("a", "b"), loop, routes("c", ("C < 2", "a"), ("default", "END"))]
    order = walk(plan_of("abc", edges, max_iterations=50))[0]
    assert order == [*"abab", "c", *"abab", "c"]


def test_a_cycle_of_routes_stops_with_an_error_at_its_limit() -> None:
    edges = [edge("START", "a"), edge("a", "b"), routes("b", ("A < 100", "a"), ("default", "END"))]
    with pytest.raises(IterationLimitError, match="node 'a' would run more than 5 times"):
        walk(plan_of("ab", edges, max_iterations=5))


FAN_OUT = {
    "from": "a",
    "parallel": {"items_field": "items", "target_node": "b", "collect_field": "results"},
}


def test_a_node_runs_once_per_item_and_results_keep_the_order_of_the_items() -> None:
    plan = plan_of("abc", [edge("START", "a"), FAN_OUT, edge("b", "c")])
    order, state = walk(plan, lambda node, state: {node.upper(): state.get("item", 0) * 10})
    assert (order[0], sorted(order[1:4]), order[4:]) == ("a", ["b1", "b2", "b3"], ["c"])
    assert state["results"] == [30, 10, 20]


def test_items_run_at_the_same_time() -> None:
    barrier = asyncio.Barrier(3)

    async def run_node(node: Node, state: Mapping[str, Any]) -> dict[str, Any]:
        if node.id == "b":
            async with asyncio.timeout(10):
                await barrier.wait()
        return {node.id.upper(): 1}

    plan = plan_of("ab", [edge("START", "a"), FAN_OUT])
    beginning = {name: field.default for name, field in plan.workflow.state.fields.items()}
    assert asyncio.run(run_graph(plan, beginning, run_node))["results"] == [1, 1, 1]


def test_without_items_the_run_goes_on_behind_the_node() -> None:
    order, state = walk(plan_of("abc", [edge("START", "a"), FAN_OUT, edge("b", "c")]), items=[])
    assert order == ["a", "c"]
    assert state["results"] == []


def test_a_collection_begins_anew_when_it_is_made_again() -> None:
    edges = [edge("START", "a"), FAN_OUT, edge("b", "c"), routes("c", ("C < 2", "a"), ("default", "END"))]
    order, state = walk(plan_of("abc", edges, max_iterations=20))
    assert order.count("b1") == 2
    assert state["results"] == [1, 1, 1]


def test_too_many_items_are_refused() -> None:
    with pytest.raises(OutputMismatchError, match="'items' has 10,001 items"):
        walk(plan_of("ab", [edge("START", "a"), FAN_OUT]), items=[0] * 10_001)


def test_two_nodes_at_the_same_time_cannot_write_one_field() -> None:
    plan = plan_of("ab", [edge("START", ["a", "b"])])
    with pytest.raises(OutputMismatchError, match="at the same time both wrote the field 'A'"):
        walk(plan, lambda _node, _state: {"A": 1})


def test_a_failing_node_stops_the_others() -> None:
    stopped: list[str] = []

    async def run_node(node: Node, _: Mapping[str, Any]) -> dict[str, Any]:
        if node.id == "b":
            raise RuntimeError("broken")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(node.id)
            raise
        return {}

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(run_graph(plan_of("ab", [edge("START", ["a", "b"])]), {"A": 0, "B": 0}, run_node))
    assert stopped == ["a"]


def test_a_chain_of_a_thousand_nodes_needs_no_deep_stack() -> None:
    names = [f"n{number}" for number in range(1000)]
    plan = workflow_of(
        {
            "schema_version": "1.0",
            "flow": {"name": "chain"},
            "state": {"fields": {"x": {"type": "int", "default": 0}}},
            "nodes": [{"id": name, "python": "m:f", "outputs": ["x"]} for name in names],
            "edges": [edge(source, target) for source, target in zip(["START", *names], names, strict=False)],
        }
    ).plan

    async def run_node(_: Node, state: Mapping[str, Any]) -> dict[str, Any]:
        return {"x": state["x"] + 1}

    assert asyncio.run(run_graph(plan, {"x": 0}, run_node)) == {"x": 1000}


def test_the_picture_shows_every_kind_of_edge() -> None:
    loop = {"from": "d", "loop": {"condition_field": "D", "max_iterations": 3, "exit_to": "END"}}
    edges = [edge("START", "a"), FAN_OUT, edge("b", "c"), routes("c", ('A > 1 and "x" in items', "d")), loop]
    picture = mermaid(plan_of("abcd", edges))
    assert picture.splitlines()[0] == "flowchart TD"
    assert "    START --> a" in picture
    assert '    a ==>|"for each of items"| b' in picture
    assert '    c -->|"A &gt; 1 and &quot;x&quot; in items"| d' in picture
    assert '    d -.->|"until D, at most 3 times"| d' in picture
    assert "    d --> END_" in picture
