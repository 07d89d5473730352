"""No room: tiny disks and limits on the size of files. What is acknowledged stays, all else is counted."""

from __future__ import annotations

import resource

import pytest
from harness.prober import Prober
from harness.site import WITHOUT_MLFLOW, Site
from harness.tiny_disk import MIB, RESUMES_WITHIN_S, on_tiny_disk, verdict_on_narrow_workflow
from harness.tools import need_own_disks, need_prlimit

pytestmark = pytest.mark.acceptance

REFUSALS = {
    "1MiB": "less than the reserve of 1.0 MiB; make room",
    "1B": "room",
}
"""By the reserve: with next to none SQLite itself finds the disk full, before or after the guard does."""


@pytest.mark.parametrize("reserve", REFUSALS)
def test_a_full_disk_refuses_events_with_a_hint_and_goes_on_by_itself_when_there_is_room(
    reserve: str,
) -> None:
    need_own_disks()
    verdict = on_tiny_disk(
        "ledger", size_bytes=16 * MIB, ballast_bytes=10 * MIB, reserve=reserve, hint=REFUSALS[reserve]
    )
    assert verdict.is_clean, verdict


def test_a_full_disk_under_a_spool_costs_events_that_are_counted_and_no_workflow() -> None:
    need_own_disks()
    verdict = on_tiny_disk("spool", of="spool", size_bytes=16 * MIB, ballast_bytes=9 * MIB)
    assert verdict.is_clean, verdict


def test_a_limit_on_the_files_of_a_workflow_costs_events_that_are_counted_and_no_workflow(
    site: Site,
) -> None:
    need_prlimit()
    process = site.launch("narrow_workflow.py", under=("prlimit", f"--fsize={MIB}:unlimited"))
    said, errors = process.communicate(timeout=60)
    verdict = verdict_on_narrow_workflow(site, said, errors, process.returncode)
    assert verdict.is_clean, verdict


def test_a_limit_on_the_files_of_a_daemon_refuses_events_until_it_is_raised(site: Site) -> None:
    need_prlimit()
    site.settings(f'{WITHOUT_MLFLOW}[disk]\nreserve = "1MiB"\n')
    process = site.start_daemon_under(("prlimit", f"--fsize={3 * MIB}:unlimited"))
    client = site.launch("protocol_client.py", "fills")
    prober = Prober(site)
    site.wait_for(prober.probe, "the limit to be felt")
    assert "less than the reserve of 1.0 MiB; make room" in prober.probe()
    acknowledged = site.verdict_on_acknowledged()
    assert acknowledged.is_clean, acknowledged
    assert acknowledged.looked_at
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    site.wait_for(lambda: not prober.probe(), "events to be taken again", within_s=RESUMES_WITHIN_S)
    site.finish(client)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict


def test_a_daemon_that_cannot_write_beyond_a_limit_stops_and_the_next_one_has_everything(site: Site) -> None:
    """With next to no reserve it is an error of input and output to SQLite: nothing is tried again then."""
    need_prlimit()
    site.settings(f'{WITHOUT_MLFLOW}[disk]\nreserve = "1B"\n')
    process = site.start_daemon_under(("prlimit", f"--fsize={2 * MIB}:unlimited"))
    client = site.launch("protocol_client.py", "fills")
    _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "error: the ledger cannot be used" in errors
    acknowledged = site.verdict_on_acknowledged()
    assert acknowledged.is_clean, acknowledged
    assert acknowledged.looked_at
    site.start_daemon()
    site.finish(client)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict
