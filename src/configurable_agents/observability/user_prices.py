"""Prices the user sets: `prices.toml` beside the ledger, over whatever the price table says.

    [[price]]
    provider = "openai"
    model = "gpt-4o*"          # * and ? stand for any text and any character
    from = 2026-01-01          # optional: since this day (UTC)
    until = 2026-07-01         # optional: up to, not including, this day
    tier = "batch"             # optional: only for this tier; without it the standard price
    input = 1.10               # dollars per million tokens; web_searches per thousand; call per call
    output = 4.40

    [[alias]]
    provider = "azure"
    model = "prod-chat"        # a deployment's name
    is = "gpt-4o"              # or "openai/gpt-4o"

An entry sets the classes it names and leaves the others to the table; of several that fit, the later wins.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from configurable_agents.errors import ConfigurationError
from configurable_agents.observability.price_table import (
    BEGINNING_UNIX_NS,
    END_UNIX_NS,
    PER_CALL,
    STANDARD_TIERS,
    YOCTOS_PER_USD,
    PriceTable,
    RateCard,
    Rates,
)
from configurable_agents.observability.providers import LOCAL_PROVIDERS, NAME_CHARS_MAX, canonical_provider
from configurable_agents.telemetry import TOKEN_CLASSES, Usage

FILE_NAME = "prices.toml"
FILE_BYTES_MAX = 1024 * 1024
ENTRIES_MAX = 5_000
"""Prices and aliases of one file. A longer file is refused whole."""
RATE_USD_MAX = 10**6

ANY_TIER = "any"
TIERS_OFTEN_MEANT = (ANY_TIER, "batch", "flex", "priority", "standard", "default")
"""What looks like one of these is a slip. Any other name is kept, for a provider may state any."""
TIER_SIMILARITY_MIN = 0.8
RATE_KEYS = dict(zip(TOKEN_CLASSES, Usage._fields, strict=True))
"""What a class is called in the file, and in `Usage`."""

_WHOLE_OF_PART = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_tokens",
}
"""A part without a rate of its own costs what its whole costs. In this order."""

_PRICE_KEYS = ("provider", "model", "tier", "from", "until", *RATE_KEYS, PER_CALL)
_ALIAS_KEYS = ("provider", "model", "is")


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One `[[price]]`."""

    provider: str
    model: str
    rates: Mapping[str, int]
    """Yoctodollars per token (per request for `web_searches`), by fields of `Usage`."""
    per_call_yoctos: int | None = None
    tier: str = ""
    """Empty: the standard price."""
    from_unix_ns: int = BEGINNING_UNIX_NS
    until_unix_ns: int = END_UNIX_NS

    def names(self, provider: str, model: str) -> bool:
        return provider == self.provider and _fits(model, self.model)


@dataclass(frozen=True, slots=True)
class Alias:
    """One `[[alias]]`: another name of a model, such as that of a deployment."""

    provider: str
    model: str
    target_provider: str
    target_model: str

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def target(self) -> tuple[str, str]:
        return self.target_provider, self.target_model

    def names(self, provider: str, model: str) -> bool:
        return provider == self.provider and _fits(model, self.model)


@dataclass(frozen=True, slots=True)
class UserPrices:
    prices: tuple[PriceEntry, ...] = ()
    aliases: tuple[Alias, ...] = ()
    digest: str = ""
    """Says which content of the file this is; empty: there is none."""

    def alias_of(self, provider: str, model: str) -> Alias | None:
        """The last one that fits decides; aliases of aliases are not followed."""
        return next((alias for alias in reversed(self.aliases) if alias.names(provider, model)), None)


NO_PRICES = UserPrices()


