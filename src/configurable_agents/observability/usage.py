"""What a provider's response says about its tokens, read into classes that never overlap.

Providers disagree on what their counts include; each reader below states its provider's rule. Nothing
is estimated: a count that cannot be believed makes the whole usage unknown, and a part that exceeds its
whole is cut to it. Both leave a short code in `UsageReading.anomalies`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from configurable_agents.observability.foreign import field_of as _field
from configurable_agents.observability.foreign import is_object as _is_object
from configurable_agents.observability.foreign import items_of as _items
from configurable_agents.observability.foreign import part_of as _part
from configurable_agents.observability.foreign import view_of as _view
from configurable_agents.telemetry import NANOS_PER_USD, Usage

COUNT_MAX = 10**12
"""No call has this many tokens; a larger count makes the usage unknown."""
NAME_CHARS_MAX = 256
"""Longer model names and response ids are cut."""
STATED_COST_USD_MAX = 10**6
"""A stated cost above this is not believed."""

NEGATIVE_COUNT = "negative_token_count"
COUNT_NOT_INTEGER = "token_count_not_an_integer"
COUNT_IMPLAUSIBLE = "implausible_token_count"
USAGE_NOT_OBJECT = "usage_not_an_object"
COUNTS_ABSENT = "no_token_counts"
ONLY_TOTAL = "only_total_tokens"
ZERO_TOKENS = "zero_tokens"
INPUT_MISSING = "input_tokens_missing"
CACHED_EXCEEDS_INPUT = "cached_exceeds_input"
CACHE_WRITE_EXCEEDS_INPUT = "cache_write_exceeds_input"
AUDIO_EXCEEDS_INPUT = "audio_exceeds_input"
REASONING_EXCEEDS_OUTPUT = "reasoning_exceeds_output"
AUDIO_EXCEEDS_OUTPUT = "audio_exceeds_output"
CACHE_WRITE_PARTS_DIFFER = "cache_write_parts_differ"
TOTAL_DIFFERS = "total_tokens_differ"
ITERATIONS_UNREADABLE = "iterations_unreadable"
MIXED_MODELS = "iterations_of_other_model"
SUMMED_REQUESTS = "input_summed_over_requests"
CACHED_AUDIO = "cached_audio_tokens"
IMAGE_INPUT = "image_input_tokens"
IMAGE_OUTPUT = "image_output_tokens"
INFERENCE_GEO_US = "inference_geo_us"
GROUNDING_UNCOUNTED = "grounding_searches_not_counted"
COST_NOT_TRUSTED = "stated_cost_of_unknown_origin"
COST_INVALID = "stated_cost_invalid"
MODEL_NAME_TOO_LONG = "model_name_too_long"
ERROR_RESPONSE = "error_response"
STREAM_INCOMPLETE = "stream_ended_early"
UNKNOWN_SHAPE = "unknown_response_shape"
UNREADABLE = "unreadable_response"
NO_RESPONSE = "no_response"

ARGUMENT_UNUSABLE = "_unusable"
"""How the codes end that are about an argument of `track_call` and not about a response."""
USAGE_UNKNOWN_CODES = frozenset(
    {
        NEGATIVE_COUNT,
        COUNT_NOT_INTEGER,
        COUNT_IMPLAUSIBLE,
        USAGE_NOT_OBJECT,
        COUNTS_ABSENT,
        ONLY_TOTAL,
        ZERO_TOKENS,
    }
)
"""Any of these makes the whole usage unknown: it is there and cannot be believed."""
_XAI_TICKS_PER_NANO = 10
_PROTOBUF_AUDIO, _PROTOBUF_IMAGE = 4, 2


class ModelUsage(NamedTuple):
    """Part of a usage that another model than the response's own has served."""

    model: str
    usage: Usage


class UsageReading(NamedTuple):
    """What one response says. Empty strings and `None` mean: it does not say."""

    usage: Usage | None = None
    shape: str = ""
    """The API whose rules were applied, e.g. `openai.chat`, `anthropic.messages`."""
    provider: str = ""
    model: str = ""
    response_id: str = ""
    service_tier: str = ""
    """Lower case, as the response names it."""
    stated_cost_nanos: int | None = None
    """What the provider or gateway itself charged."""
    anomalies: tuple[str, ...] = ()
    other_models: tuple[ModelUsage, ...] = ()
    """Already in `usage`; set with the code `iterations_of_other_model`."""


