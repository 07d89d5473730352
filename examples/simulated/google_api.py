"""Gemini's generateContent. The prompt count includes cached tokens; thoughts stand beside the candidates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from simulated.completions import Completion, Model, PrefixCache, Prompt, Tokens, complete, text_of
from simulated.exchange import EVENT_STREAM, Part, Reply, Request, Statement, event, json_reply, new_id
from simulated.forms import ToolCall, in_form, tool_call

PROVIDER = "google"
MODELS = {
    model: Model(model, first_token_s, tokens_per_s, reasoning_share)
    for model, first_token_s, tokens_per_s, reasoning_share in (
        ("gemini-2.5-pro", 1.2, 110, 1.0),
        ("gemini-2.5-flash", 0.4, 200, 0.5),
        ("gemini-3.5-flash", 0.4, 220, 0.5),
        ("gemini-2.5-flash-lite", 0.3, 300, 0.0),
    )
}
PATH = re.compile(r"/(?P<version>v1|v1beta)/models/(?P<model>[^/:]+):(?P<method>\w+)")


def answer_generate(request: Request, cache: PrefixCache) -> Reply:
    """Answers `…/models/{model}:generateContent` and `…:streamGenerateContent?alt=sse`."""
    version, name, method = _named_in(request.path)
    refused = _refusal(request, version, name, method)
    if refused is not None:
        return refused
    completion = in_form(complete(MODELS[name], _prompt(request.body), cache), _form(request.body))
    wanted = tool_call(_tools(request.body), completion)
    response_id = new_id("", digits=22)
    statement = Statement(PROVIDER, name, response_id, completion.tokens)
    if method == "streamGenerateContent":
        return Reply(200, EVENT_STREAM, _stream(response_id, completion, wanted), statement=statement)
    part = _function_call(wanted) if wanted else {"text": completion.text}
    whole = _chunk(response_id, completion, part, _usage(completion.tokens), finish=_finish(completion))
    return json_reply(200, whole, delay_s=completion.duration_s, statement=statement)


def is_path(path: str) -> bool:
    return PATH.fullmatch(path) is not None


def _named_in(path: str) -> tuple[str, str, str]:
    """Version, model and method."""
    found = PATH.fullmatch(path)
    return (found["version"], found["model"], found["method"]) if found else ("", "", "")


def _prompt(body: Mapping[str, Any]) -> Prompt:
    settings = body.get("generationConfig") or {}
    thinking = settings.get("thinkingConfig") or {}
    # Protobuf's JSON accepts either spelling, and the SDK sends this one.
    budget = thinking.get("thinking_budget", thinking.get("thinkingBudget"))
    text = text_of([body.get("systemInstruction"), body.get("contents")])
    return Prompt(text, settings.get("maxOutputTokens"), reasons=budget != 0)


def _form(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    settings = body.get("generationConfig") or {}
    return settings.get("responseJsonSchema") or settings.get("responseSchema")


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Functions that may be called now: none once one has answered."""
    parts = (body.get("contents") or [{}])[-1].get("parts") or ()
    if any("functionResponse" in part for part in parts):
        return {}
    return {
        str(function.get("name")): function.get("parametersJsonSchema") or function.get("parameters") or {}
        for tool in body.get("tools") or ()
        for function in tool.get("functionDeclarations") or ()
    }


def _function_call(wanted: ToolCall) -> dict[str, Any]:
    return {"functionCall": {"name": wanted.name, "args": wanted.arguments}}


def _refusal(request: Request, version: str, name: str, method: str) -> Reply | None:
    key = request.headers.get("x-goog-api-key", "")
    if not key:
        message = "Method doesn't allow unregistered callers (callers without established identity)."
        return _error(403, "PERMISSION_DENIED", message)
    if "invalid" in key:
        return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
    if request.is_rate_limited:
        message = "Resource has been exhausted (e.g. check quota)."
        return _error(429, "RESOURCE_EXHAUSTED", message, headers=(("retry-after", "1"),))
    if name not in MODELS or method not in ("generateContent", "streamGenerateContent"):
        message = f"models/{name} is not found for API version {version}, or is not supported for {method}."
        return _error(404, "NOT_FOUND", message)
    return None


def _error(status: int, reason: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return json_reply(
        status, {"error": {"code": status, "message": message, "status": reason}}, headers=headers
    )


def _usage(tokens: Tokens) -> dict[str, Any]:
    prompt = tokens.input + tokens.cache_read
    usage: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": tokens.output,
        "totalTokenCount": prompt + tokens.output + tokens.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        "serviceTier": "standard",
    }
    # The real service leaves out what is zero.
    if tokens.cache_read:
        usage["cachedContentTokenCount"] = tokens.cache_read
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": tokens.cache_read}]
    if tokens.reasoning:
        usage["thoughtsTokenCount"] = tokens.reasoning
    return usage


def _finish(completion: Completion) -> str:
    return "MAX_TOKENS" if completion.cut_short else "STOP"


def _chunk(
    response_id: str,
    completion: Completion,
    part: Mapping[str, Any],
    usage: Mapping[str, Any],
    *,
    finish: str = "",
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": completion.model.snapshot,
        "responseId": response_id,
    }


def _stream(response_id: str, completion: Completion, wanted: ToolCall | None) -> Iterator[Part]:
    """Every chunk carries the counts so far; only the last carries all of them."""
    if wanted:
        usage, finish = _usage(completion.tokens), _finish(completion)
        whole = _chunk(response_id, completion, _function_call(wanted), usage, finish=finish)
        yield Part(completion.duration_s, event(whole))
        return
    pieces = completion.pieces or ("",)
    sent = 0
    for number, piece in enumerate(pieces, start=1):
        delay_s = completion.piece_s + (completion.first_piece_s if number == 1 else 0)
        if number == len(pieces):
            last = _chunk(
                response_id,
                completion,
                {"text": piece},
                _usage(completion.tokens),
                finish=_finish(completion),
            )
            yield Part(delay_s, event(last))
            return
        sent += len(piece.split())
        so_far = _usage(completion.tokens._replace(output=sent))
        yield Part(delay_s, event(_chunk(response_id, completion, {"text": piece}, so_far)))
