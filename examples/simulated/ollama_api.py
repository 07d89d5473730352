"""Ollama's chat and generate. No key, durations in nanoseconds, no prompt count for a cached prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from simulated.completions import Completion, Model, PrefixCache, Prompt, complete, text_of
from simulated.exchange import NDJSON, Part, Reply, Request, Statement, json_reply, new_id
from simulated.forms import ToolCall, in_form, tool_call

PROVIDER = "ollama"
MODELS = {
    "llama3.2": Model("llama3.2", 0.2, 90),
    "qwen2.5-coder:7b": Model("qwen2.5-coder:7b", 0.3, 60),
    "mistral": Model("mistral", 0.3, 55),
}
NS_PER_S = 1_000_000_000


def answer_chat(request: Request, cache: PrefixCache) -> Reply:
    def said(text: str, wanted: ToolCall | None = None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if wanted:
            call = {"function": {"name": wanted.name, "arguments": wanted.arguments}}
            message |= {"content": "", "tool_calls": [call]}
        return {"message": message}

    return _answer(request, cache, text_of(request.body.get("messages")), said)


def answer_generate(request: Request, cache: PrefixCache) -> Reply:
    def said(text: str) -> dict[str, Any]:
        return {"response": text}

    text = text_of([request.body.get("system"), request.body.get("prompt")])
    return _answer(request, cache, text, said)


def _answer(request: Request, cache: PrefixCache, text: str, said: Any) -> Reply:
    name = str(request.body.get("model"))
    model = MODELS.get(name.removesuffix(":latest"))
    if model is None:
        return json_reply(404, {"error": f"model '{name}' not found"})
    if request.is_rate_limited:
        busy = {"error": "server busy, please try again. maximum pending requests exceeded"}
        return json_reply(503, busy)
    limit = (request.body.get("options") or {}).get("num_predict")
    form = request.body.get("format")
    schema = form if isinstance(form, Mapping) else None
    completion = in_form(complete(model, Prompt(text, limit, cache_characters=0), cache), schema)
    wanted = tool_call(_tools(request.body), completion)
    known = cache.seen_before(name, text)
    stated = completion.tokens._replace(input=0) if known else completion.tokens
    statement = Statement(PROVIDER, name, new_id("local-"), stated)
    counts = _counts(completion, known=known)
    if request.body.get("stream") is False:
        answer = said(completion.text, wanted) if wanted else said(completion.text)
        whole = {**_heading(name), **answer, **counts}
        return json_reply(200, whole, delay_s=completion.duration_s, statement=statement)
    if wanted:
        line = json.dumps({**_heading(name), **said("", wanted), **counts}).encode() + b"\n"
        return Reply(200, NDJSON, [Part(completion.duration_s, line)], statement=statement)
    parts = _stream(name, completion, said, counts)
    return Reply(200, NDJSON, parts, statement=statement)


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Tools that may be called now: none once a tool has answered."""
    messages = body.get("messages") or [{}]
    if messages[-1].get("role") == "tool":
        return {}
    functions = [tool.get("function") or {} for tool in body.get("tools") or ()]
    return {str(function.get("name")): function.get("parameters") or {} for function in functions}


def _heading(name: str) -> dict[str, Any]:
    return {"model": name, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _counts(completion: Completion, *, known: bool) -> dict[str, Any]:
    output_s = completion.duration_s - completion.first_piece_s
    counts: dict[str, Any] = {
        "done": True,
        "done_reason": "length" if completion.cut_short else "stop",
        "total_duration": int(completion.duration_s * NS_PER_S),
        "load_duration": int(completion.first_piece_s / 2 * NS_PER_S),
        "prompt_eval_count": completion.tokens.input,
        "prompt_eval_duration": int(completion.first_piece_s / 2 * NS_PER_S),
        "eval_count": completion.tokens.output,
        "eval_duration": int(output_s * NS_PER_S),
    }
    if known:
        del counts["prompt_eval_count"]
    return counts


def _stream(name: str, completion: Completion, said: Any, counts: Mapping[str, Any]) -> Iterator[Part]:
    def line(delay_s: float, body: Mapping[str, Any]) -> Part:
        return Part(delay_s, json.dumps({**_heading(name), **body}).encode() + b"\n")

    delay_s = completion.first_piece_s
    for piece in completion.pieces:
        yield line(delay_s + completion.piece_s, {**said(piece), "done": False})
        delay_s = 0
    yield line(0, {**said(""), **counts})
