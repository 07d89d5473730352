"""The door: what a message may hold. All that enters the ledger has passed `check_batch` and `check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import eq
from typing import Any

from configurable_agents.errors import RecordRefusedError, WireFormatError
from configurable_agents.obsd import limits
from configurable_agents.runtime import bounds
from configurable_agents.runtime.names import NAME_LENGTH_MAX, UNPRINTABLE, can_be_run_id
from configurable_agents.telemetry import (
    Event,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
)
from configurable_agents.wire.blocks import EventSequence, ExecutionBlock, one_by_one, parts_of

_ENDINGS = frozenset((Status.OK, Status.ERROR, Status.CANCELLED))


def check_batch(producer_id: bytes, first_sequence: int, event_count: int) -> None:
    """Raises `WireFormatError` for a batch whose identity, place or size is not the protocol's."""
    if len(producer_id) != limits.PRODUCER_ID_BYTES:
        raise WireFormatError(
            f"a producer id has {limits.PRODUCER_ID_BYTES} bytes, this one {len(producer_id)}"
        )
    if event_count > limits.BATCH_EVENTS_MAX:
        raise WireFormatError(f"a batch has at most {limits.BATCH_EVENTS_MAX} events, this one {event_count}")
    if not 0 <= first_sequence <= bounds.INT64_MAX - limits.BATCH_EVENTS_MAX:
        raise WireFormatError("a sequence is out of range")


def checked(
    events: Sequence[Event | RecordRefusedError],
) -> EventSequence[Event | RecordRefusedError]:
    """Each event, or why it may not enter; what is a refusal already stays one."""
    found: EventSequence[Event | RecordRefusedError] = EventSequence()
    for part in parts_of(events):
        if isinstance(part, ExecutionBlock) and _is_ordinary_block(part):
            found.add_block(part)
        else:
            found.extend(_checked_together(one_by_one(part)))
    return found


def _checked_together(events: Sequence[Event | RecordRefusedError]) -> list[Event | RecordRefusedError]:
    ordinary: set[type] = set()
    for kind, are_ordinary in _TOGETHER.items():
        some = [event for event in events if type(event) is kind]
        if some and are_ordinary(some):
            if len(some) == len(events):
                return list(events)
            ordinary.add(kind)
    return [event if type(event) in ordinary else _checked(event) for event in events]


def _checked(event: Event | RecordRefusedError) -> Event | RecordRefusedError:
    return event if isinstance(event, RecordRefusedError) else check(event) or event


def check(event: Event) -> RecordRefusedError | None:
    """`None` when the event may enter, else why not. Reasons are short codes that are counted."""
    try:
        _CHECKS[type(event)](event)
    except RecordRefusedError as refusal:
        return refusal
    return None


def _are_ordinary(executions: Sequence[NodeFinished]) -> bool:
    """All checks of all executions, field by field, without saying what fails: nearly all pass, and fast."""
    run_ids, span_ids, parent_ids, node_ids, attempts, starts, durations, statuses, errors = zip(
        *executions, strict=True
    )
    return (
        _are_ordinary_names(run_ids, node_ids, attempts)
        and all(map(_is_optional_name, set(errors)))
        and _ENDINGS.issuperset(statuses)
        and not any(map(eq, span_ids, parent_ids))
        and _are_within_bounds(
            *((min(some), max(some)) for some in (span_ids, parent_ids, starts, durations))
        )
    )


def _is_ordinary_block(block: ExecutionBlock) -> bool:
    """The same of executions in columns. They went well, and have no error to be named."""
    figures = block.figures
    return (
        _are_ordinary_names(*zip(*block.attempts, strict=True))
        and not (figures.span_ids == figures.parent_span_ids).any()
        and _are_within_bounds(*((int(some.min()), int(some.max())) for some in figures))
    )


def _are_ordinary_names(run_ids: Sequence[str], node_ids: Sequence[str], attempts: Sequence[int]) -> bool:
    return (
        all(map(_is_run_id, set(run_ids)))
        and all(map(_is_name, set(node_ids)))
        and min(attempts) >= 0
        and max(attempts) <= bounds.ATTEMPT_MAX
    )


