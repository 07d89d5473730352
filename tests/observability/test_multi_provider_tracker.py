"""What a workflow gets back for each response, and the totals of all of them."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Message
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st
from ollama import ChatResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from configurable_agents.errors import InvalidValueError
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.observability.multi_provider_tracker import (
    MODELS_MAX,
    OTHER_NAME,
    MultiProviderCostTracker,
    merged_costs,
    summary_from_json,
)
from configurable_agents.observability.usage import read_usage
from configurable_agents.telemetry import TOKEN_CLASSES, PriceStatus, Usage

AT_NS = 1_767_225_600 * 10**9  # 2026-01-01


def openai_chat(
    model: str = "gpt-4o", prompt: int = 1_000, completion: int = 500, **details: Any
) -> ChatCompletion:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **details,
    }
    message = {"role": "assistant", "content": "hello"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return ChatCompletion.model_validate(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
        }
    )


def anthropic_message() -> Message:
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 40,
    }
    return Message.model_validate(
        {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "usage": usage,
        }
    )


def gemini_answer() -> GenerateContentResponse:
    usage = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 6,
        "totalTokenCount": 20,
    }
    return GenerateContentResponse.model_validate(
        {"modelVersion": "gemini-2.5-flash", "usageMetadata": usage}
    )


def gemini_from_wire(body: dict[str, Any]) -> GenerateContentResponse:
    """As the SDK itself reads an answer."""
    return GenerateContentResponse._from_response(response=body, kwargs={})


def ollama_answer() -> ChatResponse:
    message = {"role": "assistant", "content": "hi"}
    return ChatResponse.model_validate(
        {"model": "llama3:8b", "message": message, "done": True, "prompt_eval_count": 7, "eval_count": 3}
    )


def test_a_tracked_call_gives_the_workflow_its_figures() -> None:
    response = openai_chat(
        prompt_tokens_details={"cached_tokens": 400}, completion_tokens_details={"reasoning_tokens": 60}
    )
    assert MultiProviderCostTracker().track_call("openai", "gpt-4o", response) == {
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 1_000,
        "output_tokens": 500,
        "total_tokens": 1_500,
        "cost_usd": 0.007,
        "cost_nanos": 600 * 2_500 + 400 * 1_250 + 500 * 10_000,
        "price_status": "priced",
        "reason": "",
        "tokens": {
            **dict.fromkeys(TOKEN_CLASSES, 0),
            "input": 600,
            "cache_read": 400,
            "output": 440,
            "reasoning": 60,
        },
        "anomalies": [],
    }


@pytest.mark.parametrize(
    ("response", "provider", "model"),
    [
        (openai_chat(), "openai", "gpt-4o"),
        (anthropic_message(), "anthropic", "claude-sonnet-4-5"),
        (gemini_answer(), "google", "gemini-2.5-flash"),
        (ollama_answer(), "ollama", "llama3:8b"),
    ],
    ids=["openai", "anthropic", "google", "ollama"],
)
def test_provider_detection_from_an_sdk_object_alone(response: object, provider: str, model: str) -> None:
    assessed = MultiProviderCostTracker().assess(None, "", response)
    assert (assessed.provider, assessed.model) == (provider, model)
    assert assessed.price.is_known


@pytest.mark.parametrize(
    ("said_provider", "said_model", "provider", "model", "how"),
    [
        ("openai", "gpt-4o", "openai", "gpt-4o", "caller"),
        ("Azure_OpenAI", "gpt-4o", "azure", "gpt-4o", "caller"),
        ("gemini", "models/gemini-2.5-flash", "google", "gemini-2.5-flash", "caller"),
        ("", "groq/llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile", "model_prefix"),
        ("litellm", "anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5", "model_prefix"),
        ("", "llama3:8b", "ollama", "llama3:8b", "model_name"),
        ("", "mistral", "ollama", "mistral", "model_name"),
        ("", "mistral-large-latest", "mistral", "mistral-large-latest", "model_name"),
        ("", "deepseek-chat", "deepseek", "deepseek-chat", "model_name"),
        ("", "house-model", "unknown", "house-model", "unknown"),
    ],
)
def test_provider_detection_order(
    said_provider: str, said_model: str, provider: str, model: str, how: str
) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    assessed = MultiProviderCostTracker().assess(said_provider, said_model, {"usage": usage})
    assert (assessed.provider, assessed.model, assessed.provider_known_by) == (provider, model, how)


def test_the_cost_of_an_unknown_model_is_unknown_and_not_zero() -> None:
    tracker = MultiProviderCostTracker()
    result = tracker.track_call("openai", "gpt-99", openai_chat())
    assert (result["cost_usd"], result["cost_nanos"], result["price_status"]) == (None, None, "unpriced")
    assert result["total_tokens"] == 1_500
    assert tracker.summary().totals.unpriced_tokens == 1_500


def test_a_response_without_usage_is_counted_apart() -> None:
    tracker = MultiProviderCostTracker()
    result = tracker.track_call("openai", "gpt-4o", {"object": "chat.completion.chunk", "choices": []})
    assert (result["cost_usd"], result["price_status"], result["total_tokens"]) == (None, "no_usage", None)
    assert (result["input_tokens"], result["output_tokens"], result["tokens"]) == (None, None, None)
    assert tracker.summary().totals.no_usage_calls == 1
    report = tracker.get_cost_summary()
    assert (report["total_tokens"], report["tokens"]) == (None, None)
    tracker.track_call("openai", "gpt-4o", {"usage": {"prompt_tokens": 5, "completion_tokens": 0}})
    again = tracker.get_cost_summary([tracker.get_cost_summary(), report])
    assert (again["total_tokens"], again["tokens"]["input"], again["coverage"]["no_usage_calls"]) == (5, 5, 2)


def test_a_local_call_costs_zero_and_counts_its_tokens() -> None:
    result = MultiProviderCostTracker().track_call("ollama", "llama3:8b", ollama_answer())
    assert (result["cost_usd"], result["price_status"], result["total_tokens"]) == (0.0, "free", 10)


def test_the_time_of_the_call_decides_the_price() -> None:
    usage = {"usage": {"prompt_tokens": 10**6, "completion_tokens": 0}}
    tracker = MultiProviderCostTracker()
    nanos = [tracker.assess("openai", "o3", usage, at_unix_ns=at).price.cost_nanos for at in (10**18, AT_NS)]
    assert nanos == [10 * 10**9, 2 * 10**9]


def test_batch_and_tier_may_be_said_by_the_caller() -> None:
    usage = {"usage": {"prompt_tokens": 10**6, "completion_tokens": 0}}
    tracker = MultiProviderCostTracker()
    assert tracker.assess("openai", "gpt-5", usage, batch=True).price.cost_nanos == 625_000_000
    assert tracker.assess("openai", "gpt-5", usage, service_tier="priority").price.cost_nanos == 2_500_000_000


class Hostile:
    """Answers every question with an exception."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


