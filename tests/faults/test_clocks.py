"""The wall clock of the daemon jumps while runs are in flight: no order, no duration, no status changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from harness.kill_loop import three_clients
from harness.seeds import Seed
from harness.site import PROGRAMS, Site

from configurable_agents.telemetry import Status

pytestmark = pytest.mark.acceptance

DAY_S = 86_400
GIVEN_UP_WITHIN_S = 30.0
COMMITTED_UNDER_EACH = 100


class Clock:
    """The daemon's, as far as it is ahead."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set_ahead(0)

    def set_ahead(self, seconds: int) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.file)  # it is read at any moment


def test_a_daemon_whose_clock_jumps_a_day_and_a_year_loses_reorders_and_gives_up_nothing(
    site: Site, seed: Seed
) -> None:
    clock = Clock(site.home.folder / "ahead")
    site.start_daemon_under(program=(PROGRAMS / "jumping_daemon.py", clock.file))
    *workflows, spoolless = three_clients(site, f"{seed.number:08x}", per_second=200)
    for ahead_s in (0, DAY_S, -DAY_S, 365 * DAY_S, 0):
        clock.set_ahead(ahead_s)
        wait_for_events(site)
    assert interrupted(site) == []
    spoolless.kill()
    spoolless.wait()
    clock.set_ahead(-DAY_S)
    site.wait_for(lambda: interrupted(site), "its run to be given up", within_s=GIVEN_UP_WITHIN_S)
    clock.set_ahead(DAY_S)
    for workflow in workflows:
        site.finish(workflow)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict
    [(run_id, duration_s)] = interrupted(site)
    assert run_id.startswith(f"{seed.number:08x}-c-")
    assert 0 <= duration_s < DAY_S / 2


def wait_for_events(site: Site) -> None:
    target = site.status().events_committed + COMMITTED_UNDER_EACH
    site.wait_for(lambda: site.status().events_committed > target, "events under this clock")


def interrupted(site: Site) -> list[tuple[str, float]]:
    """Runs that were given up, and how long they took."""
    with closing(sqlite3.connect(f"{site.home.ledger.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT run_id, duration_ns / 1e9 FROM runs WHERE status = ?", (Status.INTERRUPTED,)
        ).fetchall()
