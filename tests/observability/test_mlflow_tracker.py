"""Costs and profiles through a real MLflow store: what is written, and what is read back without a daemon."""

from __future__ import annotations

import json
import logging
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric, RunTag

from configurable_agents.errors import (
    ConfigurationError,
    InvalidValueError,
    MLflowUnavailableError,
    NotFoundError,
)
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability import mlflow_tracker as module
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.observability.mlflow_tracker import (
    MLFlowTracker,
    read_experiment_costs,
    read_experiment_durations,
)
from configurable_agents.observability.multi_provider_tracker import (
    MultiProviderCostTracker,
    generate_cost_report,
)
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.telemetry import PriceStatus, Usage

GPT = {"model": "gpt-4o", "usage": {"prompt_tokens": 1_000, "completion_tokens": 500}}
GPT_NANOS = 7_500_000
UNKNOWN = {"model": "gpt-99", "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


class Experiment:
    """One experiment of the shared store."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri, self.name = uri, name
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        folder = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
        self.id = self.client.create_experiment(name, artifact_location=folder.as_uri())

    def run(self, *, parent: str = "", tags: dict[str, str] | None = None, **metrics: float) -> str:
        """A run with these metrics, as any tool could have logged it."""
        run_id = self.client.create_run(
            self.id, tags={"mlflow.parentRunId": parent} if parent else {}
        ).info.run_id
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, 1, 0) for key, value in metrics.items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )
        return str(run_id)

    def exact_run(self, nanos: int, *, parent: str = "") -> str:
        """A run as the daemon writes it."""
        totals = CallTotals.of_call(Usage(7, output_tokens=3), PriceStatus.PRICED, nanos)
        summary = CostSummary.of([ModelCost("openai", "gpt-4o", totals)])
        tags = {**names.cost_tags(summary), names.TAG_RUN_ID: f"run-{nanos}"}
        return self.run(parent=parent, tags=tags, **names.cost_metrics(summary))

    def report(self) -> dict[str, Any]:
        return generate_cost_report(self.name, self.uri)


@pytest.fixture
def experiment(observability_mlflow_uri: str, request: pytest.FixtureRequest) -> Experiment:
    return Experiment(observability_mlflow_uri, request.node.name)


@pytest.fixture
def tracker(observability_mlflow_uri: str) -> MLFlowTracker:
    return MLFlowTracker(observability_mlflow_uri)


@pytest.fixture
def default_store(observability_mlflow_uri: str) -> Iterator[str]:
    """MLflow's own setting names the store."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(observability_mlflow_uri)
    yield observability_mlflow_uri
    mlflow.set_tracking_uri(before)


# --- writing ---------------------------------------------------------------------------------------


def test_tracked_calls_are_logged_to_their_run(experiment: Experiment, tracker: MLFlowTracker) -> None:
    run_id = experiment.run()
    for _ in range(2):
        result = tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
    assert (result["cost_nanos"], result["mlflow_run_id"]) == (GPT_NANOS, run_id)
    metrics = experiment.client.get_run(run_id).data.metrics
    assert metrics["total_cost_usd"] == 2 * GPT_NANOS / 10**9
    assert metrics["provider_openai_tokens"] == 3_000
    assert metrics["model/openai/gpt-4o/calls"] == 2
    history = experiment.client.get_metric_history(run_id, "llm_calls")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 2.0)]
    assert tracker.get_workflow_cost_summary(run_id)["call_count"] == 2


def test_the_active_run_is_used_where_none_is_named(experiment: Experiment, default_store: str) -> None:
    tracker = MLFlowTracker()
    with mlflow.start_run(experiment_id=experiment.id) as run:
        assert tracker.track_provider_call("openai", "gpt-4o", GPT)["mlflow_run_id"] == run.info.run_id
        assert tracker.get_workflow_cost_summary()["run_id"] == run.info.run_id
        tracker.log_workflow_summary()
    assert experiment.report()["total_cost_nanos"] == GPT_NANOS


def test_without_a_run_calls_are_tracked_and_not_logged(tracker: MLFlowTracker) -> None:
    assert tracker.track_provider_call("openai", "gpt-4o", GPT)["mlflow_run_id"] is None
    assert tracker.get_workflow_cost_summary()["total_cost_nanos"] == GPT_NANOS
    assert tracker.cost_tracker.summary().totals.calls == 1
    with pytest.raises(InvalidValueError, match=r"mlflow\.start_run"):
        tracker.log_workflow_summary()