def read_user_prices(path: Path) -> UserPrices:
    """The prices of a file; none where there is no file.

    Raises `ConfigurationError`, which names the file, the entry and the remedy.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return NO_PRICES
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path} has more than {FILE_BYTES_MAX:,} bytes; keep what you use")
    try:
        found = tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    try:
        prices, aliases = _tables(found, "price"), _tables(found, "alias")
        _check_keys(found, ("price", "alias"), "the file")
        return UserPrices(
            tuple(_price(table, f"price {number}") for number, table in enumerate(prices, start=1)),
            tuple(_alias(table, f"alias {number}") for number, table in enumerate(aliases, start=1)),
            hashlib.sha256(data).hexdigest()[:12],
        )
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error


class UserPriceTable:
    """A price table with the user's prices over it. Implements `PriceTable`; thread-safe.

    `refresh` reads the file again when it has changed. A file that cannot be used changes nothing: the
    prices read last stay, and `problem` says what is wrong, with it or with an installed table.
    """

    def __init__(self, base: PriceTable, path: Path) -> None:
        self._base = base
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._prices = NO_PRICES
        self._problem = ""
        self.refresh()

    @property
    def version(self) -> str:
        digest = self._prices.digest
        return f"{self._base.version} + {FILE_NAME} {digest}" if digest else self._base.version

    @property
    def tiers(self) -> frozenset[str]:
        """All that any model has a price at, besides the standard one."""
        mine = {entry.tier for entry in self._prices.prices if entry.tier and entry.tier != ANY_TIER}
        return frozenset(mine).union(getattr(self._base, "tiers", ()))

    @property
    def problem(self) -> str:
        return self._problem or getattr(self._base, "problem", "")

    @property
    def prices(self) -> UserPrices:
        return self._prices

    def refresh(self) -> bool:
        """Whether prices have changed. Costs one look at the file's time and size."""
        refresh = getattr(self._base, "refresh", None)
        base_changed = refresh is not None and refresh()
        seen = self._look()
        if seen == self._seen:
            return base_changed
        self._seen = seen
        before = self._prices.digest
        try:
            self._prices = read_user_prices(self._path)
            self._problem = ""
        except ConfigurationError as error:
            self._problem = str(error)
        return base_changed or self._prices.digest != before

    def rate_card(
        self, provider: str, model: str, *, at_unix_ns: int, service_tier: str, batch: bool
    ) -> RateCard | None:
        known = self._prices
        alias = known.alias_of(provider, model)
        names = [(provider, model), *([] if alias is None else [alias.target])]
        base = self._base.rate_card(*names[-1], at_unix_ns=at_unix_ns, service_tier=service_tier, batch=batch)
        if base is not None and alias is not None:
            base = replace(base, table_version=self.version, alias=alias.name)
        asked = _asked_tiers(service_tier, batch=batch)
        mine = [
            entry
            for entry in known.prices
            if any(entry.names(*name) for name in names)
            and (not entry.tier or entry.tier == ANY_TIER or entry.tier in asked)
        ]
        if not mine:
            return base
        active = [entry for entry in mine if entry.from_unix_ns <= at_unix_ns < entry.until_unix_ns]
        is_standard = base is None or not base.tier
        applied = [entry for entry in active if entry.tier or is_standard]
        own = RateCard(provider, model, self.version, _NO_RATES, alias="" if alias is None else alias.name)
        card = base or own
        if base is None and not applied:
            return None
        return _with_span(_with_entries(card, applied, self.version), mine, at_unix_ns)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _with_entries(card: RateCard, applied: Sequence[PriceEntry], version: str) -> RateCard:
    """The card with these entries over it, the later over the earlier."""
    if not applied:
        return card
    rates: dict[str, int] = {}
    for entry in applied:
        rates.update(entry.rates)
    fees = [entry.per_call_yoctos for entry in applied if entry.per_call_yoctos is not None]
    tiers = {entry.tier for entry in applied if entry.tier and entry.tier != ANY_TIER}
    classes = tuple(name for name, field in RATE_KEYS.items() if field in rates)
    return replace(
        card,
        table_version=version,
        rates=_with_rates(card.rates, rates),
        tiers=tuple((start, _with_rates(above, rates)) for start, above in card.tiers),
        tier="+".join(sorted({*filter(None, card.tier.split("+")), *tiers})),
        per_call_yoctos=fees[-1] if fees else card.per_call_yoctos,
        overridden=(*classes, PER_CALL) if fees else classes,
    )


def _with_span(card: RateCard, named: Iterable[PriceEntry], at_unix_ns: int) -> RateCard:
    """Valid until one of the entries that name the model begins or ends."""
    moments = [moment for entry in named for moment in (entry.from_unix_ns, entry.until_unix_ns)]
    return replace(
        card,
        valid_from_unix_ns=max((card.valid_from_unix_ns, *(each for each in moments if each <= at_unix_ns))),
        valid_until_unix_ns=min((card.valid_until_unix_ns, *(each for each in moments if each > at_unix_ns))),
    )


def _with_rates(rates: Rates, mine: Mapping[str, int]) -> Rates:
    """A part that cost what its whole cost, or had no rate, follows its whole."""
    old: dict[str, int | None] = {
        name: None if position in rates.missing else rates.per_class[position]
        for position, name in enumerate(Usage._fields)
    }
    new: dict[str, int | None] = {**old, **mine}
    for part, whole in _WHOLE_OF_PART.items():
        if part not in mine and (old[part] is None or old[part] == old[whole]):
            new[part] = new[whole]
    missing = tuple(position for position, name in enumerate(Usage._fields) if new[name] is None)
    return Rates(tuple(new[name] or 0 for name in Usage._fields), missing)


