"""Where the time of a run went, node by node. Pure records: they print as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configurable_agents.runtime.time_report import ModelProfile, RunTimes, short_duration
from configurable_agents.telemetry import Status

NS_PER_MS = 1_000_000
DEFAULT_BOTTLENECK_THRESHOLD_PERCENT = 50.0


def milliseconds(duration_ns: int) -> float:
    """Nanoseconds as float milliseconds, for display and public figures ending in `_ms`."""
    return duration_ns / NS_PER_MS


def milliseconds_if_known(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else milliseconds(duration_ns)


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """All executions of one node, in one run or over several."""

    node_id: str
    calls: int
    total_ns: int
    """Sum of the durations."""
    self_ns: int
    """The same, less the time in which at least one child node ran."""
    max_ns: int
    errors: int = 0
    """Executions that ended with `error` or `cancelled`."""
    p95_ns: int | None = None
    """`None` where no percentile is kept, as with all that follow."""
    p50_ns: int | None = None
    p90_ns: int | None = None
    p99_ns: int | None = None
    critical_ns: int | None = None
    """Its time on the critical path, added up over the runs whose path is known."""
    slack_ns: int | None = None
    """How much longer one execution could have taken without delaying its run: the least of them."""
    p95_history_ns: tuple[int, ...] = ()
    """Over several runs: the p95 in each of the newest ones that had the node, oldest first."""

    @property
    def avg_ns(self) -> float:
        return self.total_ns / self.calls if self.calls else 0.0

    def to_json(self, all_self_ns: int, times: RunTimes | None = None) -> dict[str, Any]:
        """An entry of `nodes` and `bottlenecks`; see docs/json.md."""
        critical_ns = None if times is None else self.critical_ns
        return {
            "node_id": self.node_id,
            "total_duration_ms": milliseconds(self.total_ns),
            "self_duration_ms": milliseconds(self.self_ns),
            "avg_duration_ms": self.avg_ns / NS_PER_MS,
            "max_duration_ms": milliseconds(self.max_ns),
            "p50_duration_ms": milliseconds_if_known(self.p50_ns),
            "p90_duration_ms": milliseconds_if_known(self.p90_ns),
            "p95_duration_ms": milliseconds_if_known(self.p95_ns),
            "p99_duration_ms": milliseconds_if_known(self.p99_ns),
            "call_count": self.calls,
            "error_count": self.errors,
            "percent_of_total": percent(self.self_ns, all_self_ns),
            "critical_ms": milliseconds_if_known(critical_ns),
            "critical_percent_of_wall": None
            if times is None or critical_ns is None
            else percent(critical_ns, times.wall_ns),
            "slack_ms": milliseconds_if_known(self.slack_ns),
            "bottleneck_run_count": None if times is None else times.bottlenecks.get(self.node_id, 0),
            "p95_history_ms": [milliseconds(each) for each in self.p95_history_ns],
        }


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """The profile of one run, or of all runs of an experiment."""

    nodes: tuple[NodeProfile, ...] = ()
    """Highest total first, ties by name."""
    experiment: str = ""
    workflow: str = ""
    run_id: str = ""
    since_unix_ns: int = 0
    run_count: int = 0
    status: Status = Status.UNSPECIFIED
    """Of the one run; unspecified over several."""
    wall_ns: int = 0
    """End less start of the run (so far, when it is in flight); over several runs the sum."""
    times: RunTimes | None = None
    """Of the runs whose critical path is known; `None` when there is none."""
    models: tuple[ModelProfile, ...] = ()
    """The models of finished runs, most calls first."""

    @property
    def all_self_ns(self) -> int:
        return sum(node.self_ns for node in self.nodes)

    @property
    def all_total_ns(self) -> int:
        return sum(node.total_ns for node in self.nodes)

    @property
    def slowest_node(self) -> NodeProfile | None:
        """The node with the highest total; `None` when no node has run."""
        return self.nodes[0] if self.nodes else None

    @property
    def critical_node(self) -> NodeProfile | None:
        """The node with most time on the critical path; `None` when there is none or it is not known."""
        known = [node for node in self.nodes if node.critical_ns]
        return min(known, key=lambda node: (-(node.critical_ns or 0), node.node_id), default=None)

    @property
    def busiest_node(self) -> NodeProfile | None:
        """The node with most self time; `None` when no node has run."""
        return min(self.nodes, key=lambda node: (-node.self_ns, node.node_id), default=None)

    @property
    def between_nodes_prevails(self) -> bool:
        """Whether more of the critical path is in no node than in any one node."""
        critical = self.critical_node
        most_ns = 0 if critical is None else critical.critical_ns or 0
        return self.times is not None and self.times.between_ns > most_ns

    @property
    def untimed_calls(self) -> int:
        """Model calls whose duration nobody recorded: their time is in that of the code around them."""
        return sum(model.untimed_calls for model in self.models)

    @property
    def no_call_is_timed(self) -> bool:
        """Whether there were model calls, and it is not known of any how long it took."""
        return bool(self.models) and self.untimed_calls == sum(model.calls for model in self.models)

    def advice(self) -> str | None:
        """One plain sentence on what to speed up first; `None` when the critical path is not known."""
        times, node = self.times, self.critical_node
        if times is None or not times.wall_ns:
            return None
        if node is None or self.between_nodes_prevails:
            share = percent(times.between_ns, times.wall_ns)
            return f"{share:.0f} % of the wall is between nodes: {_between_what(times)}"
        share = percent(node.critical_ns or 0, times.wall_ns)
        sentence = f"{node.node_id} is on the critical path for {share:.0f} % of the wall"
        saved_ns = dict(times.speedups).get(node.node_id)
        if saved_ns is None:
            return f"{sentence}."
        saving = f"{short_duration(saved_ns)} ({percent(saved_ns, times.wall_ns):.0f} %)"
        return f"{sentence}; twice as fast would save {saving}."

    def percent_of_total(self, node: NodeProfile) -> float:
        """Self time of the node over the self time of all nodes, in percent."""
        return percent(node.self_ns, self.all_self_ns)

    def bottlenecks(
        self, threshold_percent: float = DEFAULT_BOTTLENECK_THRESHOLD_PERCENT
    ) -> list[NodeProfile]:
        """Nodes strictly above the threshold, highest share first."""
        found = [node for node in self.nodes if self.percent_of_total(node) > threshold_percent]
        return sorted(found, key=lambda node: (-node.self_ns, node.node_id))

    def to_json(self, threshold_percent: float = DEFAULT_BOTTLENECK_THRESHOLD_PERCENT) -> dict[str, Any]:
        """The JSON contract of `profile-report --json`; see docs/json.md."""
        all_self_ns = self.all_self_ns
        slowest, critical, times = self.slowest_node, self.critical_node, self.times
        return {
            "experiment": self.experiment or None,
            "workflow": self.workflow or None,
            "run_id": self.run_id or None,
            "since_unix_ns": self.since_unix_ns or None,
            "run_count": self.run_count,
            "status": self.status.label if self.status else None,
            "wall_time_ms": milliseconds(self.wall_ns),
            "total_time_ms": milliseconds(self.all_total_ns),
            "node_count": len(self.nodes),
            "threshold_percent": threshold_percent,
            "slowest_node": None if slowest is None else slowest.to_json(all_self_ns, times),
            "bottlenecks": [node.to_json(all_self_ns, times) for node in self.bottlenecks(threshold_percent)],
            "nodes": [node.to_json(all_self_ns, times) for node in self.nodes],
            "critical_node": None if critical is None else critical.node_id,
            "critical_path": None if times is None else self._path_json(times),
            "advice": self.advice(),
            "models": [model.to_json() for model in self.models],
            "what_if": [],
        }

    def _path_json(self, times: RunTimes) -> dict[str, Any]:
        """Without the time of models where no call told how long it took."""
        path = times.to_json()
        if self.no_call_is_timed:
            path["time_classes"]["model_ms"] = None
        return path | {"untimed_calls": self.untimed_calls}

    def bottleneck_info(self) -> dict[str, Any]:
        """What the ledger and MLflow keep of it: `slowest_node`, `bottlenecks`, `total_time_ms`; and where
        the critical path is known, its node with most time and the shares of both measures."""
        whole = self.to_json()
        info = {key: whole[key] for key in ("slowest_node", "bottlenecks", "total_time_ms")}
        times, critical = self.times, self.critical_node
        if times is None:
            return info
        critical_ns = 0 if critical is None else critical.critical_ns or 0
        return {
            **info,
            "critical_node": whole["critical_node"],
            "critical_percent_of_wall": percent(critical_ns, times.wall_ns),
            "between_nodes_percent_of_wall": percent(times.between_ns, times.wall_ns),
        }


def sorted_profiles(nodes: list[NodeProfile]) -> tuple[NodeProfile, ...]:
    """In the order of `ProfileReport.nodes`."""
    return tuple(sorted(nodes, key=lambda node: (-node.total_ns, node.node_id)))


def _between_what(times: RunTimes) -> str:
    if times.between_calls_ns * 2 > times.between_ns:
        return "mostly model calls that were made in no node; profile_node around them shows which."
    return "the workflow's own code, or waiting; no node's speed changes that."


def percent(part: int, whole: int) -> float:
    """`part` of `whole` in percent; 0 when there is no whole."""
    return 100.0 * part / whole if whole else 0.0
