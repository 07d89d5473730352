"""The real SDKs read recorded responses; what a run records of them is what the providers stated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types

from configurable_agents import observe_run
from configurable_agents.telemetry import LlmCall
from configurable_agents.testing import MemoryRecorder

pytestmark = [pytest.mark.acceptance, pytest.mark.shared_data]

CASES_PER_KIND_MAX = 12
QUESTION: Any = [{"role": "user", "content": "Hello"}]


class Case(NamedTuple):
    """One recorded exchange and where it is replayed."""

    recorded: dict[str, Any]
    address: str

    @property
    def model(self) -> str:
        return self.recorded["req_model"] or self.recorded["model"]


def is_array(body: dict[str, Any]) -> bool:
    """A stream as one JSON array, which Google sends who does not ask for events; its SDK always asks."""
    return not body["content_type"].startswith("text/event-stream")


def fails_midway(body: dict[str, Any]) -> bool:
    """The stream ends with an error, which the SDK raises."""
    return '"error":{"message"' in body["response"]


class Replay(NamedTuple):
    address: str
    bodies: tuple[dict[str, Any], ...]

    def cases(self, flavor: str, *, stream: bool, ok: bool = True) -> list[Case]:
        """A sample that takes its turns among providers."""
        mine = [
            body
            for body in self.bodies
            if body["flavor"] == flavor and body["stream"] is stream and (body["status"] == 200) is ok
            if not (stream and (is_array(body) or fails_midway(body)))
        ]
        turns: dict[str, int] = {}
        ranked = []
        for body in mine:
            turns[body["provider"]] = turns.get(body["provider"], 0) + 1
            ranked.append((turns[body["provider"]], body))
        ranked.sort(key=lambda pair: pair[0])
        return [Case(body, f"{self.address}/case/{body['id']}") for _, body in ranked[:CASES_PER_KIND_MAX]]


@pytest.fixture
def replay(shared_data: Path) -> Iterator[Replay]:
    bodies = shared_data / "replay_bodies.jsonl"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, shared_data / "replay_server.py", "0", bodies]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rsplit(maxsplit=1)[-1])
        recorded = tuple(map(json.loads, bodies.read_text(encoding="utf-8").splitlines()))
        yield Replay(f"http://127.0.0.1:{port}", recorded)
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def openai_sdk(case: Case) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{case.address}/v1", api_key="a key", max_retries=0)


def anthropic_sdk(case: Case) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=case.address, api_key="a key", max_retries=0)


def google_sdk(case: Case) -> genai.Client:
    return genai.Client(api_key="a key", http_options=google_types.HttpOptions(base_url=case.address))


def chat(case: Case) -> Any:
    return openai_sdk(case).chat.completions.create(model=case.model, messages=QUESTION)


def chat_stream(case: Case) -> Any:
    """The chunk that carries the usage."""
    chunks = list(openai_sdk(case).chat.completions.create(model=case.model, messages=QUESTION, stream=True))
    return next((chunk for chunk in reversed(chunks) if chunk.usage), chunks[-1])


def responses(case: Case) -> Any:
    return openai_sdk(case).responses.create(model=case.model, input="Hello")


def responses_stream(case: Case) -> Any:
    events = list(openai_sdk(case).responses.create(model=case.model, input="Hello", stream=True))
    return events[-1].response


def messages(case: Case) -> Any:
    return anthropic_sdk(case).beta.messages.create(model=case.model, max_tokens=9, messages=QUESTION)


def messages_stream(case: Case) -> Any:
    with anthropic_sdk(case).beta.messages.stream(
        model=case.model, max_tokens=9, messages=QUESTION
    ) as stream:
        return stream.get_final_message()


def generate_content(case: Case) -> Any:
    client = google_sdk(case)
    return client.models.generate_content(model=case.model, contents="Hello")


def generate_content_stream(case: Case) -> Any:
    client = google_sdk(case)
    return list(client.models.generate_content_stream(model=case.model, contents="Hello"))[-1]


def ollama_chat(case: Case) -> Any:
    return ollama.Client(host=case.address).chat(model=case.model, messages=QUESTION)


KINDS = [
    ("chat", False, chat),
    ("chat", True, chat_stream),
    ("responses", False, responses),
    ("responses", True, responses_stream),
    ("messages", False, messages),
    ("messages", True, messages_stream),
    ("generateContent", False, generate_content),
    ("generateContent-stream", True, generate_content_stream),
    ("ollama-chat", False, ollama_chat),
]


def stated(flavor: str, usage: dict[str, Any] | None) -> tuple[int, int, int] | None:
    """All input, all output, and the input that came from a cache, by each provider's own rules."""
    if not usage:
        return None
    if flavor == "chat":
        details = usage.get("prompt_tokens_details") or {}
        cached = (
            details.get("cached_tokens")
            or usage.get("prompt_cache_hit_tokens")
            or usage.get("cached_tokens")
            or usage.get("num_cached_tokens")
            or 0
        )
        return usage["prompt_tokens"], usage["completion_tokens"], cached
    if flavor == "responses":
        cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
        return usage["input_tokens"], usage["output_tokens"], cached
    if flavor == "messages":
        billed = usage.get("iterations") or [usage]
        read = sum(part.get("cache_read_input_tokens") or 0 for part in billed)
        written = sum(part.get("cache_creation_input_tokens") or 0 for part in billed)
        uncached = sum(part["input_tokens"] for part in billed)
        return uncached + read + written, sum(part["output_tokens"] for part in billed), read
    if flavor.startswith("generateContent"):
        prompt = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
        output = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        return prompt, output, usage.get("cachedContentTokenCount", 0)
    return usage.get("prompt_eval_count") or 0, usage["eval_count"], 0


