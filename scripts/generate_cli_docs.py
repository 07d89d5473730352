"""Writes docs/cli.md from what --help says; with --check only says whether it is stale (exit 1)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from configurable_agents.cli import app, daemon

TARGET = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
COLUMNS = "100"

INTRODUCTION = """\
# The command line

Written by `scripts/generate_cli_docs.py` from `--help`; a test fails when it is stale.

`agents-obs` asks and shows. `configurable-agents` and `python -m configurable_agents` are the same program.
`agents-obsd` is the daemon.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it failed, or what was asked for does not exist; the line on stderr says why |
| 2 | the command line or a setting cannot be used |
| 3 | no daemon answers |
| 4 | calls have no known cost: `--strict`, or a limit of `diff --fail-on` that hangs on them |
| 5 | a daemon already runs on this state folder |
| 6 | `diff`: a limit of `--fail-on` was exceeded |
| 7 | `verify`: the ledger and MLflow do not hold the same |
| 70 | a defect of ours; `AGENTS_OBS_DEBUG=1` prints the traceback |
| 74 | standard output takes nothing more, or a file to write cannot be written |
| 130 | ended by Ctrl-C |

Errors are one line on stderr. Colour is used on a terminal only, and not when `NO_COLOR` is set.
`--json` prints what [json.md](json.md) describes.
"""


def main() -> int:
    text = reference()
    stale = not TARGET.exists() or TARGET.read_text() != text
    if "--check" in sys.argv:
        if stale:
            print("stale: docs/cli.md; run: python scripts/generate_cli_docs.py", file=sys.stderr)
        return int(stale)
    TARGET.write_text(text)
    print(f"{TARGET.name}: {'changed' if stale else 'unchanged'}")
    return 0


def reference() -> str:
    parts = [INTRODUCTION]
    for name, program in (("agents-obs", app.app), ("agents-obsd", daemon.app)):
        command = typer.main.get_command(program)
        parts += [section(program, name, path) for path in paths(command)]
    return "\n".join(parts)


def paths(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The command itself, then its commands, deepest last."""
    yield above
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*above, name))


def section(program: typer.Typer, name: str, path: tuple[str, ...]) -> str:
    arguments = [*path, "--help"]
    result = CliRunner().invoke(program, arguments, prog_name=name, env={"COLUMNS": COLUMNS})
    if result.exit_code != 0:
        raise SystemExit(f"{name} {' '.join(arguments)} failed: {result.output}")
    title = " ".join((name, *path))
    return f"{'###' if path else '##'} {title}\n\n```\n{result.output.strip()}\n```\n"


if __name__ == "__main__":
    raise SystemExit(main())
