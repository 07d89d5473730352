"""Workflows that end as they should not, right after the last event of a tight loop."""

from __future__ import annotations

from harness.oracle import Verdict
from harness.site import Site

ENDINGS = ("sigterm", "_exit", "sigkill", "segfault")
EVENTS = 1_000
AT_A_TIME = 4


def end_workflows(site: Site, *, times_each: int) -> Verdict:
    """Each recorded `EVENTS` events or a few more, and ends in each of the `ENDINGS` so many times."""
    site.start_daemon()
    waiting = [(ending, number) for number in range(times_each) for ending in ENDINGS]
    while waiting:
        running = [
            site.launch("workflow.py", f"{ending}-{number}", "--events", EVENTS, "--ending", ending)
            for ending, number in waiting[:AT_A_TIME]
        ]
        for process in running:
            _, said = process.communicate(timeout=60)
            assert process.returncode != 0, "it was to end badly"
            assert "Traceback" not in said, said
        del waiting[:AT_A_TIME]
    site.wait_until_settled()
    for journal in site.journals():
        recorded = len(journal.must_arrive())
        assert recorded >= EVENTS, f"a workflow ended after {recorded} of {EVENTS} events"
    return site.verdict()
