"""Anthropic's messages. `input_tokens` excludes cache reads and writes; only marked blocks are cached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from simulated.completions import Completion, Model, PrefixCache, Prompt, Tokens, complete, text_of
from simulated.exchange import EVENT_STREAM, Part, Reply, Request, Statement, event, json_reply, new_id
from simulated.forms import ToolCall, tool_call

PROVIDER = "anthropic"
MODELS = {
    "claude-opus-4-6": Model("claude-opus-4-6", 1.2, 60),
    "claude-sonnet-4-6": Model("claude-sonnet-4-6", 0.9, 75),
    "claude-haiku-4-5": Model("claude-haiku-4-5-20251001", 0.5, 150),
}
MODELS_BY_NAME = {name: model for alias, model in MODELS.items() for name in (alias, model.snapshot)}


def answer_messages(request: Request, cache: PrefixCache) -> Reply:
    refused = _refusal(request)
    if refused is not None:
        return refused
    text, marked = _prompt_text(request.body)
    prompt = Prompt(text, request.body.get("max_tokens"), cache_characters=marked)
    completion = complete(MODELS_BY_NAME[request.body["model"]], prompt, cache)
    wanted = tool_call(_tools(request.body), completion)
    response_id = new_id("msg_")
    statement = Statement(PROVIDER, completion.model.snapshot, response_id, completion.tokens)
    if request.wants_stream:
        return Reply(200, EVENT_STREAM, _stream(response_id, completion, wanted), statement=statement)
    whole = {
        **_message(response_id, completion),
        "content": [_tool_use(wanted) if wanted else {"type": "text", "text": completion.text}],
        "stop_reason": _stop_reason(completion, wanted),
        "usage": _usage(completion.tokens),
    }
    return json_reply(200, whole, delay_s=completion.duration_s, statement=statement)


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Tools that may be called now: the one that is demanded, else none once a tool has answered."""
    offered = {str(tool.get("name")): tool.get("input_schema") or {} for tool in body.get("tools") or ()}
    choice = body.get("tool_choice") or {}
    if choice.get("type") == "tool":
        return {name: schema for name, schema in offered.items() if name == choice.get("name")}
    content = (body.get("messages") or [{}])[-1].get("content")
    answered = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
    return {} if answered or choice.get("type") == "none" else offered


def _tool_use(wanted: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": new_id("toolu_"), "name": wanted.name, "input": wanted.arguments}


def _refusal(request: Request) -> Reply | None:
    # Releases of the SDK differ in which of the two headers carries the key; the service takes both.
    bearer = request.headers.get("authorization", "").removeprefix("Bearer").strip()
    key = request.headers.get("x-api-key") or bearer
    if not key or "invalid" in key:
        return _error(401, "authentication_error", "invalid x-api-key")
    if request.is_rate_limited:
        message = "This request would exceed your organization's rate limit of 50 requests per minute."
        return _error(429, "rate_limit_error", message, headers=(("retry-after", "1"),))
    if request.body.get("model") not in MODELS_BY_NAME:
        return _error(404, "not_found_error", f"model: {request.body.get('model')}")
    if not isinstance(request.body.get("max_tokens"), int):
        return _error(400, "invalid_request_error", "max_tokens: Field required")
    return None


def _error(status: int, kind: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    request_id = new_id("req_")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return json_reply(status, body, headers=(("request-id", request_id), *headers))


def _prompt_text(body: Mapping[str, Any]) -> tuple[str, int]:
    """All text, and how many characters of it lie before the end of the last marked block."""
    text, marked = "", 0
    for block in _blocks(body):
        text += text_of(block)
        if isinstance(block, dict) and block.get("cache_control"):
            marked = len(text)
    return text, marked


def _blocks(body: Mapping[str, Any]) -> Iterator[Any]:
    contents = [body.get("system"), *(message.get("content") for message in body.get("messages", []))]
    for content in contents:
        yield from content if isinstance(content, list) else [content]


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def _stop_reason(completion: Completion, wanted: ToolCall | None) -> str:
    if wanted:
        return "tool_use"
    return "max_tokens" if completion.cut_short else "end_turn"


def _message(response_id: str, completion: Completion) -> dict[str, Any]:
    return {
        "id": response_id,
        "type": "message",
        "role": "assistant",
        "model": completion.model.snapshot,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stream(response_id: str, completion: Completion, wanted: ToolCall | None) -> Iterator[Part]:
    for delay_s, name, fields in _stream_events(response_id, completion, wanted):
        yield Part(delay_s, event({"type": name, **fields}, name=name))


def _stream_events(
    response_id: str, completion: Completion, wanted: ToolCall | None
) -> Iterator[tuple[float, str, dict[str, Any]]]:
    usage = _usage(completion.tokens)
    begun = {**_message(response_id, completion), "usage": {**usage, "output_tokens": 1}}
    yield completion.first_piece_s, "message_start", {"message": begun}
    block = {**_tool_use(wanted), "input": {}} if wanted else {"type": "text", "text": ""}
    yield 0, "content_block_start", {"index": 0, "content_block": block}
    yield 0, "ping", {}
    for delta in _deltas(completion, wanted):
        yield completion.piece_s, "content_block_delta", {"index": 0, "delta": delta}
    yield 0, "content_block_stop", {"index": 0}
    final = {
        name: usage[name]
        for name in (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
        )
    }
    delta = {"stop_reason": _stop_reason(completion, wanted), "stop_sequence": None}
    yield 0, "message_delta", {"delta": delta, "usage": final}
    yield 0, "message_stop", {}


def _deltas(completion: Completion, wanted: ToolCall | None) -> Iterator[dict[str, Any]]:
    """Pieces of the text, or of the arguments as JSON; as many of either."""
    if wanted is None:
        for piece in completion.pieces:
            yield {"type": "text_delta", "text": piece}
        return
    text = json.dumps(wanted.arguments)
    size = -(-len(text) // max(1, len(completion.pieces)))
    for start in range(0, len(text), size):
        yield {"type": "input_json_delta", "partial_json": text[start : start + size]}
