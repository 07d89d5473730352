"""The spans of one run as events in a fixed order, each with what it waited for.

This is the one reading of a run on which critical path, slack and what-if are built, so that they agree.
What is known of a run is when its executions began and ended, and perhaps its declared graph. From it
every instant gets a cause, as in the critical-path analysis of distributed traces (Zhang et al., "CRISP:
Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022), which walks such
causes backwards:

- an execution begins because the one that ended last before it, in the same enclosing execution, ended
  (with a declared graph: the last of those its edges name), or else because the enclosing one began;
- an execution ends because the last execution inside it ended, or else because it began;
- whatever time lies between a cause and its effect is the enclosing execution's own: its `lag`.

Executions that only overlap do not wait for each other. Spans are clipped to the run, unless all of them
lie outside of it (they were recorded at another time, or by another clock): then their own extent stands
for the run. An execution that
outlives its parent is one that the next enclosing execution long enough waits for; one that begins
outside its parent (clocks differ) belongs to the next enclosing execution that was running.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from configurable_agents.runtime.bounds import INT64_MAX
from configurable_agents.runtime.self_time import Span
from configurable_agents.telemetry import Graph

RUN = -1
"""Stands for the run itself where an execution is named by its index. In a list with one place more than
there are executions, the last one is the run's."""

NONE = -2
"""No execution: the cause is that the enclosing one began."""

UNDECLARED = ""
"""The bucket of executions whose node the declared graph does not know."""

ANCESTORS_LOOKED_AT_MAX = 64
"""How many enclosing executions are tried for one that fits; beyond it the run takes their place."""

BEGINS, ENDS = 2, 1
"""An event is one number, because a run may have a million of them: four times the index of its execution,
and which of the two it does; one without duration does both at once."""


class Schedule:
    """The run from `started_ns` to `ended_ns`. Immutable once made; safe to share.

    Arrays are by the index of a span in `spans`, which are in the order of their beginning.
    Time: O(n log n). Memory: 80 bytes for each execution beside its span, twice that while it is made.
    """

    def __init__(
        self, spans: Iterable[Span], started_ns: int, ended_ns: int, graph: Graph | None = None
    ) -> None:
        self.spans = sorted(spans, key=_by_start)
        self.started_ns, self.ended_ns = window_of(self.spans, started_ns, max(started_ns, ended_ns))
        low, high = self.started_ns, self.ended_ns
        self.starts = clipped([span.started_unix_ns for span in self.spans], low, high)
        self.ends = clipped([span.started_unix_ns + span.duration_ns for span in self.spans], low, high)
        self.waits_for = declared_dependencies(graph)
        """The nodes each declared node waits for; empty without a graph."""
        parents = known_parents(self.spans)
        depths = depths_of(parents)
        self.launchers = self._found_launchers(parents)
        """The execution (or `RUN`) that was running around each one's beginning."""
        self.joiners = self._found_joiners(parents)
        """The execution (or `RUN`) that each one's end lies within."""
        self.events = self._ordered_events(depths)
        self.causes_of_start = array("q", [NONE]) * len(self.spans)
        """The execution whose end each one waited for, or `NONE`."""
        self.causes_of_end = array("q", [NONE]) * len(self.spans)
        """The last execution inside each one, or `NONE`."""
        self.start_lags = array("q", [0]) * len(self.spans)
        self.end_lags = array("q", [0]) * len(self.spans)
        self.last = NONE
        """The execution that ended last in the run, or `NONE`."""
        self._find_causes()

    @property
    def wall_ns(self) -> int:
        return self.ended_ns - self.started_ns

    @property
    def end_lag(self) -> int:
        """From the end of the last execution to the end of the run."""
        return self.ended_ns - (self.started_ns if self.last == NONE else self.ends[self.last])

    def node_of(self, index: int) -> str | None:
        """The node an execution is of; `None` for the run."""
        return None if index == RUN else self.spans[index].node_id

    def buckets_of(self, index: int) -> Sequence[str] | None:
        """What a beginning waits for, by node; `None`: for everything that ended before it."""
        return self.waits_for.get(self.spans[index].node_id) if self.waits_for else None

    def bucket_of(self, index: int) -> str:
        node_id = self.spans[index].node_id
        return node_id if node_id in self.waits_for else UNDECLARED

    def start_of(self, owner: int) -> int:
        return self.started_ns if owner == RUN else self.starts[owner]

    def _found_launchers(self, parents: array[int]) -> array[int]:
        """The parents, as nearly always; where one was not running, the next above it that was."""
        starts, ends = self.starts, self.ends
        found = parents[:]
        for index, start in enumerate(starts):
            owner, looks = parents[index], ANCESTORS_LOOKED_AT_MAX
            while owner != RUN and not starts[owner] <= start <= ends[owner]:
                looks -= 1
                owner = found[index] = parents[owner] if looks else RUN
        return found

    def _found_joiners(self, parents: array[int]) -> array[int]:
        """The launchers, as nearly always; where one ended earlier, the next above it that did not."""
        starts, ends = self.starts, self.ends
        found = self.launchers[:]
        for index, end in enumerate(ends):
            owner, looks = found[index], ANCESTORS_LOOKED_AT_MAX
            while owner != RUN and not (ends[owner] >= end and starts[owner] <= starts[index]):
                looks -= 1
                owner = found[index] = parents[owner] if looks else RUN
        return found

    def _ordered_events(self, depths: Sequence[int]) -> array[int]:
        """By time. At one instant: ends, innermost first, of those the longest last, which makes it the
        cause; then beginnings, outermost first, of those the executions without duration first, so that
        what follows them may wait for them.

        What they are ordered by is one number, the event itself last, because numbers sort four times
        faster than tuples.
        """
        width = len(self.spans).bit_length() + 2
        last = (1 << width) - 1
        since = self.started_ns
        keys: list[int] = []
        for index, (start, end, depth) in enumerate(zip(self.starts, self.ends, depths, strict=True)):
            event = index << 2
            begins = ((start - since) * 2 + 1) << width | depth
            if end > start:
                keys.append((begins * 2 + 1) << 2 * width | event | BEGINS)
                ends = (end - since) * 2 << width | (last - depth)
                keys.append((ends * 2 << width | (last - index)) << width | event | ENDS)
            else:
                keys.append(begins * 2 << 2 * width | event | BEGINS | ENDS)
        keys.sort()
        return array("q", [key & last for key in keys])

    def _find_causes(self) -> None:
        latest = array("q", [NONE]) * (len(self.spans) + 1)
        latest_of_node: dict[tuple[int, str], int] = {}
        starts, ends = self.starts, self.ends
        for event in self.events:
            index = event >> 2
            if event & BEGINS:
                owner = self.launchers[index]
                cause = self._latest_before(index, owner, latest_of_node) if self.waits_for else None
                if cause is None:
                    cause = latest[owner]
                since = self.start_of(owner) if cause == NONE else ends[cause]
                self.causes_of_start[index] = cause
                self.start_lags[index] = starts[index] - since
            if event & ENDS:
                cause = latest[index]
                since = starts[index] if cause == NONE else ends[cause]
                self.causes_of_end[index] = cause
                self.end_lags[index] = ends[index] - since
                owner = self.joiners[index]
                latest[owner] = index
                if self.waits_for:
                    latest_of_node[owner, self.bucket_of(index)] = index
        self.last = latest[RUN]

    def _latest_before(
        self, index: int, owner: int, latest_of_node: Mapping[tuple[int, str], int]
    ) -> int | None:
        """Of what the declared graph has it wait for; `None` where that is everything."""
        buckets = self.buckets_of(index)
        if buckets is None:
            return None
        found = [latest_of_node[owner, bucket] for bucket in buckets if (owner, bucket) in latest_of_node]
        return max(found, key=lambda each: (self.ends[each], -each), default=NONE)


