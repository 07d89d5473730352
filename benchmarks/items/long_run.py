"""What one very long run takes: its profile and its timeline as whole processes, and the daemon's memory.

The run is recorded by a workflow process, and profiled by the daemon when it has ended. The CPU time of
daemon and command together is shown too, because other work on the machine disturbs it less than the clock.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from configurable_agents.obsd import limits
from measuring.contenders import Program, running
from measuring.daemons import Daemon, daemon
from measuring.figures import Result, Series, Size, at_most

TITLE = "One long run"

EXECUTIONS = {Size.TINY: 2_000, Size.NORMAL: 200_000, Size.LONG: 200_000}
ROUNDS = {Size.TINY: 1, Size.NORMAL: 5, Size.LONG: 15}


class Taken(NamedTuple):
    wall_s: float
    cpu_s: float
    """Of the command and the daemon."""


def measure(size: Size) -> Result:
    executions = EXECUTIONS[size]
    with daemon() as found:
        peak = Peak(found)
        with running(Program("workflow", "long_run", (str(found.home.folder),))) as workflow:
            run_id = workflow.turn(executions=executions)["run_id"]
        soon = asked(found, "profile-report", "--run", run_id)
        found.wait_until_idle()
        grew_while_profiled = peak.grown_mb()
        rounds = [
            (asked(found, "profile-report", "--run", run_id), asked(found, "timeline", run_id))
            for _ in range(ROUNDS[size])
        ]
        peak = Peak(found)
        asked(found, "timeline", run_id)
        grew_by_timeline = peak.grown_mb()
    profiles, timelines = zip(*rounds, strict=True)
    of = f"of {executions:,} executions"
    profile = Series(f"agents-obs profile-report {of}", "s", tuple(each.wall_s for each in profiles))
    timeline = Series(f"agents-obs timeline {of}", "s", tuple(each.wall_s for each in timelines))
    memory = Series("daemon grows by, timeline", "MB", (grew_by_timeline,))
    return Result(
        series=(
            profile,
            timeline,
            Series("CPU of command and daemon, profile-report", "s", tuple(each.cpu_s for each in profiles)),
            Series("CPU of command and daemon, timeline", "s", tuple(each.cpu_s for each in timelines)),
            Series("profile-report at the very end of the run", "s", (soon.wall_s,)),
            Series("daemon grows by, recording and profile", "MB", (grew_while_profiled,)),
            memory,
        ),
        verdicts=(
            at_most(f"profile-report {of}: ≤ 1 s", profile, 1),
            at_most(f"timeline {of}: ≤ 3 s", timeline, 3),
            at_most("timeline: the daemon grows by ≤ its limit", memory, limits.TIMELINE_BYTES_MAX / 1e6),
        ),
    )


class Peak:
    """How much more the daemon ever held since."""

    def __init__(self, found: Daemon) -> None:
        self._folder = Path(f"/proc/{found.process.pid}")
        (self._folder / "clear_refs").write_text("5", encoding="ascii")
        self._before_mb = found.rss_mb()

    def grown_mb(self) -> float:
        lines = (self._folder / "status").read_text(encoding="ascii").splitlines()
        peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return peak_kib * 1024 / 1e6 - self._before_mb


def asked(found: Daemon, *arguments: str) -> Taken:
    command = [str(Path(sys.executable).parent / "agents-obs"), *arguments]
    environment = {**os.environ, "AGENTS_OBS_HOME": str(found.home.folder)}
    daemon_s, commands_s, began_s = found.cpu_seconds(), commands_cpu_s(), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began_s
    return Taken(wall_s, commands_cpu_s() - commands_s + found.cpu_seconds() - daemon_s)


def commands_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
