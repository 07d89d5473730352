"""`python -m configurable_agents.obsd.repair`: sets a damaged ledger aside, and saves what can be read of it.

Run by `agents-obsd repair`, while no daemon runs. Answers with one JSON object on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configurable_agents.client.home import Home, ensure_private_folder
from configurable_agents.errors import AgentsObsError, LedgerDamagedError, NotFoundError
from configurable_agents.obsd.disk import files_of
from configurable_agents.obsd.ledger.damage import SEAL_SUFFIX, sync_folder
from configurable_agents.obsd.ledger.database import check
from configurable_agents.obsd.ledger.salvage import Salvage, salvage
from configurable_agents.obsd.lock import owning

SALVAGED_SUFFIX = ".salvaged"
"""Of the new ledger until it is complete."""

DAMAGED_MARK = ".damaged-"


def repair(home: Home) -> dict[str, Any]:
    """Replaces a damaged ledger by what can be read of it; the damaged one stays under another name.

    Cut off at any moment it can be run again. Raises `AgentsObsError`.
    """
    ensure_private_folder(home.folder)
    with owning(home):
        if not home.ledger.exists():
            raise NotFoundError(
                f"there is no ledger in {home.folder}; `{home.command('agents-obsd start')}` makes one"
            )
        found = damage_of(home.ledger)
        if not found:
            return {"damage": None, "ledger": str(home.ledger)}
        new = home.ledger.with_name(home.ledger.name + SALVAGED_SUFFIX)
        remove_ledger(new)
        try:
            saved = salvage(_begun_aside(home.ledger) or home.ledger, new)
        except Exception:
            remove_ledger(new)
            raise
        aside = set_aside(home.ledger, replacement=new)
    return {"damage": found, "ledger": str(home.ledger), "set_aside": str(aside), **_report(saved)}


def begin_afresh(ledger: Path) -> Path | None:
    """Sets a ledger aside if it is damaged. Returns its new name. The caller owns the state folder."""
    if not ledger.exists() or not damage_of(ledger):
        return None
    return set_aside(ledger)


def damage_of(ledger: Path) -> str:
    """What is wrong with a ledger; empty: nothing that a check finds."""
    try:
        check(ledger)
    except LedgerDamagedError as error:
        return str(error).partition(" is damaged ")[2].partition(";")[0].strip("()")
    return ""


def set_aside(ledger: Path, *, replacement: Path | None = None) -> Path:
    """Gives a ledger a name that says that it is damaged, and its place to another.

    At every moment there is a ledger in its place, unless no other is given: a daemon that starts in
    between must not take it for a fresh folder.
    """
    begun = _begun_aside(ledger)
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = begun or ledger.with_name(f"{ledger.name}{DAMAGED_MARK}{at}")
    for old in _parts_of(ledger):
        if old.exists() and begun is None:
            os.link(old, aside.with_name(aside.name + old.name.removeprefix(ledger.name)))
    sync_folder(ledger.parent)
    for old in _parts_of(ledger):
        if old != ledger:
            old.unlink(missing_ok=True)  # the log of the damaged ledger must not be played into another
    if replacement is None:
        ledger.unlink()
    else:
        replacement.replace(ledger)
    sync_folder(ledger.parent)
    return aside


def _begun_aside(ledger: Path) -> Path | None:
    """The other name of the damaged ledger, given by one that was cut off; its log may be there only."""
    return next(
        (
            path
            for path in sorted(ledger.parent.glob(f"{ledger.name}{DAMAGED_MARK}*Z"))
            if path.samefile(ledger)
        ),
        None,
    )


def remove_ledger(ledger: Path) -> None:
    """What a repair left that was cut off."""
    for part in _parts_of(ledger):
        part.unlink(missing_ok=True)


def _parts_of(ledger: Path) -> tuple[Path, ...]:
    names = [f"{ledger.name}{suffix}" for suffix in ("-shm", SEAL_SUFFIX)]
    return (*files_of(ledger), *(ledger.with_name(name) for name in names))


def _report(saved: Salvage) -> dict[str, Any]:
    return {
        "rows_saved": saved.rows_saved,
        "rows_lost": saved.rows_lost,
        "rows_refused": sum(table.refused for table in saved.tables.values()),
        "runs_doubtful": saved.runs_doubtful,
        "stand_ins": saved.stand_ins,
        "is_complete": saved.is_complete,
        "tables": {name: asdict(table) for name, table in saved.tables.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m configurable_agents.obsd.repair", description=__doc__)
    parser.add_argument("--home", required=True, help="the state folder")
    os.umask(0o077)
    try:
        answer, code = repair(Home.from_environment(parser.parse_args().home)), 0
    except AgentsObsError as error:
        answer, code = {"error": str(error), "exit_code": error.exit_code}, error.exit_code
    except OSError as error:
        answer, code = {"error": f"the ledger cannot be repaired: {error}", "exit_code": 1}, 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
