"""Costs by dimensions: every grouping sums to the same total, and what was in vain is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurable_agents.errors import InvalidValueError
from configurable_agents.obsd.ledger import cost_groups, queries
from configurable_agents.observability.cost_groups import DIMENSIONS, TOKEN_CLASS
from configurable_agents.observability.cost_summary import NO_CALLS, sum_totals
from configurable_agents.telemetry import Status, Usage
from configurable_agents.wire.report_records import Scope

ONE_CALL_NANOS = 1000 * 2500 + 100 * 10_000
DAY_NS = 86_400 * 10**9


def grouped(book: Any, *by: str, **order: Any) -> Any:
    return book.ask(lambda connection: cost_groups.grouped_costs(connection, Scope(), by, **order))


def costs(found: Any) -> dict[Any, int]:
    return {
        group.values[0] if len(group.values) == 1 else group.values: group.totals.cost_nanos
        for group in found.groups
    }


@pytest.fixture
def mixed(book: Any, events: Any) -> Any:
    """Two runs; a node that failed and was tried again; a failed call; stated, free and unknown prices."""
    book.commit(
        [
            events.started(tags=(("team", "care"), ('odd"key', "x"))),
            events.call("first", span_id=1),
            events.node("draft", 1, status=Status.ERROR, error_type="ValueError"),
            events.call("again", span_id=2, attempt=2),
            events.node("draft", 2, attempt=2),
            events.call("broke", span_id=3, node_id="ask", status=Status.ERROR, usage=None),
            events.call("next day", span_id=3, node_id="ask", started_unix_ns=events.T0 + DAY_NS),
            events.node("ask", 3),
            events.finished(),
            events.started("other", "research"),
            events.call("s", run_id="other", span_id=0, node_id="", stated_cost_nanos=7),
            events.call("l", run_id="other", provider="ollama", model="llama3", response_id="r"),
            events.call("u", run_id="other", model="nobody-knows"),
            events.call("m1", run_id="other", response_id="same"),
            events.call("m2", run_id="other", response_id="same"),
        ]
    )
    return book


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("provider", {"openai": 4 * ONE_CALL_NANOS + 7, "ollama": 0}),
        ("node", {"draft": 3 * ONE_CALL_NANOS, "ask": ONE_CALL_NANOS, "": 7}),
        ("workflow", {"triage": 4 * ONE_CALL_NANOS + 7}),
        ("experiment", {"support": 3 * ONE_CALL_NANOS, "research": ONE_CALL_NANOS + 7}),
        ("run", {"run": 3 * ONE_CALL_NANOS, "other": ONE_CALL_NANOS + 7}),
        ("tag:team", {"care": 3 * ONE_CALL_NANOS, "": ONE_CALL_NANOS + 7}),
        ('tag:odd"key', {"x": 3 * ONE_CALL_NANOS, "": ONE_CALL_NANOS + 7}),
        ("attempt", {"1": 3 * ONE_CALL_NANOS + 7, "2": ONE_CALL_NANOS}),
        ("status", {"ok": 4 * ONE_CALL_NANOS + 7, "error": 0}),
        ("wasted", {"no": 3 * ONE_CALL_NANOS + 7, "yes": ONE_CALL_NANOS}),
        (
            "price-status",
            {"priced": 4 * ONE_CALL_NANOS, "stated": 7, "free": 0, "unpriced": 0, "no_usage": 0},
        ),
        ("day", {"2026-11-22": 3 * ONE_CALL_NANOS + 7, "2026-11-23": ONE_CALL_NANOS}),
        (
            TOKEN_CLASS,
            {
                "input": 4 * 2_500_000,
                "output": 4 * 1_000_000,
                "stated_cost": 7,
                "no_usage": 0,
            },
        ),
    ],
)
def test_costs_are_grouped_by_each_dimension(mixed: Any, by: str, expected: dict[str, int]) -> None:
    assert costs(grouped(mixed, by)) == expected


def test_dimensions_combine(mixed: Any) -> None:
    found = costs(grouped(mixed, "run", "node", "attempt"))
    assert found["run", "draft", "2"] == ONE_CALL_NANOS
    assert sum(found.values()) == 4 * ONE_CALL_NANOS + 7


def test_what_was_thrown_away_is_the_calls_of_failed_executions_and_failed_calls(mixed: Any) -> None:
    found = grouped(mixed, "node")
    wasted = {group.values[0]: (group.wasted.calls, group.wasted.cost_nanos) for group in found.groups}
    assert wasted == {"draft": (1, ONE_CALL_NANOS), "ask": (1, 0), "": (0, 0)}
    assert mixed.ask(cost_groups.wasted_totals, Scope()) == found.wasted
    assert mixed.ask(cost_groups.wasted_totals, Scope(run_id="other")) == NO_CALLS


def test_the_totals_are_those_of_the_plain_report(mixed: Any) -> None:
    for by in DIMENSIONS:
        assert grouped(mixed, by).totals == mixed.ask(queries.cost_summary, Scope()).totals


def test_the_first_groups_and_the_rest_are_the_whole(mixed: Any) -> None:
    found = grouped(mixed, "run", "model", top=1)
    assert [group.values for group in found.groups] == [("run", "gpt-4o")]
    assert found.group_count == 4
    assert found.groups[0].totals.plus(found.rest.totals) == found.totals


def test_groups_are_sorted_as_asked(mixed: Any) -> None:
    names = [group.values[0] for group in grouped(mixed, "node", sort="name").groups]
    assert names == ["", "ask", "draft"]
    assert grouped(mixed, "node", sort="wasted").groups[0].values == ("draft",)
    with pytest.raises(InvalidValueError, match="cost, tokens"):
        grouped(mixed, "node", sort="colour")


@pytest.mark.parametrize(
    ("by", "words"),
    [(("nod",), "did you mean node"), (("colour",), "there are"), (("tag:",), "there are"), ((), "1 to 8")],
)
def test_a_dimension_there_is_not_is_refused_with_a_hint(book: Any, by: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        grouped(book, *by)


calls = st.lists(
    st.fixed_dictionaries(
        {
            "run_id": st.sampled_from(["run", "other"]),
            "node_id": st.sampled_from(["", "draft", "ask"]),
            "span_id": st.integers(0, 3),
            "model": st.sampled_from(["gpt-4o", "gpt-4o-mini", "o3", "nobody-knows"]),
            "usage": st.one_of(
                st.none(),
                st.lists(st.integers(0, 10**6), min_size=9, max_size=9).map(
                    lambda each: Usage(*each)._replace(audio_input_tokens=0, audio_output_tokens=0)
                ),
            ),
            "status": st.sampled_from([Status.OK, Status.ERROR, Status.CANCELLED]),
            "stated_cost_nanos": st.one_of(st.none(), st.integers(0, 10**9)),
            "response_id": st.sampled_from(["", "r1", "r2"]),
            "attempt": st.integers(1, 3),
        }
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=calls, failed=st.booleans(), by=st.lists(st.sampled_from((*DIMENSIONS, "tag:team")), min_size=1))
def test_the_sum_over_any_grouping_is_the_total_exactly(
    new_book: Any, events: Any, said: list[dict[str, Any]], failed: bool, by: list[str]
) -> None:
    book = new_book()
    status = Status.ERROR if failed else Status.OK
    recorded = [events.call(f"c{number}", **fields) for number, fields in enumerate(said)]
    book.commit([events.started(tags=(("team", "care"),)), *recorded, events.node("draft", 1, status=status)])
    found = grouped(book, *by[:8])
    whole = book.ask(queries.cost_summary, Scope()).totals
    together = sum_totals(group.totals for group in found.groups)
    assert found.totals == whole
    if TOKEN_CLASS in by[:8]:
        assert (together.cost_nanos, together.usage) == (whole.cost_nanos, whole.usage)
    else:
        assert together == whole
    wasted = sum_totals(group.wasted for group in found.groups)
    assert wasted.cost_nanos == found.wasted.cost_nanos
    in_vain = book.ask(cost_groups.wasted_totals, Scope())
    assert replace(found.wasted, merged_calls=0) == in_vain
    book.ledger.close()
