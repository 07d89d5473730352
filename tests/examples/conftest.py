"""The simulated providers as their users meet them: a process with an address."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NO_WAITING_SPEED = "100000"


class Simulator(NamedTuple):
    address: str

    def statements(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.address}/statements", timeout=10) as response:
            return json.load(response)

    def last_tokens(self) -> dict[str, int]:
        """What the last response stated, in classes that do not overlap."""
        return self.statements()["recent"][-1]["tokens"]


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    command = [sys.executable, EXAMPLES / "provider_simulator.py", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, "--speed", NO_WAITING_SPEED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Simulator(process.stdout.readline().removeprefix("listening on ").strip())
    finally:
        process.stdin.close()
        assert process.wait(timeout=10) == 0
        process.stdout.close()
