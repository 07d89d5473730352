"""Answers in streams: one run in detail, and what is in flight, again and again."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio

from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import accounts, queries, timeline_queries
from configurable_agents.obsd.reports import Context, DaemonGauges, Readers, scope_of, status_code
from configurable_agents.wire import timeline_messages
from configurable_agents.wire.report_records import LiveView
from configurable_agents.wire.v1 import reports_pb2, timeline_pb2_grpc
from configurable_agents.wire.v1 import timeline_pb2 as pb

_log = logging.getLogger(__name__)

T = TypeVar("T")


class TimelineServicer(timeline_pb2_grpc.TimelineServiceServicer):
    """Serves `TimelineService`. The names of its methods are the protocol's.

    gRPC holds what a client has not read, up to the window of its connection; then a write waits, and a
    client that lets one wait for `UNREAD_S` is cut off: nothing is made for it any more and nothing held, and
    it is told when it reads on. No more than one update is ever made ahead. Until it is told it counts among
    the `ANSWER_STREAMS_MAX`, because its call does among gRPC's.
    """

    def __init__(self, readers: Readers, gauges: DaemonGauges) -> None:
        self._readers = readers
        self._gauges = gauges
        self._drawing = asyncio.Semaphore(limits.TIMELINES_MAX)
        self._streams = 0
        self._stopping = asyncio.Event()

    def stop_watching(self) -> None:
        """Live views end: by themselves they never would, and the stop of the daemon would wait for them."""
        self._stopping.set()

    async def GetTimeline(self, request: reports_pb2.Scope, context: Context) -> None:
        async with self._stream(context):
            await self._timeline(request, context)

    async def Watch(self, request: pb.WatchRequest, context: Context) -> None:
        async with self._stream(context):
            await self._watch(request, context)

    async def GetHistory(self, request: pb.HistoryRequest, context: Context) -> Any:
        question = partial(
            timeline_queries.past_runs,
            scope=scope_of(request.scope),
            limit=request.limit,
            before_unix_ns=request.before_unix_ns,
        )
        runs = await self._answer(context, question)
        return pb.History(runs=[timeline_messages.past_run_to_message(run) for run in runs])

    @asynccontextmanager
    async def _stream(self, context: Context) -> AsyncIterator[None]:
        if self._streams >= limits.ANSWER_STREAMS_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._streams} timelines and live views are being answered; close some",
            )
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _timeline(self, request: reports_pb2.Scope, context: Context) -> None:
        def parts(connection: sqlite3.Connection) -> Iterator[pb.TimelinePart]:
            question = timeline_queries.timeline_in_rows(connection, scope_of(request), time.time_ns())
            yield from timeline_messages.timeline_to_parts(*question)

        try:
            async with (
                self._drawing,
                asyncio.timeout(limits.TIMELINE_S_MAX),
                aclosing(self._readers.pieces(parts)) as pieces,
            ):
                async for part in pieces:
                    await _write(context, part)
        except TimeoutError:  # only now, with everything given back: the status waits behind what is unread
            _log.warning("a client that asked for a timeline and did not read it is cut off")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the timeline was not read in time")
        except AgentsObsError as error:
            await context.abort(status_code(error), str(error))

    async def _watch(self, request: pb.WatchRequest, context: Context) -> None:
        every_s = max(request.every_ms or limits.WATCH_EVERY_MS, limits.WATCH_EVERY_MS_MIN) / 1000
        try:
            while not (context.done() or self._stopping.is_set()):
                await _write(context, timeline_messages.live_view_to_message(await self._view(context)))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), every_s)
        except TimeoutError:
            message = f"nothing was read for {limits.UNREAD_S:g} s"
            _log.warning("a client that watches is cut off: %s", message)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        if self._stopping.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping")

    async def _view(self, context: Context) -> LiveView:
        exporters = self._gauges.exporters()

        def look(connection: sqlite3.Connection) -> LiveView:
            counts = queries.counts(connection)
            return LiveView(
                time.time_ns(),
                tuple(timeline_queries.live_runs(connection)),
                counts.runs_live,
                counts.events_committed,
                self._gauges.intake.events_pending,
                timeline_queries.known_cost(connection),
                tuple(accounts.with_accounts(connection, each) for each in exporters),
            )

        return await self._answer(context, look)

    async def _answer(self, context: Context, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._readers.ask(question)
        except AgentsObsError as error:
            await context.abort(status_code(error), str(error))
            raise


async def _write(context: Context, message: Any) -> None:
    """Raises `TimeoutError` when the client does not read."""
    async with asyncio.timeout(limits.UNREAD_S):
        await context.write(message)


def add_timelines(servicer: TimelineServicer, server: grpc.aio.Server) -> None:
    timeline_pb2_grpc.add_TimelineServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
