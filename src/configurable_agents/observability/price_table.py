"""Price tables: what a token of each class costs, as exact integers.

A table turns a provider, a model, a tier and a moment into a `RateCard`; pricing a call is then integer
arithmetic. Rates are counted in yoctodollars (1e-24 USD), a unit in which every rate of the table is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from configurable_agents.errors import ConfigurationError
from configurable_agents.observability.providers import canonical_provider
from configurable_agents.telemetry import TOKEN_CLASSES

YOCTOS_PER_USD = 10**24
YOCTOS_PER_NANO = 10**15

PER_CALL = "call"
"""The fee for a request itself: in prices.toml, receipts and reports."""
_PER_CALL_ONCE = "per_call"
"""What cards that are stored already may call it."""

BEGINNING_UNIX_NS = -(2**63)
END_UNIX_NS = 2**63
"""The span of a card without dates: every moment an event can have."""
_MOMENT_MAX_NS = 253_402_300_799 * 10**9
"""The last second a `datetime` can hold; later moments are priced as this one."""

_TIER_KEYS = ("processing", "service_tier", "speed")
"""What the price table calls tiers."""

STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand", "none"})


class Rates(NamedTuple):
    """Yoctodollars per token (per request for `web_searches`), class by class as in `Usage`."""

    per_class: tuple[int, ...]
    """0 where there is no rate."""
    missing: tuple[int, ...] = ()
    """Positions in `Usage` of the classes without a rate."""


@dataclass(frozen=True, slots=True)
class RateCard:
    """The receipt of a price: which rates apply to a model, from when until when, by which table."""

    provider: str
    model: str
    """As the table names it."""
    table_version: str
    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    """Ascending thresholds. Above one, its rates apply to the whole request, by its total input."""
    tier: str = ""
    """What was found of the tier and batch asked for: empty is the standard price."""
    valid_from_unix_ns: int = BEGINNING_UNIX_NS
    valid_until_unix_ns: int = END_UNIX_NS
    """Exclusive. Outside of this span the table must be asked again."""
    price_date: str = ""
    """ISO date since which the table has this price; empty when it is not dated."""
    per_call_yoctos: int = 0
    own_rate_codes: frozenset[str] = frozenset()
    """Anomaly codes of tokens that the table prices apart and `Usage` does not count apart."""
    overridden: tuple[str, ...] = ()
    """The classes whose rates the user has set, by their names in prices.toml."""
    alias: str = ""
    """The name in prices.toml, as `provider/model`, by which the model was found; empty: its own."""

    def rates_for(self, all_input_tokens: int) -> Rates:
        """The rates of one request with this much input."""
        for threshold, rates in reversed(self.tiers):
            if all_input_tokens > threshold:
                return rates
        return self.rates

    def to_json(self) -> str:
        """The card as stored beside the prices made with it; `from_json` reads it."""
        fields = asdict(self)
        if not self.alias:
            del fields["alias"]  # written as by releases that had no such field: the same card is one row
        return json.dumps(fields, sort_keys=True, ensure_ascii=False, default=sorted)

    @classmethod
    def from_json(cls, text: str) -> RateCard:
        fields = json.loads(text)
        fields["rates"] = _rates_from_json(fields["rates"])
        fields["tiers"] = tuple((start, _rates_from_json(rates)) for start, rates in fields["tiers"])
        fields["own_rate_codes"] = frozenset(fields["own_rate_codes"])
        fields["overridden"] = tuple(
            PER_CALL if name == _PER_CALL_ONCE else name for name in fields["overridden"]
        )
        return cls(**fields)

    @property
    def usd_per_call(self) -> Decimal | None:
        """The fee for the request itself; `None`: there is none."""
        return Decimal(self.per_call_yoctos) / YOCTOS_PER_USD if self.per_call_yoctos else None

    def usd_per_million(self) -> dict[str, Decimal | None]:
        """The base rates for people: dollars per million tokens, per thousand of `web_searches`."""
        shown: dict[str, Decimal | None] = {}
        for position, name in enumerate(TOKEN_CLASSES):
            units = 1_000 if name == "web_searches" else 1_000_000
            rate = Decimal(self.rates.per_class[position] * units) / YOCTOS_PER_USD
            shown[name] = None if position in self.rates.missing else rate
        return shown


def _rates_from_json(parts: Sequence[Sequence[int]]) -> Rates:
    per_class, missing = parts
    return Rates(tuple(per_class), tuple(missing))


class PriceTable(Protocol):
    """Where rate cards come from. Implementations are thread-safe and do not cache by name."""

    @property
    def version(self) -> str: ...

    def rate_card(
        self, provider: str, model: str, *, at_unix_ns: int, service_tier: str, batch: bool
    ) -> RateCard | None:
        """`None` when the table does not know the model. The names are canonical."""
        ...


class GenaiPriceTable:
    """The table of the `genai-prices` package, loaded when the first card is asked for.

    Its own lookup functions remember every name they ever saw; this asks its data directly.
    """

    def __init__(self, installed: Path | None = None) -> None:
        """`installed` is where a newer table may have been put (see `installed_table`)."""
        self._installed = installed
        self._seen = self._look()
        self._loaded: tuple[str, list[Any]] | None = None
        self.problem = ""
        """Why the installed table is not used."""

    @property
    def version(self) -> str:
        return self._load()[0]

    @property
    def providers(self) -> list[Any]:
        return self._load()[1]

    @property
    def tiers(self) -> frozenset[str]:
        """All that any model has a price at, besides the standard one."""
        models = (model for seller in self.providers for model in seller.models)
        variants = (variant for model in models for variant in model.price_variants or ())
        return frozenset(
            value for variant in variants for key, value in variant.when.items() if key in _TIER_KEYS
        ).difference(STANDARD_TIERS)

    def refresh(self) -> bool:
        """Whether another table was installed since it was last looked for."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen, self._loaded = seen, None
        return True

    def _load(self) -> tuple[str, list[Any]]:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> tuple[str, list[Any]]:
        import genai_prices  # noqa: PLC0415 0.3 s that a process without prices never pays
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

        from configurable_agents.observability import installed_table  # noqa: PLC0415

        bundled = get_snapshot().providers
        self.problem = ""
        try:
            mine = None if self._installed is None else installed_table.load_table(self._installed)
        except ConfigurationError as error:
            self.problem, mine = str(error), None
        if mine is None or not (mine.forced or mine.age >= installed_table.age_of(bundled)):
            return f"genai-prices {genai_prices.__version__}", bundled
        return f"{installed_table.FILE_NAME} {mine.age}", mine.providers

    def _look(self) -> tuple[int, int] | None:
        try:
            found = None if self._installed is None else self._installed.stat()
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_ino)

    def rate_card(
        self, provider: str, model: str, *, at_unix_ns: int, service_tier: str, batch: bool
    ) -> RateCard | None:
        version, providers = self._load()
        seller = next((entry for entry in providers if canonical_provider(entry.id) == provider), None)
        found = None if seller is None else seller.find_model(model, all_providers=providers)
        if seller is None or found is None:
            return None
        own = any(found is entry for entry in seller.models)
        return _card(
            version,
            provider,
            found,
            at_unix_ns=at_unix_ns,
            service_tier=service_tier if own else "",
            batch=own and batch,
        )


