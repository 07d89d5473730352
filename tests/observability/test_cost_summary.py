"""Totals of calls: what is known, what is not, and how both are shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.observability.cost_summary import (
    COUNT_FIELDS,
    CallTotals,
    CostSummary,
    ModelCost,
    format_usd,
    percent_below,
    sum_totals,
    usd,
)
from configurable_agents.observability.known_cost import KnownCost
from configurable_agents.telemetry import PriceStatus, Usage

TEN = Usage(input_tokens=6, output_tokens=4)


def call(
    status: PriceStatus, nanos: int = 0, usage: Usage | None = TEN, *, failed: bool = False
) -> CallTotals:
    return CallTotals.of_call(usage, status, nanos, failed=failed)


def cost(provider: str, model: str, *calls: CallTotals) -> ModelCost:
    return ModelCost(provider, model, sum_totals(calls))


@pytest.mark.parametrize("status", [PriceStatus.PRICED, PriceStatus.STATED, PriceStatus.FREE])
def test_a_known_cost_is_in_the_sum(status: PriceStatus) -> None:
    totals = call(status, 5)
    assert (totals.cost_nanos, totals.covered_calls, totals.calls_covered_percent) == (5, 1, 100.0)


@pytest.mark.parametrize("status", [PriceStatus.UNPRICED, PriceStatus.NO_USAGE])
def test_an_unknown_cost_is_not_in_the_sum(status: PriceStatus) -> None:
    totals = call(status, 5, TEN if status is PriceStatus.UNPRICED else None)
    assert (totals.cost_nanos, totals.covered_calls, totals.calls_covered_percent) == (0, 0, 0.0)


def test_tokens_of_unpriced_calls_are_counted_and_shown_apart() -> None:
    totals = call(PriceStatus.PRICED, 5).plus(call(PriceStatus.UNPRICED))
    assert (totals.total_tokens, totals.unpriced_tokens, totals.tokens_covered_percent) == (20, 10, 50.0)


def test_nothing_at_all_is_fully_covered() -> None:
    assert (CallTotals().calls_covered_percent, CallTotals().tokens_covered_percent) == (100.0, 100.0)


def test_the_sentence_says_what_the_total_does_not_know() -> None:
    priced = [call(PriceStatus.PRICED, 12_410_000_000), *[call(PriceStatus.PRICED)] * 97]
    assert sum_totals(priced).coverage_sentence() == "$12.41, 100.0 % of calls priced"
    unknown = [*[call(PriceStatus.UNPRICED)] * 3, call(PriceStatus.NO_USAGE, usage=None)]
    assert sum_totals([*priced, *unknown]).coverage_sentence() == (
        "$12.41 + 3 unpriced calls (30 tokens) + 1 call without usage, 96.1 % of calls priced"
    )


def test_almost_everything_is_never_shown_as_everything() -> None:
    assert [percent_below(percent) for percent in (100, 99.999, 99.94, 0)] == [
        "100.0 %",
        "99.9 %",
        "99.9 %",
        "0.0 %",
    ]


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (99_999, "$0.000099999"),
        (100_000, "$0.0001"),
        (3_400_000, "$0.0034"),
        (999_999_999, "$1.0000"),
        (1_000_000_000, "$1.00"),
        (1_234_567_890_000, "$1,234.57"),
    ],
)
def test_money_is_shown_with_the_decimals_it_needs(nanos: int, text: str) -> None:
    assert format_usd(nanos) == text


SUMMARY = CostSummary.of(
    [
        cost("openai", "gpt-4o", call(PriceStatus.PRICED, 10, failed=True)),
        cost("openai", "gpt-5", call(PriceStatus.PRICED, 30)),
        cost("anthropic", "claude", call(PriceStatus.STATED, 35)),
        cost("ollama", "llama3", call(PriceStatus.FREE)),
        cost("openai", "gpt-4o", call(PriceStatus.UNPRICED)),
    ],
    experiment="e",
    run_count=2,
)


def test_entries_of_one_model_are_one() -> None:
    assert [(entry.provider, entry.model) for entry in SUMMARY.models] == [
        ("anthropic", "claude"),
        ("ollama", "llama3"),
        ("openai", "gpt-4o"),
        ("openai", "gpt-5"),
    ]


def test_the_most_expensive_come_first() -> None:
    assert list(SUMMARY.by_provider()) == ["openai", "anthropic", "ollama"]
    assert [entry.model for entry in SUMMARY.models_of("openai")] == ["gpt-5", "gpt-4o"]
    assert SUMMARY.most_expensive_provider == "openai"


def test_where_nothing_cost_anything_none_is_most_expensive() -> None:
    assert CostSummary.of([cost("ollama", "llama3", call(PriceStatus.FREE))]).most_expensive_provider is None


def test_merged_summaries_add_up() -> None:
    both = SUMMARY.merged_with(SUMMARY)
    assert (both.totals.cost_nanos, both.run_count, both.experiment) == (150, 4, "e")
    assert len(both.models) == len(SUMMARY.models)


def test_the_json_has_the_keys_of_its_contract_and_adds_up() -> None:
    report: dict[str, Any] = json.loads(json.dumps(SUMMARY.to_json()))
    assert {"experiment", "total_cost_usd", "total_tokens", "by_provider", "coverage"} <= report.keys()
    assert report["total_cost_usd"] == usd(75)
    openai = report["by_provider"]["openai"]
    assert {"total_cost", "total_tokens", "call_count", "models"} <= openai.keys()
    assert (openai["call_count"], openai["failed_calls"]) == (3, 1)
    assert (
        sum(part["total_cost_nanos"] for part in report["by_provider"].values()) == report["total_cost_nanos"]
    )
    assert sum(part["total_cost_nanos"] for part in openai["models"].values()) == openai["total_cost_nanos"]
    assert report["run_id"] is None


totals = st.builds(CallTotals, *[st.integers(0, 10**15)] * 2, st.builds(Usage, *[st.integers(0, 10**9)] * 9))
pairs = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), totals)


@given(st.lists(totals, max_size=8), st.integers(0, 8), st.randoms())
def test_totals_add_up_in_any_order_and_grouping(parts: list[CallTotals], cut: int, random: Any) -> None:
    whole = sum_totals(parts)
    assert sum_totals(random.sample(parts, len(parts))) == whole
    assert sum_totals(parts[:cut]).plus(sum_totals(parts[cut:])) == whole


@given(st.lists(pairs, max_size=12))
def test_every_grouping_sums_to_the_same_total(calls: list[tuple[str, str, CallTotals]]) -> None:
    summary = CostSummary.of(ModelCost(*entry) for entry in calls)
    whole = sum_totals(part for _, _, part in calls)
    assert summary.totals == whole
    assert sum_totals(summary.by_provider().values()) == whole
    for provider, part in summary.by_provider().items():
        assert sum_totals(entry.totals for entry in summary.models_of(provider)) == part


counts = st.integers(0, 10**15)
some_totals = st.builds(
    CallTotals,
    usage=st.lists(counts, min_size=9, max_size=9).map(lambda each: Usage(*each)),
    **dict.fromkeys(COUNT_FIELDS, counts),
)
summaries = st.lists(
    st.builds(ModelCost, st.sampled_from(["openai", "acme"]), st.sampled_from(["a", "b"]), some_totals),
    max_size=4,
).map(lambda entries: CostSummary.of(entries, run_count=1, wasted=CallTotals()))


@given(first=summaries, second=summaries, third=summaries)
def test_merging_the_totals_of_ledgers_is_associative_and_knows_no_order(first, second, third) -> None:
    left = first.merged_with(second).merged_with(third)
    assert left == first.merged_with(second.merged_with(third))
    assert left == third.merged_with(first).merged_with(second)
    assert left.totals == sum_totals([third.totals, first.totals, second.totals])


@given(totals=some_totals)
def test_taking_totals_away_again_leaves_nothing(totals) -> None:
    assert totals.plus(totals.negated()) == CallTotals()


def test_a_summary_says_what_it_knows_when_it_is_printed() -> None:
    unknown = CallTotals(1, usage=TEN, unpriced_calls=1, unpriced_tokens=10)
    summary = CostSummary.of([ModelCost("acme", "x", unknown)])
    said = "\N{EN DASH} + 1 unpriced call (10 tokens), 0.0 % of calls priced"
    assert repr(summary) == f"<CostSummary of 1 model: {said}>"


COSTS = st.builds(
    lambda nanos, calls, unknown: KnownCost(nanos, calls, min(calls, unknown)),
    st.integers(-(10**18), 10**18),
    st.integers(0, 9),
    st.integers(0, 9),
)


@given(COSTS, COSTS, COSTS)
def test_known_costs_add_up_in_any_order_and_are_zero_only_when_that_is_known(one, two, three) -> None:
    assert one.plus(two).plus(three) == one.plus(two.plus(three)) == three.plus(one).plus(two)
    assert one.plus(two).less(two) == one
    whole = one.plus(two)
    assert whole.is_complete == (one.is_complete and two.is_complete)
    assert (whole.known_nanos is None) == (whole.calls == whole.unknown_calls > 0)


def test_one_call_of_millions_that_is_not_known_keeps_the_share_below_all_of_them() -> None:
    known = CallTotals(calls=5_000_000, priced_calls=5_000_000, usage=Usage(5_000_000_000))
    unknown = CallTotals.of_call(Usage(1), PriceStatus.UNPRICED, 0)
    assert known.coverage()["calls_covered_percent"] == known.coverage()["tokens_covered_percent"] == 100
    found = known.plus(unknown).coverage()
    assert (found["calls_covered_percent"], found["tokens_covered_percent"]) == (99.9999, 99.9999)
