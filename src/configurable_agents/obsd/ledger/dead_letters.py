"""Events an exporter's other side would not take: set aside, tried again on request, or dropped for good.

The functions that change something do so within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from configurable_agents.obsd.ledger.scopes import IN_SCOPE, resolve
from configurable_agents.wire.account_records import DeadLetterFilter, DeadLetterGroup, DeadLetters
from configurable_agents.wire.report_records import Scope


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

_MEANT = f"""
(:exporter = '' OR d.exporter = :exporter) AND instr(lower(d.reason), lower(:reason)) > 0
AND (:everything OR d.run IN (SELECT r.id FROM runs r WHERE {IN_SCOPE}))
"""

_GROUPS = f"""
SELECT d.exporter, COALESCE(r.run_id, ''), COALESCE(e.name, ''), d.state, d.reason, COUNT(*),
    MIN(d.at_unix_ns), MAX(d.at_unix_ns)
FROM dead_letters d LEFT JOIN runs r ON r.id = d.run LEFT JOIN names e ON e.id = r.experiment
WHERE {_MEANT} GROUP BY d.exporter, d.run, d.state, d.reason
ORDER BY d.state, COUNT(*) DESC, d.run, d.reason LIMIT :limit
"""

_COUNTS = f"""
SELECT state, COUNT(*), SUM(events) FROM (
    SELECT d.state AS state, COUNT(*) AS events FROM dead_letters d
    WHERE {_MEANT} GROUP BY d.exporter, d.run, d.state, d.reason
) GROUP BY state
"""

_SET_ASIDE_NOW = f"""
SELECT d.exporter, d.seq, d.run FROM dead_letters d
WHERE d.state = {int(LetterState.SET_ASIDE)} AND {_MEANT} LIMIT :limit
"""

_CHANGE = "UPDATE dead_letters SET state = ?, at_unix_ns = ? WHERE exporter = ? AND seq = ?"

_TELL_AGAIN = "UPDATE exported_runs SET foreign_id = '', final_events = -1 WHERE exporter = ? AND run = ?"

_RETRY_LETTERS = f"""
UPDATE dead_letters SET state = {int(LetterState.RETRYING)}, at_unix_ns = :at
WHERE exporter = :exporter AND run = :run
"""

_RETRY_REST = f"""
INSERT OR IGNORE INTO dead_letters (exporter, seq, run, state, reason, at_unix_ns)
SELECT :exporter, seq, :run, {int(LetterState.RETRYING)}, 'asked for again', :at FROM (
    SELECT seq FROM node_executions WHERE run = :run UNION ALL SELECT seq FROM llm_calls WHERE run = :run
    UNION ALL SELECT seq FROM run_events WHERE run = :run
) WHERE seq <= (SELECT cursor FROM exporters WHERE name = :exporter)
"""

_RETRIED_OF_RUN = f"""
SELECT COUNT(*) FROM dead_letters
WHERE exporter = :exporter AND run = :run AND state = {int(LetterState.RETRYING)}
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


def listed(connection: sqlite3.Connection, wanted: DeadLetterFilter, *, limit: int) -> DeadLetters:
    """Raises `NotFoundError` as reports do."""
    parameters = _parameters(connection, wanted)
    groups = tuple(
        DeadLetterGroup(*row) for row in connection.execute(_GROUPS, {**parameters, "limit": limit})
    )
    counts = {
        state: (groups_count, events)
        for state, groups_count, events in connection.execute(_COUNTS, parameters)
    }
    return DeadLetters(
        groups,
        sum(groups_count for groups_count, _ in counts.values()),
        *(counts.get(state, (0, 0))[1] for state in LetterState),
    )


def change_some(
    connection: sqlite3.Connection,
    wanted: DeadLetterFilter,
    state: LetterState,
    at_unix_ns: int,
    *,
    limit: int,
) -> int:
    """Has some that are set aside tried again, or dropped. Returns how many: 0 when there are no more."""
    parameters = {**_parameters(connection, wanted), "limit": limit}
    found = connection.execute(_SET_ASIDE_NOW, parameters).fetchall()
    connection.executemany(_CHANGE, [(int(state), at_unix_ns, exporter, seq) for exporter, seq, _ in found])
    if state is LetterState.RETRYING:
        tell_again(connection, {(exporter, run) for exporter, _, run in found})
    return len(found)


def retry_whole_run(connection: sqlite3.Connection, exporter: str, run: int, at_unix_ns: int) -> int:
    """Has every event of a run that was offered before offered again. Returns how many."""
    parameters = {"exporter": exporter, "run": run, "at": at_unix_ns}
    connection.execute(_RETRY_LETTERS, parameters)
    connection.execute(_RETRY_REST, parameters)
    tell_again(connection, {(exporter, run)})
    return int(connection.execute(_RETRIED_OF_RUN, parameters).fetchone()[0])


def tell_again(connection: sqlite3.Connection, runs: Iterable[tuple[str, int]]) -> None:
    """The other side's runs are looked for anew, and get their final figures again."""
    connection.executemany(_TELL_AGAIN, list(runs))


def _parameters(connection: sqlite3.Connection, wanted: DeadLetterFilter) -> dict[str, Any]:
    scope = resolve(connection, wanted.scope)
    everything = wanted.scope == Scope()
    return {
        **scope.parameters,
        "everything": everything,
        "exporter": wanted.exporter,
        "reason": wanted.reason,
    }
