"""The daemon, put together. Reads from top to bottom like the picture in docs/architecture.md."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.abc
import anyio.to_thread
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from configurable_agents.client.home import Home, ensure_private_folder
from configurable_agents.errors import AlreadyRunningError, DaemonStartError, LedgerError, LedgerNotNowError
from configurable_agents.obsd import limits
from configurable_agents.obsd.accounts import AccountsServicer, add_accounts
from configurable_agents.obsd.completion import to_its_end
from configurable_agents.obsd.config import FILE_NAME, Settings, load_settings
from configurable_agents.obsd.dead_letters import DeadLetterOffice
from configurable_agents.obsd.disk import DiskGuard
from configurable_agents.obsd.exporters.supervisor import NAME as EXPORTER_NAME
from configurable_agents.obsd.exporters.supervisor import ExportSupervisor
from configurable_agents.obsd.intake import Intake
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.retention import backlog
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.lifecycle import RunKeeper
from configurable_agents.obsd.lock import owning
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.producers import Producers
from configurable_agents.obsd.progress import EXPORTER_STUCK_AFTER_S, Part, ProgressWatch
from configurable_agents.obsd.purging import Purger
from configurable_agents.obsd.receivers.grpc import TelemetryReceiver
from configurable_agents.obsd.receivers.spool import SpoolReceiver
from configurable_agents.obsd.records import Batch, Committed
from configurable_agents.obsd.repair import begin_afresh
from configurable_agents.obsd.reports import DaemonGauges, Readers, ReportServicer, add_reports
from configurable_agents.obsd.repricing import Repricer, RepricingServicer, add_repricing
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.obsd.steady_clock import SteadyClock
from configurable_agents.obsd.storage_policy import StoragePolicy, storage_policy
from configurable_agents.obsd.timelines import TimelineServicer, add_timelines
from configurable_agents.obsd.upkeep import Upkeep
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.wire.report_records import StorageStatus
from configurable_agents.wire.v1 import accounts_pb2, reports_pb2, repricing_pb2, telemetry_pb2, timeline_pb2

_log = logging.getLogger(__name__)

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

SOCKET_PROBE_S = 1.0

STOP_GRACE_S = 3.0
"""What open RPCs get to finish when the daemon stops. All that a stop waits for together stays below the 10 s
that it has."""

_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", limits.METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", limits.METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.CONNECTION_STREAMS_MAX),
    ("grpc.max_allowed_incoming_connections", limits.CONNECTIONS_MAX),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a message is as long as it looks
    ("grpc.server_handshake_timeout_ms", limits.HANDSHAKE_MS_MAX),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.PING_EVERY_MS_MIN),
    ("grpc.http2.max_ping_strikes", limits.PING_STRIKES_MAX),
    ("grpc.so_reuseport", 0),
)


async def serve(home: Home, *, ready: Callable[[], None], fresh_ledger: bool = False) -> None:
    """Runs the daemon until SIGTERM or SIGINT. `ready` is called when it accepts events.

    With `fresh_ledger` a damaged ledger is set aside, and an empty one begun.

    Raises `AgentsObsError` when it cannot start, or cannot go on.
    """
    ensure_private_folder(home.folder)
    ensure_private_folder(home.socket.parent)
    with owning(home), _stop_signals() as stop:
        settings = load_settings(home)
        aside = begin_afresh(home.ledger) if fresh_ledger else None
        if aside is not None:
            _log.warning("the damaged ledger is set aside as %s", aside)
        await _serve_owned(home, settings, storage_policy(settings, home.folder / FILE_NAME), ready, stop)


async def _serve_owned(
    home: Home, settings: Settings, policy: StoragePolicy, ready: Callable[[], None], stop: StopSignals
) -> None:
    pricer = CallPricer(CostEstimator.of_folder(home.folder))
    with SqliteLedger(home.ledger, pricer) as ledger:
        daemon = Daemon(home, settings, policy, ledger, stop, pricer=pricer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, pricer.warm_up)
            await daemon.run(ready)
        ledger.is_trusted = ledger.is_trusted and not stop.has_failed
    stop.raise_failure()


class Daemon:
    """All parts and how they are joined. `run` starts them in this order and stops them in reverse."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        policy: StoragePolicy,
        ledger: SqliteLedger,
        stop: StopSignals,
        *,
        pricer: CallPricer,
    ) -> None:
        self._home = home
        self._pricer = pricer
        self._settings = settings
        self._ledger = ledger
        self._stop = stop
        self._exported_to = EXPORTER_NAME if settings.mlflow_enabled else ""
        self._disk = DiskGuard(home, policy)
        self._write = write = WriterThread(stop.fail)

        self._live = live = LiveRuns()
        self._producers = producers = Producers()
        next_sequence = partial(write, ledger.next_sequence)
        self._intake = intake = Intake(
            partial(write, self._commit), self._committed, next_sequence=next_sequence
        )
        self._telemetry = TelemetryReceiver(intake, producers)
        self._spool = SpoolReceiver(
            home.spool,
            intake,
            producers,
            next_sequence=next_sequence,
            gone=self._producer_gone,
        )

        self._exporter = ExportSupervisor(home, settings, ledger, write)
        self._readers = readers = Readers(home.ledger)
        self._upkeep = Upkeep(
            home,
            policy,
            ledger,
            write,
            partial(readers.ask, patience_s=math.inf),
            exporter=self._exported_to,
            failed=stop.fail,
            clock=SteadyClock(ledger.last_received_unix_ns()).now_unix_ns,
        )
        self._keeper = RunKeeper(
            ledger,
            write,
            readers,
            live,
            producers,
            is_spooling=self._spool.is_spooling,
            profiled=self._exporter.notice,
        )
        self._health = Health()
        self._progress = ProgressWatch(self._parts(), changed=self._health.say)
        self._reports = ReportServicer(readers, live, self._gauges(), profiles_settled=self._keeper.settled)
        prices = anyio.Lock()
        repricer = Repricer(ledger, write, readers, pricer, changed=self._repriced, turn=prices)
        self._repricing = RepricingServicer(repricer)
        self._timelines = TimelineServicer(readers, self._gauges())
        self._accounts = AccountsServicer(
            DeadLetterOffice(ledger, write, readers, exporter=EXPORTER_NAME, changed=self._exporter.notice),
            Purger(
                home,
                ledger,
                write,
                readers,
                exporter=EXPORTER_NAME,
                export_paused=self._exporter.paused,
                forget=live.forget,
                prices=prices,
            ),
            readers,
            self._exporter.status,
        )

    async def run(self, ready: Callable[[], None]) -> None:
        with closing(self._write):
            await self._run(ready)

    async def _run(self, ready: Callable[[], None]) -> None:
        await self._keeper.remember()
        async with anyio.create_task_group() as commits:
            commits.start_soon(self._intake.run)
            async with anyio.create_task_group() as tasks, _server(self._settings) as server:
                server.add_generic_rpc_handlers((self._telemetry.handler(),))
                add_reports(self._reports, server)
                add_repricing(self._repricing, server)
                add_timelines(self._timelines, server)
                add_accounts(self._accounts, server)
                await self._health.add_to(server)
                await _listen(server, self._home)
                tasks.start_soon(self._spool.run)
                tasks.start_soon(self._keeper.run)
                tasks.start_soon(self._exporter.run)
                tasks.start_soon(self._upkeep.run)
                tasks.start_soon(self._progress.run)
                tasks.start_soon(self._upkeep.check)
                ready()
                _log.info("ready address=%s ledger=%s", self._home.address, self._home.ledger)
                await self._stop.wait()
                _log.info("stopping")
                await self._health.leave()
                self._telemetry.stop_reading()
                self._timelines.stop_watching()
                await server.stop(STOP_GRACE_S)
                self._home.socket.unlink(missing_ok=True)  # now: later it may be another daemon's
                if not self._stop.has_failed:
                    await self._keeper.finish()
                    await self._exporter.finish()
                tasks.cancel_scope.cancel()
            self._intake.close()
        await self._readers.leave()
        _log.info("stopped")

    def _commit(self, batches: Sequence[Batch]) -> Committed:
        """In the writer's thread."""
        self._disk.require_room(self._ledger.backlog(self._exported_to))
        self._pricer.refresh()
        return self._ledger.commit(batches)

    def _repriced(self, run_id: str) -> None:
        self._live.want_profile(run_id)
        self._keeper.notice()

    async def _producer_gone(self, producer_id: bytes) -> None:
        await self._keeper.producer_gone(producer_id)

    def _committed(self, outcome: Committed) -> None:
        self._live.take(outcome.events)
        self._keeper.notice()
        self._exporter.notice()

    def _gauges(self) -> DaemonGauges:
        return DaemonGauges(
            self._home,
            producers_connected=lambda: len(self._producers),
            spool_bytes=lambda: self._spool.spool_bytes,
            exporters=lambda: [self._exporter.status()],
            storage=self._storage,
            prices_problem=self._pricer.look_for_problem,
            parts=self._progress.status,
            intake=self._intake,
        )

    def _storage(self, connection: sqlite3.Connection) -> StorageStatus:
        known = self._disk.status(backlog(connection, self._exported_to))
        return replace(
            known,
            note=self._upkeep.note,
            checked=self._upkeep.checked,
            repaired=queries.repair_note(connection),
            spools_damaged=self._spool.spools_damaged,
        )

    def _parts(self) -> list[Part]:
        intake, spool, exporter = self._intake, self._spool, self._exporter
        return [
            Part("ledger", lambda: intake.has_work, lambda: intake.commits, lambda: intake.problem),
            Part("spools", lambda: spool.has_work, lambda: spool.steps, lambda: spool.problem),
            Part(
                f"exporter {EXPORTER_NAME}",
                lambda: exporter.has_work,
                lambda: exporter.steps,
                lambda: exporter.problem,
                stuck_after_s=EXPORTER_STUCK_AFTER_S,
                is_vital=False,
            ),
        ]


