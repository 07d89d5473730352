"""Runs in flight: their analyzers say what the final profile will, and their end comes one way or another."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from configurable_agents.client.channel import open_channel
from configurable_agents.client.control import find_daemon, start_daemon, stop_daemon
from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.obsd import lifecycle, limits
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.lifecycle import RunKeeper
from configurable_agents.obsd.runs import LiveRuns
from configurable_agents.telemetry import NodeFinished, Status
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames


def nested_executions(events: Any, seed: int) -> list[NodeFinished]:
    """A random tree of executions in the order in which they end: children before parents."""
    chance, made, span = random.Random(seed), [], 0

    def grow(parent: int, start: int, end: int, depth: int) -> None:
        nonlocal span
        span += 1
        mine = span
        for _ in range(chance.randint(0, 3) if depth < 4 else 0):
            first, second = sorted(chance.sample(range(start, end + 2), 2))
            grow(mine, first, min(second, end), depth + 1)
        status = Status.ERROR if chance.random() < 0.2 else Status.OK
        name = f"node-{chance.randint(0, 5)}"
        made.append(
            events.node(
                name,
                mine,
                parent_span_id=parent,
                started_unix_ns=start,
                duration_ns=max(0, end - start),
                status=status,
            )
        )

    for number in range(3):
        grow(0, events.T0 + number * 1000, events.T0 + number * 1000 + 900, 0)
    return made


@pytest.mark.parametrize("seed", range(10))
def test_a_live_analyzer_says_what_the_final_profile_says(book: Any, events: Any, seed: int) -> None:
    executions = nested_executions(events, seed)
    live = LiveRuns()
    live.take([events.started(), *executions])
    book.commit([events.started(), *executions, events.finished()])
    final, count = book.ask(queries.final_profile, "run")
    analyzer = live.analyzer("run")
    assert analyzer is not None
    assert count == len(executions) + 2
    figures = [(n.node_id, n.calls, n.total_ns, n.self_ns, n.max_ns, n.errors) for n in final.report.nodes]
    assert [
        (n.node_id, n.calls, n.total_ns, n.self_ns, n.max_ns, n.errors) for n in analyzer.report().nodes
    ] == figures


def test_a_run_that_ended_has_no_analyzer_and_wants_its_profile(events: Any) -> None:
    live = LiveRuns()
    live.take(events.whole_run())
    assert (len(live), live.analyzer("run")) == (0, None)
    assert live.take_ended() == ["run"]
    assert live.take_ended() == []


def test_a_late_event_wants_the_profile_again(events: Any) -> None:
    live = LiveRuns()
    live.take(events.whole_run())
    live.take_ended()
    live.take([events.node("late", 99)])
    assert len(live) == 0
    assert live.take_ended() == ["run"]


def test_an_analyzer_that_has_not_seen_all_of_its_run_is_not_asked(events: Any) -> None:
    live = LiveRuns()
    live.take([events.node()])
    assert live.analyzer("run") is None
    live.rebuild("rebuilt", [events.node(run_id="rebuilt")], is_complete=True)
    live.rebuild("long", [events.node(run_id="long")], is_complete=False)
    assert live.analyzer("rebuilt") is not None
    assert live.analyzer("long") is None


def test_a_run_that_its_child_told_of_first_and_was_given_up_is_in_flight_again(events: Any) -> None:
    live = LiveRuns()
    live.take([events.node()])
    live.end("run")
    live.take([events.started(), events.node("b", 2)])
    assert len(live) == 1
    assert live.analyzer("run") is None, "it has not seen the child's execution"


def test_beyond_the_bound_the_run_idle_longest_is_let_go(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIVE_RUNS_MAX", 3)
    live = LiveRuns()
    for name in "abc":
        live.take([events.started(name)])
    live.take([events.node(run_id="a")])
    live.take([events.started("d")])
    assert [name for name in "abcd" if live.analyzer(name) is not None] == ["a", "c", "d"]
    live.take([events.node(run_id="b")])
    assert live.analyzer("b") is None, "it has forgotten the beginning"


def test_children_whose_parents_never_end_are_bounded(events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING_CHILDREN_MAX", 100)
    live = LiveRuns()
    live.take([events.started()])
    live.take([events.node("child", span, parent_span_id=10**9) for span in range(1, 1000)])
    assert live._runs["run"]._children_count <= 100


# -- with a real daemon -----------------------------------------------------------------------------


def status_of(home: Home, run_id: str) -> Status:
    with ReportClient(home) as client:
        runs, _ = client.runs(Scope())
    return next((run.status for run in runs if run.run_id == run_id), Status.UNSPECIFIED)


CHILD = """
import os, sys, time
from configurable_agents.client.home import Home
from configurable_agents.client.process import process_recorder
from configurable_agents.telemetry import NodeFinished, RunStarted, Status
recorder = process_recorder(Home.from_environment(sys.argv[1]))
recorder.record(RunStarted(sys.argv[2], "support", "triage", time.time_ns()))
recorder.record(NodeFinished(sys.argv[2], 1, 0, "draft", 1, time.time_ns(), 5, Status.OK, ""))
print("recorded", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workflow(home: Home) -> Any:
    begun: list[subprocess.Popen[str]] = []

    def begin(run_id: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(home.folder), run_id]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_the_run_of_a_killed_process_is_interrupted_and_that_of_a_living_one_is_not(
    daemon: Any, home: Home, workflow: Any, eventually: Callable[..., None]
) -> None:
    killed, living = workflow("killed"), workflow("living")
    eventually(lambda: status_of(home, "killed") is status_of(home, "living") is Status.RUNNING)
    killed.kill()
    eventually(lambda: status_of(home, "killed") is Status.INTERRUPTED)
    assert living.poll() is None
    assert status_of(home, "living") is Status.RUNNING
    with ReportClient(home) as client:
        assert client.profile_report(Scope(run_id="killed")).nodes[0].calls == 1


def test_a_process_that_died_while_no_daemon_ran_is_interrupted_by_the_next(
    home: Home, start: Any, workflow: Any, eventually: Callable[..., None]
) -> None:
    killed = workflow("killed")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    start()
    eventually(lambda: status_of(home, "killed") is Status.INTERRUPTED)


def test_a_killed_daemon_knows_at_its_restart_what_runs_and_what_ended(
    home: Home, start: Any, events: Any, eventually: Callable[..., None]
) -> None:
    daemon = start()
    emitter = Emitter(home)
    for event in [events.started("open"), events.node(run_id="open"), *events.whole_run("done")]:
        emitter.record(event)
    assert emitter.flush(20)
    os.kill(daemon.pid, signal.SIGKILL)
    eventually(lambda: find_daemon(home) is None)
    start_daemon(home)
    assert (status_of(home, "open"), status_of(home, "done")) == (Status.RUNNING, Status.OK)
    emitter.record(events.node("draft", 2, run_id="open"))
    assert emitter.flush(20)
    with ReportClient(home) as client:
        [run] = [run for run in client.runs(Scope())[0] if run.run_id == "open"]
        assert '"call_count": 2' in run.bottleneck_info
        eventually(lambda: "slowest_node" in client.runs(Scope(run_id="done"))[0][0].bottleneck_info)
    emitter.close()


def test_late_events_remake_the_profile(
    home: Home, daemon: Any, events: Any, eventually: Callable[..., None]
) -> None:
    emitter = Emitter(home)
    for event in events.whole_run():
        emitter.record(event)
    with ReportClient(home) as client:
        eventually(lambda: emitter.flush(20) and client.runs(Scope())[0][0].bottleneck_info)
        emitter.record(events.node("late", 99, duration_ns=10**12))
        emitter.flush(20)
        eventually(lambda: '"slowest_node": {"node_id": "late"' in client.runs(Scope())[0][0].bottleneck_info)
    emitter.close()


def test_the_producer_of_single_batches_is_never_connected_and_its_run_goes_on(
    daemon: Any, home: Home, events: Any
) -> None:
    data = batch_of_frames(bytes(16), 0, EventEncoder().encode(events.started()))
    with open_channel(home) as channel:
        send = channel.unary_unary("/configurable_agents.wire.v1.TelemetryService/ReportBatch")
        send(data, timeout=10)
    assert status_of(home, "run") is Status.RUNNING


def test_a_start_reads_only_so_many_executions_again_those_of_the_runs_heard_of_last(
    book: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is accepted before: all of many long runs in flight would take minutes."""
    monkeypatch.setattr(limits, "REBUILT_ROWS_MAX", 6)
    monkeypatch.setattr(limits, "LIVE_ROWS_MAX", 4)
    for number, (run_id, executions) in enumerate([("old", 3), ("new", 3), ("long", 4), ("newest", 2)]):
        told = [events.node("n", span + 1, run_id=run_id) for span in range(executions)]
        book.commit([events.started(run_id), *told], producer=bytes([number]) * 16)
    live, read = LiveRuns(), []

    class Parts:
        async def write(self, method: Any, *arguments: Any) -> Any:
            return method(*arguments)

        async def ask(self, question: Any, *, patience_s: float = 0.0) -> Any:
            found = book.ask(question)
            read.append(len(found))
            return found

    parts: Any = Parts()
    keeper = RunKeeper(book.ledger, parts.write, parts, live, parts, is_spooling=bool, profiled=lambda: None)
    anyio.run(keeper.remember)
    kept = {run_id: live.analyzer(run_id) for run_id in ("old", "new", "long", "newest")}
    assert read == [3, 2]
    assert {run_id for run_id, analyzer in kept.items() if analyzer is not None} == {"new", "newest"}
    assert len(live) == 4


def test_what_ended_just_before_a_stop_is_profiled(home: Home, start: Any, book: Any, events: Any) -> None:
    start()
    emitter = Emitter(home)
    for event in events.whole_run():
        emitter.record(event)
    assert emitter.flush(20)
    stop_daemon(home)
    emitter.close()
    found = book._replace(path=home.ledger).rows(
        "SELECT profiled_events = events, bottleneck_info <> '' FROM runs"
    )
    assert found == [(1, 1)]


def test_a_stop_does_not_wait_for_all_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made at the next start."""
    live = LiveRuns()
    live.want_profile("run")

    class NeverReady:
        long_run = None

        async def ask(self, _question: object, *, patience_s: float = 0.0) -> None:
            await anyio.sleep_forever()

    async def stop() -> None:
        parts: Any = NeverReady()
        keeper = RunKeeper(parts, parts.ask, parts, live, parts, is_spooling=bool, profiled=lambda: None)
        monkeypatch.setattr(lifecycle, "FINISH_S", 0.01)
        with anyio.fail_after(10):
            await keeper.finish()

    anyio.run(stop)
