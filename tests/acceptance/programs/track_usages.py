"""One of several workflow processes: tracks its share of the recorded usages as calls of one run.

Usage: track_usages.py HOME USAGES_FILE RUN_ID INDEX COUNT [pause]
Tracks every COUNT-th line from INDEX on. With `pause` it waits half-way: it prints `half` and goes on
when a line comes in on standard input. Prints what `track_call` returned, one JSON object per call.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from configurable_agents import observe_run
from configurable_agents.runtime.profiler import profile_node

UNDATED_UNIX_S = 1_767_225_600
"""2026-01-01: the time of calls whose recording does not say."""


def main() -> None:
    home, usages, run_id, index, count, *pause = sys.argv[1:]
    rows = [json.loads(line) for line in Path(usages).read_text().splitlines()]
    mine = [(number, row) for number, row in enumerate(rows) if number % int(count) == int(index)]
    tracked = []
    with observe_run("usages", f"share-{index}", run_id=run_id, home=home) as run:
        for position, (number, row) in enumerate(mine):
            if pause and position == len(mine) // 2:
                print("half", flush=True)
                sys.stdin.readline()
            with profile_node(row["flavor"]):
                figures = run.track_call(
                    provider=row["provider"],
                    model=row["model"] or row["req_model"],
                    response=row["usage"],
                    service_tier=row["service_tier"] or "",
                    started_unix_ns=called_unix_s(row["created"]) * 10**9,
                    call_id=f"line-{number}",
                )
            tracked.append(figures)
    for figures in tracked:
        print(json.dumps(figures))


def called_unix_s(created: int | str | None) -> int:
    """Most providers state seconds since 1970, some a time in ISO form, some nothing."""
    if isinstance(created, str):
        return int(datetime.fromisoformat(created).timestamp())
    return created or UNDATED_UNIX_S


if __name__ == "__main__":
    main()
