"""What repricing would change, or has changed, by provider and model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from configurable_agents.observability.cost_summary import CallTotals, sum_totals, totals_json
from configurable_agents.observability.known_cost import usd_if_known


@dataclass(frozen=True, slots=True)
class ModelRepricing:
    provider: str
    model: str
    changed_calls: int
    """Calls whose price differs; the others keep theirs, and their receipt."""
    before: CallTotals
    after: CallTotals

    def plus(self, other: ModelRepricing) -> ModelRepricing:
        return ModelRepricing(
            self.provider,
            self.model,
            self.changed_calls + other.changed_calls,
            self.before.plus(other.before),
            self.after.plus(other.after),
        )


@dataclass(frozen=True, slots=True)
class RepricingReport:
    models: tuple[ModelRepricing, ...] = ()
    """By provider, then model."""
    run_count: int = 0
    changed_runs: int = 0
    applied: bool = False
    table_version: str = ""

    @property
    def changed_calls(self) -> int:
        return sum(entry.changed_calls for entry in self.models)

    @property
    def before(self) -> CallTotals:
        return sum_totals(entry.before for entry in self.models)

    @property
    def after(self) -> CallTotals:
        return sum_totals(entry.after for entry in self.models)

    @property
    def difference_nanos(self) -> int | None:
        """`None` where calls have a known cost on one side only: the sums are then of different calls."""
        if any(_unknown(entry.before) != _unknown(entry.after) for entry in self.models):
            return None
        return self.after.cost_nanos - self.before.cost_nanos

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `reprice --json`; see docs/json.md."""
        before, after = self.before, self.after
        return {
            "applied": self.applied,
            "table_version": self.table_version,
            "run_count": self.run_count,
            "changed_runs": self.changed_runs,
            "changed_calls": self.changed_calls,
            "difference_usd": usd_if_known(self.difference_nanos),
            "difference_nanos": self.difference_nanos,
            "before": totals_json(before),
            "after": totals_json(after),
            "models": [
                {
                    "provider": entry.provider,
                    "model": entry.model,
                    "changed_calls": entry.changed_calls,
                    "before": totals_json(entry.before),
                    "after": totals_json(entry.after),
                }
                for entry in self.models
            ],
        }


def _unknown(totals: CallTotals) -> tuple[int, int, int]:
    return totals.unpriced_calls, totals.no_usage_calls, totals.unpriced_tokens


def added_up(entries: Iterable[ModelRepricing]) -> tuple[ModelRepricing, ...]:
    sums: dict[tuple[str, str], ModelRepricing] = {}
    for entry in entries:
        key = (entry.provider, entry.model)
        sums[key] = sums[key].plus(entry) if key in sums else entry
    return tuple(sums[key] for key in sorted(sums))
