"""Usages as providers state them, and what they mean by each provider's own rules, worked out by hand."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.observability.usage import COUNT_MAX, ModelUsage, UsageReading, read_usage
from configurable_agents.telemetry import Usage


def tokens(fresh: int = 0, out: int = 0, **others: int) -> Usage:
    """Fresh input and visible output, then the other classes by their short names."""
    names = {"read": "cache_read_tokens", "write": "cache_write_tokens", "write_1h": "cache_write_1h_tokens"}
    names |= {"think": "reasoning_tokens", "heard": "audio_input_tokens", "spoken": "audio_output_tokens"}
    names |= {"searches": "web_searches"}
    return Usage(
        input_tokens=fresh, output_tokens=out, **{names[name]: count for name, count in others.items()}
    )


def modalities(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def step(fresh: int, out: int, *, kind: str = "message", write: int = 0, **more: Any) -> dict[str, Any]:
    """One entry of Anthropic's `iterations`."""
    lifetimes = {"ephemeral_5m_input_tokens": write, "ephemeral_1h_input_tokens": 0}
    counts = {"input_tokens": fresh, "output_tokens": out, "cache_creation_input_tokens": write}
    return {"type": kind, **counts, "cache_read_input_tokens": 0, "cache_creation": lifetimes, **more}


