"""A timeline as one page that needs no network: waterfall, critical path, nodes, costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from configurable_agents.observability.known_cost import NO_COST, KnownCost, cost_of_run, tokens_of_run
from configurable_agents.runtime.profile_report import percent
from configurable_agents.runtime.self_time import node_profiles
from configurable_agents.runtime.slack import node_slacks
from configurable_agents.runtime.time_classes import time_classes
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.runtime.timeline_rows import Waterfall, WaterfallRow, waterfall
from configurable_agents.runtime.what_if import wall_with

PAGE_ROWS_MAX = 20_000
"""Executions in a page. Of a longer run the longest are shown, and the page says how many are not."""

PAGE_NODES_MAX = 1_000
"""Nodes in the table of a page, slowest first."""

_DATA_MARK = "/*DATA*/null"


def timeline_page(timeline: Timeline, *, rows_max: int = PAGE_ROWS_MAX) -> str:
    """The page as HTML. Names in it come from outside: they are data to it, never markup."""
    template = resources.files(__package__).joinpath("timeline_page.html").read_text(encoding="utf-8")
    data = json.dumps(page_data(timeline, rows_max=rows_max), ensure_ascii=True, separators=(",", ":"))
    return template.replace(_DATA_MARK, data.replace("<", "\\u003c"), 1)


def page_data(timeline: Timeline, *, rows_max: int = PAGE_ROWS_MAX) -> dict[str, Any]:
    """Times in ms since the start of the run, money in nano-dollars."""
    found = waterfall(timeline, rows_max=rows_max)
    schedule = found.schedule
    run = timeline.run
    names: dict[str, int] = {}
    rows = [_row(row, names, schedule.started_ns) for row in found.rows]
    faster = dict.fromkeys(list(found.path.by_node_ns)[:1], 0.5)
    return {
        "run_id": run.run_id,
        "experiment": run.experiment,
        "workflow": run.workflow,
        "status": run.status.label,
        "started_ms": schedule.started_ns // 1_000_000,
        "wall_ms": schedule.wall_ns / 1e6,
        "between_ms": found.path.between_ns / 1e6,
        "cost_nanos": cost_of_run(run).known_nanos,
        "unpriced_calls": run.unpriced_calls - run.no_usage_calls,
        "no_usage_calls": run.no_usage_calls,
        "llm_calls": run.llm_calls,
        "tokens": tokens_of_run(run).known,
        "left_out": found.left_out,
        "cut": timeline.cut,
        "names": list(names),
        "rows": rows,
        "path": _path(found),
        "saved_ms": (schedule.wall_ns - wall_with(schedule, faster)) / 1e6,
        "classes": time_classes(schedule, found.path, timeline.model_calls()).to_json(),
        "nodes": _nodes(timeline, found, node_slacks(schedule)),
        "cost_by_provider": _costs(timeline.costs_by(lambda call: call.provider)),
        "cost_by_node": _costs(timeline.costs_by(lambda call: call.node_id or "(no node)")),
    }


def _row(row: WaterfallRow, names: dict[str, int], started_ns: int) -> list[Any]:
    """Name, start, duration, depth, self time, status, attempt, cost, pieces on the critical path."""
    span = row.span
    return [
        names.setdefault(span.node_id, len(names)),
        round((span.started_unix_ns - started_ns) / 1e6, 4),
        round(span.duration_ns / 1e6, 4),
        row.depth,
        round(row.self_ns / 1e6, 4),
        span.status.label,
        span.attempt,
        _cost(row.cost),
        [[round(start / 1e6, 4), round(end / 1e6, 4)] for start, end in row.critical],
    ]


def _path(found: Waterfall) -> list[list[Any]]:
    """Nodes with time on the critical path: name, ms, percent of the wall."""
    wall_ns = found.schedule.wall_ns
    return [[node, ns / 1e6, percent(ns, wall_ns)] for node, ns in found.path.by_node_ns.items()]


def _nodes(timeline: Timeline, found: Waterfall, slack_ns: dict[str, int]) -> list[list[Any]]:
    """Name, calls, total, self, p50, p95, max, errors, critical, slack, cost."""
    costs = timeline.costs_by(lambda call: call.node_id)
    return [
        [
            node.node_id,
            node.calls,
            node.total_ns / 1e6,
            node.self_ns / 1e6,
            (node.p50_ns or 0) / 1e6,
            (node.p95_ns or 0) / 1e6,
            node.max_ns / 1e6,
            node.errors,
            found.path.by_node_ns.get(node.node_id, 0) / 1e6,
            slack_ns[node.node_id] / 1e6,
            _cost(costs.get(node.node_id, NO_COST)),
        ]
        for node in node_profiles(timeline.finished_spans())[:PAGE_NODES_MAX]
    ]


def _costs(sums: Mapping[str, KnownCost]) -> list[list[Any]]:
    """Most expensive first; what was free has cost nothing and is there too."""
    ordered = sorted(sums.items(), key=lambda item: (-item[1].nanos, item[0]))
    return [[name, *_cost(cost)] for name, cost in ordered]


def _cost(known: KnownCost) -> list[Any]:
    """Nano-dollars, `None` where nothing is known; the calls that are not in them."""
    return [known.known_nanos, known.unknown_calls]
