"""The daemon as a process: it starts alone, says in one line why it cannot, and stops in order."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from configurable_agents.client.channel import open_channel
from configurable_agents.client.control import STOP_TIMEOUT_S, find_daemon, start_daemon, stop_daemon
from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.errors import AlreadyRunningError, DaemonStartError
from configurable_agents.obsd import app, lifecycle, reports
from configurable_agents.obsd.exporters import supervisor
from configurable_agents.obsd.ledger import queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.lock import owning

RunDaemon = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run_daemon(home: Home) -> Iterator[RunDaemon]:
    """Starts `python -m configurable_agents.obsd` in the foreground; what still runs is killed afterwards."""
    begun: list[subprocess.Popen[str]] = []

    def run(at: Home = home, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "configurable_agents.obsd", "--home", str(at.folder)],
            env={**os.environ, "MLFLOW_TRACKING_URI": "", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    (home.folder / "agents-obsd.toml").write_text("mlflow_enabled = false\n")
    yield run
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until_ready(process: subprocess.Popen[str]) -> list[str]:
    """The lines said before and with readiness."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "listens on" in line:
            return lines
    pytest.fail(f"it ended instead: {lines}")


def complaint(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and the one line a daemon that cannot start says on standard error."""
    _, said = process.communicate(timeout=30)
    [line] = said.splitlines()
    assert line.startswith("error: ")
    return process.returncode, line


# -- starting ---------------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_stops_with_code_0(home: Home, run_daemon: RunDaemon) -> None:
    process = run_daemon()
    assert f"agents-obsd listens on unix:{home.socket} (pid {process.pid})\n" in until_ready(process)
    process.terminate()
    assert process.wait(10) == 0
    assert not home.socket.exists()


def test_what_it_keeps_is_private_to_its_user(home: Home, run_daemon: RunDaemon) -> None:
    until_ready(run_daemon())
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.folder.iterdir()}
    del modes["agents-obsd.toml"]  # the user's
    modes.pop("spool", None)
    assert set(modes) >= {"ledger.db", "agents-obsd.sock", "agents-obsd.lock"}
    assert set(modes.values()) == {0o600}, modes
    assert home.folder.stat().st_mode & 0o777 == 0o700


def test_a_second_daemon_ends_with_code_5_names_the_first_and_touches_nothing(
    home: Home, run_daemon: RunDaemon
) -> None:
    first = run_daemon()
    until_ready(first)
    before = {path.name: path.stat().st_ino for path in home.folder.iterdir()}
    code, said = complaint(run_daemon())
    assert code == 5
    assert f"(pid {first.pid})" in said
    assert {path.name: path.stat().st_ino for path in home.folder.iterdir()} == before
    assert find_daemon(home) is not None
    assert health(home) == health_pb2.HealthCheckResponse.SERVING


def test_a_daemon_of_another_folder_does_not_take_a_socket_that_is_listened_on(
    home: Home, run_daemon: RunDaemon, tmp_path: Path
) -> None:
    until_ready(run_daemon())
    before = home.socket.stat().st_ino
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    with pytest.raises(AlreadyRunningError, match="another daemon listens on"):
        start_daemon(Home(elsewhere, home.socket))
    assert home.socket.stat().st_ino == before
    assert health(home) == health_pb2.HealthCheckResponse.SERVING


def test_of_many_started_at_once_one_wins(run_daemon: RunDaemon) -> None:
    processes = [run_daemon() for _ in range(4)]
    while sum(process.poll() is None for process in processes) > 1:
        time.sleep(0.01)
    [winner] = [process for process in processes if process.poll() is None]
    until_ready(winner)
    assert [process.returncode for process in processes if process is not winner] == [5, 5, 5]


def test_a_socket_left_by_a_killed_daemon_is_no_obstacle(home: Home, run_daemon: RunDaemon) -> None:
    first = run_daemon()
    until_ready(first)
    first.kill()
    first.wait()
    assert home.socket.exists()
    until_ready(run_daemon())
    assert health(home) == health_pb2.HealthCheckResponse.SERVING


def test_a_file_in_the_place_of_the_socket_is_not_removed(home: Home, run_daemon: RunDaemon) -> None:
    home.socket.write_text("mine")
    code, said = complaint(run_daemon())
    assert (code, home.socket.read_text()) == (1, "mine")
    assert str(home.socket) in said


def test_a_socket_path_that_is_too_long_is_a_clear_error(home: Home, run_daemon: RunDaemon) -> None:
    code, said = complaint(run_daemon(AGENTS_OBS_SOCKET=str(home.folder / ("x" * 100))))
    assert code == 2
    assert "longer than 107 bytes" in said


@pytest.mark.parametrize("name", ["half%done", "50%25", "who?", "a#1", "a b"])
def test_what_an_address_would_take_for_something_else_may_be_in_the_path(
    home: Home, run_daemon: RunDaemon, name: str
) -> None:
    folder = home.folder / name
    folder.mkdir(mode=0o700)
    (folder / "agents-obsd.toml").write_text("mlflow_enabled = false\n")
    odd = Home.from_environment(folder)
    until_ready(run_daemon(odd))
    assert odd.socket.is_socket()
    assert health(odd) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_state_folder_that_is_open_to_others_is_refused(
    home: Home, run_daemon: RunDaemon, mode: int
) -> None:
    home.folder.chmod(mode)
    code, said = complaint(run_daemon())
    assert code == 2
    assert "chmod 700" in said


def test_a_socket_in_a_folder_that_is_open_to_others_is_refused(home: Home, run_daemon: RunDaemon) -> None:
    shared = home.folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    code, said = complaint(run_daemon(AGENTS_OBS_SOCKET=str(shared / "s.sock")))
    assert code == 2
    assert str(shared) in said


def test_a_link_in_the_place_of_the_state_folder_is_not_followed(home: Home, run_daemon: RunDaemon) -> None:
    link = home.folder / "link"
    link.symlink_to(home.folder)
    code, said = complaint(run_daemon(Home.from_environment(link)))
    assert code == 2
    assert "is not a folder" in said


def test_a_file_in_the_place_of_the_state_folder_is_a_clear_error(home: Home, run_daemon: RunDaemon) -> None:
    occupied = home.folder / "occupied"
    occupied.write_text("")
    code, said = complaint(run_daemon(Home.from_environment(occupied)))
    assert code == 2
    assert str(occupied) in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlflow_enabeld = false", "did you mean [mlflow] enabled?"),
        ("[mlflow]\nenabled = 1", "[mlflow] enabled must be true or false, not 1"),
        ("no toml", "is not TOML"),
        ("port = 4317", "there are: [mlflow] enabled, [mlflow] tracking_uri, [grpc] reflection"),
        ("[mlflow]\ntracking_uri = ['x']", 'must be a text (in quotes), not ["x"]'),
    ],
)
def test_a_setting_that_cannot_be_used_is_a_clear_error(
    home: Home, run_daemon: RunDaemon, text: str, expected: str
) -> None:
    (home.folder / "agents-obsd.toml").write_text(text)
    code, said = complaint(run_daemon())
    assert code == 2
    assert "agents-obsd.toml" in said
    assert expected in said


def test_settings_that_are_no_text_are_a_clear_error(home: Home, run_daemon: RunDaemon) -> None:
    (home.folder / "agents-obsd.toml").write_bytes(b"\xff\xfe")
    assert complaint(run_daemon())[0] == 2


def test_a_disk_without_room_for_the_lock_is_a_clear_error(home: Home) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with (
            pytest.raises(DaemonStartError, match=r"cannot write .*agents-obsd\.lock: .*; make room"),
            owning(home),
        ):
            pytest.fail("it has no room and goes on")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with owning(home):
        assert find_daemon(home) is not None


def test_a_damaged_ledger_is_a_clear_error_and_left_untouched(home: Home, run_daemon: RunDaemon) -> None:
    home.ledger.write_bytes(b"no database, " * 100)
    code, said = complaint(run_daemon())
    assert code == 1
    assert "is damaged" in said
    assert home.ledger.read_bytes() == b"no database, " * 100
    assert not home.socket.exists()


def test_why_it_cannot_start_reaches_who_started_it(home: Home) -> None:
    home.ledger.write_bytes(b"no database, " * 100)
    with pytest.raises(Exception, match="is damaged"):
        start_daemon(home)
    assert find_daemon(home) is None


# -- stopping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment_of_the_start_ends_it_with_code_0(
    home: Home, run_daemon: RunDaemon, number: signal.Signals
) -> None:
    """The first moments belong to the interpreter, before it runs any of ours."""
    moments = random.Random(7)
    for _ in range(6):
        process = run_daemon()
        while not begun(process.pid):
            assert process.poll() is None
        time.sleep(moments.uniform(0.0, 0.6))
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said
        assert "Traceback" not in said
        assert not home.socket.exists()


STOPPED_WHERE_EXCEPTIONS_ARE_LOST = {
    "an import that catches everything": """
try: stop()
except BaseException: pass
""",
    "a callback of the interpreter": """
import weakref
class Thing: pass
thing = Thing()
watcher = weakref.ref(thing, lambda _: stop())
del thing
""",
}


@pytest.mark.parametrize("place", STOPPED_WHERE_EXCEPTIONS_ARE_LOST)
def test_a_stop_where_exceptions_are_lost_stops_the_start(home: Home, place: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from configurable_agents.obsd import __main__ as daemon\n"
        "stop = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"{STOPPED_WHERE_EXCEPTIONS_ARE_LOST[place]}"
        "print('went on')\n"
    )
    command = [sys.executable, "-c", code, "--home", str(home.folder)]
    stopped = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, b"", b"")


def begun(pid: int) -> bool:
    """Whether the process catches SIGTERM and SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
    return all(caught >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGINT))


