"""Where every committed event is: at an exporter's other side, on its way, set aside, dropped or purged."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.dead_letters import LetterState
from configurable_agents.wire.report_records import ExporterStatus

EVENTS_PURGED = "events_purged"
"""`counters.name`."""

_EXPORTER = """
SELECT
    COALESCE((SELECT value FROM counters WHERE name = 'events_committed'), 0),
    COALESCE((SELECT value FROM counters WHERE name = 'events_purged'), 0),
    COALESCE((SELECT cursor FROM exporters WHERE name = :exporter), 0),
    (SELECT COUNT(*) FROM purged_ahead
        WHERE seq > COALESCE((SELECT cursor FROM exporters WHERE name = :exporter), 0))
"""

_LETTERS = "SELECT state, COUNT(*) FROM dead_letters WHERE exporter = ? GROUP BY state"

_EVENTS_KEPT = "SELECT COALESCE(SUM(events), 0) FROM runs"


def events_kept(connection: sqlite3.Connection) -> int:
    """Of all runs in the ledger. With those that were purged they are all that was ever committed."""
    return int(connection.execute(_EVENTS_KEPT).fetchone()[0])


def with_accounts(connection: sqlite3.Connection, exporter: ExporterStatus) -> ExporterStatus:
    """The status with what the ledger knows of the exporter.

    committed = exported + waiting + set aside + dropped + purged: the cursor says what was offered, and
    what is behind it and not there has a row of its own (`dead_letters`) or is counted as purged.
    """
    row = connection.execute(_EXPORTER, {"exporter": exporter.name}).fetchone()
    committed, purged, cursor, purged_ahead = row
    letters = dict(connection.execute(_LETTERS, (exporter.name,)))
    retrying = letters.get(LetterState.RETRYING, 0)
    return replace(
        exporter,
        events_exported=cursor - (purged - purged_ahead) - sum(letters.values()),
        events_waiting=committed - cursor - purged_ahead + retrying,
        events_set_aside=letters.get(LetterState.SET_ASIDE, 0),
        events_dropped=letters.get(LetterState.DROPPED, 0),
        events_purged=purged,
        runs_waiting=queries.runs_waiting(connection, exporter.name),
    )
