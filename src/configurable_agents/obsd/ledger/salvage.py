"""Saves what can be read of a damaged ledger into a new one, row by row past the damage.

The damaged file is only read. Each table is read by its key; where reading fails, the range of keys that is
left is halved again and again until only the rows that cannot be read are left out. A row whose values
cannot be what was written is left out too. What rows refer to and is lost gets a stand-in with a name
that says so, because a report would leave out the rows otherwise, and nobody would know.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from configurable_agents.client.home import command_for
from configurable_agents.errors import LedgerDamagedError
from configurable_agents.obsd import limits
from configurable_agents.obsd.disk import files_of
from configurable_agents.obsd.latency_sketch import LatencySketch
from configurable_agents.obsd.ledger.calls import figures_of
from configurable_agents.obsd.ledger.cost_groups import parts
from configurable_agents.obsd.ledger.damage import UNREADABLE
from configurable_agents.obsd.ledger.database import open_for_reading, open_for_writing
from configurable_agents.observability.cost_summary import CallTotals, sum_totals
from configurable_agents.telemetry import PriceStatus, Status

_TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "TEXT": (str,), "BLOB": (bytes,)}

_MADE_AGAIN = frozenset({"profile_blocks", "profile_block_nodes", "profile_block_models"})
"""Sums that the daemon makes by itself; a part of one would be taken for the whole."""

_ROWS_PER_TRANSACTION = 10_000

_INTEGER_MAX = 2**63 - 1

_PROBES = 32

_HEADER_BYTES = 100
_PAGE_COUNT_AT = 28
_INTERIOR_PAGE = 5
"""Of SQLite's file format (https://www.sqlite.org/fileformat.html)."""

LOST_NAME = "(lost)"


@dataclass(slots=True)
class TableOutcome:
    saved: int = 0
    refused: int = 0
    """Rows that were read and cannot be what was written."""
    unreadable: int = 0
    """How often reading failed on the way past the damage."""
    is_complete: bool = True
    """Whether the table was read from its beginning to its end without a failure."""


@dataclass(slots=True)
class Salvage:
    """What became of each table, and of the whole."""

    tables: dict[str, TableOutcome] = field(default_factory=dict)
    stand_ins: int = 0
    """Names, runs and producers that rows refer to and that are lost."""
    rows_lost: int = 0
    """Events of the runs that are known, whose rows are not there."""
    runs_doubtful: int = 0
    """Runs that have lost rows, whose totals did not agree with their rows, or that are hardly known."""

    @property
    def rows_saved(self) -> int:
        return sum(table.saved for table in self.tables.values())

    @property
    def is_complete(self) -> bool:
        return not self.stand_ins and all(
            table.is_complete and not table.refused for table in self.tables.values()
        )


def salvage(source: Path, target: Path) -> Salvage:
    """Makes `target`, a new ledger, from what can be read of `source`.

    Raises `LedgerDamagedError` when nothing at all can be read.
    """
    found = Salvage()
    with ExitStack() as stack:
        new = stack.enter_context(closing(open_for_writing(target)))
        old = stack.enter_context(_reading(source, new, target))
        for table in _tables(new):
            found.tables[table.name] = _save_table(old, new, table)
        if not any(outcome.saved for outcome in found.tables.values()):
            begin = command_for(source.parent, "agents-obsd start --fresh-ledger")
            raise LedgerDamagedError(f"nothing can be read of {source}; begin anew with `{begin}`")
        new.execute("BEGIN")
        found.stand_ins = _put_stand_ins(new)
        _settle_runs(new, found)
        _settle_counters(new)
        note_repair(new, found, time.time_ns())
        new.execute("COMMIT")
    return found


# -- reading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[tuple[str, tuple[type, ...], bool], ...]
    """Name, types, whether it may be NULL."""
    key: str
    """An integer column in whose order the table can be read; empty: none."""
    order: tuple[str, ...]
    """All columns of its key."""


@contextmanager
def _reading(source: Path, new: sqlite3.Connection, target: Path) -> Iterator[sqlite3.Connection]:
    """The damaged ledger; where its own list of tables cannot be read, a copy with that of the new one."""
    with closing(_open_damaged(source)) as old:
        if _knows_its_tables(old, new):
            yield old
            return
    new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = target.with_name(f"{target.name}.readable")
    try:
        _copy_with_schema(source, target, copy)
        with closing(_open_damaged(copy)) as old:
            yield old
    finally:
        for path in (*files_of(copy), copy.with_name(f"{copy.name}-shm")):
            path.unlink(missing_ok=True)


