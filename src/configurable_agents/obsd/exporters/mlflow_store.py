"""Opens MLflow's store for the export worker, and makes a new one whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from configurable_agents.client.home import Home
from configurable_agents.obsd.exporters.mlflow_version import check_version

SQLITE_PREFIX = "sqlite:///"

_MAKING_PREFIX = ".mlflow-being-made-"


def open_store(home: Home, uri: str) -> Any:
    """A client of the store at `uri`, which has answered once.

    Raises `AgentsObsError` when MLflow is too old, and MLflow's own errors when the store does not answer.
    """
    check_version(uri)
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        _make_store(database, sweep=database == home.mlflow_database)
    return _answering_client(uri)


def artifact_location(home: Home, uri: str) -> str | None:
    """Beside a store in a SQLite file, which by itself would scatter artifacts over working folders."""
    database = sqlite_file(uri)
    return None if database is None else (database.parent / home.mlflow_artifacts.name).as_uri()


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; `None` for other stores."""
    return Path(uri.removeprefix(SQLITE_PREFIX)).absolute() if uri.startswith(SQLITE_PREFIX) else None


def _make_store(database: Path, *, sweep: bool) -> None:
    """Makes a new store under another name and links it into place when it is complete.

    MLflow makes its tables in dozens of steps that do not undo each other. A store whose making was cut
    off, by a kill at the wrong moment, can never be opened again.
    """
    if sweep:  # ours alone, so whoever was making one here is gone
        for left in database.parent.glob(f"{_MAKING_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=_MAKING_PREFIX) as folder:
        made = Path(folder) / database.name
        _answering_client(f"{SQLITE_PREFIX}{made}")
        try:
            os.link(made, database)
        except FileExistsError:
            return  # somebody else was faster, and may have written to it already


def _answering_client(uri: str) -> Any:
    import mlflow  # noqa: PLC0415

    client = mlflow.MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client
