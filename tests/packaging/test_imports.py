"""What is loaded when: a workflow process and the client must stay thin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = (
    "mlflow",
    "numpy",
    "pandas",
    "langgraph",
    "langchain",
    "genai_prices",
    "pydantic",
    "openai",
    "anthropic",
)


NO_PART_OF_A_COST_REPORT = {
    "configurable_agents.observability.cost_estimator",
    "configurable_agents.observability.user_prices",
    "configurable_agents.observability.multi_provider_tracker",
    "configurable_agents.runtime.schedule",
    "configurable_agents.runtime.what_if",
    "configurable_agents.runtime.timeline",
    "configurable_agents.client.emitter",
    "configurable_agents.cli.cost_tables",
    "configurable_agents.cli.profile_reports",
    "configurable_agents.core.schema",
    "csv",
    "statistics",
    "tomllib",
}


def modules_loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def loaded_by(statement: str) -> set[str]:
    return {name.split(".")[0] for name in modules_loaded_by(statement)}


@pytest.mark.parametrize(
    "statement",
    [
        "import configurable_agents.client",
        "import configurable_agents.client.process, configurable_agents.client.reports",
        "import configurable_agents; configurable_agents.observe_run",
        "import configurable_agents.runtime.profiler",
        "import configurable_agents.observability.multi_provider_tracker",
        "import configurable_agents.observability.mlflow_tracker",
    ],
)
def test_importing_a_client_module_loads_nothing_heavy(statement):
    assert not loaded_by(statement).intersection(HEAVY)


def test_recording_loads_no_grpc_until_there_is_a_daemon(home):
    statement = (
        "from configurable_agents import observe_run\n"
        f"with observe_run(home={str(home.folder)!r}): pass\n"
        "import time"
    )
    assert "grpc" not in loaded_by(statement)


def test_a_command_loads_no_other_command():
    version = "from configurable_agents.cli.app import app; app(['version'])"
    loaded = {name for name in modules_loaded_by(version) if name.startswith("configurable_agents.")}

    assert loaded <= {
        f"configurable_agents.{name}"
        for name in (
            *(
                "cli",
                "cli.app",
                "cli.endings",
                "cli.escape",
                "cli.lazy_commands",
                "cli.program",
                "cli.terminal",
            ),
            *("errors", "version"),
        )
    }


def test_a_cost_report_loads_what_it_shows_and_no_more():
    """The command, the answer off the wire, and the table."""
    statement = (
        "import configurable_agents.cli.app, configurable_agents.cli.cost_reports,"
        " configurable_agents.wire.cost_messages, configurable_agents.cli.render.cost"
    )
    assert not modules_loaded_by(statement).intersection(NO_PART_OF_A_COST_REPORT)


def test_the_import_rules_hold():
    """The contracts are in pyproject.toml; `make check` runs them too."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
