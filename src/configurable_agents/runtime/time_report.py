"""What a report says of time beyond the nodes: critical path, classes, concurrency, models. Pure records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

SPEEDUPS_MAX = 5
"""Nodes of a run for which twice as fast is worked out: those with most time on its critical path."""


@dataclass(frozen=True, slots=True)
class TimeClasses:
    """Nanoseconds of the critical path by class; they sum to the wall."""

    model_ns: int = 0
    """Waiting for a model."""
    python_ns: int = 0
    """In a node, outside of model calls: tools and the node's own code."""
    retry_wait_ns: int = 0
    """Between an attempt and the next one of the same node."""
    queue_ns: int = 0
    """Ready by the declared graph, and not yet started. Without a graph this is in `framework_ns`."""
    framework_ns: int = 0
    """In the run, in no node, and none of the above: a part of `RunTimes.between_ns`."""

    @property
    def sum_ns(self) -> int:
        return self.model_ns + self.python_ns + self.retry_wait_ns + self.queue_ns + self.framework_ns

    def plus(self, other: TimeClasses) -> TimeClasses:
        return TimeClasses(*(getattr(self, name) + getattr(other, name) for name in CLASS_FIELDS))

    def to_json(self) -> dict[str, float]:
        return {f"{name.removesuffix('_ns')}_ms": getattr(self, name) / NS_PER_MS for name in CLASS_FIELDS}


CLASS_FIELDS = tuple(TimeClasses.__dataclass_fields__)


class Speedup(NamedTuple):
    """What twice as fast would save of the wall."""

    node_id: str
    saved_ns: int


@dataclass(frozen=True, slots=True)
class RunTimes:
    """The critical path of one run, or of several added up."""

    wall_ns: int
    between_ns: int
    """Time of the path in no node; with the critical time of all nodes it sums to `wall_ns`."""
    classes: TimeClasses = field(default_factory=TimeClasses)
    concurrency_ns: dict[int, int] = field(default_factory=dict)
    """Time by how many executions were at work at once."""
    speedups: tuple[Speedup, ...] = ()
    """Of each run the nodes with most critical time; most saved first."""
    slot_saved_ns: int | None = None
    """What one more execution at a time would save; `None` when no graph was declared."""
    bottlenecks: dict[str, int] = field(default_factory=dict)
    """In how many runs a node had the most critical time."""
    run_count: int = 1

    @property
    def between_calls_ns(self) -> int:
        """Time in no node in which a model was being called, at least: what the other classes leave of it."""
        classes = self.classes
        others_ns = classes.retry_wait_ns + classes.queue_ns + classes.framework_ns
        return max(0, self.between_ns - others_ns)

    def plus(self, other: RunTimes) -> RunTimes:
        """Both together. A node without a speed-up in one of them counts as saving nothing there."""
        slots = [each.slot_saved_ns for each in (self, other) if each.slot_saved_ns is not None]
        return RunTimes(
            self.wall_ns + other.wall_ns,
            self.between_ns + other.between_ns,
            self.classes.plus(other.classes),
            summed(self.concurrency_ns, other.concurrency_ns),
            ordered_speedups(summed(dict(self.speedups), dict(other.speedups))),
            sum(slots) if slots else None,
            summed(self.bottlenecks, other.bottlenecks),
            self.run_count + other.run_count,
        )

    def to_record(self) -> dict[str, Any]:
        """For the ledger and the wire; `from_record` reads it."""
        return {
            "wall_ns": self.wall_ns,
            "between_ns": self.between_ns,
            "classes": [getattr(self.classes, name) for name in CLASS_FIELDS],
            "concurrency_ns": sorted(self.concurrency_ns.items()),
            "speedups": self.speedups,
            "slot_saved_ns": self.slot_saved_ns,
            "bottlenecks": self.bottlenecks,
            "run_count": self.run_count,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> RunTimes:
        return cls(
            **record
            | {
                "classes": TimeClasses(*record["classes"]),
                "concurrency_ns": {int(level): ns for level, ns in record["concurrency_ns"]},
                "speedups": tuple(Speedup(*each) for each in record["speedups"]),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """`critical_path` of `profile-report --json`; see docs/json.md."""
        return {
            "run_count": self.run_count,
            "wall_time_ms": self.wall_ns / NS_PER_MS,
            "between_nodes_ms": self.between_ns / NS_PER_MS,
            "time_classes": self.classes.to_json(),
            "concurrency_ms": {
                str(level): ns / NS_PER_MS for level, ns in sorted(self.concurrency_ns.items())
            },
            "twice_as_fast_saves_ms": {node: ns / NS_PER_MS for node, ns in self.speedups},
            "one_more_slot_saves_ms": None if self.slot_saved_ns is None else self.slot_saved_ns / NS_PER_MS,
        }


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The calls of one model: how long they took."""

    provider: str
    model: str
    calls: int
    max_ns: int
    """0 when no call was measured."""
    p50_ns: int | None = None
    p90_ns: int | None = None
    p95_ns: int | None = None
    p99_ns: int | None = None
    first_token_p50_ns: int | None = None
    """Time to first token; `None` where no call told it."""
    first_token_p95_ns: int | None = None
    timed_output_tokens: int = 0
    """Of the calls that ended well and said how many tokens they made."""
    generation_ns: int = 0
    """Their durations, each less its time to first token where that is known."""
    timed_calls: int | None = None
    """Those whose duration was recorded; `None`: whoever made this did not say."""

    @property
    def untimed_calls(self) -> int:
        return 0 if self.timed_calls is None else self.calls - self.timed_calls

    @property
    def output_tokens_per_s(self) -> float | None:
        if not self.generation_ns or not self.timed_output_tokens:
            return None
        return self.timed_output_tokens * NS_PER_S / self.generation_ns

    def to_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": self.model,
            "call_count": self.calls,
            "untimed_calls": self.untimed_calls,
            "p50_duration_ms": _ms(self.p50_ns),
            "p90_duration_ms": _ms(self.p90_ns),
            "p95_duration_ms": _ms(self.p95_ns),
            "p99_duration_ms": _ms(self.p99_ns),
            "max_duration_ms": _ms(self.max_ns or None),
            "p50_first_token_ms": _ms(self.first_token_p50_ns),
            "p95_first_token_ms": _ms(self.first_token_p95_ns),
            "output_tokens_per_s": self.output_tokens_per_s,
        }


def sum_of_times(parts: Iterable[RunTimes]) -> RunTimes | None:
    """All added up; `None` for none."""
    total: RunTimes | None = None
    for part in parts:
        total = part if total is None else total.plus(part)
    return total


def ordered_speedups(saved_ns: dict[str, int]) -> tuple[Speedup, ...]:
    return tuple(Speedup(*each) for each in sorted(saved_ns.items(), key=lambda item: (-item[1], item[0])))


def summed(one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
    """By key."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in dict.fromkeys((*one, *other))}


def short_duration(duration_ns: int) -> str:
    """`2.1 s`, `340 ms`: for a sentence."""
    return (
        f"{duration_ns / NS_PER_S:.1f} s" if duration_ns >= NS_PER_S else f"{duration_ns / NS_PER_MS:.0f} ms"
    )


def _ms(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / NS_PER_MS