def test_totals_go_on_where_another_process_left_them(experiment: Experiment) -> None:
    run_id = experiment.run()
    for _ in range(2):
        MLFlowTracker(experiment.uri).track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
    assert experiment.client.get_run(run_id).data.metrics["llm_calls"] == 2
    assert experiment.report()["total_cost_nanos"] == 2 * GPT_NANOS


def test_a_forgotten_run_is_read_back_from_its_tags(
    experiment: Experiment, tracker: MLFlowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS_TRACKED_MAX", 1)
    runs = [experiment.run(), experiment.run()]
    for run_id in (*runs, *runs):
        tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
    assert len(tracker._runs) == 1
    assert tracker.get_workflow_cost_summary(runs[0])["call_count"] == 2


def test_calls_of_many_threads_reach_one_run(experiment: Experiment, tracker: MLFlowTracker) -> None:
    run_id = experiment.run()

    def work() -> None:
        for _ in range(5):
            tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [point.step for point in experiment.client.get_metric_history(run_id, "llm_calls")] == list(
        range(1, 21)
    )
    assert experiment.report()["total_cost_nanos"] == 20 * GPT_NANOS


PROFILE = ProfileReport(
    nodes=(
        NodeProfile("draft[1]", 2, 900_000_000, 900_000_000, 500_000_000),
        NodeProfile("check", 1, 100_000_000, 100_000_000, 100_000_000),
    ),
    run_count=1,
)


def test_a_final_summary_has_params_tags_and_artifacts(
    experiment: Experiment, tracker: MLFlowTracker, tmp_path: Path
) -> None:
    run_id = experiment.run()
    tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
    summary = tracker.log_workflow_summary(run_id, profile=PROFILE)
    run = experiment.client.get_run(run_id)
    assert run.data.params == {
        "provider_openai_cost_usd": "0.007500000",
        "provider_openai_tokens": "1500",
        "slowest_node": "draft[1]",
        "bottlenecks": "draft[1]",
        "total_time_ms": "1000.0",
    }
    assert json.loads(run.data.tags["agents_obs.coverage"])["priced_calls"] == 1
    for path, expected in ((names.ARTIFACT_COST, summary), (names.ARTIFACT_PROFILE, PROFILE.to_json())):
        local = experiment.client.download_artifacts(run_id, path, str(tmp_path))
        assert json.loads(Path(local).read_text(encoding="utf-8")) == expected


def test_a_param_that_is_there_stays_and_a_warning_says_so(
    experiment: Experiment, tracker: MLFlowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = experiment.run()
    for _ in range(2):
        tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
        tracker.log_workflow_summary(run_id)
    assert experiment.client.get_run(run_id).data.params["provider_openai_tokens"] == "1500"
    assert "provider_openai_tokens" in caplog.text


def test_model_names_mlflow_refuses_are_logged_and_read_back(
    experiment: Experiment, tracker: MLFlowTracker
) -> None:
    run_id = experiment.run()
    odd = ["prüf[1]", "a//b", "../m", "x" * 256, "m\n", "m", "a/cost_usd"]
    for model in odd:
        tracker.track_provider_call("house", model, {"usage": GPT["usage"]}, run_id=run_id)
    experiment.client.delete_tag(run_id, names.TAG_COST)  # now only the metrics tell
    found = experiment.report()["by_provider"]["house"]["models"]
    assert {name: part["total_tokens"] for name, part in found.items()} == {
        **dict.fromkeys(odd[:4], 1_500),
        "m": 3_000,  # a line end is no part of a name
        "a/cost_usd": 1_500,
    }


def test_mlflow_failing_never_reaches_the_workflow(
    tracker: MLFlowTracker, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING):
        assert tracker.track_provider_call("openai", "gpt-4o", GPT, run_id="no-such")["mlflow_run_id"] is None
        elsewhere = MLFlowTracker(f"sqlite:///{tmp_path}/none.db")
        assert elsewhere.track_provider_call("openai", "gpt-4o", GPT, run_id="r")["cost_nanos"] == GPT_NANOS
    assert caplog.text.count("tracked but not logged") == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda tracker: tracker.get_workflow_cost_summary("no-such"),
        lambda tracker: tracker.log_workflow_summary("no-such"),
        lambda tracker: tracker.get_bottleneck_report("no-such"),
    ],
)
def test_an_unknown_run_is_named(tracker: MLFlowTracker, ask: Callable[[MLFlowTracker], object]) -> None:
    with pytest.raises(NotFoundError, match="no-such"):
        ask(tracker)


