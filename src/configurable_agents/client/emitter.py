"""The recorder of a process: spool first, then send.

`record` encodes and appends to the spool; nothing else happens on the caller's thread. A background
thread follows the spool file and sends what it finds there, so there is no second queue to bound,
to lose or to get out of step: the spool is the queue.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from configurable_agents.client.follower import SpoolFollower
from configurable_agents.client.home import Home, ensure_private_folder
from configurable_agents.client.spool import Extent, Spool
from configurable_agents.telemetry import Event, NodeStarted
from configurable_agents.wire.encode import EventEncoder
from configurable_agents.wire.frames import batch_of_frames

if TYPE_CHECKING:
    import grpc

_log = logging.getLogger(__name__)

LINGER_S = 0.1
LINGER_MAX_S = 0.5
"""How long the sender collects events before it looks at the spool again; a flush does not wait for it.
Twice as long after each look that found some, up to the maximum: each look and its batch take the interpreter
from the nodes half a dozen times."""

IDLE_LOOKS_MAX = 5
"""After this many looks that found nothing the sender sleeps until it is woken."""

ANNOUNCE_AFTER_NS = 200_000_000
"""A node that has run this long is reported as started, so that live views can show it."""

ANNOUNCE_EVERY_S = 0.25
"""How often a sleeping sender looks for such nodes while a run is open."""

BATCHES_IN_FLIGHT_MAX = 16
"""Batches sent and not acknowledged. At the bound the sender waits; events stay in the spool."""

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0

EXIT_FLUSH_S = 2.0
"""What a process waits at most, at its end, for the daemon to acknowledge."""

JOIN_S = 0.2
"""What it then waits for its own sender to notice."""


class LongRunningNodes(Protocol):
    """An open run, asked by the sender's thread which of its nodes are worth announcing."""

    def unannounced_nodes(self, older_than_ns: int) -> list[NodeStarted]: ...


