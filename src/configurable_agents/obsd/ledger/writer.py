"""Commits to the SQLite ledger. Everything acknowledged has passed through `SqliteLedger.commit`."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from configurable_agents.errors import LedgerBusyError, LedgerError, LedgerFullError, RecordRefusedError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import (
    dead_letters,
    profile_blocks,
    profile_store,
    purging,
    repricing,
    retention,
)
from configurable_agents.obsd.ledger.bulk import BulkWrite
from configurable_agents.obsd.ledger.calls import (
    CallKey,
    CountedCall,
    call_row,
    counted_report,
    figures_of,
    signed,
    totals_of,
)
from configurable_agents.obsd.ledger.damage import seal
from configurable_agents.obsd.ledger.database import BUSY_TIMEOUT_MS, check, open_for_writing
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.obsd.ledger.execution_rows import ExecutionRows, Row
from configurable_agents.obsd.ledger.names import Names
from configurable_agents.obsd.ledger.repricing import Repriced
from configurable_agents.obsd.ledger.retention import Backlog, RetiredRun
from configurable_agents.obsd.profiles import MadeProfile, ProfileBlock
from configurable_agents.obsd.records import (
    Acknowledgement,
    Batch,
    Committed,
    Pricer,
    Refusal,
    UnfinishedRun,
)
from configurable_agents.observability.cost_estimator import Price
from configurable_agents.observability.cost_summary import NO_CALLS, CallTotals, sum_totals
from configurable_agents.observability.merging import identifies_call, precedence_of
from configurable_agents.observability.price_table import RateCard
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import (
    OTHER_NAME,
    Event,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
)
from configurable_agents.wire.account_records import DeadLetterFilter
from configurable_agents.wire.blocks import ExecutionBlock, joined, one_by_one, parts_of

_log = logging.getLogger(__name__)

RUN_STARTED, RUN_FINISHED, RUN_INTERRUPTED = 1, 2, 3
"""`run_events.kind`."""

_INSERT_CALLS = BulkWrite("INSERT INTO llm_calls", width=36)
_INSERT_RUN_EVENT = "INSERT INTO run_events VALUES (?,?,?)"
_INSERT_OPEN_NODE = f"""
INSERT OR IGNORE INTO open_nodes SELECT id, ?, ?, ?, ?, ? FROM runs
WHERE id = ? AND status = {int(Status.RUNNING)}
"""
_DELETE_OPEN_NODE = "DELETE FROM open_nodes WHERE run = ? AND span_id = ?"
_CLOSE_FINISHED_BEFORE = """
DELETE FROM open_nodes WHERE (run, span_id) IN (SELECT run, span_id FROM node_executions WHERE seq > ?)
"""
"""A node that ends while it is being announced is told of in the wrong order."""

_ADD_NODE_TOTALS = BulkWrite(
    "INSERT INTO node_totals (run, node, calls, errors, total_ns, max_ns)",
    width=6,
    after="""ON CONFLICT (run, node) DO UPDATE SET
    calls = calls + excluded.calls, errors = errors + excluded.errors,
    total_ns = min(9223372036854775807, total_ns + excluded.total_ns), max_ns = max(max_ns, excluded.max_ns)
""",
)

_CALL_TOTAL_COLUMNS = (
    "calls", "cost_nanos",
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "web_searches",
    "priced_calls", "stated_calls", "free_calls", "unpriced_calls", "no_usage_calls", "unpriced_tokens",
    "failed_calls", "stated_tokens", "free_tokens", "merged_calls",
)  # fmt: skip
_ADD_CALL_TOTALS = f"""
INSERT INTO call_totals VALUES ({",".join("?" * (4 + len(_CALL_TOTAL_COLUMNS)))})
ON CONFLICT (run, node, provider, model) DO UPDATE SET
    {
    ", ".join(
        f"{column} = min(9223372036854775807, {column} + excluded.{column})" for column in _CALL_TOTAL_COLUMNS
    )
}
"""

_DELETE_EMPTY_CALL_TOTALS = """
DELETE FROM call_totals
WHERE run = ? AND node = ? AND provider = ? AND model = ? AND calls = 0 AND merged_calls = 0
"""

_NOT_COUNTED = "UPDATE llm_calls SET counted = 0 WHERE seq = ?"

_ADD_TO_RUNS = BulkWrite(
    """UPDATE runs SET events = events + added.column2, node_executions = node_executions + added.column3,
    last_event_unix_ns = max(last_event_unix_ns, added.column4), last_received_unix_ns = added.column5
