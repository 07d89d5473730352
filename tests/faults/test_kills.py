"""kill -9 of the daemon under load: nothing acknowledged is lost, nothing is twice there or in MLflow."""

from __future__ import annotations

import pytest
from harness.kill_loop import kill_daemon_under_load
from harness.seeds import Seed
from harness.site import Site

pytestmark = pytest.mark.acceptance


def test_a_daemon_killed_again_and_again_under_load_loses_and_doubles_nothing(site: Site, seed: Seed) -> None:
    loop = kill_daemon_under_load(site, seed.chances("kills"), kills=5, per_second=200)
    assert loop.verdict.is_clean, loop.verdict
    assert loop.acknowledged_between, "it was killed before anything was acknowledged, and shows nothing"
