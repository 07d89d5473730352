from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def observability_mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real MLflow store. Opening a fresh one takes seconds, so tests share it, each in its experiment."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        folder: Path = tmp_path_factory.mktemp("mlflow")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        mlflow.MlflowClient(tracking_uri=uri).create_experiment(
            "support-bot", artifact_location=(folder / "artifacts").as_uri()
        )
    return uri