def clipped(times: Sequence[int], low: int, high: int) -> array[int]:
    if not times or (min(times) >= low and max(times) <= high):  # as nearly always, and much faster
        return array("q", times)
    return array("q", [min(max(time, low), high) for time in times])


def window_of(spans: Sequence[Span], started_ns: int, ended_ns: int) -> tuple[int, int]:
    """From when to when a run is looked at; an end may lie beyond the last moment there is a number for."""
    if not spans or any(
        span.started_unix_ns <= ended_ns and span.started_unix_ns + span.duration_ns >= started_ns
        for span in spans
    ):
        return started_ns, min(ended_ns, INT64_MAX)
    ended_ns = max(span.ended_unix_ns for span in spans)
    return min(span.started_unix_ns for span in spans), min(ended_ns, INT64_MAX)


def declared_dependencies(graph: Graph | None) -> dict[str, tuple[str, ...]]:
    """For each declared node: the sources of its edges, itself (loops, retries), and whatever is undeclared.

    Empty without a graph or without edges: then nothing is known, and time alone decides.
    """
    if graph is None or not graph.edges:
        return {}
    sources: dict[str, dict[str, None]] = {node: {} for node in graph.nodes}
    for source, target in graph.edges:
        sources.setdefault(source, {})
        sources.setdefault(target, {})[source] = None
    return {node: (*dict.fromkeys((*found, node)), UNDECLARED) for node, found in sources.items()}


def known_parents(spans: Sequence[Span]) -> array[int]:
    """The index of each span's parent, or `RUN`. Parents in a circle are no parents."""
    index_of = {span.span_id: index for index, span in enumerate(spans)}
    parents = array("q", [index_of.get(span.parent_span_id, RUN) for span in spans])
    settled = bytearray(len(spans))
    for first in range(len(spans)):
        if parents[first] == RUN or settled[parents[first]]:  # as nearly always: parents begin first
            settled[first] = True
            continue
        path: list[int] = []
        index = first
        walked: set[int] = set()
        while index != RUN and not settled[index] and index not in walked:
            walked.add(index)
            path.append(index)
            index = parents[index]
        if index in walked:
            for each in path[path.index(index) :]:
                parents[each] = RUN
        for each in path:
            settled[each] = True
    return parents


def depths_of(parents: Sequence[int]) -> array[int]:
    """How many executions enclose each one."""
    depths = array("q", [-1]) * len(parents)
    for first, parent in enumerate(parents):
        if parent == RUN or depths[parent] >= 0:
            depths[first] = 0 if parent == RUN else depths[parent] + 1
            continue
        path: list[int] = []
        index = first
        while index != RUN and depths[index] < 0:
            path.append(index)
            index = parents[index]
        depth = -1 if index == RUN else depths[index]
        for each in reversed(path):
            depth += 1
            depths[each] = depth
    return depths


_by_start = attrgetter("started_unix_ns", "duration_ns", "span_id", "parent_span_id", "node_id")
