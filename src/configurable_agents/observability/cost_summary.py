"""What a set of calls cost, with how much of it is known. Pure records: they add, they print as JSON.

Every place that totals costs (a tracker in a workflow, the ledger's queries, a report made from
MLflow) fills these, so a figure means the same wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from configurable_agents.observability.known_cost import UNKNOWN, KnownCost, KnownTokens
from configurable_agents.telemetry import NANOS_PER_USD, PriceStatus, Usage

NO_TOKENS = Usage()

USD_DECIMALS = 9
"""Of an exact amount: it is whole nano-dollars."""


def usd(nanos: int) -> float:
    """Nano-dollars as float dollars, for public figures ending in `_usd`."""
    return nanos / NANOS_PER_USD


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Totals of a set of calls. Addition is associative and commutative: all fields are integers."""

    calls: int = 0
    cost_nanos: int = 0
    usage: Usage = NO_TOKENS
    priced_calls: int = 0
    stated_calls: int = 0
    free_calls: int = 0
    unpriced_calls: int = 0
    no_usage_calls: int = 0
    unpriced_tokens: int = 0
    """Tokens of `unpriced` calls; they are in `usage` too."""
    failed_calls: int = 0
    stated_tokens: int = 0
    free_tokens: int = 0
    merged_calls: int = 0
    """Further reports of calls that are counted once; they are in no other figure."""

    @property
    def priced_tokens(self) -> int:
        return self.total_tokens - self.stated_tokens - self.free_tokens - self.unpriced_tokens

    @property
    def total_tokens(self) -> int:
        return self.usage.total_tokens

    def plus(self, other: CallTotals) -> CallTotals:
        return CallTotals(
            self.calls + other.calls,
            self.cost_nanos + other.cost_nanos,
            self.usage.plus(other.usage),
            self.priced_calls + other.priced_calls,
            self.stated_calls + other.stated_calls,
            self.free_calls + other.free_calls,
            self.unpriced_calls + other.unpriced_calls,
            self.no_usage_calls + other.no_usage_calls,
            self.unpriced_tokens + other.unpriced_tokens,
            self.failed_calls + other.failed_calls,
            self.stated_tokens + other.stated_tokens,
            self.free_tokens + other.free_tokens,
            self.merged_calls + other.merged_calls,
        )

    def negated(self) -> CallTotals:
        """What, added, takes these totals away again."""
        figures = {name: -getattr(self, name) for name in COUNT_FIELDS}
        return CallTotals(usage=Usage(*(-count for count in self.usage)), **figures)

    @classmethod
    def of_call(
        cls, usage: Usage | None, status: PriceStatus, cost_nanos: int, *, failed: bool = False
    ) -> CallTotals:
        """The totals of a single call. `cost_nanos` is ignored unless the price is known."""
        known = status in (PriceStatus.PRICED, PriceStatus.STATED, PriceStatus.FREE)
        tokens = usage if usage is not None else NO_TOKENS
        return cls(
            calls=1,
            cost_nanos=cost_nanos if known else 0,
            usage=tokens,
            priced_calls=int(status is PriceStatus.PRICED),
            stated_calls=int(status is PriceStatus.STATED),
            free_calls=int(status is PriceStatus.FREE),
            unpriced_calls=int(status is PriceStatus.UNPRICED),
            no_usage_calls=int(status is PriceStatus.NO_USAGE),
            unpriced_tokens=tokens.total_tokens if status is PriceStatus.UNPRICED else 0,
            failed_calls=int(failed),
            stated_tokens=tokens.total_tokens if status is PriceStatus.STATED else 0,
            free_tokens=tokens.total_tokens if status is PriceStatus.FREE else 0,
        )

    @property
    def covered_calls(self) -> int:
        """Calls whose cost is known."""
        return self.priced_calls + self.stated_calls + self.free_calls

    @property
    def cost(self) -> KnownCost:
        return KnownCost(self.cost_nanos, self.calls, self.calls - self.covered_calls)

    @property
    def tokens(self) -> KnownTokens:
        return self.tokens_of(self.total_tokens)

    def tokens_of(self, count: int) -> KnownTokens:
        """`count` of them, of some classes: they are known of the same calls."""
        return KnownTokens(count, self.calls, self.no_usage_calls)

    @property
    def known_classes(self) -> dict[str, int] | None:
        """Tokens by class; `None` where no call said what it used."""
        return self.usage.by_class() if self.tokens.known is not None or any(self.usage) else None

    @property
    def calls_covered_percent(self) -> float:
        """Share of calls whose cost is known; 100 for no calls at all."""
        return 100.0 * self.covered_calls / self.calls if self.calls else 100.0

    @property
    def tokens_covered_percent(self) -> float:
        """Share of known tokens that are in the sum; 100 for no tokens at all."""
        total = self.total_tokens
        return 100.0 * (total - self.unpriced_tokens) / total if total else 100.0

    def coverage(self) -> dict[str, Any]:
        """The `coverage` object of the JSON contract."""
        return {
            "priced_calls": self.priced_calls,
            "stated_calls": self.stated_calls,
            "free_calls": self.free_calls,
            "unpriced_calls": self.unpriced_calls,
            "no_usage_calls": self.no_usage_calls,
            "priced_tokens": self.priced_tokens,
            "stated_tokens": self.stated_tokens,
            "free_tokens": self.free_tokens,
            "unpriced_tokens": self.unpriced_tokens,
            "calls_covered_percent": share_of_all(self.calls_covered_percent),
            "tokens_covered_percent": share_of_all(self.tokens_covered_percent),
        }

    def coverage_sentence(self) -> str:
        """One line for people: `$12.41 + 3 unpriced calls (18,204 tokens), 97.1 % of calls priced`."""
        known_nanos = self.cost.known_nanos
        parts = [UNKNOWN if known_nanos is None else format_usd(known_nanos)]
        if self.unpriced_calls:
            parts.append(f"{plural(self.unpriced_calls, 'unpriced call')} ({self.unpriced_tokens:,} tokens)")
        if self.no_usage_calls:
            parts.append(f"{plural(self.no_usage_calls, 'call')} without usage")
        return f"{' + '.join(parts)}, {percent_below(self.calls_covered_percent)} of calls priced"


