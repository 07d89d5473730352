"""A store that the user names in the settings: runs, metrics and artifacts go there and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance


def test_artifacts_lie_beside_a_sqlite_store_wherever_the_daemon_was_started(
    workplace, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "where-the-daemon-was-started"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    store = tmp_path / "store" / "mlflow.db"
    store.parent.mkdir()
    settings = workplace.home.folder / "agents-obsd.toml"
    settings.write_text(f'[mlflow]\ntracking_uri = "sqlite:///{store}"\n')
    workplace.restart_daemon()
    try:
        workplace.finish(workplace.launch("record_many.py", "stored", 10))
        workplace.wait_until_settled(runs=1)
    finally:
        workplace.stop_daemon()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}")
    [run] = client.search_runs([client.get_experiment_by_name("many").experiment_id])
    assert "agents_obs/profile.json" in {
        each.path for each in client.list_artifacts(run.info.run_id, "agents_obs")
    }
    assert list((store.parent / "mlartifacts").rglob("profile.json"))
    assert not list(elsewhere.iterdir())
    assert not Path(workplace.home.mlflow_database).exists()
