"""What changed between runs, what counts as noise, and what fails a check."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.cells import cell_len
from rich.console import Console

from configurable_agents import observe_run
from configurable_agents.cli.figures import UNKNOWN
from configurable_agents.cli.render.diff import diff_report, markdown
from configurable_agents.errors import InvalidValueError
from configurable_agents.observability.cost_summary import CallTotals, ModelCost
from configurable_agents.runtime.comparison import Limit, compared, noise_percent, parse_limits
from configurable_agents.runtime.past_runs import PastNode, PastRun
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Status, Usage

S = 1_000_000_000


def run(wall_s: float, cost_nanos: int = 100, *, node: str = "draft", errors: int = 0) -> PastRun:
    wall_ns = round(wall_s * S)
    model = ModelCost("openai", "gpt-4o", CallTotals(2, cost_nanos, Usage(50), priced_calls=2))
    return PastRun("r", 1, Status.OK, wall_ns, (PastNode(node, 3, wall_ns, wall_ns // 2, errors),), (model,))


STEADY = [run(9.8), run(9.9), run(10), run(10.1), run(10.2)]


def of(found, metric: str, what: str = ""):
    return next(
        change
        for change in (*found.totals, *found.nodes, *found.models)
        if (change.metric, change.what) == (metric, what)
    )


def test_figures_are_means_per_run_and_changes_in_percent():
    found = compared([run(10), run(20)], [run(30, 150)], [])

    assert of(found, "wall").before == 15 * S
    assert of(found, "wall").percent == pytest.approx(100)
    assert of(found, "cost").percent == pytest.approx(50)
    assert of(found, "cost", "openai/gpt-4o").after == 150
    assert of(found, "p95", "draft").percent == pytest.approx(100)
    assert of(found, "calls", "draft").percent == 0


def test_a_change_within_the_noise_of_past_runs_is_not_notable():
    inside, beyond = compared(STEADY, [run(10.2)], STEADY), compared(STEADY, [run(12)], STEADY)

    assert of(inside, "wall").noise_percent == pytest.approx(100 * 2 * 1.4826 * 0.1 / 10)
    assert not of(inside, "wall").is_notable
    assert of(beyond, "wall").is_notable
    assert noise_percent([1, 2, 3, 4]) is None
    assert noise_percent([0, 0, 0, 0, 0]) is None


def said(before, after, past) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    with console.capture() as capture:
        for part in diff_report(compared(before, after, past), "a", "b", width=120):
            console.print(part)
    return capture.get()


def test_it_is_said_how_the_figures_were_made():
    one, several = said([run(10)], [run(11)], STEADY[:4]), said(STEADY, [run(11)], STEADY)

    assert "Noise is not known from 4 past runs; it takes 5. Every change counts." in one
    assert "means per run" not in one
    assert "Figures are means per run; p95 is the median of the p95 of the runs." in several
    assert "Noise: two standard deviations of 5 past runs." in several
    assert "within noise" not in one
    assert "Every change counts" in markdown(compared([run(10)], [run(11)], []), "a", "b")


def test_p95_over_several_runs_is_the_median_of_theirs():
    found = compared([run(10), run(12), run(90)], [run(20)], [])

    assert of(found, "p95", "draft").before == 6 * S
    assert of(found, "total", "draft").before == pytest.approx(112 / 3 * S)


def test_one_run_that_went_wrong_does_not_widen_the_noise():
    assert noise_percent([9.8, 9.9, 10, 10.1, 10.2, 500]) < 10


def test_nodes_that_came_or_went_are_neither_zero_nor_a_percentage():
    found = compared([run(10)], [run(10, node="polish")], [])

    assert (of(found, "total", "draft").after, of(found, "total", "draft").percent) == (None, None)
    assert of(found, "total", "polish").before is None
    assert of(found, "total", "polish").is_notable


def test_limits_fail_for_growth_that_is_beyond_them_and_beyond_noise():
    limits = parse_limits("wall>+10%, p95 > 15%,cost>+0%,errors>+0%")
    assert limits == [Limit("wall", 10), Limit("p95", 15), Limit("cost", 0), Limit("errors", 0)]

    def exceeded(after, past=()):
        return [limit.metric for limit, _ in compared([run(10)], [after], past).exceeded(limits)]

    assert exceeded(run(10)) == []
    assert exceeded(run(11)) == []
    assert exceeded(run(8, 90)) == []
    assert exceeded(run(12)) == ["wall", "p95"]
    assert exceeded(run(11.4, 101)) == ["wall", "cost"]
    assert exceeded(run(10, errors=1)) == ["errors"]
    noisy = [run(5), run(10), run(15), run(7), run(13)]
    assert exceeded(run(12), noisy) == []


def costing(known_nanos: int, *, known: int, unknown: int = 0, no_usage: int = 0) -> PastRun:
    totals = CallTotals(
        known + unknown + no_usage,
        known_nanos,
        Usage(50 * (known + unknown)),
        priced_calls=known,
        unpriced_calls=unknown,
        no_usage_calls=no_usage,
    )
    return dataclasses.replace(run(10), models=(ModelCost("acme", "m", totals),))


def test_an_unknown_cost_is_no_figure_no_change_and_no_zero():
    found = compared([costing(0, known=0, unknown=2)], [costing(0, known=0, unknown=3)], [])
    for cost in (of(found, "cost"), of(found, "cost", "acme/m")):
        assert (cost.before, cost.after, cost.percent, cost.is_notable) == (None, None, None, False)
        assert (cost.before_unknown_calls, cost.after_unknown_calls) == (2, 3)
    assert of(found, "calls").percent == 50
    text = markdown(found, "a", "b")
    assert f"|  | cost | {UNKNOWN} | {UNKNOWN} | {UNKNOWN} |" in text
    assert "Costs leave out 2 calls before and 3 calls after without a known price" in text


def test_a_cost_that_is_known_in_part_is_a_lower_bound_on_its_side_only():
    found = compared([costing(100, known=1)], [costing(150, known=1, unknown=1)], [])
    cost = of(found, "cost")
    assert (cost.after, cost.percent, cost.is_notable) == (150, 50, True)
    assert "at least +50.0 %" in markdown(found, "a", "b")
    fallen = of(compared([costing(100, known=1)], [costing(80, known=1, unknown=1)], []), "cost")
    assert (fallen.is_notable, fallen.exceeds(10)) == (False, None)
    other = of(compared([costing(100, known=1, unknown=1)], [costing(150, known=1)], []), "cost")
    assert (other.percent, other.is_notable) == (None, False)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (costing(100, known=1), costing(120, known=1), "exceeded"),
        (costing(100, known=1), costing(105, known=1), "kept"),
        (costing(100, known=1), costing(120, known=1, unknown=1), "exceeded"),
        (costing(100, known=1), costing(105, known=1, unknown=1), "undecided"),
        (costing(100, known=1, unknown=1), costing(500, known=1), "undecided"),
        (costing(100, known=1), costing(0, known=0, unknown=1), "undecided"),
        (costing(0, known=0, unknown=1), costing(0, known=0, no_usage=1), "undecided"),
        (costing(0, known=1), costing(5, known=1, unknown=1), "exceeded"),
    ],
)
def test_a_limit_on_costs_that_are_not_all_known_is_exceeded_for_certain_or_cannot_be_judged(
    before, after, verdict
):
    found, limits = compared([before], [after], []), parse_limits("cost>+10%")
    assert bool(found.exceeded(limits)) is (verdict == "exceeded")
    assert bool(found.undecided(limits)) is (verdict == "undecided")


def test_calls_without_usage_leave_the_tokens_open_too():
    found = compared([costing(5, known=1)], [costing(5, known=1, no_usage=1)], [])
    assert (of(found, "tokens").after_unknown_calls, of(found, "tokens").exceeds(10)) == (1, None)
    assert of(found, "calls").exceeds(10) is True


def test_past_runs_with_unknown_costs_say_nothing_about_noise():
    past = [costing(100, known=1)] * 4 + [costing(1, known=1, unknown=1)] * 9
    assert of(compared(past, past, past), "cost").noise_percent is None


@pytest.mark.parametrize("text", ["", "cost", "cost>", "cost<10%", "speed>+10%", "cost>+10", "cost>-5%,"])
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(InvalidValueError, match="cost>"):
        parse_limits(text)


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    found = compared(STEADY, [run(12, node="n\x1b[2J")], STEADY)
    with console.capture() as capture:
        for part in diff_report(found, "a", "b", width=width):
            console.print(part)

    assert "\x1b[2J" not in capture.get()
    assert all(cell_len(line) <= width for line in capture.get().splitlines())


def test_markdown_lets_no_name_be_markup():
    text = markdown(compared(STEADY, [run(12, node="a|b <img> @all `x`")], STEADY), "main", "branch")

    assert "| wall | 10.0 s | 12.0 s | **+20.0 %** | ± 3.0 % |" in text
    assert "a\\|b &#60;img&#62; &#64;all \\`x\\`" in text
    assert all(
        line.count("|") - line.count("\\|") == 8 for line in text.splitlines() if line.startswith("| ")
    )


def test_a_name_of_nothing_is_said_in_one_sentence_with_what_there_is_once():
    from configurable_agents.cli.diff import both

    empty = "the ledger is empty"
    said = both(f"no experiment is called 'a'; {empty}", f"no run is called 'a'; {empty}")
    assert said == f"no experiment is called 'a' and no run is called 'a'; {empty}"
    said = both("no experiment is called 'a'; there are: x", "no run is called 'a'; the newest are: r")
    assert said == "no experiment is called 'a' and no run is called 'a'; there are: x; the newest are: r"


def test_the_command_compares_real_runs_and_says_by_its_exit_code_what_grew(daemon, eventually, capsys):
    from configurable_agents.cli.app import app
    from configurable_agents.cli.endings import run_program
    from configurable_agents.client.reports import ReportClient, Scope

    def record(experiment: str, calls: int, model: str = "gpt-4o") -> None:
        with observe_run(experiment, home=daemon.home.folder) as observed:

            @profile_node("step")
            def step() -> None:
                usage = {"prompt_tokens": 10, "completion_tokens": 5}
                observed.track_call("openai", model, {"model": model, "usage": usage})

            for _ in range(calls):
                step()

    record("main", 2)
    record("branch", 5)
    record("unknown", 2, model="nobody-knows")
    with ReportClient(daemon.home) as client:
        eventually(lambda: [run.status for run in client.runs(Scope())[0]] == [Status.OK] * 3)

    def diff(*arguments: str) -> tuple[int, str, str]:
        home = ["--home", str(daemon.home.folder)]
        code = run_program(lambda: app(["diff", *arguments, *home]))
        return code, *capsys.readouterr()

    code, out, err = diff("main", "branch", "--fail-on", "cost>+100%,tokens>+500%", "--json")
    assert (code, err) == (6, "error: cost>+100%: cost grew by 150.0 %\n")
    calls = next(change for change in json.loads(out)["totals"] if change["metric"] == "calls")
    assert (calls["before"], calls["after"], calls["percent"]) == (2, 5, 150)
    assert diff("main", "branch", "--fail-on", "cost>+200%")[0] == 0
    assert diff("branch", "main", "--format", "markdown")[1].startswith("### What changed")
    assert diff("main", "nothing")[0] == 1
    code, out, err = diff("main", "unknown", "--fail-on", "cost>+10%")
    assert (code, out.count("$0.00 ")) == (4, 0)
    assert err.startswith("error: cost>+10% cannot be judged: cost leaves out 2 calls after; ")
    assert diff("main", "unknown", "--fail-on", "cost>+10%,calls>+10%")[0] == 4
    assert diff("main")[0] == 2
    assert diff("latest", "latest")[0] == 0
