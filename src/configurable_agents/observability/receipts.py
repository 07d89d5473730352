"""How the cost of a call came about: each class of tokens times its rate, to the last digit.

A receipt is made from what was stored with the call when it was priced, so it holds whatever has become of
the price table since.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, NamedTuple

from configurable_agents.observability.cost_summary import usd
from configurable_agents.observability.price_table import (
    PER_CALL,
    YOCTOS_PER_NANO,
    YOCTOS_PER_USD,
    RateCard,
    Rates,
)
from configurable_agents.telemetry import TOKEN_CLASSES, LlmCall, PriceStatus, Usage

_EXACT = Context(prec=60)


class ReceiptLine(NamedTuple):
    token_class: str
    """One of `TOKEN_CLASSES`, or `call`: the fee for the request itself."""
    units: int
    """Tokens, requests or calls."""
    rate_yoctos: int | None
    """Yoctodollars (1e-24 USD) per token or request; `None`: the table has no rate for the class."""

    @property
    def amount_yoctos(self) -> int:
        return self.units * (self.rate_yoctos or 0)

    @property
    def units_priced_together(self) -> int:
        """Rates are shown per million tokens, per thousand searches, per call."""
        return {PER_CALL: 1, "web_searches": 1_000}.get(self.token_class, 1_000_000)

    @property
    def shown_rate_usd(self) -> Decimal | None:
        return None if self.rate_yoctos is None else exact_usd(self.rate_yoctos * self.units_priced_together)


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """A price a call has, or had."""

    status: PriceStatus
    cost_nanos: int = 0
    """Meaningful when the status is `priced`, `stated` or `free`."""
    table_cost_nanos: int | None = None
    card: RateCard | None = None
    reason: str = ""
    replaced_at_unix_ns: int = 0
    """Of a former price."""
    replaced_because: str = ""

    @property
    def is_known(self) -> bool:
        return self.status not in (PriceStatus.UNPRICED, PriceStatus.NO_USAGE)


@dataclass(frozen=True, slots=True)
class Receipt:
    call: LlmCall
    price: PriceEntry
    counted: bool = True
    """False: another report of the same response is in the totals instead."""
    history: tuple[PriceEntry, ...] = ()
    """What it cost before it was repriced, oldest first."""

    def lines(self) -> tuple[ReceiptLine, ...]:
        """Classes with tokens, in the order of `Usage`. Empty without usage."""
        if self.call.usage is None:
            return ()
        return receipt_lines(self.call.usage, self.price.card, self.call.anomalies)

    def rounding_yoctos(self) -> int:
        """What brings the sum of the lines to the table's price, which is whole nano-dollars."""
        table_cost_nanos = self.price.table_cost_nanos
        if table_cost_nanos is None or self.price.card is None:
            return 0
        return table_cost_nanos * YOCTOS_PER_NANO - sum(line.amount_yoctos for line in self.lines())

    def threshold(self) -> int | None:
        """The input above which the rates of this call apply; `None`: its base rates."""
        card, usage = self.price.card, self.call.usage
        if card is None or usage is None:
            return None
        rates = _rates_of(card, usage, self.call.anomalies)
        return next((start for start, above in card.tiers if above is rates), None)

    def to_json(self) -> dict[str, Any]:
        """One element of `explain --json`; see docs/json.md."""
        call, price = self.call, self.price
        return {
            "call_id": call.call_id,
            "run_id": call.run_id,
            "node_id": call.node_id or None,
            "attempt": call.attempt,
            "status": call.status.label,
            "started_unix_ns": call.started_unix_ns,
            "provider": call.provider,
            "provider_known_by": call.provider_known_by or None,
            "model": call.model,
            "model_known_by": call.model_known_by or None,
            "model_as_given": call.model_as_given or None,
            "response_id": call.response_id or None,
            "service_tier": call.service_tier or None,
            "batch": call.batch,
            "anomalies": list(call.anomalies),
            "counted": self.counted,
            **_price_json(price),
            "stated_cost_nanos": call.stated_cost_nanos,
            "lines": [_line_json(line) for line in self.lines()],
            "rounding_usd": plain_usd(self.rounding_yoctos()),
            "threshold_tokens": self.threshold(),
            "history": [
                {
                    **_price_json(entry),
                    "replaced_at_unix_ns": entry.replaced_at_unix_ns,
                    "replaced_because": entry.replaced_because,
                }
                for entry in self.history
            ],
        }


def receipt_lines(
    usage: Usage, card: RateCard | None, anomalies: Collection[str] = ()
) -> tuple[ReceiptLine, ...]:
    """The classes with tokens and what each costs by a card."""
    if card is None:
        return tuple(
            ReceiptLine(name, count, None) for name, count in zip(TOKEN_CLASSES, usage, strict=True) if count
        )
    rates = _rates_of(card, usage, anomalies)
    lines = [
        ReceiptLine(name, count, None if position in rates.missing else rates.per_class[position])
        for position, (name, count) in enumerate(zip(TOKEN_CLASSES, usage, strict=True))
        if count
    ]
    if card.per_call_yoctos:
        lines.append(ReceiptLine(PER_CALL, 1, card.per_call_yoctos))
    return tuple(lines)


def shared_out(cost_nanos: int, lines: Collection[ReceiptLine]) -> dict[str, int]:
    """A cost in nano-dollars divided among its lines so that the parts sum to it exactly.

    Each line gets its whole nano-dollars; what is left goes one by one to the largest remainders.
    """
    parts = {line.token_class: divmod(line.amount_yoctos, YOCTOS_PER_NANO) for line in lines}
    shares = {name: whole for name, (whole, _) in parts.items()}
    left = cost_nanos - sum(shares.values())
    by_remainder = sorted(parts, key=lambda name: -parts[name][1])
    for name in by_remainder[:left] if left > 0 else ():
        shares[name] += 1
    return shares


def exact_usd(yoctos: int) -> Decimal:
    return _EXACT.divide(Decimal(yoctos), Decimal(YOCTOS_PER_USD))


def _rates_of(card: RateCard, usage: Usage, anomalies: Collection[str]) -> Rates:
    from configurable_agents.observability.cost_estimator import (  # noqa: PLC0415 - who reads a total makes no receipt
        applicable_rates,
    )

    return applicable_rates(card, usage, anomalies)


def plain_usd(yoctos: int) -> str:
    """Dollars to the last digit, without an exponent."""
    text = f"{exact_usd(yoctos):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _line_json(line: ReceiptLine) -> dict[str, Any]:
    rate = line.rate_yoctos
    return {
        "token_class": line.token_class,
        "count": line.units,
        "rate_usd": None if rate is None else plain_usd(rate * line.units_priced_together),
        "rate_per": line.units_priced_together,
        "amount_usd": None if rate is None else plain_usd(line.amount_yoctos),
    }


def _price_json(price: PriceEntry) -> dict[str, Any]:
    card = price.card
    return {
        "price_status": price.status.value,
        "cost_usd": usd(price.cost_nanos) if price.is_known else None,
        "cost_nanos": price.cost_nanos if price.is_known else None,
        "table_cost_nanos": price.table_cost_nanos,
        "reason": price.reason or None,
        "rate_card": None
        if card is None
        else {
            "provider": card.provider,
            "model": card.model,
            "table_version": card.table_version,
            "tier": card.tier or "standard",
            "price_date": card.price_date or None,
            "overridden": list(card.overridden),
            "alias": card.alias or None,
        },
    }
