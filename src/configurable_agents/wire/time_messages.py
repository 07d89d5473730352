"""Times of runs and of models to messages and back."""

from __future__ import annotations

from configurable_agents.runtime.profile_report import NodeProfile
from configurable_agents.runtime.time_report import (
    CLASS_FIELDS,
    ModelProfile,
    RunTimes,
    TimeClasses,
    ordered_speedups,
)
from configurable_agents.wire.v1 import reports_pb2 as pb

_NODE_FIELDS = ("node_id", "calls", "total_ns", "self_ns", "max_ns", "errors")
_NODE_OPTIONAL = ("p95_ns", "p50_ns", "p90_ns", "p99_ns", "critical_ns", "slack_ns")
_MODEL_FIELDS = ("provider", "model", "calls", "max_ns", "timed_output_tokens", "generation_ns")
_MODEL_OPTIONAL = (
    *("p50_ns", "p90_ns", "p95_ns", "p99_ns", "first_token_p50_ns", "first_token_p95_ns"),
    "timed_calls",
)


def node_to_message(node: NodeProfile) -> pb.NodeProfile:
    fields = {name: getattr(node, name) for name in (*_NODE_FIELDS, *_NODE_OPTIONAL)}
    return pb.NodeProfile(p95_history_ns=node.p95_history_ns, **fields)


def node_from_message(message: pb.NodeProfile) -> NodeProfile:
    known = [name for name in _NODE_OPTIONAL if message.HasField(name)]
    fields = {name: getattr(message, name) for name in (*_NODE_FIELDS, *known)}
    return NodeProfile(p95_history_ns=tuple(message.p95_history_ns), **fields)


def times_to_message(times: RunTimes | None) -> pb.RunTimes | None:
    if times is None:
        return None
    return pb.RunTimes(
        wall_ns=times.wall_ns,
        between_ns=times.between_ns,
        concurrency_ns=times.concurrency_ns,
        speedups_ns=dict(times.speedups),
        slot_saved_ns=times.slot_saved_ns,
        bottlenecks=times.bottlenecks,
        run_count=times.run_count,
        **{name: getattr(times.classes, name) for name in CLASS_FIELDS},
    )


def times_from_message(message: pb.RunTimes) -> RunTimes:
    return RunTimes(
        wall_ns=message.wall_ns,
        between_ns=message.between_ns,
        classes=TimeClasses(*(getattr(message, name) for name in CLASS_FIELDS)),
        concurrency_ns=dict(sorted(message.concurrency_ns.items())),
        speedups=ordered_speedups(dict(message.speedups_ns)),
        slot_saved_ns=message.slot_saved_ns if message.HasField("slot_saved_ns") else None,
        bottlenecks=dict(sorted(message.bottlenecks.items())),
        run_count=message.run_count,
    )


def model_to_message(model: ModelProfile) -> pb.ModelProfile:
    return pb.ModelProfile(**{name: getattr(model, name) for name in (*_MODEL_FIELDS, *_MODEL_OPTIONAL)})


def model_from_message(message: pb.ModelProfile) -> ModelProfile:
    known = [name for name in _MODEL_OPTIONAL if message.HasField(name)]
    return ModelProfile(**{name: getattr(message, name) for name in (*_MODEL_FIELDS, *known)})
