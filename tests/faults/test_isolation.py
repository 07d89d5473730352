"""A daemon that is absent, hangs, is slow or hostile: the workflow works, ends in time, and loses nothing."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing

import pytest
from harness.hostile_daemons import BEHAVIOURS, hostile_daemon, no_grpc
from harness.site import Site

from configurable_agents.client.emitter import EXIT_FLUSH_S, JOIN_S, Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.segments import list_segments
from configurable_agents.client.spool_reader import read_chunks
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.telemetry import NodeFinished, Status

pytestmark = pytest.mark.acceptance

EVENTS = 1_002
"""A start, a thousand nodes, an end."""

UNWINDING_S = 1.0
"""What the interpreter gets to end, on a busy machine."""


def work_beside(site: Site) -> None:
    """Runs a workflow, which must end well, say nothing, drop nothing, and not wait at its end."""
    process = site.launch("short_workflow.py")
    said, errors = process.communicate(timeout=60)
    ended = time.monotonic()
    assert (process.returncode, errors) == (0, "")
    done_at, recorded, dropped = said.split()
    assert (int(recorded), int(dropped)) == (EVENTS, 0)
    assert ended - float(done_at) < EXIT_FLUSH_S + JOIN_S + UNWINDING_S


def test_a_workflow_without_a_daemon_is_in_the_reports_of_the_next_one(site: Site) -> None:
    work_beside(site)
    site.start_daemon()
    site.wait_until_settled()
    assert site.status().events_committed == EVENTS


def test_a_workflow_beside_a_daemon_that_hangs_is_in_its_reports_once_it_goes_on(site: Site) -> None:
    pid = site.start_daemon()
    os.kill(pid, signal.SIGSTOP)
    work_beside(site)
    os.kill(pid, signal.SIGCONT)
    site.wait_until_settled()
    assert site.status().events_committed == EVENTS


NOT_GRPC = {"mute": b"", "HTTP/1": b"HTTP/1.1 400 Bad Request\r\n\r\n", "noise": bytes(range(256)) * 64}

ACKNOWLEDGES = {"slow", "overreaching"}
"""What such a daemon says that it has is its own to keep."""


def test_no_daemon_however_hostile_harms_a_workflow_or_what_it_recorded() -> None:
    """Three at a time, each in a folder of its own: most of the time they wait."""
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(is_harmless, [*BEHAVIOURS, *NOT_GRPC])] == [True] * len([*BEHAVIOURS, *NOT_GRPC])


def is_harmless(behaviour: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="aobs-") as folder, Site(Home.from_environment(folder)) as site:
        with daemon_that_is(behaviour, site.home):
            work_beside(site)
        if behaviour not in ACKNOWLEDGES:
            assert spooled_events(site.home) == EVENTS, behaviour
    return True


def daemon_that_is(behaviour: str, home: Home) -> AbstractContextManager[None]:
    if behaviour in NOT_GRPC:
        return no_grpc(home, NOT_GRPC[behaviour])
    return hostile_daemon(home, behaviour)


def spooled_events(home: Home) -> int:
    segments = [segment for each in list_segments(home.spool).values() for segment in each]
    return sum(chunk.event_count for segment in segments for chunk in read_chunks(segment))


def test_an_acknowledgement_of_what_was_never_sent_costs_no_event_that_comes_later(
    site: Site, node: Callable[..., NodeFinished], eventually: Callable[..., None]
) -> None:
    emitter = Emitter(site.home)
    with hostile_daemon(site.home, "overreaching"):
        emitter.record(node(0))
        eventually(lambda: emitter.acknowledged_events)
    assert emitter.acknowledged_events == 1
    site.home.socket.unlink(missing_ok=True)
    site.start_daemon()
    for index in range(1, 50):
        emitter.record(node(index))
    assert emitter.flush(30)
    with closing(open_for_reading(site.home.ledger)) as connection:
        found = connection.execute("SELECT span_id FROM node_executions WHERE span_id > 1").fetchall()
    assert [span_id for (span_id,) in found] == [*range(2, 51)]
    emitter.close()


@pytest.fixture
def node() -> Callable[..., NodeFinished]:
    def make(index: int) -> NodeFinished:
        return NodeFinished("run", index + 1, 0, "step", 1, time.time_ns(), 1000, Status.OK, "")

    return make
