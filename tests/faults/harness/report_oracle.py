"""The oracle's look at reports: what the daemon answers is what the rows of the ledger say."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing

from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from harness.oracle import Row, Verdict, read_rows

NODE_DURATION = 4
CALL_TOKENS = slice(6, 14)
"""Where these are in the detail of a row."""


class _Sums:
    """Of one run, or of all."""

    def __init__(self) -> None:
        self.node_calls: Counter[str] = Counter()
        self.node_times_ns: Counter[str] = Counter()
        self.llm_calls = 0
        self.tokens = 0

    def add(self, row: Row) -> None:
        if row.key.kind == "node":
            node_id = str(row.detail[0])
            self.node_calls[node_id] += 1
            self.node_times_ns[node_id] += int(str(row.detail[NODE_DURATION]))
        elif row.key.kind == "call":
            self.llm_calls += 1
            self.tokens += sum(int(str(tokens)) for tokens in row.detail[CALL_TOKENS] if tokens is not None)


def check_reports(home: Home) -> Verdict:
    """Calls and times of each node, LLM calls and tokens, of each run and of all together.

    Together with `check_ledger`, which holds the rows to the journals, this holds reports to the journals.
    """
    verdict = Verdict()
    whole, runs = _Sums(), defaultdict(_Sums)
    with closing(sqlite3.connect(f"{home.ledger.as_uri()}?mode=ro", uri=True)) as connection:
        for row in read_rows(connection):
            runs[row.key.run_id].add(row)
            whole.add(row)
    with ReportClient(home, timeout_s=60) as client:
        for run_id, sums in [("", whole), *runs.items()]:
            verdict.looked_at += 1
            _check_scope(verdict, client, Scope(run_id=run_id), sums)
    return verdict


def _check_scope(verdict: Verdict, client: ReportClient, scope: Scope, sums: _Sums) -> None:
    nodes = client.profile_report(scope).nodes
    cost = client.cost_report(scope).totals
    reported = {
        "calls of nodes": (dict(sums.node_calls), {node.node_id: node.calls for node in nodes}),
        "times of nodes": (dict(sums.node_times_ns), {node.node_id: node.total_ns for node in nodes}),
        "LLM calls": (sums.llm_calls, cost.calls),
        "tokens": (sums.tokens, cost.total_tokens),
    }
    for what, (expected, found) in reported.items():
        if expected != found:
            verdict.find("altered", f"{what} of {scope.run_id or 'all'}: {expected} is reported as {found}")
