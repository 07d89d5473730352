"""The real SDKs against the simulated providers: they read what it states, and fail as with the real ones."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types

LONG_TEXT = "Answer as the handbook says. " * 400
"""About 2,900 tokens: more than any provider's least cached prompt."""
HELLO = [{"role": "user", "content": "Greet the team in 40 words."}]


def openai_client(simulator: Any, *, key: str = "a key") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{simulator.address}/v1", api_key=key)


def anthropic_client(simulator: Any, *, key: str = "a key") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=simulator.address, api_key=key)


def google_client(simulator: Any, *, key: str = "a key", headers: Any = None) -> genai.Client:
    options = google_types.HttpOptions(base_url=simulator.address, headers=headers)
    return genai.Client(api_key=key, http_options=options)


def chat_tokens(usage: Any) -> dict[str, int]:
    cached = usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details.reasoning_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return {
        "input": usage.prompt_tokens - cached,
        "cache_read": cached,
        "cache_write": 0,
        "output": usage.completion_tokens - reasoning,
        "reasoning": reasoning,
    }


def response_tokens(usage: Any) -> dict[str, int]:
    cached = usage.input_tokens_details.cached_tokens
    reasoning = usage.output_tokens_details.reasoning_tokens
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    return {
        "input": usage.input_tokens - cached,
        "cache_read": cached,
        "cache_write": 0,
        "output": usage.output_tokens - reasoning,
        "reasoning": reasoning,
    }


def anthropic_tokens(usage: Any) -> dict[str, int]:
    return {
        "input": usage.input_tokens,
        "cache_read": usage.cache_read_input_tokens,
        "cache_write": usage.cache_creation_input_tokens,
        "output": usage.output_tokens,
        "reasoning": 0,
    }


def google_tokens(usage: Any) -> dict[str, int]:
    cached = usage.cached_content_token_count or 0
    thoughts = usage.thoughts_token_count or 0
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + thoughts
    return {
        "input": usage.prompt_token_count - cached,
        "cache_read": cached,
        "cache_write": 0,
        "output": usage.candidates_token_count,
        "reasoning": thoughts,
    }


