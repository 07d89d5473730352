"""Every recorded usage, class by class, against rules written from the providers' documentation by hand.

Nothing of the code under test is used to say what must come out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.observability.cost_estimator import CostEstimator
from configurable_agents.observability.multi_provider_tracker import AssessedCall, MultiProviderCostTracker
from configurable_agents.observability.streams import StreamAccumulator
from configurable_agents.observability.usage import read_usage
from configurable_agents.telemetry import PriceStatus

pytestmark = pytest.mark.shared_data

AT_NS = 1_790_000_000 * 10**9
Expected = dict[str, int]
"""Classes that are not zero."""


def n(source: Any, *path: str) -> int:
    for name in path:
        source = (source or {}).get(name)
    return source or 0


def audio(items: Any) -> int:
    return sum(item.get("tokenCount", 0) for item in items or [] if item["modality"] == "AUDIO")


def openai_chat(usage: dict[str, Any]) -> Expected:
    """The prompt includes cached and audio tokens; the completion includes reasoning and audio."""
    cached = (
        n(usage, "prompt_tokens_details", "cached_tokens")
        or n(usage, "num_cached_tokens")
        or n(usage, "cached_tokens")
        or n(usage, "prompt_cache_hit_tokens")
    )
    heard = n(usage, "prompt_tokens_details", "audio_tokens")
    spoken = n(usage, "completion_tokens_details", "audio_tokens")
    thought = n(usage, "completion_tokens_details", "reasoning_tokens")
    made = n(usage, "completion_tokens")
    if thought and n(usage, "total_tokens") == n(usage, "prompt_tokens") + made + thought:
        made += thought  # xAI's way
    spoken = min(spoken, made - thought)  # one recording states more parts than there are tokens
    return {
        "input_tokens": n(usage, "prompt_tokens") - cached - heard,
        "cache_read_tokens": cached,
        "audio_input_tokens": heard,
        "output_tokens": made - thought - spoken,
        "reasoning_tokens": thought,
        "audio_output_tokens": spoken,
    }


def openai_responses(usage: dict[str, Any]) -> Expected:
    cached = n(usage, "input_tokens_details", "cached_tokens")
    written = n(usage, "input_tokens_details", "cache_write_tokens")
    thought = n(usage, "output_tokens_details", "reasoning_tokens")
    return {
        "input_tokens": n(usage, "input_tokens") - cached - written,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": n(usage, "output_tokens") - thought,
        "reasoning_tokens": thought,
    }


def anthropic(usage: dict[str, Any]) -> Expected:
    """The input excludes what caches served and took; with iterations the bill is their sum."""
    parts = usage.get("iterations") or [usage]
    thought = n(usage, "output_tokens_details", "thinking_tokens")
    hour = sum(n(part, "cache_creation", "ephemeral_1h_input_tokens") for part in parts)
    return {
        "input_tokens": sum(n(part, "input_tokens") for part in parts),
        "cache_read_tokens": sum(n(part, "cache_read_input_tokens") for part in parts),
        "cache_write_tokens": sum(n(part, "cache_creation_input_tokens") for part in parts) - hour,
        "cache_write_1h_tokens": hour,
        "output_tokens": sum(n(part, "output_tokens") for part in parts) - thought,
        "reasoning_tokens": thought,
        "web_searches": n(usage, "server_tool_use", "web_search_requests"),
    }


def gemini(usage: dict[str, Any]) -> Expected:
    """The prompt includes cached tokens; candidates exclude thoughts; tools bring further input."""
    cached = n(usage, "cachedContentTokenCount")
    heard = audio(usage.get("promptTokensDetails")) - audio(usage.get("cacheTokensDetails"))
    spoken = audio(usage.get("candidatesTokensDetails"))
    return {
        "input_tokens": n(usage, "promptTokenCount") + n(usage, "toolUsePromptTokenCount") - cached - heard,
        "cache_read_tokens": cached,
        "audio_input_tokens": heard,
        "output_tokens": n(usage, "candidatesTokenCount") - spoken,
        "reasoning_tokens": n(usage, "thoughtsTokenCount"),
        "audio_output_tokens": spoken,
    }


def interactions(usage: dict[str, Any]) -> Expected:
    cached = n(usage, "total_cached_tokens")
    return {
        "input_tokens": n(usage, "total_input_tokens") + n(usage, "total_tool_use_tokens") - cached,
        "cache_read_tokens": cached,
        "output_tokens": n(usage, "total_output_tokens"),
        "reasoning_tokens": n(usage, "total_thought_tokens"),
    }


def converse(usage: dict[str, Any]) -> Expected:
    """The input excludes what caches served and took."""
    return {
        "input_tokens": n(usage, "inputTokens"),
        "cache_read_tokens": n(usage, "cacheReadInputTokens") or n(usage, "cacheReadInputTokenCount"),
        "cache_write_tokens": n(usage, "cacheWriteInputTokens") or n(usage, "cacheWriteInputTokenCount"),
        "output_tokens": n(usage, "outputTokens"),
    }


def bedrock_invoke(usage: dict[str, Any]) -> Expected:
    return converse(usage) if "inputTokens" in usage else anthropic(usage)


def ollama(usage: dict[str, Any]) -> Expected:
    return {"input_tokens": n(usage, "prompt_eval_count"), "output_tokens": n(usage, "eval_count")}


def embeddings(usage: dict[str, Any]) -> Expected:
    """Voyage counts a total only."""
    billed = usage.get("billed_units")
    if billed:
        return {"input_tokens": n(billed, "input_tokens") + n(billed, "image_tokens")}
    return {"input_tokens": n(usage, "prompt_tokens") or n(usage, "total_tokens")}


def cohere(usage: dict[str, Any]) -> Expected:
    """What is billed leaves out Cohere's own template."""
    return {
        "input_tokens": n(usage, "billed_units", "input_tokens"),
        "output_tokens": n(usage, "billed_units", "output_tokens"),
    }