class WriterThread:
    """Runs the ledger's methods one after the other, off the event loop. A call is never cancelled.

    `failed` is told of an error after which the ledger must not be written to again; it is not: all
    further calls raise that error. What a failed write left behind is only known after a new start.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._failure: LedgerError | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def __call__(self, method: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        call: asyncio.Future[T] = loop.run_in_executor(self._thread, self._call, method, *arguments)
        call.add_done_callback(self._look_at)
        return await to_its_end(call)

    def close(self) -> None:
        """Waits for the call at hand. There is none after it."""
        self._thread.shutdown(cancel_futures=True)

    def _call(self, method: Callable[..., T], *arguments: Any) -> T:
        """In the thread, so that a call that waited meanwhile sees the failure of the one before it."""
        if self._failure is not None:
            raise LedgerError(str(self._failure))
        try:
            return method(*arguments)
        except LedgerNotNowError:
            raise
        except LedgerError as error:
            self._failure = error
            raise

    def _look_at(self, call: asyncio.Future[Any]) -> None:
        """Before its caller hears of it, who may be gone."""
        error = None if call.cancelled() else call.exception()
        if isinstance(error, LedgerError) and not isinstance(error, LedgerNotNowError):
            self._failed(error)


class Health:
    """The standard health service: of the daemon (the empty name) and of each of its services."""

    def __init__(self) -> None:
        self._checks: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]

    async def add_to(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, server)
        for service in ("", *_service_names()):
            await self._checks.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def say(self, is_well: bool) -> None:  # noqa: FBT001 - the only thing there is to say
        """Of what needs the ledger to be written to. Reports are answered all the same."""
        answer = health_pb2.HealthCheckResponse
        status = answer.SERVING if is_well else answer.NOT_SERVING
        for service in ("", *_writing_service_names()):
            await self._checks.set(service, status)

    async def leave(self) -> None:
        """Nothing is served from now on, whatever is said later."""
        await self._checks.enter_graceful_shutdown()


class StopSignals:
    """Set by SIGTERM and SIGINT, or by a failure that the daemon must not live with."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._failure: Exception | None = None

    def set(self) -> None:
        for number in STOP_SIGNALS:  # from now on a further one must not cut the orderly stop short
            signal.signal(number, signal.SIG_IGN)
        self._event.set()

    def fail(self, error: Exception) -> None:
        if self._failure is None:
            _log.critical("cannot go on: %s", error)
            self._failure = error
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[grpc.aio.Server]:
    server = grpc.aio.server(
        options=_SERVER_OPTIONS,
        maximum_concurrent_rpcs=limits.STREAMS_MAX,
        compression=grpc.Compression.NoCompression,
    )
    if settings.grpc_reflection:
        _add_reflection(server)
    try:
        yield server
    finally:
        await server.stop(0)