def test_stopped_under_load_everything_acknowledged_is_in_the_ledger(
    home: Home, start: Any, node: Any
) -> None:
    start()
    emitters = [Emitter(home) for _ in range(4)]
    stop = threading.Event()

    def record(emitter: Emitter) -> None:
        index = 0
        while not stop.is_set():
            emitter.record(node("draft", index + 1))
            index += 1

    threads = [threading.Thread(target=record, args=(emitter,)) for emitter in emitters]
    for thread in threads:
        thread.start()
    while any(emitter.acknowledged_events < 3000 for emitter in emitters):
        time.sleep(0.005)
    assert stop_daemon(home)
    acknowledged = [emitter.acknowledged_events for emitter in emitters]
    stop.set()
    for thread in threads:
        thread.join()
    assert not home.socket.exists()
    with closing(open_for_reading(home.ledger)) as connection:
        known = dict(connection.execute("SELECT producer_id, next_sequence FROM producers").fetchall())
        rows = connection.execute("SELECT COUNT(*) FROM node_executions").fetchone()[0]
        committed = queries.counts(connection).events_committed
    assert [
        known[emitter.producer_id] >= count for emitter, count in zip(emitters, acknowledged, strict=True)
    ] == [True] * 4
    assert rows == committed == sum(known.values())
    for emitter in emitters:
        emitter.close()


