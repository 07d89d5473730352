"""Workflows that end badly, fork, or are stopped: everything they recorded arrives once."""

from __future__ import annotations

import os
import signal

import pytest
from harness.endings import end_workflows
from harness.forks import fork_while_recording
from harness.site import Site

pytestmark = pytest.mark.acceptance


def test_however_a_workflow_ends_every_one_of_a_thousand_events_arrives(site: Site) -> None:
    verdict = end_workflows(site, times_each=2)
    assert verdict.is_clean, verdict


@pytest.mark.parametrize(
    ("way", "forks"),
    [("fork", 60), ("nested", 20), ("multiprocessing-fork", 24), ("multiprocessing-spawn", 4)],
)
def test_no_forked_child_dies_or_records_under_the_identity_of_another(
    site: Site, way: str, forks: int
) -> None:
    verdict = fork_while_recording(site, way, forks=forks)
    assert verdict.is_clean, verdict


def test_workers_of_a_prefork_server_record_under_identities_of_their_own(site: Site) -> None:
    site.start_daemon()
    process = site.launch("prefork_server.py", 2, 12)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    workers = int(said.split()[1])
    assert workers >= 2, said
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict
    assert verdict.looked_at == 3 * 13, "three events of each request, and of what was recorded before"
    assert len(site.journals()) >= workers + 1


def test_a_stopped_workflow_is_not_given_up_and_goes_on_where_it_was(site: Site) -> None:
    site.start_daemon()
    process = site.launch("workflow.py", "stopped", "--per-second", 200)
    assert process.stdout is not None
    process.stdout.readline()
    site.wait_for(lambda: site.status().events_committed > 20, "its first events")
    process.send_signal(signal.SIGSTOP)
    site.kill_daemon()
    site.start_daemon()  # it has never heard of this workflow, and finds its spool
    site.wait_for(lambda: site.status().runs_total == 1, "its run")
    process.send_signal(signal.SIGCONT)
    site.finish(process)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict


def test_a_stopped_daemon_costs_nothing_once_it_goes_on(site: Site) -> None:
    pid = site.start_daemon()
    process = site.launch("workflow.py", "beside", "--per-second", 500)
    assert process.stdout is not None
    process.stdout.readline()
    site.wait_for(lambda: site.status().events_committed > 20, "its first events")
    os.kill(pid, signal.SIGSTOP)
    before = sum(len(journal.must_arrive()) for journal in site.journals())
    site.wait_for(
        lambda: sum(len(each.must_arrive()) for each in site.journals()) > before + 100,
        "the workflow to go on recording",
    )
    site.finish(process)
    os.kill(pid, signal.SIGCONT)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict
