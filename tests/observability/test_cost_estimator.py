"""What a call costs: to the nano-dollar by the price table, or a status that says why not."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.observability.cost_estimator import (
    CARD_SPANS_MAX,
    CARDS_MAX,
    UNKNOWN_MAX,
    CostEstimator,
    Price,
)
from configurable_agents.observability.price_table import GenaiPriceTable, RateCard, Rates
from configurable_agents.observability.providers import canonical_provider
from configurable_agents.observability.usage import read_usage
from configurable_agents.telemetry import NANOS_PER_USD, PriceStatus, Usage


def nanoseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


NOW_NS = nanoseconds("2026-11-01")

ESTIMATOR = CostEstimator()


def price_of(provider: str, model: str, usage: Usage | None, **more: Any) -> Price:
    return ESTIMATOR.price(provider=provider, model=model, usage=usage, **{"at_unix_ns": NOW_NS, **more})


def by_genai_prices(provider: str, model: str, usage: Usage, at_unix_ns: int, context: dict[str, str]) -> int:
    """The same price by the package's own calculation, which counts parts inside their wholes."""
    whole = genai_prices.Usage(
        input_tokens=usage.all_input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.all_output_tokens,
        web_searches=usage.web_searches,
    )
    dollars = genai_prices.calc_price(
        whole,
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at_unix_ns // 10**9, UTC),
        price_context=context or None,
    ).total_price
    return int((dollars * NANOS_PER_USD).quantize(Decimal(1), ROUND_HALF_EVEN))


