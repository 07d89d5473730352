"""The oracle: compares, row by row, what clients wrote down with ledger, reports and MLflow.

It reads the files of the ledger and of MLflow's store by its own queries, so that nothing it judges is
judged by itself. What it looks for must be there exactly once, unchanged and in order, and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.journal import ClientJournal, Key

SHOWN_MAX = 5
"""Findings of each kind that a verdict shows; all are counted."""

_INTERRUPTED = "interrupted"

_ROWS = """
SELECT x.seq, r.run_id, 'node', x.span_id, n.name, x.parent_span_id, x.attempt, x.started_unix_ns,
    x.duration_ns, x.status, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM node_executions x JOIN runs r ON r.id = x.run JOIN names n ON n.id = x.node
UNION ALL
SELECT c.seq, r.run_id, 'call', c.call_id, n.name, p.name, m.name, c.started_unix_ns, c.duration_ns,
    c.status, c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens,
    c.output_tokens, c.reasoning_tokens, c.audio_input_tokens, c.audio_output_tokens, c.web_searches
FROM llm_calls c JOIN runs r ON r.id = c.run JOIN names n ON n.id = c.node
    JOIN names p ON p.id = c.provider JOIN names m ON m.id = c.model
UNION ALL
SELECT v.seq, r.run_id, CASE v.kind WHEN 1 THEN 'start' WHEN 2 THEN 'end' ELSE 'interrupted' END, '',
    CASE v.kind WHEN 1 THEN e.name ELSE r.status END,
    CASE v.kind WHEN 1 THEN w.name ELSE r.finished_unix_ns END,
    CASE v.kind WHEN 1 THEN r.started_unix_ns ELSE r.duration_ns END,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM run_events v JOIN runs r ON r.id = v.run JOIN names e ON e.id = r.experiment
    JOIN names w ON w.id = r.workflow
ORDER BY 1
"""

_DETAILS = {"node": 6, "call": 15, "start": 3, "end": 3, _INTERRUPTED: 0}
"""How many values of a row, after its key, are to be compared."""


class Row(NamedTuple):
    """An event as the ledger has it."""

    seq: int
    key: Key
    detail: list[object]


@dataclass
class Verdict:
    """What is wrong. Clean when it is nothing."""

    looked_at: int = 0
    """Events that had to be there."""
    findings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By what is wrong: `lost`, `duplicated`, `reordered`, `invented`, `altered`, `unbalanced`."""

    def find(self, what: str, which: object) -> None:
        self.findings[what].append(str(which))

    def count(self, what: str) -> int:
        return len(self.findings.get(what, ()))

    @property
    def is_clean(self) -> bool:
        return not self.findings

    def join(self, other: Verdict) -> None:
        """Takes in what was found elsewhere, of the same events."""
        for what, which in other.findings.items():
            self.findings[what].extend(which)

    def __str__(self) -> str:
        kinds = ("lost", "duplicated", "reordered", "invented", "altered", "unbalanced")
        counts = ", ".join(f"{self.count(kind)} {kind}" for kind in kinds)
        shown = [f"\n  {what}: {each}" for what, which in self.findings.items() for each in which[:SHOWN_MAX]]
        return f"of {self.looked_at} events: {counts}{''.join(shown)}"


def check_ledger(ledger: Path, journals: Sequence[ClientJournal]) -> Verdict:
    """Every event that must have arrived is there once, unchanged, in its client's order; no other is."""
    verdict = Verdict()
    with closing(_open(ledger)) as connection:
        rows = list(read_rows(connection))
        _check_rows(verdict, rows, journals)
        _check_sums(verdict, connection, len(rows))
    return verdict


def check_acknowledged(ledger: Path, acknowledged: Mapping[bytes, int]) -> Verdict:
    """What was acknowledged so far is in the ledger. For the moment after a kill, before anything resends."""
    verdict = Verdict()
    with closing(_open(ledger)) as connection:
        known = dict(connection.execute("SELECT producer_id, next_sequence FROM producers"))
    for producer_id, count in acknowledged.items():
        verdict.looked_at += count
        for position in range(known.get(producer_id, 0), count):
            verdict.find("lost", f"{producer_id.hex()} {position}")
    return verdict


