"""Prices made anew for calls that are in the ledger. The old ones go into the history of the receipt."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from configurable_agents.errors import RowsRetiredError
from configurable_agents.obsd.ledger.calls import CallKey, StoredCall, stored_calls, totals_of
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, resolve, retired_runs
from configurable_agents.obsd.records import Pricer
from configurable_agents.observability.cost_estimator import Price
from configurable_agents.observability.cost_summary import NO_CALLS, CallTotals
from configurable_agents.observability.price_table import RateCard
from configurable_agents.observability.repricing import ModelRepricing
from configurable_agents.telemetry import OTHER_NAME
from configurable_agents.wire.report_records import Scope

CALLS_PER_SLICE = 2_000
"""Calls repriced in one transaction: events that wait meanwhile wait for some tens of milliseconds."""
RUN_REPRICED = 4
"""`run_events.kind`."""

_SLICE = "WHERE c.run = ? AND c.seq > ? ORDER BY c.seq LIMIT ?"
_RUNS = f"SELECT r.id, r.run_id FROM runs r WHERE {IN_SCOPE} ORDER BY r.id"

_KEEP_OLD = """
INSERT INTO price_history
SELECT seq, ?, ?, price_status, cost_nanos, table_cost_nanos, rate_card, price_reason
FROM llm_calls WHERE seq = ?
"""
_SET_NEW = """
UPDATE llm_calls SET price_status = ?, cost_nanos = ?, table_cost_nanos = ?, rate_card = ?, price_reason = ?
WHERE seq = ?
"""
_NOTE_RUN = """
UPDATE runs SET events = events + 1, repriced_events = events + 1, repriced = ? WHERE id = ?
"""


class Repriced(NamedTuple):
    """A call and what it costs by the prices of now."""

    stored: StoredCall
    price: Price

    @property
    def is_changed(self) -> bool:
        stored, price = self.stored, self.price
        return (stored.price_status, stored.cost_nanos, stored.table_cost_nanos) != (
            price.status,
            price.cost_nanos,
            price.table_cost_nanos,
        )

    @property
    def totals(self) -> CallTotals:
        return totals_of(self.stored.call, self.price.status, self.price.cost_nanos)


def runs_in(connection: sqlite3.Connection, scope: Scope) -> list[tuple[int, str]]:
    """Row and id of the runs of a scope.

    Raises `NotFoundError` as reports do, `RowsRetiredError` where calls that it should price are removed.
    """
    found = resolve(connection, scope)
    retired = retired_runs(connection, found)
    if retired:
        raise RowsRetiredError(
            f"{retired} runs of this scope lost their single calls to retention and cannot be repriced;"
            " leave them out: --since DATE, or --run ID for each"
        )
    return connection.execute(_RUNS, found.parameters).fetchall()


def repriced_slice(
    connection: sqlite3.Connection, pricer: Pricer, run: int, after_seq: int, *, at_unix_ns: int | None
) -> list[Repriced]:
    """The next calls of a run after one; `at_unix_ns` prices them as of that moment, not their own."""
    return [
        Repriced(stored, _new_price(stored, pricer, at_unix_ns))
        for stored in stored_calls(connection, _SLICE, (run, after_seq, CALLS_PER_SLICE))
    ]


def _new_price(stored: StoredCall, pricer: Pricer, at_unix_ns: int | None) -> Price:
    """A call whose model was folded keeps its price: by whose rates it would be made anew is not known."""
    if stored.call.model == OTHER_NAME:
        return Price(
            stored.price_status,
            stored.cost_nanos,
            table_cost_nanos=stored.table_cost_nanos,
            reason=stored.price_reason,
        )
    return pricer(stored.call if at_unix_ns is None else stored.call._replace(started_unix_ns=at_unix_ns))


def write_slice(
    connection: sqlite3.Connection,
    repriced: Sequence[Repriced],
    reason: str,
    *,
    card_id: Callable[[RateCard], int],
    add_call_totals: Callable[[dict[CallKey, CallTotals]], None],
) -> None:
    """Within a transaction: new prices, the old ones in the history, totals that agree."""
    now = time.time_ns()
    changed = [each for each in repriced if each.is_changed]
    connection.executemany(_KEEP_OLD, [(now, reason, each.stored.seq) for each in changed])
    connection.executemany(
        _SET_NEW,
        [
            (
                price.status.value,
                price.cost_nanos,
                price.table_cost_nanos,
                None if price.card is None else card_id(price.card),
                price.reason,
                stored.seq,
            )
            for stored, price in changed
        ],
    )
    totals: dict[CallKey, CallTotals] = {}
    for each in changed:
        if each.stored.counted:
            key = each.stored.key
            difference = each.totals.plus(each.stored.totals.negated())
            totals[key] = totals.get(key, NO_CALLS).plus(difference)
    add_call_totals(totals)


def note_run(connection: sqlite3.Connection, run: int, seq: int, about: dict[str, object]) -> None:
    """Within a transaction: the run has changed, so that exporters tell of it again, with the reason."""
    connection.execute(_NOTE_RUN, (json.dumps(about, ensure_ascii=False), run))
    connection.execute("INSERT INTO run_events VALUES (?,?,?)", (seq, run, RUN_REPRICED))


def by_model(repriced: Sequence[Repriced]) -> Iterator[ModelRepricing]:
    """Of the calls that count."""
    for each in repriced:
        if each.stored.counted:
            call = each.stored.call
            yield ModelRepricing(
                call.provider, call.model, int(each.is_changed), each.stored.totals, each.totals
            )
