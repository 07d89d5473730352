"""Costs by any dimension, from the rows of the calls, and what of them was thrown away."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, NamedTuple

from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.call_queries import rate_card
from configurable_agents.obsd.ledger.scopes import IN_SCOPE, experiment_of, resolve
from configurable_agents.observability.cost_groups import (
    NO_USAGE_CLASS,
    STATED_CLASS,
    TAG_PREFIX,
    TOKEN_CLASS,
    CostGroup,
    GroupedCosts,
    checked_dimensions,
    ranked,
)
from configurable_agents.observability.cost_summary import NO_CALLS, CallTotals, CostSummary
from configurable_agents.observability.price_table import RateCard
from configurable_agents.observability.receipts import receipt_lines, shared_out
from configurable_agents.telemetry import TOKEN_CLASSES, PriceStatus, Status, Usage
from configurable_agents.wire.report_records import Scope

_WASTED = """
(c.status <> 1 OR EXISTS (
    SELECT 1 FROM node_executions x WHERE x.run = c.run AND x.span_id = c.span_id AND x.status <> 1
))
"""
"""Failed and cancelled calls, and calls of executions that failed or were cancelled: attempts in vain."""

_FROM = f"""
FROM runs r JOIN llm_calls c ON c.run = r.id
JOIN names n ON n.id = c.node JOIN names p ON p.id = c.provider JOIN names m ON m.id = c.model
JOIN names w ON w.id = r.workflow JOIN names e ON e.id = r.experiment
WHERE {IN_SCOPE} AND c.seq > r.retired_seq
"""

_GRAIN = "c.run, c.node, c.provider, c.model, day, c.attempt, c.status, c.price_status, wasted, c.anomalies"

_KEY = f"""
    r.run_id, r.tags, w.name, e.name, n.name, p.name, m.name, c.started_unix_ns / 86400000000000 AS day,
    c.attempt, c.status, c.price_status, {_WASTED} AS wasted, c.anomalies
"""

_GRAINS = f"""
SELECT {_KEY}, COUNT(*), SUM(c.cost_nanos), SUM(c.input_tokens), SUM(c.cache_read_tokens),
    SUM(c.cache_write_tokens), SUM(c.cache_write_1h_tokens), SUM(c.output_tokens), SUM(c.reasoning_tokens),
    SUM(c.audio_input_tokens), SUM(c.audio_output_tokens), SUM(c.web_searches)
{_FROM} AND c.counted GROUP BY {_GRAIN}
"""

_MERGED = f"""
SELECT {_KEY}, (
    SELECT COUNT(*) FROM llm_calls o
    WHERE o.run = c.run AND o.response_id = c.response_id AND o.response_id <> '' AND NOT o.counted
)
{_FROM} AND c.counted AND c.response_id <> '' AND c.run IN (SELECT run FROM llm_calls WHERE NOT counted)
"""

_CALLS = f"""
SELECT {_KEY}, c.cost_nanos, c.rate_card,
    c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens, c.output_tokens,
    c.reasoning_tokens, c.audio_input_tokens, c.audio_output_tokens, c.web_searches
{_FROM} AND c.counted
"""

_WASTED_TOTALS = f"""
SELECT c.price_status, COUNT(*), SUM(c.cost_nanos), SUM(c.input_tokens), SUM(c.cache_read_tokens),
    SUM(c.cache_write_tokens), SUM(c.cache_write_1h_tokens), SUM(c.output_tokens), SUM(c.reasoning_tokens),
    SUM(c.audio_input_tokens), SUM(c.audio_output_tokens), SUM(c.web_searches), SUM(c.status <> 1)
FROM llm_calls c WHERE c.counted AND c.seq IN (
    SELECT c.seq FROM runs r JOIN llm_calls c ON c.run = r.id WHERE {IN_SCOPE} AND c.status <> 1
        AND c.seq > r.retired_seq
    UNION
    SELECT c.seq FROM runs r JOIN node_executions x ON x.run = r.id AND x.status <> 1
    JOIN llm_calls c ON c.run = x.run AND c.span_id = x.span_id WHERE {IN_SCOPE}
        AND c.seq > r.retired_seq
) GROUP BY c.price_status
"""

_RETIRED = f"""
SELECT r.run_id, r.tags, w.name, e.name, n.name, p.name, m.name, g.day, g.attempt, g.status, g.price_status,
    g.wasted, g.anomalies, g.token_class, g.calls, g.cost_nanos, g.input_tokens, g.cache_read_tokens,
    g.cache_write_tokens, g.cache_write_1h_tokens, g.output_tokens, g.reasoning_tokens,
    g.audio_input_tokens, g.audio_output_tokens, g.web_searches, g.priced_calls, g.stated_calls, g.free_calls,
    g.unpriced_calls, g.no_usage_calls, g.unpriced_tokens, g.failed_calls, g.stated_tokens, g.free_tokens,
    g.merged_calls
