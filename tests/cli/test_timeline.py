"""The waterfall in a terminal, and the formats that other programs open."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from configurable_agents.cli.figures import UNKNOWN
from configurable_agents.cli.render.runs import wall
from configurable_agents.cli.render.timeline import timeline_report
from configurable_agents.runtime.timeline import Timeline, TimelineCall, TimelineRows, TimelineSpan
from configurable_agents.runtime.trace_formats import folded, perfetto
from configurable_agents.telemetry import Status, WorkflowRunRecord

MS = 1_000_000
T0 = 1_795_336_467_000 * MS


def span(number: int, parent: int, node: str, start_ms: int, duration_ms: int, status=Status.OK):
    return TimelineSpan(number, parent, node, T0 + start_ms * MS, duration_ms * MS, status, 1)


def call(number: int, cost_nanos: int, start_ms: int = 0) -> TimelineCall:
    return TimelineCall(
        number, "n", "openai", "gpt-4o", T0 + start_ms * MS, 50 * MS, 0, cost_nanos, True, 7, Status.OK
    )


@pytest.fixture
def timeline() -> Timeline:
    run = WorkflowRunRecord(
        "5f2c9a0b", "bot", "triage", Status.OK, T0, T0 + 1_000 * MS, {}, 30_000_000, 14, 2
    )
    spans = (
        span(1, 0, "plan", 0, 200),
        span(2, 0, "left", 200, 600),
        span(3, 2, "search\x1b[2J", 300, 200),
        span(4, 0, "right", 200, 300, Status.ERROR),
        span(5, 0, "join", 800, 200),
    )
    return Timeline(run, T0 + 1_000 * MS, spans, (call(2, 20_000_000, 250), call(5, 10_000_000, 900)))


def shown(timeline: Timeline, width: int = 100, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as capture:
        for part in timeline_report(timeline, width=width, **options):
            console.print(part)
    return capture.get().splitlines()


def lane(lines: list[str], node: str) -> str:
    line = next(line for line in lines if line.strip().startswith(node))
    return "".join(sign for sign in line if sign in "█░ ").strip()


def test_each_execution_has_a_bar_its_duration_and_its_cost_below_what_encloses_it(timeline):
    lines = shown(timeline)
    body = [line.split()[0] for line in lines[3:8]]

    assert body == ["plan", "left", "search\\x1b[2J", "right", "join"]
    assert lines[5].startswith(" search")
    assert "600 ms" in lines[4]
    assert "$0.0200" in lines[4]
    assert "run 5f2c9a0b · experiment bot · workflow triage · ok · wall 1.0 s · $0.0300" in lines[1]


def test_what_the_run_waited_for_is_marked(timeline):
    lines = shown(timeline)

    assert set(lane(lines, "right")) == {"░"}
    assert set(lane(lines, "plan")) == {"█"}
    assert lane(lines, "left").startswith("█")
    assert "░" in lane(lines, "left")
    assert "Critical path: left 40.0 %, join 20.0 %, plan 20.0 %, search\\x1b[2J 20.0 %" in lines[-1]


@pytest.mark.parametrize("width", [12, 20, 30, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(timeline, width):
    for line in shown(timeline, width):
        assert cell_len(line) <= width


def test_of_a_long_run_the_longest_executions_are_shown(timeline):
    lines = shown(timeline, rows_max=2)

    assert [line.split()[0] for line in lines[3:5]] == ["plan", "left"]
    assert "3 shorter executions are left out" in lines[-1]


def test_a_run_in_which_nothing_ran_says_so(timeline):
    assert shown(Timeline(timeline.run, timeline.ended_unix_ns))[-1] == "No node has run."


def test_a_run_that_died_before_a_node_ended_claims_neither_a_wall_nor_that_nothing_ran(timeline):
    died = replace(timeline.run, status=Status.INTERRUPTED, finished_unix_ns=T0)
    lines = shown(Timeline(died, T0))

    assert lines[-1] == "No node had ended when its process was gone."
    assert "wall" not in lines[1]
    assert (wall(died), wall(timeline.run)) == (UNKNOWN, "1.0 s")


def test_an_execution_that_still_runs_is_drawn_up_to_now(timeline):
    running = span(9, 0, "slow", 500, 500, Status.RUNNING)
    lines = shown(Timeline(timeline.run, timeline.ended_unix_ns, (*timeline.spans, running)))

    assert "500 ms…" in next(line for line in lines if line.startswith("slow"))


def test_perfetto_gets_executions_that_nest_on_a_track_calls_and_dollars(timeline):
    trace = json.loads(json.dumps(perfetto(timeline)))
    events = trace["traceEvents"]
    bars = {event["name"]: event for event in events if event["ph"] == "X"}

    assert bars["left"]["ts"] == 200_000
    assert bars["left"]["dur"] == 600_000
    assert bars["left"]["args"] == {
        "status": "ok",
        "attempt": 1,
        "self_ms": 400.0,
        "critical_ms": 400.0,
        "cost_usd": 0.02,
        "unpriced_calls": 0,
    }
    assert bars["left"]["tid"] == bars["search\x1b[2J"]["tid"] != bars["right"]["tid"]
    assert bars["right"]["cat"] == "node"
    assert bars["openai/gpt-4o"]["args"]["tokens"] == 7
    assert [event["args"]["usd"] for event in events if event["ph"] == "C"] == [0, 0.02, 0.03]
    assert len({json.dumps(event) for event in events}) == len(events)


def drawn(chance: random.Random) -> Timeline:
    """Executions inside, beside and across each other, with calls that overlap; some in none."""
    spans: list[TimelineSpan] = []
    calls: list[TimelineCall] = []
    for number in range(1, chance.randint(2, 40)):
        parent = chance.choice([0, 0, *(each.span_id for each in spans), 999])
        start_ns, lasts_ns = chance.randrange(0, 10**6), chance.choice([0, 1, chance.randrange(10**6)])
        node = chance.choice("abc")
        spans.append(TimelineSpan(number, parent, node, T0 + start_ns, lasts_ns, Status.OK, 1))
    for _ in range(chance.randrange(40)):
        known = chance.random() < 0.8
        nanos = chance.randrange(10**9) if known else 0
        span_id = chance.choice([0, 998, *(each.span_id for each in spans)])
        start_ns, lasts_ns = chance.randrange(0, 10**6), chance.randrange(10**5)
        times = (T0 + start_ns, lasts_ns, 0)
        counted = chance.random() < 0.9
        calls.append(TimelineCall(span_id, "n", "openai", "m", *times, nanos, known, 7, Status.OK, counted))
    total = sum(call.cost.nanos for call in calls)
    run = WorkflowRunRecord("r", "bot", "w", Status.OK, T0, T0 + 10**6, {}, total, 0, len(calls))
    rows = TimelineRows(spans, calls)
    return Timeline(run, T0 + 10**6).with_rows([rows])


@pytest.mark.parametrize("seed", range(40))
def test_perfetto_can_read_every_event_and_slices_of_a_track_nest(seed):
    timeline = drawn(random.Random(seed))
    events = json.loads(json.dumps(perfetto(timeline)))["traceEvents"]

    assert {event["ph"] for event in events} <= {"M", "X", "C"}
    for event in events:
        assert isinstance(event["name"], str)
        assert (event["ts"] >= 0, event["pid"], type(event["tid"])) == (True, 1, int)
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == len(timeline.spans) + len(timeline.calls)
    for track in {event["tid"] for event in slices}:
        check_nesting([event for event in slices if event["tid"] == track])


def check_nesting(slices: list[dict]) -> None:
    """In the order of their beginning each one lies within what is open, or after it."""
    times = [(round(event["ts"] * 1_000), round(event["dur"] * 1_000)) for event in slices]
    open_until: list[int] = []
    for start, lasts in sorted(times, key=lambda each: (each[0], -each[1])):
        while open_until and open_until[-1] <= start:
            open_until.pop()
        assert not open_until or start + lasts <= open_until[-1]
        open_until.append(start + lasts)


@pytest.mark.parametrize("seed", range(40))
def test_the_dollars_only_grow_and_end_at_the_cost_of_the_run(seed):
    timeline = drawn(random.Random(seed))
    counted = [event for event in perfetto(timeline)["traceEvents"] if event["ph"] == "C"]

    assert [event["ts"] for event in counted] == sorted(event["ts"] for event in counted)
    dollars = [event["args"]["usd"] for event in counted]
    assert dollars == sorted(dollars)
    assert (dollars[0], round(dollars[-1] * 1e9)) == (0, timeline.run.total_cost_nanos)


@pytest.mark.parametrize("seed", range(40))
def test_folded_costs_sum_to_the_cost_of_the_run(seed):
    timeline = drawn(random.Random(seed))
    weights = [int(line.rpartition(" ")[2]) for line in folded(timeline, weight="cost")]

    assert sum(weights) == timeline.run.total_cost_nanos


def test_folded_stacks_weigh_self_time_or_cost(timeline):
    assert folded(timeline) == [
        "join 200000",
        "left 400000",
        "left;search\x1b[2J 200000",
        "plan 200000",
        "right 300000",
    ]
    assert folded(timeline, weight="cost") == ["join 10000000", "left 20000000"]


def test_folded_stacks_hold_executions_that_begin_at_the_same_instant(timeline):
    """Clocks of milliseconds say so of most executions and what is around them."""
    start = timeline.run.started_unix_ns
    spans = (
        TimelineSpan(1, 0, "outer", start, 9_000, Status.OK, 1),
        TimelineSpan(2, 1, "inner", start, 6_000, Status.OK, 1),
        TimelineSpan(3, 2, "innermost", start, 1_000, Status.OK, 1),
    )
    found = folded(replace(timeline, spans=spans, calls=(), ended_unix_ns=start + 9_000))
    assert found == ["outer 3", "outer;inner 5", "outer;inner;innermost 1"]


def test_executions_shorter_than_a_microsecond_add_up_in_folded_stacks(timeline):
    start = timeline.run.started_unix_ns
    spans = tuple(
        TimelineSpan(number + 1, 0, "tiny", start + 1_000 * number, 900, Status.OK, 1)
        for number in range(1_000)
    )
    assert folded(replace(timeline, spans=spans, calls=(), ended_unix_ns=start + 10**6)) == ["tiny 900"]