NO_CALLS = CallTotals()

COUNT_FIELDS = tuple(name for name in CallTotals.__dataclass_fields__ if name != "usage")
"""The integers of `CallTotals`."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    provider: str
    model: str
    totals: CallTotals


@dataclass(frozen=True, slots=True, repr=False)
class CostSummary:
    """Costs of one run, one experiment or everything, one entry per provider and model.

    Entries are sorted by provider, then model, and are unique in the pair.
    """

    models: tuple[ModelCost, ...] = ()
    experiment: str = ""
    run_id: str = ""
    since_unix_ns: int = 0
    run_count: int = 0
    wasted: CallTotals | None = None
    """What of it was thrown away: failed calls, and calls of executions that failed. `None`: not known."""

    @classmethod
    def of(cls, entries: Iterable[ModelCost], **scope: Any) -> CostSummary:
        """Adds up entries of the same provider and model. `scope` are the other fields."""
        sums: dict[tuple[str, str], CallTotals] = {}
        for entry in entries:
            key = (entry.provider, entry.model)
            sums[key] = sums.get(key, CallTotals()).plus(entry.totals)
        return cls(models=tuple(ModelCost(*key, sums[key]) for key in sorted(sums)), **scope)

    def __repr__(self) -> str:
        """What it says, not its fields: `<CostSummary of 2 models: $12.41, 100.0 % of calls priced>`."""
        return f"<CostSummary of {plural(len(self.models), 'model')}: {self.totals.coverage_sentence()}>"

    @property
    def totals(self) -> CallTotals:
        return sum_totals(entry.totals for entry in self.models)

    def by_provider(self) -> dict[str, CallTotals]:
        """Totals per provider, most expensive first."""
        sums: dict[str, CallTotals] = {}
        for entry in self.models:
            sums[entry.provider] = sums.get(entry.provider, CallTotals()).plus(entry.totals)
        return dict(sorted(sums.items(), key=lambda item: (-item[1].cost_nanos, item[0])))

    def models_of(self, provider: str) -> tuple[ModelCost, ...]:
        """Entries of one provider, most expensive first."""
        mine = (entry for entry in self.models if entry.provider == provider)
        return tuple(sorted(mine, key=lambda entry: (-entry.totals.cost_nanos, entry.model)))

    @property
    def most_expensive_provider(self) -> str | None:
        """`None` when nothing has cost anything."""
        ranked = self.by_provider()
        return next((name for name, totals in ranked.items() if totals.cost_nanos > 0), None)

    def merged_with(self, other: CostSummary) -> CostSummary:
        merged = CostSummary.of((*self.models, *other.models))
        unknown = self.wasted is None or other.wasted is None
        return replace(
            self,
            models=merged.models,
            run_count=self.run_count + other.run_count,
            wasted=None if unknown else sum_totals(filter(None, (self.wasted, other.wasted))),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `cost-report --json` and `generate_cost_report`; see docs/json.md."""
        totals = self.totals
        return {
            "experiment": self.experiment or None,
            "run_id": self.run_id or None,
            "since_unix_ns": self.since_unix_ns or None,
            "run_count": self.run_count,
            "total_cost_usd": totals.cost.usd,
            "total_cost_nanos": totals.cost.known_nanos,
            "total_tokens": totals.tokens.known,
            "call_count": totals.calls,
            "failed_calls": totals.failed_calls,
            "merged_calls": totals.merged_calls,
            "tokens": totals.known_classes,
            "coverage": totals.coverage(),
            "wasted": None if self.wasted is None else wasted_json(self.wasted),
            "most_expensive_provider": self.most_expensive_provider,
            "by_provider": {
                name: self._provider_json(name, part) for name, part in self.by_provider().items()
            },
        }

    def _provider_json(self, provider: str, totals: CallTotals) -> Mapping[str, Any]:
        return {
            **totals_json(totals),
            "models": {entry.model: totals_json(entry.totals) for entry in self.models_of(provider)},
        }


