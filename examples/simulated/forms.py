"""Answers in the form that was asked for: JSON of a schema, or the arguments of a tool.

Strings share the words of the answer, numbers follow from them, booleans are true, lists have two items.
The token counts stay those of the answer in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from simulated.completions import Completion

LIST_ITEMS = 2
NUMBER_MAX = 100


class ToolCall(NamedTuple):
    name: str
    arguments: Any


def value_for(schema: Mapping[str, Any], completion: Completion) -> Any:
    """Something that the schema allows."""
    strings = max(1, _string_count(schema))
    words = completion.text.split() or ["empty"]
    size = max(1, len(words) // strings)
    parts = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
    return _value(schema, _endless(parts), len(words))


def in_form(completion: Completion, schema: Mapping[str, Any] | None) -> Completion:
    """The completion with its text as JSON of the schema, in as many pieces as before."""
    if not schema:
        return completion
    text = json.dumps(value_for(schema, completion))
    size = -(-len(text) // max(1, len(completion.pieces)))
    return completion._replace(
        pieces=tuple(text[start : start + size] for start in range(0, len(text), size))
    )


def tool_call(offered: Mapping[str, Any], completion: Completion) -> ToolCall | None:
    """A call of the first tool that is offered. `offered` maps names to the schemas of their arguments."""
    for name, schema in offered.items():
        return ToolCall(name, value_for(schema, completion))
    return None


def _value(schema: Mapping[str, Any], texts: Iterator[str], number: int) -> Any:
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if choice.get("type") != "null":
            return _value(choice, texts, number)
    if schema.get("enum"):
        return schema["enum"][0]
    kind = str(schema.get("type", "object" if "properties" in schema else "string")).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        if not properties and isinstance(schema.get("additionalProperties"), Mapping):
            properties = {"first": schema["additionalProperties"]}
        return {name: _value(inner, texts, number) for name, inner in properties.items()}
    if kind == "array":
        return [_value(schema.get("items") or {}, texts, number) for _ in range(LIST_ITEMS)]
    simple = {"integer": number % NUMBER_MAX, "number": number % NUMBER_MAX / NUMBER_MAX, "boolean": True}
    return simple[kind] if kind in simple else next(texts)


def _string_count(schema: Mapping[str, Any]) -> int:
    kind = str(schema.get("type", "object" if "properties" in schema else "string")).lower()
    if kind == "object":
        return sum(_string_count(inner) for inner in (schema.get("properties") or {}).values())
    if kind == "array":
        return LIST_ITEMS * _string_count(schema.get("items") or {})
    return int(kind == "string")


def _endless(parts: list[str]) -> Iterator[str]:
    while True:
        yield from parts