FROM (""",
    width=5,
    after=") AS added WHERE id = added.column1",
)

_INSERT_RUN = """
INSERT INTO runs (run_id, experiment, workflow, producer, status, started_unix_ns, last_event_unix_ns,
    last_received_unix_ns)
VALUES (?,?,?,?,?,?,?,?)
"""

_START_RUN = f"""
UPDATE runs SET experiment = ?, workflow = ?, producer = ?, started_unix_ns = ?, tags = ?, graph = ?,
    attach_mlflow_run_id = ?,
    finished_unix_ns = CASE status WHEN {int(Status.INTERRUPTED)} THEN NULL ELSE finished_unix_ns END,
    duration_ns = CASE status WHEN {int(Status.INTERRUPTED)} THEN NULL ELSE duration_ns END,
    status = CASE status WHEN {int(Status.INTERRUPTED)} THEN {int(Status.RUNNING)} ELSE status END
WHERE id = ?
"""
"""A run that a forked child told of first may have been given up when the child ended: it was not over."""

_FINISH_RUN = """
UPDATE runs SET status = ?, finished_unix_ns = ?, duration_ns = ?, error_type = ? WHERE id = ?
"""

_SAVE_PRODUCER = """
UPDATE producers SET next_sequence = ?, events_missing = events_missing + ?, last_seen_unix_ns = ?
WHERE id = ?
"""

_ADD_TO_COUNTER = """
INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value
"""

_SAVE_CURSOR = """
INSERT INTO exporters VALUES (?,?,?) ON CONFLICT (name) DO UPDATE SET
    cursor = max(cursor, excluded.cursor), last_success_unix_ns = excluded.last_success_unix_ns
"""

_FORGET_PURGED = "DELETE FROM purged_ahead WHERE seq <= (SELECT min(cursor) FROM exporters)"

_SAVE_EXPORTED_RUN = """
INSERT INTO exported_runs VALUES (?,?,?,?) ON CONFLICT (exporter, run) DO UPDATE SET
    foreign_id = excluded.foreign_id, final_events = max(final_events, excluded.final_events)
"""

_LAST_SEQ = "SELECT coalesce((SELECT value FROM counters WHERE name = 'events_committed'), 0)"
"""Not the highest number that is still there: rows are removed, and a number must never be used again."""

_UNFINISHED = f"""
SELECT r.run_id, p.producer_id, r.status, r.last_received_unix_ns, r.node_executions
FROM runs r JOIN producers p ON p.id = r.producer
WHERE r.status = {int(Status.RUNNING)} OR r.profiled_events <> r.events
ORDER BY r.last_received_unix_ns LIMIT ?
"""


class SqliteLedger:
    """The writing side of the ledger (see `records.Ledger`). For one thread at a time.

    Each public method is one transaction. When one fails, everything held in memory is forgotten and
    read again from the file, so memory can never run ahead of the disk.
    """

    def __init__(self, path: Path, pricer: Pricer) -> None:
        self._path = path
        self.checked = check(path)
        """How far the ledger was looked through for damage."""
        self.is_trusted = True
        """False after an error that speaks against the file: then it is not sealed when it is closed."""
        self._connection = open_for_writing(path)
        self.names = Names(self._connection)
        self._pricer = pricer
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; SQLite then folds the write-ahead log into it."""
        self._connection.close()
        if self.is_trusted:
            try:
                seal(self._path)
            except OSError as error:
                _log.warning("the ledger gets no checksum: %s", error)

    def commit(self, batches: Sequence[Batch]) -> Committed:
        """Takes in batches of any producers; duplicates are recognised. Durable when it returns."""
        with _Transaction(self):
            change = _Change(self)
            for batch in batches:
                change.take(batch)
            change.write()
        return change.outcome

    def store_profiles(self, made: Sequence[MadeProfile]) -> list[int]:
        """Keeps the profiles of runs that are over. Returns the rows of the runs."""
        stored: list[int] = []
        with _Transaction(self):
            for run_id, profile, events in made:
                row = self._connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
                if row is not None:
                    profile_store.store(self._connection, row[0], profile, events, self.name_id)
                    stored.append(row[0])
        return stored

    def store_profile_blocks(self, blocks: Sequence[ProfileBlock]) -> None:
        """Keeps what runs add up to, for reports over many of them."""
        with _Transaction(self):
            for block in blocks:
                profile_blocks.store(self._connection, block, self.name_id)

    def mark_interrupted(self, run_ids: Sequence[str]) -> list[str]:
        """Ends runs whose process is gone and that never said so. Returns those that were in flight."""
        ended: list[str] = []
        with _Transaction(self):
            for run_id in run_ids:
                changed = self._connection.execute(
                    "UPDATE runs SET status = ?, finished_unix_ns = last_event_unix_ns,"
                    " duration_ns = max(0, last_event_unix_ns - started_unix_ns), events = events + 1"
                    " WHERE run_id = ? AND status = ? RETURNING id",
                    (Status.INTERRUPTED, run_id, Status.RUNNING),
                ).fetchone()
                if changed is not None:
                    self._connection.execute(
                        _INSERT_RUN_EVENT, (self.next_seq(), changed[0], RUN_INTERRUPTED)
                    )
                    self._connection.execute(_ADD_TO_COUNTER, ("events_committed", 1))
                    self._connection.execute("DELETE FROM open_nodes WHERE run = ?", changed)
                    ended.append(run_id)
        return ended

    def reprice(self, run: int, after_seq: int, at_unix_ns: int | None, reason: str) -> list[Repriced]:
        """Gives the next calls of a run after one the prices of now; the old ones go into their history."""
        with _Transaction(self):
            repriced = repricing.repriced_slice(
                self._connection, self._pricer, run, after_seq, at_unix_ns=at_unix_ns
            )
            repricing.write_slice(
                self._connection,
                repriced,
                reason,
                card_id=self.card_id,
                add_call_totals=partial(self.add_call_totals, emptied=()),
            )
        return repriced

    def note_repricing(self, run: int, about: dict[str, object]) -> None:
        """Has a run told of again, with what its repricing was about."""
        with _Transaction(self):
            if self._connection.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone() is None:
                return  # it was purged meanwhile
            repricing.note_run(self._connection, run, self.next_seq(), about)
            self._connection.execute(_ADD_TO_COUNTER, ("events_committed", 1))

    def backlog(self, exporter: str) -> Backlog:
        """What the exporter has not taken yet; nothing, where its name is empty."""
        return retention.backlog(self._connection, exporter)

    def retire(self, kept: RetiredRun, *, for_size: bool = False) -> bool:
        """Has a run told of by its totals from now on. False when it has changed since they were made.

        `for_size`: before its time, because the ledger is too large.
        """
        with _Transaction(self):
            retired = retention.retire(self._connection, kept, time.time_ns(), self.name_id)
            if retired and for_size:
                self._connection.execute(_ADD_TO_COUNTER, ("runs_retired_for_size", 1))
        return retired

    def remove_some_rows(self, run: int) -> int:
        """Removes some rows of a retired run. Returns how many; 0 when it has no more."""
        with _Transaction(self):
            return retention.remove_some_rows(self._connection, run, limit=limits.RETIRED_ROWS_PER_STEP)

    def remove_runs(self, runs: Sequence[int]) -> int:
        """Removes retired runs for good. Returns how many."""
        with _Transaction(self):
            removed = retention.remove_runs(self._connection, runs)
        self._forget()
        return removed

    def return_space(self) -> int:
        """Gives some free pages back to the file system. Returns how many remain."""
        with self._explained():
            return retention.return_space(self._connection, pages_max=limits.RETURNED_PAGES_PER_STEP)

    def fold_in_log(self) -> bool:
        """Folds the write-ahead log into the file and cuts it off. False while somebody reads behind it.

        It waits for nobody: commits must not wait for readers.
        """
        try:
            with self._explained():
                self._connection.execute("PRAGMA busy_timeout = 0")
                busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        return not busy

    def next_sequence(self, producer_id: bytes) -> int:
        """Everything of the producer below it is committed or refused; 0 for one never seen."""
        with self._explained():
            found = self._connection.execute(
                "SELECT next_sequence FROM producers WHERE producer_id = ?", (producer_id,)
            ).fetchone()
        return 0 if found is None else int(found[0])

    def unfinished_runs(self) -> list[UnfinishedRun]:
        """Runs in flight, and runs that are over and still want their profile; silent longest first."""
        with self._explained():
            return [
                UnfinishedRun(run_id, producer_id, Status(status), received, executions)
                for run_id, producer_id, status, received, executions in self._connection.execute(
                    _UNFINISHED, (limits.UNFINISHED_RUNS_MAX,)
                )
            ]

    def last_received_unix_ns(self) -> int | None:
        """When the last event came, by the clock of then; `None` in an empty ledger."""
        with self._explained():
            [found] = self._connection.execute("SELECT max(last_received_unix_ns) FROM runs").fetchone()
        return None if found is None else int(found)

    def exporter_state(self, exporter: str) -> tuple[int, int]:
        """Its cursor and its last success in Unix ns."""
        with self._explained():
            row = self._connection.execute(
                "SELECT cursor, last_success_unix_ns FROM exporters WHERE name = ?", (exporter,)
            ).fetchone()
        return row or (0, 0)

    def save_export(
        self,
        exporter: str,
        cursor: int,
        runs: Iterable[tuple[int, str, int]],
        set_aside: Iterable[tuple[int, int, str]],
        retried: Iterable[int] = (),
    ) -> None:
        """Remembers what the exporter's other side now has.

        That is every event up to `cursor` (it never moves back), less those set aside (seq, run, reason),
        and the dead letters in `retried` (seq); of runs, the other side's id and the run's events when it
        was exported as final, else -1.
        """
        now = time.time_ns()
        with _Transaction(self):
            write = self._connection.executemany
            write(_SAVE_CURSOR, [(exporter, cursor, now)])
            write(_SAVE_EXPORTED_RUN, [(exporter, *run) for run in runs])
            dead_letters.forget(self._connection, exporter, retried)
            dead_letters.set_aside(self._connection, exporter, set_aside, now)
            self._connection.execute(_FORGET_PURGED)

    def change_dead_letters(self, wanted: DeadLetterFilter, state: LetterState, at_unix_ns: int) -> int:
        """Has some that are set aside tried again, or dropped. Returns how many; 0: there are no more."""
        with _Transaction(self):
            return dead_letters.change_some(
                self._connection, wanted, state, at_unix_ns, limit=limits.DEAD_LETTERS_PER_STEP
            )

    def retry_whole_run(self, exporter: str, run: int, at_unix_ns: int) -> int:
        """Has every event of a run that was offered before offered again. Returns how many."""
        with _Transaction(self):
            return dead_letters.retry_whole_run(self._connection, exporter, run, at_unix_ns)

    def purge(self, run_id: str, known: purging.Unshared | None = None) -> int:
        """Removes a run that is over, with everything that is known of it. Returns how many events it had.

        Its bytes are gone from the file with the next `fold_in` that succeeds.
        """
        with _Transaction(self):
            events = purging.purge(self._connection, run_id, known)
        self._forget()
        return events

    # -- what a change needs of the ledger; within a transaction -------------------------------------

    def _forget(self) -> None:
        self.names.forget()
        self._runs: dict[str, int] = {}
        self._cards: dict[RateCard, int] = {}
        self._call_counts: dict[tuple[int, int], int] = {}
        self._counted_from: int | None = None
        """Of this run, and of those made later, all call counts are in `_call_counts`."""
        self._seq = -1

    def trim_caches(self) -> None:
        """Caches keep what is in use; at their bound they start again from the file."""
        self.names.trim()
        if len(self._runs) > limits.NAMES_CACHED_MAX:
            self._runs.clear()
        if len(self._cards) > limits.NAMES_CACHED_MAX:
            self._cards.clear()
        if len(self._call_counts) > limits.COUNTERS_CACHED_MAX:
            self._call_counts.clear()
            self._counted_from = None

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    @property
    def seq(self) -> int:
        """The number of the last event taken in."""
        if self._seq < 0:
            self._seq = int(self._connection.execute(_LAST_SEQ).fetchone()[0])
        return self._seq

    def advance(self, seq: int) -> None:
        """Numbers up to `seq` are used by the transaction at hand."""
        self._seq = seq

    def next_seq(self) -> int:
        self._seq = self.seq + 1
        return self._seq

    def name_id(self, name: str) -> int:
        return self.names.id_of(name)

    def card_id(self, card: RateCard) -> int:
        found = self._cards.get(card)
        if found is None:
            found = self._cards[card] = self._stored_card(card.to_json())
        return found

    def _stored_card(self, card: str) -> int:
        row = self._connection.execute("SELECT id FROM rate_cards WHERE card = ?", (card,)).fetchone()
        if row is None:
            row = self._connection.execute(
                "INSERT INTO rate_cards (card) VALUES (?) RETURNING id", (card,)
            ).fetchone()
        return int(row[0])

    def call_count(self, run: int, node: int) -> int:
        """How often the node has finished in the run, before the transaction at hand."""
        count = self._call_counts.get((run, node))
        if count is None:
            if self._counted_from is not None and run >= self._counted_from:
                return 0
            row = self._connection.execute(
                "SELECT calls FROM node_totals WHERE run = ? AND node = ?", (run, node)
            ).fetchone()
            count = 0 if row is None else int(row[0])
        return count

    def note_call_count(self, run: int, node: int, count: int) -> None:
        self._call_counts[run, node] = count

    def price(self, call: LlmCall) -> Price:
        return self._pricer(call)

    def counted_report(self, run: int, response_id: str) -> CountedCall | None:
        return counted_report(self._connection, run, response_id)

    def add_call_totals(self, added: Mapping[CallKey, CallTotals], *, emptied: Iterable[CallKey]) -> None:
        """Adds totals, which may be negative. Rows of `emptied` that then hold nothing are removed."""
        rows = [(*key, *_flat(totals)) for key, totals in added.items() if totals != NO_CALLS]
        self._connection.executemany(_ADD_CALL_TOTALS, rows)
        self._connection.executemany(_DELETE_EMPTY_CALL_TOTALS, emptied)

    def known_run(self, run_id: str) -> int | None:
        found = self._runs.get(run_id)
        if found is None:
            row = self._connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            if row is None:
                return None
            found = self._runs[run_id] = int(row[0])
        return found

    def insert_run(self, run_id: str, producer: int, started_unix_ns: int, received_unix_ns: int) -> int:
        """A run of which only its id is known yet."""
        nameless = self.name_id("")
        cursor = self._connection.execute(
            _INSERT_RUN,
            (
                run_id,
                nameless,
                nameless,
                producer,
                Status.RUNNING,
                started_unix_ns,
                started_unix_ns,
                received_unix_ns,
            ),
        )
        run = self._runs[run_id] = int(cursor.lastrowid or 0)
        if self._counted_from is None:
            self._counted_from = run
        self.names.begin_run(run)
        return run

    def producer(self, producer_id: bytes, received_unix_ns: int) -> tuple[int, int]:
        """The producer's row and next sequence; made when it is new."""
        row = self._connection.execute(
            "SELECT id, next_sequence FROM producers WHERE producer_id = ?", (producer_id,)
        ).fetchone()
        if row is None:
            cursor = self._connection.execute(
                "INSERT INTO producers (producer_id, next_sequence, last_seen_unix_ns) VALUES (?,0,?)",
                (producer_id, received_unix_ns),
            )
            return int(cursor.lastrowid or 0), 0
        return int(row[0]), int(row[1])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """For what is no transaction: SQLite's errors become the ledger's."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.forget_and_explain(error) from error

    def forget_and_explain(self, error: sqlite3.Error) -> LedgerError:
        self._forget()
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return LedgerFullError("the disk is full; events wait in the spools until there is room")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LedgerBusyError("another program holds the ledger; events wait in the spools meanwhile")
        self.is_trusted = False
        return LedgerError(f"the ledger cannot be used: {error} ({name})")


class _Transaction:
    """BEGIN … COMMIT; anything that goes wrong rolls back and leaves the ledger as it was."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        self._ledger.trim_caches()
        try:
            self._ledger.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._ledger.forget_and_explain(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._ledger.connection
        if error is None:
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as commit_error:
                self._roll_back()
                raise self._ledger.forget_and_explain(commit_error) from commit_error
            return
        self._roll_back()
        if isinstance(error, sqlite3.Error):
            raise self._ledger.forget_and_explain(error) from error
        self._ledger._forget()  # noqa: SLF001 - the transaction is the ledger's own

    def _roll_back(self) -> None:
        if self._ledger.connection.in_transaction:
            self._ledger.connection.execute("ROLLBACK")


class _RunDelta:
    """What a transaction adds to a run."""

    __slots__ = ("events", "last_event_unix_ns", "node_executions", "run")

    def __init__(self, run: int) -> None:
        self.run = run
        self.events = 0
        self.node_executions = 0
        self.last_event_unix_ns = 0


class _NodeDelta:
    """What a transaction adds to a node of a run."""

    __slots__ = ("calls", "calls_before", "errors", "last_event_unix_ns", "max_ns", "node", "run", "total_ns")

    def __init__(self, run: int, node: int, calls_before: int) -> None:
        self.run = run
        self.node = node
        self.calls_before = calls_before
        self.calls = calls_before
        self.errors = 0
        self.total_ns = 0
        self.max_ns = 0
        self.last_event_unix_ns = 0


class _Change:
    """One transaction being put together: rows to insert and totals to add."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.outcome = Committed()
        self._ledger = ledger
        self._received_unix_ns = time.time_ns()
        self._seq = self._seq_before = ledger.seq
        self._producers: dict[bytes, list[int]] = {}
        """Row, next sequence, missing events."""
        self._producer = 0
        self._executions = ExecutionRows()
        self._blocks: list[ExecutionBlock] = []
        """Taken, and still to be added: cheaper all at once."""
        self._calls: dict[int, list[Any]] = {}
        """By `seq`."""
        self._counted: dict[tuple[int, str], CountedCall] = {}
        """By run and response id."""
        self._outranked: list[CountedCall] = []
        """Rows of earlier transactions that count no more."""
        self._run_events: list[tuple[int, int, int]] = []
        self._opened: list[tuple[int, ...]] = []
        self._nodes: dict[tuple[str, str], _NodeDelta] = {}
        """By run id and node id: one look-up finds all that an execution adds to."""
        self._call_totals: dict[CallKey, list[CallTotals]] = {}
        """Still to be added up, which is cheaper all at once."""
        self._runs: dict[int, _RunDelta] = {}
        self._counters: dict[str, int] = {}

    def take(self, batch: Batch) -> None:
        producer = self._producers.get(batch.producer_id)
        if producer is None:
            row, known = self._ledger.producer(batch.producer_id, self._received_unix_ns)
            producer = self._producers[batch.producer_id] = [row, known, 0]
        self._producer = producer[0]
        next_sequence = producer[1]
        duplicates = min(max(0, next_sequence - batch.first_sequence), len(batch.events))
        if duplicates:
            self.outcome.duplicates += duplicates
            self._count("events_duplicate", duplicates)
        refusals = tuple(self._take_events(batch, duplicates))
        end = batch.first_sequence + len(batch.events)
        if end > next_sequence:
            producer[2] += max(0, batch.first_sequence - next_sequence)
            producer[1] = end
        self.outcome.acknowledgements.append(Acknowledgement(producer[1], refusals))

    def _take_events(self, batch: Batch, skip: int) -> Iterable[Refusal]:
        at = 0
        for part in parts_of(batch.events):
            known = min(max(0, skip - at), len(part))
            if known or not isinstance(part, ExecutionBlock) or not self._take_block(part):
                yield from self._take_one_by_one(one_by_one(part), batch.first_sequence + at, known)
            at += len(part)

    def _take_block(self, block: ExecutionBlock) -> bool:
        """Takes a block as a whole. False, and nothing is taken, where some of it must be looked at alone: a
        name that is folded, a run that was purged, a fault."""
        try:
            if self._has_folded(block):
                return False
        except sqlite3.Error:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is met again, by the execution that has it
            return False
        self._blocks.append(block)
        return True

    def _has_folded(self, block: ExecutionBlock) -> bool:
        """Whether it has a folded name, for those are counted one by one. Makes the nodes it adds to."""
        names, known = self._ledger.names, self._nodes
        folded_count = names.folded_count
        try:
            nodes = [
                known.get((run_id, node_id))
                or self._node(run_id, node_id, block.first_started_unix_ns(place))
                for place, (run_id, node_id, _) in enumerate(block.attempts)
            ]
            has_folded = names.has_other({node.node for node in nodes})
        except Exception:
            names.folded_count = folded_count
            raise
        if has_folded:
            names.folded_count = folded_count
        return has_folded

    def _add_blocks(self) -> None:
        """Those that were taken since the last other event, together."""
        if not self._blocks:
            return
        block = joined(self._blocks)
        self._blocks.clear()
        nodes = [self._nodes[run_id, node_id] for run_id, node_id, _ in block.attempts]
        groups, distinct = block.by_attempt, list(dict.fromkeys(nodes))
        if len(distinct) < len(nodes):  # a node in several attempts
            places = {node: place for place, node in enumerate(distinct)}
            groups = block.grouped([places[node] for node in nodes])
        self._executions.add_block(
            block,
            self._seq,
            groups,
            runs=[node.run for node in distinct],
            nodes=[node.node for node in distinct],
            calls_before=[node.calls for node in distinct],
        )
        for node, calls, total_ns, max_ns, ended_unix_ns in zip(
            distinct, groups.counts, groups.total_ns, groups.max_ns, groups.last_ended_unix_ns, strict=True
        ):
            node.calls += calls
            node.total_ns += total_ns
            if max_ns > node.max_ns:  # noqa: PLR1730 - as in `_take_executions`
                node.max_ns = max_ns
            if ended_unix_ns > node.last_event_unix_ns:  # noqa: PLR1730 - as above
                node.last_event_unix_ns = ended_unix_ns
        self._seq += len(block)
        self.outcome.events.add_block(block)

    def _take_one_by_one(
        self, events: Sequence[Event | RecordRefusedError], first_sequence: int, skip: int
    ) -> Iterable[Refusal]:
        self._add_blocks()
        for sequence, event in enumerate(events[:skip], first_sequence):
            if isinstance(event, RecordRefusedError):  # counted before; its sender may not have heard
                yield Refusal(sequence, event.reason)
        rows = self._executions.singles()
        remaining, at = iter(events[skip:]), skip
        while True:
            first, seq, count = at, self._seq, len(rows)
            refusal: RecordRefusedError | None = None
            try:
                other = self._take_executions(remaining, rows)
                if other is None:
                    return
                refusal = self._take_other(other)
            except sqlite3.Error:
                raise
            except RecordRefusedError as error:
                refusal = error
            except Exception:  # noqa: BLE001 - it must not take all others, and every restart, with it
                fault = first + len(rows) - count
                _log.exception("an event could not be taken in: %r", events[fault])
                refusal = RecordRefusedError("internal_error", "a fault of the daemon; its log has more")
            taken = len(rows) - count
            at = first + taken
            if refusal is not None:
                self._seq = seq + taken
                self._count(f"refused:{refusal.reason}", 1)
                yield Refusal(first_sequence + at, refusal.reason)
            at += 1

    def _take_executions(
        self, events: Iterator[Event | RecordRefusedError], rows: list[Row]
    ) -> Event | RecordRefusedError | None:
        """Takes finished executions up to the next other event, which it gives back; `None` at the end.

        One loop with everything in it: most events that are in no block pass here.
        """
        nodes, name_id, seq = self._nodes, self._ledger.name_id, self._seq
        taken: list[Event] = []
        try:
            for event in events:
                if type(event) is not NodeFinished:
                    return event
                run_id, span_id, parent_id, node_id, attempt, started_unix_ns, duration_ns, status, error = (
                    event
                )
                node = nodes.get((run_id, node_id)) or self._node(run_id, node_id, started_unix_ns)
                error_id = name_id(error) if error else None
                taken.append(event)
                seq += 1
                node.calls += 1
                node.total_ns += duration_ns
                if duration_ns > node.max_ns:  # noqa: PLR1730 - max() costs as much as all the rest
                    node.max_ns = duration_ns
                if started_unix_ns + duration_ns > node.last_event_unix_ns:  # noqa: PLR1730 - as above
                    node.last_event_unix_ns = started_unix_ns + duration_ns
                if status is not Status.OK:
                    node.errors += 1
                rows.append(
                    (
                        seq,
                        node.run,
                        node.node,
                        node.calls,
                        span_id if span_id <= bounds.INT64_MAX else span_id - _SIGN,
                        parent_id if parent_id <= bounds.INT64_MAX else parent_id - _SIGN,
                        attempt,
                        started_unix_ns,
                        duration_ns,
                        int(status),
                        error_id,
                    )
                )
        finally:
            self._seq = seq
            self.outcome.events.extend(taken)
        return None

    def _node(self, run_id: str, node_id: str, started_unix_ns: int) -> _NodeDelta:
        run = self._run(run_id, started_unix_ns)
        node = self._ledger.names.node_of(run, node_id)
        if self._ledger.names.is_other(node):
            node_id = OTHER_NAME
            known = self._nodes.get((run_id, node_id))
            if known is not None:
                return known
        delta = _NodeDelta(run, node, self._ledger.call_count(run, node))
        self._nodes[run_id, node_id] = delta
        return delta

    def _take_other(self, event: Event | RecordRefusedError) -> RecordRefusedError | None:
        """Takes any other event; a refused one is given back."""
        if isinstance(event, RecordRefusedError):
            return event
        if type(event) is LlmCall:
            self._llm_call(event)
        elif type(event) is NodeStarted:
            self._node_started(event)
        elif type(event) is RunStarted:
            self._run_started(event)
        elif type(event) is RunFinished:
            self._run_finished(event)
        self.outcome.events.extend([event])
        return None

    def _node_started(self, event: NodeStarted) -> None:
        run = self._run(event.run_id, event.started_unix_ns)
        node = self._ledger.names.node_of(run, event.node_id)
        self._opened.append(
            (
                signed(event.span_id),
                signed(event.parent_span_id),
                node,
                event.attempt,
                event.started_unix_ns,
                run,
            )
        )

    def _llm_call(self, event: LlmCall) -> None:
        ledger = self._ledger
        run = self._run(event.run_id, event.started_unix_ns)
        provider, model = ledger.names.model_of(run, event.provider, event.model)
        key = (run, ledger.names.node_of(run, event.node_id), provider, model)
        price = ledger.price(event)
        if ledger.names.is_other(model):
            event = event._replace(model_as_given=event.model_as_given or event.model)
        card = None if price.card is None else ledger.card_id(price.card)
        totals = totals_of(event, price.status, price.cost_nanos)
        seq = self._next_seq()
        row = self._calls[seq] = call_row(seq, key, event, price, card)
        if identifies_call(event.response_id, event.provider):
            row[-1] = int(self._count_once(CountedCall(seq, key, totals, event, 1)))
        else:
            self._add_call_totals(key, totals)
        self._touch(run, event.started_unix_ns + event.duration_ns)

    def _count_once(self, report: CountedCall) -> bool:
        """Adds one of possibly several reports of a response. False when another one counts instead."""
        response = (report.key[0], report.call.response_id)
        known = self._counted.get(response) or self._ledger.counted_report(*response)
        if known is None:
            self._counted[response] = report
            self._add_call_totals(report.key, report.totals)
            return True
        if precedence_of(report.call) <= precedence_of(known.call):
            self._counted[response] = known._replace(reports=known.reports + 1)
            self._add_call_totals(known.key, CallTotals(merged_calls=1))
            return False
        self._counted[response] = report._replace(reports=known.reports + 1)
        others = CallTotals(merged_calls=known.reports)
        before = known.totals.plus(CallTotals(merged_calls=known.reports - 1))
        self._add_call_totals(known.key, before.negated())
        self._add_call_totals(report.key, report.totals.plus(others))
        if known.seq in self._calls:
            self._calls[known.seq][-1] = 0
        else:
            self._outranked.append(known)
        return True

    def _add_call_totals(self, key: CallKey, totals: CallTotals) -> None:
        known = self._call_totals.get(key)
        if known is None:
            self._call_totals[key] = [totals]
        else:
            known.append(totals)

    def _run_started(self, event: RunStarted) -> None:
        ledger = self._ledger
        if ledger.known_run(event.run_id) is None:
            purging.allow_again(ledger.connection, event.run_id)
        run = self._run(event.run_id, event.started_unix_ns)
        graph = (
            None
            if event.graph is None
            else json.dumps({"nodes": event.graph.nodes, "edges": event.graph.edges})
        )
        ledger.connection.execute(
            _START_RUN,
            (
                ledger.name_id(event.experiment),
                ledger.name_id(event.workflow),
                self._producer,
                event.started_unix_ns,
                json.dumps(dict(event.tags), ensure_ascii=False),
                graph,
                event.mlflow_run_id,
                run,
            ),
        )
        self._run_events.append((self._next_seq(), run, RUN_STARTED))
        self._touch(run, event.started_unix_ns)

    def _run_finished(self, event: RunFinished) -> None:
        run = self._run(event.run_id, max(1, event.finished_unix_ns - event.duration_ns))
        self._ledger.connection.execute(
            _FINISH_RUN,
            (int(event.status), event.finished_unix_ns, event.duration_ns, event.error_type, run),
        )
        self._ledger.connection.execute("DELETE FROM open_nodes WHERE run = ?", (run,))
        self._run_events.append((self._next_seq(), run, RUN_FINISHED))
        self._touch(run, event.finished_unix_ns)

    def _run(self, run_id: str, started_unix_ns: int) -> int:
        run = self._ledger.known_run(run_id)
        if run is None:
            if purging.was_purged(self._ledger.connection, run_id):
                raise RecordRefusedError("run_purged", f"run {run_id} was purged; it does not come back")
            run = self._ledger.insert_run(run_id, self._producer, started_unix_ns, self._received_unix_ns)
        return run

    def _touch(self, run: int, at_unix_ns: int) -> None:
        delta = self._run_delta(run)
        delta.events += 1
        delta.last_event_unix_ns = max(delta.last_event_unix_ns, at_unix_ns)

    def _run_delta(self, run: int) -> _RunDelta:
        delta = self._runs.get(run)
        if delta is None:
            delta = self._runs[run] = _RunDelta(run)
        return delta

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _count(self, name: str, count: int) -> None:
        self._counters[name] = self._counters.get(name, 0) + count

    def write(self) -> None:
        """Puts everything into the open transaction."""
        self._add_blocks()
        connection = self._ledger.connection
        write = connection.executemany
        self._executions.write(connection)
        _INSERT_CALLS.write(connection, list(self._calls.values()))
        if self._outranked:
            write(_NOT_COUNTED, [(report.seq,) for report in self._outranked])
        write(_INSERT_RUN_EVENT, self._run_events)
        if self._opened:
            write(_INSERT_OPEN_NODE, self._opened)
            self._ledger.connection.execute(
                _CLOSE_FINISHED_BEFORE, (self._seq_before - limits.ANNOUNCED_LATE_EVENTS_MAX,)
            )
        if self._any_open():
            write(_DELETE_OPEN_NODE, self._executions.spans())
        _ADD_NODE_TOTALS.write(connection, sorted(map(self._settled, self._nodes.values())))
        added = {key: sum_totals(parts) for key, parts in self._call_totals.items()}
        self._ledger.add_call_totals(added, emptied=[report.key for report in self._outranked])
        self._ledger.advance(self._seq)
        self._count("events_committed", self._seq - self._seq_before)
        folded = self._ledger.names.take_folded_count()
        if folded:
            self._count("names_folded", folded)
        received = self._received_unix_ns
        _ADD_TO_RUNS.write(
            connection,
            [
                (
                    delta.run,
                    delta.events,
                    delta.node_executions,
                    min(delta.last_event_unix_ns, bounds.INT64_MAX),
                    received,
                )
                for delta in self._runs.values()
            ],
        )
        write(
            _SAVE_PRODUCER,
            [(following, missing, received, row) for row, following, missing in self._producers.values()],
        )
        write(_ADD_TO_COUNTER, list(self._counters.items()))

    def _settled(self, node: _NodeDelta) -> tuple[int, ...]:
        """What a node adds to its totals; and its run hears of it."""
        calls, total_ns = node.calls - node.calls_before, min(node.total_ns, bounds.INT64_MAX)
        self._ledger.note_call_count(node.run, node.node, node.calls)
        run = self._run_delta(node.run)
        run.events += calls
        run.node_executions += calls
        run.last_event_unix_ns = max(run.last_event_unix_ns, node.last_event_unix_ns)
        return node.run, node.node, calls, node.errors, total_ns, node.max_ns

    def _any_open(self) -> bool:
        """Nearly always there is nothing to close, and a look is cheaper than many deletions."""
        return self._ledger.connection.execute("SELECT 1 FROM open_nodes LIMIT 1").fetchone() is not None


def _flat(totals: CallTotals) -> tuple[int, ...]:
    return tuple(min(figure, bounds.INT64_MAX) for figure in figures_of(totals))


_SIGN = 1 << 64
