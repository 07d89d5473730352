"""Reads the layout that came before `schema_version`: JSON Schema for the state, names for ids, no outputs.

    name: …
    state: {type: object, properties: {topic: {type: string}}}
    nodes: [{name: write, prompt: "… {topic}"}]
    edges: [{from: research, to: write}]

It does not say where answers go, so each node's goes to a field of its own, `{node}_output`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configurable_agents.core.source import Problem

NOTE = (
    "is an older layout: each node's answer is kept as {node}_output; write flow, state.fields, and outputs"
    " for each node to choose"
)
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list"}
OUTPUT_SUFFIX = "_output"


def is_older(data: Mapping[Any, Any]) -> bool:
    state = data.get("state")
    return "flow" not in data and "name" in data and isinstance(state, Mapping) and "properties" in state


def modernised(data: Mapping[Any, Any], warnings: list[Problem]) -> dict[Any, Any]:
    """The same in today's layout; what is not of the older one stays, to be refused by its name."""
    warnings.append(Problem(("name",), NOTE))
    rest = {key: value for key, value in data.items() if key not in ("description", "version", "execution")}
    nodes = [_node(node) for node in _list(rest.get("nodes"))]
    edges = _list(rest.get("edges"))
    flow = {key: data[key] for key in ("name", "description", "version") if key in data}
    config = {"observability": rest.pop("observability", {}), "execution": _execution(data.get("execution"))}
    rest.pop("name")
    return {
        **rest,
        "schema_version": "1.0",
        "flow": flow,
        "state": {"fields": {**_fields(data["state"]), **_answers(nodes)}},
        "nodes": nodes,
        "edges": [*_beginnings(nodes, edges), *edges],
        "config": config,
    }


def _fields(state: Mapping[str, Any]) -> dict[str, Any]:
    properties = state.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): _field(field) for name, field in properties.items()}


def _field(field: Any) -> dict[str, Any]:
    given = field if isinstance(field, Mapping) else {}
    kind = str(given.get("type", "any"))
    return {"type": TYPES.get(kind, kind), "description": str(given.get("description", ""))}


def _node(node: Any) -> Any:
    if not isinstance(node, Mapping) or "id" in node or "name" not in node:
        return node
    node_id = node["name"]
    renamed = {"id" if key == "name" else key: value for key, value in node.items()}
    return {"outputs": [f"{node_id}{OUTPUT_SUFFIX}"], **renamed}


def _answers(nodes: list[Any]) -> dict[str, Any]:
    return {
        name: {"type": "str", "default": ""}
        for node in nodes
        if isinstance(node, Mapping)
        for name in _list(node.get("outputs"))
        if str(name).endswith(OUTPUT_SUFFIX)
    }


def _beginnings(nodes: list[Any], edges: list[Any]) -> list[dict[str, str]]:
    """From START to every node that no edge leads to."""
    reached = {
        edge.get("to") for edge in edges if isinstance(edge, Mapping) and isinstance(edge.get("to"), str)
    }
    ids = [node["id"] for node in nodes if isinstance(node, Mapping) and "id" in node]
    return [{"from": "START", "to": node_id} for node_id in ids if node_id not in reached]


def _execution(value: Any) -> Any:
    """Nodes run at the same time wherever the edges allow it, so that nothing asks for it."""
    if not isinstance(value, Mapping):
        return {} if value is None else value
    return {key: inner for key, inner in value.items() if key != "parallel_execution"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
