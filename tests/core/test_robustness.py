"""Random graphs and damaged files: nodes run when they should, and only promised errors are raised."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configurable_agents.core.checks import check_source, workflow_of
from configurable_agents.core.conditions import ConditionSyntaxError, parse_condition
from configurable_agents.core.graph import run_graph
from configurable_agents.core.retries import asked_wait_s, wait_before_retry_s
from configurable_agents.core.schema import Node
from configurable_agents.core.source import parse_source
from configurable_agents.errors import RouteError, WorkflowInvalidError

NODES_MAX = 8
WORKFLOW = """\
schema_version: "1.0"
flow: {name: damaged}
state:
  fields:
    a: {type: str, required: true}
    b: {type: object, schema: {c: "list[int]"}}
    d: {type: list, default: [1]}
nodes:
  - {id: one, prompt: "{state.a} {b.c}", outputs: [a], llm: {model: gpt-4o}, tools: ["m:f"]}
  - id: two
    prompt: x
    outputs: [b]
    output_schema: {type: object, fields: [{name: b, type: object, schema: {c: "list[int]"}}]}
edges:
  - {from: START, to: [one]}
  - {from: one, parallel: {items_field: d, target_node: two, collect_field: d}}
  - {from: two, routes: [{condition: {logic: "a == 'x'"}, to: END}, {condition: {logic: default}, to: one}]}
config: {execution: {max_iterations: 3}, gates: {gates: [{metric: cost_usd, max: 1}], on_fail: warn}}
"""


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_in_any_graph_of_plain_edges_each_node_runs_once_and_after_all_that_lead_to_it(seed: int) -> None:
    dice = random.Random(seed)
    names = [f"n{index}" for index in range(dice.randint(2, NODES_MAX))]
    sources = {
        name: dice.sample(names[:index], dice.randint(1, index)) if index else ["START"]
        for index, name in enumerate(names)
    }
    plan = workflow_of(
        {
            "schema_version": "1.0",
            "flow": {"name": "random"},
            "state": {"fields": {name: {"type": "int", "default": 0} for name in names}},
            "nodes": [{"id": name, "python": "m:f", "outputs": [name]} for name in names],
            "edges": [{"from": source, "to": name} for name in names for source in sources[name]],
        }
    ).plan
    seen: dict[str, dict[str, int]] = {}

    async def run_node(node: Node, state: Mapping[str, Any]) -> dict[str, Any]:
        assert node.id not in seen, "ran twice"
        seen[node.id] = dict(state)
        return {node.id: 1}

    asyncio.run(run_graph(plan, dict.fromkeys(names, 0), run_node))
    assert set(seen) == set(names)
    for name in names:
        assert all(seen[name][source] == 1 for source in sources[name] if source != "START")


@given(
    st.integers(0, len(WORKFLOW) - 1),
    st.integers(0, 12),
    st.text(alphabet="{}[]:,-\"'a1 \n&*!<$~", max_size=6),
)
@settings(max_examples=400, deadline=None)
def test_a_damaged_file_is_refused_or_loaded_and_nothing_else(at: int, cut: int, put: str) -> None:
    text = WORKFLOW[:at] + put + WORKFLOW[at + cut :]
    with contextlib.suppress(WorkflowInvalidError):
        check_source(parse_source(text, name="damaged.yaml"))


@given(st.text(alphabet="state.abc()[]<>=!'\" 0123andorint-+*:", max_size=40))
@settings(max_examples=400, deadline=None)
def test_a_condition_is_decided_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(ConditionSyntaxError, RouteError):
        parse_condition(text).holds({"a": 1, "b": "x", "c": [1]})


class RefusedError(Exception):
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status_code = status
        self.response = type("Response", (), {"headers": headers})()


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_what_a_provider_asks_for_is_read(headers: dict[str, str], asked: float | None) -> None:
    assert asked_wait_s(RefusedError(429, headers)) == asked


def test_a_provider_may_name_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    asked = asked_wait_s(RefusedError(429, {"retry-after": later}))
    assert asked is not None
    assert 90 < asked <= 100


def test_waits_double_and_end_and_stay_near_what_they_double() -> None:
    waits = [wait_before_retry_s(RefusedError(500, {}), attempt) for attempt in (1, 2, 3, 20, 5_000)]
    for wait, middle in zip(waits, (0.5, 1, 2, 30, 30), strict=True):
        assert wait is not None
        assert middle * 0.75 <= wait <= middle * 1.25
