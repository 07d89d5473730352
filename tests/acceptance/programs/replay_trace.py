"""Replays one recorded agent run through the public API: its nodes, nesting, times and tokens.

Usage: replay_trace.py HOME TRACE_FILE RUN_ID
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from configurable_agents import observe_run


def main() -> None:
    home, trace_file, run_id = sys.argv[1:]
    trace = json.loads(Path(trace_file).read_text())
    workflow = Path(trace_file).stem
    with observe_run("agent-traces", workflow, run_id=run_id, home=home) as run:
        for observation in trace["observations"]:
            started = unix_ns(observation["startTime"])
            duration = unix_ns(observation["endTime"]) - started
            run.record_node(
                observation["name"],
                started_unix_ns=started,
                duration_ns=duration,
                span_id=observation["id"],
                parent_span_id=observation["parentObservationId"] or 0,
            )
            if observation["type"] == "GENERATION":
                run.track_call(
                    model=observation["model"],
                    response={"usage": openai_usage(observation["usageDetails"])},
                    started_unix_ns=started,
                    duration_ns=duration,
                    span_id=observation["id"],
                    node_id=observation["name"],
                    call_id=observation["id"],
                )


def unix_ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000


def openai_usage(details: dict[str, int]) -> dict[str, Any]:
    reasoning = details.get("completion_details.reasoning", 0)
    return {
        "prompt_tokens": details["input"],
        "completion_tokens": details["output"],
        "total_tokens": details["total"],
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


if __name__ == "__main__":
    main()