FROM runs r JOIN call_groups g ON g.run = r.id
JOIN names n ON n.id = g.node JOIN names p ON p.id = g.provider JOIN names m ON m.id = g.model
JOIN names w ON w.id = r.workflow JOIN names e ON e.id = r.experiment
WHERE {IN_SCOPE} AND r.retired_seq > 0 AND (g.token_class <> '') = :classes
"""

_RUN_COUNT = f"SELECT COUNT(*) FROM runs r WHERE {IN_SCOPE}"

_KEY_COLUMNS = 13


class PartKey(NamedTuple):
    run: str
    tags: str
    workflow: str
    experiment: str
    node: str
    provider: str
    model: str
    day: int
    attempt: int
    status: int
    price_status: str
    wasted: int
    anomalies: str
    """Codes joined by spaces, as in the ledger."""


class Part(NamedTuple):
    """Calls, or one class of their tokens, that fall into the same group whatever the dimensions."""

    key: PartKey
    token_class: str
    totals: CallTotals


def grouped_costs(
    connection: sqlite3.Connection, scope: Scope, by: Sequence[str], *, sort: str = "cost", top: int = 0
) -> GroupedCosts:
    """Costs of a scope by dimensions; `top` 0 shows all, up to `limits.GROUPS_MAX`.

    Raises `InvalidValueError` for a dimension or an order there is not, `NotFoundError` as reports do.
    """
    dimensions = checked_dimensions(by)
    found = resolve(connection, scope)
    values = [_value_of(name) for name in dimensions]
    groups: dict[tuple[str, ...], CostGroup] = {}
    for part in _all_parts(connection, found.parameters, classes=TOKEN_CLASS in dimensions):
        key = tuple(value(part) for value in values)
        group = CostGroup(key, part.totals, part.totals if part.key.wasted else NO_CALLS)
        groups[key] = groups[key].plus(group) if key in groups else group
    whole = list(_all_parts(connection, found.parameters, classes=False))
    shown, rest = ranked(
        groups.values(), sort=sort, top=min(top, limits.GROUPS_MAX) if top > 0 else limits.GROUPS_MAX
    )
    return GroupedCosts(
        by=dimensions,
        groups=shown,
        totals=_sum(part for part in whole),
        wasted=_sum(part for part in whole if part.key.wasted),
        rest=rest,
        group_count=len(groups),
        experiment=experiment_of(connection, found),
        run_id=found.run_id,
        since_unix_ns=scope.since_unix_ns,
        run_count=connection.execute(_RUN_COUNT, found.parameters).fetchone()[0],
    )


def cost_with_wasted(connection: sqlite3.Connection, scope: Scope) -> CostSummary:
    """Costs by provider and model, and what of them was thrown away."""
    summary = queries.cost_summary(connection, scope)
    return replace(summary, wasted=wasted_totals(connection, scope))


def wasted_totals(connection: sqlite3.Connection, scope: Scope) -> CallTotals:
    """Calls of a scope whose results were thrown away: see `_WASTED`."""
    total = NO_CALLS
    for status, calls, cost_nanos, *counts, failed in connection.execute(
        _WASTED_TOTALS, resolve(connection, scope).parameters
    ):
        total = total.plus(_totals(PriceStatus(status), calls, cost_nanos, counts, failed_calls=failed))
    retired = retired_parts(connection, resolve(connection, scope).parameters, classes=False)
    return total.plus(_sum(part for part in retired if part.key.wasted))


def _all_parts(
    connection: sqlite3.Connection, parameters: dict[str, Any], *, classes: bool
) -> Iterator[Part]:
    yield from parts(connection, parameters, classes=classes)
    yield from retired_parts(connection, parameters, classes=classes)


def parts(connection: sqlite3.Connection, parameters: dict[str, Any], *, classes: bool) -> Iterator[Part]:
    """From the rows of calls that are kept."""
    if classes:
        yield from _class_parts(connection, parameters)
    else:
        for row in connection.execute(_GRAINS, parameters):
            key = PartKey(*row[:_KEY_COLUMNS])
            calls, cost_nanos, *counts = row[_KEY_COLUMNS:]
            failed = 0 if key.status == Status.OK else calls
            totals = _totals(PriceStatus(key.price_status), calls, cost_nanos, counts, failed_calls=failed)
            yield Part(key, "", totals)
    for row in connection.execute(_MERGED, parameters):
        if row[_KEY_COLUMNS]:
            key = PartKey(*row[:_KEY_COLUMNS])
            yield Part(key, NO_USAGE_CLASS, CallTotals(merged_calls=row[_KEY_COLUMNS]))


def retired_parts(
    connection: sqlite3.Connection, parameters: dict[str, Any], *, classes: bool
) -> Iterator[Part]:
    """From what is kept of rows that are removed."""
    for row in connection.execute(_RETIRED, {**parameters, "classes": classes}):
        calls, cost_nanos, *counts = row[_KEY_COLUMNS + 1 :]
        totals = CallTotals(
            calls, cost_nanos, Usage(*counts[: len(Usage._fields)]), *counts[len(Usage._fields) :]
        )
        yield Part(PartKey(*row[:_KEY_COLUMNS]), row[_KEY_COLUMNS], totals)


def _class_parts(connection: sqlite3.Connection, parameters: dict[str, Any]) -> Iterator[Part]:
    cards: dict[int | None, RateCard | None] = {}
    for row in connection.execute(_CALLS, parameters):
        key = PartKey(*row[:_KEY_COLUMNS])
        cost_nanos, card, *counts = row[_KEY_COLUMNS:]
        if card not in cards:
            cards[card] = rate_card(connection, card)
        usage = None if counts[0] is None else Usage(*counts)
        for token_class, totals in _classes(key, usage, cost_nanos, cards[card]):
            yield Part(key, token_class, totals)


def _classes(
    key: PartKey, usage: Usage | None, cost_nanos: int, card: RateCard | None
) -> Iterator[tuple[str, CallTotals]]:
    """One call by class: its tokens apart, and its cost shared out so that the parts sum to it."""
    status = PriceStatus(key.price_status)
    failed = key.status != Status.OK
    if usage is None:
        yield NO_USAGE_CLASS, CallTotals.of_call(None, status, cost_nanos, failed=failed)
        return
    lines = receipt_lines(usage, card, key.anomalies.split())
    shares = shared_out(cost_nanos, lines) if status is PriceStatus.PRICED else {}
    for line in lines:
        alone = Usage(*(line.units if line.token_class == name else 0 for name in TOKEN_CLASSES))
        share = shares.pop(line.token_class, 0)
        yield line.token_class, CallTotals.of_call(alone, status, share, failed=failed)
    if status is PriceStatus.STATED or not lines:
        yield STATED_CLASS, CallTotals.of_call(Usage(), status, cost_nanos, failed=failed)


def _totals(
    status: PriceStatus, calls: int, cost_nanos: int, counts: Sequence[int | None], *, failed_calls: int
) -> CallTotals:
    usage = Usage(*(count or 0 for count in counts))
    one = CallTotals.of_call(usage, status, cost_nanos)
    return CallTotals(
        calls=calls,
        cost_nanos=one.cost_nanos,
        usage=usage,
        priced_calls=one.priced_calls * calls,
        stated_calls=one.stated_calls * calls,
        free_calls=one.free_calls * calls,
        unpriced_calls=one.unpriced_calls * calls,
        no_usage_calls=one.no_usage_calls * calls,
        unpriced_tokens=one.unpriced_tokens,
        failed_calls=failed_calls,
        stated_tokens=one.stated_tokens,
        free_tokens=one.free_tokens,
    )


def _sum(parts: Iterator[Part]) -> CallTotals:
    total = NO_CALLS
    for part in parts:
        total = total.plus(part.totals)
    return total


def _value_of(dimension: str) -> Callable[[Part], str]:
    if dimension.startswith(TAG_PREFIX):
        name = dimension.removeprefix(TAG_PREFIX)
        return lambda part: str(json.loads(part.key.tags).get(name, ""))
    return _VALUES[dimension]


_VALUES: dict[str, Callable[[Part], str]] = {
    "provider": lambda part: part.key.provider,
    "model": lambda part: part.key.model,
    "node": lambda part: part.key.node,
    "workflow": lambda part: part.key.workflow,
    "experiment": lambda part: part.key.experiment,
    "run": lambda part: part.key.run,
    "day": lambda part: (date(1970, 1, 1) + timedelta(days=part.key.day)).isoformat(),
    "attempt": lambda part: str(part.key.attempt),
    "status": lambda part: Status(part.key.status).label,
    "price-status": lambda part: part.key.price_status,
    "wasted": lambda part: "yes" if part.key.wasted else "no",
    "anomaly": lambda part: part.key.anomalies,
    TOKEN_CLASS: lambda part: part.token_class,
}
