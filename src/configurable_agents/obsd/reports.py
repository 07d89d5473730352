"""Answers to people and programs. A handler resolves nothing itself: it asks the ledger, in a thread."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import grpc
import grpc.aio

from configurable_agents.client.home import Home
from configurable_agents.errors import (
    AgentsObsError,
    InvalidValueError,
    LedgerBusyError,
    LedgerError,
    LedgerFullError,
    NotFoundError,
)
from configurable_agents.obsd import limits
from configurable_agents.obsd.disk import file_bytes, files_of
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.ledger import accounts, cache_queries, call_queries, cost_groups, queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.runtime.profile_report import NodeProfile
from configurable_agents.telemetry import Status, WorkflowRunRecord
from configurable_agents.version import __version__
from configurable_agents.wire import cost_messages, report_messages
from configurable_agents.wire.report_records import NOTE_KEY, ExporterStatus, PartStatus, Scope, StorageStatus
from configurable_agents.wire.v1 import reports_pb2 as pb
from configurable_agents.wire.v1 import reports_pb2_grpc

T = TypeVar("T")
NS_PER_S = 1_000_000_000

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


_STEPS_BETWEEN_LOOKS = 100_000
"""Of SQLite's machine, between two looks at the clock: some milliseconds."""

LEAVE_S = 1.0
"""What a question that was given up gets to end, when the daemon stops."""


class Readers:
    """Reading connections of the ledger, used again, at most `REPORT_READERS_MAX` at a time."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        self._limiter = anyio.CapacityLimiter(limits.REPORT_READERS_MAX)
        self.long_run = threading.Lock()
        """Whose turn it is to look at all of a long run; for threads."""

    async def ask(
        self, question: Callable[[sqlite3.Connection], T], *, patience_s: float = limits.REPORT_S_MAX
    ) -> T:
        """Runs a query function in a thread, on one consistent look at the ledger.

        A caller that is cancelled leaves at once; its question is given up soon after, and has its place
        among the readers until then. Raises `LedgerError` as well when it takes longer than `patience_s`.
        """
        patience = _Patience(patience_s)
        answer = asyncio.ensure_future(
            anyio.to_thread.run_sync(self._ask, question, patience, limiter=self._limiter)
        )
        answer.add_done_callback(_look_at)
        try:
            return await asyncio.shield(answer)
        finally:
            patience.end()

    async def pieces(self, question: Callable[[sqlite3.Connection], Iterator[T]]) -> AsyncGenerator[T, None]:
        """The answer piece by piece, on one consistent look. No piece is made before it is asked for.

        Close it (`aclosing`): until then it keeps its connection and its look.
        """
        found = _Pieces(self._pieces(question))
        try:
            while (piece := await anyio.to_thread.run_sync(found.next, limiter=self._limiter)) is not None:
                yield piece
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(found.close)

    def _ask(self, question: Callable[[sqlite3.Connection], T], patience: _Patience) -> T:
        patience.begin()
        with self._looking(patience) as connection:
            return question(connection)

    def _pieces(self, question: Callable[[sqlite3.Connection], Iterator[T]]) -> Generator[T, None, None]:
        with self._looking(_Patience(math.inf)) as connection:
            yield from question(connection)

    @contextmanager
    def _looking(self, patience: _Patience) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.set_progress_handler(patience.is_over, _STEPS_BETWEEN_LOOKS)
        try:
            with queries.snapshot(connection):
                yield connection
        except sqlite3.Error as error:
            connection.close()  # whatever state it was left in, no other question gets it
            raise _explained(error, patience) from error
        except BaseException:
            self._give_back(connection)
            raise
        self._give_back(connection)

    def _connection(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return open_for_reading(self._ledger)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._is_closed:
            self.close()

    async def leave(self) -> None:
        """For good: waits for questions that were given up, `LEAVE_S` at most, and closes all."""
        with anyio.move_on_after(LEAVE_S):
            for _ in range(limits.REPORT_READERS_MAX):
                await self._limiter.acquire_on_behalf_of(object())
        self.close()

    def close(self) -> None:
        """Those in use are closed when they are done."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()


