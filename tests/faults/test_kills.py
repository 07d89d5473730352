"""kill -9 of daemon and export worker: nothing acknowledged is lost, nothing is twice there or in MLflow."""

from __future__ import annotations

import pytest
from harness.export_kills import BETWEEN_CREATE_AND_RECORD, kill_workers
from harness.kill_loop import kill_daemon_under_load
from harness.seeds import Seed
from harness.site import Site

pytestmark = pytest.mark.acceptance


def test_a_daemon_killed_again_and_again_under_load_loses_and_doubles_nothing(site: Site, seed: Seed) -> None:
    loop = kill_daemon_under_load(site, seed.chances("kills"), kills=3, per_second=100)
    assert loop.verdict.is_clean, loop.verdict
    assert loop.acknowledged_between, "it was killed before anything was acknowledged, and shows nothing"


@pytest.mark.parametrize(("point", "kills"), [(BETWEEN_CREATE_AND_RECORD, 3), ("", 3)])
def test_killed_export_workers_leave_no_orphan_no_twin_and_no_gap(
    site: Site, seed: Seed, point: str, kills: int
) -> None:
    killed, verdict = kill_workers(site, seed.chances("workers"), kills=kills, point=point)
    assert verdict.is_clean, verdict
    assert killed >= kills / 2, "they were to be killed"
