"""Runs of whose calls no price, or not every price, is known: every command says so, none says zero."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from configurable_agents import observe_run
from configurable_agents.cli.app import app
from configurable_agents.cli.endings import run_program
from configurable_agents.cli.figures import UNKNOWN
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Status

USAGE = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}}
MONEY = ("cost_usd", "cost_nanos", "total_cost", "saved_usd", "saved_nanos")


@pytest.fixture
def ask(daemon, eventually, capsys):
    """Asks a daemon with a run of an unknown model, one whose response had no usage, and a mixed one."""

    def record(run_id: str, *models: str) -> None:
        with observe_run("costs", "w", run_id=run_id, home=daemon.home.folder) as run:

            @profile_node("step")
            def step(model: str) -> None:
                response = {"model": model, **({"usage": USAGE} if model != "silent" else {})}
                run.track_call("openai", model, response)
                raise TimeoutError

            for model in models:
                with pytest.raises(TimeoutError):
                    step(model)

    record("unknown", "nobody-knows", "nobody-knows")
    record("silent", "silent")
    record("mixed", "gpt-4o", "nobody-knows")
    with ReportClient(daemon.home) as client:
        eventually(lambda: [run.status for run in client.runs(Scope())[0]] == [Status.OK] * 3)

    def asked(*arguments: str, complaint: str = "") -> str:
        code = run_program(lambda: app([*arguments, "--home", str(daemon.home.folder)]))
        out, err = capsys.readouterr()
        assert (code, err) == (4 if complaint else 0, complaint)
        return out

    return asked


def amounts(value: Any) -> list[Any]:
    """Everything in a JSON document that is an amount of money."""
    if isinstance(value, list):
        return [found for each in value for found in amounts(each)]
    if not isinstance(value, dict):
        return []
    found = [each for key, each in value.items() if key.endswith(MONEY)]
    return found + [amount for each in value.values() for amount in amounts(each)]


def row_of(table: str, name: str) -> str:
    (row,) = (line for line in table.splitlines() if line.startswith(name))
    return row


@pytest.mark.parametrize("run_id", ["unknown", "silent"])
def test_no_command_shows_a_zero_for_a_run_of_which_nothing_is_known(ask, run_id):
    one = ("--run", run_id)
    documents = [
        json.loads(ask("cost-report", *one, "--json")),
        json.loads(ask("cost-report", *one, "--by", "wasted,run,node", "--json")),
        json.loads(ask("cost-report", *one, "--by", "token-class", "--json")),
        json.loads(ask("explain", *one, "--json")),
        [run for run in json.loads(ask("runs", "--json")) if run["run_id"] == run_id],
    ]
    for document in documents:
        assert amounts(document)
        assert set(amounts(document)) == {None}, document
    for arguments in (
        ("cost-report", *one),
        ("cost-report", *one, "--by", "wasted,run,node"),
        ("cost-report", *one, "--by", "node", "--format", "markdown"),
        ("explain", *one),
        ("timeline", run_id),
        ("timeline", run_id, "--format", "folded-cost"),
    ):
        assert "$0" not in ask(*arguments), arguments
    assert "$0" not in row_of(ask("runs"), run_id)
    (line,) = csv.DictReader(io.StringIO(ask("cost-report", *one, "--by", "node", "--format", "csv")))
    assert [line[name] for name in ("cost_usd", "cost_nanos", "wasted_cost_usd")] == ["", "", ""]


def test_the_tables_the_sentence_and_the_picture_use_the_same_dash(ask):
    report = ask("cost-report", "--run", "unknown")
    assert f"{UNKNOWN} + 2 unpriced calls (210 tokens), 0.0 % of calls priced" in report
    assert f"Wasted: {UNKNOWN} in 2 calls" in report
    assert f"{UNKNOWN} stands for a cost of which nothing is known." in report
    assert report.count("Total") == 1
    rows = [line for line in ask("timeline", "unknown").splitlines() if line.startswith("step ")]
    assert [row.split()[-1] for row in rows] == [UNKNOWN] * 2


def test_what_is_known_in_part_is_a_lower_bound_and_marked_as_one(ask):
    found = json.loads(ask("cost-report", "--run", "mixed", "--json"))
    assert found["total_cost_nanos"] == 60 * 2_500 + 40 * 1_250 + 5 * 10_000
    assert found["coverage"]["calls_covered_percent"] == 50
    assert (found["wasted"]["call_count"], found["wasted"]["calls_covered_percent"]) == (2, 50)
    table = ask("cost-report", "--run", "mixed", "--by", "run")
    assert "$0.0003 +" in table
    assert "+ marks costs that leave out calls without a known price." in table
    assert "$0.0003 +" in row_of(ask("runs"), "mixed")
    assert "Wasted: $0.0003 + in 2 calls" in ask("cost-report", "--run", "mixed")


def test_tokens_of_calls_without_usage_are_not_zero_tokens(ask):
    one = ("--run", "silent")
    whole = json.loads(ask("cost-report", *one, "--json"))
    grouped = json.loads(ask("cost-report", *one, "--by", "node", "--json"))
    [group] = grouped["groups"]
    found = [whole, whole["wasted"], *whole["by_provider"].values(), group, group["wasted"], grouped["total"]]
    [run] = [run for run in json.loads(ask("runs", "--json")) if run["run_id"] == "silent"]
    assert [each["total_tokens"] for each in (*found, run)] == [None] * 7
    assert (whole["tokens"], group["tokens"], run["no_usage_calls"]) == (None, None, 1)
    (line,) = csv.DictReader(io.StringIO(ask("cost-report", *one, "--by", "node", "--format", "csv")))
    assert (line["total_tokens"], line["input"], line["output"]) == ("", "", "")
    assert row_of(ask("cost-report", *one, "--by", "node"), "step").split()[1:7] == ["1", "0", *UNKNOWN * 4]
    assert f"| step | 1 | {UNKNOWN} | {UNKNOWN} |" in ask(
        "cost-report", *one, "--by", "node", "--format", "markdown"
    )


def test_tokens_that_are_known_in_part_are_a_lower_bound_and_marked_as_one(ask):
    table = ask("cost-report")
    (total,) = (line for line in table.splitlines() if line.strip().startswith("Total"))
    assert "420 +" in total
    assert "Tokens are those of calls with usage." in " ".join(table.split())
    assert "Tokens are those" not in ask("cost-report", "--run", "mixed")
    assert "| **total** | 5 | 420 + |" in ask("cost-report", "--by", "node", "--format", "markdown")


def test_savings_of_caches_at_unknown_rates_are_unknown(ask):
    total = json.loads(ask("caches", "--run", "unknown", "--json"))["total"]
    assert (total["read_tokens"], total["saved_usd"], total["saved_nanos"]) == (80, None, None)
    assert "$0.0" not in ask("caches", "--run", "unknown").replace("$0.00\n", "")
    mixed = json.loads(ask("caches", "--run", "mixed", "--json"))["total"]
    assert (mixed["saved_nanos"], mixed["rateless_read_tokens"]) == (40 * 1_250, 40)


def test_a_repricing_that_changes_nothing_says_so_and_no_amount(ask):
    assert "No price differs.\n" in ask("reprice", "--run", "unknown")
    assert "$" not in ask("reprice", "--run", "unknown")


def test_a_repricing_of_what_is_unknown_finds_no_difference_of_zero_dollars(ask):
    found = json.loads(ask("reprice", "--run", "unknown", "--json"))
    assert (found["changed_calls"], found["before"]["total_cost"], found["after"]["total_cost"]) == (
        0,
        None,
        None,
    )


def test_strict_advises_what_helps_against_the_gap_there_is(ask):
    gap = "error: not every call has a known cost: {0}, {1} % of calls priced; {2}; or leave out --strict\n"
    price = "agents-obs explain says why a call has no price, prices.toml can give it one"
    usage = "ask the provider for usage where there is none (docs/cost.md, Streams)"
    unpriced, silent = "2 unpriced calls (210 tokens)", "1 call without usage"
    strict = ("cost-report", "--strict", "--run")
    ask(*strict, "unknown", complaint=gap.format(f"{UNKNOWN} + {unpriced}", "0.0", price))
    ask(*strict, "silent", complaint=gap.format(f"{UNKNOWN} + {silent}", "0.0", usage))