def _card(
    version: str, provider: str, model: Any, *, at_unix_ns: int, service_tier: str, batch: bool
) -> RateCard:
    """Prices of a seller's borrowed models have no tiers: those are the maker's."""
    moment = datetime.fromtimestamp(min(max(at_unix_ns, 0), _MOMENT_MAX_NS) // 10**9, tz=UTC)
    context, applied = _context(model, moment, service_tier=service_tier, batch=batch)
    prices = model.get_prices(moment, context)
    start, end, since = _validity(model, moment)
    thresholds = _thresholds(prices)
    return RateCard(
        provider=provider,
        model=model.id,
        table_version=version,
        rates=_rates(prices, -1),
        tiers=tuple((threshold, _rates(prices, threshold)) for threshold in thresholds),
        tier=applied,
        valid_from_unix_ns=start,
        valid_until_unix_ns=end,
        price_date=since,
        per_call_yoctos=_yoctos(prices.requests_kcount, -1, 1_000) or 0,
        own_rate_codes=_own_rate_codes(prices),
    )


def _context(model: Any, moment: datetime, *, service_tier: str, batch: bool) -> tuple[dict[str, str], str]:
    """What to ask the table for, and what of it the model has a price for at that moment.

    A context without a match silently gives the standard price, so it is looked for here.
    """
    asked: dict[str, str] = {}
    if batch:
        asked["processing"] = "batch"
    if service_tier not in STANDARD_TIERS:
        asked["service_tier"] = service_tier
        asked["speed"] = service_tier
    active = [
        variant
        for variant in model.price_variants or ()
        if (variant.constraint is None or variant.constraint.active(moment))
        and all(asked.get(key) == value for key, value in variant.when.items())
    ]
    applied = sorted({value for variant in active for value in variant.when.values()})
    return asked, "+".join(applied)


# The positions of `Usage`, each with the table's keys that can price it, best first, as the table itself
# falls back: a part without a rate costs what its whole costs. Audio does not: it never costs what text does.
_KEYS_OF_CLASS: tuple[tuple[str, ...], ...] = (
    ("input_mtok",),
    ("cache_read_mtok", "input_mtok"),
    ("cache_write_mtok", "input_mtok"),
    ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    ("output_mtok",),
    ("output_reasoning_mtok", "output_mtok"),
    ("input_audio_mtok",),
    ("output_audio_mtok",),
    ("web_searches_kcount",),
)
_KEYS_OF_CODE = {
    "cached_audio_tokens": (("cache_audio_read_mtok", "input_audio_mtok"), ("cache_read_mtok", "input_mtok")),
    "image_input_tokens": (("input_image_mtok",), ("input_mtok",)),
    "image_output_tokens": (("output_image_mtok",), ("output_mtok",)),
}


def _rates(prices: Any, above: int) -> Rates:
    """The rates of requests with more input than `above`, which is a threshold, or -1 for the base."""
    found = [_first_rate(prices, keys, above) for keys in _KEYS_OF_CLASS]
    missing = tuple(position for position, rate in enumerate(found) if rate is None)
    return Rates(tuple(rate or 0 for rate in found), missing)


def _first_rate(prices: Any, keys: Iterable[str], above: int) -> int | None:
    for key in keys:
        rate = _yoctos(getattr(prices, key), above, 1_000 if key.endswith("_kcount") else 1_000_000)
        if rate is not None:
            return rate
    return None


def _yoctos(price: Any, above: int, units: int) -> int | None:
    """A price in dollars per `units` as yoctodollars per unit; half-even beyond that."""
    if price is None:
        return None
    if not isinstance(price, Decimal):
        passed = [tier.price for tier in price.tiers if tier.start <= above]
        price = passed[-1] if passed else price.base
    return int((price * (YOCTOS_PER_USD // units)).to_integral_value())


def _thresholds(prices: Any) -> list[int]:
    tiered = [value for value in vars(prices).values() if hasattr(value, "tiers")]
    return sorted({tier.start for value in tiered for tier in value.tiers})


def _own_rate_codes(prices: Any) -> frozenset[str]:
    return frozenset(
        code
        for code, (own, counted_as) in _KEYS_OF_CODE.items()
        if any(getattr(prices, key) is not None for key in own)
        and _first_rate(prices, own, -1) != _first_rate(prices, counted_as, -1)
    )


def _validity(model: Any, moment: datetime) -> tuple[int, int, str]:
    """The span around a moment in which no dated price begins or ends, and the date this price began."""
    constraints = [entry.constraint for entry in _dated(model) if entry.constraint is not None]
    starts = [entry.start_date for entry in constraints if hasattr(entry, "start_date")]
    hours = [entry for entry in constraints if hasattr(entry, "end_time")]
    instants = [_nanos(datetime.combine(start, time(), UTC)) for start in starts]
    for entry in hours:
        for day in (-1, 0, 1):
            on = moment.date() + timedelta(days=day) if date.min < moment.date() < date.max else moment.date()
            instants += [_nanos(_on_day(on, entry.start_time)), _nanos(_on_day(on, entry.end_time))]
    now = _nanos(moment)
    begun = max((instant for instant in instants if instant <= now), default=BEGINNING_UNIX_NS)
    ends = min((instant for instant in instants if instant > now), default=END_UNIX_NS)
    since = max((start for start in starts if start <= moment.date()), default=None)
    return begun, ends, "" if since is None else since.isoformat()


def _dated(model: Any) -> list[Any]:
    conditional = model.prices if isinstance(model.prices, list) else []
    return [*conditional, *(model.price_variants or ())]


def _on_day(day: date, at: time) -> datetime:
    return datetime.combine(day, at if at.tzinfo is not None else at.replace(tzinfo=UTC))


def _nanos(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9
