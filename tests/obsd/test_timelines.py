"""Streams of the daemon: a run in detail, what is in flight, and clients that do not read."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from configurable_agents import observe_run
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.errors import InvalidValueError, NotFoundError
from configurable_agents.obsd import limits, timelines
from configurable_agents.obsd.ledger import timeline_queries
from configurable_agents.obsd.reports import Readers
from configurable_agents.obsd.timelines import TimelineServicer
from configurable_agents.runtime.critical_path import critical_path
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.runtime.timeline_page import page_data
from configurable_agents.runtime.timeline_rows import waterfall
from configurable_agents.runtime.trace_formats import folded, perfetto
from configurable_agents.telemetry import Status
from configurable_agents.wire.v1 import reports_pb2
from configurable_agents.wire.v1.timeline_pb2 import WatchRequest
from configurable_agents.wire.v1.timeline_pb2_grpc import TimelineServiceStub


@pytest.fixture
def ask(daemon):
    with ReportClient(daemon.home) as client:
        yield TimelineClient(client)


RESPONSE = {"model": "gpt-4o", "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


def recorded(home, times: int = 2) -> str:
    with observe_run("pictures", workflow="w", home=home.folder) as run:

        @profile_node("inner")
        def inner() -> None:
            run.track_call("openai", "gpt-4o", RESPONSE)

        @profile_node("outer")
        def outer() -> None:
            for _ in range(times):
                inner()

        outer()
    return run.run_id


def settled(ask: TimelineClient, run_id: str) -> bool:
    try:
        return ask.timeline(Scope(run_id=run_id)).run.status is Status.OK
    except NotFoundError:
        return False


def test_a_run_comes_with_its_executions_and_calls(daemon, ask, eventually):
    run_id = recorded(daemon.home)
    eventually(lambda: settled(ask, run_id))
    timeline = ask.timeline(Scope(run_id=run_id[:8]))

    assert [span.node_id for span in timeline.spans] == ["outer", "inner", "inner"]
    assert {span.parent_span_id for span in timeline.spans[1:]} == {timeline.spans[0].span_id}
    assert [(call.model, call.tokens, call.cost_known) for call in timeline.calls] == [
        ("gpt-4o", 15, True)
    ] * 2
    assert timeline.run.total_cost_nanos == sum(call.cost_nanos for call in timeline.calls) > 0
    assert timeline.schedule().wall_ns == timeline.wall_ns


def test_a_response_reported_twice_is_paid_once_in_every_picture_of_the_run(daemon, ask, eventually):
    with observe_run("pictures", home=daemon.home.folder) as run:

        @profile_node("outer")
        def outer() -> None:
            run.track_call("openai", "gpt-4o", {**RESPONSE, "id": "resp-1"})
            run.track_call("openai", "gpt-4o", {**RESPONSE, "id": "resp-1"})

        outer()
        run.track_call("openai", "gpt-4o", RESPONSE)
    eventually(lambda: settled(ask, run.run_id))
    timeline = ask.timeline(Scope(run_id=run.run_id))
    cost_nanos = timeline.run.total_cost_nanos

    assert [call.counted for call in timeline.calls].count(False) == 1
    found = waterfall(timeline, rows_max=10)
    assert sum(row.cost.nanos for row in found.rows) + found.cost_elsewhere.nanos == cost_nanos
    assert found.cost_elsewhere.calls == 1, "the call outside of any node"
    stacks = dict(line.rsplit(" ", 1) for line in folded(timeline, weight="cost"))
    assert stacks.keys() == {"outer", "(no node)"}
    assert sum(map(int, stacks.values())) == cost_nanos
    data = page_data(timeline)
    for parts in (data["cost_by_node"], data["cost_by_provider"]):
        assert sum(nanos for _, nanos, *_ in parts) == cost_nanos
    dollars = [event["args"]["usd"] for event in perfetto(timeline)["traceEvents"] if event["ph"] == "C"]
    assert round(dollars[-1] * 1e9) == cost_nanos


def test_a_long_run_comes_in_parts_and_is_whole(daemon, ask, eventually):
    run_id = recorded(daemon.home, 9_500)
    eventually(lambda: settled(ask, run_id))
    timeline = ask.timeline(Scope(run_id=run_id))

    assert len(timeline.spans) == 9_501
    assert len(timeline.calls) == 9_500
    assert len({span.span_id for span in timeline.spans}) == 9_501


def test_what_cannot_be_drawn_is_refused_with_the_reason(daemon, ask):
    with pytest.raises(NotFoundError, match="no run is called"):
        ask.timeline(Scope(run_id="nothing"))
    with pytest.raises(InvalidValueError, match="a timeline is of one run"):
        ask.timeline(Scope())


def test_past_runs_come_newest_first_with_their_figures(daemon, ask, eventually):
    run_ids = [recorded(daemon.home), recorded(daemon.home)]
    eventually(lambda: all(settled(ask, run_id) for run_id in run_ids))
    runs = ask.past_runs(Scope(experiment="pictures"))

    assert [run.run_id for run in runs] == run_ids[::-1]
    assert {node.node_id: node.calls for node in runs[0].nodes} == {"outer": 1, "inner": 2}
    assert [model.totals.calls for model in runs[0].models] == [2]
    assert ask.past_runs(Scope(), limit=1) == runs[:1]
    assert ask.past_runs(Scope(), before_unix_ns=runs[0].started_unix_ns) == runs[1:]


def test_a_live_view_shows_what_runs_now_and_then_that_nothing_does(daemon, ask, eventually):
    release = threading.Event()

    @profile_node("slow")
    def slow() -> None:
        release.wait(30)

    def run() -> None:
        with observe_run("pictures", workflow="live", home=daemon.home.folder):
            slow()

    thread = threading.Thread(target=run)
    thread.start()
    seen = [
        view
        for view in islice(ask.watch(every_ms=200), 50)
        if view.runs and view.runs[0].nodes and not release.is_set() and (release.set() or True)
    ]
    thread.join()

    assert seen
    assert seen[0].runs[0].run.workflow == "live"
    assert [(node.node_id, node.executions) for node in seen[0].runs[0].nodes] == [("slow", 1)]
    assert seen[0].runs_live == 1
    eventually(lambda: next(iter(ask.watch())).runs == ())


DAY_NS = 86_400 * 1_000_000_000


@pytest.fixture
def set_the_clock(monkeypatch) -> Callable[[int], None]:
    """Has everything of ours in this process read another wall clock from now on."""
    real = time.time_ns

    def set_it(by_ns: int) -> None:
        fakes = {"time_ns": lambda: real() + by_ns, "time": lambda: (real() + by_ns) / 1e9}
        ours = [module for name, module in sys.modules.items() if name.startswith("configurable_agents")]
        for name, fake in fakes.items():
            genuine = getattr(time, name)
            for module in (time, *ours):
                if getattr(module, name, None) is genuine:
                    monkeypatch.setattr(module, name, fake)

    return set_it


@pytest.mark.parametrize("days", [-1, 1])
def test_a_wall_clock_that_jumps_a_day_changes_no_duration_and_no_order(
    daemon, ask, eventually, set_the_clock, monkeypatch, days
):
    began_ns = time.time_ns()
    with observe_run("jumps", home=daemon.home.folder) as run:

        @profile_node("step")
        def step() -> None:
            run.track_call("openai", "gpt-4o", RESPONSE)

        @profile_node("across")
        def across() -> None:
            step()
            set_the_clock(days * DAY_NS)
            assert abs(time.time_ns() - began_ns) > DAY_NS // 2
            step()

        step()
        across()
        step()
    lasted_ns = run.profile().wall_ns
    monkeypatch.undo()  # gRPC reckons its deadlines by the wall clock
    eventually(lambda: settled(ask, run.run_id))
    timeline = ask.timeline(Scope(run_id=run.run_id))

    assert [span.node_id for span in timeline.spans] == ["step", "across", "step", "step", "step"]
    assert timeline.wall_ns == lasted_ns < DAY_NS // 2
    assert 0 <= timeline.run.started_unix_ns - began_ns < DAY_NS // 2
    for earlier, later in pairwise(span for span in timeline.spans if span.node_id == "step"):
        assert earlier.started_unix_ns + earlier.duration_ns <= later.started_unix_ns
    for call in timeline.calls:
        span = next(each for each in timeline.spans if each.span_id == call.span_id)
        assert 0 <= call.started_unix_ns - span.started_unix_ns <= span.duration_ns
    schedule = timeline.schedule()
    assert (schedule.started_ns, schedule.ended_ns) == (timeline.run.started_unix_ns, timeline.ended_unix_ns)
    assert critical_path(schedule).wall_ns == timeline.wall_ns


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_daemon_whose_clock_is_off_draws_a_run_in_flight_without_going_back_in_time(book, events, days):
    book.commit([events.started(), events.node(), events.node_started("slow", span_id=2)])
    now_ns = events.T0 + 50 * events.MS + days * DAY_NS
    found = book.ask(timeline_queries.timeline, Scope(run_id="run"), now_ns)

    done, running = found.spans
    assert (done.duration_ns, running.is_running) == (10 * events.MS, True)
    assert found.wall_ns >= 10 * events.MS
    assert 0 <= running.duration_ns <= found.wall_ns


class NobodyReads:
    """The server's end of a stream whose client takes `taken` messages and then no more."""

    def __init__(self, taken: int, look: Callable[[], object]) -> None:
        self._left = taken
        self._look = look
        self.ended_with: grpc.StatusCode | None = None
        self.seen_at_the_end: object = None

    async def write(self, _message: object) -> None:
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()

    async def abort(self, code: grpc.StatusCode, _details: str) -> None:
        self.ended_with, self.seen_at_the_end = code, self._look()


