"""Another program holds the ledger: events wait or are refused in order, and the daemon says what is stuck.

The real patience of a daemon, 10 and 30 seconds, is for `make soak` (`locked`); here it is a fraction of it.
"""

from __future__ import annotations

import pytest
from harness.ledger_lock import lock_ledger
from harness.prober import Prober
from harness.seeds import Seed
from harness.site import PROGRAMS, Site

pytestmark = pytest.mark.acceptance

HASTE = 20
LONG_MS, SHORT_MS = 30_000, 300


def start(site: Site, *, busy_timeout_ms: int) -> None:
    site.start_daemon_under(program=(PROGRAMS / "hurried_daemon.py", HASTE, busy_timeout_ms))


def test_events_wait_for_a_lock_on_the_ledger_and_the_status_says_what_is_stuck(
    site: Site, seed: Seed
) -> None:
    start(site, busy_timeout_ms=LONG_MS)
    verdict = lock_ledger(site, seed.chances("waits"), per_second=300)
    assert verdict.is_clean, verdict


def test_a_lock_that_is_held_for_longer_has_events_refused_in_order(site: Site, seed: Seed) -> None:
    def refused_twice(prober: Prober) -> None:
        for _ in range(2):
            assert "another program holds the ledger" in prober.probe()

    start(site, busy_timeout_ms=SHORT_MS)
    verdict = lock_ledger(site, seed.chances("refused"), per_second=300, until=refused_twice)
    assert verdict.is_clean, verdict
