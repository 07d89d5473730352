"""Costs as CSV and Markdown: exact, and harmless wherever they are opened."""

import csv
import io

import pytest

from configurable_agents.cli.cost_tables import as_csv, as_markdown, harmless
from configurable_agents.observability.cost_groups import CostGroup, GroupedCosts
from configurable_agents.observability.cost_summary import CallTotals
from configurable_agents.telemetry import Usage

PRICED = CallTotals(2, 1_234_567_891, Usage(10, output_tokens=3), priced_calls=2)
UNKNOWN = CallTotals(1, usage=Usage(4), unpriced_calls=1, unpriced_tokens=4)


def grouped(*names: str) -> GroupedCosts:
    groups = tuple(CostGroup((name,), PRICED) for name in names)
    return GroupedCosts(("node",), (*groups, CostGroup(("x",), UNKNOWN)), PRICED.plus(UNKNOWN), group_count=9)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=cmd|' /C calc'!A0", "\r\n-2"])
def test_a_name_that_a_spreadsheet_would_run_is_quoted(name):
    assert harmless(name).startswith("'")
    (first, _) = lines(as_csv(grouped(name)))
    assert first["node"].startswith("'")


@pytest.mark.parametrize("name", ["draft", "a=b", "gpt-4o", "日本", 'say "hi", there'])
def test_other_names_stay_as_they_are(name):
    assert lines(as_csv(grouped(name)))[0]["node"] == name


def test_costs_are_exact_and_an_unknown_one_is_empty():
    known, unknown = lines(as_csv(grouped("draft")))
    assert (known["cost_usd"], known["cost_nanos"]) == ("1.234567891", "1234567891")
    assert (unknown["cost_usd"], unknown["unpriced_calls"], unknown["calls_covered_percent"]) == (
        "",
        "1",
        "0.0",
    )


def test_what_was_wasted_is_empty_where_nothing_of_it_is_known():
    (wasted, *_) = lines(as_csv(GroupedCosts(("node",), (CostGroup(("x",), PRICED, UNKNOWN),), PRICED)))
    assert (wasted["wasted_calls"], wasted["wasted_cost_usd"]) == ("1", "")
    assert wasted["wasted_calls_covered_percent"] == "0.0"
    nothing = lines(as_csv(grouped("draft")))[0]
    assert (nothing["wasted_calls"], nothing["wasted_cost_usd"]) == ("0", "0")


def test_a_name_with_line_ends_stays_on_its_line():
    assert as_csv(grouped("a\nb")).count("\n") == 3
    assert as_markdown(grouped("a\nb | c")).count("\n") == 7


def test_markdown_of_no_calls_claims_no_coverage():
    assert as_markdown(GroupedCosts(("node",), (), CallTotals())).endswith("\n\nNo LLM call was recorded.\n")


def test_markdown_has_a_total_and_says_what_it_does_not_cover():
    text = as_markdown(grouped("a|b"))
    assert "| a\\|b | 2 | 13 | $1.234567891 |" in text
    assert "| x | 1 | 4 | – |" in text  # noqa: RUF001
    assert "| **total** | 3 | 17 | $1.234567891 + |" in text
    assert "1 unpriced call" in text
