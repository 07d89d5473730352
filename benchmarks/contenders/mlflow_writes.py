"""Node durations written straight to an MLflow store, the way a workflow without the daemon would."""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from answering import answer

METRICS_AT_ONCE = 1000
NODES = 12


def main() -> None:
    import mlflow
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    del mlflow
    folder = tempfile.mkdtemp(prefix="bench-mlflow-")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("benchmarks", artifact_location=f"file://{folder}")

    def log_batch(events: int, runs: int = 1) -> dict[str, Any]:
        """All points of a run in calls of a thousand; `runs` runs one after the other."""
        share = events // runs
        began = time.perf_counter()
        for _ in range(runs):
            run_id = client.create_run(experiment).info.run_id
            now = time.time_ns() // 1_000_000
            for start in range(0, share, METRICS_AT_ONCE):
                points = range(start, min(start + METRICS_AT_ONCE, share))
                client.log_batch(
                    run_id,
                    metrics=[
                        Metric(f"node_node-{at % NODES}_duration_ms", 1 + at / 1e6, now + at, at // NODES + 1)
                        for at in points
                    ],
                )
            client.set_terminated(run_id)
        return {"per_second": share * runs / (time.perf_counter() - began)}

    def search_runs(runs: int) -> dict[str, Any]:
        """Metrics, params and tags of all runs, as a report over them needs."""
        if not getattr(search_runs, "filled", 0):
            for index in range(runs):
                run_id = client.create_run(experiment, tags={"agents_obs.run_id": str(index)}).info.run_id
                now = time.time_ns() // 1_000_000
                client.log_batch(run_id, metrics=[Metric(f"node_{at}", 1.0, now, 1) for at in range(NODES)])
            search_runs.filled = runs  # type: ignore[attr-defined]
        began = time.perf_counter()
        found, token = 0, None
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            found, token = found + len(page), page.token
            if not token:
                return {"milliseconds": 1000 * (time.perf_counter() - began), "runs": found}

    answer({"log_batch": log_batch, "search_runs": search_runs}[sys.argv[1]])


if __name__ == "__main__":
    main()
