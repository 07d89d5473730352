"""The wheel, installed in a clean environment: the base install alone records and reports."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]

WORKFLOW = """
from configurable_agents import observe_run
from configurable_agents.runtime.profiler import profile_node

with observe_run("wheel", "smoke") as run:
    with profile_node("only"):
        run.track_call("openai", "gpt-4o", {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}})
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    run(folder / "bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    return folder / "bin"


def run(*command: object, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "configurable_agents",
        *(name.split("/")[0] for name in names if ".dist-info/" in name),
    }
    for needed in ("py.typed", "obsd/ledger/schema.sql", "wire/v1/telemetry_pb2.pyi"):
        assert f"configurable_agents/{needed}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_clean_base_install_records_and_reports_without_mlflow(environment, home):
    variables = {"AGENTS_OBS_HOME": str(home.folder)}
    missing = (
        "import importlib.util as u; print([n for n in ('mlflow', 'numpy', 'openai') if u.find_spec(n)])"
    )
    assert run(environment / "python", "-c", missing) == "[]\n"
    run(environment / "agents-obsd", "start", **variables)
    try:
        run(environment / "python", "-c", WORKFLOW, **variables)
        report = run(environment / "agents-obs", "cost-report", "--experiment", "wheel", **variables)
        assert "gpt-4o" in report
        assert "$0.0035" in report
        assert "only" in run(environment / "configurable-agents", "profile-report", **variables)
        status = run(environment / "python", "-m", "configurable_agents", "status", **variables)
        assert "pip install 'agents-obs[daemon]'" in " ".join(status.split())
    finally:
        run(environment / "agents-obsd", "stop", **variables)


def test_without_the_runner_a_workflow_is_answered_with_the_command_that_installs_it(environment, tmp_path):
    (tmp_path / "w.yaml").write_text("flow: {name: any}")
    for command in ("run", "validate", "graph"):
        ended = subprocess.run(
            [environment / "configurable-agents", command, tmp_path / "w.yaml"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 2
        assert ended.stderr == "error: workflows need the package yaml: pip install 'agents-obs[runner]'\n"
