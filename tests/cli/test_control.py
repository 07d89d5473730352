"""Starting and stopping the daemon as a process. The stand-ins keep the contract, or break it on purpose."""

import fcntl
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configurable_agents.client import control
from configurable_agents.client.home import Home
from configurable_agents.errors import (
    AlreadyRunningError,
    ConfigurationError,
    DaemonStartError,
    DaemonStopError,
)

STAND_IN = """
    import fcntl, json, os, signal, sys
    home, ready = sys.argv[sys.argv.index("--home") + 1], int(sys.argv[sys.argv.index("--ready-fd") + 1])
    lock = open(os.path.join(home, "agents-obsd.lock"), "w")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    fcntl.flock(lock, fcntl.LOCK_EX)
    json.dump({"pid": os.getpid(), "address": "unix:" + os.environ["AGENTS_OBS_SOCKET"]}, lock)
    lock.flush()
    os.write(ready, json.dumps({"ready": True, "pid": os.getpid(), "address": "unix:x"}).encode() + b"\\n")
    os.close(ready)
    while True:
        signal.pause()
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.delenv("AGENTS_OBS_SOCKET", raising=False)
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return Home.from_environment(folder)


@pytest.fixture
def daemon_is(tmp_path, monkeypatch):
    """Makes `start_daemon` run a script instead of the daemon."""

    def put(source: str) -> None:
        script = tmp_path / "stand_in.py"
        script.write_text(textwrap.dedent(source))
        monkeypatch.setattr(
            control, "daemon_command", lambda home: [sys.executable, str(script), "--home", str(home.folder)]
        )

    return put


def test_a_started_daemon_is_found_and_stops_when_told(home, daemon_is):
    daemon_is(STAND_IN)
    started = control.start_daemon(home)
    assert started.address == "unix:x"
    assert control.find_daemon(home) == control.RunningDaemon(started.pid, home.address)
    assert control.stop_daemon(home) is True
    assert control.find_daemon(home) is None
    assert control.stop_daemon(home) is False


def test_a_daemon_has_not_stopped_before_its_process_is_gone(home, daemon_is):
    lets_go_first = "(fcntl.flock(lock, fcntl.LOCK_UN), __import__('time').sleep(0.3), sys.exit(0))"
    daemon_is(STAND_IN.replace("lambda *_: sys.exit(0)", f"lambda *_: {lets_go_first}"))
    started = control.start_daemon(home)
    assert control.stop_daemon(home) is True
    stat = Path(f"/proc/{started.pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_started_daemon_has_its_own_session_and_a_private_log(home, daemon_is):
    daemon_is(STAND_IN)
    started = control.start_daemon(home)
    try:
        assert os.getsid(started.pid) == started.pid
        assert home.log.stat().st_mode & 0o777 == 0o600
    finally:
        control.stop_daemon(home)


def test_there_is_no_daemon_in_a_folder_that_does_not_exist(tmp_path):
    home = Home.from_environment(tmp_path / "nowhere")
    assert control.find_daemon(home) is None
    assert control.stop_daemon(home) is False
    assert not home.folder.exists()


def test_a_daemon_that_refuses_to_start_says_why(home, daemon_is):
    daemon_is(says({"error": "the ledger is too new", "exit_code": 1}))
    with pytest.raises(DaemonStartError, match="the ledger is too new"):
        control.start_daemon(home)


def test_a_second_daemon_is_told_apart_from_other_failures(home, daemon_is):
    daemon_is(says({"error": "already running (pid 17)", "exit_code": 5}))
    with pytest.raises(AlreadyRunningError, match="pid 17") as caught:
        control.start_daemon(home)
    assert caught.value.exit_code == 5


def test_a_setting_the_daemon_cannot_use_is_a_configuration_error(home, daemon_is):
    daemon_is(says({"error": "the folder is on a network file system", "exit_code": 2}))
    with pytest.raises(ConfigurationError, match="network file system"):
        control.start_daemon(home)


def test_a_daemon_that_dies_in_silence_is_reported_with_the_end_of_its_log(home, daemon_is):
    daemon_is("import sys; sys.exit('the disk\\nis on fire\\n\\n')")
    with pytest.raises(DaemonStartError, match=r"exit code 1 .*: is on fire; its log is .*agents-obsd\.log"):
        control.start_daemon(home)


def test_a_daemon_that_never_gets_ready_is_not_left_behind(home, daemon_is, tmp_path):
    daemon_is(f"""
        import os, signal
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        signal.pause()
    """)
    with pytest.raises(DaemonStartError, match="not ready within"):
        control.start_daemon(home, timeout_s=1.0)
    pid = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_an_answer_that_is_no_answer_is_an_error(home, daemon_is):
    daemon_is("import os, sys; os.write(int(sys.argv[-1]), b'[1, 2]\\n')")
    with pytest.raises(DaemonStartError, match="its log is"):
        control.start_daemon(home)


def test_starting_in_a_folder_that_others_can_enter_is_refused(home, daemon_is):
    daemon_is(STAND_IN)
    home.folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        control.start_daemon(home)


def test_a_process_that_does_not_hold_the_lock_is_never_signalled(home):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        try:
            with home.lock.open("w") as lock:
                json.dump({"pid": bystander.pid, "address": ""}, lock)
                lock.flush()
                fcntl.flock(lock, fcntl.LOCK_EX)
                with pytest.raises(DaemonStopError, match="not the process that holds it"):
                    control.stop_daemon(home)
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_stale_lock_file_is_no_daemon(home):
    home.lock.write_text(json.dumps({"pid": os.getpid(), "address": ""}))
    assert control.stop_daemon(home) is False


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"pid": "1"}', '{"pid": -1}', '{"pid": 1}'])
def test_a_lock_that_names_nobody_is_an_error_and_no_signal(home, content):
    with home.lock.open("w") as lock:
        lock.write(content)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DaemonStopError, match="does not name a process"):
            control.stop_daemon(home)


def test_a_daemon_that_does_not_stop_in_time_is_not_killed(home, daemon_is):
    daemon_is(STAND_IN.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN"))
    started = control.start_daemon(home)
    try:
        with pytest.raises(DaemonStopError, match=r"still stopping after 0\.1 s"):
            control.stop_daemon(home, timeout_s=0.1)
        assert control.find_daemon(home) is not None
    finally:
        os.kill(started.pid, 9)


def test_a_stray_module_where_the_user_stands_does_not_get_into_the_daemon(home):
    assert "-P" in control.daemon_command(home)


def test_the_log_is_never_written_through_a_link(home, daemon_is, tmp_path):
    daemon_is(STAND_IN)
    (tmp_path / "target").touch()
    home.log.symlink_to(tmp_path / "target")
    with pytest.raises(ConfigurationError, match="cannot write the log"):
        control.start_daemon(home)
    assert (tmp_path / "target").read_bytes() == b""


def test_a_log_past_its_limit_is_set_aside_at_the_next_start(home, daemon_is):
    daemon_is(STAND_IN)
    with home.log.open("wb") as log:
        log.truncate(control.LOG_BYTES_MAX + 1)
    control.start_daemon(home)
    control.stop_daemon(home)
    assert home.log.stat().st_size == 0
    assert home.log.with_name("agents-obsd.log.1").stat().st_size == control.LOG_BYTES_MAX + 1


def says(answer: dict) -> str:
    return f"import os, sys; os.write(int(sys.argv[-1]), {json.dumps(answer).encode()!r} + b'\\n')"
