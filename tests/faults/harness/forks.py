"""Forks while recording: in every way that Python programs fork."""

from __future__ import annotations

from collections import Counter

from harness.oracle import Verdict
from harness.site import Site


def fork_while_recording(site: Site, way: str, *, forks: int) -> Verdict:
    """`way`: one of programs/forks.py. Every child must end well and record under an identity of its own."""
    site.start_daemon()
    process = site.launch("forks.py", way, forks)
    said = site.finish(process)
    assert said.splitlines()[-1] == f"children {forks} dead 0", said
    site.wait_until_settled()
    verdict = site.verdict()
    producers = Counter(journal.producer_id for journal in site.journals())
    for producer_id, times in producers.items():
        if times > 1:
            verdict.find("duplicated", f"producer {producer_id.hex()}")
    silent = [journal for journal in site.journals() if not journal.must_arrive()]
    assert len(producers) - len(silent) >= forks, f"only {len(producers) - len(silent)} identities recorded"
    return verdict