def read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """All events of a ledger in the order of their commit."""
    for seq, run_id, kind, identity, *values in connection.execute(_ROWS):
        detail = values[: _DETAILS[kind]]
        if kind == "node":
            identity = str(identity % 2**64)  # noqa: PLW2901 - SQLite keeps it as a signed number
            detail[1] = str(detail[1] % 2**64)
        yield Row(seq, Key(run_id, kind, identity), detail)


def _check_rows(verdict: Verdict, rows: Iterable[Row], journals: Sequence[ClientJournal]) -> None:
    intended = {
        entry.key: (journal.producer_id, number, entry)
        for journal in journals
        for number, entry in enumerate(journal.entries)
    }
    times: Counter[Key] = Counter()
    latest: dict[bytes, int] = {}
    for row in rows:
        if row.key.kind == _INTERRUPTED:
            continue
        times[row.key] += 1
        if row.key not in intended:
            verdict.find("invented", row.key)
            continue
        producer_id, number, entry = intended[row.key]
        if entry.detail != row.detail:
            verdict.find("altered", f"{row.key}: {entry.detail} is now {row.detail}")
        if times[row.key] == 1 and number < latest.get(producer_id, -1):
            verdict.find("reordered", row.key)
        latest[producer_id] = max(number, latest.get(producer_id, -1))
    _check_times(verdict, times, journals)


def _check_times(verdict: Verdict, times: Counter[Key], journals: Iterable[ClientJournal]) -> None:
    for key, count in times.items():
        if count > 1:
            verdict.find("duplicated", f"{key} is there {count} times")
    for journal in journals:
        must = journal.must_arrive()
        verdict.looked_at += len(must)
        for entry in must:
            if not times[entry.key]:
                verdict.find("lost", entry.key)


_SUMS = {
    "the counter of committed events and their rows": (
        "SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'events_committed'",
        "SELECT :rows",
    ),
    "events of runs and their rows": ("SELECT coalesce(sum(events), 0) FROM runs", "SELECT :rows"),
    "calls of nodes and their rows": (
        "SELECT coalesce(sum(calls), 0) FROM node_totals",
        "SELECT count(*) FROM node_executions",
    ),
    "time of nodes and of their rows": (
        "SELECT coalesce(sum(total_ns), 0) FROM node_totals",
        "SELECT coalesce(sum(duration_ns), 0) FROM node_executions",
    ),
    "LLM calls and their rows": (
        "SELECT coalesce(sum(calls + merged_calls), 0) FROM call_totals",
        "SELECT count(*) FROM llm_calls",
    ),
    "money of totals and of rows": (
        "SELECT coalesce(sum(cost_nanos), 0) FROM call_totals",
        "SELECT coalesce(sum(cost_nanos), 0) FROM llm_calls WHERE counted = 1",
    ),
    "events that never arrived, and none": (
        "SELECT coalesce(sum(events_missing), 0) FROM producers",
        "SELECT 0",
    ),
}


def _check_sums(verdict: Verdict, connection: sqlite3.Connection, rows: int) -> None:
    for what, (left, right) in _SUMS.items():
        [one] = connection.execute(left, {"rows": rows} if ":rows" in left else {}).fetchone()
        [other] = connection.execute(right, {"rows": rows} if ":rows" in right else {}).fetchone()
        if one != other:
            verdict.find("unbalanced", f"{what}: {one} and {other}")


def check_balance(ledger: Path, exporter: str = "mlflow") -> Verdict:
    """committed = exported + waiting + set aside, by the ledger's own rows; and nothing waits any more."""
    verdict = Verdict()
    with closing(_open(ledger)) as connection:
        rows = [row.seq for row in read_rows(connection)]
        found = connection.execute("SELECT cursor FROM exporters WHERE name = ?", (exporter,)).fetchone()
        cursor = found[0] if found else 0
        aside = {
            seq
            for (seq,) in connection.execute("SELECT seq FROM dead_letters WHERE exporter = ?", (exporter,))
        }
    verdict.looked_at = len(rows)
    waiting = sum(seq > cursor for seq in rows)
    if waiting:
        verdict.find("unbalanced", f"{waiting} of {len(rows)} events still wait")
    for seq in aside - set(rows):
        verdict.find("unbalanced", f"{seq} is set aside and was never committed")
    return verdict


def _open(ledger: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
