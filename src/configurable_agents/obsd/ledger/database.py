"""Opening the SQLite file: its settings, its version, its check."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path

from configurable_agents.errors import LedgerError, LedgerTooNewError
from configurable_agents.obsd import limits
from configurable_agents.obsd.ledger import damage
from configurable_agents.obsd.ledger.migrations import migrate, schema_version

APPLICATION_ID = 0x41474F42
"""Says in the file's header whose it is ("AGOB")."""

BUSY_TIMEOUT_MS = 30_000
"""How long another program may hold a lock on the file before an operation gives up."""

NEW_SUFFIX = ".making"
"""Of a ledger that is being made."""

CACHE_KIB = 16 * 1024
WAL_CHECKPOINT_PAGES = 4000
"""About 16 MB of log between checkpoints: fewer pages are written twice than with SQLite's 1000."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one writing connection. Creates and migrates the ledger as needed; `check` it before.

    Raises `LedgerDamagedError`, `LedgerTooNewError` or `LedgerError`; a ledger that cannot be used is
    left exactly as it was.
    """
    try:
        if path.exists():
            damage.break_seal(path)
        else:
            _make(path)
        return _opened(path)
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be made: {error.strerror}") from error


def _make(path: Path) -> None:
    """A ledger without events. Under another name first: whoever is killed leaves a whole one or none.

    Until a new file is in SQLite's write-ahead mode, a kill may leave what only a writer can open.
    """
    new = path.with_name(f"{path.name}{NEW_SUFFIX}")
    for suffix in ("", "-journal", "-wal", "-shm"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(_opened(new)) as connection:  # whose closing would say nothing of an error in this
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    new.rename(path)
    damage.sync_folder(path.parent)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def check(path: Path) -> str:
    """Looks at a ledger before it is written to. Returns how far it was looked through; empty: there is none.

    Raises `LedgerDamagedError`, `LedgerTooNewError` or `LedgerError`; the file stays as it is.
    """
    if not path.exists():
        return ""
    try:
        with closing(open_for_reading(path)) as connection:
            _check_whose(connection, path)
            return damage.check(connection, path)
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error
    except UnicodeDecodeError as error:
        raise damage.damaged(path, "it holds text that is none") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from error


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. May be used from any one thread at a time, in any process."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
        )
        connection.execute("PRAGMA query_only = 1")
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # Only before the first table; without it removed rows would leave a file that never shrinks.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # The settings that make an acknowledgement durable: see `assert_durable`.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {limits.WAL_BYTES_MAX}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    # What is deleted is overwritten, also where a row grew and moved: a purge leaves no bytes behind.
    connection.execute("PRAGMA secure_delete = ON")
    # And none in a log that a killed daemon left.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert_durable(connection)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        _create(connection)
    else:
        migrate(connection, version, path)


def assert_durable(connection: sqlite3.Connection) -> None:
    """Raises `LedgerError` unless a commit on this connection survives power loss."""
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or synchronous < 2:
        raise LedgerError(
            f"the ledger's file system does not allow a durable ledger (journal_mode={mode},"
            f" synchronous={synchronous}); move the state folder to a local disk"
        )


def _check_whose(connection: sqlite3.Connection, path: Path) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0] == 0
    if version == 0 and application_id == 0 and is_empty and not damage.is_sealed(path):
        return  # created and never filled: a start that was cut off
    if application_id != APPLICATION_ID and damage.is_sealed(path):
        raise damage.damaged(path, "its beginning is not that of a ledger any more")
    if application_id != APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger; choose another state folder or move the file away")
    if version > schema_version():
        raise LedgerTooNewError(
            f"{path} was written by a newer version (format {version}, this one reads up to"
            f" {schema_version()}); install that version again"
        )


def _create(connection: sqlite3.Connection) -> None:
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    connection.executescript(
        f"BEGIN;\n{schema}\nPRAGMA application_id = {APPLICATION_ID};\n"
        f"PRAGMA user_version = {schema_version()};\nCOMMIT;"
    )


def _explained(error: sqlite3.DatabaseError, path: Path) -> LedgerError:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damage.damaged(path, str(error))
    return LedgerError(f"{path} cannot be opened: {error}")
