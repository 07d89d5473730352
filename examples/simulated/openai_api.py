"""OpenAI's chat completions and Responses. Input counts include cached tokens, output counts reasoning."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from simulated.completions import Completion, Model, PrefixCache, Prompt, Tokens, complete, text_of
from simulated.exchange import EVENT_STREAM, Part, Reply, Request, Statement, event, json_reply, new_id
from simulated.forms import ToolCall, in_form, tool_call

PROVIDER = "openai"
MODELS = {
    model: Model(f"{model}-{date}", first_token_s, tokens_per_s, reasoning_share)
    for model, date, first_token_s, tokens_per_s, reasoning_share in (
        ("gpt-4o", "2024-08-06", 0.5, 90, 0.0),
        ("gpt-4o-mini", "2024-07-18", 0.4, 130, 0.0),
        ("gpt-4.1-mini", "2025-04-14", 0.4, 130, 0.0),
        ("gpt-5", "2025-08-07", 0.8, 100, 1.5),
        ("gpt-5-mini", "2025-08-07", 0.6, 150, 1.0),
        ("gpt-5.4", "2026-03-05", 0.8, 90, 1.0),
        ("o4-mini", "2025-04-16", 0.6, 140, 2.0),
    )
}
MODELS_BY_NAME = {name: model for alias, model in MODELS.items() for name in (alias, model.snapshot)}
EFFORTS_WITHOUT_REASONING = ("none", "minimal")


def answer_chat(request: Request, cache: PrefixCache) -> Reply:
    refused = _refusal(request)
    if refused is not None:
        return refused
    body = request.body
    prompt = Prompt(
        text_of(body.get("messages")),
        body.get("max_completion_tokens") or body.get("max_tokens"),
        reasons=body.get("reasoning_effort") not in EFFORTS_WITHOUT_REASONING,
    )
    completion = in_form(complete(MODELS_BY_NAME[body["model"]], prompt, cache), _chat_form(body))
    wanted = tool_call(_chat_tools(body), completion)
    response_id = new_id("chatcmpl-")
    if not request.wants_stream:
        whole = _chat_body(response_id, body, completion, wanted)
        statement = _statement(response_id, completion, completion.tokens)
        return json_reply(200, whole, delay_s=completion.duration_s, statement=statement)
    stated = completion.tokens if _wants_usage(body) else None
    parts = _chat_stream(response_id, body, completion, wanted)
    return Reply(200, EVENT_STREAM, parts, statement=_statement(response_id, completion, stated))


def answer_responses(request: Request, cache: PrefixCache) -> Reply:
    refused = _refusal(request)
    if refused is not None:
        return refused
    body = request.body
    effort = (body.get("reasoning") or {}).get("effort")
    prompt = Prompt(
        text_of([body.get("instructions"), body.get("input")]),
        body.get("max_output_tokens"),
        reasons=effort not in EFFORTS_WITHOUT_REASONING,
    )
    completion = complete(MODELS_BY_NAME[body["model"]], prompt, cache)
    response_id = new_id("resp_", digits=48)
    statement = _statement(response_id, completion, completion.tokens)
    if not request.wants_stream:
        whole = _response_body(response_id, body, completion, [_message(completion.text)])
        return json_reply(200, whole, delay_s=completion.duration_s, statement=statement)
    parts = _response_stream(response_id, body, completion)
    return Reply(200, EVENT_STREAM, parts, statement=statement)


def _chat_form(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that the text must follow, if one is given."""
    wanted = body.get("response_format") or {}
    return (wanted.get("json_schema") or {}).get("schema")


