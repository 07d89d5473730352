"""How costs and profiles are named in MLflow: metrics, params, tags and artifacts. Imports no MLflow.

Names come from users (node ids, model names), and MLflow refuses many of them: `encode_name` makes any
text a valid part of a name, leaves ordinary names as they are, and never maps two names to one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost, usd
from configurable_agents.telemetry import Usage

KEY_CHARS_MAX = 250
"""MLflow's limit on the keys of metrics, params and tags."""
TAG_CHARS_MAX = 8_000
PARAM_CHARS_MAX = 6_000
NODE_CHARS_MAX = 200
PROVIDER_CHARS_MAX = 60
MODEL_CHARS_MAX = 160
"""Of the encoded name; longer ones are cut and carry a digest of the whole."""

TOTAL_COST_USD = "total_cost_usd"
TOTAL_TOKENS = "total_tokens"
TOTAL_DURATION_MS = "total_duration_ms"
LLM_CALLS = "llm_calls"
UNPRICED_CALLS = "unpriced_calls"

PARAM_SLOWEST_NODE = "slowest_node"
PARAM_BOTTLENECKS = "bottlenecks"
PARAM_TOTAL_TIME_MS = "total_time_ms"

TAG_RUN_ID = "agents_obs.run_id"
TAG_WORKFLOW = "agents_obs.workflow"
TAG_COVERAGE = "agents_obs.coverage"
TAG_BOTTLENECK_INFO = "agents_obs.bottleneck_info"
TAG_ADVICE = "agents_obs.advice"
"""One sentence on what to speed up first; absent when the critical path is not known."""
TAG_THINNED = "agents_obs.thinned"
TAG_LATE_EVENTS = "agents_obs.late_events"
TAG_REPRICED = "agents_obs.repriced"
"""JSON: when and why prices of the run were changed after the fact, and its cost before and after."""
TAG_COST = "agents_obs.cost"
"""The exact totals per model as compact JSON, so that reports need no artifact; absent when too long."""
TAG_WASTED = "agents_obs.wasted"
"""The exact totals of what of it was thrown away, in the same form; absent when that is not known."""
TAG_NAME_PREFIX = "agents_obs.name."
"""`agents_obs.name.<encoded>` holds the original of a name that MLflow would refuse, as a JSON string."""

ARTIFACT_FOLDER = "agents_obs"
ARTIFACT_PROFILE = "agents_obs/profile.json"
ARTIFACT_COST = "agents_obs/cost.json"
ARTIFACT_TIMELINE = "agents_obs/timeline.html"

_ESCAPE = "_0x"
_CUT = "_0xcut_"
_DIGEST_CHARS = 32
_SPECIAL = re.compile(
    r"_(?=0x)"  # what would read as an escape
    r"|[^A-Za-z0-9_\-.:/ ]"
    r"|(?<=/)/|^/|/$"  # empty segments
    r"|(?:(?<=/)|^)\.(?=\.?(?:/|$))"  # segments `.` and `..`
    r"|^ | $"  # some databases compare without them
)
_SPECIAL_OR_SLASH = re.compile(rf"{_SPECIAL.pattern}|/")
_ESCAPED = re.compile(r"_0x([0-9a-f]+)_")
_NODE_METRIC = re.compile(r"node_(.*)_duration_ms", re.DOTALL)
_PROVIDER_METRIC = re.compile(r"provider_(.*)_(cost_usd|tokens|calls)", re.DOTALL)
_MODEL_METRIC = re.compile(r"model/([^/]+)/(.*)/(cost_usd|tokens|calls|unpriced_calls)", re.DOTALL)


class Profile(Protocol):
    """What is read of a `ProfileReport`."""

    def bottleneck_info(self) -> dict[str, Any]: ...

    def to_json(self) -> dict[str, Any]: ...

    def advice(self) -> str | None: ...


class ModelMetric(NamedTuple):
    provider: str
    model: str
    what: str
    """`cost_usd`, `tokens`, `calls` or `unpriced_calls`."""


def encode_name(name: str, *, chars_max: int = NODE_CHARS_MAX, slashes: bool = True) -> str:
    """A valid part of an MLflow key. A character MLflow refuses becomes `_0x<hex>_`.

    Without `slashes` these are encoded too. An encoding longer than `chars_max` is cut and ends with a
    digest; only its tag knows the original.
    """
    special = _SPECIAL if slashes else _SPECIAL_OR_SLASH
    encoded = special.sub(lambda match: f"{_ESCAPE}{ord(match[0]):x}_", name) if name else f"{_ESCAPE}_"
    if len(encoded) <= chars_max:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    head = encoded[: chars_max - len(_CUT) - _DIGEST_CHARS].rpartition(_ESCAPE)
    kept = head[0] if head[1] and "_" not in head[2] else "".join(head)
    return f"{kept.rstrip('/. ')}{_CUT}{digest}"


