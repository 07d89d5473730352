"""Writes the golden ledger of the schema's version: a small ledger with real events, and what it answers.

Tests open it with every later version. Run it when `schema.sql` gets a new version, and as long as a
version is not released after every change of `schema.sql`. Ledgers of released versions are never made
again: they are what users have.
"""

from __future__ import annotations

import json
import lzma
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from configurable_agents.obsd.ledger import cost_groups, queries
from configurable_agents.obsd.ledger.call_queries import receipts
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.migrations import schema_version
from configurable_agents.obsd.ledger.retention import summed_up
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.records import Batch
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import (
    Event,
    Graph,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)
from configurable_agents.wire.report_records import Scope

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "obsd" / "golden"
T0 = 1_795_336_467_000_000_000
MS = 1_000_000


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    name = f"ledger-v{schema_version()}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        make(path)
        (FOLDER / f"{name}.db.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
        text = json.dumps(figures(path), indent=1, sort_keys=True)
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{name} is written to {FOLDER.relative_to(FOLDER.parents[2])}\n")
    return 0


def make(path: Path) -> None:
    """Runs of every kind: profiled, retired, exported, failed, interrupted, in flight."""
    with SqliteLedger(path, CallPricer(CostEstimator())) as ledger:
        for number, events in enumerate(all_runs()):
            ledger.commit([Batch(number.to_bytes(16, "big"), 0, events)])
        ledger.mark_interrupted(["interrupted"])
        for run in ledger.unfinished_runs():
            if run.status is not Status.RUNNING:
                with closing(open_for_reading(path)) as connection, queries.snapshot(connection):
                    profile, events_count = queries.final_profile(connection, run.run_id)
                ledger.store_profiles([(run.run_id, profile, events_count)])
        ledger.save_export("mlflow", 30, [(1, "m1", 9)], [(4, 1, "refused")])
        with closing(open_for_reading(path)) as connection:
            kept = summed_up(connection, 2, "")
        if kept is not None and ledger.retire(kept):
            while ledger.remove_some_rows(2):
                pass


def all_runs() -> Iterator[list[Event]]:
    yield [*run("whole", "support"), RunFinished("whole", T0 + 90 * MS, 90 * MS, Status.OK)]
    yield [*run("retired", "support"), RunFinished("retired", T0 + 80 * MS, 80 * MS, Status.OK)]
    yield [
        *run("failed", "research"),
        RunFinished("failed", T0 + 70 * MS, 70 * MS, Status.ERROR, "ValueError"),
    ]
    yield run("interrupted", "research")
    yield [*run("in-flight", ""), NodeStarted("in-flight", 9, 0, "draft", 1, T0 + 60 * MS)]


def run(run_id: str, experiment: str) -> list[Event]:
    graph = Graph(("draft", "review"), (("draft", "review"),))
    tags = (("team", "care"), ("é", "ü"))

    def node(node_id: str, span: int, start_ms: int, status: Status = Status.OK) -> NodeFinished:
        error = "" if status is Status.OK else "TimeoutError"
        return NodeFinished(run_id, span, 0, node_id, 1, T0 + start_ms * MS, 20 * MS, status, error)

    def call(call_id: str, span: int, model: str, usage: Usage | None, **more: Any) -> LlmCall:
        made = LlmCall(run_id, call_id, span, "draft", "openai", model, usage, T0 + span * MS, 10 * MS)
        return made._replace(**more)

    tokens = Usage(input_tokens=1000, cache_read_tokens=200, output_tokens=100, reasoning_tokens=10)
    return [
        RunStarted(run_id, experiment, "triage", T0, tags, graph),
        node("draft", 1, 0),
        call("priced", 1, "gpt-4o", tokens),
        call("twice", 1, "gpt-4o", tokens, response_id="r"),
        call("again", 1, "gpt-4o", tokens, response_id="r"),
        call("unknown", 2, "nobody-knows-me", tokens),
        call("silent", 2, "gpt-4o", None, status=Status.ERROR, error_type="RateLimitError"),
        call("stated", 3, "gpt-4o", tokens, stated_cost_nanos=1_234_567),
        node("review", 2, 25, Status.ERROR),
        node("review", 3, 50),
    ]


def figures(path: Path) -> dict[str, Any]:
    """What the reports over a ledger say, in their exact integers. Formats of output are tested elsewhere."""
    with closing(open_for_reading(path)) as connection, queries.snapshot(connection):
        runs, _ = queries.list_runs(connection, Scope(), limit=100)
        names = sorted(run.run_id for run in runs)
        scopes = {"everything": Scope(), **{name: Scope(run_id=name) for name in names}}
        return {
            "runs": {run.run_id: [run.status.label, run.experiment, run.node_executions] for run in runs},
            "counts": list(queries.counts(connection))[:2],
            "reports": {name: report(connection, scope) for name, scope in scopes.items()},
            "receipts": [
                [receipt.call.call_id, receipt.price.status.value, receipt.price.cost_nanos]
                for receipt in receipts(connection, Scope(run_id="whole"), "", limit=10)
            ],
        }


def report(connection: sqlite3.Connection, scope: Scope) -> dict[str, Any]:
    summary = queries.cost_summary(connection, scope)
    profile = queries.profile_report(connection, scope)
    grouped = cost_groups.grouped_costs(connection, scope, ("token-class", "status"))
    return {
        "models": [
            [each.provider, each.model, each.totals.calls, each.totals.cost_nanos, *each.totals.usage]
            for each in summary.models
        ],
        "coverage": [
            summary.totals.unpriced_calls,
            summary.totals.no_usage_calls,
            summary.totals.merged_calls,
        ],
        "wasted_nanos": cost_groups.wasted_totals(connection, scope).cost_nanos,
        "classes": {"/".join(group.values): group.totals.cost_nanos for group in grouped.groups},
        "nodes": [
            [
                node.node_id,
                *(node.calls, node.total_ns, node.self_ns, node.max_ns, node.errors),
                *(node.p50_ns, node.p95_ns, node.critical_ns),
            ]
            for node in profile.nodes
        ],
        "wall_ns": profile.wall_ns,
    }


if __name__ == "__main__":
    sys.exit(main())
