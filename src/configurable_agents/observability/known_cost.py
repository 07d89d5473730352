"""What of a cost, and of the tokens, is known. Every figure of them in a report is shown by this rule.

Of all calls known: an amount. Of some: a lower bound, marked as such. Of none: unknown, which is a dash to
people and null in JSON. Zero is only what is known to be nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from configurable_agents.telemetry import NANOS_PER_USD, WorkflowRunRecord

UNKNOWN = "–"  # noqa: RUF001 - a dash, as printed tables have it
LOWER_BOUND_SIGN = "+"
"""Follows an amount that leaves out calls whose cost is not known."""


class KnownCost(NamedTuple):
    """Of a set of calls. Adds up exactly, in any order."""

    nanos: int = 0
    """Of the calls whose cost is known."""
    calls: int = 0
    unknown_calls: int = 0
    """Calls that are not in `nanos`, for lack of a price or of usage."""

    @property
    def is_complete(self) -> bool:
        return not self.unknown_calls

    @property
    def known_nanos(self) -> int | None:
        """A lower bound where some calls are unknown, `None` where all are."""
        return None if self.unknown_calls and self.unknown_calls >= self.calls else self.nanos

    @property
    def usd(self) -> float | None:
        return usd_if_known(self.known_nanos)

    def plus(self, other: KnownCost) -> KnownCost:
        return KnownCost(
            self.nanos + other.nanos, self.calls + other.calls, self.unknown_calls + other.unknown_calls
        )

    def less(self, other: KnownCost) -> KnownCost:
        """What has come on top of `other`, an earlier state of the same set."""
        return KnownCost(
            self.nanos - other.nanos, self.calls - other.calls, self.unknown_calls - other.unknown_calls
        )


class KnownTokens(NamedTuple):
    """Of a set of calls: of all classes, or of some."""

    tokens: int = 0
    """Of the calls that said what they used."""
    calls: int = 0
    unknown_calls: int = 0
    """Calls without usage."""

    @property
    def is_complete(self) -> bool:
        return not self.unknown_calls

    @property
    def known(self) -> int | None:
        """A lower bound where some calls are unknown, `None` where all are."""
        is_unknown = self.unknown_calls and self.unknown_calls >= self.calls and not self.tokens
        return None if is_unknown else self.tokens


NO_COST = KnownCost()


def cost_of_run(run: WorkflowRunRecord) -> KnownCost:
    return KnownCost(run.total_cost_nanos, run.llm_calls, run.unpriced_calls)


def tokens_of_run(run: WorkflowRunRecord) -> KnownTokens:
    return KnownTokens(run.total_tokens, run.llm_calls, run.no_usage_calls)


def usd_if_known(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / NANOS_PER_USD
