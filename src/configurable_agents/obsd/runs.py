"""Runs in flight: an analyzer for each, its profile when it ends, its end when its process is gone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from configurable_agents.obsd import limits
from configurable_agents.runtime.bottlenecks import BottleneckAnalyzer, NodeSums
from configurable_agents.runtime.critical_path import Interval, union_ns
from configurable_agents.telemetry import Event, NodeFinished, RunFinished, RunStarted, Status
from configurable_agents.wire.blocks import ExecutionBlock, one_by_one, parts_of

_GONE = -1
"""`LiveRun.figures_counted` of a run that is no longer kept."""


class LiveRun:
    """The analyzer of one run, fed with finished executions as they are committed.

    A child ends before its parent, so its interval is kept until the parent comes and is then taken
    out of the parent's self time. The rare child that ends later is put right by the final profile.
    """

    __slots__ = ("_children", "_children_count", "analyzer", "figures_counted", "is_complete")

    def __init__(self, *, is_complete: bool) -> None:
        self.analyzer = BottleneckAnalyzer(node_count_max=limits.RUN_NODES_MAX)
        self.is_complete = is_complete
        """Whether it was fed from the run's beginning on."""
        self._children: dict[int, list[Interval]] = {}
        self._children_count = 0
        self.figures_counted = 0
        """How many figures of it `LiveRuns` has counted."""

    @property
    def figures(self) -> int:
        """What it keeps: nodes, and intervals of finished children."""
        return self.analyzer.node_count + self._children_count

    @property
    def has_children(self) -> bool:
        """Whether intervals of children wait for their parents."""
        return bool(self._children)

    def record(self, execution: NodeFinished) -> None:
        _, span_id, parent_span_id, node_id, _, started_ns, duration_ns, status, _ = execution
        if parent_span_id:
            self._keep(parent_span_id, (started_ns, started_ns + duration_ns))
        children = self._children.pop(span_id, None) if self._children else None
        self_ns = duration_ns if children is None else self._self_ns(started_ns, duration_ns, children)
        self.analyzer.record_ns(node_id, duration_ns, self_ns, status is not Status.OK)

    def _self_ns(self, started_ns: int, duration_ns: int, children: list[Interval]) -> int:
        self._children_count -= len(children)
        ended_ns = started_ns + duration_ns
        return duration_ns - union_ns(
            [(max(start, started_ns), min(end, ended_ns)) for start, end in children]
        )

    def _keep(self, parent_span_id: int, interval: Interval) -> None:
        if self._children_count >= limits.PENDING_CHILDREN_MAX:
            self._children.clear()
            self._children_count = 0
        siblings = self._children.get(parent_span_id)
        if siblings is None:
            self._children[parent_span_id] = [interval]
        else:
            siblings.append(interval)
        self._children_count += 1