# provider, usage as the response states it, the API recognised, what it means
STATED = {
    "openai chat": (
        "openai",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 300,
            "total_tokens": 1300,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 0},
        },
        "openai.chat",
        tokens(600, 100, read=400, think=200),
    ),
    "openai chat, no details": (
        "openai",
        {"prompt_tokens": 63, "completion_tokens": 15, "total_tokens": 78},
        "openai.chat",
        tokens(63, 15),
    ),
    "openai chat, details are null": (
        "huggingface",
        {
            "completion_tokens": 38,
            "completion_tokens_details": None,
            "prompt_tokens": 448,
            "prompt_tokens_details": None,
            "total_tokens": 486,
        },
        "openai.chat",
        tokens(448, 38),
    ),
    "openai chat with audio in and out": (
        "openai",
        {
            "prompt_tokens": 81,
            "completion_tokens": 72,
            "total_tokens": 153,
            "prompt_tokens_details": {"audio_tokens": 69, "cached_tokens": 0, "text_tokens": 12},
            "completion_tokens_details": {"audio_tokens": 50, "reasoning_tokens": 0, "text_tokens": 22},
        },
        "openai.chat",
        tokens(12, 22, heard=69, spoken=50),
    ),
    "openai embeddings": (
        "openai",
        {"prompt_tokens": 20, "total_tokens": 20},
        "openai.embeddings",
        tokens(20),
    ),
    "openai responses": (
        "openai",
        {
            "input_tokens": 9299,
            "input_tokens_details": {"cached_tokens": 8448},
            "output_tokens": 577,
            "output_tokens_details": {"reasoning_tokens": 512},
            "total_tokens": 9876,
        },
        "openai.responses",
        tokens(851, 65, read=8448, think=512),
    ),
    "openai responses with a cache write": (
        "openai",
        {
            "input_tokens": 8576,
            "input_tokens_details": {"cache_write_tokens": 4418, "cached_tokens": 0},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 32},
            "total_tokens": 8628,
        },
        "openai.responses",
        tokens(4158, 20, write=4418, think=32),
    ),
    "azure responses": (
        "azure-openai",
        {
            "input_tokens": 18,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 16,
            "output_tokens_details": {"reasoning_tokens": 9},
            "total_tokens": 34,
        },
        "openai.responses",
        tokens(18, 7, think=9),
    ),
    "anthropic without details": (
        "anthropic",
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1733,
            "output_tokens": 568,
        },
        "anthropic.messages",
        tokens(21, 568, read=1733),
    ),
    "anthropic with both cache lifetimes, thinking and searches": (
        "anthropic",
        {
            "input_tokens": 6,
            "cache_creation_input_tokens": 700,
            "cache_read_input_tokens": 20443,
            "cache_creation": {"ephemeral_5m_input_tokens": 574, "ephemeral_1h_input_tokens": 126},
            "output_tokens": 489,
            "output_tokens_details": {"thinking_tokens": 77},
            "server_tool_use": {"web_fetch_requests": 1, "web_search_requests": 2},
            "service_tier": "standard",
        },
        "anthropic.messages",
        tokens(6, 412, read=20443, write=574, write_1h=126, think=77, searches=2),
    ),
    "anthropic through bedrock, two fields only": (
        "aws-bedrock",
        {"input_tokens": 38, "output_tokens": 246},
        "anthropic.messages",
        tokens(38, 246),
    ),
    "anthropic after compaction: the iterations are the bill": (
        "anthropic",
        {
            **step(220, 8),
            "iterations": [step(55196, 125, kind="compaction"), step(220, 8)],
        },
        "anthropic.messages",
        tokens(55416, 133),
    ),
    "anthropic after compaction into the cache": (
        "anthropic",
        {**step(229, 5), "iterations": [step(100, 131, kind="compaction", write=55096), step(229, 5)]},
        "anthropic.messages",
        tokens(329, 136, write=55096),
    ),
    "anthropic with an advisor": (
        "anthropic",
        {
            **step(2390, 121),
            "output_tokens_details": {"thinking_tokens": 28},
            "iterations": [
                step(1128, 110),
                step(2518, 22, kind="advisor_message", model="claude-opus-4-8"),
                step(1262, 11),
            ],
        },
        "anthropic.messages",
        tokens(4908, 115, think=28),
    ),
    "gemini": (
        "google-gemini",
        {
            "promptTokenCount": 277,
            "candidatesTokenCount": 125,
            "totalTokenCount": 1080,
            "thoughtsTokenCount": 678,
            "promptTokensDetails": modalities(TEXT=19, IMAGE=258),
            "serviceTier": "standard",
        },
        "google.generate_content",
        tokens(277, 125, think=678),
    ),
    "gemini with tool use beside the prompt": (
        "google-gemini",
        {
            "promptTokenCount": 32,
            "candidatesTokenCount": 341,
            "totalTokenCount": 1196,
            "toolUsePromptTokenCount": 720,
            "thoughtsTokenCount": 103,
        },
        "google.generate_content",
        tokens(752, 341, think=103),
    ),
    "gemini with video, audio and a cache of both": (
        "google-gemini",
        {
            "cacheTokensDetails": modalities(AUDIO=1881, TEXT=15, VIDEO=15483),
            "cachedContentTokenCount": 17379,
            "candidatesTokenCount": 68,
            "promptTokenCount": 17713,
            "promptTokensDetails": modalities(TEXT=16, VIDEO=15780, AUDIO=1917),
            "thoughtsTokenCount": 821,
            "totalTokenCount": 18602,
        },
        "google.generate_content",
        tokens(298, 68, read=17379, heard=36, think=821),
    ),
    "gemini with audio": (
        "google-gemini",
        {
            "promptTokenCount": 189,
            "candidatesTokenCount": 73,
            "totalTokenCount": 262,
            "promptTokensDetails": modalities(TEXT=85, AUDIO=104),
        },
        "google.generate_content",
        tokens(85, 73, heard=104),
    ),
    "gemini, refused before it answered": (
        "google-gemini",
        {"promptTokenCount": 14, "totalTokenCount": 14, "promptTokensDetails": modalities(TEXT=14)},
        "google.generate_content",
        tokens(14),
    ),
    "gemini embedding": (
        "google-gemini",
        {"promptTokenCount": 11, "promptTokenDetails": modalities(TEXT=11)},
        "google.generate_content",
        tokens(11),
    ),
    "gemini without a prompt count": (
        "google-gemini",
        {"candidatesTokenCount": 18, "thoughtsTokenCount": 58},
        "google.generate_content",
        tokens(0, 18, think=58),
    ),
    "gemini in snake case": (
        "google",
        {
            "prompt_token_count": 100,
            "cached_content_token_count": 40,
            "candidates_token_count": 9,
            "thoughts_token_count": 1,
            "total_token_count": 110,
        },
        "google.generate_content",
        tokens(60, 9, read=40, think=1),
    ),
    "vertex with numbers for modalities": (
        "google-vertex",
        {
            "promptTokenCount": 9,
            "totalTokenCount": 13,
            "trafficType": 1,
            "promptTokensDetails": [{"modality": 1, "tokenCount": 5}, {"modality": 4, "tokenCount": 4}],
            "thoughtsTokenCount": 4,
        },
        "google.generate_content",
        tokens(5, 0, heard=4, think=4),
    ),
    "gemini interactions": (
        "google-gemini",
        {
            "total_tokens": 327,
            "total_input_tokens": 267,
            "input_tokens_by_modality": [
                {"modality": "text", "tokens": 9},
                {"modality": "image", "tokens": 258},
            ],
            "total_cached_tokens": 0,
            "total_output_tokens": 3,
            "total_tool_use_tokens": 0,
            "total_thought_tokens": 57,
        },
        "google.interactions",
        tokens(267, 3, think=57),
    ),
    "ollama": (
        "ollama",
        {"prompt_eval_count": 310, "eval_count": 145, "total_duration": 1671921584},
        "ollama.chat",
        tokens(310, 145),
    ),
    "ollama with the whole prompt cached": (
        "ollama",
        {"eval_count": 145, "total_duration": 1671921584},
        "ollama.chat",
        tokens(0, 145),
    ),
    "bedrock converse": (
        "aws-bedrock",
        {
            "cacheDetails": [{"inputTokens": 97, "ttl": "1h"}, {"inputTokens": 200, "ttl": "5m"}],
            "cacheReadInputTokenCount": 2074,
            "cacheReadInputTokens": 2074,
            "cacheWriteInputTokenCount": 297,
            "cacheWriteInputTokens": 297,
            "inputTokens": 3,
            "outputTokens": 61,
            "serverToolUsage": {},
            "totalTokens": 2435,
        },
        "bedrock.converse",
        tokens(3, 61, read=2074, write=200, write_1h=97),
    ),
    "nova invoked by itself": (
        "aws-bedrock",
        {
            "inputTokens": 12,
            "outputTokens": 13,
            "cacheReadInputTokenCount": 5,
            "cacheWriteInputTokenCount": 7,
        },
        "bedrock.converse",
        tokens(12, 13, read=5, write=7),
    ),
    "cohere bills its billed units": (
        "cohere",
        {
            "billed_units": {"input_tokens": 2406, "output_tokens": 2},
            "cached_tokens": 2928,
            "tokens": {"input_tokens": 2935, "output_tokens": 4},
        },
        "cohere.chat",
        tokens(2406, 2),
    ),
    "cohere embedding": (
        "cohere",
        {"api_version": {"version": "2"}, "billed_units": {"image_tokens": 0, "input_tokens": 4}},
        "cohere.chat",
        tokens(4),
    ),
    "mistral": (
        "mistral",
        {"completion_tokens": 155, "num_cached_tokens": 976, "prompt_tokens": 997, "total_tokens": 1152},
        "openai.chat",
        tokens(21, 155, read=976),
    ),
    "together": (
        "together",
        {"prompt_tokens": 198, "completion_tokens": 24, "total_tokens": 222, "cached_tokens": 100},
        "openai.chat",
        tokens(98, 24, read=100),
    ),
    "deepseek": (
        "deepseek",
        {
            "prompt_tokens": 60,
            "completion_tokens": 212,
            "total_tokens": 272,
            "completion_tokens_details": {"reasoning_tokens": 198},
            "prompt_cache_hit_tokens": 54,
            "prompt_cache_miss_tokens": 6,
        },
        "openai.chat",
        tokens(6, 14, read=54, think=198),
    ),
    "groq": (
        "groq",
        {
            "queue_time": 0.005354561,
            "prompt_tokens": 343,
            "prompt_time": 0.016828877,
            "completion_tokens": 180,
            "total_tokens": 523,
            "completion_tokens_details": {"reasoning_tokens": 153},
        },
        "openai.chat",
        tokens(343, 27, think=153),
    ),
    "xai leaves reasoning out of the completion": (
        "xai",
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 356,
            "completion_tokens_details": {"reasoning_tokens": 315},
        },
        "openai.chat",
        tokens(32, 9, think=315),
    ),
    "xai through openrouter does not": (
        "openrouter",
        {
            "completion_tokens": 240,
            "completion_tokens_details": {"reasoning_tokens": 165},
            "prompt_tokens": 687,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 682},
            "total_tokens": 927,
        },
        "openai.chat",
        tokens(5, 75, read=682, think=165),
    ),
    "voyage states a total only": ("voyage", {"total_tokens": 3}, "voyage.embeddings", tokens(3)),
    "langchain": (
        "",
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "total_tokens": 590,
            "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
        "langchain",
        tokens(40, 30, read=100, write=200, heard=10, think=200, spoken=10),
    ),
    "langchain puts an hour's cache writes apart and its whole at 0": (
        "",
        {
            "input_tokens": 1000,
            "output_tokens": 10,
            "total_tokens": 1010,
            "input_token_details": {
                "cache_read": 100,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 300,
                "ephemeral_1h_input_tokens": 500,
            },
        },
        "langchain",
        tokens(100, 10, read=100, write=300, write_1h=500),
    ),
    "langchain puts the tier before its names": (
        "",
        {
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1100,
            "input_token_details": {"flex_cache_read": 700, "flex_cache_creation": 50, "flex": 300},
            "output_token_details": {"flex_reasoning": 60, "flex": 40},
        },
        "langchain",
        tokens(250, 40, read=700, write=50, think=60),
    ),
    "openai realtime counts cached audio in both": (
        "openai",
        {
            "total_tokens": 1100,
            "input_tokens": 1000,
            "output_tokens": 100,
            "input_token_details": {
                "text_tokens": 600,
                "audio_tokens": 400,
                "cached_tokens": 500,
                "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300},
            },
            "output_token_details": {"text_tokens": 20, "audio_tokens": 80},
        },
        "openai.transcriptions",
        tokens(400, 20, read=500, heard=100, spoken=80),
    ),
    "openai transcription": (
        "openai",
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"audio_tokens": 10, "text_tokens": 4},
            "output_tokens": 45,
            "total_tokens": 59,
        },
        "openai.transcriptions",
        tokens(4, 45, heard=10),
    ),
    "litellm turns anthropic's rule into openai's": (
        "litellm",
        {
            "completion_tokens": 489,
            "prompt_tokens": 21023,
            "total_tokens": 21512,
            "completion_tokens_details": {"reasoning_tokens": 77, "text_tokens": 412},
            "prompt_tokens_details": {
                "cached_tokens": 20443,
                "cache_creation_tokens": 574,
                "cache_creation_token_details": {"ephemeral_1h_input_tokens": 74},
            },
            "server_tool_use": {"web_search_requests": 1},
            "cache_creation_input_tokens": 574,
            "cache_read_input_tokens": 20443,
        },
        "litellm",
        tokens(6, 412, read=20443, write=500, write_1h=74, think=77, searches=1),
    ),
}


