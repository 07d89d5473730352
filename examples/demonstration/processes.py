"""Starts what a demo needs, and ends it again whatever happens. Nothing else is ever ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from demonstration.failure import DemoError

EXAMPLES = Path(__file__).resolve().parents[1]
COMMAND_TIMEOUT_S = 60
GRACE_S = 5.0
EXIT_NO_DAEMON = 3


class Commands(NamedTuple):
    """The real commands, as installed beside this Python."""

    environment: Mapping[str, str]

    def path_of(self, name: str) -> Path:
        path = Path(sys.executable).with_name(name)
        if not path.exists():
            raise DemoError(f"{path} is not there; install the package into this environment: make demo")
        return path

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command's result, its output kept."""
        return self._run(name, arguments, capture_output=True)

    def show(self, name: str, *arguments: str) -> None:
        """Runs the command on this terminal."""
        shown = self._run(name, arguments, capture_output=False)
        if shown.returncode != 0:
            raise DemoError(f"{name} {' '.join(arguments)} ended with exit code {shown.returncode}")

    def read(self, name: str, *arguments: str) -> Any:
        """The command's JSON."""
        result = self.run(name, *arguments, "--json")
        if result.returncode != 0:
            raise DemoError(f"{name} {' '.join(arguments)} failed: {last_lines(result.stderr)}")
        return json.loads(result.stdout)

    def _run(
        self, name: str, arguments: tuple[str, ...], *, capture_output: bool
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.path_of(name), *arguments],
                env=self.environment,
                capture_output=capture_output,
                text=True,
                check=False,
                timeout=COMMAND_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            command = f"{name} {' '.join(arguments)}"
            raise DemoError(f"{command} was still running after {COMMAND_TIMEOUT_S} s") from error


@contextmanager
def daemon(commands: Commands) -> Iterator[None]:
    """A daemon on the demo's folder, stopped at the end."""
    started = commands.run("agents-obsd", "start")
    if started.returncode != 0:
        raise DemoError(f"the daemon did not start: {last_lines(started.stderr)}")
    try:
        yield
    finally:
        stop_daemon(commands)


def stop_daemon(commands: Commands) -> None:
    """Stops the daemon of the demo's folder, if there is one."""
    stopped = commands.run("agents-obsd", "stop")
    if stopped.returncode not in (0, EXIT_NO_DAEMON):
        raise DemoError(f"the daemon did not stop: {last_lines(stopped.stderr)}")


@contextmanager
def provider_simulator(environment: Mapping[str, str], *, speed: float) -> Iterator[str]:
    """The address of simulated providers. They end with this process, even when it is killed."""
    command = [sys.executable, str(EXAMPLES / "provider_simulator.py"), "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, f"--speed={speed}"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        first_line = process.stdout.readline() if process.stdout else ""
        if not first_line.startswith("listening on "):
            raise DemoError("the simulated providers did not start; see the lines above")
        yield first_line.removeprefix("listening on ").strip()
    finally:
        if process.stdin:
            process.stdin.close()
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process of ours: politely first, then not."""
    try:
        process.terminate()
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def last_lines(text: str, *, count: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-count:]) or "it gave no reason"