def totals_json(totals: CallTotals) -> dict[str, Any]:
    return {
        "total_cost": totals.cost.usd,
        "total_cost_nanos": totals.cost.known_nanos,
        "total_tokens": totals.tokens.known,
        "call_count": totals.calls,
        "failed_calls": totals.failed_calls,
        "merged_calls": totals.merged_calls,
        "tokens": totals.known_classes,
        "coverage": totals.coverage(),
    }


def wasted_json(totals: CallTotals) -> dict[str, Any]:
    return {
        "total_cost": totals.cost.usd,
        "total_cost_nanos": totals.cost.known_nanos,
        "total_tokens": totals.tokens.known,
        "call_count": totals.calls,
        "calls_covered_percent": share_of_all(totals.calls_covered_percent),
    }


def sum_totals(parts: Iterable[CallTotals]) -> CallTotals:
    """The sum of any number of totals, field by field: a tenth of the price of adding one by one."""
    known = list(parts)
    if not known:
        return NO_CALLS
    counts = map(sum, zip(*map(_counts_of, known), strict=True))
    usage = Usage(*map(sum, zip(*(part.usage for part in known), strict=True)))
    return CallTotals(usage=usage, **dict(zip(COUNT_FIELDS, counts, strict=True)))


_counts_of = attrgetter(*COUNT_FIELDS)


def format_usd(nanos: int) -> str:
    """Dollars with as many decimals as the amount needs: `$12.41`, `$0.0034`, `$0.00` for zero only."""
    if nanos == 0:
        return "$0.00"
    if abs(nanos) >= NANOS_PER_USD:
        return rounded_usd(nanos, 2)
    return rounded_usd(nanos, 4) if abs(nanos) >= 100_000 else rounded_usd(nanos, USD_DECIMALS).rstrip("0")


def rounded_usd(nanos: int, decimals: int) -> str:
    """`$1,204.10`, `-$0.0217`: made in integers and rounded half away from zero, as all amounts shown."""
    unit = 10 ** (USD_DECIMALS - decimals)
    whole, part = divmod((2 * abs(nanos) + unit) // (2 * unit), 10**decimals)
    return f"{'-' if nanos < 0 else ''}${whole:,}.{part:0{decimals}d}"


def percent_below(percent: float) -> str:
    """A share with one decimal, never rounded up to 100 %."""
    if 99.9 < percent < 100:
        return "99.9 %"
    return f"{percent:.1f} %"


def share_of_all(percent: float) -> float:
    """The same with four decimals, for programs: 100 is nothing but the whole."""
    return 100.0 if percent >= 100 else min(round(percent, 4), 99.9999)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
