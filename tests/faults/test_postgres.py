"""PostgreSQL as MLflow's store: restarted under load, and given what it will not take."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.exporting import Exporting
from harness.postgres import Postgres, need_postgres, postgres
from harness.site import Site

from configurable_agents import observe_run
from configurable_agents.client.emitter import Emitter
from configurable_agents.observability import mlflow_names as names
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import NodeFinished, RunFinished, RunStarted, Status

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """One for all tests here: making one, and MLflow's tables in it, takes seconds."""
    need_postgres()
    with postgres() as made:
        yield made


@pytest.fixture(scope="module")
def client(database: Postgres) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=database.uri)


@pytest.fixture
def export(tmp_path: Path, database: Postgres, client: Any) -> Iterator[Exporting]:
    location = (tmp_path / "artifacts").as_uri()
    with Exporting(tmp_path, client, database.uri, artifacts=location) as made:
        yield made


def assert_clean(export: Exporting, *, of_others: bool = True) -> None:
    """The store is shared: runs that other tests left there are no findings of this one."""
    verdict = export.verdict()
    if of_others:
        own = [each for each in verdict.findings.pop("invented", []) if "MLflow run" not in each]
        assert own == []
    assert verdict.is_clean, verdict


@pytest.fixture
def experiment() -> str:
    return f"postgres-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_store_restarted_under_load_has_everything_once(
    export: Exporting, database: Postgres, experiment: str, at_once: bool
) -> None:
    export.commit_run(f"{experiment}-before", experiment=experiment)
    assert export.attempt() is None
    restarting = threading.Thread(target=lambda: (database.stop(at_once=at_once), database.start()))
    restarting.start()
    failed, number = 0, 0
    while restarting.is_alive() or not number:
        export.commit_run(f"{experiment}-{number}", experiment=experiment, nodes=200)
        failed += export.attempt() is not None
        number += 1
    restarting.join()
    while export.attempt() is not None:
        failed += 1
        assert failed < 50, "the export does not recover"
    assert export.set_aside() == []
    assert_clean(export)


def test_a_deleted_run_is_set_aside_and_the_others_go_on(
    export: Exporting, client: Any, experiment: str
) -> None:
    run_id, now = f"{experiment}-deleted", time.time_ns()
    node = NodeFinished(run_id, 1, 0, "step-1", 1, now, 10**6, Status.OK, "")
    export.commit([RunStarted(run_id, experiment, "export", now), node])
    assert export.attempt() is None
    [found] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    client.delete_run(found.info.run_id)
    export.commit([node._replace(span_id=2), RunFinished(run_id, now, 10**8, Status.OK)])
    export.profile(run_id)
    export.commit_run(f"{experiment}-other", experiment=experiment)
    assert export.attempt() is None
    [other] = client.search_runs([found.info.experiment_id])
    assert other.data.tags[names.TAG_RUN_ID] == f"{experiment}-other"
    assert export.set_aside()
    assert all("deleted" in reason for reason in export.set_aside())


POISONS = {
    "a NUL in its name": {"name": "step\x00"},
    "a timestamp of 2^63": {"at_ms": 2**63},
}


