"""How a ledger of an older version becomes one of this: a script for each step, all in one transaction.

A change of `schema.sql` after its version was released goes like this: write `0002.sql` here (what turns a
ledger of version 1 into one of version 2, with its data), add its name below, which raises
`SCHEMA_VERSION`, change `schema.sql` to the same, and run `make golden`, which keeps a small ledger of the
new version for the tests. The ledgers of older versions stay in the tests for ever.
"""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from configurable_agents.errors import LedgerError

STEPS: tuple[str, ...] = ()
"""Scripts of this folder: the first leads from version 1 to 2, and so on."""


def schema_version() -> int:
    """Of the ledgers that this version writes."""
    return 1 + len(STEPS)


def migrate(connection: sqlite3.Connection, version: int, path: Path) -> None:
    """Brings a ledger of `version` to that of today, in place.

    Raises `LedgerError` when a step fails; the ledger is then as it was before.
    """
    steps = STEPS[version - 1 :]
    if not steps:
        return
    scripts = "\n".join(script(name) for name in steps)
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{scripts}\nPRAGMA user_version = {schema_version()};\nCOMMIT;"
        )
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise LedgerError(
            f"{path} cannot be brought from format {version} to {schema_version()}: {error}; it is left as it"
            " was. Go on with the version that wrote it, and report this to the maintainers"
        ) from error


def script(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
