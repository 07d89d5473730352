"""A chat completion object, priced again and again by the tool named on the command line."""

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


def ours() -> Any:
    from openai.types.chat import ChatCompletion

    from configurable_agents.observe import observe_run

    response = ChatCompletion.model_validate(RESPONSE)
    run = observe_run("benchmarks", "track-call").__enter__()
    return lambda: run.track_call(provider="openai", model="gpt-4o", response=response)


def litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm import ModelResponse, completion_cost

    response = ModelResponse(**RESPONSE)
    return lambda: completion_cost(completion_response=response, model="gpt-4o")


def main() -> None:
    try:
        call = {"ours": ours, "litellm": litellm}[sys.argv[1]]()
    except ImportError as error:
        absent(f"not installed ({error})")
    call_times_ns(call, 10)

    def turn(count: int) -> dict[str, float]:
        times = call_times_ns(call, count)
        return {"p50": times[count // 2] / 1000, "p99": times[count * 99 // 100] / 1000}

    answer(turn)


if __name__ == "__main__":
    main()