ODD_RESPONSES = [
    None,
    0,
    "text",
    b"bytes",
    [],
    {},
    object(),
    Hostile(),
    {"usage": "x"},
    SimpleNamespace(usage=-1),
]


@pytest.mark.parametrize("provider", [None, "", "openai", 5, ["openai"], "p" * 10_000])
@pytest.mark.parametrize("model", [None, "", "gpt-4o", 5.5, {"m": 1}, "m" * 10_000, "a\x00b\ud800"])
def test_nothing_a_workflow_passes_raises(provider: Any, model: Any) -> None:
    tracker = MultiProviderCostTracker()
    for response in ODD_RESPONSES:
        result = tracker.track_call(provider, model, response)
        assert (result["price_status"], result["cost_usd"]) == ("no_usage", None)
        assert len(result["provider"]) <= 64
        assert len(result["model"]) <= 256
    assert tracker.summary().totals.no_usage_calls == len(ODD_RESPONSES)


def test_wrong_types_and_long_names_are_told_as_anomalies() -> None:
    result = MultiProviderCostTracker().track_call(5, "m" * 300, openai_chat())  # type: ignore[arg-type]
    assert result["anomalies"] == ["provider_not_a_string", "model_name_too_long"]
    result = MultiProviderCostTracker().track_call("p" * 300, 7, openai_chat())  # type: ignore[arg-type]
    assert result["anomalies"] == ["provider_name_too_long", "model_not_a_string"]