class Emitter:
    """Records into the spool of this process and sends it to the daemon. Implements `Recorder`.

    Thread-safe. `record` never raises and never waits for the daemon; an event that cannot be
    recorded (disk full, value unfit for the wire) is counted in `dropped_events` and warned of once.
    After a fork the child's emitter has an identity and a spool of its own and never sends: the
    daemon takes that spool in.
    """

    def __init__(self, home: Home) -> None:
        """Creates the spool folder. Raises `ConfigurationError` when it cannot be used."""
        self._home = home
        ensure_private_folder(home.folder)
        ensure_private_folder(home.spool)
        self.dropped_events = 0
        self._begin_identity()
        self._sends = True

    def _begin_identity(self) -> None:
        self._spool = Spool(self._home.spool, secrets.token_bytes(16), is_mapped=self._home.spool_is_mapped)
        self._encode = EventEncoder().encode
        self._append_frame = self._spool.append
        self._lock = threading.RLock()
        self._scopes: set[LongRunningNodes] = set()
        self._recording = False
        self._postponed: deque[Event] = deque()
        self._session = _Session(0)
        self._retry = threading.Event()
        self._progress = threading.Condition()
        self._acknowledged_sequence = 0
        self._refused_events = 0
        self._unreachable = False
        self._closing = False
        self._call: grpc.Call | None = None
        self._sender: threading.Thread | None = None

    # -- recording -----------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Returns once the event is in the kernel; it then survives the end of this process."""
        with self._lock:
            if self._recording:  # a signal handler records while its own thread is inside `record`
                self._postponed.append(event)
                return
            self._recording = True
            try:
                try:  # as in `_append`: a call would cost every event 0.1 µs
                    self._append_frame(self._encode(event))
                except Exception as error:  # noqa: BLE001 - as there
                    self._drop(event, error)
                while self._postponed:
                    self._append(self._postponed.popleft())
            finally:
                self._recording = False
        if self._session.asleep:
            self._session.rouse()
        elif self._sender is None and self._sends:
            self._start_sender()

    def _append(self, event: Event) -> None:
        try:
            self._append_frame(self._encode(event))
        except Exception as error:  # noqa: BLE001 - whatever a value does when it is read, the workflow goes on
            self._drop(event, error)

    def _drop(self, event: Event, error: Exception) -> None:
        self.dropped_events += 1
        if self.dropped_events == 1:
            _log.warning(
                "an event (%s) was not recorded: %s; more are only counted", type(event).__name__, error
            )

    # -- what a run tells its recorder ---------------------------------------------------------

    def attach(self, scope: LongRunningNodes) -> None:
        """A run has begun: its long-running nodes are announced while they run."""
        with self._lock:
            self._scopes.add(scope)

    def detach(self, scope: LongRunningNodes) -> None:
        with self._lock:
            self._scopes.discard(scope)

    # -- state ---------------------------------------------------------------------------------

    @property
    def producer_id(self) -> bytes:
        return self._spool.producer_id

    @property
    def recorded_events(self) -> int:
        with self._lock:
            return self._spool.next_sequence

    @property
    def acknowledged_events(self) -> int:
        """Events the daemon has made durable or refused for good."""
        return self._acknowledged_sequence

    @property
    def refused_events(self) -> int:
        return self._refused_events

    def flush(self, timeout_s: float) -> bool:
        """Waits until all recorded events are acknowledged. False when that took too long."""
        return self._wait_for_acknowledgement(timeout_s, only_if_reachable=False)

    def close(self, timeout_s: float = EXIT_FLUSH_S) -> None:
        """Flushes for at most `timeout_s` (not at all when no daemon answers), then lets go of the spool.

        What was not acknowledged stays on disk for the daemon. Events recorded after this are spooled
        too, and left to the daemon to take in.
        """
        deadline = time.monotonic() + timeout_s
        if self._sender is not None:
            flushed = self._wait_for_acknowledgement(timeout_s, only_if_reachable=True)
            self._closing = True
            self._retry.set()
            self._session.rouse()
            call = self._call
            if call is not None and not flushed:
                call.cancel()  # type: ignore[no-untyped-call]
            self._sender.join(max(0.0, deadline - time.monotonic()) + JOIN_S)
        with self._lock:
            self._sends = False
            self._closing = True
            self._spool.close(acknowledged_sequence=self._acknowledged_sequence)

    def _wait_for_acknowledgement(self, timeout_s: float, *, only_if_reachable: bool) -> bool:
        deadline = time.monotonic() + timeout_s
        target = self.recorded_events
        self._session.rouse()
        with self._progress:
            while self._acknowledged_sequence < target:
                remaining_s = deadline - time.monotonic()
                given_up = not self._sends or (only_if_reachable and self._is_unreachable())
                if remaining_s <= 0 or given_up:
                    return False
                self._progress.wait(remaining_s)
        return True

    def _is_unreachable(self) -> bool:
        return self._unreachable or not self._home.may_be_served

    def begin_anew_in_child(self) -> None:
        """In a forked child: an identity and a spool of its own, and no sending (see `Emitter`)."""
        self._spool.abandon_in_child()
        # Kept, because the end of a call object is a conversation with threads that are not here.
        self._of_parent = (self._call, self._sender)
        self._begin_identity()
        self._sends = False

    def hold_for_fork(self) -> None:
        """Before a fork: nobody is in the middle of an append or of a new segment."""
        self._lock.acquire()

    def go_on_after_fork(self) -> None:
        """In the parent."""
        self._lock.release()

    # -- sending (all below runs in the sender's thread, or in gRPC's) -----------------------------

    def _start_sender(self) -> None:
        with self._lock:
            if self._sender is None and not self._closing:
                sender = threading.Thread(target=self._send_for_ever, name="agents-obs-sender", daemon=True)
                try:
                    sender.start()
                except RuntimeError as error:  # no more threads, or the interpreter is ending
                    self._sends = False
                    _log.debug("this process only spools: %s", error)
                else:
                    self._sender = sender

    def _send_for_ever(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._closing:
            began_at = self._acknowledged_sequence
            if self._home.may_be_served:
                self._send_until_disconnected()
            if self._acknowledged_sequence > began_at:
                backoff_s = BACKOFF_FIRST_S
            if not self._closing:
                self._retry.wait(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _send_until_disconnected(self) -> None:
        from configurable_agents.client.channel import RpcError, open_channel, report_stream  # noqa: PLC0415

        self._session = session = _Session(self._acknowledged_sequence)
        with open_channel(self._home) as channel:
            try:
                self._call = call = report_stream(channel, self._batches(session))
                if not call.add_callback(session.answer_due):
                    session.answer_due()
                while True:
                    session.wait_for_answer()
                    ack = next(call, None)
                    if ack is None:
                        break
                    self._unreachable = False
                    session.acknowledged()
                    self._acknowledge(ack.next_sequence, [refusal.sequence for refusal in ack.refusals])
            except RpcError as error:
                _log.debug("the stream to the daemon ended: %s", error)
                self._note_unreachable()
            finally:
                self._call = None
                session.end()

    def _note_unreachable(self) -> None:
        with self._progress:
            self._unreachable = True
            self._progress.notify_all()

    def _acknowledge(self, next_sequence: int, refused: Sequence[int]) -> None:
        # What was sent twice may be refused twice.
        self._refused_events += sum(sequence >= self._acknowledged_sequence for sequence in refused)
        next_sequence = min(next_sequence, self.recorded_events)  # what is not recorded yet is yet to be sent
        if next_sequence <= self._acknowledged_sequence:
            return
        with self._lock:
            self._spool.release(next_sequence)
        with self._progress:
            self._acknowledged_sequence = next_sequence
            self._progress.notify_all()

    def _batches(self, session: _Session) -> Iterator[bytes]:
        """Encoded batches as the spool grows, until the session ends or all is sent at closing."""
        follower = SpoolFollower(self._extent, session.first_sequence)
        idle_looks, linger_s = 0, LINGER_S
        while not session.ended:
            self._announce_long_running_nodes()
            closing = self._closing
            chunk = follower.next_chunk()
            if chunk is not None:
                idle_looks = 0
                session.wait_for_room()
                session.answer_due()
                yield batch_of_frames(self.producer_id, chunk.first_sequence, chunk.frames)
                if not (follower.is_behind or closing):  # a look now would find a last millisecond's events
                    linger_s = min(2 * linger_s, LINGER_MAX_S)
                    session.sleep(linger_s)
            elif closing:
                return
            else:
                idle_looks, linger_s = idle_looks + 1, LINGER_S
                self._rest(session, idle_looks, follower)

    def _extent(self) -> Extent:
        with self._lock:
            return self._spool.extent()

    def _rest(self, session: _Session, idle_looks: int, follower: SpoolFollower) -> None:
        if idle_looks < IDLE_LOOKS_MAX:
            session.sleep(LINGER_S)
            return
        session.asleep = True  # before the look that decides: a recorder that misses it would not wake us
        if follower.sequence >= self.recorded_events and not (self._closing or session.ended):
            session.sleep(ANNOUNCE_EVERY_S if self._scopes else None)
        session.asleep = False

    def _announce_long_running_nodes(self) -> None:
        if not self._scopes:
            return
        with self._lock:
            scopes = list(self._scopes)
        for scope in scopes:
            for event in scope.unannounced_nodes(ANNOUNCE_AFTER_NS):
                self.record(event)


class _Session:
    """One connection: which batches are on their way, whether it still stands, whether its sender sleeps."""

    def __init__(self, first_sequence: int) -> None:
        self.first_sequence = first_sequence
        self._room = threading.Semaphore(BATCHES_IN_FLIGHT_MAX)
        self._answers_due = threading.Semaphore(0)
        self._wake = threading.Event()
        self.asleep = False
        self.ended = False

    def sleep(self, timeout_s: float | None) -> None:
        self._wake.wait(timeout_s)
        self._wake.clear()

    def rouse(self) -> None:
        self.asleep = False
        self._wake.set()

    def answer_due(self) -> None:
        """A batch is on its way, or the call has ended."""
        self._answers_due.release()

    def wait_for_answer(self) -> None:
        """Until one is due: waiting for it, gRPC would wake up ten times a second."""
        self._answers_due.acquire()

    def wait_for_room(self) -> None:
        self._room.acquire()

    def acknowledged(self) -> None:
        self._room.release()

    def end(self) -> None:
        self.ended = True
        self._room.release()
        self.rouse()