def test_all_that_a_stop_waits_for_is_less_than_it_has() -> None:
    waits_s = (app.STOP_GRACE_S, lifecycle.FINISH_S, supervisor.FINISH_S, reports.LEAVE_S)
    assert sum(waits_s) < STOP_TIMEOUT_S


def test_an_impatient_second_signal_does_not_cut_the_stop_short(home: Home, run_daemon: RunDaemon) -> None:
    process = run_daemon()
    until_ready(process)
    for _ in range(50):
        process.terminate()
        if process.poll() is not None:
            break
        time.sleep(0.005)
    assert process.wait(10) == 0


# -- health and reflection --------------------------------------------------------------------------


def health(home: Home, service: str = "") -> Any:
    with open_channel(home) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def test_health_is_served_for_the_daemon_and_each_service(daemon: Any, home: Home) -> None:
    for service in (
        "",
        "configurable_agents.wire.v1.TelemetryService",
        "configurable_agents.wire.v1.ReportService",
    ):
        assert health(home, service) == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health(home, "no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watcher_of_health_is_told_of_the_stop(start: Any, home: Home) -> None:
    start()
    with open_channel(home) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopping = threading.Thread(target=stop_daemon, args=(home,))
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        stopping.join()


@pytest.mark.parametrize("wanted", [True, False])
def test_reflection_is_there_only_behind_its_setting(home: Home, run_daemon: RunDaemon, wanted: bool) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    settings = f"mlflow_enabled = false\ngrpc_reflection = {json.dumps(wanted)}\n"
    (home.folder / "agents-obsd.toml").write_text(settings)
    until_ready(run_daemon())
    with open_channel(home) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = stub.ServerReflectionInfo(asked, timeout=10)
        if wanted:
            names = {service.name for service in next(answers).list_services_response.service}
            assert "configurable_agents.wire.v1.TelemetryService" in names
        else:
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                next(answers)


def test_bytes_that_are_no_grpc_do_not_disturb_it(daemon: Any, home: Home) -> None:
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(home.socket))
            stranger.sendall(data)
    assert health(home) == health_pb2.HealthCheckResponse.SERVING
