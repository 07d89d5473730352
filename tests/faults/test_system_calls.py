"""Failing system calls under ledger, spool and daemon: what was acknowledged is there, whole."""

from __future__ import annotations

from typing import NamedTuple

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

from configurable_agents.client.home import SPOOL_VARIABLE
from configurable_agents.obsd.ledger.damage import CHECKED
from configurable_agents.obsd.ledger.database import check
from configurable_agents.obsd.receivers.spool import DAMAGED_SUFFIX

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


class SpoolFault(NamedTuple):
    injection: Injection
    dropped: int
    """So many events at least."""
    ending: int = 0


MAPPED_FAULTS = {
    "disk full": SpoolFault(Injection("fallocate", "error=ENOSPC", "2..41"), 20),
    "quota reached at once": SpoolFault(Injection("fallocate", "error=EDQUOT", "1..20"), 10),
    "too long": SpoolFault(Injection("fallocate", "error=EFBIG", "3..42"), 20),
    "cannot reserve": SpoolFault(Injection("fallocate", "error=EOPNOTSUPP", "1+"), 0),
    "cannot map": SpoolFault(Injection("fallocate", "error=ENODEV", "1+"), 0),
    "cannot map for a while": SpoolFault(Injection("fallocate", "error=ENODEV", "2..3"), 0),
    "pages that fail": SpoolFault(Injection("madvise", "error=EFAULT", "4..33"), 0),
    "an older kernel": SpoolFault(Injection("madvise", "error=EINVAL", "1+"), 0),
    "cannot be cut": SpoolFault(Injection("ftruncate", "error=EIO", "1+"), 0),
    "no name": SpoolFault(Injection("rename", "error=ENOSPC", "1..3"), 3),
    "no lock": SpoolFault(Injection("flock", "error=ENOLCK", "1..2"), 2),
    "killed while it reserves": SpoolFault(Injection("fallocate", "signal=KILL", "3"), 0, KILLED),
    "killed at its end": SpoolFault(Injection("ftruncate", "signal=KILL", "1"), 0, KILLED),
}
"""Room is reserved for the first time at the beginning, and then for about every 900 events."""

WRITTEN_FAULTS = {
    "disk full": SpoolFault(Injection("write", "error=ENOSPC", "40..60"), 20),
    "I/O error": SpoolFault(Injection("write", "error=EIO", "40..60"), 20),
    "short": SpoolFault(Injection("write", "retval=9", "40..60"), 20),
    "no room for the head": SpoolFault(Injection("write", "error=ENOSPC", "3..5"), 3),
    "no name": SpoolFault(Injection("rename", "error=ENOSPC", "1..3"), 3),
    "no lock": SpoolFault(Injection("flock", "error=ENOLCK", "1..2"), 2),
    "killed": SpoolFault(Injection("write", "signal=KILL", "77"), 0, KILLED),
}
"""The first two calls of `write` are the program's own, of one line; the third is the head of its segment."""


@pytest.mark.parametrize(
    ("form", "faults", "events"), [("mapped", MAPPED_FAULTS, 2500), ("written", WRITTEN_FAULTS, 150)]
)
def test_what_a_spool_could_not_take_is_dropped_and_counted_and_all_else_arrives(
    site: Site, form: str, faults: dict[str, SpoolFault], events: int
) -> None:
    seen: set[bytes] = set()
    for name, fault in faults.items():
        under = ["env", f"{SPOOL_VARIABLE}={form}", *strace(fault.injection)]
        process = site.launch("workflow.py", name, "--events", events, under=under)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == fault.ending, (name, errors)
        assert "Traceback" not in errors, (name, errors)
        [journal] = [each for each in site.journals() if each.producer_id not in seen]
        seen.add(journal.producer_id)
        assert fault.dropped <= journal.dropped <= 2 * fault.dropped, name
        if not fault.ending:
            assert len(journal.must_arrive()) >= events, name
    site.start_daemon()
    site.wait_until_settled()
    assert not list(site.home.spool.glob(f"*{DAMAGED_SUFFIX}"))
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
