"""What caches saved and what was written in vain, by hand-made arithmetic."""

from __future__ import annotations

from typing import Any

from configurable_agents.obsd.ledger import cache_queries
from configurable_agents.telemetry import Usage
from configurable_agents.wire.report_records import Scope

SECOND = 10**9
CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
INPUT, READ, WRITE, WRITE_1H = 3_000, 300, 3_750, 6_000
"""Nano-dollars per token of claude-sonnet-4-5."""


def report(book: Any) -> Any:
    return book.ask(cache_queries.cache_report, Scope())


def at(events: Any, seconds: int) -> dict[str, Any]:
    return {**CLAUDE, "started_unix_ns": events.T0 + seconds * SECOND}


def test_reads_save_the_difference_to_fresh_input(book: Any, events: Any) -> None:
    book.commit(
        [
            events.call("write", usage=Usage(100, cache_write_tokens=900), **at(events, 0)),
            events.call("read", usage=Usage(100, cache_read_tokens=900), **at(events, 60)),
        ]
    )
    (use,) = report(book).entries
    assert (use.node_id, use.model, use.calls) == ("draft", "claude-sonnet-4-5", 2)
    assert (use.saved_nanos, use.unread_tokens, use.unread_nanos) == (900 * (INPUT - READ), 0, 0)
    assert use.hit_percent == 45.0


def test_a_write_that_nothing_reads_in_time_was_in_vain(book: Any, events: Any) -> None:
    book.commit(
        [
            events.call("in time", usage=Usage(cache_write_tokens=10), **at(events, 0)),
            events.call("reads", usage=Usage(cache_read_tokens=10), **at(events, 300)),
            events.call("too late", usage=Usage(cache_write_tokens=20), **at(events, 1_000)),
            events.call("an hour", usage=Usage(cache_write_1h_tokens=40), **at(events, 1_000)),
            events.call("reads again", usage=Usage(cache_read_tokens=10), **at(events, 1_301)),
            events.call("nobody", node_id="ask", usage=Usage(cache_write_1h_tokens=80), **at(events, 1_400)),
        ]
    )
    found = {use.node_id: (use.unread_tokens, use.unread_nanos) for use in report(book).entries}
    assert found == {"draft": (20, 20 * WRITE), "ask": (80, 80 * WRITE_1H)}


def test_a_read_by_another_node_counts_one_of_another_run_or_model_does_not(book: Any, events: Any) -> None:
    book.commit(
        [
            events.call("w", usage=Usage(cache_write_tokens=10), **at(events, 0)),
            events.call("r", node_id="ask", usage=Usage(cache_read_tokens=10), **at(events, 1)),
            events.call("w2", run_id="other", usage=Usage(cache_write_tokens=30), **at(events, 0)),
        ]
    )
    assert report(book).total.unread_tokens == 30


def test_tokens_without_a_rate_are_in_no_amount_and_said_so(book: Any, events: Any) -> None:
    book.commit([events.call("r", provider="acme", model="x", usage=Usage(5, cache_read_tokens=10))])
    book.commit([events.call("w", provider="acme", model="x", usage=Usage(cache_write_tokens=7))], first=1)
    total = report(book).total
    assert (total.read_tokens, total.rateless_read_tokens, total.rateless_unread_tokens) == (10, 10, 7)
    shown = report(book).to_json()["total"]
    assert [shown[name] for name in ("saved_usd", "saved_nanos", "unread_usd", "unread_nanos")] == [None] * 4


def test_amounts_that_are_known_in_part_are_lower_bounds(book: Any, events: Any) -> None:
    book.commit(
        [
            events.call("r", usage=Usage(cache_read_tokens=10)),
            events.call("x", provider="acme", model="x", usage=Usage(cache_read_tokens=10)),
        ]
    )
    found = report(book)
    assert found.total.saved.known_nanos == found.entries[0].saved_nanos > 0
    assert not found.total.saved.is_complete
    assert found.entries[1].saved.usd is None


def test_calls_without_usage_and_repeated_reports_are_left_out(book: Any, events: Any) -> None:
    twice = {"response_id": "same", "usage": Usage(cache_read_tokens=10), **at(events, 0)}
    book.commit([events.call("a", usage=None), events.call("b", **twice), events.call("c", **twice)])
    assert report(book).total.calls == 1
