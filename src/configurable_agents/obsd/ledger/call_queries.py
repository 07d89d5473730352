"""What the ledger answers about single calls."""

from __future__ import annotations

import sqlite3
from typing import Any

from configurable_agents.errors import NotFoundError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger.calls import StoredCall, stored_calls
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, resolve, retired_runs
from configurable_agents.observability.cost_summary import plural
from configurable_agents.observability.price_table import RateCard
from configurable_agents.observability.receipts import PriceEntry, Receipt
from configurable_agents.telemetry import PriceStatus
from configurable_agents.wire.report_records import Scope

_NAMED = f"WHERE {IN_SCOPE} AND (c.call_id = :id OR c.response_id = :id) ORDER BY c.seq LIMIT :limit"
_BEGINNING = f"""
WHERE {IN_SCOPE} AND substr(c.call_id, 1, length(:id)) = :id ORDER BY c.seq LIMIT :limit
"""
_COSTLIEST = f"""
WHERE {IN_SCOPE} AND c.counted ORDER BY c.cost_nanos DESC, c.started_unix_ns, c.call_id, r.run_id LIMIT :limit
"""
_HISTORY = """
SELECT price_status, cost_nanos, table_cost_nanos, rate_card, price_reason, replaced_at_unix_ns, reason
FROM price_history WHERE call = ? ORDER BY rowid
"""


def receipts(connection: sqlite3.Connection, scope: Scope, call_id: str, *, limit: int) -> list[Receipt]:
    """Of the named call, else of the costliest calls of a scope.

    Raises `NotFoundError` for a call that is not there, `RowsRetiredError` for a run whose calls are removed.
    """
    found = resolve(connection, scope)
    retired = retired_runs(connection, found)
    shown = min(limit if limit > 0 else limits.RECEIPTS_DEFAULT, limits.RECEIPTS_MAX)
    parameters = {**found.parameters, "id": call_id, "limit": shown}
    if not call_id:
        return _receipts(connection, _COSTLIEST, parameters)
    named = _receipts(connection, _NAMED, parameters) or _receipts(connection, _BEGINNING, parameters)
    if not named:
        kept = f" among those kept ({retired} runs lost theirs to retention)" if retired else ""
        raise NotFoundError(
            f"no call is called {call_id!r}{kept}; see: agents-obs explain --run latest --top 20"
        )
    return named


def note(connection: sqlite3.Connection, scope: Scope) -> str:
    """What the receipts of a scope leave out; empty: nothing."""
    retired = retired_runs(connection, resolve(connection, scope))
    return (
        f"calls of {plural(retired, 'run')} are not among these: retention has removed them"
        if retired
        else ""
    )


def _receipts(connection: sqlite3.Connection, condition: str, parameters: dict[str, Any]) -> list[Receipt]:
    return [_receipt(connection, stored) for stored in stored_calls(connection, condition, parameters)]


def _receipt(connection: sqlite3.Connection, stored: StoredCall) -> Receipt:
    price = PriceEntry(
        stored.price_status,
        stored.cost_nanos,
        stored.table_cost_nanos,
        rate_card(connection, stored.rate_card),
        stored.price_reason,
    )
    history = tuple(
        PriceEntry(PriceStatus(status), cost, table_cost, rate_card(connection, card), reason, at, because)
        for status, cost, table_cost, card, reason, at, because in connection.execute(_HISTORY, (stored.seq,))
    )
    return Receipt(stored.call, price, counted=stored.counted, history=history)


def rate_card(connection: sqlite3.Connection, card: int | None) -> RateCard | None:
    if card is None:
        return None
    row = connection.execute("SELECT card FROM rate_cards WHERE id = ?", (card,)).fetchone()
    return RateCard.from_json(row[0])
