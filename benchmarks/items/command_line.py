"""What `agents-obs cost-report` takes as a whole process, beside `mlflow --version` and Python itself.

The daemon runs and has a few runs to report on. What the command loads is looked at too: nothing of
MLflow, of data frames, of provider SDKs or of the price table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from measuring.daemons import daemon, send
from measuring.figures import Result, Series, Size, Verdict, at_most, ratio

TITLE = "The command line"

NEEDLESS = ("mlflow", "numpy", "pandas", "sqlalchemy", "genai_prices", "openai", "anthropic", "langgraph")
ROUNDS = {Size.TINY: 1, Size.NORMAL: 7, Size.LONG: 15}
PEER_ROUNDS = {Size.TINY: 1, Size.NORMAL: 3, Size.LONG: 5}


def measure(size: Size) -> Result:
    folder = Path(sys.executable).parent
    with daemon() as found:
        send(found.home, events=1_000, calls=2, runs=5, whole=True)
        environment = {**os.environ, "AGENTS_OBS_HOME": str(found.home.folder)}
        report = [str(folder / "agents-obs"), "cost-report"]
        ours, bare, others = [], [], []
        for turn in range(ROUNDS[size]):
            ours.append(wall_ms(report, environment))
            bare.append(wall_ms([sys.executable, "-c", "pass"], environment))
            if turn < PEER_ROUNDS[size]:
                others.append(wall_ms([str(folder / "mlflow"), "--version"], environment))
        loaded = needless_modules(environment)
    mine = Series("agents-obs cost-report", "ms", tuple(ours))
    theirs = Series("mlflow --version", "ms", tuple(others))
    paired = Series("", "ms", mine.samples[: len(others)])
    return Result(
        series=(mine, Series("python -c pass", "ms", tuple(bare)), theirs),
        ratios=(ratio("mlflow --version / agents-obs cost-report", theirs, paired),),
        verdicts=(
            at_most("agents-obs cost-report: ≤ 300 ms", mine, 300),
            Verdict("it imports nothing it does not need", ", ".join(loaded) or "nothing", not loaded),
        ),
    )


def wall_ms(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


def needless_modules(environment: dict[str, str]) -> list[str]:
    """Of `NEEDLESS`, what a report loads, as the interpreter itself tells."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "configurable_agents", "cost-report"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
    return sorted(loaded.intersection(NEEDLESS))
