"""What a streamed response says about its tokens, gathered from its chunks as they pass.

Usage comes at the end (OpenAI, Ollama, Bedrock, Cohere), at both ends (Anthropic, where the last
`message_delta` supersedes `message_start`), in every chunk as the total so far (Gemini), or in parts that
add up (LangChain). Text is looked at only to notice the first of it, and never kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from configurable_agents.observability.foreign import field_of, is_object, items_of, part_of, view_of
from configurable_agents.observability.usage import (
    ERROR_RESPONSE,
    STREAM_INCOMPLETE,
    UsageReading,
    UsageSource,
    read_usage,
)

LINE_BYTES_MAX = 16 * 1024 * 1024
"""Of one event in a raw stream. A longer one is dropped, with the code `stream_event_too_long`."""

EVENT_TOO_LONG = "stream_event_too_long"
EVENT_UNREADABLE = "stream_event_unreadable"

_KEPT_FIELDS = (
    *("id", "object", "model", "model_version", "modelVersion", "response_id", "responseId"),
    *("service_tier", "serviceTier", "system_fingerprint", "provider", "prompt_filter_results"),
    *("content_filters", "x_groq", "usage", "usage_metadata", "usageMetadata", "response_metadata"),
    *("done", "prompt_eval_count", "eval_count", "meta", "error"),
)
"""What the end of a stream may need of any chunk; where several have it, the last."""

_LAST_EVENTS = frozenset(
    {
        *("message_stop", "response.completed", "response.incomplete", "response.failed"),
        *("interaction.completed", "interaction.complete", "message-end", "stream-end"),
    }
)
_OUTPUT_FIELDS = ("content", "text", "tool_calls", "reasoning", "reasoning_content", "thinking", "audio")


class StreamAccumulator(UsageSource):
    """Takes every chunk or raw event of one stream; `track_call` reads it like a response.

    Understands the chunks of OpenAI chat and all who copy it, OpenAI Responses, Anthropic, Gemini,
    Ollama, Bedrock Converse, Cohere, Mistral, LiteLLM and LangChain as SDK objects or mappings, and their
    raw server-sent events or JSON lines as text or bytes, cut anywhere. For one thread at a time.
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._whole: Any = None
        """A whole response that an event brought along."""
        self._notes: dict[str, None] = {}
        self._raw = _RawEvents(self._notes)
        self._is_anthropic = False
        self._usage_is_final = False
        self._is_over = False
        self.has_output = False
        """Whether anything the model produced has passed."""

    def add(self, chunk: object) -> None:
        """Takes one chunk. Never raises: what cannot be read leaves a code in the reading's anomalies."""
        try:
            if isinstance(chunk, str | bytes | bytearray | memoryview):
                for event in self._raw.feed(chunk):
                    self._take(event)
            else:
                self._take(_unwrapped(view_of(chunk)))
        except Exception:  # noqa: BLE001 a foreign object's attributes may raise anything
            self._notes[EVENT_UNREADABLE] = None

    def end(self) -> None:
        """The stream has ended by itself. Without it, a stream is complete only if its last event says so."""
        try:
            for event in self._raw.rest():
                self._take(event)
        except Exception:  # noqa: BLE001 see `add`
            self._notes[EVENT_UNREADABLE] = None
        self._is_over = True

    @property
    def is_complete(self) -> bool:
        """Whether what is known of the usage is all there will be."""
        return self._usage_is_final if self._is_anthropic else self._is_over

    def read_usage(self, *, provider: str = "") -> UsageReading:
        """What the chunks so far say. Usage of an incomplete stream is marked `stream_ended_early`."""
        response = self._fields if self._whole is None else self._whole
        reading = read_usage(response, provider=provider)
        notes = list(self._notes)
        if not self.is_complete and (reading.usage is not None or not self._is_over):
            notes.append(STREAM_INCOMPLETE)
        return reading._replace(anomalies=tuple(dict.fromkeys((*notes, *reading.anomalies))))

    def _take(self, view: Any) -> None:
        kind = field_of(view, "type", "event_type")
        kind = kind if isinstance(kind, str) else ""
        self.has_output = self.has_output or _bears_output(view, kind)
        if kind in _LAST_EVENTS:
            self._is_over = True
        if kind in ("message_start", "message_delta"):
            self._take_anthropic(view)
        elif kind.startswith(("response.", "interaction.")) or kind == "stream-end":
            self._take_whole(view)
        elif kind in ("message-start", "message-end"):
            self._take_cohere(view)
        elif kind == "error":
            self._notes[ERROR_RESPONSE] = None
        else:
            self._take_chunk(view)

    def _take_anthropic(self, view: Any) -> None:
        self._is_anthropic = True
        message = part_of(view, "message")
        if message is not None:
            self._fields = {"type": "message", "role": "assistant"}
            self._keep(message)
        usage = _as_mapping(field_of(view if message is None else message, "usage"))
        stated = {name: value for name, value in usage.items() if value is not None}
        self._fields["usage"] = {**_as_mapping(self._fields.get("usage")), **stated}
        self._usage_is_final = self._usage_is_final or (message is None and bool(stated))

    def _take_whole(self, view: Any) -> None:
        inner = part_of(view, "response", "interaction")
        if inner is None:
            return
        self._whole = inner
        passed_by = field_of(part_of(view, "metadata"), "usage")
        if passed_by is not None and field_of(inner, "usage") is None:
            self._whole = {**_as_mapping(inner), "usage": passed_by}

    def _take_cohere(self, view: Any) -> None:
        self._keep(view)
        usage = field_of(part_of(view, "delta"), "usage")
        if usage is not None:
            self._fields["usage"] = usage

    def _take_chunk(self, view: Any) -> None:
        added = field_of(view, "usage_metadata")
        counted = _as_mapping(added) if added is not None and _is_langchain(added) else None
        before = self._fields.get("usage_metadata")
        told = _as_mapping(self._fields.get("response_metadata"))
        self._keep(view)
        if told:  # LangChain's chunks each tell a part of it, many nothing
            self._fields["response_metadata"] = {**told, **_as_mapping(self._fields["response_metadata"])}
        if counted is not None:
            self._fields["usage_metadata"] = _sum(_as_mapping(before), counted)
        metadata = field_of(part_of(view, "metadata"), "usage")
        if metadata is not None:
            self._fields["usage"] = metadata
            self._is_over = True
        self._note_search(view)
        if field_of(view, "done") is True:
            self._is_over = True
        if self._has_usage() and _is_last_chunk(view):
            self._is_over = True

    def _keep(self, view: Any) -> None:
        for name in _KEPT_FIELDS:
            value = field_of(view, name)
            if value is not None:
                self._fields[name] = value
        if "done" in self._fields:
            self._fields.setdefault("message" if field_of(view, "message") is not None else "response", "")

    def _note_search(self, view: Any) -> None:
        """Gemini tells of its searches in any one chunk."""
        for candidate in items_of(view, "candidates")[:1]:
            grounding = field_of(candidate, "groundingMetadata", "grounding_metadata")
            if grounding is not None:
                self._fields["candidates"] = [{"groundingMetadata": view_of(grounding)}]

    def _has_usage(self) -> bool:
        return any(name in self._fields for name in ("usage", "usage_metadata", "usageMetadata"))