def _are_within_bounds(
    spans: tuple[int, int], parents: tuple[int, int], starts: tuple[int, int], durations: tuple[int, int]
) -> bool:
    """Of the lowest and the highest of each."""
    return (
        spans[0] > 0
        and spans[1] <= bounds.SPAN_ID_MAX
        and parents[0] >= 0
        and parents[1] <= bounds.SPAN_ID_MAX
        and starts[0] > 0
        and starts[1] <= bounds.TIME_NS_MAX
        and durations[0] >= 0
        and durations[1] <= bounds.DURATION_NS_MAX
    )


def _are_ordinary_calls(calls: Sequence[LlmCall]) -> bool:
    """The same of calls. One with anomalies or a stated cost is looked at by itself."""
    columns = dict(zip(LlmCall._fields, zip(*calls, strict=True), strict=True))
    usages = [usage for usage in columns["usage"] if usage is not None]
    durations = (*columns["duration_ns"], *columns["time_to_first_token_ns"])
    return (
        all(map(_is_run_id, set(columns["run_id"])))
        and all(columns["call_id"])
        and _are_optional_names(columns["call_id"])
        and _are_optional_names(columns["response_id"])
        and all(all(map(_is_optional_name, set(columns[name]))) for name in _COMMON_NAMES)
        and min(columns["span_id"]) >= 0
        and max(columns["span_id"]) <= bounds.SPAN_ID_MAX
        and min(columns["started_unix_ns"]) > 0
        and max(columns["started_unix_ns"]) <= bounds.TIME_NS_MAX
        and min(durations) >= 0
        and max(durations) <= bounds.DURATION_NS_MAX
        and _ENDINGS.issuperset(columns["status"])
        and min(columns["attempt"]) >= 0
        and max(columns["attempt"]) <= bounds.ATTEMPT_MAX
        and min(map(min, usages), default=0) >= 0
        and max(map(max, usages), default=0) <= bounds.TOKENS_MAX
        and not any(columns["anomalies"])
        and columns["stated_cost_nanos"].count(None) == len(calls)
    )


_COMMON_NAMES = (
    *("node_id", "provider", "model", "service_tier", "error_type"),
    *("provider_known_by", "model_known_by", "model_as_given"),
)
"""Names that many calls have in common."""

_TOGETHER: Mapping[type, Callable[[Any], bool]] = {
    NodeFinished: _are_ordinary,
    LlmCall: _are_ordinary_calls,
}


def _are_optional_names(names: Sequence[str]) -> bool:
    """Of names that are all different; false also where a closer look may let one pass."""
    return max(map(len, names)) <= NAME_LENGTH_MAX and "".join(names).isprintable()


def _check_node_finished(event: NodeFinished) -> None:
    _span(event)
    _time(event.started_unix_ns)
    _duration(event.duration_ns)
    _ending(event.status)
    _optional_name("error_type", event.error_type)


@lru_cache(maxsize=limits.NAMES_CHECKED_MAX)
def _is_run_id(run_id: str) -> bool:
    return _passes(_run_id, run_id)


@lru_cache(maxsize=limits.NAMES_CHECKED_MAX)
def _is_name(name: str) -> bool:
    return _passes(_name, "node_id", name)


@lru_cache(maxsize=limits.NAMES_CHECKED_MAX)
def _is_optional_name(name: str) -> bool:
    return _passes(_optional_name, "name", name)


def _passes(rule: Callable[..., None], *values: str) -> bool:
    try:
        rule(*values)
    except RecordRefusedError:
        return False
    return True


def _check_node_started(event: NodeStarted) -> None:
    _span(event)
    _time(event.started_unix_ns)


def _check_llm_call(event: LlmCall) -> None:
    _run_id(event.run_id)
    _name("call_id", event.call_id)
    _place("span_id", event.span_id)
    for field in ("node_id", "provider", "model", "service_tier", "response_id", "error_type"):
        _optional_name(field, getattr(event, field))
    _time(event.started_unix_ns)
    _duration(event.duration_ns)
    _duration(event.time_to_first_token_ns)
    _ending(event.status)
    _attempt(event.attempt)
    if event.usage is not None and not all(0 <= count <= bounds.TOKENS_MAX for count in event.usage):
        raise RecordRefusedError("tokens_out_of_range", f"token counts of {event.call_id} are out of range")
    if event.stated_cost_nanos is not None and not 0 <= event.stated_cost_nanos <= bounds.COST_NANOS_MAX:
        raise RecordRefusedError("cost_out_of_range", f"the stated cost of {event.call_id} is out of range")
    if len(event.anomalies) > bounds.ANOMALIES_MAX:
        raise RecordRefusedError("too_many_anomalies", f"{len(event.anomalies)} anomalies")
    for anomaly in event.anomalies:
        _name("anomaly", anomaly)
    _optional_name("provider_known_by", event.provider_known_by)
    _optional_name("model_known_by", event.model_known_by)
    _optional_name("model_as_given", event.model_as_given)


