"""Events an exporter's other side would not take: set aside, tried again on request, or dropped for good.

The functions that change something do so within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import IntEnum


class LetterState(IntEnum):
    """`dead_letters.state`."""

    SET_ASIDE = 1
    RETRYING = 2
    """Waits for the exporter again."""
    DROPPED = 3
    """Nobody wants it there any more; it stays in the ledger and in the accounts."""


_SET_ASIDE = f"""
INSERT INTO dead_letters (exporter, seq, run, state, reason, at_unix_ns) VALUES (?,?,?,?,?,?)
ON CONFLICT (exporter, seq) DO UPDATE
SET state = excluded.state, reason = excluded.reason, at_unix_ns = excluded.at_unix_ns
WHERE state = {int(LetterState.RETRYING)}
"""

_FORGET = f"DELETE FROM dead_letters WHERE exporter = ? AND seq = ? AND state = {int(LetterState.RETRYING)}"


def set_aside(
    connection: sqlite3.Connection, exporter: str, letters: Iterable[tuple[int, int, str]], at_unix_ns: int
) -> None:
    """Keeps events (seq, run, reason) that were refused, for the first time or again."""
    connection.executemany(
        _SET_ASIDE,
        [
            (exporter, seq, run, int(LetterState.SET_ASIDE), reason, at_unix_ns)
            for seq, run, reason in letters
        ],
    )


def forget(connection: sqlite3.Connection, exporter: str, seqs: Iterable[int]) -> None:
    """These were tried again, and the other side has them now."""
    connection.executemany(_FORGET, [(exporter, seq) for seq in seqs])