def test_a_logged_profile_is_reported(experiment: Experiment, tracker: MLFlowTracker) -> None:
    run_id = experiment.run()
    tracker.log_workflow_summary(run_id, profile=PROFILE)
    assert tracker.get_bottleneck_report(run_id) == {"run_id": run_id, **PROFILE.bottleneck_info()}


@pytest.mark.parametrize(
    "tag", [{}, {names.TAG_BOTTLENECK_INFO: "no json"}, {names.TAG_BOTTLENECK_INFO: "[]"}]
)
def test_a_profile_is_made_from_node_metrics_where_none_is_logged(
    experiment: Experiment, tracker: MLFlowTracker, tag: dict[str, str]
) -> None:
    run_id = experiment.run(tags=tag)
    points = [("draft[1]", 600.0), ("draft[1]", 300.0), ("check", 100.0)]
    for step, (node, value) in enumerate(points):
        experiment.client.log_metric(run_id, names.node_metric(node), value, step=step)
    report = tracker.get_bottleneck_report(run_id)
    assert report["total_time_ms"] == 1_000.0
    assert (
        report["slowest_node"]
        == report["bottlenecks"][0]
        == {
            "node_id": "draft[1]",
            "total_duration_ms": 900.0,
            "avg_duration_ms": 450.0,
            "max_duration_ms": 600.0,
            "call_count": 2,
            "percent_of_total": 90.0,
        }
    )


def test_a_run_without_nodes_has_an_empty_profile(experiment: Experiment, tracker: MLFlowTracker) -> None:
    run_id = experiment.run()
    empty = {"slowest_node": None, "bottlenecks": [], "total_time_ms": 0.0}
    assert tracker.get_bottleneck_report(run_id) == {"run_id": run_id, **empty}


# --- reading ---------------------------------------------------------------------------------------