MODELS = [
    *(
        ("openai", name)
        for name in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-5")
    ),
    *(("openai", name) for name in ("gpt-5-mini", "gpt-5-nano", "gpt-5.1", "gpt-5.2", "gpt-5.4", "gpt-5.5")),
    *(("openai", name) for name in ("o1", "o3", "o3-mini", "o4-mini", "gpt-5.6-sol", "gpt-3.5-turbo")),
    *(("anthropic", name) for name in ("claude-sonnet-4-5", "claude-sonnet-4-6", "claude-opus-4-6")),
    *(("anthropic", name) for name in ("claude-opus-4-5", "claude-haiku-4-5", "claude-3-5-haiku-latest")),
    *(("anthropic", name) for name in ("claude-sonnet-4-0", "claude-opus-4-1", "claude-3-haiku-20240307")),
    *(("google", name) for name in ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite")),
    *(("google", name) for name in ("gemini-2.0-flash", "gemini-3-pro-preview", "gemini-3-flash-preview")),
    *(("google", name) for name in ("gemini-1.5-pro", "gemini-1.5-flash", "claude-sonnet-4-5@20250929")),
    *(
        ("mistral", name)
        for name in ("mistral-large-latest", "mistral-medium-latest", "mistral-small-latest")
    ),
    *(("mistral", name) for name in ("codestral-latest", "ministral-8b-latest", "pixtral-12b-latest")),
    *(("groq", name) for name in ("llama-3.3-70b-versatile", "openai/gpt-oss-120b", "openai/gpt-oss-20b")),
    *(("groq", name) for name in ("meta-llama/llama-4-scout-17b-16e-instruct", "qwen/qwen3-32b")),
    *(("deepseek", name) for name in ("deepseek-chat", "deepseek-reasoner", "deepseek-v4-flash")),
    *(("x-ai", name) for name in ("grok-3", "grok-3-mini", "grok-4")),
    *(("cohere", name) for name in ("command-r-08-2024", "command-r7b-12-2024", "command-a-03-2025")),
    *(
        ("aws", name)
        for name in ("us.amazon.nova-micro-v1:0", "us.amazon.nova-lite-v1:0", "us.amazon.nova-pro-v1:0")
    ),
    *(
        ("aws", name)
        for name in ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-3-haiku-20240307")
    ),
    *(("azure", name) for name in ("gpt-4o", "gpt-5.5", "gpt-4.1")),
    *(("together", name) for name in ("meta-llama/Llama-3.3-70B-Instruct-Turbo",)),
    *(
        ("openrouter", name)
        for name in ("openai/gpt-5-mini", "google/gemini-2.5-flash", "anthropic/claude-sonnet-4.5")
    ),
    *(("cerebras", name) for name in ("gpt-oss-120b",)),
]
USAGES = {
    "plain": Usage(input_tokens=1_234, output_tokens=567),
    "cached": Usage(
        input_tokens=1_111,
        cache_read_tokens=7_777,
        cache_write_tokens=333,
        output_tokens=90,
        reasoning_tokens=1_001,
    ),
    "cached for an hour": Usage(
        input_tokens=3, cache_write_tokens=17, cache_write_1h_tokens=51_001, output_tokens=1
    ),
    "long": Usage(input_tokens=150_001, cache_read_tokens=200_001, output_tokens=9_999),
    "one token": Usage(input_tokens=1),
}


@pytest.mark.parametrize("batch", [False, True], ids=["standard", "batch"])
@pytest.mark.parametrize("kind", USAGES)
@pytest.mark.parametrize(("seller", "model"), MODELS)
def test_a_price_is_the_tables_to_the_nano_dollar(seller: str, model: str, kind: str, batch: bool) -> None:
    provider = {"x-ai": "xai"}.get(seller, seller)
    found = price_of(provider, model, USAGES[kind], batch=batch)
    assert found.status is PriceStatus.PRICED, found.reason
    context = {"processing": "batch"} if batch else {}
    assert found.cost_nanos == by_genai_prices(seller, model, USAGES[kind], NOW_NS, context)


def test_at_least_sixty_models_are_compared() -> None:
    assert len(set(MODELS)) >= 60


def test_the_price_of_o3_fell_on_the_tenth_of_june_2025() -> None:
    million = Usage(input_tokens=10**6)
    before = price_of("openai", "o3", million, at_unix_ns=nanoseconds("2025-06-10") - 1)
    after = price_of("openai", "o3", million, at_unix_ns=nanoseconds("2025-06-10"))
    assert (before.cost_nanos, after.cost_nanos) == (10 * NANOS_PER_USD, 2 * NANOS_PER_USD)
    assert after.card is not None
    assert after.card.price_date == "2025-06-10"


def test_deepseeks_night_was_cheaper() -> None:
    million = Usage(input_tokens=10**6)
    by_hour = {
        hour: price_of(
            "deepseek", "deepseek-chat", million, at_unix_ns=nanoseconds(f"2025-03-01T{hour}")
        ).cost_nanos
        for hour in ("00:29:59", "00:30", "16:29:59", "16:30", "23:00")
    }
    assert by_hour == {
        "00:29:59": 135_000_000,
        "00:30": 270_000_000,
        "16:29:59": 270_000_000,
        "16:30": 135_000_000,
        "23:00": 135_000_000,
    }


@pytest.mark.parametrize("at_unix_ns", [-(2**63), -1, 0, 1, 2**63 - 1])
def test_every_moment_an_event_can_have_has_a_price(at_unix_ns: int) -> None:
    assert (
        price_of("deepseek", "deepseek-chat", USAGES["plain"], at_unix_ns=at_unix_ns).status
        is PriceStatus.PRICED
    )


def test_above_a_threshold_the_whole_request_costs_more() -> None:
    at_limit = price_of("google", "gemini-2.5-pro", Usage(200_000))
    above = price_of("google", "gemini-2.5-pro", Usage(100_000, 100_001))
    assert at_limit.cost_nanos == 200_000 * 1_250
    assert above.cost_nanos == 100_000 * 2_500 + 100_001 * 250


def test_a_threshold_does_not_apply_to_input_summed_over_requests() -> None:
    found = price_of("google", "gemini-2.5-pro", Usage(300_000), anomalies=("input_summed_over_requests",))
    assert found.cost_nanos == 300_000 * 1_250
    assert found.reason == "its input is summed over several requests; the rate of a short request applies"


def test_service_tiers_have_prices_of_their_own() -> None:
    usage = Usage(input_tokens=10**6)
    costs = {
        tier: price_of("openai", "gpt-5", usage, service_tier=tier).cost_nanos / NANOS_PER_USD
        for tier in ("", "default", "flex", "priority", "batch")
    }
    assert costs == {"": 1.25, "default": 1.25, "flex": 0.625, "priority": 2.5, "batch": 0.625}


def test_a_tier_the_table_does_not_have_is_priced_as_standard_and_said() -> None:
    found = price_of("mistral", "mistral-large-latest", USAGES["plain"], service_tier="flex")
    assert found.status is PriceStatus.PRICED
    assert found.reason == "the price table has no flex rate for this model; the standard rate applies"


def test_web_searches_are_priced_by_the_search() -> None:
    with_searches = price_of("anthropic", "claude-sonnet-4-5", Usage(1_000, web_searches=3))
    assert with_searches.cost_nanos == 1_000 * 3_000 + 3 * 10_000_000


def test_perplexity_charges_for_the_request_too() -> None:
    found = price_of("perplexity", "sonar", Usage(1_000))
    assert found.cost_nanos == by_genai_prices("perplexity", "sonar", Usage(1_000), NOW_NS, {})
    assert found.cost_nanos > 1_000 * 1_000


UNKNOWN = {
    "the table does not know the model": ("openai", "gpt-99", {}),
    "the table does not know the provider": ("crusoe", "zai/GLM-5.2", {}),
    "a name that merely contains a provider's": ("my-openai-proxy", "gpt-4o", {}),
    "no provider": ("unknown", "gpt-4o", {}),
    "no model": ("openai", "", {}),
    "a model name of 10,000 characters": ("openai", "gpt-4o" * 2_000, {}),
    "a hosted model of ollama": ("ollama-cloud", "gpt-oss:120b-cloud", {}),
    "tokens of another model": (
        "anthropic",
        "claude-sonnet-4-5",
        {"anomalies": ("iterations_of_other_model",)},
    ),
    "inference in the us": ("anthropic", "claude-opus-4-6", {"anomalies": ("inference_geo_us",)}),
    "images at a rate of their own": (
        "google",
        "gemini-2.5-flash-image",
        {"anomalies": ("image_output_tokens",)},
    ),
    "cached audio at a rate of its own": (
        "google",
        "gemini-2.5-flash",
        {"anomalies": ("cached_audio_tokens",)},
    ),
    "capacity paid in advance": ("google", "gemini-2.5-flash", {"service_tier": "provisioned_throughput"}),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_the_table_cannot_price_is_unpriced_with_a_reason(case: str) -> None:
    provider, model, more = UNKNOWN[case]
    found = price_of(provider, model, USAGES["plain"], **more)
    assert (found.status, found.cost_nanos, found.is_known) == (PriceStatus.UNPRICED, 0, False)
    assert found.reason


RENAMED_SELLERS = [
    seller
    for seller in get_snapshot().providers
    if canonical_provider(seller.id) != seller.id and seller.models
]


@pytest.mark.parametrize("seller", RENAMED_SELLERS, ids=lambda seller: str(seller.id))
def test_a_seller_whom_reports_call_otherwise_than_the_table_is_found(seller: Any) -> None:
    estimator = CostEstimator()
    cards = [estimator.rate_card(seller.id, model.id, at_unix_ns=NOW_NS) for model in seller.models]
    assert cards[0] is not None
    assert cards[0].provider == canonical_provider(seller.id)


def test_audio_without_a_rate_is_unpriced_and_never_at_the_rate_of_text() -> None:
    found = price_of("openai", "gpt-4o-audio-preview", Usage(12, audio_input_tokens=69))
    assert found.status is PriceStatus.UNPRICED
    assert found.reason == "the price table has no rate for audio_input tokens of this model"


def test_audio_with_a_rate_is_priced_by_it() -> None:
    assert (
        price_of("google", "gemini-2.5-flash", Usage(85, audio_input_tokens=104)).cost_nanos
        == 85 * 300 + 104 * 1_000
    )


@pytest.mark.parametrize(
    "code", ["grounding_searches_not_counted", "total_tokens_differ", "input_tokens_missing"]
)
def test_a_price_that_may_not_be_the_whole_bill_says_so(code: str) -> None:
    found = price_of("google", "gemini-2.5-flash", USAGES["plain"], anomalies=("x", code))
    assert (found.status, bool(found.reason)) == (PriceStatus.PRICED, True)


def test_a_price_beyond_all_money_is_none() -> None:
    assert price_of("openai", "o1-pro", Usage(10**18)).status is PriceStatus.UNPRICED


def test_a_stated_cost_wins_and_the_tables_is_kept_beside_it() -> None:
    usage = Usage(input_tokens=1_000)
    found = price_of("openrouter", "openai/gpt-5-mini", usage, stated_cost_nanos=7)
    assert (found.status, found.cost_nanos, found.table_cost_nanos) == (PriceStatus.STATED, 7, 250_000)
    assert found.card is not None


def test_a_stated_cost_counts_even_without_usage_or_a_known_model() -> None:
    assert price_of("openrouter", "x", None, stated_cost_nanos=7)[:3] == (PriceStatus.STATED, 7, None)


@pytest.mark.parametrize("absurd", [-1, 10**15 + 1])
def test_an_absurd_stated_cost_is_not_believed(absurd: int) -> None:
    assert price_of("openai", "gpt-4o", Usage(1_000), stated_cost_nanos=absurd).status is PriceStatus.PRICED


def test_a_local_model_is_free() -> None:
    found = price_of("ollama", "whatever:7b", USAGES["plain"])
    assert (found.status, found.cost_nanos, found.is_known) == (PriceStatus.FREE, 0, True)


def test_a_call_without_usage_has_no_price() -> None:
    for provider in ("openai", "ollama"):
        assert price_of(provider, "gpt-4o", None).status is PriceStatus.NO_USAGE


def test_the_receipt_names_table_model_tier_and_rates() -> None:
    card = ESTIMATOR.rate_card("openai", "gpt-4o-2024-08-06", at_unix_ns=NOW_NS)
    assert card is not None
    assert (card.provider, card.model) == ("openai", "gpt-4o")
    assert card.table_version == ESTIMATOR.table_version == f"genai-prices {genai_prices.__version__}"
    rates = card.usd_per_million()
    assert (rates["input"], rates["cache_read"]) == (Decimal("2.5"), Decimal("1.25"))
    assert (rates["audio_input"], rates["web_searches"]) == (None, Decimal(10))


def test_every_rate_of_the_table_is_a_whole_number_of_units() -> None:
    for seller in get_snapshot().providers:
        for model in seller.models:
            prices = model.get_prices(datetime.fromtimestamp(NOW_NS // 10**9, UTC))
            for key, value in vars(prices).items():
                units = {"mtok": 10**18, "kcount": 10**21}.get(key.rpartition("_")[2])
                if units is not None and value is not None:
                    dollars = value if isinstance(value, Decimal) else value.base
                    assert dollars * units == int(dollars * units), (seller.id, model.id, key)


class CountingTable:
    """A table that counts what it is asked and knows models that begin with `known`."""

    version = "counting 1"

    def __init__(self, span_ns: int = 2**70) -> None:
        self.asked = 0
        self.span_ns = span_ns

    def rate_card(
        self, provider: str, model: str, *, at_unix_ns: int, service_tier: str, batch: bool
    ) -> RateCard | None:
        self.asked += 1
        start = at_unix_ns // self.span_ns * self.span_ns
        return (
            RateCard(
                provider,
                model,
                self.version,
                Rates((10**15,) * 9),
                valid_from_unix_ns=start,
                valid_until_unix_ns=start + self.span_ns,
            )
            if model.startswith("known")
            else None
        )


def test_a_model_is_looked_up_once_known_or_not() -> None:
    table = CountingTable()
    estimator = CostEstimator(table)
    for _ in range(3):
        for model in ("known", "other"):
            estimator.price(provider="p", model=model, usage=Usage(2), at_unix_ns=5)
    assert table.asked == 2


def test_names_that_cannot_be_models_never_reach_the_table() -> None:
    table = CountingTable()
    for model in ("", "known" * 100):
        assert CostEstimator(table).rate_card("p", model, at_unix_ns=0) is None
    assert table.asked == 0


def test_memory_for_models_and_spans_is_bounded() -> None:
    estimator = CostEstimator(CountingTable(span_ns=10))
    for moment in range(0, 10 * CARD_SPANS_MAX * 2, 10):
        estimator.rate_card("p", "known", at_unix_ns=moment)
    assert len(estimator._cards["p", "known", "", False]) == CARD_SPANS_MAX
    for number in range(CARDS_MAX + 50):
        estimator.rate_card("p", f"known{number}", at_unix_ns=0)
        estimator.rate_card("p", f"other{number}", at_unix_ns=0)
    assert (len(estimator._cards), len(estimator._unknown)) == (CARDS_MAX, UNKNOWN_MAX)


def test_a_flood_of_unknown_names_displaces_no_card() -> None:
    table = CountingTable()
    estimator = CostEstimator(table)
    estimator.rate_card("p", "known", at_unix_ns=0)
    for number in range(CARDS_MAX + 1):
        estimator.rate_card("p", f"other{number}", at_unix_ns=0)
    asked = table.asked
    assert estimator.rate_card("p", "known", at_unix_ns=0) is not None
    assert table.asked == asked


def test_asking_for_unknown_models_leaves_no_trace_in_the_price_package() -> None:
    snapshot = get_snapshot()
    table = GenaiPriceTable()
    sizes = [len(snapshot._provider_cache), len(snapshot._provider_misses), len(snapshot._lookup_cache)]
    for number in range(200):
        table.rate_card("openai", f"no-{number}", at_unix_ns=NOW_NS, service_tier="", batch=False)
        table.rate_card(f"no-{number}", "gpt-4o", at_unix_ns=NOW_NS, service_tier="", batch=False)
    assert sizes == [
        len(snapshot._provider_cache),
        len(snapshot._provider_misses),
        len(snapshot._lookup_cache),
    ]


def test_importing_the_tracker_loads_no_price_table_and_no_mlflow() -> None:
    program = (
        "import sys, configurable_agents.observability.multi_provider_tracker as tracker;"
        "tracker.MultiProviderCostTracker().track_call('ollama', 'llama3', {'eval_count': 1});"
        "print([name for name in ('genai_prices', 'mlflow', 'openai', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**18))
def test_rounding_is_half_to_even_and_happens_once(fresh: int, out: int, rate: int) -> None:
    class OneRate(CountingTable):
        def rate_card(self, provider: str, model: str, **_: Any) -> RateCard:
            return RateCard(provider, model, "1", Rates((rate,) * 9))

    found = CostEstimator(OneRate()).price(
        provider="p", model="m", usage=Usage(fresh, output_tokens=out), at_unix_ns=0
    )
    exact = Decimal((fresh + out) * rate) / 10**15
    assert found.cost_nanos == exact.quantize(Decimal(1), ROUND_HALF_EVEN)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"usage": {"prompt_tokens": -1, "completion_tokens": 2}}, "negative_token_count"),
        ({"usage": {"prompt_tokens": 1.5, "completion_tokens": 2}}, "token_count_not_an_integer"),
        ({"usage": {"prompt_tokens": 10**15, "completion_tokens": 2}}, "implausible_token_count"),
        ({"usage": {"total_tokens": 12}}, "only_total_tokens"),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, "zero_tokens"),
        ({"usage": "many"}, "usage_not_an_object"),
    ],
)
def test_a_usage_that_is_garbled_is_not_said_to_be_absent(response: object, reason: str) -> None:
    anomalies = read_usage(response).anomalies
    found = price_of("openai", "gpt-4o", None, anomalies=anomalies)
    assert found.status is PriceStatus.NO_USAGE
    assert found.reason == f"the usage of the response cannot be used: {reason}"


def test_a_response_without_usage_says_what_it_was_instead() -> None:
    assert price_of("openai", "gpt-4o", None).reason == "the response carried no usage"
    failed = price_of("openai", "gpt-4o", None, anomalies=read_usage({"error": {"code": 429}}).anomalies)
    assert failed.reason == "the response carried no usage: error_response"
    mistaken = price_of("openai", "gpt-4o", None, anomalies=("duration_ns_unusable",))
    assert mistaken.reason == "the response carried no usage"
