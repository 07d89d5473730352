"""A picture of a workflow's graph, as text that Mermaid draws."""

from __future__ import annotations

from collections.abc import Iterator

from configurable_agents.core.plan import Plan
from configurable_agents.core.schema import Edge, Node

LABEL_LENGTH_MAX = 60


def mermaid(plan: Plan) -> str:
    lines = ["flowchart TD", "    START([START])", "    END_([END])"]
    lines += [f"    {_box(node)}" for node in plan.nodes.values()]
    for edge in plan.workflow.edges:
        lines += [f"    {line}" for line in _arrows(edge)]
    ends = [node for node in plan.nodes if node not in plan.edges_from]
    lines += [f"    {_name(node)} --> END_" for node in ends]
    return "\n".join(lines) + "\n"


def _box(node: Node) -> str:
    detail = node.python or node.name or node.description
    label = f"{node.id}<br/>{_text(detail)}" if detail else node.id
    left, right = ("[[", "]]") if node.python else ("[", "]")
    return f'{_name(node.id)}{left}"{label}"{right}'


def _arrows(edge: Edge) -> Iterator[str]:
    source = _name(edge.from_)
    if edge.parallel is not None:
        label = f"for each of {edge.parallel.items_field}"
        yield f'{source} ==>|"{_text(label)}"| {_name(edge.parallel.target_node)}'
        return
    if edge.loop is not None:
        again = f"until {edge.loop.condition_field}, at most {edge.loop.max_iterations} times"
        for target in edge.plain_targets or [edge.from_]:
            yield f'{source} -.->|"{_text(again)}"| {_name(target)}'
        yield f"{source} --> {_name(edge.loop.exit_to)}"
        return
    for target in edge.plain_targets:
        yield f"{source} --> {_name(target)}"
    for route in edge.routes:
        yield f'{source} -->|"{_text(route.condition.logic)}"| {_name(route.to)}'


def _name(node_id: str) -> str:
    """`end` is a word of Mermaid's own, in any case."""
    return f"{node_id}_" if node_id.lower() in ("end", "graph", "subgraph") else node_id


def _text(text: str) -> str:
    shown = text if len(text) <= LABEL_LENGTH_MAX else f"{text[: LABEL_LENGTH_MAX - 1]}…"
    return (
        " ".join(shown.split())
        .replace("&", "&amp;")
        .replace('"', "&quot;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
