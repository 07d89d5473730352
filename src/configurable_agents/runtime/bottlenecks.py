"""Times per node, added up while a workflow runs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import bounds
from configurable_agents.runtime.critical_path import Interval, Span, node_profiles, self_times, union_ns
from configurable_agents.runtime.fork_safety import repair_after_fork
from configurable_agents.runtime.names import checked_name
from configurable_agents.runtime.profile_report import (
    DEFAULT_BOTTLENECK_THRESHOLD_PERCENT,
    NS_PER_MS,
    NodeProfile,
    ProfileReport,
    sorted_profiles,
)
from configurable_agents.telemetry import NO_SPAN, OTHER_NAME

PENDING_MAX = 16
"""Executions that wait to be added up. Small, so that the caller that adds up notices little."""

SPAN_COUNT_MAX = 100_000
"""Spans measured elsewhere that are kept to find their children. Beyond it the older half is settled:
a child that arrives later no longer reduces the self time of such a parent. Of children whose parent is still
to come, the time they cover is kept."""

DURATION_NS_MAX = 2**63 - 1

NodeSums = tuple[str, int, int, int]
"""Executions of a node added up: its id, how many, their durations in ns together, and the longest."""


class BottleneckAnalyzer:
    """Adds up node executions and names the bottlenecks. Every method may be called from any thread.

    Executions are appended to a queue and added up in portions, because appending is atomic: a node
    that ends inside the garbage collector or a signal handler can never find a lock held by its own thread.
    """

    def __init__(self, enabled: bool = True, *, node_count_max: int = bounds.RUN_NODES_MAX) -> None:  # noqa: FBT001, FBT002  the plan's signature
        """`node_count_max`: distinct nodes kept apart; the rest is added up under `__other__`."""
        if isinstance(node_count_max, bool) or not isinstance(node_count_max, int) or node_count_max < 1:
            raise InvalidValueError(f"node_count_max must be a whole number from 1, not {node_count_max!r}")
        self._enabled = bool(enabled)
        self._node_count_max = node_count_max
        self._pending: deque[tuple[str, int, int, bool]] = deque()
        self._timings: dict[str, NodeTimings] = {}
        self._spans: list[Span] = []
        self._covered: dict[int, Span] = {}
        """What settled children cover of a parent that is still to come, as one nameless child of it."""
        self._lock = Lock()
        repair_after_fork(self)

    @property
    def enabled(self) -> bool:
        """Whether executions are added up. Switching it off keeps what is there."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = bool(value)

    def record_node(
        self,
        node_id: str,
        duration_ms: float,
        *,
        self_duration_ms: float | None = None,
        failed: bool = False,
    ) -> None:
        """Adds one execution.

        `self_duration_ms` is the part in which no child node ran; without it, all of `duration_ms`.
        Raises `InvalidValueError` for a name or a duration that means nothing.
        """
        checked_name(node_id, what="node_id")
        duration_ns = checked_duration_ns(duration_ms, what="duration_ms")
        self_ns = duration_ns
        if self_duration_ms is not None:
            self_ns = checked_duration_ns(self_duration_ms, what="self_duration_ms")
        if self_ns > duration_ns:
            raise InvalidValueError(
                f"self_duration_ms {self_duration_ms} is more than the whole {duration_ms}"
            )
        self.record_ns(node_id, duration_ns, self_ns, bool(failed))

    def record_ns(self, node_id: str, duration_ns: int, self_ns: int, failed: bool) -> None:  # noqa: FBT001  on the path of every node
        """`record_node` for callers that know their values are right. Never raises."""
        if self._enabled:
            pending = self._pending
            pending.append((node_id, duration_ns, self_ns, failed))
            if len(pending) > PENDING_MAX:
                self._add_up_unless_busy()

    def record_sums(self, sums: Iterable[NodeSums]) -> None:
        """Adds executions that went well and had no children, added up elsewhere by their node.

        Waits for whoever is adding up, so it is not for the path of a node.
        """
        if self._enabled:
            with self._lock:
                self._add_up()
                timings = self._timings
                for node_id, calls, total_ns, max_ns in sums:
                    entry = timings.get(node_id) or self._new_timings(node_id)
                    entry.calls += calls
                    entry.total_ns += total_ns
                    entry.self_ns += total_ns
                    if max_ns > entry.max_ns:  # noqa: PLR1730  as in `NodeTimings.add`
                        entry.max_ns = max_ns

    def record_span(self, span: Span) -> None:
        """Adds an execution measured elsewhere. Parents and children may come in any order."""
        if self._enabled:
            self._spans.append(span)
            if len(self._spans) > SPAN_COUNT_MAX:
                self._add_up_unless_busy()

    @property
    def node_count(self) -> int:
        """Nodes kept apart so far."""
        return len(self._timings)

    def get_bottlenecks(
        self, threshold_percent: float = DEFAULT_BOTTLENECK_THRESHOLD_PERCENT
    ) -> list[dict[str, Any]]:
        """Nodes with more than `threshold_percent` of all self time, highest share first.

        Below 0 these are all nodes, from 100 on there are none.
        Raises `InvalidValueError` for what is no number.
        """
        threshold = checked_threshold_percent(threshold_percent)
        report = self.report()
        return [_entry(node, report) for node in report.bottlenecks(threshold)]

    def get_slowest_node(self) -> dict[str, Any] | None:
        """The node with the highest total duration; `None` when none has run."""
        report = self.report()
        slowest = report.slowest_node
        return None if slowest is None else _entry(slowest, report)

    def get_summary(self) -> dict[str, Any]:
        """`total_time_ms` (the sum of all durations), `node_count`, `slowest_node`, `bottlenecks`."""
        whole = self.report().to_json()
        return {key: whole[key] for key in ("total_time_ms", "node_count", "slowest_node", "bottlenecks")}

    def report(self) -> ProfileReport:
        """The profile of everything added up so far; no percentiles are kept here."""
        with self._lock:
            self._add_up()
            parts = [timings.profile() for timings in self._timings.values()]
            spans = [*self._spans, *self._covered.values()]
        measured = (part for part in node_profiles(spans) if part.node_id)
        return ProfileReport(nodes=sorted_profiles(self._within_limit(parts, measured)))

    def clear(self) -> None:
        """Forgets all executions."""
        with self._lock:
            self._pending.clear()
            self._timings.clear()
            self._spans.clear()
            self._covered.clear()

    def after_fork_in_child(self) -> None:
        self._lock = Lock()

    def _add_up_unless_busy(self) -> None:
        """Whoever is adding up takes what was appended meanwhile as well."""
        if self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()

    def _add_up(self) -> None:
        pending, timings = self._pending, self._timings
        while pending:
            node_id, duration_ns, self_ns, failed = pending.popleft()
            entry = timings.get(node_id)
            if entry is None:
                entry = self._new_timings(node_id)
            entry.add(duration_ns, self_ns, failed)
        if len(self._spans) > SPAN_COUNT_MAX:
            self._settle_older_spans()

    def _new_timings(self, node_id: str) -> NodeTimings:
        if len(self._timings) >= self._node_count_max:
            node_id = OTHER_NAME
        return self._timings.setdefault(node_id, NodeTimings(node_id))

    def _settle_older_spans(self) -> None:
        """Moves the older half of the spans into the sums, with their self times as known now."""
        older = self._spans[: SPAN_COUNT_MAX // 2]
        self_ns = self_times([*self._spans, *self._covered.values()])
        for span in older:
            entry = self._timings.get(span.node_id) or self._new_timings(span.node_id)
            entry.add(span.duration_ns, self_ns[span.span_id], span.failed)
            self._covered.pop(span.span_id, None)
        del self._spans[: SPAN_COUNT_MAX // 2]
        self._keep_covered(older)

    def _keep_covered(self, settled: Sequence[Span]) -> None:
        """For the parents that are not settled themselves. Bounded: the oldest are forgotten."""
        ids = {span.span_id for span in settled}
        covered: dict[int, list[Interval]] = {}
        for span in settled:
            if span.parent_span_id not in ids:
                covered.setdefault(span.parent_span_id, []).append((span.started_unix_ns, span.ended_unix_ns))
        covered.pop(NO_SPAN, None)
        for parent, intervals in covered.items():
            known = self._covered.pop(parent, None)
            if known is not None:
                intervals.append((known.started_unix_ns, known.ended_unix_ns))
            length_ns, ended_ns = union_ns(intervals), max(end for _, end in intervals)
            self._covered[parent] = Span(-parent, parent, "", ended_ns - length_ns, length_ns)
        while len(self._covered) > SPAN_COUNT_MAX:
            del self._covered[next(iter(self._covered))]

    def _within_limit(self, parts: Iterable[NodeProfile], more: Iterable[NodeProfile]) -> list[NodeProfile]:
        """Adds up the profiles of the same node; names beyond the limit go to `__other__`."""
        sums: dict[str, NodeProfile] = {part.node_id: part for part in parts}
        for part in more:
            name = part.node_id
            if name not in sums and len(sums) >= self._node_count_max:
                name = OTHER_NAME
            sums[name] = _sum_of(sums.get(name), part, node_id=name)
        return list(sums.values())


class NodeTimings:
    """Running sums of one node. Belongs to its analyzer, which guards it."""

    __slots__ = ("calls", "errors", "max_ns", "node_id", "self_ns", "total_ns")

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.calls = 0
        self.total_ns = 0
        self.self_ns = 0
        self.max_ns = 0
        self.errors = 0

    def add(self, duration_ns: int, self_ns: int, failed: bool) -> None:  # noqa: FBT001  on the path of every node
        self.calls += 1
        self.total_ns += duration_ns
        self.self_ns += self_ns
        if duration_ns > self.max_ns:  # noqa: PLR1730  max() costs as much as all the rest
            self.max_ns = duration_ns
        if failed:
            self.errors += 1

    def profile(self) -> NodeProfile:
        """The sums as an immutable record."""
        return NodeProfile(self.node_id, self.calls, self.total_ns, self.self_ns, self.max_ns, self.errors)


def checked_duration_ns(duration_ms: object, *, what: str) -> int:
    """Milliseconds as whole nanoseconds; `InvalidValueError` for what is no duration."""
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, int | float):
        raise InvalidValueError(f"{what} must be a number, not {type(duration_ms).__name__}")
    if not 0 <= duration_ms <= DURATION_NS_MAX // NS_PER_MS:
        raise InvalidValueError(f"{what} must be a finite number of milliseconds from 0, not {duration_ms}")
    return round(duration_ms * NS_PER_MS)


def checked_threshold_percent(threshold_percent: object) -> float:
    """Any number but NaN; `InvalidValueError` otherwise."""
    if isinstance(threshold_percent, bool) or not isinstance(threshold_percent, int | float):
        raise InvalidValueError(f"threshold_percent must be a number, not {type(threshold_percent).__name__}")
    if math.isnan(threshold_percent):
        raise InvalidValueError("threshold_percent must be a number, not NaN")
    return threshold_percent


def _entry(node: NodeProfile, report: ProfileReport) -> dict[str, Any]:
    return node.to_json(report.all_self_ns)


def _sum_of(known: NodeProfile | None, part: NodeProfile, *, node_id: str) -> NodeProfile:
    """Both together. A percentile of parts cannot be added, so none is claimed."""
    sums = NodeTimings(node_id)
    for profile in (known, part):
        if profile is not None:
            sums.calls += profile.calls
            sums.total_ns += profile.total_ns
            sums.self_ns += profile.self_ns
            sums.max_ns = max(sums.max_ns, profile.max_ns)
            sums.errors += profile.errors
    return sums.profile()
