"""`prices`: what calls would cost, and where the prices are from. Needs no daemon."""

from __future__ import annotations

import difflib
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from configurable_agents.cli import terminal
from configurable_agents.cli.escape import printable
from configurable_agents.cli.options import HomeOption, JsonOption, home_of, unix_ns
from configurable_agents.client.home import ensure_private_folder
from configurable_agents.errors import ConfigurationError, InvalidValueError, NotFoundError
from configurable_agents.observability import installed_table
from configurable_agents.observability.cost_estimator import (
    PREPAID_TIERS,
    TIER_NAMES,
    CostEstimator,
    tier_remark,
)
from configurable_agents.observability.price_table import PER_CALL, STANDARD_TIERS, GenaiPriceTable, RateCard
from configurable_agents.observability.providers import (
    LOCAL_PROVIDERS,
    UNKNOWN_PROVIDER,
    canonical_provider,
    detect_provider,
    normalise_model,
)
from configurable_agents.observability.user_prices import Alias, UserPrices, UserPriceTable

prices = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What calls cost, and why.")

NEAR_MODELS_MAX = 3
"""Named when a model is not known."""

ProviderOption = Annotated[
    str | None, typer.Option("--provider", "-p", metavar="NAME", help="Who serves the model.")
]


@prices.command("show")
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or provider/model.")],
    *,
    provider: ProviderOption = None,
    tier: Annotated[str, typer.Option("--tier", metavar="NAME", help="Such as flex or priority.")] = "",
    batch: Annotated[bool, typer.Option("--batch", help="At the provider's batch rate.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DATE", help="At this date, such as 2026-01-31; else now."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """The rates of a model, as a call would be priced."""
    estimator = checked_estimator(home)
    table = table_of(estimator)
    seller, name = seller_and_name(model, provider or "", table.prices)
    if seller in LOCAL_PROVIDERS:
        terminal.write_out(f"{seller}/{printable(name)}: free, it runs on your own machine\n")
        return
    check_tier(tier, table)
    card = estimator.rate_card(seller, name, at_unix_ns=moment(as_of), service_tier=tier, batch=batch)
    if card is None:
        raise NotFoundError(
            f"no price is known for {seller}/{name}; {near_models(seller, name)}set one in prices.toml, see"
            " docs/cost.md"
        )
    remark = tier_remark(card, tier, batch=batch)
    if as_json:
        terminal.show_json({**card_json(card), "remark": remark or None})
    else:
        terminal.write_out(card_text(card) + (f"  {remark}\n" if remark else ""))


@prices.command("list")
def list_prices(*, provider: ProviderOption = None, home: HomeOption = None) -> None:
    """The models with a price: provider, model and where it is from, with tabs between.

    Those of prices.toml come first; for an alias, the model that it stands for is the third.
    """
    table = table_of(checked_estimator(home))
    lines = [f"{entry.provider}\t{entry.model}\tprices.toml" for entry in table.prices.prices]
    lines += [
        f"{alias.provider}\t{alias.model}\talias of {'/'.join(alias.target)}"
        for alias in table.prices.aliases
    ]
    base = GenaiPriceTable(home_of(home).folder / installed_table.FILE_NAME)
    lines += [
        f"{canonical_provider(seller.id)}\t{model.id}\t{base.version}"
        for seller in base.providers
        for model in seller.models
    ]
    named = None if provider is None else canonical_provider(provider)
    wanted = [line for line in lines if named is None or line.startswith(f"{named}\t")]
    if not wanted:
        raise NotFoundError(f"no price of {provider!r} is known; agents-obs prices list names them all")
    terminal.write_out("".join(f"{printable_line(line)}\n" for line in wanted))


@prices.command("update")
def update(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A price table: genai-prices' data as JSON.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also where it is older than the one in use.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Install a newer price table. A running daemon takes it up by itself; prices of the past stay.

    An older table never replaces a newer one without --force.
    """
    place = home_of(home)
    ensure_private_folder(place.folder)
    bundled = installed_table.age_of(GenaiPriceTable().providers)
    age = installed_table.install_table(
        file, place.folder / installed_table.FILE_NAME, bundled=bundled, force=force
    )
    terminal.write_out(f"installed the price table ({age})\n")


def checked_estimator(home: Path | None) -> CostEstimator:
    """Raises `ConfigurationError` for prices that cannot be used; the daemon would keep those it had."""
    estimator = CostEstimator.of_folder(home_of(home).folder)
    problem = getattr(estimator.table, "problem", "")
    if problem:
        raise ConfigurationError(problem)
    for alias in table_of(estimator).prices.aliases:
        note_if_unknown(alias, estimator)
    return estimator


def note_if_unknown(alias: Alias, estimator: CostEstimator) -> None:
    """It may be meant for a table that is yet to be installed, so that it is no mistake of the file."""
    target = "/".join(alias.target)
    if "*" in target or "?" in target:
        return
    if estimator.rate_card(*alias.target, at_unix_ns=time.time_ns()) is None:
        terminal.write_note(f"prices.toml: the alias {alias.name} is {target}, of which no price is known")


def table_of(estimator: CostEstimator) -> UserPriceTable:
    assert isinstance(estimator.table, UserPriceTable)  # noqa: S101 - `of_folder` made it
    return estimator.table


def seller_and_name(model: str, provider: str, mine: UserPrices) -> tuple[str, str]:
    """Who serves a model and what it is called there. Raises `NotFoundError` when nothing tells."""
    found = detect_provider(model, provider=provider).provider
    if found != UNKNOWN_PROVIDER:
        return found, normalise_model(found, model)
    prefix, slash, name = model.partition("/")
    sellers = {*(price.provider for price in mine.prices), *(alias.provider for alias in mine.aliases)}
    if slash and name and canonical_provider(prefix) in sellers:
        return canonical_provider(prefix), name
    near = sorted(each.provider for each in mine.prices if each.names(each.provider, model))
    hint = f"--provider {near[0]}, whom prices.toml names for it" if near else "--provider"
    raise NotFoundError(f"nothing tells who serves {model!r}; give {hint}")


def near_models(seller: str, name: str) -> str:
    """A question, where models of theirs are called nearly the same."""
    sellers = (each for each in GenaiPriceTable().providers if canonical_provider(each.id) == seller)
    models = [model.id for each in sellers for model in each.models]
    near = difflib.get_close_matches(name, models, n=NEAR_MODELS_MAX)
    return f"did you mean {' or '.join(near)}? Else " if near else ""


def check_tier(tier: str, table: UserPriceTable) -> None:
    """Raises `InvalidValueError` for a name that no price of any model goes by."""
    known = {*STANDARD_TIERS, *TIER_NAMES, *PREPAID_TIERS, *table.tiers}
    if tier.lower() in known:
        return
    shown = {"standard", *table.tiers}
    near = difflib.get_close_matches(tier.lower(), shown, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(shown))}"
    raise InvalidValueError(f"no model has a price at the tier {tier!r}; {hint}")


def moment(as_of: str | None) -> int:
    if as_of is None:
        return time.time_ns()
    try:
        parsed = datetime.fromisoformat(as_of)
        return unix_ns(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{printable(as_of[:80])!r} is no date; give one such as 2026-01-31", param_hint="'--as-of'"
        ) from error


def printable_line(line: str) -> str:
    return "\t".join(printable(part) for part in line.split("\t"))


def card_json(card: RateCard) -> dict[str, Any]:
    return {
        "provider": card.provider,
        "model": card.model,
        "table_version": card.table_version,
        "tier": card.tier or "standard",
        "price_date": card.price_date or None,
        "overridden": list(card.overridden),
        "usd_per_million": {
            name: None if rate is None else plain(rate)
            for name, rate in card.usd_per_million().items()
            if name != "web_searches"
        },
        "usd_per_thousand_web_searches": optional(card.usd_per_million()["web_searches"]),
        "usd_per_call": optional(card.usd_per_call),
        "alias": card.alias or None,
        "thresholds": [start for start, _ in card.tiers],
    }


def card_text(card: RateCard) -> str:
    named = f"{printable(card.provider)}/{printable(card.model)}"
    since = f", since {card.price_date}" if card.price_date else ""
    lines = [f"{named}: {card.tier or 'standard'} tier, {printable(card.table_version)}{since}"]
    for name, rate in card.usd_per_million().items():
        unit = "per thousand" if name == "web_searches" else "per million"
        mark = "  (prices.toml)" if name in card.overridden else ""
        if rate is not None:
            lines.append(f"  {name:<15}${plain(rate)} {unit}{mark}")
    if card.usd_per_call is not None:
        mark = "  (prices.toml)" if PER_CALL in card.overridden else ""
        lines.append(f"  {PER_CALL:<15}${plain(card.usd_per_call)} per call{mark}")
    lines += [f"  above {start:,} input tokens other rates apply" for start, _ in card.tiers]
    if card.alias:
        lines.append(f"  by the alias {printable(card.alias)} of prices.toml")
    return "\n".join(lines) + "\n"


def optional(rate: Decimal | None) -> str | None:
    return None if rate is None else plain(rate)


def plain(rate: Decimal) -> str:
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
