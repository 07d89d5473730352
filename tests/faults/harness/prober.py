"""A client that asks whether events are taken now."""

from __future__ import annotations

import os
import time

import grpc

from configurable_agents.client.channel import open_channel
from configurable_agents.telemetry import Event, RunFinished, RunStarted, Status
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames
from harness.journal import JournalWriter
from harness.site import Site

ANSWERED_WITHIN_S = 120.0


class Prober:
    """Sends a short run again and again, until it is taken; then the next one."""

    def __init__(self, site: Site) -> None:
        self._home = site.home
        self._producer_id = os.urandom(16)
        self._journal = JournalWriter(site.journals_folder, self._producer_id, kind="protocol")
        self._encode = EventEncoder().encode
        self._taken = 0
        self._events = self._next()

    def _next(self) -> list[Event]:
        run_id, now = f"probe-{self._taken}", time.time_ns()
        events = [RunStarted(run_id, "faults", "probe", now), RunFinished(run_id, now, 1, Status.OK)]
        for event in events:
            self._journal.intend(event)
        return events

    def probe(self) -> str:
        """Why it was refused; empty: it was taken."""
        data = batch_of_frames(self._producer_id, self._taken, b"".join(map(self._encode, self._events)))
        with open_channel(self._home) as channel:
            send = channel.unary_unary("/configurable_agents.wire.v1.TelemetryService/ReportBatch")
            try:
                send(data, timeout=ANSWERED_WITHIN_S)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                return str(error.details())
        self._taken += len(self._events)
        self._journal.acknowledged(self._taken)
        self._events = self._next()
        return ""