@pytest.mark.parametrize("case", STATED)
def test_a_usage_means_what_its_provider_says_it_means(case: str) -> None:
    provider, stated, shape, meant = STATED[case]
    reading = read_usage(stated, provider=provider)
    assert (reading.usage, reading.shape) == (meant, shape)


@pytest.mark.parametrize("case", STATED)
def test_an_object_with_the_same_fields_reads_the_same(case: str) -> None:
    provider, stated, shape, meant = STATED[case]
    as_object = json.loads(json.dumps(stated), object_hook=lambda fields: SimpleNamespace(**fields))
    reading = read_usage(SimpleNamespace(usage=as_object), provider=provider)
    assert reading.usage == meant
    assert reading.shape == shape


# what a response says that is not a count of tokens, and what cannot be believed
ODD = {
    "only a total": ({"totalTokenCount": 3512}, None, ("only_total_tokens",)),
    "only a total, openai's name": ({"total_tokens": 12}, None, ("only_total_tokens",)),
    "only a traffic type": ({"trafficType": "ON_DEMAND"}, None, ("no_token_counts",)),
    "search units": ({"billed_units": {"search_units": 1}}, None, ("no_token_counts",)),
    "all zero": ({"prompt_tokens": 0, "completion_tokens": 0}, None, ("zero_tokens",)),
    "negative": ({"prompt_tokens": -1, "completion_tokens": 5}, None, ("negative_token_count",)),
    "a half token": ({"prompt_tokens": 1.5, "completion_tokens": 5}, None, ("token_count_not_an_integer",)),
    "text": ({"prompt_tokens": "12", "completion_tokens": 5}, None, ("token_count_not_an_integer",)),
    "a truth value": ({"prompt_tokens": True}, None, ("token_count_not_an_integer",)),
    "no number": ({"prompt_tokens": math.nan}, None, ("token_count_not_an_integer",)),
    "infinite": ({"prompt_tokens": math.inf}, None, ("token_count_not_an_integer",)),
    "10^18 tokens": ({"input_tokens": 10**18, "output_tokens": 1}, None, ("implausible_token_count",)),
    "a whole float": ({"prompt_tokens": 12.0, "completion_tokens": 5}, tokens(12, 5), ()),
    "cached > input": (
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 15}},
        tokens(0, 5, read=10),
        ("cached_exceeds_input",),
    ),
    "reasoning > output": (
        {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 9}},
        tokens(10, 0, think=5),
        ("reasoning_exceeds_output",),
    ),
    "audio > what is left": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 4,
            "total_tokens": 24,
            "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 4},
        },
        tokens(17, 0, read=1, heard=2, think=3, spoken=1),
        ("audio_exceeds_output",),
    ),
    "a total of something else": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40},
        tokens(10, 5),
        ("total_tokens_differ",),
    ),
    "cache writes that do not add up": (
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
        },
        tokens(1, 1, write=8, write_1h=2),
        ("cache_write_parts_differ",),
    ),
    "iterations that cannot be read": (
        {**step(5, 6), "iterations": [step(-5, 6), "x"]},
        tokens(5, 6),
        ("iterations_unreadable",),
    ),
    "images made": (
        {
            "promptTokenCount": 9,
            "candidatesTokenCount": 1295,
            "candidatesTokensDetails": modalities(IMAGE=1290),
        },
        tokens(9, 1295),
        ("image_output_tokens",),
    ),
    "inference in the us": (
        {"input_tokens": 5, "output_tokens": 6, "inference_geo": "us"},
        tokens(5, 6),
        ("inference_geo_us",),
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_usage_is_unknown_or_cut_and_says_so(case: str) -> None:
    stated, meant, anomalies = ODD[case]
    reading = read_usage({"usage": stated})
    assert (reading.usage, reading.anomalies) == (meant, anomalies)


@pytest.mark.parametrize(
    "nothing", [None, 0, 1.5, True, "", "usage", b"x", [], [1], (), object(), {}, {"usage": None}]
)
def test_what_is_no_response_has_no_usage_and_an_anomaly(nothing: object) -> None:
    reading = read_usage(nothing)
    assert reading.usage is None
    assert reading.anomalies


@pytest.mark.parametrize("usage", ["12 tokens", 12, [1, 2], True])
def test_a_usage_that_is_no_object_is_unknown(usage: object) -> None:
    assert read_usage({"model": "gpt-4o", "usage": usage}).anomalies == ("usage_not_an_object",)


def test_a_response_without_usage_keeps_its_shape_and_model() -> None:
    chunk = {"object": "chat.completion.chunk", "model": "gpt-4o", "id": "c1", "choices": [], "usage": None}
    assert read_usage(chunk) == UsageReading(shape="openai.chat", model="gpt-4o", response_id="c1")


def test_an_error_body_is_called_one() -> None:
    assert read_usage({"error": {"message": "no such model"}}).anomalies == ("error_response",)


def test_an_object_whose_attributes_raise_is_unreadable() -> None:
    class Trap:
        @property
        def usage(self) -> object:
            raise RuntimeError("no")

    assert read_usage(Trap()).anomalies == ("unreadable_response",)


def test_an_advisors_tokens_are_in_the_sum_and_named() -> None:
    reading = read_usage(STATED["anthropic with an advisor"][1])
    assert "iterations_of_other_model" in reading.anomalies
    assert reading.other_models == (ModelUsage("claude-opus-4-8", tokens(2518, 22)),)


def test_searches_are_counted_from_the_output_of_a_responses_call() -> None:
    calls = [
        {"type": "web_search_call", "action": {"type": kind}} for kind in ("search", "open_page", "search")
    ]
    response = {
        "object": "response",
        "usage": STATED["openai responses"][1],
        "output": [*calls, {"type": "message"}],
    }
    usage = read_usage(response).usage
    assert usage is not None
    assert usage.web_searches == 2


def test_the_event_that_ends_a_responses_stream_is_unwrapped() -> None:
    event = {"type": "response.completed", "response": {"id": "r1", "usage": STATED["openai responses"][1]}}
    reading = read_usage(event)
    assert (reading.usage, reading.response_id) == (STATED["openai responses"][3], "r1")


def test_groq_puts_the_usage_of_a_stream_in_its_last_chunk() -> None:
    chunk = {"object": "chat.completion.chunk", "x_groq": {"usage": STATED["groq"][1]}}
    assert read_usage(chunk).usage == STATED["groq"][3]


def test_a_cohere_v1_response_has_its_usage_in_meta() -> None:
    assert read_usage({"meta": {"billed_units": {"input_tokens": 4}}}).usage == tokens(4)


def test_a_grounded_gemini_answer_says_that_its_searches_are_not_counted() -> None:
    candidate = {"groundingMetadata": {"webSearchQueries": ["weather"]}}
    response = {"candidates": [candidate], "usageMetadata": STATED["gemini"][1]}
    assert read_usage(response).anomalies == ("grounding_searches_not_counted",)


# envelope around an OpenAI-style usage -> the provider that left its mark
MARKS = {
    "x_groq": ({"x_groq": {"id": "req"}}, "groq"),
    "fp_ollama": ({"system_fingerprint": "fp_ollama"}, "ollama"),
    "azure filters": ({"prompt_filter_results": []}, "azure"),
    "openrouter": ({"provider": "xAI", "id": "gen-123"}, "openrouter"),
    "nothing": ({"system_fingerprint": "fp_1"}, ""),
}


@pytest.mark.parametrize("case", MARKS)
def test_the_openai_shape_names_a_provider_only_by_its_mark(case: str) -> None:
    envelope, provider = MARKS[case]
    assert (
        read_usage({**envelope, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).provider == provider
    )


# service tiers where each provider states them
TIERS = {
    "openai beside the usage": ({"service_tier": "priority", "usage": {"prompt_tokens": 1}}, "priority"),
    "anthropic inside": (
        {"usage": {"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}},
        "batch",
    ),
    "anthropic fast mode": ({"usage": {"input_tokens": 1, "output_tokens": 1, "speed": "fast"}}, "fast"),
    "gemini": ({"usageMetadata": {"promptTokenCount": 1, "serviceTier": "FLEX"}}, "flex"),
    "vertex": ({"usageMetadata": {"promptTokenCount": 1, "trafficType": "ON_DEMAND"}}, "on_demand"),
    "not text": ({"service_tier": 5, "usage": {"prompt_tokens": 1}}, ""),
    "bedrock": (
        {"usage": {"inputTokens": 1, "outputTokens": 1}, "serviceTier": {"type": "priority"}},
        "priority",
    ),
    "langchain's metadata": (
        {
            "usage_metadata": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
            "response_metadata": {"model_name": "gpt-5", "service_tier": "flex"},
        },
        "flex",
    ),
    "langchain's usage alone": (
        {
            "input_tokens": 100,
            "output_tokens": 9,
            "total_tokens": 109,
            "input_token_details": {"priority": 20, "priority_cache_read": 80},
        },
        "priority",
    ),
    "langchain's sum over calls at two tiers": (
        {
            "input_tokens": 150,
            "output_tokens": 9,
            "total_tokens": 159,
            "input_token_details": {"priority": 20, "priority_cache_read": 80, "cache_read": 10},
        },
        "",
    ),
}


@pytest.mark.parametrize("case", TIERS)
def test_the_service_tier_is_read_where_it_stands(case: str) -> None:
    response, tier = TIERS[case]
    assert read_usage(response).service_tier == tier


CHAT = {"prompt_tokens": 10, "completion_tokens": 5}
# response, provider said, cost in nano-dollars, anomaly
COSTS = {
    "openrouter": ({"id": "gen-1", "provider": "xAI", "usage": {**CHAT, "cost": 0.00014}}, "", 140_000, ""),
    "openrouter, as the caller says": ({"usage": {**CHAT, "cost": 1e-9}}, "openrouter", 1, ""),
    "openrouter with the user's own key": (
        {"usage": {**CHAT, "cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}},
        "",
        210_000_000,
        "",
    ),
    "openrouter, free": ({"usage": {**CHAT, "cost": 0, "is_byok": False}}, "", 0, ""),
    "perplexity": ({"usage": {**CHAT, "cost": {"total_cost": 0.006}}}, "", 6_000_000, ""),
    "xai": ({"usage": {**CHAT, "cost_in_usd_ticks": 37_756_000}}, "xai", 3_775_600, ""),
    "unknown origin": ({"usage": {**CHAT, "cost": 3.15e-05}}, "", None, "stated_cost_of_unknown_origin"),
    "litellm's guess": (
        {"usage": {**CHAT, "cache_read_input_tokens": 0, "cost": 0.0}},
        "openrouter",
        None,
        "stated_cost_of_unknown_origin",
    ),
    "negative": ({"usage": {**CHAT, "cost": -1}}, "openrouter", None, "stated_cost_invalid"),
    "not a number": ({"usage": {**CHAT, "cost": "NaN"}}, "openrouter", None, "stated_cost_invalid"),
    "text": ({"usage": {**CHAT, "cost": "cheap"}}, "openrouter", None, "stated_cost_invalid"),
    "a truth value": ({"usage": {**CHAT, "cost": True}}, "openrouter", None, "stated_cost_invalid"),
    "more than a number can be": (
        {"usage": {**CHAT, "cost": "1e999999999"}},
        "openrouter",
        None,
        "stated_cost_invalid",
    ),
    "more digits than are read": (
        {"usage": {**CHAT, "cost": 10**5_000}},
        "openrouter",
        None,
        "stated_cost_invalid",
    ),
    "all the money there is": ({"usage": {**CHAT, "cost": 1e15}}, "openrouter", None, "stated_cost_invalid"),
}


@pytest.mark.parametrize("case", COSTS)
def test_a_stated_cost_is_believed_only_from_who_charged_it(case: str) -> None:
    response, provider, nanos, anomaly = COSTS[case]
    reading = read_usage(response, provider=provider)
    assert reading.stated_cost_nanos == nanos
    assert reading.anomalies == ((anomaly,) if anomaly else ())


def test_long_names_are_cut_and_the_cut_is_told() -> None:
    reading = read_usage({"model": "m" * 10_000, "usage": CHAT})
    assert (len(reading.model), reading.anomalies) == (256, ("model_name_too_long",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(
    sorted(
        {name for _, stated, _, _ in STATED.values() for name in stated}
        | {"usage", "usageMetadata", "meta", "cost", "iterations", "candidates", "output", "type", "model"}
    )
)
counts = st.integers(-2, 60) | st.just(10**18) | json_values
bodies = st.dictionaries(field_names, counts | st.dictionaries(field_names, counts, max_size=4), max_size=9)


@given(json_values | bodies | st.fixed_dictionaries({"usage": bodies}))
def test_reading_any_json_never_raises_and_never_counts_what_cannot_be(response: object) -> None:
    reading = read_usage(response)
    if reading.usage is not None:
        assert all(type(count) is int and 0 <= count <= 20 * COUNT_MAX for count in reading.usage)
        assert any(reading.usage)
    assert "unreadable_response" not in reading.anomalies


@given(st.lists(st.builds(Usage, *[st.integers(0, 10**9)] * 9), max_size=6), st.randoms())
def test_usages_add_up_in_any_order_and_grouping(usages: list[Usage], random: Any) -> None:
    def summed(parts: list[Usage]) -> Usage:
        total = Usage()
        for part in parts:
            total = total.plus(part)
        return total

    shuffled = random.sample(usages, len(usages))
    half = len(usages) // 2
    assert summed(shuffled) == summed(usages) == summed(usages[:half]).plus(summed(usages[half:]))
