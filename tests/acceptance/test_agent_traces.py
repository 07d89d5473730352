"""Seven recorded agent runs, replayed at the same time, each by its own process, into one daemon."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.shared_data]

TRACES = 7
MS = 1_000_000


CRITICAL_NODES = {
    "autogen-2025-06-06": ("chat gpt-4o", 628),
    "google-adk-2025-08-28": ("call_llm", 1_834),
    "google-gemini-2025-08-01": ("GenerateContent", 12_032),
    "koog-2025-08-26": ("llm.chat", 4_782),
    "langgraph-2025-08-22": ("ChatOpenAI", 2_591),
    "llamaindex-2025-06-05": ("OpenAI.complete", 2_776),
    "openai-agents-2025-09-30": ("response", 2_186),
}
"""What each run waited for most, and for how many ms, as seen in the traces themselves."""


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Truth:
    """What a trace says of its nodes, counted millisecond by millisecond."""

    def __init__(self, file: Path) -> None:
        self.run_id = file.stem
        self.observations: list[dict[str, Any]] = json.loads(file.read_text())["observations"]

    def interval(self, observation: dict[str, Any]) -> range:
        return range(milliseconds(observation["startTime"]), milliseconds(observation["endTime"]))

    def durations_ms(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for observation in self.observations:
            found[observation["name"]].append(len(self.interval(observation)))
        return found

    def self_ms(self) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for observation in self.observations:
            own = set(self.interval(observation))
            for child in self.observations:
                if child["parentObservationId"] == observation["id"]:
                    own -= set(self.interval(child))
            found[observation["name"]] += len(own)
        return found

    def calls(self) -> list[dict[str, Any]]:
        return [each for each in self.observations if each["type"] == "GENERATION"]

    def total_tokens(self) -> int:
        return sum(call["usageDetails"]["total"] for call in self.calls())


@pytest.fixture
def truths(shared_data: Path) -> list[Truth]:
    found = [Truth(file) for file in sorted((shared_data / "agent_traces").glob("*.json"))]
    assert len(found) == TRACES
    return found


def test_reports_ledger_and_mlflow_equal_the_traces(workplace, start, shared_data, truths):
    start(mlflow=True)
    processes = [
        workplace.launch(
            "replay_trace.py", shared_data / "agent_traces" / f"{truth.run_id}.json", truth.run_id
        )
        for truth in truths
    ]
    for process in processes:
        workplace.finish(process)
    workplace.wait_until_settled(runs=TRACES)

    for truth in truths:
        check_ledger(workplace, truth)
        check_profile_report(workplace, truth)
        check_critical_path(workplace, truth)
        check_cost_report(workplace, truth)
    check_runs(workplace, truths)
    check_experiment(workplace, truths)
    check_mlflow(workplace, truths)


def check_ledger(workplace, truth) -> None:
    rows = workplace.rows(
        "SELECT printf('%016x', x.span_id), printf('%016x', x.parent_span_id), n.name,"
        " x.started_unix_ns, x.duration_ns"
        " FROM node_executions x JOIN names n ON n.id = x.node JOIN runs r ON r.id = x.run"
        " WHERE r.run_id = ?",
        truth.run_id,
    )
    expected = [
        (
            each["id"],
            each["parentObservationId"] or "0" * 16,
            each["name"],
            milliseconds(each["startTime"]) * MS,
            len(truth.interval(each)) * MS,
        )
        for each in truth.observations
    ]
    assert sorted(rows) == sorted(expected)


def check_profile_report(workplace, truth) -> None:
    report = workplace.report("profile-report", "--run", truth.run_id)
    durations, self_ms = truth.durations_ms(), truth.self_ms()
    nodes = {node["node_id"]: node for node in report["nodes"]}
    assert set(nodes) == set(durations)
    assert report["node_count"] == len(durations)
    assert report["total_time_ms"] == sum(map(sum, durations.values()))
    all_self_ms = sum(self_ms.values())
    for name, node in nodes.items():
        assert node["call_count"] == len(durations[name])
        assert node["total_duration_ms"] == sum(durations[name])
        assert node["max_duration_ms"] == max(durations[name])
        assert node["avg_duration_ms"] == pytest.approx(sum(durations[name]) / len(durations[name]))
        assert node["self_duration_ms"] == self_ms[name]
        assert node["percent_of_total"] == pytest.approx(100 * self_ms[name] / all_self_ms)
    assert sum(node["percent_of_total"] for node in nodes.values()) == pytest.approx(100)
    slowest = min(durations, key=lambda name: (-sum(durations[name]), name))
    assert report["slowest_node"]["node_id"] == slowest
    bottlenecks = [name for name in durations if self_ms[name] / all_self_ms > 0.5]
    assert [node["node_id"] for node in report["bottlenecks"]] == bottlenecks


def check_critical_path(workplace, truth) -> None:
    """Each model call of these runs is made while nothing else is, so all of its time is on the path."""
    report = workplace.report("profile-report", "--run", truth.run_id)
    path, nodes = report["critical_path"], {node["node_id"]: node for node in report["nodes"]}
    extent = [bound for each in truth.observations for bound in (each["startTime"], each["endTime"])]
    wall_ms = milliseconds(max(extent)) - milliseconds(min(extent))
    assert path["wall_time_ms"] == wall_ms
    critical_ms = {name: node["critical_ms"] for name, node in nodes.items()}
    assert sum(critical_ms.values()) + path["between_nodes_ms"] == pytest.approx(wall_ms)
    assert sum(path["time_classes"].values()) == pytest.approx(wall_ms)
    node = report["critical_node"]
    assert node == CRITICAL_NODES[truth.run_id][0]
    assert critical_ms[node] == truth.self_ms()[node]
    assert critical_ms[node] == CRITICAL_NODES[truth.run_id][1]
    assert path["twice_as_fast_saves_ms"][node] == pytest.approx(critical_ms[node] / 2)


def check_cost_report(workplace, truth) -> None:
    report = workplace.report("cost-report", "--run", truth.run_id)
    assert report["total_tokens"] == truth.total_tokens()
    assert report["call_count"] == len(truth.calls())
    assert report["coverage"]["priced_calls"] == len(truth.calls())
    assert report["total_cost_usd"] > 0
    provider = "google" if "gemini" in truth.calls()[0]["model"] else "openai"
    assert list(report["by_provider"]) == [provider]


def check_runs(workplace, truths) -> None:
    runs = {run["run_id"]: run for run in workplace.report("runs", "--experiment", "agent-traces")}
    assert set(runs) == {truth.run_id for truth in truths}
    for truth in truths:
        run = runs[truth.run_id]
        assert (run["status"], run["workflow"]) == ("ok", truth.run_id)
        info = run["bottleneck_info"]
        assert info["total_time_ms"] == sum(map(sum, truth.durations_ms().values()))
        report = workplace.report("profile-report", "--run", truth.run_id)
        shared = ("slowest_node", "bottlenecks", "total_time_ms", "critical_node")
        assert {key: report[key] for key in shared} == {key: info[key] for key in shared}
        [critical] = (node for node in report["nodes"] if node["node_id"] == info["critical_node"])
        assert critical["critical_percent_of_wall"] == info["critical_percent_of_wall"]
        path = report["critical_path"]
        between = 100 * path["between_nodes_ms"] / path["wall_time_ms"]
        assert info["between_nodes_percent_of_wall"] == pytest.approx(between)


def check_experiment(workplace, truths) -> None:
    costs = workplace.report("cost-report", "--experiment", "agent-traces")
    assert costs["total_tokens"] == sum(truth.total_tokens() for truth in truths)
    parts = [workplace.report("cost-report", "--run", truth.run_id) for truth in truths]
    assert costs["total_cost_nanos"] == sum(part["total_cost_nanos"] for part in parts)
    profile = workplace.report("profile-report", "--experiment", "agent-traces")
    totals = defaultdict(int)
    for truth in truths:
        for name, durations in truth.durations_ms().items():
            totals[name] += sum(durations)
    assert {node["node_id"]: node["total_duration_ms"] for node in profile["nodes"]} == totals


def check_mlflow(workplace, truths) -> None:
    from mlflow import MlflowClient

    from configurable_agents.observability.mlflow_names import node_metric

    client = MlflowClient(f"sqlite:///{workplace.home.mlflow_database}")
    experiment = client.get_experiment_by_name("agent-traces")
    runs = {run.data.tags["agents_obs.run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {truth.run_id for truth in truths}
    for truth in truths:
        run = runs[truth.run_id]
        for name, durations in truth.durations_ms().items():
            history = client.get_metric_history(run.info.run_id, node_metric(name))
            ordered = [point.value for point in sorted(history, key=lambda point: point.step)]
            assert ordered == durations, name
        assert run.data.metrics["total_tokens"] == truth.total_tokens()
        assert run.data.metrics["llm_calls"] == len(truth.calls())
        assert float(run.data.params["total_time_ms"]) == sum(map(sum, truth.durations_ms().values()))
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "agents_obs")}
        assert names == {"agents_obs/cost.json", "agents_obs/profile.json", "agents_obs/timeline.html"}
