"""What is fuzzed: each target takes bytes and raises when a promise is broken. Expected errors are caught."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio

from configurable_agents.client.home import Home
from configurable_agents.client.segments import HEAD_BYTES, Segment
from configurable_agents.client.spool_reader import check_end, read_chunks
from configurable_agents.core.checks import Checked, check_source
from configurable_agents.core.source import parse_source
from configurable_agents.errors import (
    AgentsObsError,
    ConfigurationError,
    RecordRefusedError,
    SpoolDamagedError,
    WireFormatError,
    WorkflowInvalidError,
)
from configurable_agents.obsd.app import WriterThread
from configurable_agents.obsd.config import FILE_NAME, load_settings
from configurable_agents.obsd.door import check, checked
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.receivers.grpc import SERVICE, TelemetryReceiver
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.user_prices import read_user_prices
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.frames import frame_end
from configurable_agents.wire.report_records import Scope
from configurable_agents.wire.v1 import telemetry_pb2 as pb

Target = Callable[[bytes], None]

ROWS = """
SELECT (SELECT COUNT(*) FROM node_executions) + (SELECT COUNT(*) FROM llm_calls)
    + (SELECT COUNT(*) FROM run_events)
"""
TOTALS = """
SELECT (SELECT COUNT(*) FROM node_executions) = (SELECT COALESCE(SUM(calls), 0) FROM node_totals),
    (SELECT COUNT(*) FROM llm_calls) = (SELECT COALESCE(SUM(calls + merged_calls), 0) FROM call_totals)
"""


def codec(data: bytes) -> None:
    """Any bytes are a batch or are none; each event is one or has a typed refusal, whoever checks it."""
    try:
        frame_end(data, 0)
    except WireFormatError as error:
        _is_one_line(error)
    try:
        decoded = decode_batch(data)
    except WireFormatError as error:
        _is_one_line(error)
        return
    together = checked(decoded.events)
    for event, verdict in zip(decoded.events, together, strict=True):
        alone = event if isinstance(event, RecordRefusedError) else check(event)
        if alone is None:
            assert verdict is event, "one by one it may enter, together with others not"
        else:
            assert isinstance(verdict, RecordRefusedError)
            assert verdict.reason == alone.reason
            _is_one_line(alone)


def spool_reader(folder: Path) -> Target:
    """Any file is read as far as it is whole, or is damaged at a place that is named."""
    segment = Segment(folder / f"{bytes(16).hex()}-{0:020d}.spool", bytes(16), 0)

    def read(data: bytes) -> None:
        segment.path.write_bytes(data)
        taken, end = 0, HEAD_BYTES
        try:
            for chunk in read_chunks(segment):
                assert chunk.first_sequence == taken
                taken, end = taken + chunk.event_count, chunk.end_offset
            check_end(segment, end)
        except SpoolDamagedError as error:
            _is_one_line(error)
            _is_true(error.offset == 0 or end <= error.offset <= len(data), error)
        else:
            assert end <= len(data)

    return read


def yaml_workflow(data: bytes) -> None:
    """Any text is a workflow or has problems that are named."""
    try:
        source = parse_source(data.decode(errors="replace"), name="workflow.yaml")
        assert isinstance(check_source(source), Checked)
    except WorkflowInvalidError as error:
        _is_one_line(error)


def settings_file(folder: Path) -> Target:
    home = Home.from_environment(folder)

    def load(data: bytes) -> None:
        (folder / FILE_NAME).write_bytes(data)
        try:
            load_settings(home)
        except ConfigurationError as error:
            _is_one_line(error)

    return load


def prices_file(folder: Path) -> Target:
    path = folder / "prices.toml"

    def load(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read_user_prices(path)
        except (AgentsObsError, ValueError) as error:
            _is_one_line(error)

    return load


class Service:
    """A real gRPC service with a real ledger behind it, in this process."""

    ANSWERS = frozenset((grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED))

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "ledger.db"

    async def run(self, drive: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]) -> None:
        """Has `drive` send messages; then looks at what the ledger has made of them."""
        async with AsyncExitStack() as stack:
            pricer = CallPricer(CostEstimator())
            ledger = stack.enter_context(SqliteLedger(self._path, pricer))
            write = WriterThread(self._fail)

            async def commit(batches: Any) -> Any:
                return await write(ledger.commit, batches)

            async def next_sequence(producer_id: bytes) -> int:
                return await write(ledger.next_sequence, producer_id)

            intake = Intake(commit, lambda _: None, next_sequence=next_sequence)
            running = asyncio.ensure_future(intake.run())
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((TelemetryReceiver(intake, Producers()).handler(),))
            address = f"unix:{self._folder}/s"
            server.add_insecure_port(address)
            await server.start()
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            call = channel.unary_unary(f"/{SERVICE}/ReportBatch", response_deserializer=pb.Ack.FromString)
            await drive(lambda data: self._send(call, data))
            await server.stop(5)
            intake.close()
            await running
        self._check_ledger()

    async def _send(self, call: Any, data: bytes) -> None:
        """Every message gets a typed answer, and each refused event of it a reason."""
        with anyio.fail_after(60):
            try:
                ack = await call(data)
            except grpc.aio.AioRpcError as error:
                _is_true(error.code() in self.ANSWERS, error)
                return
        count = len(decode_batch(data).events)
        assert len(ack.refusals) <= count
        assert all(refusal.reason not in ("", "internal_error") for refusal in ack.refusals), ack

    def _fail(self, error: Exception) -> None:
        raise AssertionError(f"the ledger must not be written to again: {error}")

    def _check_ledger(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            [(committed,)] = connection.execute(
                "SELECT COALESCE(MAX(value), 0) FROM counters WHERE name = 'events_committed'"
            ).fetchall()
            assert connection.execute(ROWS).fetchone() == (committed,), "a commit was partial"
            assert connection.execute(TOTALS).fetchone() == (1, 1), "totals are not those of the rows"
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with closing(open_for_reading(self._path)) as connection, queries.snapshot(connection):
            queries.cost_summary(connection, Scope()).to_json()
            queries.profile_report(connection, Scope()).to_json()


def targets(folder: Path) -> Mapping[str, Target]:
    """By the name of their corpus; all but the service."""
    return {
        "batches": codec,
        "spools": spool_reader(folder),
        "workflows": yaml_workflow,
        "settings": settings_file(folder),
        "prices": prices_file(folder),
    }


def _is_true(holds: bool, about: object) -> None:
    assert holds, about


def _is_one_line(error: Exception) -> None:
    text = str(error)
    assert text
    assert "\n" not in text
    with suppress(UnicodeEncodeError):
        text.encode()
