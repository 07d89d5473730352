"""The removal of one run with everything that is known of it, for whoever wants it gone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import NamedTuple

from configurable_agents.errors import InvalidValueError, NotFoundError
from configurable_agents.obsd.ledger.retention import delete_run
from configurable_agents.obsd.ledger.scopes import experiment_of, resolve
from configurable_agents.telemetry import Status
from configurable_agents.wire.account_records import PurgeReport
from configurable_agents.wire.report_records import Scope

_ABOUT = """
SELECT r.status, r.events, r.attach_mlflow_run_id, COALESCE(x.foreign_id, '')
FROM runs r LEFT JOIN exported_runs x ON x.run = r.id AND x.exporter = :exporter WHERE r.id = :run
"""

_PURGED_AHEAD = """
INSERT INTO purged_ahead SELECT seq FROM (
    SELECT seq FROM node_executions WHERE run = :run UNION ALL SELECT seq FROM llm_calls WHERE run = :run
    UNION ALL SELECT seq FROM run_events WHERE run = :run
) WHERE seq > COALESCE((SELECT min(cursor) FROM exporters), 0)
"""

_NAMES_OF_RUN = """
SELECT experiment FROM runs WHERE id = :run UNION SELECT workflow FROM runs WHERE id = :run
UNION SELECT node FROM node_totals WHERE run = :run UNION SELECT node FROM open_nodes WHERE run = :run
UNION SELECT error_type FROM node_executions WHERE run = :run AND error_type IS NOT NULL
UNION SELECT node FROM llm_calls WHERE run = :run UNION SELECT provider FROM llm_calls WHERE run = :run
UNION SELECT model FROM llm_calls WHERE run = :run
UNION SELECT node FROM call_totals WHERE run = :run UNION SELECT provider FROM call_totals WHERE run = :run
UNION SELECT model FROM call_totals WHERE run = :run
"""

_IN = "IN (SELECT value FROM json_each(:ids))"

_NAMES_IN_USE = (
    f"SELECT experiment FROM runs WHERE experiment {_IN} AND id <> :run",
    f"SELECT workflow FROM runs WHERE workflow {_IN} AND id <> :run",
    f"SELECT DISTINCT node FROM node_totals WHERE node {_IN} AND run <> :run",
    f"SELECT DISTINCT node FROM open_nodes WHERE node {_IN} AND run <> :run",
    f"SELECT DISTINCT node FROM call_totals WHERE node {_IN} AND run <> :run",
    f"SELECT DISTINCT provider FROM call_totals WHERE provider {_IN} AND run <> :run",
    f"SELECT DISTINCT model FROM call_totals WHERE model {_IN} AND run <> :run",
    f"SELECT DISTINCT error_type FROM node_executions WHERE error_type {_IN} AND run <> :run",
    f"SELECT DISTINCT node FROM llm_calls WHERE node {_IN} AND run <> :run",
    f"SELECT DISTINCT provider FROM llm_calls WHERE provider {_IN} AND run <> :run",
    f"SELECT DISTINCT model FROM llm_calls WHERE model {_IN} AND run <> :run",
)
"""Small tables first: what is found there is not looked for in the large ones."""

_LAST_SEQ = "SELECT coalesce((SELECT value FROM counters WHERE name = 'events_committed'), 0)"

_HEARD_OF_SINCE = """
SELECT run FROM node_executions WHERE seq > :seq UNION SELECT run FROM llm_calls WHERE seq > :seq
UNION SELECT run FROM run_events WHERE seq > :seq UNION SELECT run FROM open_nodes
"""

_NAMES_USED_SINCE = f"""
WITH heard AS MATERIALIZED ({_HEARD_OF_SINCE})
SELECT experiment FROM heard JOIN runs ON runs.id = heard.run
UNION SELECT workflow FROM heard JOIN runs ON runs.id = heard.run
UNION SELECT node FROM heard CROSS JOIN node_totals t ON t.run = heard.run
UNION SELECT node FROM heard CROSS JOIN call_totals t ON t.run = heard.run
UNION SELECT provider FROM heard CROSS JOIN call_totals t ON t.run = heard.run
UNION SELECT model FROM heard CROSS JOIN call_totals t ON t.run = heard.run
UNION SELECT node FROM open_nodes
UNION SELECT error_type FROM node_executions WHERE seq > :seq
UNION SELECT node FROM llm_calls WHERE seq > :seq UNION SELECT provider FROM llm_calls WHERE seq > :seq
UNION SELECT model FROM llm_calls WHERE seq > :seq
"""

_CARDS_USED_SINCE = "SELECT rate_card FROM llm_calls WHERE seq > :seq"

_CARDS_OF_RUN = """
SELECT rate_card FROM llm_calls WHERE run = :run AND rate_card IS NOT NULL
UNION SELECT h.rate_card FROM price_history h JOIN llm_calls c ON c.seq = h.call
WHERE c.run = :run AND h.rate_card IS NOT NULL
"""
_CARDS_IN_USE = (
    f"SELECT DISTINCT rate_card FROM llm_calls WHERE rate_card {_IN} AND run <> :run",
    f"""SELECT DISTINCT h.rate_card FROM price_history h JOIN llm_calls c ON c.seq = h.call
    WHERE h.rate_card {_IN} AND c.run <> :run""",
)

_COUNT = "INSERT INTO counters VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


class Unshared(NamedTuple):
    """What only one run uses, as it was after an event. Finding it means reading the whole ledger."""

    run: int
    seq: int
    names: frozenset[int]
    cards: frozenset[int]


def run_to_purge(connection: sqlite3.Connection, run_id: str, exporter: str) -> PurgeReport:
    """Raises `NotFoundError` as reports do, and `InvalidValueError` for a run in flight."""
    scope = Scope(run_id=run_id)
    found = resolve(connection, scope)
    status, events, attached, foreign_id = connection.execute(
        _ABOUT, {"run": found.run, "exporter": exporter}
    ).fetchone()
    if status == Status.RUNNING:
        raise InvalidValueError(
            f"run {found.run_id} is in flight; end its workflow first (what has no process any more is"
            " interrupted by itself within 30 s), then purge it"
        )
    return PurgeReport(
        found.run_id,
        experiment_of(connection, found),
        status,
        events,
        mlflow_run_id=foreign_id or attached,
        is_attached=bool(attached),
    )


def unshared(connection: sqlite3.Connection, run_id: str) -> Unshared:
    """Names and rate cards that no other run uses. To be asked of a reader, before `purge`.

    No prices may be made anew from here until the purge: old calls would get cards without being heard of.
    Raises `NotFoundError`.
    """
    found = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if found is None:
        raise NotFoundError(f"run {run_id} is not in the ledger any more")
    (run,) = found
    (seq,) = connection.execute(_LAST_SEQ).fetchone()
    names = _left_alone(connection, run, _NAMES_OF_RUN, _NAMES_IN_USE)
    cards = _left_alone(connection, run, _CARDS_OF_RUN, _CARDS_IN_USE)
    return Unshared(run, seq, names, cards)


def purge(connection: sqlite3.Connection, run_id: str, known: Unshared | None = None) -> int:
    """Within a transaction: removes a run that is over. Returns how many events it had.

    They are counted as purged. The run's id is kept as a digest only, by which late events are refused.
    With what is `known` of what only it uses, no table is read as a whole. Raises as `run_to_purge`.
    """
    run_to_purge(connection, run_id, "")
    (run,) = connection.execute("SELECT id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    parameters = {"run": run}
    names, cards = _still_unshared(connection, run, run_id, known)
    connection.execute(_PURGED_AHEAD, parameters)
    connection.execute("DELETE FROM dead_letters WHERE run = ?", (run,))
    events = delete_run(connection, run) or 0
    connection.executemany("DELETE FROM names WHERE id = ?", [(row,) for row in names])
    connection.executemany("DELETE FROM rate_cards WHERE id = ?", [(row,) for row in cards])
    connection.execute("INSERT OR IGNORE INTO purged_runs VALUES (?)", (digest(run_id),))
    connection.execute(_COUNT, ("events_purged", events))
    return events


def was_purged(connection: sqlite3.Connection, run_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM purged_runs WHERE run_id_digest = ?", (digest(run_id),))
    return found.fetchone() is not None


def allow_again(connection: sqlite3.Connection, run_id: str) -> None:
    """Within a transaction: a run that starts under the id of a purged one is a new run."""
    connection.execute("DELETE FROM purged_runs WHERE run_id_digest = ?", (digest(run_id),))


def digest(run_id: str) -> bytes:
    return hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _left_alone(
    connection: sqlite3.Connection, run: int, of_run: str, in_use: tuple[str, ...]
) -> frozenset[int]:
    left = {row for (row,) in connection.execute(of_run, {"run": run})}
    for question in in_use:
        if left:
            rows = connection.execute(question, {"ids": json.dumps(sorted(left)), "run": run})
            left -= {row for (row,) in rows}
    return frozenset(left)


def _still_unshared(
    connection: sqlite3.Connection, run: int, run_id: str, known: Unshared | None
) -> tuple[frozenset[int], frozenset[int]]:
    if known is not None and known.run == run:
        since = {"seq": known.seq}
        heard = {row for (row,) in connection.execute(_HEARD_OF_SINCE, since)}
        if run not in heard:  # otherwise it may have more names than it had
            names = known.names.difference(row for (row,) in connection.execute(_NAMES_USED_SINCE, since))
            cards = known.cards.difference(row for (row,) in connection.execute(_CARDS_USED_SINCE, since))
            return names, cards
    found = unshared(connection, run_id)
    return found.names, found.cards
