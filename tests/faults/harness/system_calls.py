"""Faults below the process: system calls that fail, do half of what they should, or are the last ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from configurable_agents.obsd.ledger.database import NEW_SUFFIX
from harness.oracle import Verdict, check_ledger
from harness.site import Site

COMMITS = 20
FAIL_STOP = 3
"""The exit code of programs/commit_many.py after an error that does not pass."""

KILLED = -9


class Injection(NamedTuple):
    """What strace does to which calls: `when` is its range of their numbers."""

    call: str
    fault: str
    when: str

    def __str__(self) -> str:
        return f"{self.call}:{self.fault}:when={self.when}"


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    said: str
    errors: str


LEDGER_CALLS = {"fdatasync": 34, "pwrite64": 440, "ftruncate": 7, "unlink": 9, "rename": 1}
"""Calls on the files of a ledger while `COMMITS` batches are committed and it is closed: about so many."""


def strace(injection: Injection, paths: Sequence[object] = ()) -> list[str]:
    """The command to put before another. With `paths` only calls on those files count."""
    filters = [part for path in paths for part in ("-P", str(path))]
    quiet = ["strace", "-f", "-qq", "-o", os.devnull]
    return [*quiet, *filters, "-e", f"trace={injection.call}", "-e", f"inject={injection}"]


def ledger_files(site: Site) -> list[object]:
    """Also under the name that a new one has while it is made."""
    ledger = site.home.ledger
    names = (str(ledger), f"{ledger}{NEW_SUFFIX}")
    return [name + suffix for name in names for suffix in ("", "-journal", "-wal", "-shm")]


def commit_under(site: Site, injection: Injection) -> Outcome:
    """Commits `COMMITS` batches while calls on the ledger's files fail."""
    under = strace(injection, ledger_files(site))
    process = site.launch("commit_many.py", COMMITS, under=under)
    said, errors = process.communicate(timeout=60)
    return Outcome(process.returncode, said, errors)


def verdict_after_restart(site: Site) -> Verdict:
    """Of a ledger that is opened again, without faults, and committed to once more."""
    process = site.launch("commit_many.py", 1)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "0\n"), errors
    return check_ledger(site.home.ledger, site.journals())