class _RawEvents:
    """Cuts server-sent events, JSON lines or one JSON array out of text that comes in pieces."""

    def __init__(self, notes: dict[str, None]) -> None:
        self._notes = notes
        self._buffer = b""
        self._has_begun = False
        self._is_array = False

    def feed(self, piece: str | bytes | bytearray | memoryview) -> Iterator[Any]:
        data = piece.encode("utf-8", "replace") if isinstance(piece, str) else bytes(piece)
        whole_line = isinstance(piece, str) and "\n" not in piece and not self._buffer
        self._buffer += data
        if not self._has_begun and self._buffer.strip():
            self._has_begun = True
            self._is_array = self._buffer.lstrip()[:1] == b"["
        if len(self._buffer) > LINE_BYTES_MAX:
            self._notes[EVENT_TOO_LONG] = None
            self._buffer = b""
        if self._is_array:
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        if whole_line and _is_event_line(self._buffer):
            lines, self._buffer = [self._buffer], b""  # clients iterate lines without their ends
        for line in lines:
            yield from self._event(line)

    def rest(self) -> Iterator[Any]:
        """What stood after the last line end, or the array as a whole."""
        rest, self._buffer = self._buffer, b""
        if not self._is_array:
            yield from self._event(rest)
            return
        try:
            yield from (view_of(item) for item in json.loads(rest))
        except ValueError:
            self._notes[EVENT_UNREADABLE] = None

    def _event(self, line: bytes) -> Iterator[Any]:
        text = line.strip()
        if text.startswith(b"data:"):
            text = text[len(b"data:") :].strip()
        if not text.startswith(b"{"):
            return  # names of events, comments, blanks, [DONE]
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            self._notes[EVENT_UNREADABLE] = None


def _is_event_line(line: bytes) -> bool:
    """Whether a piece of text without a line end is a whole event all the same."""
    text = line.strip()
    if not text.startswith((b"data:", b"{")):
        return not text or text.startswith((b"event:", b":"))
    body = text.removeprefix(b"data:").strip()
    if not body.startswith(b"{"):
        return body == b"[DONE]"
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _unwrapped(view: Any) -> Any:
    """The chunk inside the events of OpenAI's and Mistral's helpers."""
    for name in ("chunk", "data"):
        inner = field_of(view, name)
        if inner is not None and is_object(inner) and field_of(view, "choices", "usage") is None:
            return view_of(inner)
    return view


def _bears_output(view: Any, kind: str) -> bool:
    if kind:
        return kind == "content_block_start" or ("delta" in kind and kind != "message_delta")
    for choice in items_of(view, "choices")[:1]:
        return any(field_of(part_of(choice, "delta"), name) for name in _OUTPUT_FIELDS)
    for candidate in items_of(view, "candidates")[:1]:
        return bool(field_of(part_of(candidate, "content"), "parts"))
    answer = field_of(view, "response")
    if (isinstance(answer, str) and answer) or field_of(view, "content", "contentBlockDelta"):
        return True
    return any(field_of(part_of(view, "message"), name) for name in _OUTPUT_FIELDS)


def _is_last_chunk(view: Any) -> bool:
    if not items_of(view, "choices") and field_of(view, "choices") is not None:
        return True
    reasons = ("finish_reason", "finishReason")
    return any(
        field_of(item, *reasons) is not None
        for item in (*items_of(view, "choices")[:1], *items_of(view, "candidates")[:1])
    )


def _is_langchain(usage: Any) -> bool:
    return field_of(view_of(usage), "input_tokens", "output_tokens") is not None


def _as_mapping(value: Any) -> dict[str, Any]:
    view = view_of(value)
    if isinstance(view, Mapping):
        return dict(view)
    return dict(vars(view)) if hasattr(view, "__dict__") else {}


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """LangChain's chunks each carry a part of the counts."""
    total = dict(left)
    for name, value in right.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            total[name] = _sum(_as_mapping(known), value)
        elif isinstance(value, int) and isinstance(known, int):
            total[name] = known + value
        elif value is not None:
            total[name] = value
    return total
