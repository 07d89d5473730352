"""Who served a call: the caller's word, the model's prefix, the response's shape, the model's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.observability.providers import canonical_provider, detect_provider, normalise_model

BY_NAME = {
    "openai": [
        "gpt-4o",
        "gpt-5.6-sol",
        "o3",
        "o4-mini",
        "chatgpt-4o-latest",
        "text-embedding-3-small",
        "whisper-1",
    ],
    "anthropic": ["claude-sonnet-4-5-20250929", "claude-3-5-haiku-latest", "claude-sonnet-4-5@20250929"],
    "google": ["gemini-2.5-flash", "models/gemini-2.5-flash", "gemini-embedding-2", "gemma-3-27b-it"],
    "mistral": [
        "mistral-large-latest",
        "mistral-small-latest",
        "codestral-latest",
        "open-mistral-7b",
        "pixtral-12b",
    ],
    "deepseek": ["deepseek-chat", "deepseek-reasoner", "deepseek-v4-flash"],
    "xai": ["grok-4", "grok-3-mini"],
    "cohere": ["command-r7b-12-2024", "embed-v4.0", "rerank-english-v2.0"],
    "voyage": ["voyage-3.5"],
    "aws": [
        "us.amazon.nova-micro-v1:0",
        "anthropic.claude-v2",
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
    ],
    "ollama": [
        "llama3",
        "llama3:8b",
        "mistral",
        "mistral:7b",
        "qwen2.5:7b",
        "phi",
        "gemma",
        "deepseek-r1:7b",
    ],
    "ollama-cloud": ["gpt-oss:120b-cloud", "glm-4.6:cloud"],
    "unknown": [
        "",
        "my-deployment",
        "llama-3.3-70b-versatile",
        "meta-llama/Llama-3.3-70B-Instruct",
        "x" * 10_000,
    ],
}


@pytest.mark.parametrize(
    ("provider", "model"), [(name, model) for name in BY_NAME for model in BY_NAME[name]]
)
def test_a_models_name_alone_tells_its_provider(provider: str, model: str) -> None:
    assert detect_provider(model).provider == provider


def test_the_caller_is_believed_before_all_else() -> None:
    found = detect_provider("openai/gpt-oss-120b", provider="Groq ", shape_provider="openai")
    assert found == ("groq", "caller")


def test_the_prefix_of_the_model_is_believed_before_the_response() -> None:
    assert detect_provider("groq/llama-3.3-70b", shape_provider="openai") == ("groq", "model_prefix")


def test_the_response_is_believed_before_the_models_name() -> None:
    assert detect_provider("gpt-4o", shape_provider="azure") == ("azure", "response_shape")


def test_a_hosted_model_of_ollama_is_not_taken_for_a_local_one() -> None:
    assert detect_provider("gpt-oss:120b-cloud", provider="ollama").provider == "ollama-cloud"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("gemini", "google"),
        ("google-vertex", "google"),
        ("vertex_ai", "google"),
        ("google_genai", "google"),
        ("azure-openai", "azure"),
        ("az.ai.openai", "azure"),
        ("aws-bedrock", "aws"),
        ("x-ai", "xai"),
        ("Together_AI", "together"),
        ("litellm", ""),
        ("portkey", ""),
        ("  ", ""),
        ("in-house", "in-house"),
    ],
)
def test_each_provider_has_one_name_and_gateways_have_none(written: str, canonical: str) -> None:
    assert canonical_provider(written) == canonical


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "openai:gpt-4o", "gpt-4o"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openrouter", "openrouter/openai/gpt-5", "openai/gpt-5"),
        ("ollama", "mistral:7b", "mistral:7b"),
        ("ollama", "ollama/llama3:8b", "llama3:8b"),
        ("aws", "us.amazon.nova-micro-v1%3A0", "us.amazon.nova-micro-v1:0"),
        (
            "aws",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2",
            "anthropic.claude-v2",
        ),
        ("fireworks", "accounts/fireworks/models/llama-v3", "accounts/fireworks/models/llama-v3"),
        ("openai", "openai/", "openai/"),
        ("", "", ""),
    ],
)
def test_a_model_is_shown_by_its_providers_own_name(provider: str, model: str, name: str) -> None:
    assert normalise_model(provider, model) == name


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=40))
def test_any_text_has_a_provider_and_a_bounded_name(model: str, provider: str, shape: str) -> None:
    found = detect_provider(model, provider=provider, shape_provider=shape)
    assert found.provider
    assert len(normalise_model(found.provider, model)) <= 256
