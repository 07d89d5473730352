"""A response of an SDK, tracked again and again; or an OpenAI one, priced by the peer on the command line."""

from __future__ import annotations

import os
import sys
from typing import Any

from answering import absent, answer, call_times_ns

RESPONSE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_795_336_467,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Done."}},
    ],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}


def tracked(provider: str, model: str, response: object) -> Any:
    from configurable_agents.observe import observe_run

    run = observe_run("benchmarks", "track-call").__enter__()
    return lambda: run.track_call(provider=provider, model=model, response=response)


def openai() -> Any:
    from openai.types.chat import ChatCompletion

    return tracked("openai", "gpt-4o", ChatCompletion.model_validate(RESPONSE))


def anthropic() -> Any:
    from anthropic.types import Message

    response = Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "Done."}],
            "usage": {"input_tokens": 900, "output_tokens": 200, "cache_read_input_tokens": 100},
        }
    )
    return tracked("anthropic", "claude-sonnet-4-5", response)


def google() -> Any:
    from google.genai.types import GenerateContentResponse

    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 150, "thoughtsTokenCount": 50}
    response = GenerateContentResponse.model_validate(
        {
            "modelVersion": "gemini-2.5-flash",
            "candidates": [{"content": {"role": "model", "parts": [{"text": "Done."}]}}],
            "usageMetadata": {**usage, "totalTokenCount": 1200},
        }
    )
    return tracked("google", "gemini-2.5-flash", response)


def ollama() -> Any:
    from ollama import ChatResponse

    message = {"role": "assistant", "content": "Done."}
    counts = {"prompt_eval_count": 1000, "eval_count": 200}
    response = ChatResponse.model_validate({"model": "llama3", "message": message, "done": True, **counts})
    return tracked("ollama", "llama3", response)


def litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm import ModelResponse, completion_cost

    response = ModelResponse(**RESPONSE)
    return lambda: completion_cost(completion_response=response, model="gpt-4o")


PROGRAMS = {
    "openai": openai,
    "anthropic": anthropic,
    "google": google,
    "ollama": ollama,
    "litellm": litellm,
}


def main() -> None:
    try:
        call = PROGRAMS[sys.argv[1]]()
    except ImportError as error:
        absent(f"not installed ({error})")
    call_times_ns(call, 10)

    def turn(count: int) -> dict[str, float]:
        times = call_times_ns(call, count)
        return {"p50": times[count // 2] / 1000, "p99": times[count * 99 // 100] / 1000}

    answer(turn)


if __name__ == "__main__":
    main()