_NO_RATES = Rates((0,) * len(Usage._fields), tuple(range(len(Usage._fields))))


def _fits(model: str, pattern: str) -> bool:
    """`*` and `?` stand for others; a bracket is a bracket."""
    return fnmatch.fnmatchcase(model.lower(), pattern.lower().replace("[", "[[]"))


def _asked_tiers(service_tier: str, *, batch: bool) -> set[str]:
    asked = set() if service_tier in STANDARD_TIERS else {service_tier}
    return {*asked, "batch"} if batch else asked


# --- reading the file; every complaint is a `ValueError` about an entry ------------------------------


def _tables(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    tables = found.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"write [[{name}]], with two brackets, before each entry")
    if len(tables) > ENTRIES_MAX:
        raise ValueError(f"{len(tables):,} entries; at most {ENTRIES_MAX:,} are read")
    return tables


def _price(table: Mapping[str, Any], which: str) -> PriceEntry:
    _check_keys(table, _PRICE_KEYS, which)
    provider = _provider(table, which)
    rates = {
        field: _yoctos(table[key], which, key, 1_000 if key == "web_searches" else 1_000_000)
        for key, field in RATE_KEYS.items()
        if key in table
    }
    fee = _yoctos(table[PER_CALL], which, PER_CALL, 1) if PER_CALL in table else None
    if not rates and fee is None:
        raise ValueError(f"{which} sets no rate; give at least one of {', '.join(RATE_KEYS)}, {PER_CALL}")
    begins, ends = _day(table, "from", which), _day(table, "until", which)
    if begins is not None and ends is not None and begins >= ends:
        raise ValueError(f"{which} ends ({ends}) before it begins ({begins}); `until` is not included")
    tier = _tier(table, which) if "tier" in table else ""
    return PriceEntry(
        provider,
        _text(table, "model", which),
        rates,
        fee,
        "" if tier in STANDARD_TIERS else tier,
        BEGINNING_UNIX_NS if begins is None else _unix_ns(begins),
        END_UNIX_NS if ends is None else _unix_ns(ends),
    )


def _tier(table: Mapping[str, Any], which: str) -> str:
    tier = _text(table, "tier", which).lower()
    near = difflib.get_close_matches(tier, TIERS_OFTEN_MEANT, n=1, cutoff=TIER_SIMILARITY_MIN)
    if near and tier not in (*TIERS_OFTEN_MEANT, *STANDARD_TIERS):
        raise ValueError(f"{which}: no provider has a tier {tier!r}; did you mean {near[0]!r}?")
    return tier


def _alias(table: Mapping[str, Any], which: str) -> Alias:
    _check_keys(table, _ALIAS_KEYS, which)
    provider, target = _provider(table, which), _text(table, "is", which)
    seller, slash, model = target.partition("/")
    if slash and model and canonical_provider(seller):
        return Alias(provider, _text(table, "model", which), canonical_provider(seller), model)
    return Alias(provider, _text(table, "model", which), provider, target)


def _check_keys(table: Mapping[str, Any], known: Sequence[str], which: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise ValueError(f"{which} has no key {key!r}; {hint}")


def _provider(table: Mapping[str, Any], which: str) -> str:
    written = _text(table, "provider", which)
    provider = canonical_provider(written)
    if not provider:
        raise ValueError(f"{which}: {written!r} passes calls on; name the provider that serves the model")
    if provider in LOCAL_PROVIDERS:
        raise ValueError(f"{which}: models of {provider} run on your own machine and are free")
    return provider


def _text(table: Mapping[str, Any], key: str, which: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{which} needs {key} = "…", a text')
    if len(value) > NAME_CHARS_MAX:
        raise ValueError(f"{which}: {key} has more than {NAME_CHARS_MAX} characters")
    return value.strip()


def _yoctos(value: Any, which: str, key: str, units: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{which}: {key} must be a number of dollars, not {value!r}")  # noqa: TRY004 see above
    dollars = Decimal(value)
    if not dollars.is_finite() or not 0 <= dollars <= RATE_USD_MAX:
        raise ValueError(f"{which}: {key} must lie between 0 and {RATE_USD_MAX:,} dollars, not {value}")
    yoctos = dollars * YOCTOS_PER_USD / units
    if yoctos != yoctos.to_integral_value():
        raise ValueError(f"{which}: {key} = {value} has more decimals than a rate can have")
    return int(yoctos)


def _day(table: Mapping[str, Any], key: str, which: str) -> date | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError(  # noqa: TRY004 see above
            f"{which}: {key} must be a date such as 2026-01-31, without quotes, not {value!r}"
        )
    return value


def _unix_ns(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 10**9