@pytest.mark.parametrize("poison", POISONS)
def test_a_point_that_it_will_not_take_is_set_aside_alone(
    export: Exporting, experiment: str, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    """Our own points are never so: names are encoded and times clamped. One is put into its way."""
    from configurable_agents.obsd.exporters import mlflow as exporter

    whole = exporter.projection.node_points

    def poisoned(executions: Any) -> list[Any]:
        return [point._replace(**POISONS[poison]) if point.seq == 3 else point for point in whole(executions)]

    monkeypatch.setattr(exporter.projection, "node_points", poisoned)
    export.commit_run(f"{experiment}-poisoned", experiment=experiment, nodes=12)
    export.commit_run(f"{experiment}-other", experiment=experiment)
    assert export.attempt() is None
    [reason] = export.set_aside()
    assert reason
    assert_clean(export)


def test_a_param_that_is_there_with_another_value_holds_up_nothing(
    export: Exporting, client: Any, experiment: str, tmp_path: Path
) -> None:
    location = (tmp_path / "mine").as_uri()
    mine = client.create_run(client.create_experiment(experiment, artifact_location=location), tags={})
    client.log_param(mine.info.run_id, "slowest_node", "another")
    export.commit_run(f"{experiment}-clash", experiment=experiment, mlflow_run_id=mine.info.run_id)
    export.commit_run(f"{experiment}-other", experiment=experiment)
    assert export.attempt() is None
    found = client.get_run(mine.info.run_id)
    assert found.data.params["slowest_node"] == "another"
    assert found.data.params["total_time_ms"]
    assert len(client.get_metric_history(mine.info.run_id, "node_step-1_duration_ms")) == 3


def test_times_and_names_at_the_edges_of_what_is_recorded_are_taken(
    export: Exporting, experiment: str
) -> None:
    run_id, now = f"{experiment}-edges", time.time_ns()
    late = NodeFinished(run_id, 1, 0, "late", 1, 2**63 - 1, 10**16, Status.OK, "")
    export.commit(
        [RunStarted(run_id, experiment, "export", now), late, RunFinished(run_id, now, 1, Status.OK)]
    )
    export.profile(run_id)
    assert export.attempt() is None
    assert export.set_aside() == []


# -- `agents-obs verify` on a store of PostgreSQL -----------------------------------------------------

VERIFY_DIFFERS = 7


@pytest.fixture
def exported(site: Site, database: Postgres, experiment: str) -> str:
    """A run of a real workflow that a real daemon has exported. Its id."""
    site.settings(f'[mlflow]\ntracking_uri = "{database.uri}"\n')
    site.start_daemon(mlflow=True)
    recorder = Emitter(site.home)
    with observe_run(experiment, "verified", recorder=recorder) as run:
        for number in range(12):
            with profile_node(f"step-{number % 3}"):
                pass
            usage = {"prompt_tokens": 10 + number, "completion_tokens": 5}
            run.track_call("openai", "gpt-4o", {"model": "gpt-4o", "usage": usage})
    recorder.close()
    site.wait_until_settled(exported=True)
    return run.run_id


def verify(site: Site) -> tuple[int, str]:
    """Its exit code, and what it said."""
    command = [Path(sys.executable).with_name("agents-obs"), "verify", "--home", site.home.folder]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return ran.returncode, ran.stdout + ran.stderr


OF_STEP = "WHERE run_uuid = %s AND key = 'node_{}_duration_ms' AND step = 2"
COLUMNS = "key, value, timestamp + 1, run_uuid, step, is_nan"
DAMAGES = {
    "a lost point": (
        f"DELETE FROM metrics {OF_STEP.format('step-1')}",
        "1 of 4 points of node_step-1_duration_ms are not in MLflow",
    ),
    "a point that was changed": (
        f"UPDATE metrics SET value = value + 1 {OF_STEP.format('step-2')}",
        "1 of 4 points of node_step-2_duration_ms have another time or value",
    ),
    "a point that is there twice": (
        f"INSERT INTO metrics SELECT {COLUMNS} FROM metrics {OF_STEP.format('step-0')}",
        "1 points of node_step-0_duration_ms are in MLflow twice",
    ),
    "another sum": (
        "UPDATE latest_metrics SET value = value + 1 WHERE run_uuid = %s AND key = 'total_cost_usd'",
        "metric total_cost_usd is ",
    ),
}
DELETION = "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = %s"


def test_a_store_is_verified_point_by_point_and_what_was_damaged_is_found(
    site: Site, exported: str, database: Postgres, client: Any, experiment: str
) -> None:
    code, said = verify(site)
    assert code == 0, said
    assert "balanced: MLflow holds what the ledger says it does" in said
    assert "compared 1 run and 12 points with postgresql+psycopg2" in said
    [found] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert found.data.tags[names.TAG_RUN_ID] == exported
    for what, (damage, _) in DAMAGES.items():
        assert database.execute(damage, found.info.run_id) == 1, what
    code, said = verify(site)
    assert code == VERIFY_DIFFERS, said
    assert [finding for _, finding in DAMAGES.values() if finding not in said] == [], said
    assert f"{len(DAMAGES)} findings" in said
    assert database.execute(DELETION, found.info.run_id) == 1
    code, said = verify(site)
    assert code == VERIFY_DIFFERS, said
    assert f"MLflow run {found.info.run_id} is deleted" in said