async def _listen(server: grpc.aio.Server, home: Home) -> None:
    """Binds the socket. One that a daemon left behind is removed.

    The lock says that ours is gone, but `AGENTS_OBS_SOCKET` may name that of another state folder.
    """
    if home.socket.is_socket():
        if _somebody_listens(home.socket):
            raise AlreadyRunningError(
                f"another daemon listens on {home.socket}; stop that one, or give this one its own socket"
            )
        home.socket.unlink()
    if home.socket.exists():
        raise DaemonStartError(f"{home.socket} is in the way and is no socket; remove it or move it away")
    try:
        server.add_insecure_port(home.address)
        await server.start()
        home.socket.chmod(0o600)
    except (RuntimeError, OSError) as error:
        raise DaemonStartError(f"cannot listen on {home.socket}: {error}") from error


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(SOCKET_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # it is there and does not answer as a dead one does
    return True


def _add_reflection(server: grpc.aio.Server) -> None:
    try:
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - a setting that is rarely on
    except ImportError as error:
        raise DaemonStartError(
            "grpc_reflection is set, but grpcio-reflection is not installed;"
            " install it: pip install 'agents-obs[daemon]'"
        ) from error
    reflection.enable_server_reflection((*_service_names(), reflection.SERVICE_NAME), server)


def _service_names() -> tuple[str, ...]:
    return (
        *_writing_service_names(),
        reports_pb2.DESCRIPTOR.services_by_name["ReportService"].full_name,
        accounts_pb2.DESCRIPTOR.services_by_name["AccountsService"].full_name,
        timeline_pb2.DESCRIPTOR.services_by_name["TimelineService"].full_name,
    )


def _writing_service_names() -> tuple[str, ...]:
    return (
        telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name,
        repricing_pb2.DESCRIPTOR.services_by_name["RepricingService"].full_name,
    )


@contextmanager
def _stop_signals() -> Iterator[StopSignals]:
    stop = StopSignals()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