def test_a_report_sums_the_exact_totals_of_all_runs_page_by_page(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS_PER_PAGE", 2)
    for nanos in (1, 2, 4, 8, 16):
        experiment.exact_run(nanos)
    report = experiment.report()
    assert (report["experiment"], report["run_count"], report["call_count"]) == (experiment.name, 5, 5)
    assert (report["total_cost_nanos"], report["total_tokens"]) == (31, 50)
    assert report["tokens"]["output"] == 15
    assert report["by_provider"]["openai"]["models"]["gpt-4o"]["call_count"] == 5


def test_the_trackers_own_report_asks_its_own_store(experiment: Experiment, tracker: MLFlowTracker) -> None:
    experiment.exact_run(5)
    assert tracker.cost_tracker.generate_report(experiment.name)["total_cost_nanos"] == 5


def test_mlflows_own_setting_is_the_default_store(experiment: Experiment, default_store: str) -> None:
    experiment.exact_run(5)
    assert generate_cost_report(experiment.name)["total_cost_nanos"] == 5
    assert MultiProviderCostTracker().generate_report(experiment.name)["total_cost_nanos"] == 5


def test_runs_given_as_mlflow_objects_are_summed(experiment: Experiment) -> None:
    runs: list[Any] = [experiment.client.get_run(experiment.exact_run(nanos)) for nanos in (3, 4)]
    tracker = MultiProviderCostTracker()
    tracker.track_call("openai", "gpt-4o", GPT)
    summed = tracker.get_cost_summary([*runs, tracker.get_cost_summary()])
    assert (summed["total_cost_nanos"], summed["run_count"]) == (7 + GPT_NANOS, 3)


def test_metrics_tell_the_costs_where_the_exact_tag_is_missing(experiment: Experiment) -> None:
    experiment.run(
        **{
            "model/openai/gpt-4o/cost_usd": 0.25,
            "model/openai/gpt-4o/tokens": 100,
            "model/openai/gpt-4o/calls": 3,
            "model/openai/gpt-4o/unpriced_calls": 1,
            "model/house/m/tokens": 20,
            "model/house/m/calls": 2,
            "provider_openai_cost_usd": 0.25,
            "total_cost_usd": 0.25,
        }
    )
    report = experiment.report()
    assert (report["total_cost_nanos"], report["total_tokens"], report["call_count"]) == (250_000_000, 120, 5)
    assert (report["coverage"]["unpriced_calls"], report["coverage"]["unpriced_tokens"]) == (3, 20)
    assert report["tokens"] is report["by_provider"]["house"]["models"]["m"]["tokens"] is None


TOTALS_ONLY = {
    "model/openai/gpt-4o/cost_usd": 0.25,
    "model/openai/gpt-4o/tokens": 100,
    "model/openai/gpt-4o/calls": 3,
}


def test_classes_of_tokens_that_are_not_known_stay_so_in_a_sum(experiment: Experiment) -> None:
    run: Any = experiment.client.get_run(experiment.run(**TOTALS_ONLY))
    tracker = MultiProviderCostTracker()
    tracker.track_call("openai", "gpt-4o", GPT)
    for runs in ([run], [run, tracker.get_cost_summary()], [experiment.report()]):
        summed = tracker.get_cost_summary(runs)
        assert summed["tokens"] is summed["by_provider"]["openai"]["models"]["gpt-4o"]["tokens"] is None


def test_a_run_that_went_on_from_totals_alone_claims_no_classes(
    experiment: Experiment, tracker: MLFlowTracker
) -> None:
    run_id = experiment.run(**TOTALS_ONLY)
    tracker.track_provider_call("openai", "gpt-4o", GPT, run_id=run_id)
    assert tracker.get_workflow_cost_summary(run_id)["tokens"] is None
    written = tracker.log_workflow_summary(run_id)
    assert (written["total_tokens"], written["tokens"]) == (1_600, None)
    report = experiment.report()
    assert (report["total_tokens"], report["call_count"], report["tokens"]) == (1_600, 4, None)


def test_a_cost_that_is_no_amount_of_money_is_not_known(experiment: Experiment) -> None:
    experiment.run(**{**TOTALS_ONLY, "model/openai/gpt-4o/cost_usd": math.nan})
    report = experiment.report()
    assert (report["total_cost_usd"], report["coverage"]["unpriced_calls"]) == (None, 3)


def test_provider_metrics_tell_the_costs_where_models_are_missing(experiment: Experiment) -> None:
    experiment.run(provider_openai_cost_usd=0.5, provider_openai_tokens=7, total_cost_usd=0.5)
    report = experiment.report()
    assert report["by_provider"]["openai"]["total_cost_nanos"] == 500_000_000
    assert report["total_cost_nanos"] == 500_000_000


def test_a_total_alone_belongs_to_no_known_provider(experiment: Experiment) -> None:
    experiment.run(total_cost_usd=0.5)
    assert experiment.report()["by_provider"]["unknown"]["total_cost_nanos"] == 500_000_000


def test_runs_of_other_tools_cost_nothing_and_do_not_count(experiment: Experiment) -> None:
    experiment.run(accuracy=0.9, loss=math.inf)
    experiment.run(provider_openai_cost_usd=math.inf, provider_openai_tokens=-5)
    report = experiment.report()
    assert (report["total_cost_nanos"], report["total_tokens"], report["call_count"]) == (0, 0, 0)
    assert report["run_count"] == 1


def test_deleted_runs_do_not_count(experiment: Experiment) -> None:
    experiment.exact_run(1)
    deleted = experiment.exact_run(2)
    gone = [experiment.client.get_run(deleted)]
    experiment.client.delete_run(deleted)
    assert experiment.report()["total_cost_nanos"] == 1
    assert MultiProviderCostTracker().get_cost_summary([experiment.client.get_run(deleted)])["run_count"] == 0
    assert gone[0].info.lifecycle_stage == "active"


def test_nested_runs_of_ours_carry_their_own_calls_and_all_count(experiment: Experiment) -> None:
    parent = experiment.exact_run(100)
    experiment.exact_run(20, parent=parent)
    assert experiment.report()["total_cost_nanos"] == 120


def test_a_foreign_parent_that_includes_its_children_counts_instead_of_them(experiment: Experiment) -> None:
    parent = experiment.run(total_cost_usd=0.3, total_tokens=30)
    child = experiment.run(parent=parent, total_cost_usd=0.1, total_tokens=10)
    experiment.run(parent=child, total_cost_usd=0.1, total_tokens=10)
    experiment.run(parent=parent, total_cost_usd=0.2, total_tokens=20)
    report = experiment.report()
    assert (report["total_cost_nanos"], report["total_tokens"], report["run_count"]) == (300_000_000, 30, 1)


def test_a_foreign_parent_with_less_than_its_children_counts_beside_them(experiment: Experiment) -> None:
    parent = experiment.run(total_cost_usd=0.05)
    experiment.run(parent=parent, total_cost_usd=0.1)
    assert experiment.report()["total_cost_nanos"] == 150_000_000


def test_a_parent_without_costs_leaves_its_children_to_count(experiment: Experiment) -> None:
    parent = experiment.run(accuracy=1.0)
    experiment.run(parent=parent, total_cost_usd=0.1)
    experiment.run(parent="elsewhere", total_cost_usd=0.1)
    assert experiment.report()["total_cost_nanos"] == 200_000_000


def test_a_foreign_parent_that_sums_runs_of_ours_gives_way_to_them(experiment: Experiment) -> None:
    parent = experiment.run(total_cost_usd=30e-9, total_tokens=20)
    for nanos in (10, 20):
        experiment.exact_run(nanos, parent=parent)
    report = experiment.report()
    assert (report["total_cost_nanos"], report["run_count"]) == (30, 2)


def test_runs_that_name_each_other_as_parent_count_once_each(experiment: Experiment) -> None:
    one, two = experiment.run(total_cost_usd=0.1), experiment.run(total_cost_usd=0.2)
    experiment.client.set_tag(one, "mlflow.parentRunId", two)
    experiment.client.set_tag(two, "mlflow.parentRunId", one)
    assert experiment.report()["total_cost_nanos"] == 300_000_000


def test_an_experiment_without_runs_costs_nothing(experiment: Experiment) -> None:
    assert read_experiment_costs(experiment.name, experiment.uri).summary.run_count == 0


def test_a_missing_experiment_names_what_is_near(experiment: Experiment) -> None:
    with pytest.raises(NotFoundError, match="did you mean: 'support-bot'"):
        generate_cost_report("suport-bot", experiment.uri)
    with pytest.raises(NotFoundError, match="'zzz' does not exist in MLflow; there are: '"):
        generate_cost_report("zzz", experiment.uri)
    experiment.client.delete_experiment(experiment.id)
    with pytest.raises(NotFoundError, match="was deleted"):
        generate_cost_report(experiment.name, experiment.uri)


@pytest.mark.parametrize("name", ["", None, 5])
def test_what_is_no_experiment_name_is_not_found(experiment: Experiment, name: Any) -> None:
    with pytest.raises(NotFoundError):
        generate_cost_report(name, experiment.uri)


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(ConfigurationError, match="no MLflow database at"):
        generate_cost_report("e", f"sqlite:///{path}")
    assert not path.exists()


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(MLflowUnavailableError) as caught:
        generate_cost_report("e", f"sqlite:///{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nonsense://x", "  ", 5])