def _knows_its_tables(old: sqlite3.Connection, new: sqlite3.Connection) -> bool:
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    try:
        known = set(old.execute(tables).fetchall())
    except UNREADABLE:
        return False
    return known >= set(new.execute(tables).fetchall())


def _copy_with_schema(source: Path, fresh: Path, copy: Path) -> None:
    """The pages of the schema are made first, and so in the same places in every ledger of a version."""
    for part, made in zip(files_of(source), files_of(copy), strict=True):
        if part.exists():
            shutil.copyfile(part, made)
    with fresh.open("rb") as good, copy.open("r+b") as bad:
        page_bytes = int.from_bytes(good.read(18)[16:18], "big")
        page_count = bad.seek(0, os.SEEK_END) // page_bytes
        for page in _schema_pages(good, page_bytes):
            good.seek(page * page_bytes)
            bad.seek(page * page_bytes)
            bad.write(good.read(page_bytes))
        bad.seek(_PAGE_COUNT_AT)
        bad.write(page_count.to_bytes(4, "big") + bytes(8))  # and no list of free pages


def _schema_pages(file: BinaryIO, page_bytes: int) -> list[int]:
    """The root of the schema's table, which is the first page, and its leaves; counted from 0."""
    file.seek(0)
    root = file.read(page_bytes)
    if root[_HEADER_BYTES] != _INTERIOR_PAGE:
        return [0]
    cells = int.from_bytes(root[_HEADER_BYTES + 3 : _HEADER_BYTES + 5], "big")
    begin = _HEADER_BYTES + 12
    places = [int.from_bytes(root[at : at + 2], "big") for at in range(begin, begin + 2 * cells, 2)]
    last = root[_HEADER_BYTES + 8 : begin]
    leaves = [int.from_bytes(link, "big") for link in [*(root[at : at + 4] for at in places), last]]
    return [0, *(leaf - 1 for leaf in leaves)]


def _open_damaged(path: Path) -> sqlite3.Connection:
    connection = open_for_reading(path)
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _tables(new: sqlite3.Connection) -> list[_Table]:
    names = new.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [_table(new, name) for (name,) in names.fetchall() if name not in _MADE_AGAIN]


def _table(new: sqlite3.Connection, name: str) -> _Table:
    info = new.execute(f"PRAGMA table_info({name})").fetchall()
    keys = [(position, column, kind) for _, column, kind, _, _, position in info if position]
    keys = sorted(keys) or [(1, "rowid", "INTEGER")]
    _, first, kind = keys[0]
    columns = tuple(
        (column, _TYPES[kind], not is_required and not position)
        for _, column, kind, is_required, _, position in info
    )
    return _Table(name, columns, first if kind == "INTEGER" else "", tuple(key for _, key, _ in keys))


def _save_table(old: sqlite3.Connection, new: sqlite3.Connection, table: _Table) -> TableOutcome:
    outcome = TableOutcome()
    names = ", ".join(name for name, _, _ in table.columns)
    insert = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({','.join('?' * len(table.columns))})"
    sound = (row for row in _rows(old, table, outcome) if _is_sound(table, row, outcome))
    while some := list(islice(sound, _ROWS_PER_TRANSACTION)):
        new.execute("BEGIN")
        outcome.saved += new.executemany(insert, some).rowcount
        new.execute("COMMIT")
    return outcome


def _rows(old: sqlite3.Connection, table: _Table, outcome: TableOutcome) -> Iterator[tuple[Any, ...]]:
    names = ", ".join(name for name, _, _ in table.columns)
    if not table.key:
        yield from _rows_from_both_ends(old, table, names, outcome)
        return
    sql = (
        f"SELECT {table.key}, {names} FROM {table.name} NOT INDEXED WHERE {table.key} BETWEEN ? AND ?"
        f" ORDER BY {table.key}"
    )
    waiting = [(0, _INTEGER_MAX)]
    while waiting:
        low, high = waiting.pop()
        last = low - 1
        try:
            for key, *row in old.execute(sql, (low, high)):
                last = key
                yield tuple(row)
        except UNREADABLE:
            outcome.is_complete = False
            outcome.unreadable += 1
            if outcome.unreadable > limits.UNREADABLE_PLACES_MAX:
                return
            waiting.extend(reversed(_what_is_left(old, table, low, high, last)))


