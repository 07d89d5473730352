"""The emitter: a workflow records, whatever becomes of the daemon, the disk, the values or the process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from configurable_agents.client.control import find_daemon, start_daemon, stop_daemon
from configurable_agents.client.emitter import (
    EXIT_FLUSH_S,
    JOIN_S,
    LINGER_MAX_S,
    LINGER_S,
    Emitter,
    _Session,
)
from configurable_agents.client.home import Home
from configurable_agents.client.process import close_process_recorders, process_recorder
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.segments import list_segments
from configurable_agents.errors import ConfigurationError
from configurable_agents.telemetry import (
    Graph,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)

Child = Callable[..., subprocess.CompletedProcess[str]]
MakeNode = Callable[..., NodeFinished]
EXIT_WITHIN_S = EXIT_FLUSH_S + JOIN_S + 1.0


class Unreadable:
    """A value that raises whatever is asked of it."""

    def __iter__(self) -> object:
        raise RuntimeError("no")

    __index__ = __len__ = __str__ = __iter__


# -- values ------------------------------------------------------------------------------------------------


UNFIT = [
    ("lone surrogate", {"node_id": "\ud800"}),
    ("number for a name", {"node_id": 7}),
    ("None for a name", {"node_id": None}),
    ("huge int", {"duration_ns": 2**80}),
    ("beyond int64", {"started_unix_ns": 2**63}),
    ("negative span", {"span_id": -1}),
    ("float for an int", {"duration_ns": 1.5}),
    ("NaN", {"duration_ns": float("nan")}),
    ("text for a status", {"status": "ok"}),
    ("an object of no use", {"run_id": Unreadable()}),
    ("bytes that are no UTF-8", {"node_id": b"\xff"}),
    ("too long", {"node_id": "x" * 70_000}),
]


@pytest.mark.parametrize("changes", [changes for _, changes in UNFIT], ids=[name for name, _ in UNFIT])
def test_a_value_unfit_for_the_wire_is_dropped_and_counted_and_the_next_is_kept(
    home: Home, node: MakeNode, spooled: Callable[[], list[str]], changes: dict[str, object]
) -> None:
    emitter = Emitter(home)
    emitter.record(node(0)._replace(**changes))  # type: ignore[arg-type]
    emitter.record(node(1))
    emitter.close()
    assert emitter.dropped_events == 1
    assert spooled() == ["node-1"]


@pytest.mark.parametrize(
    "event",
    [
        "no event at all",
        None,
        RunStarted("run", "e", "w", 1, tags=(("only a key",),)),  # type: ignore[arg-type]
        RunStarted("run", "e", "w", 1, tags=Unreadable()),  # type: ignore[arg-type]
        RunStarted("run", "e", "w", 1, graph=Graph(edges=(("a", "b", "c"),))),  # type: ignore[arg-type]
        LlmCall("run", "c", 0, "n", "p", "m", Usage(input_tokens=2**70), 1, 1),
        LlmCall("run", "c", 0, "n", "p", "m", {"input": 1}, 1, 1),  # type: ignore[arg-type]
        RunFinished("run", 1, "long", Status.OK),  # type: ignore[arg-type]
    ],
    ids=lambda event: type(event).__name__,
)
def test_recording_never_raises(home: Home, event: object) -> None:
    emitter = Emitter(home)
    emitter.record(event)  # type: ignore[arg-type]
    emitter.close()
    assert (emitter.dropped_events, emitter.recorded_events) == (1, 0)


def test_an_event_dropped_is_warned_of_once(
    home: Home, node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = Emitter(home)
    for _ in range(5):
        emitter.record(node(0)._replace(node_id="\ud800"))
    emitter.close()
    assert emitter.dropped_events == 5
    assert len(caplog.records) == 1


def test_a_spool_folder_that_vanished_drops_and_counts(home: Home, node: MakeNode) -> None:
    emitter = Emitter(home)
    shutil.rmtree(home.spool)
    emitter.record(node(0))
    assert emitter.dropped_events == 1
    home.spool.mkdir(mode=0o700)
    emitter.record(node(1))
    emitter.close()
    assert (emitter.dropped_events, emitter.recorded_events) == (1, 1)


def test_a_file_for_a_state_folder_is_a_clear_error(home: Home) -> None:
    occupied = Home.from_environment(home.folder / "file")
    occupied.folder.write_text("")
    with pytest.raises(ConfigurationError, match="cannot use"):
        Emitter(occupied)


# -- with and without a daemon -----------------------------------------------------------------------------


def test_without_a_daemon_everything_stays_in_the_spool_and_close_returns_at_once(
    home: Home, node: MakeNode, spooled: Callable[[], list[str]]
) -> None:
    emitter = Emitter(home)
    for index in range(100):
        emitter.record(node(index))
    before = time.monotonic()
    emitter.close()
    assert time.monotonic() - before < EXIT_FLUSH_S
    assert spooled() == [f"node-{index}" for index in range(100)]


def test_with_a_daemon_everything_is_acknowledged_and_the_spool_is_gone(
    daemon: object, home: Home, node: MakeNode, committed: Callable[[], dict[str, int]]
) -> None:
    emitter = Emitter(home)
    for index in range(5000):
        emitter.record(node(index))
    assert emitter.flush(20)
    assert emitter.acknowledged_events == 5000
    emitter.close()
    assert list_segments(home.spool) == {}
    assert committed() == {f"node-{index}": 1 for index in range(5000)}


def test_what_is_recorded_after_closing_is_left_to_the_daemon(
    home: Home, node: MakeNode, daemon: object, eventually: Callable[..., None], committed: Callable[[], dict]
) -> None:
    emitter = Emitter(home)
    emitter.record(node(0))
    emitter.close()
    emitter.record(node(1))
    emitter.close()
    eventually(lambda: committed() == {"node-0": 1, "node-1": 1})


def test_a_daemon_started_later_gets_everything_from_a_workflow_that_still_runs(
    home: Home, node: MakeNode, start: Callable[..., object], committed: Callable[[], dict[str, int]]
) -> None:
    emitter = Emitter(home)
    for index in range(100):
        emitter.record(node(index))
    start()
    emitter.record(node(100))
    assert emitter.flush(20)
    assert committed() == {f"node-{index}": 1 for index in range(101)}
    emitter.close()


def test_a_daemon_started_later_takes_in_the_spool_of_a_workflow_that_ended(
    child: Child,
    home: Home,
    start: Callable[..., object],
    eventually: Callable[..., None],
    committed: Callable[[], dict[str, int]],
) -> None:
    child("for index in range(100): process_recorder(home).record(node(index))")
    start()
    eventually(lambda: len(committed()) == 100)
    eventually(lambda: list_segments(home.spool) == {})
    assert set(committed().values()) == {1}


def test_a_hung_daemon_costs_a_workflow_two_seconds_at_its_end_and_no_event(
    home: Home, node: MakeNode, start: Callable[..., object], committed: Callable[[], dict[str, int]]
) -> None:
    daemon = start()
    emitter = Emitter(home)
    emitter.record(node(0))
    assert emitter.flush(20)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for index in range(1, 3000):
            emitter.record(node(index))
        before = time.monotonic()
        emitter.close()
        assert time.monotonic() - before < EXIT_WITHIN_S
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while len(committed()) < 3000 and time.monotonic() < deadline:
        pass
    assert committed() == {f"node-{index}": 1 for index in range(3000)}


def test_a_daemon_killed_and_started_again_has_everything_once(
    home: Home, node: MakeNode, start: Callable[..., object], committed: Callable[[], dict[str, int]]
) -> None:
    emitter, killed = Emitter(home), 0
    daemon = start()
    for index in range(9000):
        emitter.record(node(index))
        if index % 3000 == 1500 and emitter.acknowledged_events < index:
            os.kill(daemon.pid, signal.SIGKILL)
            killed += 1
            wait_until_gone(home)
            start_daemon(home)
            daemon = find_daemon(home)
    assert killed
    assert emitter.flush(30)
    emitter.close()
    assert committed() == {f"node-{index}": 1 for index in range(9000)}
    assert emitter.dropped_events == 0


def wait_until_gone(home: Home) -> None:
    while find_daemon(home) is not None:
        pass


def test_an_emitter_that_has_fallen_asleep_is_woken_by_the_next_event(
    daemon: object, home: Home, node: MakeNode, eventually: Callable[..., None]
) -> None:
    emitter = Emitter(home)
    for index in range(3):
        emitter.record(node(index))
        eventually(lambda: emitter._session.asleep)
        assert emitter.acknowledged_events == index + 1
    emitter.close()


def test_refused_events_are_acknowledged_and_counted(daemon: object, home: Home, node: MakeNode) -> None:
    emitter = Emitter(home)
    emitter.record(node(0)._replace(node_id="new\nline"))
    emitter.record(node(1))
    assert emitter.flush(20)
    assert (emitter.refused_events, emitter.dropped_events) == (1, 0)
    emitter.close()
    with ReportClient(home) as client:
        assert client.status().events_refused == {"unprintable_name": 1}


# -- threads, signals, forks -------------------------------------------------------------------------------


def test_eight_threads_record_two_thousand_events_each(
    daemon: object, home: Home, node: MakeNode, committed: Callable[[], dict[str, int]]
) -> None:
    emitter = Emitter(home)

    def record(number: int) -> None:
        for index in range(2000):
            emitter.record(
                node(index)._replace(node_id=f"of thread {number}", span_id=1 + index * 8 + number)
            )

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert emitter.flush(30)
    emitter.close()
    assert committed() == {f"of thread {number}": 2000 for number in range(8)}


def test_a_signal_handler_may_record_while_its_thread_is_recording(
    child: Child, spooled: Callable[[], list[str]]
) -> None:
    ran = child(
        "recorder, handled = process_recorder(home), 0\n"
        "def handler(*_):\n"
        "    global handled\n"
        "    recorder.record(node(0, 'from the handler')); handled += 1\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)\n"
        "index = 0\n"
        "while handled < 500:\n"
        "    index += 1\n"
        "    recorder.record(node(index))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "recorder.record(node(0))\n"
        "print(index, handled, recorder.dropped_events)\n"
        "os._exit(0)\n"
    )
    index, handled, dropped = map(int, ran.stdout.split())
    assert dropped == 0
    assert [each for each in spooled() if each != "node-0"] == [
        f"node-{each}" for each in range(1, index + 1)
    ]
    assert spooled().count("node-0") == handled + 1


def test_a_forked_child_records_under_an_identity_of_its_own(home: Home, node: MakeNode) -> None:
    recorder = process_recorder(home)
    try:
        recorder.record(node(0))
        parents = recorder.producer_id
        pid = os.fork()
        if pid == 0:
            recorder.record(node(1))
            os._exit(int(process_recorder(home).producer_id == parents or recorder.flush(0)))
        assert os.waitpid(pid, 0)[1] == 0
        recorder.record(node(2))
        assert recorder.producer_id == parents
        found = list_segments(home.spool)
        assert len(found) == 2
    finally:
        close_process_recorders()


def test_forks_while_recording_lose_nothing_and_kill_no_child(
    daemon: object,
    home: Home,
    child: Child,
    eventually: Callable[..., None],
    committed: Callable[[], dict[str, int]],
) -> None:
    """Fifty children of a process with gRPC at work and two other threads recording."""
    ran = child(
        "recorder = process_recorder(home)\n"
        "recorder.record(node(0)); assert recorder.flush(20)\n"
        "stop = False\n"
        "counts = [0, 0]\n"
        "def work(number):\n"
        "    while not stop:\n"
        "        recorder.record(node(0)._replace(node_id=f'thread-{number}'))\n"
        "        counts[number] += 1\n"
        "threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]\n"
        "for each in threads: each.start()\n"
        "bad = 0\n"
        "for number in range(50):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        for index in range(10): recorder.record(node(index)._replace(node_id='child'))\n"
        "        os._exit(0)\n"
        "    bad += os.waitpid(pid, 0)[1] != 0\n"
        "stop = True\n"
        "for each in threads: each.join()\n"
        "flushed = recorder.flush(30)\n"
        "print(bad, flushed, *counts)\n"
    )
    assert ran.returncode == 0, ran.stderr
    bad, flushed, *counts = ran.stdout.split()
    assert (bad, flushed) == ("0", "True")
    expected = {"node-0": 1, "child": 500, "thread-0": int(counts[0]), "thread-1": int(counts[1])}
    eventually(lambda: committed() == expected)


def test_a_child_forked_while_a_segment_is_begun_does_not_keep_its_lock(home: Home, child: Child) -> None:
    """Every segment of the dead parent can be locked although its children live on."""
    ran = child(
        "import fcntl\n"
        "from configurable_agents.client import segments\n"
        "recorder = process_recorder(home)\n"
        "recorder._spool._segment_bytes_max = 100\n"
        "stop = False\n"
        "def work():\n"
        "    while not stop: recorder.record(node(0))\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "read, write = os.pipe()\n"
        "begun, begin = os.pipe()\n"
        "children = []\n"
        "for number in range(60):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os.write(begin, b'1'); os.close(write); os.read(read, 1); os._exit(0)\n"
        "    children.append(pid)\n"
        "    os.read(begun, 1)\n"
        "stop = True\n"
        "thread.join()\n"
        "recorder.close()\n"
        "held = 0\n"
        "for segment in segments.list_segments(home.spool)[recorder.producer_id]:\n"
        "    lock = segments.try_lock(segment)\n"
        "    held += lock is None\n"
        "    if lock is not None: os.close(lock)\n"
        "os.close(write)\n"
        "for pid in children: os.waitpid(pid, 0)\n"
        "print(held)\n"
    )
    assert ran.stdout.strip() == "0", ran.stderr


# -- ends of a process -------------------------------------------------------------------------------------


ENDINGS = [
    ("sys.exit(3)", 3),
    ("os._exit(4)", 4),
    ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ("raise RuntimeError", 1),
    ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
]


def test_however_a_process_ends_its_events_arrive(
    daemon: object, child: Child, eventually: Callable[..., None], committed: Callable[[], dict[str, int]]
) -> None:
    record = "for index in range(300): process_recorder(home).record(node(index))\n"
    assert [child(record + ending).returncode for ending, _ in ENDINGS] == [code for _, code in ENDINGS]
    eventually(lambda: committed() == {f"node-{index}": len(ENDINGS) for index in range(300)})


def test_what_other_exit_handlers_record_is_kept(child: Child, spooled: Callable[[], list[str]]) -> None:
    """Registered first, so it runs after ours has closed the emitter."""
    ran = child(
        "import atexit, gc\n"
        "from configurable_agents.client import process\n"
        "atexit.unregister(process.close_process_recorders)\n"
        "recorder = process_recorder(home)\n"
        "atexit.register(lambda: recorder.record(node(1)))\n"
        "atexit.register(process.close_process_recorders)\n"
        "recorder.record(node(0))\n"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert spooled() == ["node-0", "node-1"]


def test_a_process_that_can_start_no_thread_still_spools(
    home: Home, node: MakeNode, spooled: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    emitter = Emitter(home)
    monkeypatch.setattr(threading.Thread, "start", cannot)
    emitter.record(node(0))
    emitter.record(node(1))
    emitter.close()
    assert spooled() == ["node-0", "node-1"]


def test_a_process_prints_nothing_when_its_daemon_hangs_or_is_absent(home: Home, child: Child) -> None:
    ran = child("process_recorder(home).record(node(0))")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_one_emitter_per_process_and_state_folder(home: Home) -> None:
    try:
        assert process_recorder(home) is process_recorder(Home.from_environment(home.folder))
        other = Home.from_environment(home.folder / "other")
        assert process_recorder(other) is not process_recorder(home)
    finally:
        close_process_recorders()


def test_importing_the_client_loads_no_grpc() -> None:
    code = (
        "import sys, configurable_agents.client.process;"
        "print([name for name in ('grpc', 'mlflow', 'numpy', 'anyio') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


# -- long-running nodes ------------------------------------------------------------------------------------


class OpenRun:
    """A run with one node that began long ago and one that began just now."""

    def __init__(self) -> None:
        self.nodes = {
            10**12: NodeStarted("run", 1, 0, "long", 1, 1),
            0: NodeStarted("run", 2, 0, "short", 1, 1),
        }
        self.asked = 0

    def unannounced_nodes(self, older_than_ns: int) -> list[NodeStarted]:
        self.asked += 1
        old = [age for age in self.nodes if age > older_than_ns]
        return [self.nodes.pop(age) for age in old]


def test_a_long_running_node_is_announced_once_while_its_run_is_open_and_a_short_one_never(
    daemon: object, home: Home, node: MakeNode, eventually: Callable[..., None]
) -> None:
    emitter, run = Emitter(home), OpenRun()
    emitter.attach(run)
    emitter.record(node(0))
    eventually(lambda: run.asked > 2 and 10**12 not in run.nodes)
    assert [each.node_id for each in run.nodes.values()] == ["short"]
    assert emitter.recorded_events == 2
    emitter.detach(run)
    assert emitter.flush(20)
    emitter.close()
    with ReportClient(home) as client:
        runs, _ = client.runs(Scope())
    assert [each.node_executions for each in runs] == [1]


def test_stopping_the_daemon_in_order_leaves_the_emitter_waiting_for_the_next(
    home: Home, node: MakeNode, start: Callable[..., object], committed: Callable[[], dict[str, int]]
) -> None:
    start()
    emitter = Emitter(home)
    emitter.record(node(0))
    assert emitter.flush(20)
    stop_daemon(home)
    emitter.record(node(1))
    start()
    assert emitter.flush(20)
    assert committed() == {"node-0": 1, "node-1": 1}
    emitter.close()


def test_while_nothing_is_on_its_way_the_sender_does_not_wait_in_grpc(
    daemon: object, home: Home, node: MakeNode, eventually: Callable[..., None]
) -> None:
    """gRPC's waiting wakes up ten times a second, and takes the interpreter from nodes each time."""
    emitter = Emitter(home)
    emitter.record(node(0))
    assert emitter.flush(20)
    sender = emitter._sender
    assert sender is not None

    def calls() -> set[str]:
        frame, names = sys._current_frames().get(sender.ident or 0), set()
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return names

    eventually(lambda: "wait_for_answer" in calls())
    emitter.close()
    assert not sender.is_alive()


