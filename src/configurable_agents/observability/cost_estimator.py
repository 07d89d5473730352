"""From usage to money: one price per call, with its status, its reason and its receipt.

A rate card is looked up once per model, tier and span of time; a call is then priced by integer
arithmetic and rounded once, half to even, to nano-dollars.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from configurable_agents.observability import installed_table, user_prices
from configurable_agents.observability import usage as codes
from configurable_agents.observability.price_table import (
    STANDARD_TIERS,
    YOCTOS_PER_NANO,
    GenaiPriceTable,
    PriceTable,
    RateCard,
    Rates,
)
from configurable_agents.observability.providers import (
    LOCAL_PROVIDERS,
    NAME_CHARS_MAX,
    UNKNOWN_PROVIDER,
    canonical_provider,
    normalise_model,
)
from configurable_agents.observability.user_prices import UserPriceTable
from configurable_agents.telemetry import TOKEN_CLASSES, PriceStatus, Usage

CARDS_MAX = 4_096
"""Models (by provider, tier and batch) whose cards are kept; at the limit the oldest is forgotten."""
UNKNOWN_MAX = 4_096
"""Unknown models remembered as such, apart from the cards: a flood of odd names displaces no card."""
NS_PER_DAY = 86_400 * 10**9
"""A model is unknown for a day (UTC): the user's prices begin and end with one."""
CARD_SPANS_MAX = 16
"""Spans of time kept for one of them; at the limit the oldest is forgotten."""
COST_NANOS_MAX = 2**63 - 1
"""What the ledger can hold. A larger price is none."""
STATED_COST_NANOS_MAX = 10**15
"""A stated cost above a million dollars for one call is not believed."""

_NOT_BY_TABLE = {
    codes.MIXED_MODELS: "part of it was served by another model, at other rates",
    codes.INFERENCE_GEO_US: "inference in the US only has a surcharge the price table does not hold",
}
_REMARKS = {
    codes.STREAM_INCOMPLETE: "the stream ended early; what came after its last usage is not included",
    codes.GROUNDING_UNCOUNTED: "searches for grounding are not included",
    codes.TOTAL_DIFFERS: "the total the response states is not the sum of its parts; the parts are priced",
    codes.INPUT_MISSING: "the response states no input tokens; only its output is priced",
}
PREPAID_TIERS = frozenset({"provisioned_throughput", "provisioned", "reserved"})
TIER_NAMES = {"on_demand_priority": "priority", "on_demand_flex": "flex"}


class Price(NamedTuple):
    """What a call cost and how that is known."""

    status: PriceStatus
    cost_nanos: int = 0
    """Meaningful when the status is `priced`, `stated` or `free`."""
    table_cost_nanos: int | None = None
    """What the table says, also where a stated cost is what counts."""
    card: RateCard | None = None
    reason: str = ""
    """Why it is not simply priced; empty when it is."""

    @property
    def is_known(self) -> bool:
        return self.status not in (PriceStatus.UNPRICED, PriceStatus.NO_USAGE)


