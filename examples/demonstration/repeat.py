"""Runs one workflow several times in this process, and says on each line how far it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from configurable_agents.core.progress import Happening, Progress
from configurable_agents.runtime.executor import RunOptions, run_workflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    for number in range(arguments.runs):

        def say(progress: Progress, finished_runs: int = number) -> None:
            if progress.happening is Happening.FINISHED:
                print(f"{finished_runs}/{arguments.runs} {progress.node_id}", flush=True)

        run_workflow(arguments.workflow, options=RunOptions(on_progress=say))
        print(f"{number + 1}/{arguments.runs} {arguments.workflow.stem}", flush=True)


if __name__ == "__main__":
    main()