class UsageSource(ABC):
    """Something that is no response itself and knows what one said, such as the chunks of a stream."""

    @abstractmethod
    def read_usage(self, *, provider: str = "") -> UsageReading: ...


def read_usage(response: object, *, provider: str = "") -> UsageReading:
    """Reads an SDK object, a response as a dict, or a bare usage object of any supported API.

    `provider` is what the caller knows about its origin; it decides where a bare usage is ambiguous.
    Never raises: what cannot be read is a reading without usage and with an anomaly. Thread-safe.
    """
    notes: list[str] = []
    try:
        if isinstance(response, UsageSource):
            return response.read_usage(provider=provider)
        return _read(response, provider, notes)
    except Exception:  # noqa: BLE001 a foreign object's attributes may raise anything
        return UsageReading(anomalies=(*dict.fromkeys(notes), UNREADABLE))


def _read(response: object, provider: str, notes: list[str]) -> UsageReading:
    if response is None:
        return UsageReading(anomalies=(NO_RESPONSE,))
    envelope = _unwrapped(_view(response))
    body = _usage_body(envelope)
    if body is None:
        return _without_usage(envelope, notes)
    view = _view(body)
    form = _form_of(view, provider)
    if form is None:
        notes.append(COUNTS_ABSENT if _is_object(body) else USAGE_NOT_OBJECT)
        return _without_usage(envelope, notes)
    found, others = form.read(view, notes)
    shape = _shape(form, response, envelope, view)
    usage = _checked(_with_searches(found, shape, envelope), notes)
    if shape == "google.generate_content" and _is_grounded(envelope):
        notes.append(GROUNDING_UNCOUNTED)
    return UsageReading(
        usage=usage,
        shape=shape,
        provider=_provider_of(shape, envelope),
        model=_name(_model_of(envelope), notes),
        response_id=_name(_field(envelope, "id", "response_id", "responseId"), notes),
        service_tier=_service_tier(envelope, view),
        stated_cost_nanos=_stated_cost(envelope, view, shape, provider, notes),
        anomalies=tuple(dict.fromkeys(notes)),
        other_models=others if usage is not None else (),
    )


def _without_usage(envelope: Any, notes: list[str]) -> UsageReading:
    shape = _shape_of_envelope(envelope)
    if _field(envelope, "error") is not None:
        notes.append(ERROR_RESPONSE)
    elif not shape and not notes:
        notes.append(UNKNOWN_SHAPE)
    return UsageReading(
        shape=shape,
        provider=_provider_of(shape, envelope),
        model=_name(_model_of(envelope), notes),
        response_id=_name(_field(envelope, "id", "response_id", "responseId"), notes),
        service_tier=_service_tier(envelope, None),
        anomalies=tuple(dict.fromkeys(notes)),
    )


# --- figures and names -----------------------------------------------------------------------------


def _count(source: Any, notes: list[str], *names: str) -> int | None:
    """A count of tokens or requests; `None` when it is absent or cannot be believed."""
    value = _field(source, *names)
    if value is None:
        return None
    if type(value) is not int:
        if not (isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1):
            notes.append(COUNT_NOT_INTEGER)
            return None
        value = int(value)
    if value < 0:
        notes.append(NEGATIVE_COUNT)
        return None
    if value > COUNT_MAX:
        notes.append(COUNT_IMPLAUSIBLE)
        return None
    return value


def _cut(part: int, whole: int, code: str, notes: list[str]) -> int:
    if part > whole:
        notes.append(code)
        return whole
    return part