def _check_run_started(event: RunStarted) -> None:
    _run_id(event.run_id)
    _name("experiment", event.experiment)
    _name("workflow", event.workflow)
    _optional_name("mlflow_run_id", event.mlflow_run_id)
    _time(event.started_unix_ns)
    if len(event.tags) > bounds.TAGS_MAX:
        raise RecordRefusedError("too_many_tags", f"{len(event.tags)} tags; the limit is {bounds.TAGS_MAX}")
    for key, value in event.tags:
        _name("tag", key)
        _optional_name("tag", value)
    if event.graph is not None:
        _check_graph(event.graph.nodes, event.graph.edges)


def _check_graph(nodes: tuple[str, ...], edges: tuple[tuple[str, str], ...]) -> None:
    if len(nodes) > bounds.GRAPH_NODES_MAX or len(edges) > bounds.GRAPH_EDGES_MAX:
        raise RecordRefusedError("graph_too_large", f"a graph of {len(nodes)} nodes and {len(edges)} edges")
    for node_id in nodes:
        _name("node_id", node_id)
    for edge in edges:
        for node_id in edge:
            _name("node_id", node_id)


def _check_run_finished(event: RunFinished) -> None:
    _run_id(event.run_id)
    _time(event.finished_unix_ns)
    _duration(event.duration_ns)
    _ending(event.status)
    _optional_name("error_type", event.error_type)


_CHECKS: Mapping[type, Callable[[Any], None]] = {
    NodeFinished: _check_node_finished,
    NodeStarted: _check_node_started,
    LlmCall: _check_llm_call,
    RunStarted: _check_run_started,
    RunFinished: _check_run_finished,
}


def _span(event: NodeStarted | NodeFinished) -> None:
    _run_id(event.run_id)
    _name("node_id", event.node_id)
    _attempt(event.attempt)
    if not 0 < event.span_id <= bounds.SPAN_ID_MAX:
        raise RecordRefusedError("no_span_id", f"an execution of {event.node_id!r} without a span id")
    if event.parent_span_id == event.span_id:
        raise RecordRefusedError("own_parent", f"an execution of {event.node_id!r} is its own parent")
    _place("parent_span_id", event.parent_span_id)


def _place(field: str, span_id: int) -> None:
    """0 stands for the run itself."""
    if not 0 <= span_id <= bounds.SPAN_ID_MAX:
        raise RecordRefusedError("span_id_out_of_range", f"a {field} of {span_id}")


def _run_id(run_id: str) -> None:
    _name("run_id", run_id)
    if not can_be_run_id(run_id):
        raise RecordRefusedError("unfit_run_id", f"{run_id!r} cannot be a run id")


def _name(field: str, value: str) -> None:
    if not value:
        raise RecordRefusedError(f"no_{field}", f"an event without {field}")
    _optional_name(field, value)


def _optional_name(field: str, value: str) -> None:
    if len(value) > NAME_LENGTH_MAX:
        raise RecordRefusedError("name_too_long", f"{field} has {len(value)} characters")
    if not value.isprintable() and UNPRINTABLE.search(value):
        raise RecordRefusedError("unprintable_name", f"{field} has control characters")


def _time(unix_ns: int) -> None:
    if not 0 < unix_ns <= bounds.TIME_NS_MAX:
        raise RecordRefusedError("time_out_of_range", f"a time of {unix_ns} ns since 1970")


def _duration(duration_ns: int) -> None:
    if not 0 <= duration_ns <= bounds.DURATION_NS_MAX:
        raise RecordRefusedError("duration_out_of_range", f"a duration of {duration_ns} ns")


def _attempt(attempt: int) -> None:
    if not 0 <= attempt <= bounds.ATTEMPT_MAX:
        raise RecordRefusedError("attempt_out_of_range", f"attempt {attempt}")


def _ending(status: Status) -> None:
    if status not in _ENDINGS:
        raise RecordRefusedError("no_status", "an end without a status")
