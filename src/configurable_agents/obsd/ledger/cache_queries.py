"""What prompt caches saved and cost, from the rows of the calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from configurable_agents.obsd.ledger.call_queries import rate_card
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, experiment_of, resolve
from configurable_agents.observability.cache_economics import CacheReport, CacheUse
from configurable_agents.observability.cost_estimator import applicable_rates
from configurable_agents.observability.price_table import YOCTOS_PER_NANO, RateCard, Rates
from configurable_agents.telemetry import Usage
from configurable_agents.wire.report_records import Scope

LIFETIME_NS = 300 * 10**9
LIFETIME_1H_NS = 3_600 * 10**9
"""How long what was written can be read; providers count from the last use, which is the first read here."""

_CALLS = f"""
SELECT c.run, c.started_unix_ns, n.name, p.name, m.name, c.rate_card, c.anomalies,
    c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens, c.output_tokens,
    c.reasoning_tokens, c.audio_input_tokens, c.audio_output_tokens, c.web_searches
FROM runs r JOIN llm_calls c ON c.run = r.id
JOIN names n ON n.id = c.node JOIN names p ON p.id = c.provider JOIN names m ON m.id = c.model
WHERE {IN_SCOPE} AND c.seq > r.retired_seq AND c.counted AND c.input_tokens IS NOT NULL
ORDER BY c.run, c.provider, c.model, c.started_unix_ns DESC, c.seq DESC
"""
"""Backwards in time, so that a write is seen after what may have read it."""

_RETIRED = f"""
SELECT n.name, p.name, m.name, t.calls, t.input_tokens, t.read_tokens, t.written_tokens, t.saved_yoctos,
    t.unread_tokens, t.unread_yoctos, t.rateless_read_tokens, t.rateless_unread_tokens
FROM runs r JOIN cache_totals t ON t.run = r.id
JOIN names n ON n.id = t.node JOIN names p ON p.id = t.provider JOIN names m ON m.id = t.model
WHERE {IN_SCOPE} AND r.retired_seq > 0
"""

_RUN_COUNT = f"SELECT COUNT(*) FROM runs r WHERE {IN_SCOPE}"

_POSITION = {name: position for position, name in enumerate(Usage._fields)}


class _Call(NamedTuple):
    run: int
    started_unix_ns: int
    node: str
    provider: str
    model: str
    usage: Usage
    rates: Rates | None


@dataclass(slots=True)
class CacheSums:
    """What the calls of one node to one model say of its prompt cache."""

    calls: int = 0
    input_tokens: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    saved_yoctos: int = 0
    unread_tokens: int = 0
    unread_yoctos: int = 0
    rateless_read_tokens: int = 0
    rateless_unread_tokens: int = 0

    def add(self, call: _Call, unread: Usage) -> None:
        usage = call.usage
        self.calls += 1
        self.input_tokens += usage.all_input_tokens
        self.read_tokens += usage.cache_read_tokens
        self.written_tokens += usage.cache_write_tokens + usage.cache_write_1h_tokens
        fresh, read = _rate(call.rates, "input_tokens"), _rate(call.rates, "cache_read_tokens")
        if fresh is None or read is None:
            self.rateless_read_tokens += usage.cache_read_tokens
        else:
            self.saved_yoctos += usage.cache_read_tokens * (fresh - read)
        for name in ("cache_write_tokens", "cache_write_1h_tokens"):
            self._add_unread(getattr(unread, name), _rate(call.rates, name))

    def plus(self, other: CacheSums) -> None:
        for name in fields(self):
            setattr(self, name.name, getattr(self, name.name) + getattr(other, name.name))

    def _add_unread(self, tokens: int, rate: int | None) -> None:
        self.unread_tokens += tokens
        if rate is None:
            self.rateless_unread_tokens += tokens
        else:
            self.unread_yoctos += tokens * rate


def cache_report(connection: sqlite3.Connection, scope: Scope) -> CacheReport:
    """Per node and model. Raises `NotFoundError` as reports do."""
    found = resolve(connection, scope)
    sums = cache_sums(connection, found.parameters)
    for key, retired in _retired_sums(connection, found.parameters):
        sums.setdefault(key, CacheSums()).plus(retired)
    entries = [_use(key, part) for key, part in sums.items()]
    return CacheReport(
        tuple(sorted(entries, key=lambda each: (-each.saved_nanos, each.node_id, each.provider, each.model))),
        experiment=experiment_of(connection, found),
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=connection.execute(_RUN_COUNT, found.parameters).fetchone()[0],
    )


def cache_sums(
    connection: sqlite3.Connection, parameters: dict[str, Any]
) -> dict[tuple[str, str, str], CacheSums]:
    """By node, provider and model, from the rows of calls that are kept."""
    sums: dict[tuple[str, str, str], CacheSums] = {}
    reader: tuple[int, str, str] | None = None
    next_read_unix_ns: int | None = None
    for call in _calls(connection, parameters):
        if (call.run, call.provider, call.model) != reader:
            reader, next_read_unix_ns = (call.run, call.provider, call.model), None
        part = sums.setdefault((call.node, call.provider, call.model), CacheSums())
        part.add(call, _unread(call, next_read_unix_ns))
        if call.usage.cache_read_tokens:
            next_read_unix_ns = call.started_unix_ns
    return sums


def _retired_sums(
    connection: sqlite3.Connection, parameters: dict[str, Any]
) -> Iterator[tuple[tuple[str, str, str], CacheSums]]:
    for node, provider, model, *figures in connection.execute(_RETIRED, parameters):
        yield (node, provider, model), CacheSums(*map(int, figures))


def _calls(connection: sqlite3.Connection, parameters: dict[str, object]) -> Iterator[_Call]:
    cards: dict[int | None, RateCard | None] = {}
    for run, started, node, provider, model, card, anomalies, *counts in connection.execute(
        _CALLS, parameters
    ):
        if card not in cards:
            cards[card] = rate_card(connection, card)
        known, usage = cards[card], Usage(*counts)
        rates = None if known is None else applicable_rates(known, usage, anomalies.split())
        yield _Call(run, started, node, provider, model, usage, rates)


def _unread(call: _Call, next_read_unix_ns: int | None) -> Usage:
    """What the call wrote and nothing read in time."""
    waited_ns = None if next_read_unix_ns is None else next_read_unix_ns - call.started_unix_ns
    usage = call.usage
    return Usage(
        cache_write_tokens=_lost(usage.cache_write_tokens, waited_ns, LIFETIME_NS),
        cache_write_1h_tokens=_lost(usage.cache_write_1h_tokens, waited_ns, LIFETIME_1H_NS),
    )


def _lost(tokens: int, waited_ns: int | None, lifetime_ns: int) -> int:
    return tokens if waited_ns is None or waited_ns > lifetime_ns else 0


def _rate(rates: Rates | None, name: str) -> int | None:
    position = _POSITION[name]
    return None if rates is None or position in rates.missing else rates.per_class[position]


def _use(key: tuple[str, str, str], part: CacheSums) -> CacheUse:
    return CacheUse(
        *key,
        calls=part.calls,
        input_tokens=part.input_tokens,
        read_tokens=part.read_tokens,
        written_tokens=part.written_tokens,
        saved_nanos=part.saved_yoctos // YOCTOS_PER_NANO,
        unread_tokens=part.unread_tokens,
        unread_nanos=part.unread_yoctos // YOCTOS_PER_NANO,
        rateless_read_tokens=part.rateless_read_tokens,
        rateless_unread_tokens=part.rateless_unread_tokens,
    )