def _name(value: Any, notes: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    if len(value) > NAME_CHARS_MAX:
        notes.append(MODEL_NAME_TOO_LONG)
        return value[:NAME_CHARS_MAX]
    return value


# --- where the usage is ----------------------------------------------------------------------------


def _unwrapped(view: Any) -> Any:
    """The response inside the event that ends an OpenAI Responses stream."""
    kind = _field(view, "type")
    if isinstance(kind, str) and kind.startswith("response."):
        inner = _field(view, "response")
        if inner is not None and _is_object(inner):
            return _view(inner)
    return view


def _usage_body(envelope: Any) -> Any:
    found = _field(envelope, "usage", "usage_metadata", "usageMetadata")
    if found is not None:
        return found
    if _form_of(envelope, "") is not None:
        return envelope
    for wrapper in ("x_groq", "metadata"):
        inner = _field(_part(envelope, wrapper), "usage")
        if inner is not None:
            return inner
    meta = _part(envelope, "meta")
    return meta if _field(meta, "billed_units", "tokens") is not None else None


def _shape_of_envelope(envelope: Any) -> str:
    kind = _field(envelope, "object")
    if isinstance(kind, str):
        if kind.startswith(("chat.completion", "text_completion")):
            return "openai.chat"
        if kind == "response":
            return "openai.responses"
    if _field(envelope, "type") == "message" and _field(envelope, "role") == "assistant":
        return "anthropic.messages"
    if _field(envelope, "candidates", "usage_metadata", "usageMetadata") is not None:
        return "google.generate_content"
    if isinstance(_field(envelope, "done"), bool):
        return "ollama.chat" if _field(envelope, "message") is not None else "ollama.generate"
    return ""


# --- one reader per form of usage ------------------------------------------------------------------

_Read = tuple[Usage, tuple[ModelUsage, ...]]


class _Form(NamedTuple):
    shape: str
    markers: tuple[str, ...]
    """Any one of these fields makes a usage of this form."""
    read: Callable[[Any, list[str]], _Read]


def _form_of(view: Any, provider: str) -> _Form | None:
    for form in _FORMS:
        value = _field(view, *form.markers)
        if value is not None and not (form is _COHERE and not _is_object(value)):
            return form
    if _field(view, "input_tokens", "output_tokens") is not None:
        details = _field(view, "input_token_details", "output_token_details")
        if details is not None:
            return (
                _LANGCHAIN if _field(_view(details), "text_tokens", "audio_tokens") is None else _TRANSCRIPT
            )
        inclusive = _field(view, "input_tokens_details", "total_tokens") is not None
        return _RESPONSES if inclusive else _ANTHROPIC
    if _field(view, "total_tokens") is not None:
        return _VOYAGE if provider.lower().startswith("voyage") else _TOTAL
    return None


def _read_inclusive(view: Any, notes: list[str]) -> _Read:
    """OpenAI and all who copy it: input includes cached and written tokens, output includes reasoning.

    xAI alone leaves reasoning out of the completion; the total tells which of the two it is.
    """
    details = _part(view, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    made = _part(view, "completion_tokens_details", "output_tokens_details", "output_token_details")
    all_input = _count(view, notes, "prompt_tokens", "input_tokens")
    all_output = _count(view, notes, "completion_tokens", "output_tokens") or 0
    total = _count(view, notes, "total_tokens")
    reasoning = _count(made, notes, "reasoning_tokens", "thinking_tokens") or _of_any_tier(
        made, notes, "reasoning"
    )
    _note_missing_input(all_input, notes)
    if reasoning and total == (all_input or 0) + all_output + reasoning:
        all_output += reasoning
    if _count(details, notes, "image_tokens"):
        notes.append(IMAGE_INPUT)
    if _count(made, notes, "image_tokens"):
        notes.append(IMAGE_OUTPUT)
    usage = _split(
        notes,
        all_input=all_input or 0,
        cache_read=_inclusive_cache_read(view, details, notes),
        cache_write=_inclusive_cache_write(view, details, notes),
        cache_write_1h=_cache_write_of(details, notes, "ephemeral_1h_input_tokens"),
        audio_input=_inclusive_uncached_audio(details, notes),
        all_output=all_output,
        reasoning=reasoning,
        audio_output=_count(made, notes, "audio_tokens", "audio") or 0,
        web_searches=_web_search_requests(view, notes),
    )
    _compare_total(usage, total, notes)
    return _with_iterations(view, usage, notes)


def _inclusive_cache_read(view: Any, details: Any, notes: list[str]) -> int:
    """OpenAI; then Mistral, Together, DeepSeek and LiteLLM by their own names."""
    return (
        _count(details, notes, "cached_tokens")
        or _of_any_tier(details, notes, "cache_read")
        or _count(view, notes, "num_cached_tokens", "cached_tokens", "prompt_cache_hit_tokens")
        or _count(view, notes, "cache_read_input_tokens")
        or 0
    )


def _inclusive_cache_write(view: Any, details: Any, notes: list[str]) -> int:
    """OpenAI, LiteLLM, LangChain; where LangChain states the lifetimes apart, its whole is 0."""
    return (
        _count(details, notes, "cache_write_tokens", "cache_creation_tokens")
        or _of_any_tier(details, notes, "cache_creation")
        or _count(view, notes, "cache_creation_input_tokens")
        or _cache_write_of(details, notes, "ephemeral_5m_input_tokens")
        + _cache_write_of(details, notes, "ephemeral_1h_input_tokens")
    )


def _cache_write_of(details: Any, notes: list[str], lifetime: str) -> int:
    inner = _part(details, "cache_creation_token_details")
    source = inner if inner is not None else details
    return _count(source, notes, lifetime) or 0


def _inclusive_uncached_audio(details: Any, notes: list[str]) -> int:
    """OpenAI's Realtime API caches audio too, and tells how much of the cached input it is."""
    audio = _count(details, notes, "audio_tokens", "audio") or 0
    cached_audio = _count(_part(details, "cached_tokens_details"), notes, "audio_tokens") or 0
    if cached_audio:
        notes.append(CACHED_AUDIO)
    return max(audio - cached_audio, 0)


_LANGCHAIN_TIERS = ("priority", "flex")
"""LangChain puts the tier before its names of an OpenAI call's details: `flex_cache_read`."""


def _of_any_tier(details: Any, notes: list[str], name: str) -> int:
    """A detail by LangChain's name. Usages added up over several calls may have it at several tiers."""
    names = (name, *(f"{tier}_{name}" for tier in _LANGCHAIN_TIERS))
    return sum(_count(details, notes, each) or 0 for each in names)


def _langchain_tier(view: Any) -> str:
    """The tier that all of the input was at; empty where it was at several."""
    details = _part(view, "input_token_details")
    for tier in _LANGCHAIN_TIERS:
        fresh = _count(details, [], tier)
        if fresh is not None:
            read = _count(details, [], f"{tier}_cache_read") or 0
            return tier if _count(view, [], "input_tokens") == fresh + read else ""
    return ""


def _read_anthropic(view: Any, notes: list[str]) -> _Read:
    """Anthropic: `input_tokens` excludes cache reads and writes; output includes thinking."""
    return _with_iterations(view, _exclusive(view, notes), notes)


def _exclusive(view: Any, notes: list[str]) -> Usage:
    fresh = _count(view, notes, "input_tokens")
    _note_missing_input(fresh, notes)
    written, written_1h = _anthropic_cache_writes(view, notes)
    output = _count(view, notes, "output_tokens") or 0
    thinking = _count(_part(view, "output_tokens_details"), notes, "thinking_tokens") or 0
    thinking = _cut(thinking, output, REASONING_EXCEEDS_OUTPUT, notes)
    if _field(view, "inference_geo") == "us":
        notes.append(INFERENCE_GEO_US)
    searches = _web_search_requests(view, notes)
    if searches:
        notes.append(SUMMED_REQUESTS)
    return Usage(
        input_tokens=fresh or 0,
        cache_read_tokens=_count(view, notes, "cache_read_input_tokens") or 0,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_tokens=output - thinking,
        reasoning_tokens=thinking,
        web_searches=searches,
    )


def _anthropic_cache_writes(view: Any, notes: list[str]) -> tuple[int, int]:
    """Writes with the default lifetime and with one hour; their sum is `cache_creation_input_tokens`."""
    parts = _part(view, "cache_creation")
    short = _count(parts, notes, "ephemeral_5m_input_tokens") or 0
    long = _count(parts, notes, "ephemeral_1h_input_tokens") or 0
    whole = _count(view, notes, "cache_creation_input_tokens")
    if whole is None:
        return short, long
    if parts is not None and short + long != whole:
        notes.append(CACHE_WRITE_PARTS_DIFFER)
    long = min(long, whole)
    return whole - long, long


def _with_iterations(view: Any, top: Usage, notes: list[str]) -> _Read:
    """Where Anthropic lists iterations (compaction, advisor), the bill is their sum, not the top level."""
    steps = _items(view, "iterations")
    if not steps:
        return top, ()
    before = len(notes)
    usages = [_exclusive(step, notes) for step in steps]
    if len(notes) > before:
        notes[before:] = [ITERATIONS_UNREADABLE]
        return top, ()
    total = Usage()
    for usage in usages:
        total = total.plus(usage)
    if len(steps) > 1:
        notes.append(SUMMED_REQUESTS)
    others = tuple(
        ModelUsage(str(_field(step, "model"))[:NAME_CHARS_MAX], usage)
        for step, usage in zip(steps, usages, strict=True)
        if _field(step, "model") is not None
    )
    if others:
        notes.append(MIXED_MODELS)
    return _with_top_level_details(total, top), others


def _with_top_level_details(total: Usage, top: Usage) -> Usage:
    """Thinking tokens and searches stand at the top level only."""
    reasoning = min(top.reasoning_tokens, total.all_output_tokens)
    return total._replace(
        output_tokens=total.all_output_tokens - reasoning,
        reasoning_tokens=reasoning,
        web_searches=top.web_searches,
    )


def _read_google(view: Any, notes: list[str]) -> _Read:
    """Gemini: the prompt includes cached tokens; candidates exclude thoughts; tool use is further input."""
    prompt = _count(view, notes, "promptTokenCount", "prompt_token_count")
    candidates = _count(view, notes, "candidatesTokenCount", "candidates_token_count")
    if candidates is None:
        candidates = _count(view, notes, "responseTokenCount", "response_token_count")
    thoughts = _count(view, notes, "thoughtsTokenCount", "thoughts_token_count")
    tools = _count(view, notes, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    total = _count(view, notes, "totalTokenCount", "total_token_count")
    if prompt is None and candidates is None and thoughts is None and tools is None:
        notes.append(ONLY_TOTAL if total is not None else COUNTS_ABSENT)
        return Usage(), ()
    _note_missing_input(prompt, notes)
    made = _items(view, "candidatesTokensDetails", "candidates_tokens_details", "responseTokensDetails")
    usage = _split(
        notes,
        all_input=(prompt or 0) + (tools or 0),
        cache_read=_count(view, notes, "cachedContentTokenCount", "cached_content_token_count") or 0,
        audio_input=_google_uncached_audio(view, notes),
        all_output=(candidates or 0) + (thoughts or 0),
        reasoning=thoughts or 0,
        audio_output=_modality(made, "AUDIO", _PROTOBUF_AUDIO, notes),
    )
    if _modality(made, "IMAGE", _PROTOBUF_IMAGE, notes):
        notes.append(IMAGE_OUTPUT)
    _compare_total(usage, total, notes)
    return usage, ()


def _google_uncached_audio(view: Any, notes: list[str]) -> int:
    prompt = _items(view, "promptTokensDetails", "prompt_tokens_details", "promptTokenDetails")
    cached = _items(view, "cacheTokensDetails", "cache_tokens_details")
    cached_audio = _modality(cached, "AUDIO", _PROTOBUF_AUDIO, notes)
    if cached_audio:
        notes.append(CACHED_AUDIO)
    return max(_modality(prompt, "AUDIO", _PROTOBUF_AUDIO, notes) - cached_audio, 0)


def _modality(items: list[Any], wanted: str, wanted_number: int, notes: list[str]) -> int:
    """Tokens of one modality; Vertex's protobuf JSON writes the modality as a number."""
    tokens = 0
    for item in items:
        modality = _field(item, "modality")
        if modality == wanted_number or (isinstance(modality, str) and modality.upper() == wanted):
            tokens += _count(item, notes, "tokenCount", "token_count", "tokens") or 0
    return tokens


def _read_interactions(view: Any, notes: list[str]) -> _Read:
    """Gemini's Interactions API: thoughts and tool use apart, cached tokens inside the input."""
    thoughts = _count(view, notes, "total_thought_tokens") or 0
    by_modality = _items(view, "input_tokens_by_modality")
    usage = _split(
        notes,
        all_input=(_count(view, notes, "total_input_tokens") or 0)
        + (_count(view, notes, "total_tool_use_tokens") or 0),
        cache_read=_count(view, notes, "total_cached_tokens") or 0,
        audio_input=_modality(by_modality, "AUDIO", _PROTOBUF_AUDIO, notes),
        all_output=(_count(view, notes, "total_output_tokens") or 0) + thoughts,
        reasoning=thoughts,
    )
    _compare_total(usage, _count(view, notes, "total_tokens"), notes)
    return usage, ()


def _read_bedrock(view: Any, notes: list[str]) -> _Read:
    """Bedrock Converse and Nova: input excludes cache reads and writes, as at Anthropic."""
    fresh = _count(view, notes, "inputTokens")
    _note_missing_input(fresh, notes)
    written = _count(view, notes, "cacheWriteInputTokens", "cacheWriteInputTokenCount") or 0
    lifetimes = [item for item in _items(view, "cacheDetails") if _field(item, "ttl") == "1h"]
    written_1h = sum(_count(item, notes, "inputTokens") or 0 for item in lifetimes)
    written_1h = _cut(written_1h, written, CACHE_WRITE_PARTS_DIFFER, notes)
    usage = Usage(
        input_tokens=fresh or 0,
        cache_read_tokens=_count(view, notes, "cacheReadInputTokens", "cacheReadInputTokenCount") or 0,
        cache_write_tokens=written - written_1h,
        cache_write_1h_tokens=written_1h,
        output_tokens=_count(view, notes, "outputTokens") or 0,
    )
    _compare_total(usage, _count(view, notes, "totalTokens"), notes)
    return usage, ()


def _read_cohere(view: Any, notes: list[str]) -> _Read:
    """Cohere bills `billed_units`, which leave out its own prompt template; `tokens` count everything."""
    billed = _part(view, "billed_units")
    source = billed if billed is not None else _part(view, "tokens")
    fresh = _count(source, notes, "input_tokens")
    images = _count(source, notes, "image_tokens") or 0
    output = _count(source, notes, "output_tokens")
    if fresh is None and output is None and not images:
        notes.append(COUNTS_ABSENT)
    if images:
        notes.append(IMAGE_INPUT)
    return Usage(input_tokens=(fresh or 0) + images, output_tokens=output or 0), ()


def _read_ollama(view: Any, notes: list[str]) -> _Read:
    """Ollama leaves `prompt_eval_count` out when the whole prompt was cached."""
    prompt = _count(view, notes, "prompt_eval_count")
    _note_missing_input(prompt, notes)
    return Usage(input_tokens=prompt or 0, output_tokens=_count(view, notes, "eval_count") or 0), ()


def _read_voyage(view: Any, notes: list[str]) -> _Read:
    """Voyage embeds only, so its total is its input."""
    return Usage(input_tokens=_count(view, notes, "total_tokens") or 0), ()


def _read_total(view: Any, notes: list[str]) -> _Read:
    _count(view, notes, "total_tokens")
    notes.append(ONLY_TOTAL)
    return Usage(), ()


_CHAT = _Form("openai.chat", ("prompt_tokens", "completion_tokens"), _read_inclusive)
_RESPONSES = _Form("openai.responses", (), _read_inclusive)
_LANGCHAIN = _Form("langchain", (), _read_inclusive)
_TRANSCRIPT = _Form("openai.transcriptions", (), _read_inclusive)
_ANTHROPIC = _Form("anthropic.messages", (), _read_anthropic)
_VOYAGE = _Form("voyage.embeddings", (), _read_voyage)
_TOTAL = _Form("", (), _read_total)
_COHERE = _Form("cohere.chat", ("billed_units", "tokens"), _read_cohere)
_GOOGLE_MARKERS = (
    *("promptTokenCount", "prompt_token_count", "candidatesTokenCount", "candidates_token_count"),
    *("totalTokenCount", "total_token_count", "thoughtsTokenCount", "thoughts_token_count"),
    *("toolUsePromptTokenCount", "tool_use_prompt_token_count", "trafficType", "traffic_type"),
)
_FORMS = (
    _CHAT,
    _Form("google.generate_content", _GOOGLE_MARKERS, _read_google),
    _Form("bedrock.converse", ("inputTokens", "outputTokens"), _read_bedrock),
    _Form("ollama.chat", ("prompt_eval_count", "eval_count"), _read_ollama),
    _Form("google.interactions", ("total_input_tokens", "total_output_tokens"), _read_interactions),
    _COHERE,
)


# --- what the readers share ------------------------------------------------------------------------


def _split(
    notes: list[str],
    *,
    all_input: int,
    cache_read: int,
    all_output: int,
    reasoning: int,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    audio_input: int = 0,
    audio_output: int = 0,
    web_searches: int = 0,
) -> Usage:
    """Takes the parts out of wholes that include them, so that the classes sum to the wholes."""
    cache_read = _cut(cache_read, all_input, CACHED_EXCEEDS_INPUT, notes)
    left = all_input - cache_read
    cache_write = _cut(cache_write, left, CACHE_WRITE_EXCEEDS_INPUT, notes)
    left -= cache_write
    audio_input = _cut(audio_input, left, AUDIO_EXCEEDS_INPUT, notes)
    cache_write_1h = _cut(cache_write_1h, cache_write, CACHE_WRITE_PARTS_DIFFER, notes)
    reasoning = _cut(reasoning, all_output, REASONING_EXCEEDS_OUTPUT, notes)
    audio_output = _cut(audio_output, all_output - reasoning, AUDIO_EXCEEDS_OUTPUT, notes)
    return Usage(
        input_tokens=left - audio_input,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write - cache_write_1h,
        cache_write_1h_tokens=cache_write_1h,
        output_tokens=all_output - reasoning - audio_output,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_input,
        audio_output_tokens=audio_output,
        web_searches=web_searches,
    )


def _note_missing_input(count: int | None, notes: list[str]) -> None:
    """A count that is there and cannot be believed is not missing."""
    if count is None and USAGE_UNKNOWN_CODES.isdisjoint(notes):
        notes.append(INPUT_MISSING)


def _compare_total(usage: Usage, total: int | None, notes: list[str]) -> None:
    if total is not None and total != usage.total_tokens:
        notes.append(TOTAL_DIFFERS)


def _web_search_requests(view: Any, notes: list[str]) -> int:
    return _count(_part(view, "server_tool_use"), notes, "web_search_requests") or 0


def _with_searches(usage: Usage, shape: str, envelope: Any) -> Usage:
    """OpenAI Responses lists its searches as output items; opening a found page is not a search."""
    if shape != "openai.responses":
        return usage
    searches = sum(1 for item in _items(envelope, "output") if _is_search(item))
    return usage._replace(web_searches=searches) if searches else usage


def _is_search(item: Any) -> bool:
    if _field(item, "type") != "web_search_call":
        return False
    return _field(_part(item, "action"), "type") in (None, "search")


def _is_grounded(envelope: Any) -> bool:
    """Whether Gemini searched: billed beyond a daily allowance, per prompt or per query by model."""
    first = _items(envelope, "candidates")[:1]
    grounding = _part(first[0], "groundingMetadata", "grounding_metadata") if first else None
    return bool(_field(grounding, "webSearchQueries", "web_search_queries"))


def _checked(usage: Usage, notes: list[str]) -> Usage | None:
    if not USAGE_UNKNOWN_CODES.isdisjoint(notes):
        return None
    if not any(usage):
        notes.append(ZERO_TOKENS)
        return None
    return usage


def _shape(form: _Form, response: object, envelope: Any, view: Any) -> str:
    if form is _CHAT:
        if type(response).__module__.startswith("litellm") or _looks_like_litellm(view):
            return "litellm"
        if _field(view, "completion_tokens") is None or _field(envelope, "object") == "list":
            return "openai.embeddings"
    if form.shape == "ollama.chat" and isinstance(_field(envelope, "response"), str):
        return "ollama.generate"
    return form.shape


def _looks_like_litellm(view: Any) -> bool:
    """LiteLLM adds Anthropic's cache fields to OpenAI's usage, or details no OpenAI response has."""
    if isinstance(view, Mapping) and ("cache_read_input_tokens" in view or "iterations" in view):
        return True
    if _field(view, "cache_read_input_tokens") is not None:
        return True
    details = _part(view, "completion_tokens_details")
    return isinstance(details, Mapping) and "video_tokens" in details


_PROVIDER_OF_SHAPE = {
    "anthropic.messages": "anthropic",
    "google.generate_content": "google",
    "google.interactions": "google",
    "ollama.chat": "ollama",
    "ollama.generate": "ollama",
    "bedrock.converse": "aws",
    "cohere.chat": "cohere",
    "voyage.embeddings": "voyage",
}


def _provider_of(shape: str, envelope: Any) -> str:
    """OpenAI's shapes are everyone's; they name a provider only where it left its own mark."""
    if not shape.startswith("openai."):
        return _PROVIDER_OF_SHAPE.get(shape, "")
    if _field(envelope, "x_groq") is not None:
        return "groq"
    if _field(envelope, "system_fingerprint") == "fp_ollama":
        return "ollama"
    if _field(envelope, "prompt_filter_results", "content_filters") is not None:
        return "azure"
    return "openrouter" if _is_openrouter(envelope) else ""


def _is_openrouter(envelope: Any) -> bool:
    if not isinstance(_field(envelope, "provider"), str):
        return False
    response_id = _field(envelope, "id")
    return isinstance(response_id, str) and response_id.startswith("gen-")


def _model_of(envelope: Any) -> Any:
    found = _field(envelope, "model", "model_version", "modelVersion")
    if found is not None:
        return found
    return _field(_part(envelope, "response_metadata"), "model_name", "model")


def _service_tier(envelope: Any, view: Any) -> str:
    """Anthropic and Gemini state it in the usage, OpenAI and Bedrock beside it, LangChain in either place.

    Anthropic's fast mode is a tier here.
    """
    if view is not None and _field(view, "speed") == "fast":
        return "fast"
    tier = _field(view, "service_tier", "serviceTier", "trafficType", "traffic_type")
    if not isinstance(tier, str):
        tier = _field(envelope, "service_tier", "serviceTier")
    if tier is not None and _is_object(tier):
        tier = _field(_view(tier), "type")
    if not isinstance(tier, str):
        tier = _field(_part(envelope, "response_metadata"), "service_tier") or _langchain_tier(view)
    return tier.lower()[:NAME_CHARS_MAX] if isinstance(tier, str) else ""


def _stated_cost(envelope: Any, view: Any, shape: str, provider: str, notes: list[str]) -> int | None:
    """OpenRouter, Perplexity and xAI state what they charged. LiteLLM's figure is its own guess."""
    ticks = _field(view, "cost_in_usd_ticks")
    if ticks is not None:
        return _nanos(ticks, Decimal(1) / (_XAI_TICKS_PER_NANO * NANOS_PER_USD), notes)
    cost = _field(view, "cost")
    if cost is None:
        return None
    itemised = _field(_view(cost), "total_cost") if _is_object(cost) else None
    if itemised is not None:
        return _nanos(itemised, Decimal(1), notes)
    byok = _field(view, "is_byok")
    if shape == "litellm" or not (
        provider.lower() == "openrouter" or isinstance(byok, bool) or _is_openrouter(envelope)
    ):
        notes.append(COST_NOT_TRUSTED)
        return None
    fee = _nanos(cost, Decimal(1), notes)
    upstream = _field(_part(view, "cost_details"), "upstream_inference_cost") if byok is True else None
    if fee is None or upstream is None:
        return fee
    paid = _nanos(upstream, Decimal(1), notes)
    return None if paid is None else fee + paid


def _nanos(amount: Any, usd_per_unit: Decimal, notes: list[str]) -> int | None:
    try:
        dollars = Decimal(str(amount)) * usd_per_unit if not isinstance(amount, bool) else Decimal("NaN")
    except (ArithmeticError, ValueError):  # no number, one beyond all exponents, one of too many digits
        dollars = Decimal("NaN")
    if not dollars.is_finite() or not 0 <= dollars <= STATED_COST_USD_MAX:
        notes.append(COST_INVALID)
        return None
    return int((dollars * NANOS_PER_USD).to_integral_value())
