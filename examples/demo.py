"""Four workflows, six processes, four providers, one daemon: what `make demo` runs.

Needs no key and no network: the providers are simulated on loopback (`provider_simulator.py`), everything
else is real. Each demo starts afresh and leaves its state for you to look at, in `.demo/` unless `--home`
says otherwise.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from demonstration import state
from demonstration.checks import checks, statements
from demonstration.failure import DemoError
from demonstration.processes import Commands, daemon, provider_simulator, stop_daemon
from demonstration.workflows import Workflow, run_workflows

WORKFLOWS = (
    Workflow("support_triage", "support-bot", slow_node="draft", processes=2),
    Workflow("research_digest", "research-digest", slow_node="merge", processes=2),
    Workflow("code_review", "code-review", slow_node="review_file", processes=1),
    Workflow("nightly_report", "nightly-report", slow_node="write_report", processes=1),
)
RUNS_PER_PROCESS = 2
DEFAULT_SPEED = 10.0
DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / ".demo"
SETTLE_TIMEOUT_S = 60.0
SETTLE_POLL_INTERVAL_S = 0.3
EXIT_INTERRUPTED = 130

console = Console(highlight=False)


def main() -> int:
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, _leave_in_order)
    began_s = time.monotonic()
    try:
        passed = run_demo(arguments.home.absolute(), speed=arguments.speed)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        log = arguments.home.absolute() / "agents-obsd.log"
        if log.is_file():
            print(f"demo: the daemon's log is {log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; all its processes are stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who read our output has left; Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    say(f"\nDone in {time.monotonic() - began_s:.0f} s; the daemon and the providers are stopped.")
    return 0 if passed else 1


def run_demo(folder: Path, *, speed: float) -> bool:
    """Whether every check passed. Raises `DemoError` when there is nothing to check."""
    _make_ready(folder)
    with state.environment(folder) as environment:
        commands = Commands(environment)
        mlflow_uri = f"sqlite:///{folder / 'mlflow.db'}"
        with daemon(commands), provider_simulator(environment, speed=speed) as address:
            heading(f"Six workflow processes, four providers (simulated at {speed:g} times their speed)")
            run_workflows(
                WORKFLOWS,
                runs=RUNS_PER_PROCESS,
                environment={**environment, **state.provider_settings(address)},
                console=console,
            )
            _wait_until_exported(commands)
            _show_reports(commands)
            passed = _show_checks(commands, statements(address), mlflow_uri)
    _show_what_is_left(folder, mlflow_uri)
    return passed


def _make_ready(folder: Path) -> None:
    if (folder / state.MARKER).is_file():
        # An earlier demo that was killed may have left its daemon behind.
        with state.environment(folder) as environment:
            stop_daemon(Commands(environment))
    state.renew_folder(folder)


def _wait_until_exported(commands: Commands) -> None:
    """Until every run has ended and MLflow has all of it. Says so and goes on when that takes too long."""
    expected = sum(workflow.processes for workflow in WORKFLOWS) * RUNS_PER_PROCESS
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    with console.status("Waiting for MLflow to have everything") if console.is_terminal else nullcontext():
        while (waiting := _what_is_missing(commands, expected)) and time.monotonic() < deadline_s:
            time.sleep(SETTLE_POLL_INTERVAL_S)
    if waiting:
        say(f"  after {SETTLE_TIMEOUT_S:.0f} s still waiting: {waiting}")


def _what_is_missing(commands: Commands, runs_expected: int) -> str:
    status = commands.read("agents-obs", "status")
    if status["runs_total"] < runs_expected or status["runs_live"] or status["events_pending"]:
        return f"{status['runs_total']} of {runs_expected} runs known, {status['runs_live']} still open"
    lagging = [
        f"{exporter['name']} ({exporter['state']}) has {exporter['events_waiting']} events to take"
        for exporter in status["exporters"]
        if exporter["events_waiting"]
    ]
    return "; ".join(lagging)


def _show_reports(commands: Commands) -> None:
    slowest = max(commands.read("agents-obs", "runs"), key=lambda run: run["wall_time_ms"] or 0.0)
    show(commands, "runs")
    show(commands, "cost-report")
    for workflow in WORKFLOWS:
        show(commands, "profile-report", "--experiment", workflow.experiment)
    heading("The slowest run")
    show(commands, "cost-report", "--run", slowest["run_id"])
    show(commands, "profile-report", "--run", slowest["run_id"])


def _show_checks(commands: Commands, stated: dict[str, Any], mlflow_uri: str) -> bool:
    heading("Does it add up?")
    passed = True
    for check in checks(commands, WORKFLOWS, stated=stated, mlflow_uri=mlflow_uri):
        say(f"  {'ok' if check.passed else 'WRONG'}  {check.sentence}")
        passed = passed and check.passed
    return passed


def _show_what_is_left(folder: Path, mlflow_uri: str) -> None:
    programs = Path(sys.executable).parent
    home = shlex.quote(str(folder))
    heading("Where it is, and what to try next")
    say(f"  Ledger, log and MLflow's database are in {folder} until the next demo.")
    say("\n  MLflow's UI:")
    say(f"    {shlex.quote(str(programs / 'mlflow'))} ui --backend-store-uri {shlex.quote(mlflow_uri)}")
    say("\n  The reports again, and every other command:")
    say(f"    {shlex.quote(str(programs / 'agents-obsd'))} start --home {home}")
    say(f"    {shlex.quote(str(programs / 'agents-obs'))} cost-report --home {home} --run latest")
    say(f"    {shlex.quote(str(programs / 'agents-obsd'))} stop --home {home}")
    say("\n  A workflow as a file: examples/support_triage.yaml; docs/workflows.md has the format.")
    say("  A workflow of your own code: examples/minimal.py shows the lines to add.")


def show(commands: Commands, *arguments: str) -> None:
    say(f"\n$ agents-obs {' '.join(arguments)}", style="bold")
    commands.show("agents-obs", *arguments)


def heading(text: str) -> None:
    say(f"\n{text}", style="bold cyan")


def say(text: str, *, style: str = "") -> None:
    """One line as it is: what is to be copied is never wrapped."""
    console.print(text, style=style or None, markup=False, soft_wrap=True)
    sys.stdout.flush()


def _leave_in_order(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=DEFAULT_FOLDER, help="state folder (default: .demo)")
    parser.add_argument(
        "--speed", type=_positive, default=DEFAULT_SPEED, help="times the speed of real models (default: 10)"
    )
    return parser.parse_args()


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