def recorded_tokens(call: LlmCall) -> tuple[int, int, int] | None:
    if call.usage is None:
        return None
    return call.usage.all_input_tokens, call.usage.all_output_tokens, call.usage.cache_read_tokens


@pytest.mark.parametrize(
    ("flavor", "stream", "ask"), [pytest.param(*kind, id=kind[2].__name__) for kind in KINDS]
)
def test_a_run_records_the_tokens_that_the_sdks_response_states(
    replay: Replay, flavor: str, stream: bool, ask: Callable[[Case], Any]
) -> None:
    cases = replay.cases(flavor, stream=stream)
    assert cases
    recorder = MemoryRecorder()
    with observe_run(recorder=recorder) as run:
        for case in cases:
            run.track_call(provider=case.recorded["provider"], model=case.model, response=ask(case))
    found = {
        case.recorded["id"]: recorded_tokens(call) for case, call in zip(cases, recorder.calls, strict=True)
    }
    assert found == {case.recorded["id"]: stated(flavor, case.recorded["usage"]) for case in cases}


@pytest.mark.parametrize(
    ("flavor", "ask", "error"),
    [
        ("chat", chat, openai.APIStatusError),
        ("messages", messages, anthropic.APIStatusError),
        ("generateContent", generate_content, google_errors.APIError),
        ("ollama-chat", ollama_chat, ollama.ResponseError),
    ],
)
def test_a_recorded_refusal_raises_the_sdks_error_and_records_no_call(
    replay: Replay, flavor: str, ask: Callable[[Case], Any], error: type[Exception]
) -> None:
    recorder = MemoryRecorder()
    for case in replay.cases(flavor, stream=False, ok=False):
        with pytest.raises(error), observe_run(recorder=recorder) as run:
            run.track_call(provider=case.recorded["provider"], model=case.model, response=ask(case))
    assert recorder.calls == []
    assert recorder.runs_finished
    assert {finished.status.label for finished in recorder.runs_finished} == {"error"}


def chat_chunks(case: Case) -> Any:
    return openai_sdk(case).chat.completions.create(model=case.model, messages=QUESTION, stream=True)


def response_events(case: Case) -> Any:
    return openai_sdk(case).responses.create(model=case.model, input="Hello", stream=True)


def message_events(case: Case) -> Any:
    return anthropic_sdk(case).beta.messages.create(
        model=case.model, max_tokens=9, messages=QUESTION, stream=True
    )


def managed_message_events(case: Case) -> Any:
    return anthropic_sdk(case).beta.messages.stream(model=case.model, max_tokens=9, messages=QUESTION)


def generated_chunks(case: Case) -> Any:
    client = google_sdk(case)  # it closes itself when nobody holds it
    yield from client.models.generate_content_stream(model=case.model, contents="Hello")


STREAMS = [
    ("chat", chat_chunks),
    ("responses", response_events),
    ("messages", message_events),
    ("messages", managed_message_events),
    ("generateContent-stream", generated_chunks),
]


@pytest.mark.parametrize(("flavor", "ask"), [pytest.param(*each, id=each[1].__name__) for each in STREAMS])
def test_a_tracked_stream_of_a_real_sdk_is_recorded_with_what_it_states(
    replay: Replay, flavor: str, ask: Callable[[Case], Any]
) -> None:
    cases = replay.cases(flavor, stream=True)
    assert cases
    recorder = MemoryRecorder()
    with observe_run(recorder=recorder) as run:
        for case in cases:
            with run.track_stream(ask(case), provider=case.recorded["provider"], model=case.model) as stream:
                assert sum(1 for _ in stream)
    found = {
        case.recorded["id"]: recorded_tokens(call) for case, call in zip(cases, recorder.calls, strict=True)
    }
    assert found == {case.recorded["id"]: stated(flavor, case.recorded["usage"]) for case in cases}
    for call in recorder.calls:
        assert call.status.label == "ok"
        assert 0 < call.time_to_first_token_ns <= call.duration_ns