class _Patience:
    """How long a question to the ledger may take. Asked by its thread, ended by who waits for it."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._until_s = math.inf
        self._is_over = False

    def begin(self) -> None:
        """What is waited for a reader does not count."""
        self._until_s = time.monotonic() + self.patience_s

    def end(self) -> None:
        self._is_over = True

    def is_over(self) -> bool:
        return self._is_over or time.monotonic() > self._until_s


def _look_at(answer: asyncio.Future[Any]) -> None:
    """One that nobody waits for any more may have failed without a word."""
    if not answer.cancelled():
        answer.exception()


def _explained(error: sqlite3.Error, patience: _Patience) -> LedgerError:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_INTERRUPT":
        return LedgerError(f"the answer takes longer than {patience.patience_s:g} s; a narrower scope may do")
    if name == "SQLITE_FULL":
        return LedgerFullError("the disk has no room for what the answer is made from; make room")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerBusyError("another program holds the ledger; try again when it is done")
    return LedgerError(f"the ledger cannot answer: {error}")


class _Pieces(Generic[T]):
    """A generator that threads take turns with: one that was given up may still be in it."""

    def __init__(self, generator: Generator[T, None, None]) -> None:
        self._generator = generator
        self._turn = threading.Lock()

    def next(self) -> T | None:
        """`None` at the end."""
        with self._turn:
            return next(self._generator, None)

    def close(self) -> None:
        with self._turn:
            self._generator.close()


@dataclass(frozen=True, slots=True)
class DaemonGauges:
    """What only the running daemon knows of itself."""

    home: Home
    producers_connected: Callable[[], int]
    spool_bytes: Callable[[], int]
    exporters: Callable[[], list[ExporterStatus]]
    """Without their accounts, which are in the ledger."""
    prices_problem: Callable[[], str]
    """Reads a file."""
    parts: Callable[[], list[PartStatus]]
    intake: Intake
    storage: Callable[[sqlite3.Connection], StorageStatus] = lambda _: StorageStatus()
    """Without what the ledger itself counts."""
    started_unix_ns: int = field(default_factory=time.time_ns)


class ReportServicer(reports_pb2_grpc.ReportServiceServicer):
    """Serves `ReportService`. The names of its methods are the protocol's."""

    def __init__(
        self,
        readers: Readers,
        live: LiveRuns,
        gauges: DaemonGauges,
        *,
        profiles_settled: Callable[[], Awaitable[None]],
    ) -> None:
        """`profiles_settled` waits for the profiles that are being made."""
        self._readers = readers
        self._live = live
        self._gauges = gauges
        self._profiles_settled = profiles_settled

    async def GetCostReport(self, request: pb.Scope, context: Context) -> Any:
        scope = scope_of(request)

        def ask(connection: sqlite3.Connection) -> pb.CostSummary:
            return cost_messages.cost_summary_to_message(cost_groups.cost_with_wasted(connection, scope))

        return await self._answer(context, ask)

    async def GetGroupedCosts(self, request: pb.GroupRequest, context: Context) -> Any:
        scope = scope_of(request.scope)

        def ask(connection: sqlite3.Connection) -> pb.GroupedCosts:
            found = cost_groups.grouped_costs(
                connection, scope, request.by, sort=request.sort or "cost", top=request.top
            )
            return cost_messages.grouped_costs_to_message(found)

        return await self._answer(context, ask)

    async def GetProfileReport(self, request: pb.Scope, context: Context) -> Any:
        scope = scope_of(request)
        if await self._answer(context, partial(queries.waits_for_profile, scope=scope)):
            await self._profiles_settled()

        def ask(connection: sqlite3.Connection) -> pb.ProfileReport:
            found = queries.profile_report(connection, scope, self._live_nodes, self._readers.long_run)
            return report_messages.profile_report_to_message(found)

        return await self._answer(context, ask)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> Any:
        scope = scope_of(request.scope)

        def ask(connection: sqlite3.Connection) -> pb.RunList:
            runs, matching = queries.list_runs(connection, scope, limit=request.limit)
            return pb.RunList(
                runs=[report_messages.run_to_message(self._with_live_bottlenecks(run)) for run in runs],
                matching=matching,
            )

        return await self._answer(context, ask)

    async def GetCacheReport(self, request: pb.Scope, context: Context) -> Any:
        scope = scope_of(request)
        return await self._answer(
            context,
            lambda connection: cost_messages.cache_report_to_message(
                cache_queries.cache_report(connection, scope)
            ),
        )

    async def ExplainCalls(self, request: pb.ExplainRequest, context: Context) -> Any:
        scope = scope_of(request.scope)

        def ask(connection: sqlite3.Connection) -> pb.ReceiptList:
            found = call_queries.receipts(connection, scope, request.call_id, limit=request.limit)
            return pb.ReceiptList(receipts=[cost_messages.receipt_to_message(each) for each in found])

        return await self._answer(context, ask, note=partial(call_queries.note, scope=scope))

    async def GetStatus(self, _request: pb.StatusRequest, context: Context) -> Any:
        gauges = self._gauges
        look = partial(self._look, exporters=gauges.exporters())
        try:
            looked_at, storage = await self._readers.ask(look)
        except AgentsObsError as error:
            await context.abort(status_code(error), str(error))
            raise
        counts, exporters = looked_at.counts, looked_at.exporters
        return pb.DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            started_unix_ns=gauges.started_unix_ns,
            home=str(gauges.home.folder),
            address=gauges.home.address,
            events_committed=counts.events_committed,
            events_duplicate=counts.events_duplicate,
            events_refused=counts.events_refused,
            events_pending=gauges.intake.events_pending,
            bytes_pending=gauges.intake.bytes_pending,
            oldest_pending_ns=int(gauges.intake.oldest_pending_s * NS_PER_S),
            events_acknowledged=gauges.intake.events_acknowledged,
            commit_p50_ns=_in_ns(gauges.intake.commit_s(50)),
            commit_p99_ns=_in_ns(gauges.intake.commit_s(99)),
            parts=[report_messages.part_to_message(part) for part in gauges.parts()],
            names_folded=counts.names_folded,
            events_kept=looked_at.events_kept,
            events_purged=counts.events_purged,
            events_removed=counts.events_removed,
            runs_live=counts.runs_live,
            runs_total=counts.runs_total,
            ledger_bytes=await anyio.to_thread.run_sync(_ledger_bytes, gauges.home.ledger),
            spool_bytes=gauges.spool_bytes(),
            prices_problem=await anyio.to_thread.run_sync(gauges.prices_problem),
            producers_connected=gauges.producers_connected(),
            exporters=[report_messages.exporter_to_message(each) for each in exporters],
            storage=report_messages.storage_to_message(storage),
        )

    def _look(
        self, connection: sqlite3.Connection, exporters: list[ExporterStatus]
    ) -> tuple[_Look, StorageStatus]:
        found = _look(connection, exporters)
        counted = {name: getattr(found.counts, name) for name in queries.RETENTION_COUNTERS}
        return found, replace(self._gauges.storage(connection), **counted)

    async def _answer(
        self,
        context: Context,
        question: Callable[[sqlite3.Connection], T],
        *,
        note: Callable[[sqlite3.Connection], str] = lambda _: "",
    ) -> T:
        """`note` says what else the reader should know of the answer; empty: nothing."""

        def ask(connection: sqlite3.Connection) -> tuple[T, list[str]]:
            repaired = queries.repair_note(connection)
            notes = [note(connection), f"the ledger was {repaired}" if repaired else ""]
            return question(connection), list(filter(None, notes))

        try:
            answer, notes = await self._readers.ask(ask)
        except AgentsObsError as error:
            await context.abort(status_code(error), str(error))
            raise
        if notes:
            context.set_trailing_metadata(tuple((NOTE_KEY, text) for text in notes))
        return answer

    def _live_nodes(self, run_id: str) -> tuple[NodeProfile, ...] | None:
        analyzer = self._live.analyzer(run_id)
        return None if analyzer is None else analyzer.report().nodes

    def _with_live_bottlenecks(self, run: WorkflowRunRecord) -> WorkflowRunRecord:
        analyzer = self._live.analyzer(run.run_id) if run.status is Status.RUNNING else None
        if analyzer is None:
            return run
        report = analyzer.report()
        return replace(run, bottleneck_info=json.dumps(report.bottleneck_info())) if report.nodes else run


class _Look(NamedTuple):
    """What the ledger says at one moment."""

    counts: queries.LedgerCounts
    events_kept: int
    exporters: list[ExporterStatus]


def _look(connection: sqlite3.Connection, exporters: list[ExporterStatus]) -> _Look:
    return _Look(
        queries.counts(connection),
        accounts.events_kept(connection),
        [accounts.with_accounts(connection, each) for each in exporters],
    )


def _in_ns(duration_s: float | None) -> int | None:
    return None if duration_s is None else int(duration_s * NS_PER_S)


def add_reports(servicer: ReportServicer, server: grpc.aio.Server) -> None:
    reports_pb2_grpc.add_ReportServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]


def scope_of(message: pb.Scope) -> Scope:
    return Scope(message.experiment, message.run_id, message.since_unix_ns)


def status_code(error: AgentsObsError) -> grpc.StatusCode:
    if isinstance(error, NotFoundError):
        return grpc.StatusCode.NOT_FOUND
    if isinstance(error, InvalidValueError):
        return grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.INTERNAL


def _ledger_bytes(ledger: Path) -> int:
    """The file and its write-ahead log."""
    return sum(map(file_bytes, files_of(ledger)))
