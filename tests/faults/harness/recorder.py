"""A recorder that keeps a journal of what passes through it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.process import process_recorder
from configurable_agents.telemetry import Event, NodeStarted
from harness.journal import JournalWriter

LOOK_EVERY_S = 0.01


class JournalingRecorder:
    """The recorder of this process, with a journal of what went in and what was acknowledged.

    One event at a time, so that the journal's order is the order of recording. A forked child begins a
    journal of its own, as its recorder begins an identity of its own.
    """

    def __init__(self, home: Home, journals: Path) -> None:
        self._home = home
        self._journals = journals
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        threading.Thread(target=self._note_acknowledgements, daemon=True).start()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._acknowledged = 0
        self._pid = os.getpid()
        emitter = self.emitter
        self._writer = JournalWriter(self._journals, emitter.producer_id, kind="recorder")

    @property
    def emitter(self) -> Emitter:
        return process_recorder(self._home)

    def record(self, event: Event) -> None:
        if type(event) is NodeStarted:  # news for live views, kept nowhere
            self.emitter.record(event)
            return
        with self._lock:
            emitter = self.emitter
            dropped = emitter.dropped_events
            number = self._writer.intend(event)
            emitter.record(event)
            if emitter.dropped_events == dropped:
                self._writer.recorded(number)
            else:
                self._writer.dropped(number)

    def _note_acknowledgements(self) -> None:
        while True:
            acknowledged = self.emitter.acknowledged_events
            with self._lock:
                if acknowledged > self._acknowledged:
                    self._acknowledged = acknowledged
                    self._writer.acknowledged(acknowledged)
            time.sleep(LOOK_EVERY_S)