@pytest.mark.parametrize("bound", ["UNREAD_S", "TIMELINE_S_MAX"])
def test_a_timeline_that_is_not_read_is_given_up_and_its_look_at_the_ledger_with_it(
    book, events, monkeypatch, bound
):
    """The status that ends a stream waits behind what is not read, perhaps for ever."""
    monkeypatch.setattr(limits, bound, 0.05)
    monkeypatch.setattr(limits, "TIMELINES_MAX", 1)
    book.commit(events.whole_run())
    readers = Readers(book.path)
    gauges: Any = None
    servicer = TimelineServicer(readers, gauges)

    def held() -> tuple[bool, list[bool]]:
        return servicer._drawing.locked(), [connection.in_transaction for connection in readers._idle]

    client: Any = NobodyReads(1, held)
    asyncio.run(servicer.GetTimeline(reports_pb2.Scope(run_id="run"), client))
    readers.close()
    assert client.ended_with is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.seen_at_the_end == (False, [False])


def test_a_watcher_that_stops_reading_is_cut_off_while_one_that_reads_goes_on(
    book, events, home, monkeypatch
):
    monkeypatch.setattr(limits, "UNREAD_S", 0.2)
    monkeypatch.setattr(limits, "WATCH_EVERY_MS_MIN", 20)
    for number in range(limits.WATCHED_RUNS_MAX):
        run_id = f"run-{number}"
        names = (f"{place:03}".ljust(200, "n") for place in range(limits.WATCHED_NODES_MAX))
        told = [
            events.node_started(name, run_id=run_id, span_id=place)
            for place, name in enumerate(names, start=1)
        ]
        book.commit([events.started(run_id), *told], producer=number.to_bytes(16))

    async def scenario() -> tuple[int, grpc.StatusCode]:
        readers, server = Readers(book.path), grpc.aio.server()
        gauges: Any = SimpleNamespace(intake=SimpleNamespace(events_pending=0), exporters=list)
        timelines.add_timelines(TimelineServicer(readers, gauges), server)
        server.add_insecure_port(f"unix:{home.socket}")
        await server.start()
        try:
            return await asyncio.to_thread(watched_by_two, home.socket, updates=40)
        finally:
            await server.stop(None)
            readers.close()

    assert asyncio.run(scenario()) == (40, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_live_views_end_when_the_daemon_stops_however_seldom_they_are_updated(book, home):
    async def scenario() -> grpc.RpcError:
        readers, server = Readers(book.path), grpc.aio.server()
        gauges: Any = SimpleNamespace(intake=SimpleNamespace(events_pending=0), exporters=list)
        servicer = TimelineServicer(readers, gauges)
        timelines.add_timelines(servicer, server)
        server.add_insecure_port(f"unix:{home.socket}")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{home.socket}") as channel:
            watching = TimelineServiceStub(channel).Watch(WatchRequest(every_ms=3_600_000))
            await watching.read()
            servicer.stop_watching()
            with pytest.raises(grpc.RpcError) as ended:
                await watching.read()
            await server.stop(None)
        readers.close()
        return ended.value

    ended: Any = asyncio.run(scenario())
    assert (ended.code(), ended.details()) == (grpc.StatusCode.UNAVAILABLE, "the daemon is stopping")


def watched_by_two(socket: Path, *, updates: int) -> tuple[int, grpc.StatusCode]:
    """How many updates one client got; and how the other ended, which read one, and the rest afterwards."""
    with grpc.insecure_channel(f"unix:{socket}") as channel, grpc.insecure_channel(f"unix:{socket}") as idle:
        watching, unread = (
            TimelineServiceStub(each).Watch(WatchRequest(every_ms=1), timeout=30) for each in (channel, idle)
        )
        next(unread)
        read = sum(1 for _ in islice(watching, updates))
        with pytest.raises(grpc.RpcError) as ended:
            list(unread)
        return read, ended.value.code()