def test_the_summary_adds_up_by_provider_and_model() -> None:
    tracker = MultiProviderCostTracker()
    calls = [openai_chat(), openai_chat(), openai_chat("gpt-4o-mini"), anthropic_message(), ollama_answer()]
    costs = [tracker.track_call(None, None, call)["cost_nanos"] for call in calls]
    summary = tracker.get_cost_summary()
    assert summary["total_cost_nanos"] == sum(costs)
    assert summary["total_cost_nanos"] == sum(
        part["total_cost_nanos"] for part in summary["by_provider"].values()
    )
    assert summary["by_provider"]["openai"]["call_count"] == 3
    assert set(summary["by_provider"]["openai"]["models"]) == {"gpt-4o", "gpt-4o-mini"}
    assert summary["total_tokens"] == 3 * 1_500 + 1_090 + 10
    assert summary["most_expensive_provider"] == "openai"


def test_a_failed_call_is_costed_and_counted_as_failed() -> None:
    tracker = MultiProviderCostTracker()
    tracker.add(tracker.assess("openai", "gpt-4o", openai_chat()), failed=True)
    totals = tracker.summary().totals
    assert (totals.failed_calls, totals.cost_nanos) == (1, 7_500_000)


def test_calls_of_many_threads_are_all_counted() -> None:
    tracker = MultiProviderCostTracker()
    response = openai_chat()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for call in range(200):
            tracker.track_call("openai", "gpt-4o" if call % 2 else f"other-{number}", response)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = tracker.summary().totals
    assert (totals.calls, totals.priced_calls, totals.cost_nanos) == (1_600, 800, 800 * 7_500_000)


