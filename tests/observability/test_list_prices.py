"""Sixty models of today at plain, cached, long and batch rates, against a list of prices written by hand.

Nothing of the code under test, and nothing of the price table it reads, is used to say what must come out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import pytest

from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.telemetry import PriceStatus, Usage

LIST_PRICES = """
model                                 | input  | cached  | output | above these tokens   | batch       | calls
openai/gpt-4                          | 30     | -       | 60     | -                    | 15 30       | -
openai/gpt-4-turbo                    | 10     | -       | 30     | -                    | 5 15        | -
openai/gpt-4o                         | 2.5    | 1.25    | 10     | -                    | 1.25 5      | -
openai/gpt-4o-mini                    | 0.15   | 0.075   | 0.6    | -                    | 0.075 0.3   | -
openai/gpt-4.1                        | 2      | 0.5     | 8      | -                    | 1 4         | -
openai/gpt-4.1-mini                   | 0.4    | 0.1     | 1.6    | -                    | 0.2 0.8     | -
openai/gpt-4.1-nano                   | 0.1    | 0.025   | 0.4    | -                    | 0.05 0.2    | -
openai/gpt-5                          | 1.25   | 0.125   | 10     | -                    | 0.625 5     | -
openai/gpt-5-mini                     | 0.25   | 0.025   | 2      | -                    | 0.125 1     | -
openai/gpt-5-nano                     | 0.05   | 0.005   | 0.4    | -                    | 0.025 0.2   | -
openai/o1                             | 15     | 7.5     | 60     | -                    | 7.5 30      | -
openai/o1-mini                        | 1.1    | 0.55    | 4.4    | -                    | -           | -
openai/o3                             | 2      | 0.5     | 8      | -                    | 1 4         | -
openai/o3-mini                        | 1.1    | 0.55    | 4.4    | -                    | 0.55 2.2    | -
openai/o3-pro                         | 20     | -       | 80     | -                    | 10 40       | -
openai/o4-mini                        | 1.1    | 0.275   | 4.4    | -                    | 0.55 2.2    | -
openai/gpt-3.5-turbo                  | 0.5    | -       | 1.5    | -                    | 0.25 0.75   | -
anthropic/claude-3-haiku-20240307     | 0.25   | 0.03    | 1.25   | -                    | -           | -
anthropic/claude-3-opus-20240229      | 15     | 1.5     | 75     | -                    | -           | -
anthropic/claude-3-5-haiku-20241022   | 0.8    | 0.08    | 4      | -                    | -           | -
anthropic/claude-3-5-sonnet-20241022  | 3      | 0.3     | 15     | -                    | -           | -
anthropic/claude-3-7-sonnet-20250219  | 3      | 0.3     | 15     | -                    | -           | -
anthropic/claude-opus-4-0             | 15     | 1.5     | 75     | -                    | -           | -
anthropic/claude-opus-4-1             | 15     | 1.5     | 75     | -                    | -           | -
anthropic/claude-sonnet-4-0           | 3      | 0.3     | 15     | -                    | -           | -
anthropic/claude-sonnet-4-5           | 3      | 0.3     | 15     | 200k 6 0.6 22.5      | 1.5 7.5     | -
anthropic/claude-haiku-4-5            | 1      | 0.1     | 5      | -                    | 0.5 2.5     | -
anthropic/claude-opus-4-5             | 5      | 0.5     | 25     | -                    | 2.5 12.5    | -
google/gemini-1.5-flash               | 0.075  | 0.01875 | 0.3    | 128k 0.15 0.0375 0.6 | -           | -
google/gemini-1.5-pro                 | 1.25   | -       | 5      | 128k 2.5 - 10        | -           | -
google/gemini-2.0-flash               | 0.1    | 0.025   | 0.4    | -                    | -           | -
google/gemini-2.0-flash-lite          | 0.075  | -       | 0.3    | -                    | -           | -
google/gemini-2.5-flash               | 0.3    | 0.03    | 2.5    | -                    | 0.15 1.25   | -
google/gemini-2.5-flash-lite          | 0.1    | 0.01    | 0.4    | -                    | 0.05 0.2    | -
google/gemini-2.5-pro                 | 1.25   | 0.125   | 10     | 200k 2.5 0.25 15     | 0.625 5     | -
google/gemini-3-pro-preview           | 2      | 0.2     | 12     | 200k 4 0.4 18        | -           | -
google/gemini-3-flash-preview         | 0.5    | 0.05    | 3      | -                    | 0.25 1.5    | -
mistral/mistral-large-latest          | 2      | -       | 6      | -                    | -           | -
mistral/mistral-small-latest          | 0.15   | 0.015   | 0.6    | -                    | 0.075 0.3   | -
mistral/mistral-medium-latest         | 1.5    | 0.15    | 7.5    | -                    | 0.75 3.75   | -
mistral/codestral-latest              | 0.3    | -       | 0.9    | -                    | 0.15 0.45   | -
mistral/ministral-8b-latest           | 0.15   | 0.015   | 0.15   | -                    | 0.075 0.075 | -
mistral/open-mistral-7b               | 0.25   | -       | 0.25   | -                    | -           | -
mistral/pixtral-large-latest          | 2      | -       | 6      | -                    | -           | -
mistral/magistral-medium-latest       | 2      | -       | 5      | -                    | -           | -
xai/grok-3                            | 3      | 0.75    | 15     | -                    | -           | -
xai/grok-3-mini                       | 0.3    | 0.075   | 0.5    | -                    | -           | -
xai/grok-4                            | 3      | 0.75    | 15     | -                    | -           | -
xai/grok-4-fast                       | 0.2    | 0.05    | 0.5    | -                    | -           | -
xai/grok-code-fast-1                  | 0.2    | 0.02    | 1.5    | -                    | -           | -
deepseek/deepseek-chat                | 0.27   | 0.07    | 1.1    | -                    | -           | -
deepseek/deepseek-reasoner            | 0.55   | 0.14    | 2.19   | -                    | -           | -
groq/llama-3.3-70b-versatile          | 0.59   | -       | 0.79   | -                    | -           | -
groq/llama-3.1-8b-instant             | 0.05   | -       | 0.08   | -                    | -           | -
cohere/command-r-plus                 | 2.5    | -       | 10     | -                    | -           | -
cohere/command-r                      | 0.15   | -       | 0.6    | -                    | -           | -
cohere/command-a                      | 2.5    | -       | 10     | -                    | -           | -
perplexity/sonar                      | 1      | -       | 1      | -                    | -           | 12
perplexity/sonar-pro                  | 3      | -       | 15     | -                    | -           | 14
perplexity/sonar-reasoning            | 1      | -       | 5      | -                    | -           | 12
"""
"""Dollars per million tokens, and per thousand calls, on 15 November 2026.

