"""The example workflows run as they are, with the real SDKs, and need no daemon to do so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.client.home import Home

WORKFLOWS = {
    "support_triage": {"openai", "anthropic"},
    "research_digest": {"google", "openai"},
    "code_review": {"anthropic", "ollama"},
    "nightly_report": {"ollama", "openai"},
}


def run_example(
    program: Path, simulator: Any, home: Home, *arguments: str
) -> subprocess.CompletedProcess[str]:
    providers = {
        "OPENAI_BASE_URL": f"{simulator.address}/v1",
        "ANTHROPIC_BASE_URL": simulator.address,
        "GOOGLE_GEMINI_BASE_URL": simulator.address,
        "OLLAMA_HOST": simulator.address,
        "OPENAI_API_KEY": "a key",
        "ANTHROPIC_API_KEY": "a key",
        "GEMINI_API_KEY": "a key",
    }
    return subprocess.run(
        [sys.executable, program, *arguments],
        env={**os.environ, **providers, "AGENTS_OBS_HOME": str(home.folder), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def constant(program: Path, name: str) -> str:
    found = re.search(rf'^{name} = "(.+)"$', program.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_without_a_daemon_and_what_it_records_waits_in_its_spool(
    examples: Path, simulator: Any, home: Home, name: str
) -> None:
    program = examples / "workflows" / f"{name}.py"
    ended = run_example(program, simulator, home, "--runs=1")
    assert (ended.returncode, ended.stderr) == (0, "")
    done, total = ended.stdout.splitlines()[-1].split()[0].split("/")
    assert done == total
    stated = simulator.statements()["providers"]
    assert set(stated) == WORKFLOWS[name]
    assert all(sums["calls_without_usage"] == 0 for sums in stated.values())
    assert sum(file.stat().st_size for file in home.spool.rglob("*") if file.is_file()) > 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_node_that_a_workflow_names_as_slow_is_one_of_its_nodes(examples: Path, name: str) -> None:
    program = examples / "workflows" / f"{name}.py"
    slow_node = constant(program, "SLOW_NODE")
    assert f'@profile_node("{slow_node}")' in program.read_text(encoding="utf-8")
    assert constant(program, "EXPERIMENT")


def test_the_minimal_example_prints_what_it_cost(examples: Path, simulator: Any, home: Home) -> None:
    ended = run_example(examples / "minimal.py", simulator, home)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"\$0\.000\d+, 100\.0 % of calls priced", ended.stdout.splitlines()[-1])
