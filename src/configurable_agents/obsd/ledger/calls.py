"""LLM calls as rows of the ledger, and back as the records they were made from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from configurable_agents.observability.cost_estimator import Price
from configurable_agents.observability.cost_summary import CallTotals
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import LlmCall, PriceStatus, Status, Usage

CallKey = tuple[int, int, int, int]
"""Run, node, provider and model: a row of `call_totals`."""

STORED_CALLS = """
SELECT c.seq, c.run, c.node, c.provider, c.model, c.counted, c.rate_card, c.price_status, c.cost_nanos,
    c.table_cost_nanos, c.price_reason, r.run_id, c.call_id, c.span_id, n.name, p.name, m.name,
    c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens, c.output_tokens,
    c.reasoning_tokens, c.audio_input_tokens, c.audio_output_tokens, c.web_searches,
    c.started_unix_ns, c.duration_ns, c.status, c.service_tier, c.batch, c.time_to_first_token_ns,
    c.response_id, c.stated_cost_nanos, c.error_type, c.attempt, c.anomalies, c.provider_known_by,
    c.model_known_by, c.model_as_given
FROM llm_calls c JOIN runs r ON r.id = c.run JOIN names n ON n.id = c.node
JOIN names p ON p.id = c.provider JOIN names m ON m.id = c.model
"""
"""To be followed by a condition; `stored_call` reads its rows."""

_COUNTED_REPORT = (
    f"{STORED_CALLS} WHERE c.run = ? AND c.response_id = ? AND c.response_id <> '' AND c.counted"
)
_REPORTS = "SELECT COUNT(*) FROM llm_calls WHERE run = ? AND response_id = ? AND response_id <> ''"
_ANY_REPORT = "SELECT 1 FROM llm_calls WHERE run = ? AND response_id = ? AND response_id <> '' LIMIT 1"


class StoredCall(NamedTuple):
    """A call with its price as it is in the ledger now."""

    seq: int
    key: CallKey
    counted: bool
    """Whether it is in the totals; else another report of the same response is."""
    rate_card: int | None
    price_status: PriceStatus
    cost_nanos: int
    table_cost_nanos: int | None
    price_reason: str
    call: LlmCall

    @property
    def totals(self) -> CallTotals:
        return totals_of(self.call, self.price_status, self.cost_nanos)


class CountedCall(NamedTuple):
    """The report of a response that the totals hold."""

    seq: int
    key: CallKey
    totals: CallTotals
    call: LlmCall
    reports: int
    """How many there are of the response, this one included."""


def call_row(seq: int, key: CallKey, call: LlmCall, price: Price, card: int | None) -> list[Any]:
    """A row of `llm_calls`; its last value is `counted`."""
    run, node, provider, model = key
    return [
        seq,
        run,
        call.call_id,
        signed(call.span_id),
        node,
        provider,
        model,
        *(call.usage if call.usage is not None else (None,) * 9),
        call.started_unix_ns,
        call.duration_ns,
        call.time_to_first_token_ns,
        int(call.status),
        call.attempt,
        call.service_tier,
        int(call.batch),
        call.response_id,
        call.error_type,
        " ".join(call.anomalies),
        price.status.value,
        price.cost_nanos,
        price.table_cost_nanos,
        call.stated_cost_nanos,
        card,
        price.reason,
        call.provider_known_by,
        call.model_known_by,
        call.model_as_given,
        1,
    ]


def stored_call(row: tuple[Any, ...]) -> StoredCall:
    seq, run, node, provider, model, counted, card, status, cost, table_cost, reason = row[:11]
    run_id, call_id, span_id, node_id, provider_name, model_name, *counts = row[11:26]
    started, duration, ending, tier, batch, first_token, response_id, stated = row[26:34]
    error_type, attempt, anomalies, *known_by = row[34:]
    call = LlmCall(
        run_id=run_id,
        call_id=call_id,
        span_id=span_id & bounds.UINT64_MAX,
        node_id=node_id,
        provider=provider_name,
        model=model_name,
        usage=None if counts[0] is None else Usage(*counts),
        started_unix_ns=started,
        duration_ns=duration,
        status=Status(ending),
        service_tier=tier,
        batch=bool(batch),
        time_to_first_token_ns=first_token,
        response_id=response_id,
        stated_cost_nanos=stated,
        error_type=error_type,
        attempt=attempt,
        anomalies=tuple(anomalies.split()),
        provider_known_by=known_by[0],
        model_known_by=known_by[1],
        model_as_given=known_by[2],
    )
    key = (run, node, provider, model)
    return StoredCall(seq, key, bool(counted), card, PriceStatus(status), cost, table_cost, reason, call)


def stored_calls(
    connection: sqlite3.Connection, condition: str, parameters: dict[str, Any] | tuple[Any, ...]
) -> Iterator[StoredCall]:
    """`condition` is constant text that follows `STORED_CALLS`."""
    return map(stored_call, connection.execute(STORED_CALLS + condition, parameters))


def counted_report(connection: sqlite3.Connection, run: int, response_id: str) -> CountedCall | None:
    """The report of a response that counts in a run; `None` when there is none yet."""
    if connection.execute(_ANY_REPORT, (run, response_id)).fetchone() is None:
        return None  # nearly always, and this look costs a third of the next
    found = stored_call(connection.execute(_COUNTED_REPORT, (run, response_id)).fetchone())
    reports = connection.execute(_REPORTS, (run, response_id)).fetchone()[0]
    return CountedCall(found.seq, found.key, found.totals, found.call, reports)


def totals_of(call: LlmCall, status: PriceStatus, cost_nanos: int) -> CallTotals:
    return CallTotals.of_call(call.usage, status, cost_nanos, failed=call.status is not Status.OK)


def signed(span_id: int) -> int:
    """A 64-bit id as SQLite's signed integer with the same bits."""
    return span_id - (1 << 64) if span_id > bounds.INT64_MAX else span_id


def figures_of(totals: CallTotals) -> tuple[int, ...]:
    """In the order of the columns of `call_totals` and `call_groups`."""
    return (
        totals.calls,
        totals.cost_nanos,
        *totals.usage,
        totals.priced_calls,
        totals.stated_calls,
        totals.free_calls,
        totals.unpriced_calls,
        totals.no_usage_calls,
        totals.unpriced_tokens,
        totals.failed_calls,
        totals.stated_tokens,
        totals.free_tokens,
        totals.merged_calls,
    )
