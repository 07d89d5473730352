"""Whether a ledger is what it was: SQLite's own check, and a seal that the daemon leaves when it stops.

SQLite finds pages that cannot be: links that lead nowhere, rows out of order, values of the wrong kind. It
does not find a figure that became another figure. So a daemon that stops notes the checksum of the file
beside it, and a start that finds the file as old and as long as then compares. A file that somebody has
written to since is not compared: its checksum may rightly differ.

Everything here only reads the ledger.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from configurable_agents.client.home import command_for
from configurable_agents.errors import LedgerDamagedError
from configurable_agents.obsd import limits

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged ledger may raise. The second: the message of an error may quote damaged bytes."""

SEAL_SUFFIX = ".seal"

_READ_BYTES = 1024 * 1024
_STEPS_BETWEEN_LOOKS = 10_000

CHECKED = "whole"
CHECKED_SEAL = "whole, by its checksum"
CHECKED_LATER = "in the background: it is too large to look through at every start"


def check(connection: sqlite3.Connection, path: Path) -> str:
    """Looks through a ledger for at most about a second. Returns how far, in words.

    Raises `LedgerDamagedError`.
    """
    is_sealed = check_seal(path)
    deadline = time.monotonic() + limits.CHECK_S_MAX
    if quick_check(connection, path, is_over=lambda: time.monotonic() > deadline):
        return CHECKED
    return CHECKED_SEAL if is_sealed else CHECKED_LATER


def quick_check(connection: sqlite3.Connection, path: Path, *, is_over: Callable[[], bool]) -> bool:
    """SQLite's own check. False when it was not through before its time `is_over`.

    Raises `LedgerDamagedError`.
    """
    connection.set_progress_handler(is_over, _STEPS_BETWEEN_LOOKS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_INTERRUPT":
            return False
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise damaged(path, str(found).splitlines()[-1])
    return True


def damaged(path: Path, what: str) -> LedgerDamagedError:
    repair, begin = (
        command_for(path.parent, each) for each in ("agents-obsd repair", "agents-obsd start --fresh-ledger")
    )
    return LedgerDamagedError(
        f"{path} is damaged ({what}); it is left untouched. Save what can be read with `{repair}`, or begin"
        f" anew with `{begin}`; both keep the damaged file"
    )


# -- the seal ---------------------------------------------------------------------------------------------


def seal(path: Path) -> None:
    """Notes the checksum of a ledger that nobody has open any more. Not of a large one, which takes long."""
    size_bytes = path.stat().st_size
    if size_bytes > limits.SEALED_BYTES_MAX or path.with_name(f"{path.name}-wal").exists():
        return
    noted = {**_age_of(path), "crc32": _checksum(path)}
    new = _seal_of(path).with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123 - of a descriptor
        json.dump(noted, stream)
    new.replace(_seal_of(path))


def break_seal(path: Path) -> None:
    """Before the ledger is written to. Durable when it returns: a seal must never outlive what it seals."""
    try:
        _seal_of(path).unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes what was named, renamed or removed in a folder durable."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def is_sealed(path: Path) -> bool:
    """Whether a daemon has left a ledger here."""
    return _seal_of(path).exists()


def check_seal(path: Path) -> bool:
    """Whether there is a seal that fits. Raises `LedgerDamagedError` for one that is broken."""
    noted = _noted(path)
    if noted is None or any(noted.get(name) != value for name, value in _age_of(path).items()):
        return False
    if noted.get("crc32") != _checksum(path):
        raise damaged(path, "its bytes are not those that the daemon left when it stopped")
    return True


def _noted(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(_seal_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _age_of(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size_bytes": found.st_size, "modified_unix_ns": found.st_mtime_ns}


def _seal_of(path: Path) -> Path:
    return path.with_name(path.name + SEAL_SUFFIX)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            checksum = crc32(data, checksum)
    return checksum