def test_a_uri_mlflow_cannot_use_is_a_configuration_error(uri: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        generate_cost_report("e", uri)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_reported_at_once() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(
        MLflowUnavailableError, match=f"no MLflow server answers at http://127.0.0.1:{port}"
    ) as caught:
        generate_cost_report("e", f"http://user:secret@127.0.0.1:{port}")
    assert "secret" not in str(caught.value)


class NoSuchApi(BaseHTTPRequestHandler):
    """A web server that is no MLflow server."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


def test_a_server_that_is_not_mlflow_is_one_line() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoSuchApi) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(MLflowUnavailableError, match="404") as caught:
                generate_cost_report("e", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert "\n" not in str(caught.value)


def test_node_times_of_all_runs_of_an_experiment_are_read_together(experiment: Experiment) -> None:
    for value in (10.0, 20.0):
        experiment.run(**{names.node_metric("draft[1]"): value, "accuracy": 0.5})
    experiment.run(accuracy=0.5)
    found = read_experiment_durations(experiment.name, experiment.uri)
    assert sorted(found.durations_ms["draft[1]"]) == [10.0, 20.0]
    assert (found.durations_ms.keys(), found.run_count) == ({"draft[1]"}, 2)


def test_without_mlflow_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from configurable_agents.errors import MLflowUnavailableError\n"
        "from configurable_agents.observability.mlflow_tracker import MLFlowTracker\n"
        "from configurable_agents.observability.multi_provider_tracker import generate_cost_report\n"
        "result = MLFlowTracker().track_provider_call('ollama', 'm', {'eval_count': 1})\n"
        "assert result['price_status'] == 'free', result\n"
        "try: generate_cost_report('e')\n"
        "except MLflowUnavailableError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'agents-obs[daemon]'" in done.stdout


def test_what_mlflow_says_is_cut_behind_a_sentence_or_a_word() -> None:
    from configurable_agents.observability.mlflow_tracker import ERROR_CHARS_MAX, shortened

    assert shortened("No such store.") == "No such store."
    assert shortened(f"It is old. {'Use another one ' * 30}See https://example.org/x") == "It is old."
    cut = shortened("word " * 100)
    assert cut.endswith("word …")
    assert len(cut) <= ERROR_CHARS_MAX