def decode_name(encoded: str, originals: Mapping[str, str] | None = None) -> str:
    """The name that was encoded. `originals` (of `original_names`) also restores names that were cut."""
    if originals is not None and encoded in originals:
        return originals[encoded]
    if encoded == f"{_ESCAPE}_":
        return ""
    return _ESCAPED.sub(_unescaped, encoded)


def _unescaped(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF else match[0]


def name_tag(name: str, *, chars_max: int = NODE_CHARS_MAX) -> tuple[str, str] | None:
    """The tag that keeps the original of a name MLflow would refuse; `None` for ordinary names."""
    encoded = encode_name(name, chars_max=chars_max)
    if encoded == name:
        return None
    return TAG_NAME_PREFIX + encoded, json.dumps(name)[:TAG_CHARS_MAX]


def original_names(tags: Mapping[str, str]) -> dict[str, str]:
    """Encoded names and their originals, from the tags of a run."""
    found: dict[str, str] = {}
    for key, value in tags.items():
        if key.startswith(TAG_NAME_PREFIX):
            try:
                original = json.loads(value)
            except ValueError:
                continue  # a cut or foreign value: the encoded name stands for itself
            if isinstance(original, str):
                found[key.removeprefix(TAG_NAME_PREFIX)] = original
    return found


def node_metric(node_id: str) -> str:
    """One point per call of the node; step = call index."""
    return f"node_{encode_name(node_id)}_duration_ms"


def node_of_metric(key: str, originals: Mapping[str, str] | None = None) -> str | None:
    """The node id of a `node_…_duration_ms` metric; `None` for other metrics."""
    match = _NODE_METRIC.fullmatch(key)
    return None if match is None else decode_name(match[1], originals)


def provider_key(provider: str, what: str) -> str:
    """Name of a metric or param of a provider; `what` is `cost_usd`, `tokens` or `calls`."""
    return f"provider_{_provider_part(provider)}_{what}"


def provider_of_key(key: str) -> tuple[str, str] | None:
    """Provider and `what` of a provider's metric or param; `None` for others."""
    match = _PROVIDER_METRIC.fullmatch(key)
    return None if match is None else (decode_name(match[1]), match[2])


def model_metric(provider: str, model: str, what: str) -> str:
    """`model/{provider}/{model}/{what}`. Slashes of a model's name stay, those of a provider's do not."""
    return f"model/{_provider_part(provider)}/{encode_name(model, chars_max=MODEL_CHARS_MAX)}/{what}"


def model_of_metric(key: str, originals: Mapping[str, str] | None = None) -> ModelMetric | None:
    match = _MODEL_METRIC.fullmatch(key)
    if match is None:
        return None
    return ModelMetric(decode_name(match[1], originals), decode_name(match[2], originals), match[3])


def _provider_part(provider: str) -> str:
    return encode_name(provider, chars_max=PROVIDER_CHARS_MAX, slashes=False)


def cost_metrics(summary: CostSummary, *, repriced: bool = False) -> dict[str, float]:
    """All cost metrics of a run, live or final. A cost, or tokens, not known are left out, never 0.

    A `repriced` run may have told of unpriced calls that it has no more, so it says so for every model.
    """
    totals = summary.totals
    metrics: dict[str, float] = {
        **_tokens(TOTAL_TOKENS, totals),
        LLM_CALLS: totals.calls,
        UNPRICED_CALLS: totals.calls - totals.covered_calls,
        **_cost(TOTAL_COST_USD, totals),
    }
    for provider, part in summary.by_provider().items():
        metrics |= _cost(provider_key(provider, "cost_usd"), part)
        metrics |= _tokens(provider_key(provider, "tokens"), part)
        metrics[provider_key(provider, "calls")] = part.calls
    for entry in summary.models:
        if repriced:
            metrics[model_metric(entry.provider, entry.model, "unpriced_calls")] = 0
        metrics |= _model_metrics(entry)
    return metrics


def _model_metrics(entry: ModelCost) -> dict[str, float]:
    def name(what: str) -> str:
        return model_metric(entry.provider, entry.model, what)

    totals = entry.totals
    unknown = totals.calls - totals.covered_calls
    return {
        **_cost(name("cost_usd"), totals),
        **_tokens(name("tokens"), totals),
        name("calls"): totals.calls,
        **({name("unpriced_calls"): unknown} if unknown else {}),
    }


def _cost(name: str, totals: CallTotals) -> dict[str, float]:
    return {name: usd(totals.cost_nanos)} if totals.covered_calls or not totals.calls else {}


def _tokens(name: str, totals: CallTotals) -> dict[str, float]:
    known = totals.tokens.known
    return {} if known is None else {name: known}


def cost_params(summary: CostSummary) -> dict[str, str]:
    """Params of a final run. They are write-once: never log them while the run goes on."""
    params: dict[str, str] = {}
    for provider, part in summary.by_provider().items():
        if part.covered_calls:
            params[provider_key(provider, "cost_usd")] = _plain(part.cost_nanos)
        if part.tokens.known is not None:
            params[provider_key(provider, "tokens")] = str(part.tokens.known)
    return params


def _plain(nanos: int) -> str:
    """Dollars with all nine decimals, without the exponent that `str(float)` gives small ones."""
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"


def cost_tags(summary: CostSummary) -> dict[str, str]:
    """Coverage, exact totals and the originals of encoded names."""
    totals = summary.totals
    coverage = {"summary": totals.coverage_sentence(), **totals.coverage()}
    tags = {TAG_COVERAGE: json.dumps(coverage, ensure_ascii=False)}
    exact = _exact(summary)
    if len(exact) <= TAG_CHARS_MAX:
        tags[TAG_COST] = exact
    if summary.wasted is not None:
        tags[TAG_WASTED] = json.dumps(_exact_row(summary.wasted), separators=(",", ":"))
    for entry in summary.models:
        tags.update(filter(None, [name_tag(entry.model, chars_max=MODEL_CHARS_MAX)]))
    return tags


def profile_metrics(wall_ms: float) -> dict[str, float]:
    return {TOTAL_DURATION_MS: wall_ms}


def profile_params(profile: Profile) -> dict[str, str]:
    """`slowest_node`, `bottlenecks` (names, comma-separated) and `total_time_ms` of a final run."""
    info = profile.bottleneck_info()
    slowest = info["slowest_node"]
    names = ", ".join(entry["node_id"] for entry in info["bottlenecks"])
    return {
        PARAM_SLOWEST_NODE: "" if slowest is None else slowest["node_id"][:PARAM_CHARS_MAX],
        PARAM_BOTTLENECKS: names[:PARAM_CHARS_MAX],
        PARAM_TOTAL_TIME_MS: repr(float(info["total_time_ms"])),
    }


def profile_tags(profile: Profile) -> dict[str, str]:
    """The bottlenecks as JSON, the list shortened until it fits, and the advice."""
    info = profile.bottleneck_info()
    text = json.dumps(info)
    while len(text) > TAG_CHARS_MAX and info["bottlenecks"]:
        info["bottlenecks"] = info["bottlenecks"][:-1]
        text = json.dumps(info)
    tags = {TAG_BOTTLENECK_INFO: text} if len(text) <= TAG_CHARS_MAX else {}
    advice = profile.advice()
    return tags if advice is None else {**tags, TAG_ADVICE: advice[:TAG_CHARS_MAX]}


_EXACT_FIELDS = (
    *("calls", "cost_nanos", "priced_calls", "stated_calls", "free_calls", "unpriced_calls"),
    *("no_usage_calls", "unpriced_tokens", "failed_calls"),
    *("stated_tokens", "free_tokens", "merged_calls"),
)


def _exact(summary: CostSummary) -> str:
    rows = [[entry.provider, entry.model, *_exact_row(entry.totals)] for entry in summary.models]
    return json.dumps(rows, separators=(",", ":"))


def _exact_row(totals: CallTotals) -> list[int]:
    return [*(getattr(totals, field) for field in _EXACT_FIELDS), *totals.usage]


def exact_models(tag: str) -> tuple[ModelCost, ...] | None:
    """The entries of an `agents_obs.cost` tag; `None` when it is not one."""
    try:
        rows = json.loads(tag)
        return tuple(map(_exact_entry, rows)) if isinstance(rows, list) else None
    except (TypeError, ValueError, RecursionError):
        return None


def _exact_entry(row: list[Any]) -> ModelCost:
    provider, model, *figures = row
    if not all(isinstance(name, str) for name in (provider, model)):
        raise ValueError(row)
    return ModelCost(provider, model, _exact_totals(figures))


def wasted_totals(tag: str) -> CallTotals | None:
    """The figures of an `agents_obs.wasted` tag; `None` when it is not one."""
    try:
        row = json.loads(tag)
        return _exact_totals(row) if isinstance(row, list) else None
    except (TypeError, ValueError, RecursionError):
        return None


def _exact_totals(figures: list[Any]) -> CallTotals:
    if any(type(figure) is not int or figure < 0 for figure in figures):
        raise ValueError(figures)
    if len(figures) != len(_EXACT_FIELDS) + len(Usage._fields):
        raise ValueError(figures)
    fields = dict(zip(_EXACT_FIELDS, figures, strict=False))
    return CallTotals(usage=Usage(*figures[len(_EXACT_FIELDS) :]), **fields)