def _what_is_left(
    old: sqlite3.Connection, table: _Table, low: int, high: int, last: int
) -> list[tuple[int, int]]:
    """The parts of a range that could not be read to its end, but to `last`; below `low`: not at all."""
    if last >= low:
        return [(last + 1, high)] if last < high else []
    if low == high or not _any_reads(old, table, low, high):
        return []
    middle = low + (high - low) // 2
    return [(low, middle), (middle + 1, high)]


def _any_reads(old: sqlite3.Connection, table: _Table, low: int, high: int) -> bool:
    """Whether any key of a range can be looked for: near its beginning, and spread over it.

    What cannot be read is a page of a table, and so a row of keys without a gap; what lies behind it is
    met by one of the distances, unless it is much shorter than the damage before it.
    """
    sql = f"SELECT 1 FROM {table.name} NOT INDEXED WHERE {table.key} = ?"
    near = (low + (1 << power) - 1 for power in range(64))
    spread = (low + (high - low) * part // _PROBES for part in range(_PROBES + 1))
    for key in sorted({key for key in (*near, *spread) if key <= high}):
        try:
            old.execute(sql, (key,)).fetchall()
        except UNREADABLE:
            continue
        return True
    return False


def _rows_from_both_ends(
    old: sqlite3.Connection, table: _Table, names: str, outcome: TableOutcome
) -> Iterator[tuple[Any, ...]]:
    """For small tables with keys of text: forwards to the damage, then backwards to it."""
    for direction in ("", " DESC"):
        order = ", ".join(f"{column}{direction}" for column in table.order)
        try:
            yield from old.execute(f"SELECT {names} FROM {table.name} NOT INDEXED ORDER BY {order}")
        except UNREADABLE:
            outcome.is_complete = False
            outcome.unreadable += 1
        else:
            return


# -- judging ----------------------------------------------------------------------------------------------


def _is_sound(table: _Table, row: tuple[Any, ...], outcome: TableOutcome) -> bool:
    fits = all(
        isinstance(value, types) or (value is None and may_be_null)
        for value, (_, types, may_be_null) in zip(row, table.columns, strict=True)
    )
    named = {name: value for value, (name, _, _) in zip(row, table.columns, strict=True)}
    if fits and all(_can_be(name, value) for name, value in named.items()):
        return True
    outcome.refused += 1
    return False


def _can_be(name: str, value: Any) -> bool:
    check = _CHECKS.get(name)
    if check is None or value is None or value == "":
        return True
    try:
        return bool(check(value))
    except (ValueError, KeyError, TypeError, IndexError, ArithmeticError):
        return False


def _reads(reader: Callable[[Any], object]) -> Callable[[Any], bool]:
    return lambda value: reader(value) is not NotImplemented


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "status": lambda value: Status(value) is not Status.UNSPECIFIED,
    "price_status": _reads(PriceStatus),
    "tags": lambda value: isinstance(json.loads(value), dict),
    "graph": lambda value: {"nodes", "edges"} <= json.loads(value).keys(),
    "repriced": lambda value: isinstance(json.loads(value), dict),
    "bottleneck_info": lambda value: isinstance(json.loads(value), dict),
    "times": lambda value: isinstance(json.loads(value), dict),
    "card": lambda value: isinstance(json.loads(value), dict),
    "sketch": _reads(LatencySketch.from_bytes),
    "duration": _reads(LatencySketch.from_bytes),
    "first_token": _reads(LatencySketch.from_bytes),
    "producer_id": lambda value: len(value) == limits.PRODUCER_ID_BYTES,
    "duration_ns": lambda value: value >= 0,
    "total_ns": lambda value: value >= 0,
    "calls": lambda value: value >= 0,
    "call_index": lambda value: value > 0,
}


# -- putting right ----------------------------------------------------------------------------------------

