"""A new MLflow store is made whole or not at all, whenever its maker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configurable_agents.obsd.exporters.mlflow_store import artifact_location, sqlite_file

MAKER = """
import sys
from configurable_agents.client.home import Home
from configurable_agents.obsd.exporters.mlflow_store import open_store

home = Home.from_environment(sys.argv[1])
open_store(home, f"sqlite:///{home.mlflow_database}")
print("opened")
"""


def maker(home) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", MAKER, home.folder], stdout=subprocess.PIPE, text=True)


def test_a_store_whose_making_was_cut_off_is_made_anew(home, eventually):
    cut_off = maker(home)
    eventually(lambda: [each for each in home.folder.rglob("mlflow.db") if each.stat().st_size > 50_000])
    os.kill(cut_off.pid, signal.SIGKILL)
    cut_off.communicate()
    assert not home.mlflow_database.exists()

    following = maker(home)
    assert following.communicate(timeout=60) == ("opened\n", None)
    assert home.mlflow_database.stat().st_mode & 0o777 in (0o600, 0o644)
    assert [path.name for path in home.folder.iterdir()] == ["mlflow.db"], "what was left behind is gone"

    again = maker(home)
    assert again.communicate(timeout=60) == ("opened\n", None)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql://user@localhost/mlflow", "databricks"])
def test_only_a_sqlite_store_is_made_here_and_has_its_artifacts_beside_it(home, uri):
    assert sqlite_file(uri) is None
    assert artifact_location(home, uri) is None
    assert artifact_location(home, "sqlite:////data/mlflow.db") == Path("/data/mlartifacts").as_uri()