class TestOpenAI:
    def test_a_chat_completion_carries_the_usage_that_was_stated(self, simulator: Any) -> None:
        response = openai_client(simulator).chat.completions.create(model="gpt-4o", messages=HELLO)
        assert response.model == "gpt-4o-2024-08-06"
        assert response.service_tier == "default"
        assert response.choices[0].finish_reason == "stop"
        assert chat_tokens(response.usage) == simulator.last_tokens()
        assert response.usage.prompt_tokens == len(HELLO[0]["content"]) // 4 + 1

    def test_a_reasoning_model_counts_its_reasoning_as_output(self, simulator: Any) -> None:
        response = openai_client(simulator).chat.completions.create(model="gpt-5-mini", messages=HELLO)
        assert response.usage.completion_tokens_details.reasoning_tokens >= 64
        assert chat_tokens(response.usage) == simulator.last_tokens()

    def test_a_stream_that_asks_for_usage_gets_it_in_its_last_chunk(self, simulator: Any) -> None:
        chunks = list(
            openai_client(simulator).chat.completions.create(
                model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
        )
        assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].choices == []
        assert chat_tokens(chunks[-1].usage) == simulator.last_tokens()

    def test_a_stream_that_does_not_ask_for_usage_gets_none(self, simulator: Any) -> None:
        create = openai_client(simulator).chat.completions.create
        chunks = list(create(model="gpt-4o", messages=HELLO, stream=True))
        assert all(chunk.usage is None for chunk in chunks)
        assert simulator.last_tokens() is None
        assert simulator.statements()["providers"]["openai"]["calls_without_usage"] == 1

    def test_a_stream_and_a_whole_response_say_the_same(self, simulator: Any) -> None:
        create = openai_client(simulator).chat.completions.create
        whole = create(model="gpt-4o", messages=HELLO).choices[0].message.content
        chunks = create(model="gpt-4o", messages=HELLO, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole

    def test_a_response_carries_the_usage_that_was_stated(self, simulator: Any) -> None:
        create = openai_client(simulator).responses.create
        response = create(model="gpt-5", instructions="Be brief.", input="Report in 50 words.")
        assert response.model == "gpt-5-2025-08-07"
        assert response.output_text
        assert response_tokens(response.usage) == simulator.last_tokens()

    def test_a_streamed_response_ends_with_the_usage_that_was_stated(self, simulator: Any) -> None:
        with openai_client(simulator).responses.stream(model="gpt-5", input="Report.") as stream:
            response = stream.until_done().get_final_response()
        assert response.status == "completed"
        assert response_tokens(response.usage) == simulator.last_tokens()

    def test_a_long_prompt_is_cached_when_it_begins_as_an_earlier_one(self, simulator: Any) -> None:
        create = openai_client(simulator).chat.completions.create
        handbook = {"role": "system", "content": LONG_TEXT}
        first, second = (
            create(model="gpt-4o", messages=[handbook, {"role": "user", "content": question}]).usage
            for question in ("First?", "Second?")
        )
        cached = second.prompt_tokens_details.cached_tokens
        assert first.prompt_tokens_details.cached_tokens == 0
        assert cached >= 1024
        assert cached % 128 == 0
        assert chat_tokens(second) == simulator.last_tokens()

    def test_a_limit_on_tokens_cuts_the_answer_short(self, simulator: Any) -> None:
        create = openai_client(simulator).chat.completions.create
        response = create(model="gpt-4o", messages=HELLO, max_completion_tokens=10)
        assert response.usage.completion_tokens == 10
        assert response.choices[0].finish_reason == "length"

    def test_a_refused_attempt_is_retried_by_the_sdk(self, simulator: Any) -> None:
        raw = openai_client(simulator).chat.completions.with_raw_response.create(
            model="gpt-4o", messages=HELLO, extra_headers={"X-Simulate-Rate-Limit": "2"}
        )
        assert raw.retries_taken == 2
        assert simulator.statements()["providers"]["openai"]["calls"] == 1

    def test_responses_have_ids_of_their_own(self, simulator: Any) -> None:
        create = openai_client(simulator).chat.completions.create
        assert len({create(model="gpt-4o", messages=HELLO).id for _ in range(5)}) == 5


class TestAnthropic:
    def test_a_message_carries_the_usage_that_was_stated(self, simulator: Any) -> None:
        create = anthropic_client(simulator).messages.create
        message = create(model="claude-haiku-4-5", max_tokens=500, messages=HELLO)
        assert message.model == "claude-haiku-4-5-20251001"
        assert message.stop_reason == "end_turn"
        assert anthropic_tokens(message.usage) == simulator.last_tokens()

    def test_a_marked_block_is_written_to_the_cache_once_and_read_afterwards(self, simulator: Any) -> None:
        system = [{"type": "text", "text": LONG_TEXT, "cache_control": {"type": "ephemeral"}}]
        create = anthropic_client(simulator).messages.create
        first, second = (
            create(model="claude-sonnet-4-6", max_tokens=500, system=system, messages=HELLO).usage
            for _ in range(2)
        )
        assert first.cache_creation_input_tokens == len(LONG_TEXT) // 4
        assert first.cache_read_input_tokens == 0
        assert second.cache_creation_input_tokens == 0
        assert second.cache_read_input_tokens == first.cache_creation_input_tokens
        assert first.input_tokens == second.input_tokens < 20
        assert anthropic_tokens(second) == simulator.last_tokens()

    def test_an_unmarked_prompt_is_never_cached(self, simulator: Any) -> None:
        create = anthropic_client(simulator).messages.create
        for _ in range(2):
            usage = create(model="claude-sonnet-4-6", max_tokens=500, system=LONG_TEXT, messages=HELLO).usage
        assert usage.cache_read_input_tokens == 0

    def test_the_last_delta_of_a_stream_supersedes_its_start(self, simulator: Any) -> None:
        with anthropic_client(simulator).messages.stream(
            model="claude-sonnet-4-6", max_tokens=500, messages=HELLO
        ) as stream:
            events = list(stream)
            final = stream.get_final_message()
        start = next(event for event in events if event.type == "message_start")
        assert start.message.usage.output_tokens == 1
        assert final.usage.output_tokens > 1
        assert anthropic_tokens(final.usage) == simulator.last_tokens()

    def test_the_asynchronous_client_is_answered_too(self, simulator: Any) -> None:
        async def ask() -> Any:
            async with anthropic.AsyncAnthropic(base_url=simulator.address, api_key="a key") as client:
                return await client.messages.create(model="claude-haiku-4-5", max_tokens=500, messages=HELLO)

        assert anthropic_tokens(asyncio.run(ask()).usage) == simulator.last_tokens()


class TestGoogle:
    def test_generated_content_carries_the_usage_that_was_stated(self, simulator: Any) -> None:
        client = google_client(simulator)
        response = client.models.generate_content(model="gemini-2.5-pro", contents="Summarise in 60 words.")
        assert response.model_version == "gemini-2.5-pro"
        assert response.usage_metadata.thoughts_token_count >= 64
        assert google_tokens(response.usage_metadata) == simulator.last_tokens()

    def test_the_last_chunk_of_a_stream_carries_all_counts(self, simulator: Any) -> None:
        client = google_client(simulator)
        chunks = list(
            client.models.generate_content_stream(model="gemini-2.5-flash", contents="Summarise in 60 words.")
        )
        assert len(chunks) > 1
        assert len({chunk.response_id for chunk in chunks}) == 1
        assert google_tokens(chunks[-1].usage_metadata) == simulator.last_tokens()

    def test_a_repeated_beginning_is_cached(self, simulator: Any) -> None:
        client = google_client(simulator)
        for question in ("First?", "Second?"):
            response = client.models.generate_content(model="gemini-2.5-flash", contents=LONG_TEXT + question)
        assert response.usage_metadata.cached_content_token_count >= 1024
        assert google_tokens(response.usage_metadata) == simulator.last_tokens()

    def test_thinking_can_be_switched_off(self, simulator: Any) -> None:
        thinking = google_types.ThinkingConfig(thinking_budget=0)
        client = google_client(simulator)
        response = client.models.generate_content(
            model="gemini-2.5-flash",
            contents="Summarise.",
            config=google_types.GenerateContentConfig(thinking_config=thinking),
        )
        assert response.usage_metadata.thoughts_token_count is None


class TestOllama:
    def test_a_chat_carries_the_counts_that_were_stated(self, simulator: Any) -> None:
        response = ollama.Client(host=simulator.address).chat(model="llama3.2", messages=HELLO)
        stated = simulator.last_tokens()
        assert (response.prompt_eval_count, response.eval_count) == (stated["input"], stated["output"])
        assert response.model == "llama3.2"
        assert response.total_duration > 0

    def test_a_cached_prompt_has_no_prompt_count(self, simulator: Any) -> None:
        client = ollama.Client(host=simulator.address)
        for _ in range(2):
            response = client.generate(model="qwen2.5-coder:7b", prompt="Name this function.")
        assert response.prompt_eval_count is None
        assert response.eval_count == simulator.last_tokens()["output"]
        assert simulator.last_tokens()["input"] == 0

    @pytest.mark.parametrize("method", ["chat", "generate"])
    def test_the_last_line_of_a_stream_carries_the_counts(self, simulator: Any, method: str) -> None:
        client = ollama.Client(host=simulator.address)
        question = {"messages": HELLO} if method == "chat" else {"prompt": HELLO[0]["content"]}
        lines = list(getattr(client, method)(model="mistral", stream=True, **question))
        assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
        assert lines[-1].eval_count == simulator.last_tokens()["output"]


def ask_openai(simulator: Any, *, model: str = "gpt-4o", key: str = "a key", headers: Any = None) -> Any:
    client = openai_client(simulator, key=key).with_options(max_retries=0)
    return client.chat.completions.create(model=model, messages=HELLO, extra_headers=headers)


def ask_responses(simulator: Any, *, model: str = "gpt-5", key: str = "a key", headers: Any = None) -> Any:
    client = openai_client(simulator, key=key).with_options(max_retries=0)
    return client.responses.create(model=model, input="Hello", extra_headers=headers)


def ask_anthropic(
    simulator: Any, *, model: str = "claude-haiku-4-5", key: str = "a key", headers: Any = None
) -> Any:
    client = anthropic_client(simulator, key=key).with_options(max_retries=0)
    return client.messages.create(model=model, max_tokens=9, messages=HELLO, extra_headers=headers)


def ask_google(
    simulator: Any, *, model: str = "gemini-2.5-flash", key: str = "a key", headers: Any = None
) -> Any:
    client = google_client(simulator, key=key, headers=headers)
    return client.models.generate_content(model=model, contents="Hello")


def ask_ollama(simulator: Any, *, model: str = "llama3.2", headers: Any = None) -> Any:
    return ollama.Client(host=simulator.address, headers=headers).chat(model=model, messages=HELLO)


Ask = Callable[..., Any]
UNKNOWN_MODELS = [
    pytest.param(ask_openai, openai.NotFoundError, id="openai chat"),
    pytest.param(ask_responses, openai.NotFoundError, id="openai responses"),
    pytest.param(ask_anthropic, anthropic.NotFoundError, id="anthropic"),
    pytest.param(ask_google, google_errors.ClientError, id="google"),
    pytest.param(ask_ollama, ollama.ResponseError, id="ollama"),
]
WRONG_KEYS = [
    pytest.param(ask_openai, openai.AuthenticationError, id="openai chat"),
    pytest.param(ask_responses, openai.AuthenticationError, id="openai responses"),
    pytest.param(ask_anthropic, anthropic.AuthenticationError, id="anthropic"),
    pytest.param(ask_google, google_errors.ClientError, id="google"),
]
RATE_LIMITS = [
    pytest.param(ask_openai, openai.RateLimitError, id="openai chat"),
    pytest.param(ask_responses, openai.RateLimitError, id="openai responses"),
    pytest.param(ask_anthropic, anthropic.RateLimitError, id="anthropic"),
    pytest.param(ask_google, google_errors.ClientError, id="google"),
    pytest.param(ask_ollama, ollama.ResponseError, id="ollama"),
]


class TestRefusals:
    @pytest.mark.parametrize(("ask", "error"), UNKNOWN_MODELS)
    def test_an_unknown_model_raises_the_sdks_own_error(
        self, simulator: Any, ask: Ask, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match="no-such-model"):
            ask(simulator, model="no-such-model")

    @pytest.mark.parametrize(("ask", "error"), WRONG_KEYS)
    def test_a_wrong_key_raises_the_sdks_own_error(
        self, simulator: Any, ask: Ask, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match=r"(?i)key"):
            ask(simulator, key="an invalid key")

    @pytest.mark.parametrize(("ask", "error"), RATE_LIMITS)
    def test_a_rate_limit_raises_the_sdks_own_error(
        self, simulator: Any, ask: Ask, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            ask(simulator, headers={"X-Simulate-Rate-Limit": "9"})

    def test_a_refusal_states_no_usage(self, simulator: Any) -> None:
        with pytest.raises(openai.NotFoundError):
            ask_openai(simulator, model="no-such-model")
        assert simulator.statements() == {"providers": {}, "recent": []}

    def test_what_is_no_request_is_refused_and_harms_nobody(self, simulator: Any) -> None:
        for body in (b"", b"{", b"[1]", b"\xff\xfe"):
            connection = http.client.HTTPConnection(simulator.address.removeprefix("http://"), timeout=10)
            connection.request("POST", "/v1/chat/completions", body=body)
            reply = connection.getresponse()
            assert reply.status == 400
            assert "error" in json.load(reply)
            connection.close()
        assert ask_openai(simulator).usage.total_tokens > 0


def test_no_text_of_a_prompt_is_in_the_statements(simulator: Any) -> None:
    ask_openai(simulator)
    ask_ollama(simulator)
    assert "Greet" not in json.dumps(simulator.statements())


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "fast"])
def test_a_speed_that_is_none_is_refused(examples: Any, speed: str) -> None:
    refused = subprocess.run(
        [sys.executable, examples / "provider_simulator.py", f"--speed={speed}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert refused.returncode == 2
    assert "--speed" in refused.stderr


FORM = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["title", "tags"],
    "additionalProperties": False,
}
"""A schema, for whoever asks for an answer in this form."""


def assert_form(answer: Any) -> None:
    assert set(answer) == {"title", "tags"}
    assert isinstance(answer["title"], str)
    assert len(answer["tags"]) == 2


def test_an_answer_has_the_form_that_is_asked_for(simulator: Any) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "form", "schema": FORM}}
    chat = openai_client(simulator).chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, response_format=schema
    )
    assert_form(json.loads(chat.choices[0].message.content or ""))
    config = google_types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=FORM
    )
    client = google_client(simulator)
    generated = client.models.generate_content(
        model="gemini-2.5-flash", contents="Greet the team in 40 words.", config=config
    )
    assert_form(json.loads(generated.text or ""))
    local = ollama.Client(host=simulator.address).chat(model="llama3.2", messages=HELLO, format=FORM)
    assert_form(json.loads(local.message.content or ""))


def test_a_tool_that_is_offered_is_called_once_with_arguments_of_its_schema(simulator: Any) -> None:
    client = openai_client(simulator)
    tools: Any = [{"type": "function", "function": {"name": "look_up", "parameters": FORM}}]
    asked = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, tools=tools).choices[0]
    assert asked.finish_reason == "tool_calls"
    call = (asked.message.tool_calls or [])[0]
    assert_form(json.loads(call.function.arguments))
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "found"}
    messages: Any = [*HELLO, asked.message.model_dump(), result]
    answered = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools).choices[0]
    assert answered.finish_reason == "stop"

    offered: Any = [{"name": "look_up", "input_schema": FORM}]
    message = anthropic_client(simulator).messages.create(
        model="claude-haiku-4-5", max_tokens=200, messages=HELLO, tools=offered
    )
    assert message.stop_reason == "tool_use"
    assert_form(message.content[0].input)
