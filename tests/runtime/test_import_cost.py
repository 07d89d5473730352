"""What a workflow process loads to measure its nodes."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "mlflow",
    "grpc",
    "google.protobuf",
    "numpy",
    "pandas",
    "langgraph",
    "genai_prices",
    "logging",
    "asyncio",
)


def test_the_profiler_loads_nothing_heavy() -> None:
    program = (
        "import sys, configurable_agents.runtime.profiler;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