@pytest.mark.parametrize("at", ["_add_up", "_add_once", "_add", "summary", "_look_up", "_make_room"])
def test_a_call_tracked_in_the_middle_of_another_is_counted_and_waits_for_nothing(at: str) -> None:
    """As by the garbage collector or a signal handler: between any two steps of the same thread."""
    tracker = MultiProviderCostTracker(counts_responses_once=True)
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    inner: list[str] = []

    def step(frame: Any, event: str, _: object) -> None:
        if event in ("call", "return") and frame.f_code.co_name == at and not inner:
            inner.append("called")
            tracker.track_call("openai", "gpt-4o", {"id": "inner", "usage": usage})

    def work() -> None:
        sys.setprofile(step)
        tracker.track_call("openai", "gpt-4o-mini", {"id": "outer", "usage": usage})
        tracker.summary()
        sys.setprofile(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert inner
    assert tracker.summary().totals.calls == 2


def test_models_beyond_the_limit_are_added_up_together() -> None:
    tracker = MultiProviderCostTracker()
    response = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    for number in range(MODELS_MAX + 10):
        tracker.track_call("house", f"model-{number}", response)
    summary = tracker.summary()
    assert len(summary.models) == MODELS_MAX + 1
    assert summary.totals.calls == MODELS_MAX + 10
    assert next(entry for entry in summary.models if entry.model == OTHER_NAME).totals.calls == 10


def test_summaries_of_several_runs_are_summed() -> None:
    tracker = MultiProviderCostTracker()
    tracker.track_call(None, None, openai_chat())
    one = json.loads(json.dumps(tracker.get_cost_summary()))
    tracker.track_call(None, None, anthropic_message())
    two = tracker.get_cost_summary()
    both = tracker.get_cost_summary(runs=[one, two])
    assert both["total_cost_nanos"] == one["total_cost_nanos"] + two["total_cost_nanos"]
    assert (both["run_count"], both["call_count"]) == (2, 3)
    assert both["tokens"]["cache_read"] == 900


@pytest.mark.parametrize(
    "wrong", [[{}], [{"by_provider": []}], [{"by_provider": {"p": {"models": {"m": {}}}}}], [5]]
)
def test_what_is_no_summary_is_refused(wrong: list[Any]) -> None:
    with pytest.raises(InvalidValueError, match="get_cost_summary"):
        MultiProviderCostTracker().get_cost_summary(runs=wrong)


def test_no_runs_cost_nothing() -> None:
    assert merged_costs([]).summary == CostSummary()


statuses = st.sampled_from(list(PriceStatus))
entries = st.builds(
    ModelCost,
    st.sampled_from(["openai", "x/y"]),
    st.sampled_from(["a", "b/c", ""]),
    st.builds(
        CallTotals.of_call,
        st.builds(Usage, *[st.integers(0, 10**6)] * 9),
        statuses,
        st.integers(0, 10**12),
        failed=st.booleans(),
    ),
)


@given(st.lists(entries, max_size=12), st.randoms())
def test_a_summary_is_the_same_in_any_order_and_survives_json(parts: list[ModelCost], random: Any) -> None:
    summary = CostSummary.of(parts, run_count=1)
    assert CostSummary.of(random.sample(parts, len(parts)), run_count=1) == summary
    assert summary_from_json(json.loads(json.dumps(summary.to_json()))) == summary


# --- recordings made by others ---------------------------------------------------------------------


def recorded(shared_data: Path, name: str) -> list[dict[str, Any]]:
    with (shared_data / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# The fields whose sum each provider documents as the whole, by a field that tells which; the first wins.
WHOLES = {
    "prompt_tokens": ("prompt_tokens", "completion_tokens"),
    "cacheReadInputTokens": ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    "cacheReadInputTokenCount": (
        *("inputTokens", "outputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
    ),
    "inputTokens": ("inputTokens", "outputTokens"),
    "total_tokens": ("total_tokens",),
    "input_tokens": (
        *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    ),
    "eval_count": ("prompt_eval_count", "eval_count"),
    "candidatesTokenCount": (
        *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"),
    ),
    "promptTokenCount": ("promptTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"),
}


def total_by_the_providers_rule(usage: dict[str, Any]) -> int:
    """All tokens of a recorded usage, worked out without the code under test."""
    usage = usage.get("billed_units", usage)
    steps = usage.get("iterations") or [usage]
    mark = next(name for name in WHOLES if name in usage)
    return sum(step.get(name) or 0 for step in steps for name in WHOLES[mark])


# provider -> recorded calls whose model, or a class of whose tokens, the price table has no rate for
UNPRICED = {
    "anthropic": 3,  # an advisor of another model
    "aws": 4,  # claude-v2, minimax-m2, kimi-k2-thinking
    "cerebras": 2,  # qwen-3-coder-480b is listed without rates
    "crusoe": 2,
    "google": 6,  # 4 made images, 2 read audio from a cache
    "groq": 3,  # compound
    "huggingface": 1,
    "ollama-cloud": 1,
    "openai": 4,  # audio where only text has a rate
    "openrouter": 2,  # a free model and grok-4
    "snowflake": 6,
    "together": 3,  # DeepSeek-R1
}


WITHOUT_A_PRICE = {
    "the response carried no usage: no_response": 52,  # errors, and streams that were not asked for it
    "the response carried no usage: unknown_response_shape": 3,  # a guardrail's units
    "the usage of the response cannot be used: no_token_counts": 2,  # rerankers
    "the usage of the response cannot be used: only_total_tokens": 3,  # countTokens
    "cached_audio_tokens have a rate of their own and are not counted apart": 2,
    "image_output_tokens have a rate of their own and are not counted apart": 4,
    "part of it was served by another model, at other rates": 3,
    "the price table does not know the model": 21,
    "the price table has no rate for audio_input tokens of this model": 4,
    "the price table has no rate for input tokens of this model": 3,  # listed without rates
}


@pytest.mark.shared_data
def test_every_recorded_usage_has_its_tokens_and_a_price_or_a_reason(shared_data: Path) -> None:
    tracker = MultiProviderCostTracker()
    rows = recorded(shared_data, "usages.jsonl")
    found: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in rows:
        model = row["model"] or row["req_model"]
        assessed = tracker.assess(row["provider"], model, row["usage"], at_unix_ns=AT_NS)
        tracker.add(assessed)
        price, usage = assessed.price, assessed.reading.usage
        found[price.status.value] += 1
        assert (usage.total_tokens if usage else 0) == (
            total_by_the_providers_rule(row["usage"]) if usage else 0
        ), row
        assert price.reason or (price.status is PriceStatus.PRICED and price.cost_nanos > 0), row
        if not price.is_known:
            reasons[price.reason] += 1
        if usage is None:
            assert price.status is PriceStatus.NO_USAGE
            assert row["usage"] is None or assessed.reading.anomalies, row
    assert len(rows) == 1_329
    by_provider = tracker.summary().by_provider().items()
    assert {name: part.unpriced_calls for name, part in by_provider if part.unpriced_calls} == UNPRICED
    assert reasons == WITHOUT_A_PRICE
    assert found == {"priced": 1_223, "no_usage": 60, "unpriced": sum(UNPRICED.values()), "free": 9}
    assert tracker.summary().totals.calls == 1_329


NUMBERED_MODALITIES = "2e7fff4b93"
"""Recorded from another client; the SDK refuses its numbers for modalities."""


@pytest.mark.shared_data
def test_recorded_bodies_read_the_same_as_their_usage_through_the_real_sdks(shared_data: Path) -> None:
    parsers = {
        ("openai", "chat"): lambda body: ChatCompletion.construct(**body),
        ("groq", "chat"): lambda body: ChatCompletion.construct(**body),
        ("openai", "responses"): lambda body: Response.construct(**body),
        ("anthropic", "messages"): lambda body: Message.construct(**body),
        ("google-gemini", "generateContent"): gemini_from_wire,
        ("google-vertex", "generateContent"): gemini_from_wire,
        ("ollama", "ollama-chat"): ChatResponse.model_validate,
    }
    seen: Counter[tuple[str, str]] = Counter()
    for row in recorded(shared_data, "replay_bodies.jsonl"):
        kind = (row["provider"], row["flavor"])
        if kind not in parsers or row["status"] != 200 or row["stream"] or not row["response"]:
            continue
        if row["id"] == NUMBERED_MODALITIES:
            continue
        body = json.loads(row["response"])
        from_object, from_dict = read_usage(parsers[kind](body)), read_usage(body)
        from_usage = read_usage(row["usage"], provider=row["provider"])
        assert from_object.usage == from_dict.usage, row["id"]
        assert from_object.model == from_dict.model, row["id"]
        if from_usage.usage is not None and from_dict.shape != "openai.responses":
            assert from_dict.usage == from_usage.usage, row["id"]
        assert from_object.shape, row["id"]
        seen[kind] += 1
    assert min(seen.values()) >= 4
    assert set(seen) == set(parsers)


@pytest.mark.shared_data
def test_litellm_responses_give_the_tokens_the_provider_stated(shared_data: Path) -> None:
    """LiteLLM keeps the sum, but its own cost is never believed."""
    compared = 0
    for row in recorded(shared_data, "litellm_responses.jsonl"):
        through, stated = read_usage(row["litellm_response"]), read_usage(row["stated_usage"])
        assert through.stated_cost_nanos is None
        if through.usage is not None and stated.usage is not None and "iterations" not in row["stated_usage"]:
            assert through.usage.total_tokens == stated.usage.total_tokens, row["case"]
            assert through.usage.cache_read_tokens == stated.usage.cache_read_tokens, row["case"]
            compared += 1
    assert compared >= 40
