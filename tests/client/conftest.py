"""What tests of the client share: events to record, children to record them, and waiting without sleeping."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.segments import list_segments
from configurable_agents.client.spool_reader import read_chunks
from configurable_agents.telemetry import NodeFinished, Status
from configurable_agents.wire.batches import decode_batch
from configurable_agents.wire.frames import batch_of_frames

STARTED_UNIX_NS = 1_795_336_467_000_000_000

_PRELUDE = """
import os, signal, sys, threading, time
from configurable_agents.client.home import Home
from configurable_agents.client.process import process_recorder
from configurable_agents.telemetry import NodeFinished, Status

def node(index, run_id="run"):
    started = 1_795_336_467_000_000_000 + index
    return NodeFinished(run_id, index + 1, 0, f"node-{index}", 1, started, 1000, Status.OK, "")

home = Home.from_environment(sys.argv[1])
"""


@pytest.fixture(autouse=True)
def no_sender_left() -> Iterator[None]:
    """An emitter that a test forgets to close would go on looking for its daemon during others.

    Tests elsewhere that observe a run in this process leave the process's own, until it ends.
    """
    before = senders()
    yield
    assert senders() - before == set()


def senders() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "agents-obs-sender"}


@pytest.fixture
def node() -> Callable[..., NodeFinished]:
    """`node(7)`: the eighth of many different events."""

    def make(index: int, *, run_id: str = "run") -> NodeFinished:
        started = STARTED_UNIX_NS + index
        return NodeFinished(run_id, index + 1, 0, f"node-{index}", 1, started, 1000, Status.OK, "")

    return make


NO_WARNING_OF_FORKS = ("-W", "ignore:This process:DeprecationWarning")
"""Python 3.12 and newer warn of any fork beside a thread; what is tested is that ours go well."""


@pytest.fixture
def child(home: Home) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a process of its own. It finds `home`, `node`, `process_recorder` there."""

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *NO_WARNING_OF_FORKS, "-c", _PRELUDE + code, str(home.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def spooled(home: Home) -> Callable[[], list[str]]:
    """The node ids of all events in the spool folder, producer by producer, in the order recorded."""
    return lambda: spooled_node_ids(home.spool)


def spooled_node_ids(folder: Path) -> list[str]:
    found = []
    for segments in list_segments(folder).values():
        for segment in segments:
            for chunk in read_chunks(segment):
                batch = batch_of_frames(segment.producer_id, chunk.first_sequence, chunk.frames)
                found.extend(getattr(event, "node_id", "") for event in decode_batch(batch).events)
    return found


@pytest.fixture
def committed(home: Home) -> Callable[[], dict[str, int]]:
    """How often each node ran, as the daemon reports it."""

    def ask() -> dict[str, int]:
        with ReportClient(home) as client:
            return {each.node_id: each.calls for each in client.profile_report(Scope()).nodes}

    return ask