def _chat_tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Tools that may be called now: none once a tool has answered, none when they are forbidden."""
    messages = body.get("messages") or [{}]
    if messages[-1].get("role") == "tool" or body.get("tool_choice") == "none":
        return {}
    functions = [tool.get("function") or {} for tool in body.get("tools") or ()]
    return {str(function.get("name")): function.get("parameters") or {} for function in functions}


def _chat_tool_call(wanted: ToolCall) -> dict[str, Any]:
    function = {"name": wanted.name, "arguments": json.dumps(wanted.arguments)}
    return {"id": new_id("call_"), "type": "function", "function": function}


def _refusal(request: Request) -> Reply | None:
    key = request.headers.get("authorization", "").removeprefix("Bearer").strip()
    name = str(request.body.get("model"))
    if not key:
        return _error(401, "You didn't provide an API key.", kind="invalid_request_error")
    if "invalid" in key:
        return _error(401, "Incorrect API key provided.", code="invalid_api_key")
    if request.is_rate_limited:
        wait = (("retry-after", "1"), ("retry-after-ms", "50"))
        message = f"Rate limit reached for {name}. Please try again in 50ms."
        return _error(429, message, kind="requests", code="rate_limit_exceeded", headers=wait)
    if name not in MODELS_BY_NAME:
        return _error(404, f"The model `{name}` does not exist.", code="model_not_found")
    return None


def _error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json_reply(status, {"error": error}, headers=headers)


def _tier(body: Mapping[str, Any]) -> str:
    tier = body.get("service_tier")
    return tier if tier in ("flex", "priority") else "default"


def _wants_usage(body: Mapping[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _statement(response_id: str, completion: Completion, tokens: Tokens | None) -> Statement:
    return Statement(PROVIDER, completion.model.snapshot, response_id, tokens)


def _chat_usage(tokens: Tokens) -> dict[str, Any]:
    prompt = tokens.input + tokens.cache_read
    output = tokens.output + tokens.reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish_reason(completion: Completion) -> str:
    return "length" if completion.cut_short else "stop"


def _chat_body(
    response_id: str, body: Mapping[str, Any], completion: Completion, wanted: ToolCall | None
) -> dict[str, Any]:
    message = {"role": "assistant", "content": completion.text, "refusal": None, "annotations": []}
    if wanted:
        message |= {"content": None, "tool_calls": [_chat_tool_call(wanted)]}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "tool_calls" if wanted else _finish_reason(completion),
    }
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": completion.model.snapshot,
        "choices": [choice],
        "usage": _chat_usage(completion.tokens),
        "service_tier": _tier(body),
        "system_fingerprint": "fp_simulated",
    }


def _chat_stream(
    response_id: str, body: Mapping[str, Any], completion: Completion, wanted: ToolCall | None
) -> Iterator[Part]:
    heading: dict[str, Any] = {
        "id": response_id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": completion.model.snapshot,
        "service_tier": _tier(body),
        "system_fingerprint": "fp_simulated",
    }
    if _wants_usage(body):
        heading["usage"] = None

    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**heading, "choices": [choice]})

    yield Part(completion.first_piece_s, chunk({"role": "assistant", "content": "", "refusal": None}))
    if wanted:
        call = {"index": 0, **_chat_tool_call(wanted)}
        yield Part(completion.duration_s - completion.first_piece_s, chunk({"tool_calls": [call]}))
    else:
        for piece in completion.pieces:
            yield Part(completion.piece_s, chunk({"content": piece}))
    yield Part(0, chunk({}, "tool_calls" if wanted else _finish_reason(completion)))
    if _wants_usage(body):
        yield Part(0, event({**heading, "choices": [], "usage": _chat_usage(completion.tokens)}))
    yield Part(0, b"data: [DONE]\n\n")


def _message(text: str) -> dict[str, Any]:
    content = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": new_id("msg_", digits=48),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }


def _response_body(
    response_id: str,
    body: Mapping[str, Any],
    completion: Completion,
    output: list[dict[str, Any]],
    *,
    finished: bool = True,
) -> dict[str, Any]:
    cut_short = finished and completion.cut_short
    status = "incomplete" if cut_short else "completed" if finished else "in_progress"
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut_short else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": completion.model.snapshot,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": (body.get("reasoning") or {}).get("effort"), "summary": None},
        "service_tier": _tier(body) if finished else "auto",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _response_usage(completion.tokens) if finished else None,
        "user": None,
        "metadata": {},
    }


def _response_usage(tokens: Tokens) -> dict[str, Any]:
    prompt = tokens.input + tokens.cache_read
    output = tokens.output + tokens.reasoning
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": tokens.cache_read},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": prompt + output,
    }


def _response_stream(response_id: str, body: Mapping[str, Any], completion: Completion) -> Iterator[Part]:
    for number, (delay_s, name, fields) in enumerate(_response_events(response_id, body, completion)):
        yield Part(delay_s, event({"type": name, **fields, "sequence_number": number}, name=name))


def _response_events(
    response_id: str, body: Mapping[str, Any], completion: Completion
) -> Iterator[tuple[float, str, dict[str, Any]]]:
    begun = _response_body(response_id, body, completion, [], finished=False)
    yield 0, "response.created", {"response": begun}
    yield 0, "response.in_progress", {"response": begun}
    item = _message(completion.text)
    empty = {**item, "status": "in_progress", "content": []}
    yield completion.first_piece_s, "response.output_item.added", {"output_index": 0, "item": empty}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    content = item["content"][0]
    yield 0, "response.content_part.added", {**place, "part": {**content, "text": ""}}
    for piece in completion.pieces:
        yield completion.piece_s, "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield 0, "response.output_text.done", {**place, "text": completion.text, "logprobs": []}
    yield 0, "response.content_part.done", {**place, "part": content}
    yield 0, "response.output_item.done", {"output_index": 0, "item": item}
    ending = "response.incomplete" if completion.cut_short else "response.completed"
    yield 0, ending, {"response": _response_body(response_id, body, completion, [item])}