def test_a_steady_stream_is_looked_at_less_and_less_often_and_its_end_soon(
    home: Home, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Emitter, "_start_sender", lambda _: None)
    emitter, session, rests = Emitter(home), _Session(0), []

    def rest(timeout_s: float) -> None:
        rests.append(timeout_s)
        if len(rests) <= 3:
            emitter.record(node(len(rests)))
        if len(rests) == 5:
            session.end()

    monkeypatch.setattr(session, "sleep", rest)
    emitter.record(node(0))
    batches = list(emitter._batches(session))
    emitter.close()

    assert len(batches) == 4
    assert rests == [2 * LINGER_S, 4 * LINGER_S, LINGER_MAX_S, LINGER_MAX_S, LINGER_S]


def test_events_that_come_while_a_batch_is_sent_are_left_to_the_next_look(
    home: Home, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1,000 events per second there is always one; its batch would cost as much as one of hundreds."""
    monkeypatch.setattr(Emitter, "_start_sender", lambda _: None)
    emitter, session, happened = Emitter(home), _Session(0), []

    def rest(_: float) -> None:
        happened.append("rest")
        if happened.count("rest") == 3:
            session.end()

    monkeypatch.setattr(session, "sleep", rest)
    emitter.record(node(0))
    for index, _ in enumerate(emitter._batches(session)):
        happened.append("batch")
        emitter.record(node(index + 1))
    emitter.close()

    assert happened == ["batch", "rest"] * 3


def test_a_backlog_is_sent_without_a_rest(
    home: Home, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Emitter, "_start_sender", lambda _: None)
    emitter, session, rests = Emitter(home), _Session(0), []

    def rest(timeout_s: float) -> None:
        rests.append(timeout_s)
        session.end()

    monkeypatch.setattr(session, "sleep", rest)
    for index in range(5000):
        emitter.record(node(index))
    batches = list(emitter._batches(session))
    emitter.close()

    assert (len(batches), rests) == (3, [2 * LINGER_S]), "it rested before all was sent"
