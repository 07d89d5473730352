"""Records one run of many executions, as a workflow does: flows of nine steps, a model call in each tenth."""

from __future__ import annotations

import sys
from typing import Any

from answering import answer

from configurable_agents import observe_run

STEPS = 9
RESPONSE = {"model": "gpt-4o", "usage": {"prompt_tokens": 900, "completion_tokens": 200}}


def record(executions: int) -> str:
    with observe_run("long", workflow="flows", home=sys.argv[1]) as run:
        clock_ns = run.started_unix_ns
        for flow in range(1, executions + 1, STEPS + 1):
            began_ns = clock_ns
            for step in range(STEPS):
                span_id, lasts_ns = flow + 1 + step, 1_000 + (flow * 7 + step * 131) % 7_919
                where = {"started_unix_ns": clock_ns, "duration_ns": lasts_ns, "span_id": span_id}
                run.record_node(f"step-{step}", parent_span_id=flow, **where)
                if not step:
                    run.track_call("openai", "gpt-4o", RESPONSE, node_id="step-0", **where)
                clock_ns += lasts_ns if step % 3 else lasts_ns // 2
            run.record_node(
                "flow", started_unix_ns=began_ns, duration_ns=clock_ns - began_ns + 8_000, span_id=flow
            )
            clock_ns += 8_300
    return run.run_id


def turn(*, executions: int) -> dict[str, Any]:
    return {"run_id": record(executions)}


if __name__ == "__main__":
    answer(turn)
