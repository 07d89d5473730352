"""What the profile says of the critical path, of several runs, of models and of what-if."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from configurable_agents.cli.figures import UNKNOWN, sparkline
from configurable_agents.cli.render.profile import profile_report, what_if_lines
from configurable_agents.cli.render.runs import bottleneck
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.runtime.time_report import ModelProfile, RunTimes, Speedup, TimeClasses
from configurable_agents.runtime.what_if import WhatIf
from configurable_agents.telemetry import Status, WorkflowRunRecord

S = 1_000_000_000


def report_of(*, between_s: int = 1, runs: int = 1) -> ProfileReport:
    """`fetch` has the highest total, in four branches; `draft` is what the run waits for."""
    nodes = (
        NodeProfile("fetch", 4, 8 * S, 8 * S, 2 * S, 0, 2 * S, critical_ns=1 * S, slack_ns=3 * S),
        NodeProfile("draft", 1, 6 * S, 6 * S, 6 * S, 0, 6 * S, critical_ns=6 * S, slack_ns=0),
    )
    times = RunTimes(
        7 * S + between_s * S,
        between_s * S,
        TimeClasses(model_ns=5 * S, python_ns=2 * S, framework_ns=between_s * S),
        {1: 7 * S},
        (Speedup("draft", 3 * S),),
        slot_saved_ns=S // 2,
        bottlenecks={"draft": runs},
        run_count=runs,
    )
    return ProfileReport(nodes, run_id="r1", run_count=runs, wall_ns=times.wall_ns, times=times)


def shown(report: ProfileReport, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as capture:
        for part in profile_report(report, threshold_percent=50.0, width=width):
            console.print(part)
    return capture.get()


def test_the_node_to_speed_up_is_named_with_what_it_would_gain():
    text = shown(report_of())

    assert (
        "◆ draft is on the critical path for 75 % of the wall; twice as fast would save 3.0 s (38 %)." in text
    )
    assert (
        "fetch has most self time, 57.1 % of it all, but the run waited for it for 12.5 % of the wall."
        in text
    )
    assert "Critical path: models 62.5 %, tools and code 25.0 %, outside of nodes and calls 12.5 %" in text
    assert "One more execution at a time would save 500 ms." in text
    assert "▲ Slowest node: fetch (2000.00ms avg)" in text


def test_where_both_measures_agree_one_is_said():
    report = report_of()
    draft = dataclasses.replace(report.nodes[1], total_ns=9 * S, self_ns=9 * S)
    text = shown(dataclasses.replace(report, nodes=(draft, report.nodes[0])))

    assert "◆ draft is on the critical path" in text
    assert "self time" not in text


def test_of_a_run_in_flight_it_is_said_that_what_still_runs_is_not_in_it():
    text = shown(dataclasses.replace(report_of(), status=Status.RUNNING))

    assert "wall 8.0 s up to the last event" in text
    assert "The run is in flight: this is of executions that have ended." in text
    over = shown(dataclasses.replace(report_of(), status=Status.OK))
    assert "up to the last event" not in over
    assert "in flight" not in over


def test_a_slowest_node_that_only_encloses_others_says_so():
    report = report_of()
    outer = NodeProfile("outer", 1, 10 * S, S, 10 * S, 0, 10 * S, critical_ns=S, slack_ns=0)
    text = shown(dataclasses.replace(report, nodes=(outer, *report.nodes)))

    assert "▲ Slowest node: outer (10000.00ms avg); 90.0 % of its time is that of nodes inside it" in text
    assert "nodes inside it" not in shown(report)


def run_that(report: ProfileReport) -> WorkflowRunRecord:
    info = json.dumps(report.bottleneck_info())
    return WorkflowRunRecord("r1", "support", "triage", Status.OK, S, 9 * S, bottleneck_info=info)


def test_the_list_of_runs_names_the_bottleneck_that_the_advice_names():
    report = report_of()
    assert bottleneck(run_that(report)) == "draft (75.0 % of wall); fetch (57.1 % of self time)"
    same = dataclasses.replace(report, nodes=(report.nodes[1],))
    assert bottleneck(run_that(same)) == "draft (75.0 % of wall)"
    waiting = bottleneck(run_that(report_of(between_s=13)))
    assert waiting == "between nodes (65.0 % of wall); fetch (57.1 % of self time)"
    unknown = dataclasses.replace(report, times=None)
    assert bottleneck(run_that(unknown)) == "fetch (57.1 % of self time)"


def test_time_between_nodes_is_not_blamed_on_a_node():
    text = shown(report_of(between_s=13))

    assert "65 % of the wall is between nodes: the workflow's own code, or waiting" in text
    assert "twice as fast" not in text


def test_model_calls_between_nodes_are_named_as_what_is_there():
    report = report_of(between_s=13)
    assert report.times is not None
    classes = TimeClasses(model_ns=15 * S, python_ns=2 * S, framework_ns=3 * S)
    text = shown(dataclasses.replace(report, times=dataclasses.replace(report.times, classes=classes)))

    assert "65 % of the wall is between nodes: mostly model calls that were made in no node" in text
    assert "models 75.0 %, tools and code 10.0 %, outside of nodes and calls 15.0 %" in text
    assert text.count("between nodes") == 1, "one value of that name"


def test_what_models_took_is_not_told_apart_where_no_call_has_a_duration():
    report = report_of()
    assert report.times is not None
    classes = TimeClasses(python_ns=7 * S, framework_ns=S)
    report = dataclasses.replace(
        report,
        times=dataclasses.replace(report.times, classes=classes),
        models=(ModelProfile("openai", "gpt-4o", 3, 0, timed_calls=0),),
    )
    text = " ".join(shown(report).split())

    assert "Critical path: models, tools and code 87.5 %, outside" in text
    assert "How long models took is not recorded for 3 calls, whose time is in that of the code" in text
    path = report.to_json()["critical_path"]
    assert path["time_classes"]["model_ms"] is None
    assert path["untimed_calls"] == 3


def test_of_some_calls_without_a_duration_their_number_is_said():
    models = (ModelProfile("openai", "gpt-4o", 3, S, S, timed_calls=1), ModelProfile("acme", "m", 4, S, S))
    report = dataclasses.replace(report_of(), models=models)
    text = " ".join(shown(report).split())

    assert "models 62.5 %, tools and code 25.0 %" in text
    assert "is not recorded for 2 calls of 7, whose time" in text
    assert report.to_json()["critical_path"]["time_classes"]["model_ms"] == 5000
    whole = dataclasses.replace(report, models=models[1:])
    assert "not recorded" not in shown(whole)


def test_over_several_runs_it_says_how_often_a_node_decided_and_how_its_p95_moved():
    report = report_of(runs=8)
    draft = dataclasses.replace(report.nodes[1], p95_history_ns=(1 * S, 2 * S, 8 * S))
    text = shown(dataclasses.replace(report, nodes=(report.nodes[0], draft)))

    assert "8 of 8" in text
    assert "▁▂█" in text
    assert "Decides" not in shown(report_of())


def test_without_a_critical_path_there_is_a_dash_and_no_advice():
    text = shown(dataclasses.replace(report_of(), times=None))

    assert UNKNOWN in text.splitlines()[5]
    assert "Critical path:" not in text
    assert "on the critical path" not in text


def test_models_are_shown_only_where_calls_were_measured():
    measured = ModelProfile("openai", "gpt-4o", 9, 4 * S, S, 2 * S, 3 * S, 4 * S, S // 4, S // 2, 900, 10 * S)
    unmeasured = ModelProfile("acme", "m1", 3, 0)
    text = shown(dataclasses.replace(report_of(), models=(measured, unmeasured)))

    assert "openai/gpt-4o" in text
    assert "90.0" in text
    assert "acme" not in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    for line in shown(report_of(runs=8), width).splitlines():
        assert cell_len(line) <= width


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (WhatIf("draft", 0.5, 8 * S, 5 * S), "draft were 2 times as fast: run r1 would have taken 5.0 s"),
        (WhatIf("draft", 0.5, 8 * S, 5 * S), "3.0 s (37.5 %) less."),
        (WhatIf("draft", 0.0, 8 * S, 2 * S), "draft were not there"),
        (WhatIf("draft", 2.0, 8 * S, 14 * S), "were 0.5 times as fast"),
        (WhatIf("draft", 2.0, 8 * S, 14 * S), "6.0 s (75.0 %) more."),
        (WhatIf("fetch", 0.5, 8 * S, 8 * S), "would have taken as long, 8.0 s."),
    ],
)
def test_what_if_is_answered_in_a_sentence(answer, said):
    assert said in "".join(line.plain for line in what_if_lines([answer], "r1"))


def test_a_what_if_over_several_runs_says_that_it_is_of_the_newest():
    [_, line] = what_if_lines([WhatIf("draft", 0.5, 8 * S, 5 * S)], "r1", newest_of=6)
    assert "run r1, the newest of 6, would have taken 5.0 s" in line.plain


def test_a_sparkline_goes_from_the_lowest_to_the_highest():
    assert sparkline([]) == ""
    assert sparkline([5, 5, 5]) == "▅▅▅"
    assert sparkline([0, 50, 100]) == "▁▅█"
