"""Programs that take turns: A B A B in one run, each in a process and, if need be, an environment of
its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "contenders"
PEERS = FOLDER.parent.parent / ".venv-peers"
"""An environment for each peer that cannot share one: `.venv-peers/<name>`. See `make bench-peers`."""

Answer = dict[str, Any]


class AbsentError(Exception):
    """The contender cannot take part; the message says why."""


class Program(NamedTuple):
    """`contenders/<file>.py arguments…`, run by our own Python or by that of a peer's environment."""

    name: str
    file: str
    arguments: tuple[str, ...] = ()
    environment: str = ""


class Contender:
    """A running program. It says `{"ready": true}`, then answers each line with a line of JSON."""

    def __init__(self, program: Program, variables: Mapping[str, str]) -> None:
        python = sys.executable if not program.environment else PEERS / program.environment / "bin" / "python"
        if not Path(python).exists():
            raise AbsentError("not installed; `make bench-peers` installs it")
        self._scratch = TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [str(python), str(FOLDER / f"{program.file}.py"), *program.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._scratch.name,  # some peers write to where they stand
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "TMPDIR": self._scratch.name,
                **variables,
            },
        )
        try:
            self.answer()
        except AbsentError:
            self.close()
            raise

    def turn(self, **task: Any) -> Answer:
        """Has it do its task once. Raises `AbsentError` when it says that it cannot, or ends."""
        self.ask(**task)
        return self.answer()

    def ask(self, **task: Any) -> None:
        """Has it begin; `answer` waits for what comes of it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # if it ended, what it said last is more telling
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._scratch.cleanup()

    def answer(self) -> Answer:
        """Waits for the next line of JSON. Raises `AbsentError` when it says that it cannot, or ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # peers may print what they like
                answer: Answer = json.loads(line)
                if "absent" in answer:
                    raise AbsentError(answer["absent"])
                return answer
        assert self._process.stderr is not None
        said = [line.strip() for line in self._process.stderr.read().splitlines() if line.strip(" \t>")]
        raise AbsentError(said[-1][:200] if said else "it ended without a word")


@contextmanager
def running(program: Program, **variables: str) -> Iterator[Contender]:
    contender = Contender(program, variables)
    try:
        yield contender
    finally:
        contender.close()


def take_turns(
    programs: Sequence[Program],
    *,
    rounds: int,
    absent: dict[str, str],
    task: Mapping[str, Any],
    **variables: str,
) -> dict[str, list[Answer]]:
    """All contenders that can take part, one turn each in every round. Notes the others in `absent`."""
    answers: dict[str, list[Answer]] = {}
    with ExitStack() as stack:
        present: dict[str, Contender] = {}
        for program in programs:
            try:
                present[program.name] = stack.enter_context(running(program, **variables))
            except AbsentError as error:
                absent[program.name] = str(error)
        for _ in range(rounds):
            for name, contender in list(present.items()):
                try:
                    answers.setdefault(name, []).append(contender.turn(**task))
                except AbsentError as error:
                    absent[name] = str(error)
                    del present[name]
                    answers.pop(name, None)
    return answers
