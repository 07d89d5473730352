"""Costs by any combination of dimensions. The groups of a report sum to its total exactly."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from configurable_agents.errors import InvalidValueError
from configurable_agents.observability.cost_summary import (
    NO_CALLS,
    CallTotals,
    CostSummary,
    sum_totals,
    totals_json,
    wasted_json,
)

TOKEN_CLASS = "token-class"  # noqa: S105 - a dimension
DIMENSIONS = (
    *("provider", "model", "node", "workflow", "experiment", "run", "day", "attempt"),
    *("status", "price-status", "wasted", "anomaly", TOKEN_CLASS),
)
TAG_PREFIX = "tag:"
DIMENSIONS_MAX = 8
"""Dimensions of one report."""

SORT_KEYS = ("cost", "tokens", "calls", "wasted", "name")
"""All but `name` sort the largest first."""

STATED_CLASS = "stated_cost"
"""Stands for the cost of calls whose provider stated it as a whole: it belongs to no class of tokens."""
NO_USAGE_CLASS = "no_usage"
"""Stands for calls without usage, which have no tokens of any class."""


@dataclass(frozen=True, slots=True)
class CostGroup:
    values: tuple[str, ...]
    """One per dimension; empty: a call or run that has none."""
    totals: CallTotals
    wasted: CallTotals = NO_CALLS
    """The part of it that was thrown away: failed calls, and calls of executions that failed."""

    def plus(self, other: CostGroup) -> CostGroup:
        return CostGroup(self.values, self.totals.plus(other.totals), self.wasted.plus(other.wasted))


@dataclass(frozen=True, slots=True)
class GroupedCosts:
    by: tuple[str, ...]
    groups: tuple[CostGroup, ...] = ()
    totals: CallTotals = NO_CALLS
    wasted: CallTotals | None = None
    """`None` where it is not known."""
    rest: CostGroup | None = None
    """What is in no group shown; `None`: they are all shown."""
    group_count: int = 0
    """How many groups there are, shown or not."""
    experiment: str = ""
    run_id: str = ""
    since_unix_ns: int = 0
    run_count: int = 0

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `cost-report --by … --json`; see docs/json.md."""
        return {
            "experiment": self.experiment or None,
            "run_id": self.run_id or None,
            "since_unix_ns": self.since_unix_ns or None,
            "run_count": self.run_count,
            "by": list(self.by),
            "group_count": self.group_count,
            "groups": [
                {"values": dict(zip(self.by, group.values, strict=True)), **_group_json(group)}
                for group in self.groups
            ],
            "rest": None if self.rest is None else _group_json(self.rest),
            "total": totals_json(self.totals),
            "wasted": None if self.wasted is None else wasted_json(self.wasted),
        }


def _group_json(group: CostGroup) -> dict[str, Any]:
    return {**totals_json(group.totals), "wasted": wasted_json(group.wasted)}


def checked_dimensions(names: Iterable[str]) -> tuple[str, ...]:
    """The dimensions of a report. Raises `InvalidValueError` for one there is not, or none at all."""
    found = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in found:
        if name not in DIMENSIONS and not (name.startswith(TAG_PREFIX) and len(name) > len(TAG_PREFIX)):
            near = difflib.get_close_matches(name, DIMENSIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(DIMENSIONS)}, tag:KEY"
            raise InvalidValueError(f"costs cannot be grouped by {name!r}; {hint}")
    if not 0 < len(found) <= DIMENSIONS_MAX:
        raise InvalidValueError(f"group by 1 to {DIMENSIONS_MAX} dimensions, such as provider,model")
    return found


def ranked(
    groups: Iterable[CostGroup], *, sort: str, top: int
) -> tuple[tuple[CostGroup, ...], CostGroup | None]:
    """The first `top` groups in order, and the sum of the others. Raises `InvalidValueError`."""
    if sort not in SORT_KEYS:
        raise InvalidValueError(f"groups cannot be sorted by {sort!r}; there are: {', '.join(SORT_KEYS)}")
    ordered = sorted(
        groups, key=lambda group: (_size(group, sort), [_natural(value) for value in group.values])
    )
    shown, others = ordered[:top], ordered[top:]
    return tuple(shown), _sum(others) if others else None


def of_summary(summary: CostSummary, by: Sequence[str], *, sort: str, top: int) -> GroupedCosts:
    """Groups of a report that knows provider and model only."""
    unknown = [name for name in by if name not in ("provider", "model")]
    if unknown:
        raise InvalidValueError(f"costs from MLflow are known by provider and model, not by {unknown[0]}")
    sums: dict[tuple[str, ...], CallTotals] = {}
    for entry in summary.models:
        values = tuple(getattr(entry, name) for name in by)
        sums[values] = sums.get(values, NO_CALLS).plus(entry.totals)
    shown, rest = ranked((CostGroup(*item) for item in sums.items()), sort=sort, top=top)
    return GroupedCosts(
        by=tuple(by),
        groups=shown,
        totals=summary.totals,
        wasted=summary.wasted,
        rest=rest,
        group_count=len(sums),
        experiment=summary.experiment,
        run_id=summary.run_id,
        since_unix_ns=summary.since_unix_ns,
        run_count=summary.run_count,
    )


def _sum(groups: Sequence[CostGroup]) -> CostGroup:
    return CostGroup(
        ("",) * len(groups[0].values),
        sum_totals(group.totals for group in groups),
        sum_totals(group.wasted for group in groups),
    )


def _size(group: CostGroup, sort: str) -> int:
    sizes = {
        "cost": group.totals.cost_nanos,
        "tokens": group.totals.total_tokens,
        "calls": group.totals.calls,
        "wasted": group.wasted.cost_nanos,
        "name": 0,
    }
    return -sizes[sort]


def _natural(value: str) -> tuple[int, int, str]:
    """Attempts 2 and 10 in this order."""
    number = value.isascii() and value.isdigit()
    return (0, int(value), "") if number else (1, 0, value)
