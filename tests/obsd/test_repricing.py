"""Repricing: shown before it is done, exact, repeatable, and with the old price kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from configurable_agents.obsd.ledger import call_queries, queries, repricing
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import PriceStatus
from configurable_agents.wire.report_records import Scope

OLD_NANOS = 1000 * 2500 + 100 * 10_000
NEW_NANOS = 1000 * 1000 + 100 * 10_000
PRICES = """
[[price]]
provider = "openai"
model = "gpt-4o"
input = 1

[[price]]
provider = "acme"
model = "*"
input = 1
output = 1
"""


@pytest.fixture
def pricer(tmp_path: Any) -> CallPricer:
    """With a file of prices that a test may write; `refresh` takes it up."""
    return CallPricer(CostEstimator.of_folder(tmp_path))


@pytest.fixture
def repriced(book: Any, events: Any, pricer: CallPricer, tmp_path: Any) -> Any:
    """A run priced before prices.toml was there."""
    twice = {"response_id": "same", "model": "gpt-4o"}
    book.commit(
        [
            *events.whole_run(nodes=2),
            events.call("unknown", provider="acme", model="acme-1"),
            events.call("other", model="o3"),
            events.call("m1", **twice),
            events.call("m2", **twice),
        ]
    )
    (tmp_path / "prices.toml").write_text(PRICES)
    pricer.refresh()
    return book


def all_slices(book: Any, *, reason: str = "negotiated") -> list[repricing.Repriced]:
    ledger: SqliteLedger = book.ledger
    found: list[repricing.Repriced] = []
    while part := ledger.reprice(1, found[-1].stored.seq if found else 0, None, reason):
        found += part
    return found


def totals(book: Any) -> Any:
    return book.ask(queries.cost_summary, Scope()).totals


def test_what_it_would_change_is_told_without_changing_anything(repriced: Any, pricer: CallPricer) -> None:
    before = repriced.reports()
    found = repriced.ask(
        lambda connection: repricing.repriced_slice(connection, pricer, 1, 0, at_unix_ns=None)
    )
    assert {each.stored.call.call_id for each in found if each.is_changed} == {
        "call-0",
        "call-1",
        "unknown",
        "m1",
        "m2",
    }
    assert repriced.reports() == before


def test_applied_it_changes_prices_and_totals_together(repriced: Any) -> None:
    assert totals(repriced).unpriced_calls == 1
    all_slices(repriced)
    found = totals(repriced)
    o3_nanos = repriced.rows("SELECT cost_nanos FROM llm_calls WHERE call_id = 'other'")[0][0]
    assert found.cost_nanos == 3 * NEW_NANOS + 1100 * 1000 + o3_nanos
    assert (found.calls, found.unpriced_calls, found.unpriced_tokens, found.merged_calls) == (5, 0, 0, 1)
    assert repriced.rows("SELECT SUM(cost_nanos) FROM llm_calls WHERE counted") == [(found.cost_nanos,)]


def test_the_old_price_stays_in_the_history_of_the_receipt(repriced: Any) -> None:
    all_slices(repriced)
    (receipt,) = repriced.ask(
        lambda connection: call_queries.receipts(connection, Scope(), "call-0", limit=0)
    )
    assert (receipt.price.status, receipt.price.cost_nanos) == (PriceStatus.PRICED, NEW_NANOS)
    assert receipt.price.card.overridden == ("input",)
    (former,) = receipt.history
    assert (former.cost_nanos, former.replaced_because) == (OLD_NANOS, "negotiated")
    assert former.card.overridden == ()
    (untouched,) = repriced.ask(
        lambda connection: call_queries.receipts(connection, Scope(), "other", limit=0)
    )
    assert untouched.history == ()


def test_repeated_it_changes_nothing_more(repriced: Any) -> None:
    all_slices(repriced)
    once = repriced.reports()
    assert not any(each.is_changed for each in all_slices(repriced))
    assert repriced.reports() == once
    assert repriced.rows("SELECT COUNT(*) FROM price_history") == [(5,)]


def test_slices_leave_no_call_out(repriced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "CALLS_PER_SLICE", 2)
    assert len(all_slices(repriced)) == 6


def test_as_of_another_day_prices_are_of_that_day(repriced: Any, pricer: CallPricer) -> None:
    early = 1_740_000_000 * 10**9  # 2025-02-19, before o3 became cheaper
    found = repriced.ask(
        lambda connection: repricing.repriced_slice(connection, pricer, 1, 0, at_unix_ns=early)
    )
    (o3,) = [each for each in found if each.stored.call.call_id == "other"]
    assert (o3.stored.cost_nanos, o3.price.cost_nanos) == (2_800_000, 14_000_000)


def test_a_repriced_run_is_told_of_again_with_the_reason(repriced: Any) -> None:
    repriced.profile_all()
    assert repriced.ledger.unfinished_runs() == []
    repriced.ledger.note_repricing(1, {"reason": "negotiated"})
    assert [run.run_id for run in repriced.ledger.unfinished_runs()] == ["run"]
    ((about, events_then, events_now),) = repriced.rows("SELECT repriced, repriced_events, events FROM runs")
    assert json.loads(about) == {"reason": "negotiated"}
    assert events_then == events_now
    committed = repriced.rows("SELECT value FROM counters WHERE name = 'events_committed'")
    assert committed == repriced.rows("SELECT MAX(seq) FROM run_events"), "cursors still meet the end"
