"""Failing system calls under ledger, spool and daemon: what was acknowledged is there, whole."""

from __future__ import annotations

import pytest
from harness.seeds import Seed
from harness.site import Site
from harness.system_calls import (
    FAIL_STOP,
    KILLED,
    LEDGER_CALLS,
    Injection,
    commit_under,
    ledger_files,
    strace,
    verdict_after_restart,
)
from harness.tools import need_strace

from configurable_agents.obsd.ledger.damage import CHECKED
from configurable_agents.obsd.ledger.database import check

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def _strace() -> None:
    need_strace()


def assert_clean_after_restart(site: Site) -> None:
    verdict = verdict_after_restart(site)
    assert verdict.is_clean, verdict


WHILE_COMMITTING = (180, 300)
"""These of the calls of `pwrite64` come after the ledger was made and before it is closed."""

FAILING_UP_TO = {"fdatasync": 22, "pwrite64": 300}
"""Later calls belong to the closing of the ledger, when everything is durable already."""


@pytest.mark.parametrize("call", FAILING_UP_TO)
def test_an_input_output_error_stops_the_ledger_at_once_and_for_good(
    site: Site, seed: Seed, call: str
) -> None:
    number = seed.chances(call).randint(1, FAILING_UP_TO[call])
    outcome = commit_under(site, Injection(call, "error=EIO", f"{number}+"))
    assert outcome.exit_code == FAIL_STOP, outcome
    assert "Traceback" not in outcome.errors
    assert_clean_after_restart(site)


def test_a_disk_that_is_full_for_a_while_refuses_commits_and_takes_them_again(site: Site, seed: Seed) -> None:
    first = seed.chances("full").randint(*WHILE_COMMITTING)
    outcome = commit_under(site, Injection("pwrite64", "error=ENOSPC", f"{first}..{first + 5}"))
    assert outcome.exit_code == 0, outcome
    assert int(outcome.said) > 0, "nothing was refused, so nothing was tested"
    assert_clean_after_restart(site)


@pytest.mark.parametrize("call", LEDGER_CALLS)
def test_a_kill_at_any_call_on_the_ledger_leaves_all_that_was_acknowledged(
    site: Site, seed: Seed, call: str
) -> None:
    number = seed.chances(f"kill at {call}").randint(1, LEDGER_CALLS[call])
    outcome = commit_under(site, Injection(call, "signal=KILL", str(number)))
    assert outcome.exit_code == KILLED, outcome
    assert_clean_after_restart(site)


@pytest.mark.parametrize("number", range(1, 11))
def test_a_kill_while_a_ledger_is_made_leaves_a_whole_one_or_none(site: Site, number: int) -> None:
    """In the middle of the change to its write-ahead mode it could only be opened by a writer."""
    outcome = commit_under(site, Injection("fdatasync", "signal=KILL", str(number)))
    assert outcome.exit_code == KILLED, outcome
    assert check(site.home.ledger) in ("", CHECKED)
    assert_clean_after_restart(site)


SPOOL_FAULTS = {
    "disk full": Injection("write", "error=ENOSPC", "40..60"),
    "I/O error": Injection("write", "error=EIO", "40..60"),
    "short": Injection("write", "retval=9", "40..60"),
    "no room for the head": Injection("write", "error=ENOSPC", "3..5"),
    "no name": Injection("rename", "error=ENOSPC", "1..3"),
    "no lock": Injection("flock", "error=ENOLCK", "1..2"),
    "killed": Injection("write", "signal=KILL", "77"),
}
"""The first two calls of `write` are the program's own, of one line; the third is the head of its segment."""


def test_what_a_spool_could_not_take_is_dropped_and_counted_and_all_else_arrives(site: Site) -> None:
    for name, injection in SPOOL_FAULTS.items():
        process = site.launch("workflow.py", name, "--events", 150, under=strace(injection))
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (KILLED if name == "killed" else 0), (name, errors)
        assert "Traceback" not in errors, (name, errors)
    lacking = {journal.dropped for journal in site.journals()}
    assert len(lacking) > 1, "no call failed, so nothing was tested"
    assert sum(journal.dropped for journal in site.journals()) >= 3 * 20
    site.start_daemon()
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict


def test_a_daemon_whose_disk_fails_stops_and_the_next_one_has_everything(site: Site) -> None:
    ended = site.start_daemon_under(strace(Injection("fdatasync", "error=EIO", "30+"), ledger_files(site)))
    client = site.launch("protocol_client.py", "client", "--per-second", 2000)
    said, errors = ended.communicate(timeout=60)
    assert ended.returncode not in (0, None), said
    [line] = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "the ledger cannot be used" in line
    acknowledged = site.verdict_on_acknowledged()
    assert acknowledged.is_clean, acknowledged
    assert acknowledged.looked_at
    site.start_daemon()
    site.finish(client)
    site.wait_until_settled()
    verdict = site.verdict()
    assert verdict.is_clean, verdict


def test_a_daemon_whose_disk_is_full_for_a_while_goes_on_by_itself(site: Site) -> None:
    full = Injection("pwrite64", "error=ENOSPC", "280..330")
    process = site.start_daemon_under(strace(full, ledger_files(site)))
    client = site.launch("protocol_client.py", "client", "--per-second", 2000)
    workflow = site.launch("workflow.py", "workflow", "--events", 2000)
    site.finish(workflow)
    site.finish(client)
    site.wait_until_settled()
    assert process.poll() is None, "it ended, and should have gone on"
    verdict = site.verdict()
    assert verdict.is_clean, verdict
