"""What the tables say, and that they hold together at every width."""

import dataclasses
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from configurable_agents.cli import figures
from configurable_agents.cli.figures import UNKNOWN
from configurable_agents.cli.render.cost import cost_report
from configurable_agents.cli.render.nothing import nothing_found
from configurable_agents.cli.render.profile import profile_report
from configurable_agents.cli.render.receipts import receipt_pages
from configurable_agents.cli.render.runs import distinct_length, runs_list
from configurable_agents.cli.render.status import daemon_status
from configurable_agents.client.reports import Scope
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.observability.receipts import PriceEntry, Receipt
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.telemetry import OTHER_NAME, LlmCall, Usage

LONG_MODEL = "acme-experimental-huge-mixture-of-experts-preview-2026-11"
WIDTHS = (40, 60, 80, 120, 200)
HOSTILE_NAME = "[red]x[/red]\x1b[2J\u202e"
HOSTILE_NAME_SHOWN = "[red]x[/red]\\x1b[2J\\u202e"


def text_of(parts, width: int, **console) -> str:
    made = Console(file=io.StringIO(), width=width, highlight=False, **console)
    with made.capture() as capture:
        for part in parts:
            made.print(part)
    return capture.get()


def all_reports(samples, width):
    yield "cost", cost_report(samples.cost, width=width)
    yield "profile", profile_report(samples.profile, threshold_percent=50.0, width=width)
    yield "runs", runs_list(samples.runs, 11, Scope(), width=width)
    yield "status", daemon_status(samples.status)


@pytest.mark.parametrize("width", [*WIDTHS, 20, 30, 47, 93])
def test_no_line_is_wider_than_the_terminal(samples, width):
    for name, parts in all_reports(samples, width):
        for line in text_of(parts, width).splitlines():
            assert cell_len(line) <= width, (name, line)


@pytest.mark.parametrize("width", [34, *WIDTHS])
def test_no_figure_of_a_receipt_is_broken_over_two_lines(width):
    usage = Usage(input_tokens=5_000, output_tokens=900)
    price = CostEstimator().price(
        provider="anthropic", model="claude-sonnet-4-5", usage=usage, at_unix_ns=1_780_000_000 * 10**9
    )
    call = LlmCall("run", "call", 0, "draft", "anthropic", "claude-sonnet-4-5", usage, 1, 0)
    entry = PriceEntry(price.status, price.cost_nanos, price.table_cost_nanos, price.card, price.reason)
    words = text_of(receipt_pages([Receipt(call, entry)], width=width), width).split()
    assert {"5,000", "900", "$3", "$15", "$0.015", "$0.0135", "$0.0285"} <= set(words)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_figure_is_broken_over_two_lines(samples, width):
    cost = text_of(cost_report(samples.cost, width=width), width)
    assert "$10.7243" in cost
    assert "$12.4045 +" in cost
    profile = text_of(profile_report(samples.profile, threshold_percent=50.0, width=width), width)
    assert "74.1 %" in profile
    runs = text_of(runs_list(samples.runs, 11, Scope(), width=width), width)
    assert "interrupted" in runs
    assert "$0.0370 +" in runs


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_are_folded_and_none_of_their_characters_is_lost(samples, width):
    shown = text_of(cost_report(samples.cost, width=width), width)
    below_acme = shown[shown.index("   acme ") : shown.index("   ollama ")].splitlines()[1:]
    assert "".join(line.split()[0] for line in below_acme) == LONG_MODEL


def test_a_wide_terminal_gets_every_column_and_a_narrow_one_the_most_important(samples):
    wide = text_of(cost_report(samples.cost, width=120), 120)
    narrow = text_of(cost_report(samples.cost, width=40), 40)
    for title in ("Calls", "Input", "Cached", "Output", "Tokens", "Cost", "Share"):
        assert title in wide
    assert "Cost" in narrow
    assert "Cached" not in narrow


def test_providers_come_with_subtotals_and_the_total_says_what_it_lacks(samples):
    shown = text_of(cost_report(samples.cost, width=120), 120).splitlines()
    openai = next(line for line in shown if line.startswith("▲") and "openai" in line)
    assert "1,615" in openai
    assert "86.5 %" in openai
    assert any("$12.40 + 3 unpriced calls (18,204 tokens), 99.8 % of calls priced" in line for line in shown)
    assert any(
        "▲ Most expensive provider: openai ($10.72, 86.5 % of the known cost)" in line for line in shown
    )


def test_what_has_no_price_shows_a_dash_and_what_is_free_shows_zero(samples):
    shown = text_of(cost_report(samples.cost, width=120), 120).splitlines()
    acme = next(line for line in shown if line.strip().startswith("acme "))
    assert acme.split()[-2:] == [UNKNOWN, UNKNOWN], "neither a cost nor a share"
    assert "$0.0000" in next(line for line in shown if line.strip().startswith("ollama "))


def test_input_is_everything_sent_so_that_with_the_output_it_makes_the_tokens(samples):
    shown = text_of(cost_report(samples.cost, width=120), 120).splitlines()
    fields = next(line for line in shown if "claude-sonnet-4-5" in line).split()
    sent, cached, output, tokens = (int(field.replace(",", "")) for field in fields[2:6])
    assert sent + output == tokens
    assert (sent, cached) == (1_860_004, 1_640_000)


def test_nothing_costs_most_when_everything_is_free(samples):
    free = CostSummary.of(entry for entry in samples.cost.models if entry.provider == "ollama")
    shown = text_of(cost_report(free, width=80), 80)
    assert "▲" not in shown
    assert "$0.00" in shown


def test_a_report_says_what_it_covers(samples):
    everything = text_of(cost_report(samples.cost, width=120), 120)
    assert "everything: all experiments · 8 runs" in everything
    narrowed = dataclasses.replace(samples.cost, experiment="support-bot", since_unix_ns=1)
    shown = text_of(cost_report(narrowed, width=120), 120)
    assert "experiment support-bot · since 19" in shown
    assert "everything" not in shown


def test_the_profile_names_the_slowest_node_and_the_bottlenecks(samples):
    shown = text_of(profile_report(samples.profile, threshold_percent=50.0, width=120), 120)
    assert "Slowest node: draft (812.00ms avg)" in shown
    assert "Bottlenecks (>50% of total time):" in shown
    assert "draft: 74.1 %" in shown
    assert any(line.startswith("▲●  draft ") for line in shown.splitlines())


def test_a_profile_without_a_bottleneck_says_so(samples):
    shown = text_of(profile_report(samples.profile, threshold_percent=99.5, width=120), 120)
    assert "No node takes more than 99.5% of the total time." in shown
    assert "Bottlenecks" not in shown
    assert "●" not in shown


def test_a_percentile_that_is_not_kept_is_a_dash(samples):
    shown = text_of(profile_report(samples.profile, threshold_percent=50.0, width=120), 120)
    assert f" {UNKNOWN} " in next(line for line in shown.splitlines() if "retrieve" in line)


def test_nodes_of_zero_duration_have_a_share_of_zero():
    report = ProfileReport(nodes=(NodeProfile("a", 2, 0, 0, 0),), run_count=1)
    shown = text_of(profile_report(report, threshold_percent=50.0, width=80), 80)
    assert "0.0 %" in shown
    assert "Slowest node: a (0.00ms avg)" in shown


def test_a_run_without_calls_or_nodes_is_said_in_words(samples):
    assert "No LLM call was recorded." in text_of(cost_report(CostSummary(run_count=1), width=80), 80)
    empty = ProfileReport(run_count=1)
    assert "No node has finished." in text_of(profile_report(empty, threshold_percent=50.0, width=80), 80)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_hostile_name_is_printed_literally(samples, width):
    entry = dataclasses.replace(samples.cost.models[0], provider=HOSTILE_NAME, model=HOSTILE_NAME)
    node = dataclasses.replace(samples.profile.nodes[0], node_id=HOSTILE_NAME)
    run = dataclasses.replace(
        samples.runs[0], experiment=HOSTILE_NAME, workflow=HOSTILE_NAME, bottleneck_info=""
    )
    shown = text_of(
        [
            *cost_report(CostSummary(models=(entry,), experiment=HOSTILE_NAME), width=width),
            *profile_report(ProfileReport(nodes=(node,)), threshold_percent=50.0, width=width),
            *runs_list((run,), 1, Scope(experiment=HOSTILE_NAME), width=width),
            *nothing_found(Scope(experiment=HOSTILE_NAME), run),
        ],
        width,
        force_terminal=True,
    )
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    plain = text_of(cost_report(CostSummary(models=(entry,)), width=200), 200)
    assert HOSTILE_NAME_SHOWN in plain


