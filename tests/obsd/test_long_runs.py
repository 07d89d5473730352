"""Runs of very many executions: what they take of the daemon's memory, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from configurable_agents import observe_run
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import queries, timeline_queries
from configurable_agents.obsd.lifecycle import RunKeeper
from configurable_agents.obsd.reports import Readers, ReportServicer
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.observe import Run
from configurable_agents.telemetry import Status
from configurable_agents.wire.v1 import reports_pb2 as pb

EXECUTIONS = 60_000
CHILDREN = 9


def record_many(run: Run, executions: int) -> None:
    """Flows of nine steps each, some of them side by side."""
    clock_ns = run.started_unix_ns
    for first in range(1, executions + 1, CHILDREN + 1):
        began_ns = clock_ns
        for child in range(first + 1, first + CHILDREN + 1):
            run.record_node(
                f"step-{child % CHILDREN}",
                started_unix_ns=clock_ns,
                duration_ns=1_000 + child % 777,
                span_id=child,
                parent_span_id=first,
            )
            clock_ns += 1_000 + child % 777 if child % 3 else 500
        run.record_node("flow", started_unix_ns=began_ns, duration_ns=clock_ns - began_ns, span_id=first)
        clock_ns += 300


class Memory:
    """Of a process, as the kernel counts it."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")

    def forget_peak(self) -> int:
        """What is resident now; the peak begins here."""
        (self._process / "clear_refs").write_text("5")
        return self._kib("VmRSS") * 1024

    def peak(self) -> int:
        return self._kib("VmHWM") * 1024

    def _kib(self, name: str) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])


def test_profile_and_timeline_of_a_long_run_stay_within_their_bounds_of_memory(daemon, eventually):
    memory = Memory(daemon.pid)
    with ReportClient(daemon.home) as client:
        with observe_run("long", home=daemon.home.folder) as run:
            record_many(run, EXECUTIONS)
            eventually(lambda: committed(client, run.run_id) == EXECUTIONS, within_s=60)
            resident = memory.forget_peak()
        scope = Scope(run_id=run.run_id)
        eventually(lambda: client.runs(scope)[0][0].status is Status.OK)
        report = client.profile_report(scope)
        taken = memory.peak() - resident

        assert report.times is not None
        assert sum(node.calls for node in report.nodes) == EXECUTIONS
        assert taken < EXECUTIONS * limits.PROFILE_BYTES_PER_EXECUTION

        resident = memory.forget_peak()
        timeline = TimelineClient(client).timeline(scope)
        taken = memory.peak() - resident

        assert len(timeline.spans) == EXECUTIONS
        assert taken < limits.TIMELINE_BYTES_MAX


def committed(client: ReportClient, run_id: str) -> int:
    runs, _ = client.runs(Scope())
    return next((run.node_executions for run in runs if run.run_id == run_id), 0)


def test_a_timeline_beyond_the_bound_says_that_it_is_cut(book, events, monkeypatch):
    monkeypatch.setattr(limits, "PROFILED_SPANS_MAX", 5)
    monkeypatch.setattr(limits, "TIMELINE_PART_ROWS", 2)
    book.commit(events.whole_run("long", nodes=6))
    book.commit(events.whole_run("short", nodes=5), first=100)

    def drawn(run_id: str) -> tuple[int, bool]:
        found = book.ask(timeline_queries.timeline, Scope(run_id=run_id), 0)
        return len(found.spans), found.cut

    assert drawn("long") == (5, True)
    assert drawn("short") == (5, False)


class Asked:
    """What a handler is given by gRPC, as far as an answer without an error needs it."""


@pytest.fixture
def asked(book) -> Callable[..., tuple[pb.ProfileReport, int]]:
    """Asks for the profile of a run; the answer, and how often it was waited for profiles."""

    def ask(run_id: str, settled: Callable[[], None]) -> tuple[pb.ProfileReport, int]:
        waits: list[None] = []

        async def settle() -> None:
            waits.append(settled())

        async def answer() -> pb.ProfileReport:
            readers = Readers(book.path)
            gauges: Any = None
            servicer = ReportServicer(readers, LiveRuns(), gauges, profiles_settled=settle)
            try:
                return await servicer.GetProfileReport(pb.Scope(run_id=run_id), Asked())
            finally:
                readers.close()

        return anyio.run(answer), len(waits)

    return ask


def test_a_report_on_a_long_run_that_has_just_ended_waits_for_the_profile_that_is_being_made(
    book, events, asked, monkeypatch
):
    monkeypatch.setattr(limits, "LIVE_ROWS_MAX", 4)
    book.commit(events.whole_run("long", nodes=5))
    book.commit(events.whole_run("short", nodes=4), first=100)

    _, waits = asked("short", lambda: None)
    assert waits == 0
    without, waits = asked("long", lambda: None)  # the profile could not be stored: it is made for the report
    assert waits == 1
    stored, waits = asked("long", book.profile_all)
    assert (stored, waits) == (without, 1)
    assert asked("long", lambda: None)[1] == 0


def test_long_runs_are_profiled_one_after_the_other(book, events, monkeypatch):
    monkeypatch.setattr(limits, "LIVE_ROWS_MAX", 4)
    book.commit(events.whole_run("long", nodes=5))
    book.commit(events.whole_run("short", nodes=4), first=100)
    turn = threading.Lock()

    def profiled(run_id: str) -> threading.Thread:
        thread = threading.Thread(target=book.ask, args=(queries.final_profile, run_id, turn), daemon=True)
        thread.start()
        return thread

    with turn:
        profiled("short").join(20)
        waiting = profiled("long")
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(20)
    assert not waiting.is_alive()


def test_waiting_for_profiles_ends_with_the_round_that_makes_them():
    live = LiveRuns()
    stored = asyncio.Event()

    class Everything:
        """Ledger, readers and producers of one run, whose profile is stored when the test says so."""

        long_run = None
        store_profiles = None

        async def ask(self, _question: object, *, patience_s: float) -> tuple[str, int]:
            return "report", 1

        async def write(self, *_arguments: object) -> list[int]:
            await stored.wait()
            return []

    async def scenario() -> list[str]:
        parts: Any = Everything()
        keeper = RunKeeper(parts, parts.write, parts, live, parts, is_spooling=bool, profiled=lambda: None)
        told: list[str] = []

        async def wait() -> None:
            await keeper.settled()
            told.append("settled")

        await wait()  # nothing is being made
        live.want_profile("run")
        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            await anyio.wait_all_tasks_blocked()
            told.append("ended")
            group.create_task(keeper.profile_ended())
            await anyio.wait_all_tasks_blocked()
            told.append("being made")
            group.create_task(wait())
            await anyio.wait_all_tasks_blocked()
            stored.set()
        return told

    assert anyio.run(scenario) == ["settled", "ended", "being made", "settled", "settled"]
