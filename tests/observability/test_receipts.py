"""Receipts: line by line what a call cost, summing to it exactly."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.price_table import YOCTOS_PER_NANO, RateCard
from configurable_agents.observability.receipts import PriceEntry, Receipt, ReceiptLine, shared_out
from configurable_agents.telemetry import LlmCall, PriceStatus, Usage

MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-5"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("perplexity", "sonar"),
    ("mistral", "mistral-large-latest"),
)
AT = 1_780_000_000 * 10**9
ESTIMATOR = CostEstimator()

tokens = st.integers(0, 2_000_000)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_tokens=tokens,
    cache_write_1h_tokens=st.integers(0, 10),
    output_tokens=tokens,
    reasoning_tokens=tokens,
    audio_input_tokens=st.just(0),
    audio_output_tokens=st.just(0),
    web_searches=st.just(0),
)


def receipt(provider: str, model: str, usage: Usage | None, **more) -> Receipt:
    call = LlmCall("run", "call", 0, "", provider, model, usage, AT, 0, **more)
    price = ESTIMATOR.price(
        provider=provider,
        model=model,
        usage=usage,
        at_unix_ns=AT,
        anomalies=call.anomalies,
        batch=call.batch,
        stated_cost_nanos=call.stated_cost_nanos,
    )
    entry = PriceEntry(price.status, price.cost_nanos, price.table_cost_nanos, price.card, price.reason)
    return Receipt(call, entry)


@settings(deadline=None)
@given(model=st.sampled_from(MODELS), usage=usages, batch=st.booleans())
def test_the_lines_of_a_receipt_sum_to_the_stored_cost_exactly(model, usage, batch):
    found = receipt(*model, usage, batch=batch)
    shown = found.to_json()
    assert found.price.status is PriceStatus.PRICED
    total = sum(Decimal(line["amount_usd"]) for line in shown["lines"]) + Decimal(shown["rounding_usd"])
    assert total == Decimal(found.price.cost_nanos) / 10**9
    assert abs(Decimal(shown["rounding_usd"])) <= Decimal("0.0000000005")
    assert sum(line["count"] for line in shown["lines"] if line["token_class"] != "call") == sum(usage)


@settings(deadline=None)
@given(model=st.sampled_from(MODELS), usage=usages)
def test_a_cost_shared_out_among_its_lines_is_whole_again(model, usage):
    found = receipt(*model, usage)
    shares = shared_out(found.price.cost_nanos, found.lines())
    assert sum(shares.values()) == found.price.cost_nanos
    assert all(share >= 0 for share in shares.values())


@given(rates=st.lists(st.integers(1, 3 * YOCTOS_PER_NANO), min_size=1, max_size=5))
def test_parts_of_nano_dollars_are_shared_out_too(rates):
    lines = [ReceiptLine(name, 1, rate) for name, rate in zip(Usage._fields, rates, strict=False)]
    cost_nanos = round(Fraction(sum(rates), YOCTOS_PER_NANO))
    shares = shared_out(cost_nanos, lines)
    assert sum(shares.values()) == cost_nanos
    for line in lines:
        assert abs(shares[line.token_class] * YOCTOS_PER_NANO - line.amount_yoctos) < YOCTOS_PER_NANO


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_a_stored_rate_card_is_read_back_the_same(provider, model):
    card = ESTIMATOR.rate_card(provider, model, at_unix_ns=AT)
    assert RateCard.from_json(card.to_json()) == card


def test_a_long_request_is_shown_at_the_rates_above_its_threshold():
    long = receipt("google", "gemini-2.5-pro", Usage(200_001))
    assert long.threshold() == 200_000
    assert receipt("google", "gemini-2.5-pro", Usage(200_000)).threshold() is None
    summed = receipt("google", "gemini-2.5-pro", Usage(200_001), anomalies=("input_summed_over_requests",))
    assert summed.threshold() is None


def test_a_stated_cost_shows_the_tables_price_beside_it():
    shown = receipt("openai", "gpt-4o", Usage(1_000), stated_cost_nanos=7).to_json()
    assert (shown["price_status"], shown["cost_nanos"], shown["table_cost_nanos"]) == ("stated", 7, 2_500_000)
    assert shown["lines"][0]["amount_usd"] == "0.0025"


def test_a_class_without_a_rate_has_no_amount():
    shown = receipt("openai", "gpt-4o", Usage(10, audio_input_tokens=5)).to_json()
    assert shown["cost_nanos"] is None
    assert [line["amount_usd"] for line in shown["lines"]] == ["0.000025", None]


def test_without_usage_and_without_rates_nothing_is_made_up():
    assert receipt("openai", "gpt-4o", None).to_json()["lines"] == []
    unknown = receipt("acme", "acme-1", Usage(10)).to_json()
    assert [(line["rate_usd"], line["amount_usd"]) for line in unknown["lines"]] == [(None, None)]
    local = receipt("ollama", "llama3", Usage(10)).to_json()
    assert (local["price_status"], local["cost_nanos"], local["rate_card"]) == ("free", 0, None)