def test_wide_characters_and_many_models_keep_the_table_aligned(samples):
    entries = [
        ModelCost("供給者", f"模型-{index}", samples.cost.models_of("openai")[0].totals)
        for index in range(300)
    ]
    shown = text_of(cost_report(CostSummary.of(entries), width=80), 80)
    rows = [line for line in shown.splitlines() if "模型-" in line]
    assert len(rows) == 300
    assert len({cell_len(line[: line.index("$")]) for line in rows}) == 1


@pytest.mark.parametrize("width", range(60, 240, 12))
def test_no_run_id_continues_on_the_next_line(samples, width):
    lines = text_of(runs_list(samples.runs, 5, Scope(), width=width), width).splitlines()
    ids = {run.run_id for run in samples.runs}
    shown = [line.split()[0] for line in lines if line[:1] in set("0123456789abcdef") and len(line) > 40]
    shown = [word for word in shown if word.isalnum() and len(word) >= 12]
    assert len(shown) == len(ids)
    assert len(set(map(len, shown))) == 1
    assert all(any(run_id.startswith(word) for run_id in ids) for word in shown)
    assert not any(line.strip() and line.strip() in run_id for line in lines for run_id in ids)


def test_runs_show_whole_ids_where_they_fit_and_beginnings_that_differ_elsewhere(samples):
    wide = text_of(runs_list(samples.runs, 5, Scope(), width=200), 200)
    narrow = text_of(runs_list(samples.runs, 5, Scope(), width=80), 80)
    for run in samples.runs:
        assert run.run_id in wide
        assert run.run_id not in narrow
        assert run.run_id[:12] in narrow


def test_shortened_ids_are_as_long_as_it_takes_to_tell_them_apart():
    assert distinct_length(["abcdef1", "abcdef2", "x"]) == 7
    assert distinct_length(["abc", "abcd"]) == 4
    assert distinct_length(["only"]) == 0
    assert distinct_length([]) == 0


def test_the_list_of_runs_says_how_many_it_leaves_out(samples):
    assert "6 more; --limit shows them." in text_of(runs_list(samples.runs, 11, Scope(), width=120), 120)
    assert "more;" not in text_of(runs_list(samples.runs, 5, Scope(), width=120), 120)


def test_a_run_in_flight_has_no_wall_time_and_no_bottleneck_yet(samples):
    shown = text_of(runs_list(samples.runs, 5, Scope(), width=200), 200)
    running = next(line for line in shown.splitlines() if "running" in line)
    assert running.split().count(UNKNOWN) == 2


def test_the_status_shows_refusals_by_reason_and_no_password(samples):
    shown = text_of(daemon_status(samples.status), 120)
    assert "4 (bad_name 3, negative_duration 1)" in shown
    assert "100,000 events waiting, 2 runs not final there" in shown
    assert "MLflow did not answer within 5 s" in shown
    assert "secret" not in shown


def test_finding_nothing_says_what_was_looked_for_and_what_there_is(samples):
    shown = text_of(nothing_found(Scope(experiment="gone", since_unix_ns=1), samples.runs[0]), 200)
    assert "experiment gone" in shown
    assert samples.runs[0].run_id in shown
    assert "observe_run" in text_of(nothing_found(Scope(), None), 200)


def test_a_report_says_what_other_stands_for():
    report = ProfileReport((NodeProfile(OTHER_NAME, 3, 30, 30, 10),), run_count=1)
    shown = text_of(profile_report(report, threshold_percent=50, width=100), 100)
    assert "__other__ is what came after the first names" in shown


def test_the_status_says_what_is_stuck_and_why(samples):
    shown = text_of(daemon_status(samples.status), 160)
    assert "not serving" in shown
    assert "ledger since" in shown
    assert "another program holds the ledger" in shown
    assert "spools" not in shown
    assert "18 pending (1.8 kB, the oldest for 12.0 s)" in shown


def test_a_call_without_a_model_shows_a_dash_for_its_name():
    nameless = CostSummary.of([ModelCost("openai", "", CallTotals(1, no_usage_calls=1))])
    lines = text_of(cost_report(nameless, width=100), 100).splitlines()
    (provider,) = (index for index, line in enumerate(lines) if "openai" in line)
    assert lines[provider + 1].split()[:2] == [figures.UNKNOWN, "1"]
    assert figures.name("") == figures.UNKNOWN
    assert "\x1b" not in figures.name("gpt-4o\x1b[2J")


def test_the_status_says_what_is_acknowledged_and_not_committed(samples):
    text = text_of(daemon_status(samples.status), 160)
    assert "1,000 since the start, with what is not kept: nodes announced, repeats and refused ones" in text