Above a threshold the three rates of the whole request are others. A dash is no rate of its own: cached input
then costs what input costs, a batch what other calls cost.
"""

AT_NS = int(datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()) * 10**9
ESTIMATOR = CostEstimator()

CASES = {
    "plain": Usage(1_234, output_tokens=567),
    "cached": Usage(1_000, cache_read_tokens=9_001, output_tokens=77),
    "long": Usage(300_001, cache_read_tokens=20_003, output_tokens=1_003),
    "batch": Usage(4_321, output_tokens=765),
}


class ListPrice(NamedTuple):
    model: str
    rates: tuple[Decimal, Decimal, Decimal]
    """Of input, cached input and output."""
    threshold: int | None
    rates_above: tuple[Decimal, Decimal, Decimal]
    batch_rates: tuple[Decimal, Decimal]
    """Of input and output."""
    fee: Decimal
    """Of one call."""

    def of(self, usage: Usage, *, batch: bool) -> Decimal:
        """Dollars."""
        fresh, cached, made = self.rates
        if self.threshold is not None and usage.input_tokens + usage.cache_read_tokens > self.threshold:
            fresh, cached, made = self.rates_above
        if batch:
            fresh, made = self.batch_rates
        tokens = usage.input_tokens * fresh + usage.cache_read_tokens * cached + usage.output_tokens * made
        return tokens / 1_000_000 + self.fee


def listed(line: str) -> ListPrice:
    model, fresh, cached, made, above, batch, fee = (cell.strip() for cell in line.split("|"))
    rates = three_rates(fresh, cached, made)
    threshold, *more = above.split() if above != "-" else ("",)
    fresh_batch, made_batch = batch.split() if batch != "-" else (fresh, made)
    return ListPrice(
        model,
        rates,
        int(threshold.removesuffix("k")) * 1_000 if threshold else None,
        three_rates(*more) if more else rates,
        (Decimal(fresh_batch), Decimal(made_batch)),
        Decimal(0) if fee == "-" else Decimal(fee) / 1_000,
    )


def three_rates(fresh: str, cached: str, made: str) -> tuple[Decimal, Decimal, Decimal]:
    return Decimal(fresh), Decimal(fresh if cached == "-" else cached), Decimal(made)


PRICES = [listed(line) for line in LIST_PRICES.strip().splitlines()[1:]]


def test_there_are_sixty_models_with_all_kinds_of_rates() -> None:
    assert len({price.model for price in PRICES}) == 60
    assert sum(price.rates[1] != price.rates[0] for price in PRICES) > 35, "cached input has its own rate"
    assert sum(price.threshold is not None for price in PRICES) == 5
    assert sum(price.batch_rates[0] != price.rates[0] for price in PRICES) > 25


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("listed_price", PRICES, ids=lambda price: price.model)
def test_the_price_is_the_list_price_to_the_nano_dollar(listed_price: ListPrice, case: str) -> None:
    usage, batch = CASES[case], case == "batch"
    provider, _, model = listed_price.model.partition("/")
    price = ESTIMATOR.price(provider=provider, model=model, usage=usage, at_unix_ns=AT_NS, batch=batch)
    nanos = (listed_price.of(usage, batch=batch) * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert (price.status, Decimal(price.cost_nanos)) == (PriceStatus.PRICED, nanos)


def test_o3_became_cheaper_on_the_tenth_of_june_2025() -> None:
    def cost(day: int) -> int:
        at_ns = int(datetime(2025, 6, day, tzinfo=UTC).timestamp()) * 10**9
        usage = Usage(1_000_000, output_tokens=1_000_000)
        return ESTIMATOR.price(provider="openai", model="o3", usage=usage, at_unix_ns=at_ns).cost_nanos

    assert (cost(9), cost(10)) == (50 * 10**9, 10 * 10**9)
