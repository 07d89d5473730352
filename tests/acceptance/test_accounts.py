"""What a user sees of the accounts, and does about them: real daemon, real MLflow, real commands."""

from __future__ import annotations

import pytest

from configurable_agents import observe_run
from configurable_agents.client.process import close_process_recorders
from configurable_agents.runtime.profiler import profile_node

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def mlflow_client():
    def client(workplace):
        import mlflow

        return mlflow.MlflowClient(tracking_uri=f"sqlite:///{workplace.home.mlflow_database}")

    return client


def record(workplace, run_id, *, calls=3, **more):
    with observe_run("research", "triage", home=workplace.home, run_id=run_id, **more):
        for number in range(calls):
            profile_node(f"node-{number}")(lambda: None)()
    close_process_recorders()


def runs_in_mlflow(client, run_id):
    experiment = client.get_experiment_by_name("research")
    return client.search_runs(
        [experiment.experiment_id], f"tags.`agents_obs.run_id` = '{run_id}'", run_view_type=3
    )


def test_accounts_from_what_mlflow_refuses_to_what_is_purged(workplace, start, mlflow_client):
    daemon = start(mlflow=True)
    assert workplace.command("dead-letters") == "nothing is set aside\n"
    record(workplace, "the-first-run", tags={"customer": "ada-lovelace"})
    workplace.wait_until_settled(runs=1)
    client = mlflow_client(workplace)
    (found,) = runs_in_mlflow(client, "the-first-run")
    refuse_and_drop(workplace, client, found)

    # Restored there and offered again, across a kill of the daemon.
    client.restore_run(found.info.run_id)
    text = workplace.command("dead-letters", "retry", "--run", "the-first-run", "--whole-run")
    assert "5 events will be exported again" in text
    workplace.kill_daemon(daemon.pid)
    workplace.restart_daemon()
    workplace.wait_until_settled(runs=1)
    verified = workplace.report("verify")
    assert (verified["balanced"], verified["runs_compared"], verified["points_compared"]) == (True, 1, 3)
    assert (verified["events_exported"], verified["events_dropped"]) == (5, 0)
    purge(workplace, client, found)


def refuse_and_drop(workplace, client, found):
    client.delete_run(found.info.run_id)
    text = workplace.command("verify", "--run", "the-first-run", expect=7)
    assert f"deleted: the-first-run: MLflow run {found.info.run_id} is deleted; mlflow runs restore" in text
    workplace.command("dead-letters", "retry", "--run", "the-first-run", "--whole-run")
    workplace.wait_for(lambda: workplace.status().exporters[0].events_set_aside == 5, "the refusal")
    shown = workplace.command("dead-letters", "list", "--run", "the-first-run")
    assert f"the MLflow run {found.info.run_id} is deleted" in shown
    assert "5 (see: agents-obs dead-letters)" in workplace.command("status")
    workplace.command("dead-letters", "drop", expect=2)
    assert workplace.report("dead-letters", "drop", "--reason", "DELETED", "--yes") == {"events_dropped": 5}
    status = workplace.report("status")
    assert (status["balanced"], status["exporters"][0]["events_dropped"]) == (True, 5)


def purge(workplace, client, found):
    """First a run as it is, then one with its MLflow run."""
    record(workplace, "the-second-run")
    workplace.wait_until_settled(runs=2)
    workplace.command("purge", "--run", "the-f", expect=2)
    text = workplace.command("purge", "--run", "the-f", "--yes")
    assert "purged run the-first-run: 5 events" in text
    assert f"MLflow still has run {found.info.run_id}" in text
    done = workplace.report("purge", "--run", "the-second-run", "--mlflow", "--yes")
    (second,) = runs_in_mlflow(client, "the-second-run")
    assert second.info.lifecycle_stage == "deleted"
    assert (done["mlflow_runs_deleted"], done["mlflow_run_id_remaining"]) == ([second.info.run_id], None)
    assert (done["events_purged"], done["bytes_removed"]) == (5, True)
    workplace.command("purge", "--run", "the-second-run", "--yes", expect=1)
    status = workplace.report("status")
    exporter = status["exporters"][0]
    assert (status["balanced"], status["events_kept"], status["events_purged"]) == (True, 0, 10)
    assert (exporter["events_exported"], exporter["events_dropped"], exporter["events_purged"]) == (0, 0, 10)
    assert "balanced: 0 kept, 10 purged" in workplace.command("status")
    left = b"".join(
        path.read_bytes()
        for path in workplace.home.folder.rglob("*")
        if path.is_file() and not path.relative_to(workplace.home.folder).parts[0].startswith("ml")
    )
    assert [each for each in (b"the-first-run", b"the-second-run", b"ada-lovelace") if each in left] == []


def test_a_run_in_flight_is_not_purged(workplace, start):
    start()
    with observe_run("research", "triage", home=workplace.home, run_id="still-running"):
        workplace.wait_for(lambda: workplace.status().runs_live == 1, "the run to begin")
        with pytest.raises(AssertionError, match="run still-running is in flight; end its workflow first"):
            workplace.command("purge", "--run", "still-running", "--yes")
    close_process_recorders()


def test_an_mlflow_that_cannot_be_reached_leaves_everything_as_it_was(workplace, start):
    (workplace.home.folder / "agents-obsd.toml").write_text(
        '[mlflow]\ntracking_uri = "http://127.0.0.1:9/"\n'
    )
    start(mlflow=True)
    record(workplace, "kept")
    workplace.wait_for(lambda: workplace.status().runs_total == 1, "the run")
    workplace.wait_for(lambda: workplace.status().runs_live == 0, "its end")
    with pytest.raises(AssertionError, match="no MLflow server answers"):
        workplace.command("purge", "--run", "kept", "--mlflow", "--yes")
    assert workplace.status().runs_total == 1
    workplace.command("purge", "--run", "kept", "--yes")
    status = workplace.report("status")
    assert (status["balanced"], status["exporters"][0]["events_waiting"]) == (True, 0)
