"""Sixty models of today at plain, cached, long and batch rates, against the table read by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import PriceStatus, Usage

MODELS = [
    *(("openai", name) for name in (
        "gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5",
        "gpt-5-mini", "gpt-5-nano", "o1", "o1-mini", "o3", "o3-mini", "o3-pro", "o4-mini", "gpt-3.5-turbo",
    )),
    *(("anthropic", name) for name in (
        "claude-3-haiku-20240307", "claude-3-opus-20240229", "claude-3-5-haiku-20241022",
        "claude-3-5-sonnet-20241022", "claude-3-7-sonnet-20250219", "claude-opus-4-0", "claude-opus-4-1",
        "claude-sonnet-4-0", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5",
    )),
    *(("google", name) for name in (
        "gemini-1.5-flash", "gemini-1.5-pro", "gemini-2.0-flash", "gemini-2.0-flash-lite", "gemini-2.5-flash",
        "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3-flash-preview",
    )),
    *(("mistral", name) for name in (
        "mistral-large-latest", "mistral-small-latest", "mistral-medium-latest", "codestral-latest",
        "ministral-8b-latest", "open-mistral-7b", "pixtral-large-latest", "magistral-medium-latest",
    )),
    *(("xai", name) for name in ("grok-3", "grok-3-mini", "grok-4", "grok-4-fast", "grok-code-fast-1")),
    *(("deepseek", name) for name in ("deepseek-chat", "deepseek-reasoner")),
    *(("groq", name) for name in ("llama-3.3-70b-versatile", "llama-3.1-8b-instant")),
    *(("cohere", name) for name in ("command-r-plus", "command-r", "command-a")),
    *(("perplexity", name) for name in ("sonar", "sonar-pro", "sonar-reasoning")),
]  # fmt: skip
AT = datetime(2026, 11, 15, 12, tzinfo=UTC)
AT_NS = int(AT.timestamp()) * 10**9
TABLE_IDS = {"xai": "x-ai"}
ESTIMATOR = CostEstimator()

CASES = {
    "plain": Usage(1_234, output_tokens=567),
    "cached": Usage(1_000, cache_read_tokens=9_001, output_tokens=77),
    "long": Usage(300_001, output_tokens=1_003),
    "batch": Usage(4_321, output_tokens=765),
}


def model_in_table(provider: str, name: str) -> Any:
    snapshot = get_snapshot()
    seller = next(each for each in snapshot.providers if each.id == TABLE_IDS.get(provider, provider))
    return seller.find_model(name, all_providers=snapshot.providers)


def rate(price: Any, sent: int) -> Decimal | None:
    """Dollars per million tokens, of the tier that this much input falls into."""
    if price is None or isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if sent > tier.start]
    return passed[-1] if passed else price.base


def list_price(prices: Any, usage: Usage) -> Decimal:
    sent = usage.input_tokens + usage.cache_read_tokens
    fresh, made = rate(prices.input_mtok, sent), rate(prices.output_mtok, sent)
    cached = rate(prices.cache_read_mtok, sent)
    assert fresh is not None
    assert made is not None
    total = usage.input_tokens * fresh + usage.output_tokens * made
    total += usage.cache_read_tokens * (fresh if cached is None else cached)
    return total / 1_000_000 + (prices.requests_kcount or Decimal(0)) / 1_000


def test_there_are_sixty_models() -> None:
    known = [model for model in MODELS if model_in_table(*model) is not None]
    assert len(set(known)) >= 60


@pytest.mark.parametrize("case", CASES)
def test_the_price_is_the_list_price_to_the_nano_dollar(case: str) -> None:
    usage, batch = CASES[case], case == "batch"
    for provider, name in MODELS:
        found = model_in_table(provider, name)
        if found is None:
            continue
        context = {"processing": "batch"} if batch else {}
        expected = list_price(found.get_prices(AT, context), usage)
        price = ESTIMATOR.price(provider=provider, model=name, usage=usage, at_unix_ns=AT_NS, batch=batch)
        assert price.status is PriceStatus.PRICED, name
        nanos = (expected * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        assert price.cost_nanos == int(nanos), f"{provider}/{name} {case}"


def test_o3_became_cheaper_on_the_tenth_of_june_2025() -> None:
    def cost(day: int) -> int:
        at_ns = int(datetime(2025, 6, day, tzinfo=UTC).timestamp()) * 10**9
        usage = Usage(1_000_000, output_tokens=1_000_000)
        return ESTIMATOR.price(provider="openai", model="o3", usage=usage, at_unix_ns=at_ns).cost_nanos

    assert (cost(9), cost(10)) == (50 * 10**9, 10 * 10**9)
