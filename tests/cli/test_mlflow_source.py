"""Reports that come from an MLflow store, with no daemon anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from configurable_agents.cli.app import app
from configurable_agents.errors import NotFoundError
from configurable_agents.observability.mlflow_names import TAG_THINNED

AGENTS_OBS = str(Path(sys.executable).parent / "agents-obs")
DRAFT_MS = [100.0] * 19 + [400.0]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """Two runs of one experiment and an experiment without any, as others wrote them."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.create_experiment("empty", artifact_location=str(folder))
    experiment = client.create_experiment("support-bot", artifact_location=str(folder))
    for durations_ms in (DRAFT_MS[:10], DRAFT_MS[10:]):
        run_id = client.create_run(experiment).info.run_id
        for step, duration_ms in enumerate(durations_ms):
            client.log_metric(run_id, "node_draft_duration_ms", duration_ms, step=step, timestamp=1)
        client.log_metric(run_id, "node_classify_duration_ms", 25.0, step=0, timestamp=1)
        client.log_metric(run_id, "provider_openai_cost_usd", 0.5)
        client.log_metric(run_id, "provider_openai_tokens", 1_000)
        client.log_metric(run_id, "provider_openai_calls", 4)
        client.log_metric(run_id, "total_cost_usd", 0.5)
        client.log_metric(run_id, "total_tokens", 1_000)
        client.set_terminated(run_id)
    return uri


def ask(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"AGENTS_OBS_HOME": "/nonexistent", "COLUMNS": "120"})
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_profile_adds_up_the_executions_of_all_runs(store):
    report = json.loads(ask("profile-report", "--mlflow-uri", store, "-e", "support-bot", "--json"))
    assert report["run_count"] == 2
    draft, classify = report["nodes"]
    assert (draft["node_id"], draft["call_count"], draft["total_duration_ms"]) == ("draft", 20, 2_300.0)
    assert (draft["p95_duration_ms"], draft["max_duration_ms"]) == (100.0, 400.0)
    assert (classify["node_id"], classify["call_count"]) == ("classify", 2)
    assert (draft["self_duration_ms"], draft["error_count"], report["wall_time_ms"]) == (None, None, None)
    assert report["slowest_node"] == draft
    assert report["bottlenecks"] == [draft]


def test_the_profile_is_a_table_too_and_says_what_mlflow_does_not_know(store):
    shown = ask("profile-report", "--mlflow-uri", store, "-e", "support-bot")
    assert "Slowest node: draft (115.00ms avg)" in shown
    assert "experiment support-bot · 2 runs" in shown
    assert "MLflow keeps no nesting" in shown


def test_the_costs_show_dashes_for_token_classes_mlflow_does_not_hold(store):
    shown = ask("cost-report", "--mlflow-uri", store, "-e", "support-bot")
    assert "openai" in shown
    assert "$1.00" in shown
    total = next(line for line in shown.splitlines() if line.strip().startswith("Total"))
    assert "2,000" in total
    assert total.split().count("–") == 3  # noqa: RUF001 - input, cached and output
    report = json.loads(ask("cost-report", "--mlflow-uri", store, "-e", "support-bot", "--json"))
    assert report["tokens"] is None
    assert report["total_tokens"] == 2_000


def test_an_experiment_without_runs_is_said_in_words(store):
    assert "No LLM call" in ask("cost-report", "--mlflow-uri", store, "-e", "empty")
    assert "No node" in ask("profile-report", "--mlflow-uri", store, "-e", "empty")


@pytest.mark.parametrize("command", ["cost-report", "profile-report"])
def test_an_unknown_experiment_is_an_error_that_names_those_there_are(store, command):
    with pytest.raises(NotFoundError, match="support-bot"):
        ask(command, "--mlflow-uri", store, "-e", "suport-bot")


def test_as_a_process_it_needs_no_daemon_and_no_state_folder(store, tmp_path):
    command = [AGENTS_OBS, "cost-report", "--mlflow-uri", store, "-e", "support-bot", "--json"]
    environment = {**os.environ, "AGENTS_OBS_HOME": str(tmp_path / "none")}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["run_count"] == 2
    assert not (tmp_path / "none").exists()


def test_a_profile_says_that_mlflow_holds_some_executions_only(tmp_path):
    """And leaves out what is no duration."""
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("long", artifact_location=str(tmp_path))
    run_id = client.create_run(experiment, tags={TAG_THINNED: "every 2nd"}).info.run_id
    for step, value in enumerate((100.0, float("nan"), float("inf"), -5.0, 200.0)):
        client.log_metric(run_id, "node_draft_duration_ms", value, step=step, timestamp=1)
    client.log_metric(run_id, "node_odd_duration_ms", float("nan"))
    found = CliRunner().invoke(app, ["profile-report", "--mlflow-uri", uri, "-e", "long", "--json"])
    report = json.loads(found.stdout)
    assert [(node["node_id"], node["total_duration_ms"]) for node in report["nodes"]] == [("draft", 300.0)]
    assert "MLflow holds only some of the executions of 1 run" in found.stderr
    client.delete_tag(run_id, TAG_THINNED)
    other = client.create_run(experiment).info.run_id
    found = CliRunner().invoke(app, ["profile-report", "--mlflow-uri", uri, "-e", "long", "--json"])
    assert json.loads(found.stdout)["run_count"] == 1
    assert "MLflow holds no node of 1 further run, not counted here" in found.stderr
    client.delete_run(other)
    found = CliRunner().invoke(app, ["profile-report", "--mlflow-uri", uri, "-e", "long", "--json"])
    assert (json.loads(found.stdout)["nodes"], found.stderr) == (report["nodes"], "")