_NAMED_IN = {
    "runs": ("experiment", "workflow"),
    "node_executions": ("node", "error_type"),
    "llm_calls": ("node", "provider", "model"),
    "open_nodes": ("node",),
    "node_totals": ("node",),
    "call_totals": ("node", "provider", "model"),
    "model_times": ("provider", "model"),
    "call_groups": ("node", "provider", "model"),
    "cache_totals": ("node", "provider", "model"),
}

_OF_RUNS = (
    "node_executions", "llm_calls", "run_events", "node_totals", "call_totals", "model_times",
    "call_groups", "cache_totals",
)  # fmt: skip

_LOST_NAMES = """
INSERT OR IGNORE INTO names (id, name) SELECT DISTINCT {column}, '(lost ' || {column} || ')' FROM {table}
WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT id FROM names)
"""

_LOST_RUNS = f"""
INSERT OR IGNORE INTO runs (id, run_id, experiment, workflow, producer, status, started_unix_ns,
    last_event_unix_ns, last_received_unix_ns)
SELECT DISTINCT t.run, 'lost-' || t.run, :name, :name, :producer, {int(Status.INTERRUPTED)}, 0, 0, 0
FROM {{table}} t WHERE t.run NOT IN (SELECT id FROM runs)
"""


def _put_stand_ins(new: sqlite3.Connection) -> int:
    before = new.total_changes
    for table, columns in _NAMED_IN.items():
        for column in columns:
            new.execute(_LOST_NAMES.format(table=table, column=column))
    lost_runs = any(
        new.execute(f"SELECT 1 FROM {table} WHERE run NOT IN (SELECT id FROM runs) LIMIT 1").fetchone()
        for table in _OF_RUNS
    )
    if lost_runs:
        _put_lost_runs(new)
    new.execute(
        "INSERT OR IGNORE INTO producers (id, producer_id, next_sequence, last_seen_unix_ns)"
        " SELECT DISTINCT producer, randomblob(16), 0, 0 FROM runs"
        " WHERE producer NOT IN (SELECT id FROM producers)"
    )
    new.execute("UPDATE llm_calls SET rate_card = NULL WHERE rate_card NOT IN (SELECT id FROM rate_cards)")
    return new.total_changes - before


def _put_lost_runs(new: sqlite3.Connection) -> None:
    new.execute("INSERT OR IGNORE INTO names (name) VALUES (?)", (LOST_NAME,))
    [name] = new.execute("SELECT id FROM names WHERE name = ?", (LOST_NAME,)).fetchone()
    [producer] = new.execute(
        "INSERT INTO producers (producer_id, next_sequence, last_seen_unix_ns)"
        " VALUES (randomblob(16), 0, 0) RETURNING id"
    ).fetchone()
    for table in _OF_RUNS:
        new.execute(_LOST_RUNS.format(table=table), {"name": name, "producer": producer})
    new.execute(
        "UPDATE runs SET started_unix_ns = coalesce((SELECT min(started_unix_ns) FROM node_executions x"
        " WHERE x.run = runs.id), (SELECT min(started_unix_ns) FROM llm_calls c WHERE c.run = runs.id), 0)"
        " WHERE experiment = ? AND run_id = 'lost-' || id",
        (name,),
    )
    new.execute("UPDATE runs SET last_event_unix_ns = started_unix_ns WHERE run_id = 'lost-' || id")


_ROWS_OF_RUNS = """
SELECT r.id, r.events, r.node_executions, coalesce(x.rows, 0), coalesce(x.total_ns, 0),
    coalesce(c.rows, 0) + coalesce(v.rows, 0), coalesce(c.counted, 0), coalesce(c.cost_nanos, 0),
    coalesce(n.calls, 0), coalesce(n.total_ns, 0), coalesce(t.calls, 0), coalesce(t.cost_nanos, 0),
    r.run_id = 'lost-' || r.id
FROM runs r
LEFT JOIN (SELECT run, COUNT(*) AS rows, TOTAL(duration_ns) AS total_ns FROM node_executions GROUP BY run) x
    ON x.run = r.id
LEFT JOIN (SELECT run, COUNT(*) AS rows, SUM(counted <> 0) AS counted,
    TOTAL(CASE WHEN counted THEN cost_nanos END) AS cost_nanos FROM llm_calls GROUP BY run) c ON c.run = r.id
LEFT JOIN (SELECT run, COUNT(*) AS rows FROM run_events GROUP BY run) v ON v.run = r.id
LEFT JOIN (SELECT run, SUM(calls) AS calls, TOTAL(total_ns) AS total_ns FROM node_totals GROUP BY run) n
    ON n.run = r.id
LEFT JOIN (SELECT run, SUM(calls) AS calls, TOTAL(cost_nanos) AS cost_nanos FROM call_totals GROUP BY run) t
    ON t.run = r.id
WHERE r.retired_seq = 0
"""