class CostEstimator:
    """Prices calls. Thread-safe; loads the price table at the first model that needs it."""

    def __init__(self, table: PriceTable | None = None) -> None:
        self._table: PriceTable = GenaiPriceTable() if table is None else table
        self._cards: dict[_CardKey, tuple[RateCard, ...]] = {}
        self._unknown: dict[_UnknownKey, None] = {}
        self._lock = threading.RLock()
        """Reentrant: the garbage collector may price a dropped stream while its thread is inside."""

    def price(
        self,
        *,
        provider: str,
        model: str,
        usage: Usage | None,
        at_unix_ns: int,
        service_tier: str = "",
        batch: bool = False,
        stated_cost_nanos: int | None = None,
        anomalies: Collection[str] = (),
    ) -> Price:
        """The price of one call at the time of the call. Never raises.

        A stated cost wins; local models are free; without usage nothing is known; the rest is the table's.
        `anomalies` are those of the usage's reading: some mean that no single rate applies.
        """
        if usage is None:
            listed = _no_usage(anomalies)
        elif provider in LOCAL_PROVIDERS:
            listed = _FREE
        else:
            card = self.rate_card(
                provider, model, at_unix_ns=at_unix_ns, service_tier=service_tier, batch=batch
            )
            listed = (
                _unknown(provider, model)
                if card is None
                else _priced(card, usage, service_tier, anomalies, batch=batch)
            )
        if stated_cost_nanos is not None and 0 <= stated_cost_nanos <= STATED_COST_NANOS_MAX:
            return listed._replace(status=PriceStatus.STATED, cost_nanos=stated_cost_nanos, reason=_STATED)
        return listed

    def rate_card(
        self, provider: str, model: str, *, at_unix_ns: int, service_tier: str = "", batch: bool = False
    ) -> RateCard | None:
        """The rates of a model at a moment; `None` when the table does not know it."""
        key = (provider, model, service_tier, batch)
        for card in self._cards.get(key, ()):
            if card.valid_from_unix_ns <= at_unix_ns < card.valid_until_unix_ns:
                return card
        return None if (*key, at_unix_ns // NS_PER_DAY) in self._unknown else self._look_up(key, at_unix_ns)

    @classmethod
    def of_folder(cls, folder: Path) -> CostEstimator:
        """With the prices a state folder holds: `prices.toml`, and a table that was installed there."""
        table = GenaiPriceTable(folder / installed_table.FILE_NAME)
        return cls(UserPriceTable(table, folder / user_prices.FILE_NAME))

    def refresh(self) -> bool:
        """Looks whether the user's prices have changed. A few microseconds; call it as often as you like."""
        refresh = getattr(self._table, "refresh", None)
        if refresh is None or not refresh():
            return False
        with self._lock:
            self._cards, self._unknown = {}, {}
        return True

    def after_fork_in_child(self) -> None:
        """The lock may be held by a thread that is not here."""
        self._lock = threading.RLock()

    def load(self) -> None:
        """Has the table loaded, which the first price would do otherwise: it takes some 0.2 s."""
        _ = self._table.version

    @property
    def table(self) -> PriceTable:
        return self._table

    @property
    def table_version(self) -> str:
        return self._table.version

    def _look_up(self, key: _CardKey, at_unix_ns: int) -> RateCard | None:
        all_cards, all_unknown = self._cards, self._unknown  # those of now: prices may change meanwhile
        card = self._ask_table(key, at_unix_ns)
        with self._lock:
            if card is None:
                unknown = (*key, at_unix_ns // NS_PER_DAY)
                _make_room(all_unknown, unknown, UNKNOWN_MAX)
                all_unknown[unknown] = None
            else:
                _make_room(all_cards, key, CARDS_MAX)
                all_cards[key] = (*all_cards.get(key, ())[-(CARD_SPANS_MAX - 1) :], card)
        return card

    def _ask_table(self, key: _CardKey, at_unix_ns: int) -> RateCard | None:
        provider, model, service_tier, batch = key
        seller = canonical_provider(provider)
        if not seller or seller == UNKNOWN_PROVIDER or not 0 < len(model) <= NAME_CHARS_MAX:
            return None
        tier = service_tier.lower()
        return self._table.rate_card(
            seller,
            normalise_model(seller, model),
            at_unix_ns=at_unix_ns,
            service_tier=TIER_NAMES.get(tier, tier) if tier != "batch" else "",
            batch=batch or tier == "batch",
        )


_CardKey = tuple[str, str, str, bool]
_UnknownKey = tuple[str, str, str, bool, int]
_Key = TypeVar("_Key")


def _make_room(entries: dict[_Key, Any], key: _Key, entries_max: int) -> None:
    """Forgets the oldest; called with the lock held."""
    while key not in entries and len(entries) >= entries_max:
        entries.pop(next(iter(entries)), None)


_STATED = "stated by the provider"
_FREE = Price(PriceStatus.FREE, table_cost_nanos=0, reason="a local model")


def _no_usage(anomalies: Collection[str]) -> Price:
    """With the codes of what is odd about the response, which is nearly always the cause."""
    garbled = [code for code in anomalies if code in codes.USAGE_UNKNOWN_CODES]
    if garbled:
        reason = f"the usage of the response cannot be used: {', '.join(garbled)}"
    elif of_response := [code for code in anomalies if not code.endswith(codes.ARGUMENT_UNUSABLE)]:
        reason = f"the response carried no usage: {', '.join(of_response)}"
    else:
        reason = "the response carried no usage"
    return Price(PriceStatus.NO_USAGE, reason=reason)


def _unknown(provider: str, model: str) -> Price:
    if not model:
        return Price(PriceStatus.UNPRICED, reason="the model is not known")
    if provider in ("", UNKNOWN_PROVIDER):
        return Price(PriceStatus.UNPRICED, reason="the provider is not known")
    return Price(PriceStatus.UNPRICED, reason="the price table does not know the model")


def _priced(
    card: RateCard, usage: Usage, service_tier: str, anomalies: Collection[str], *, batch: bool
) -> Price:
    reason = ""
    rates = card.rates
    if card.tiers:
        rates = applicable_rates(card, usage, anomalies)
        if codes.SUMMED_REQUESTS in anomalies and usage.all_input_tokens > card.tiers[0][0]:
            reason = "its input is summed over several requests; the rate of a short request applies"
    refusal = _refusal(card, rates, usage, service_tier, anomalies)
    if refusal:
        return Price(PriceStatus.UNPRICED, card=card, reason=refusal)
    yoctos = sum(map(mul, usage, rates.per_class)) + card.per_call_yoctos
    nanos, rest = divmod(yoctos, YOCTOS_PER_NANO)
    if rest * 2 > YOCTOS_PER_NANO or (rest * 2 == YOCTOS_PER_NANO and nanos & 1):
        nanos += 1  # half to even
    if not 0 <= nanos <= COST_NANOS_MAX:
        return Price(PriceStatus.UNPRICED, card=card, reason="its price is no amount anyone pays")
    if batch or service_tier:
        reason = reason or tier_remark(card, service_tier, batch=batch)
    if anomalies:
        reason = reason or next((_REMARKS[code] for code in anomalies if code in _REMARKS), "")
    return Price(PriceStatus.PRICED, nanos, nanos, card, reason)


def applicable_rates(card: RateCard, usage: Usage, anomalies: Collection[str]) -> Rates:
    """The rates of a call. A threshold applies to one request, so a sum of several stays below it."""
    return card.rates if codes.SUMMED_REQUESTS in anomalies else card.rates_for(usage.all_input_tokens)


def _refusal(
    card: RateCard, rates: Rates, usage: Usage, service_tier: str, anomalies: Collection[str]
) -> str:
    """Why the table's rates cannot price this call; empty when they can."""
    for position in rates.missing:
        if usage[position]:
            return f"the price table has no rate for {TOKEN_CLASSES[position]} tokens of this model"
    if anomalies:
        for code, why in _NOT_BY_TABLE.items():
            if code in anomalies:
                return why
        apart = next((code for code in anomalies if code in card.own_rate_codes), None)
        if apart is not None:
            return f"{apart} have a rate of their own and are not counted apart"
    if service_tier and service_tier.lower() in PREPAID_TIERS:
        return "provisioned throughput is not paid by the token"
    return ""


def tier_remark(card: RateCard, service_tier: str, *, batch: bool) -> str:
    """What of the tier asked for the card does not have; empty when it has it all."""
    tier = service_tier.lower()
    tier = TIER_NAMES.get(tier, tier)
    asked = {"batch"} if batch or tier == "batch" else set()
    if tier not in STANDARD_TIERS:
        asked.add(tier)
    missing = asked.difference(card.tier.split("+"))
    if not missing:
        return ""
    names = " and ".join(sorted(missing))
    return f"the price table has no {names} rate for this model; the standard rate applies"