class LiveRuns:
    """All runs in flight, and those that ended and still want their profile.

    Fed from the daemon's event loop; `analyzer` may be asked from any thread.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._ended: dict[str, None] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        """Runs that ended lately: what comes for them now is late."""
        self._figures = 0
        """Kept for all runs, as counted when each was last heard of."""

    def __len__(self) -> int:
        return len(self._runs)

    def take(self, events: Sequence[Event]) -> None:
        """Notes what was committed."""
        for part in parts_of(events):
            if not isinstance(part, ExecutionBlock) or not self._take_block(part):
                self._take_one_by_one(one_by_one(part))
        self._keep_bounds()

    def _take_block(self, block: ExecutionBlock) -> bool:
        """Adds up a block at once. False, and nothing is done, when some are children or may have any."""
        groups = block.by_attempt
        sums: dict[str, list[NodeSums]] = {}
        for (run_id, node_id, _), calls, total_ns, max_ns in zip(
            block.attempts, groups.counts, groups.total_ns, groups.max_ns, strict=True
        ):
            of_run = sums.get(run_id)
            if of_run is None:
                of_run = sums[run_id] = []
            of_run.append((node_id, calls, total_ns, max_ns))
        known = (self._runs.get(run_id) for run_id in sums)
        if block.has_children or any(run is not None and run.has_children for run in known):
            return False
        for run_id, of_run in sums.items():
            run = self._run(run_id, is_new=False)
            if run is None:
                self._ended[run_id] = None
            else:
                run.analyzer.record_sums(of_run)
                self._count_figures(run)
        if len(sums) > 1:
            self._note_latest(block)
        return True

    def _note_latest(self, block: ExecutionBlock) -> None:
        """The run heard of last is that of the last execution."""
        latest: dict[str, int] = {}
        for (run_id, _, _), place in zip(block.attempts, block.by_attempt.last_places, strict=True):
            if place > latest.get(run_id, -1):
                latest[run_id] = place
        for run_id in sorted(latest, key=latest.__getitem__):
            if run_id in self._runs:
                self._runs.move_to_end(run_id)

    def _take_one_by_one(self, events: Iterable[Event]) -> None:
        run_id, run = "", None
        for event in events:
            if type(event) is NodeFinished and run is not None and event.run_id == run_id:
                run.record(event)
                continue
            is_new = type(event) is RunStarted
            if is_new and event.run_id in self._over:  # a child of it told of it first, and was its end
                del self._over[event.run_id]
                run_id, is_new = "", False
            if event.run_id != run_id:
                self._count_figures(run)
                run_id = event.run_id
                run = self._run(run_id, is_new=is_new)
            if type(event) is RunFinished:
                self.end(run_id)
                run_id = ""
            elif run is None:
                self._ended[run_id] = None
            elif type(event) is NodeFinished:
                run.record(event)
        self._count_figures(run)

    def rebuild(self, run_id: str, executions: Iterable[NodeFinished], *, is_complete: bool) -> None:
        """A run in flight that a daemon before this one knew."""
        run = self._run(run_id, is_new=is_complete)
        if run is not None:
            for execution in executions:
                run.record(execution)
            self._count_figures(run)
            self._keep_bounds()

    def end(self, run_id: str) -> None:
        """The run is over: its analyzer goes, and its profile is wanted."""
        self._leave(self._runs.pop(run_id, None))
        self._ended[run_id] = None
        self._over[run_id] = None
        if len(self._over) > limits.LIVE_RUNS_MAX:
            self._over.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """The run is gone from the ledger."""
        self._leave(self._runs.pop(run_id, None))
        self._ended.pop(run_id, None)
        self._over.pop(run_id, None)

    def want_profile(self, run_id: str) -> None:
        self._ended[run_id] = None

    @property
    def has_ended(self) -> bool:
        """Whether a profile is wanted that nobody has taken on yet."""
        return bool(self._ended)

    def take_ended(self) -> list[str]:
        """Runs whose profile is wanted, each once."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def analyzer(self, run_id: str) -> BottleneckAnalyzer | None:
        """The analyzer of a run in flight; `None` for one that has not seen all of it."""
        run = self._runs.get(run_id)
        return run.analyzer if run is not None and run.is_complete else None

    def _run(self, run_id: str, *, is_new: bool) -> LiveRun | None:
        """The run in flight, noted as the latest heard of; `None` for one that is over."""
        run = self._runs.get(run_id)
        if run is not None:
            self._runs.move_to_end(run_id)
            return run
        if run_id in self._over:
            return None
        run = self._runs[run_id] = LiveRun(is_complete=is_new)
        if len(self._runs) > limits.LIVE_RUNS_MAX:
            self._let_idlest_go()
        return run

    def _count_figures(self, run: LiveRun | None) -> None:
        if run is not None and run.figures_counted >= 0:
            figures = run.figures
            self._figures += figures - run.figures_counted
            run.figures_counted = figures

    def _keep_bounds(self) -> None:
        while self._figures > limits.LIVE_FIGURES_MAX and len(self._runs) > 1:
            self._let_idlest_go()

    def _let_idlest_go(self) -> None:
        _, run = self._runs.popitem(last=False)
        self._leave(run)

    def _leave(self, run: LiveRun | None) -> None:
        if run is not None:
            self._figures -= run.figures_counted
            run.figures_counted = _GONE