_RECOUNT_NODES = """
INSERT INTO node_totals (run, node, calls, errors, total_ns, max_ns)
SELECT run, node, COUNT(*), SUM(status <> 1), CAST(min(9223372036854775807, TOTAL(duration_ns)) AS INTEGER),
    MAX(duration_ns)
FROM node_executions WHERE run = ? GROUP BY node
"""

_ADD_CALL_TOTALS = f"INSERT INTO call_totals VALUES ({','.join('?' * 25)})"

_HIGHEST_SEQ = """
SELECT max(coalesce((SELECT max(seq) FROM node_executions), 0), coalesce((SELECT max(seq) FROM llm_calls), 0),
    coalesce((SELECT max(seq) FROM run_events), 0), coalesce((SELECT max(cursor) FROM exporters), 0),
    coalesce((SELECT sum(events) FROM runs), 0))
"""

_SET_COUNTER = "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = {value}"


def _settle_runs(new: sqlite3.Connection, found: Salvage) -> None:
    """Totals that do not agree with the rows are made again from them, where all of them are there."""
    for row in new.execute(_ROWS_OF_RUNS).fetchall():
        run, events, executions, rows, total_ns, others, counted, cost_nanos, *totals, is_stand_in = row
        lost = max(0, events - rows - others)
        found.rows_lost += lost
        agrees = totals == [rows, total_ns, counted, cost_nanos]
        if lost or is_stand_in or not agrees or events != rows + others:
            found.runs_doubtful += 1
            if not lost or is_stand_in or totals[0] < executions or totals[2] < counted:
                _recount(new, run, rows, rows + others)


def _recount(new: sqlite3.Connection, run: int, executions: int, events: int) -> None:
    """The profile is made again by the daemon."""
    new.execute("DELETE FROM node_totals WHERE run = ?", (run,))
    new.execute("DELETE FROM call_totals WHERE run = ?", (run,))
    new.execute(_RECOUNT_NODES, (run,))
    parameters = {"experiment": None, "run_first": run, "run_last": run, "since": -_INTEGER_MAX}
    totals: dict[tuple[str, str, str], list[CallTotals]] = {}
    for part in parts(new, parameters, classes=False):
        totals.setdefault((part.key.node, part.key.provider, part.key.model), []).append(part.totals)
    ids = dict(new.execute("SELECT name, id FROM names"))
    rows = [
        (run, *(ids[name] for name in key), *figures_of(sum_totals(some))) for key, some in totals.items()
    ]
    new.executemany(_ADD_CALL_TOTALS, rows)
    new.execute(
        "UPDATE runs SET events = max(events, ?), node_executions = max(node_executions, ?),"
        " profiled_events = -1 WHERE id = ?",
        (events, executions, run),
    )


def _settle_counters(new: sqlite3.Connection) -> None:
    """No number of an event or of a run is ever used twice, also where the last ones are lost."""
    [highest] = new.execute(_HIGHEST_SEQ).fetchone()
    new.execute(_SET_COUNTER.format(value="max(value, excluded.value)"), ("events_committed", highest))
    [run] = new.execute(
        "SELECT max(coalesce((SELECT max(id) FROM runs), 0),"
        " coalesce((SELECT max(run) FROM exported_runs), 0))"
    ).fetchone()
    new.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'runs'", (run,))


def note_repair(new: sqlite3.Connection, found: Salvage, at_unix_ns: int) -> None:
    """Has every report say that the ledger was repaired, and what that cost."""
    figures = {
        "repaired_unix_ns": at_unix_ns,
        "repair_rows_lost": found.rows_lost,
        "repair_runs_doubtful": found.runs_doubtful,
        "repair_stand_ins": found.stand_ins,
    }
    new.executemany(_SET_COUNTER.format(value="excluded.value"), list(figures.items()))
