"""Streams of the daemon: a run in detail, what is in flight, and clients that do not read."""

from __future__ import annotations

import asyncio
import threading
from itertools import islice

import grpc
import pytest

from configurable_agents import observe_run
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.errors import InvalidValueError, NotFoundError
from configurable_agents.obsd import limits, timelines
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.runtime.timeline_page import page_data
from configurable_agents.runtime.timeline_rows import waterfall
from configurable_agents.runtime.trace_formats import folded, perfetto
from configurable_agents.telemetry import Status


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
        assert round(sum(usd for _, usd, _ in parts) * 1e9) == cost_nanos
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


class NobodyReads:
    """The server's end of a stream whose client takes `taken` messages and then no more."""

    def __init__(self, taken: int) -> None:
        self._left = taken
        self.ended_with: grpc.StatusCode | None = None

    async def write(self, _message: object) -> None:
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()

    async def abort(self, code: grpc.StatusCode, _details: str) -> None:
        self.ended_with = code
        raise asyncio.CancelledError


def test_a_client_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(limits, "UNREAD_S", 0.05)
    client = NobodyReads(2)

    async def stream() -> None:
        while True:
            await timelines._write(client, "update")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stream())
    assert client.ended_with is grpc.StatusCode.RESOURCE_EXHAUSTED
