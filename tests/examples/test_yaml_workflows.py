"""The example workflows of the runner: valid without a warning, and run as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.client.home import Home
from configurable_agents.core.checks import read_workflow

PROVIDERS = {
    "support_triage": {"openai", "anthropic"},
    "research_digest": {"google", "openai"},
    "code_review": {"anthropic", "ollama"},
    "nightly_report": {"ollama", "openai"},
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_example_is_valid_without_a_warning(examples: Path, name: str) -> None:
    assert read_workflow(examples / f"{name}.yaml").warnings == ()


def test_every_example_is_tested(examples: Path) -> None:
    assert {path.stem for path in examples.glob("*.yaml")} == set(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_example_runs_from_the_command_line_with_its_defaults(
    examples: Path, simulator: Any, home: Home, tmp_path: Path, name: str
) -> None:
    settings = {
        "OPENAI_BASE_URL": f"{simulator.address}/v1",
        "ANTHROPIC_BASE_URL": simulator.address,
        "GOOGLE_GEMINI_BASE_URL": simulator.address,
        "OLLAMA_HOST": simulator.address,
        **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "a key"),
        "AGENTS_OBS_HOME": str(home.folder),
        "NO_PROXY": "127.0.0.1",
    }
    program = Path(sys.executable).with_name("configurable-agents")
    output = tmp_path / "result.json"
    ended = subprocess.run(
        [program, "run", examples / f"{name}.yaml", "--profile", "--output", output],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Slowest node: " in ended.stdout
    stated = simulator.statements()["providers"]
    assert set(stated) == PROVIDERS[name]
    costs = json.loads(output.read_text())["costs"]
    counted = {
        provider: sum(sums[kind] for kind in ("input", "cache_read", "cache_write", "output", "reasoning"))
        for provider, sums in stated.items()
    }
    assert {provider: part["total_tokens"] for provider, part in costs["by_provider"].items()} == counted