RULES: dict[str, Callable[[dict[str, Any]], Expected]] = {
    "chat": openai_chat,
    "completions": openai_chat,
    "responses": openai_responses,
    "messages": anthropic,
    "bedrock-invoke": bedrock_invoke,
    "bedrock-invoke-stream": bedrock_invoke,
    "converse": converse,
    "converse-stream": converse,
    "generateContent": gemini,
    "generateContent-stream": gemini,
    "google-interactions": interactions,
    "ollama-chat": ollama,
    "embeddings": embeddings,
    "cohere-chat": cohere,
}
NOTHING: Expected = {}
APART: dict[range, tuple[str, str, Expected]] = {
    range(66, 69): ("a guardrail counts units of policies, no tokens", "unknown_response_shape", NOTHING),
    range(131, 133): (
        "countTokens says how many there would be",
        "only_total_tokens",
        NOTHING,
    ),
    range(176, 177): ("a reranker is billed by the search", "no_token_counts", NOTHING),
    range(211, 212): (
        "Vertex as protobuf writes modalities as numbers",
        "",
        {"input_tokens": 2, "output_tokens": 11},
    ),
    range(410, 412): ("an embedding has a prompt and no output", "", {"input_tokens": 7}),
    range(412, 413): ("an embedding has a prompt and no output", "", {"input_tokens": 11}),
    range(413, 415): ("an embedding has a prompt and no output", "", {"input_tokens": 7}),
    range(415, 416): ("an embedding has a prompt and no output", "", {"input_tokens": 8}),
    range(416, 417): ("an embedding has a prompt and no output", "", {"input_tokens": 1}),
    range(579, 580): ("an HTTP error", "no_response", NOTHING),
    range(639, 641): ("an HTTP error", "no_response", NOTHING),
    range(657, 658): ("an HTTP error", "no_response", NOTHING),
    range(1292, 1293): ("countTokens says how many there would be", "only_total_tokens", NOTHING),
}
"""Lines that no rule of a provider's API is for: why, the anomaly that says so, and the classes by hand."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_zeros(classes: Expected) -> Expected:
    return {name: count for name, count in classes.items() if count}


def test_the_classes_of_every_recorded_usage_are_those_of_the_providers_rule(shared_data: Path) -> None:
    compared: Counter[str] = Counter()
    rows = lines(shared_data / "usages.jsonl")
    assert len(rows) == 1_329
    for number, row in enumerate(rows):
        found = read_usage(row["usage"], provider=row["provider"]).usage
        if row["flavor"] not in RULES:
            compared["apart"] += 1
            continue
        expected = without_zeros(RULES[row["flavor"]](row["usage"])) if row["usage"] else {}
        got = {} if found is None else without_zeros(found._asdict())
        assert got == expected, f"line {number}: {row['flavor']} {row['usage']}"
        compared[row["flavor"]] += 1
    assert sum(compared.values()) == 1_329
    assert compared["apart"] == sum(map(len, APART)) == 19


@pytest.mark.parametrize("numbers", APART, ids=lambda numbers: f"{numbers.start}: {APART[numbers][0]}")
def test_what_no_rule_is_for_has_the_classes_and_the_reason_of_the_table(
    shared_data: Path, numbers: range
) -> None:
    rows = lines(shared_data / "usages.jsonl")
    why, code, expected = APART[numbers]
    for number in numbers:
        row = rows[number]
        assert row["flavor"] not in RULES, why
        assessed = MultiProviderCostTracker().assess(
            row["provider"], row["model"] or row["req_model"], row["usage"], at_unix_ns=AT_NS
        )
        usage = assessed.reading.usage
        assert ({} if usage is None else without_zeros(usage._asdict())) == expected, why
        if code:
            assert (assessed.price.status, code in assessed.price.reason) == (PriceStatus.NO_USAGE, True), why


REASONS = {
    PriceStatus.FREE: "a local model",
    PriceStatus.STATED: "stated by the provider",
}


def check_reason_of_no_usage(assessed: AssessedCall) -> None:
    """It names every anomaly of a usage that is there, or of a response without one."""
    reason, codes = assessed.price.reason, assessed.reading.anomalies
    assert "no usage" in reason or "cannot be used" in reason
    assert all(code in reason for code in codes) or "cannot be used" in reason


def test_every_recorded_body_has_a_price_or_the_reason_why_not(shared_data: Path) -> None:
    tracker = MultiProviderCostTracker(estimator=CostEstimator())
    found: Counter[PriceStatus] = Counter()
    bodies = lines(shared_data / "replay_bodies.jsonl")
    assert len(bodies) == 244
    for body in bodies:
        assessed = tracker.assess(
            body["provider"], body["model"] or body["req_model"], response_of(body), at_unix_ns=AT_NS
        )
        price, usage = assessed.price, assessed.reading.usage
        found[price.status] += 1
        if price.status is PriceStatus.UNPRICED:
            assert price.reason, body["id"]
            assert usage is not None
        elif price.status is PriceStatus.NO_USAGE:
            check_reason_of_no_usage(assessed)
        elif price.status in REASONS:
            assert price.reason == REASONS[price.status], body["id"]
        else:
            assert price.cost_nanos > 0, f"a silent $0: {body['id']}"
        if body["usage"] and body["flavor"] in RULES and not body["stream"]:
            expected = without_zeros(RULES[body["flavor"]](body["usage"]))
            got = {} if usage is None else without_zeros(usage._asdict())
            got.pop("web_searches", None)  # OpenAI lists them beside the usage
            expected.pop("web_searches", None)
            assert got == expected, body["id"]
    assert found[PriceStatus.PRICED] > 180
    assert sum(found.values()) == 244


def response_of(body: dict[str, Any]) -> object:
    if body["stream"]:
        stream = StreamAccumulator()
        stream.add(body["response"])
        stream.end()
        return stream
    try:
        return json.loads(body["response"])
    except ValueError:
        return None


def tier_of(row: dict[str, Any]) -> str:
    """OpenAI states it beside the usage, Gemini and Vertex within."""
    usage = row["usage"] or {}
    stated = row["service_tier"] or usage.get("serviceTier") or usage.get("trafficType") or ""
    return str(stated).lower().removeprefix("on_demand_")


def check_tier(provider: str, model: str, response: object, tier: str) -> None:
    assessed = MultiProviderCostTracker().assess(provider, model, response, at_unix_ns=AT_NS)
    card = assessed.price.card
    assert card is not None
    assert card.tier == tier or "standard rate applies" in assessed.price.reason


class TestKnownOddities:
    """Those of the README beside the recordings, each by name."""

    @pytest.fixture
    def bodies(self, shared_data: Path) -> list[dict[str, Any]]:
        return lines(shared_data / "replay_bodies.jsonl")

    @pytest.fixture
    def usages(self, shared_data: Path) -> list[dict[str, Any]]:
        return lines(shared_data / "usages.jsonl")

    def test_streams_with_no_usage_at_all(self, bodies: list[dict[str, Any]]) -> None:
        silent = [
            body
            for body in bodies
            if body["stream"]
            and body["flavor"] == "chat"
            and '"usage":{' not in body["response"].replace(" ", "")
        ]
        assert silent
        for body in silent:
            reading = read_usage(response_of(body))
            assert reading.usage is None, body["id"]
            assert reading.model, "who it was is known all the same"

    def test_ollama_replies_without_prompt_eval_count(self) -> None:
        reading = read_usage({"model": "llama3", "done": True, "eval_count": 9})
        assert reading.usage is not None
        assert (reading.usage.input_tokens, reading.usage.output_tokens) == (0, 9)
        assert "input_tokens_missing" in reading.anomalies

    def test_anthropic_iterations_are_summed(self, usages: list[dict[str, Any]]) -> None:
        several = [row for row in usages if row["usage"] and len(row["usage"].get("iterations") or []) > 1]
        assert several
        for row in several:
            reading = read_usage(row["usage"], provider="anthropic")
            assert reading.usage is not None
            total = sum(n(part, "output_tokens") for part in row["usage"]["iterations"])
            assert reading.usage.all_output_tokens == total
            assert "input_summed_over_requests" in reading.anomalies

    def test_an_anthropic_stream_whose_last_delta_has_far_more_input(
        self, bodies: list[dict[str, Any]]
    ) -> None:
        grown = [body for body in bodies if '"input_tokens":12957' in body["response"]]
        assert grown
        for body in grown:
            usage = read_usage(response_of(body)).usage
            assert usage is not None
            assert usage.input_tokens == 12_957

    def test_gemini_thoughts_and_tools_are_in_neither_of_the_other_counts(
        self, usages: list[dict[str, Any]]
    ) -> None:
        both = [
            row["usage"]
            for row in usages
            if n(row["usage"], "thoughtsTokenCount") and n(row["usage"], "toolUsePromptTokenCount")
        ]
        assert both
        for stated in both:
            usage = read_usage(stated, provider="google").usage
            assert usage is not None
            assert usage.total_tokens == stated["totalTokenCount"]

    def test_model_names_with_a_models_prefix_are_priced(self) -> None:
        assessed = MultiProviderCostTracker().assess(
            "google", "models/gemini-2.5-flash", {"promptTokenCount": 10, "candidatesTokenCount": 1}
        )
        assert (assessed.model, assessed.price.status) == ("gemini-2.5-flash", PriceStatus.PRICED)

    def test_a_flex_tier_is_priced_as_such_or_says_that_it_is_not(self, usages: list[dict[str, Any]]) -> None:
        tiers = [row for row in usages if tier_of(row) == "flex"]
        assert len(tiers) == 1
        for row in tiers:
            check_tier(row["provider"], row["model"] or row["req_model"], row["usage"], "flex")

    @pytest.mark.parametrize("model", ["gpt-5", "gpt-5-mini", "o3", "gpt-4o", "gpt-4.1"])
    def test_a_priority_tier_is_priced_as_such_or_says_that_it_is_not(self, model: str) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
        check_tier("openai", model, {"model": model, "service_tier": "priority", "usage": usage}, "priority")

    def test_http_errors_carry_no_usage(self, bodies: list[dict[str, Any]]) -> None:
        failed = [body for body in bodies if body["status"] >= 400]
        assert failed
        assert {read_usage(response_of(body)).usage for body in failed} == {None}
