"""The daemon as a process: start it, find it, stop it. Knows its lock and its command line, no more."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from configurable_agents.client.home import SOCKET_VARIABLE, Home, ensure_private_folder
from configurable_agents.errors import (
    AgentsObsError,
    AlreadyRunningError,
    ConfigurationError,
    DaemonStartError,
    DaemonStopError,
)

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
ABANDON_TIMEOUT_S = 5.0
"""A daemon that was not ready in time gets this long to leave before it is killed."""

DYING_TIMEOUT_S = 1.0
"""A process that was killed closes its files one after the other; its lock may be the last to go."""

LOCK_POLL_INTERVAL_S = 0.02
READY_LINE_BYTES_MAX = 65_536
LOCK_FILE_BYTES_MAX = 4_096
LOG_TAIL_BYTES_MAX = 8_192
LOG_BYTES_MAX = 10_000_000
"""A longer log is set aside as `.log.1` at the next start."""

ERROR_OF_EXIT_CODE: dict[int, type[AgentsObsError]] = {
    AlreadyRunningError.exit_code: AlreadyRunningError,
    ConfigurationError.exit_code: ConfigurationError,
}
"""Anything else a daemon says before it is ready is a `DaemonStartError`."""


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    pid: int
    address: str


def start_daemon(
    home: Home, *, fresh_ledger: bool = False, timeout_s: float = START_TIMEOUT_S
) -> RunningDaemon:
    """Starts a daemon that outlives this process, and returns when it accepts events.

    With `fresh_ledger` a damaged ledger is set aside first.

    Raises `AlreadyRunningError` when one owns the folder, `ConfigurationError` when the folder or a
    setting cannot be used, else `DaemonStartError` with the reason; no process is left behind then.
    """
    ensure_private_folder(home.folder)
    ready_fd, child_fd = os.pipe()
    try:
        process = spawn(home, child_fd, fresh_ledger=fresh_ledger)
    finally:
        os.close(child_fd)
    try:
        line = read_line(ready_fd, timeout_s)
    finally:
        os.close(ready_fd)
    if not line:
        abandon(process)
        raise DaemonStartError(silent_start(home, process, timeout_s))
    started = started_daemon(line, home)
    reap_in_background(process)
    return started


def become_daemon(home: Home, *, fresh_ledger: bool = False) -> NoReturn:
    """Replaces this process by the daemon, in the foreground."""
    ensure_private_folder(home.folder)
    command = [*daemon_command(home), *_fresh(fresh_ledger=fresh_ledger)]
    os.execve(command[0], command, environment_for(home))  # noqa: S606 - no shell is the point


def stop_daemon(home: Home, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Asks the daemon of this folder to stop and waits until it has; `False` when none is running.

    Signals only a process that holds the folder's lock. Raises `DaemonStopError` when it cannot be
    told, or is still there after `timeout_s`; it is not killed.
    """
    with lock_file(home) as descriptor:
        if descriptor is None or not is_locked(descriptor):
            return False
        holder = lock_holder(home, descriptor)
        deadline = time.monotonic() + timeout_s
        with pinned_process(holder.pid) as process:
            told = tell_to_stop(home, descriptor, holder, process)
            if not (wait_until_free(descriptor, timeout_s) and wait_until_gone(told, deadline)):
                raise DaemonStopError(
                    f"the daemon (pid {holder.pid}) is still stopping after {timeout_s:g} s;"
                    f" its log is {home.log}"
                )
    return True


def find_daemon(home: Home) -> RunningDaemon | None:
    """Who holds the lock of this folder; `None` when nobody does. Asks no daemon anything."""
    with lock_file(home) as descriptor:
        if descriptor is None or not is_locked(descriptor):
            return None
        return lock_holder(home, descriptor)


def daemon_command(home: Home) -> list[str]:
    """`-P`: a stray `json.py` where the user happens to stand must not become part of the daemon."""
    return [sys.executable, "-P", "-m", "configurable_agents.obsd", "--home", str(home.folder)]


def environment_for(home: Home) -> dict[str, str]:
    """The daemon listens where this `Home` will ask, whatever the environment says."""
    return {**os.environ, SOCKET_VARIABLE: str(home.socket)}


def _fresh(*, fresh_ledger: bool) -> list[str]:
    return ["--fresh-ledger"] if fresh_ledger else []


def repair_ledger(home: Home) -> dict[str, Any]:
    """Sets a damaged ledger aside and saves what can be read of it, in a process of its own.

    Returns what was saved; see docs/json.md. Raises `AlreadyRunningError` while a daemon runs, else
    `AgentsObsError` with the reason.
    """
    command = [sys.executable, "-P", "-m", "configurable_agents.obsd.repair", "--home", str(home.folder)]
    ended = subprocess.run(  # noqa: S603 - our own interpreter and module
        command, env=environment_for(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )
    said = parsed(ended.stdout)
    if "error" in said or not said:
        error = ERROR_OF_EXIT_CODE.get(ended.returncode, AgentsObsError)
        raise error(str(said.get("error") or f"the repair ended with exit code {ended.returncode}"))
    return said


def spawn(home: Home, ready_fd: int, *, fresh_ledger: bool = False) -> subprocess.Popen[bytes]:
    log = opened_log(home.log)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*daemon_command(home), "--ready-fd", str(ready_fd), *_fresh(fresh_ledger=fresh_ledger)],
            env=environment_for(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_fd,),
            start_new_session=True,
            umask=0o077,
        )
    except OSError as error:
        raise DaemonStartError(f"cannot start {sys.executable}: {error.strerror}") from error
    finally:
        os.close(log)


def opened_log(log: Path) -> int:
    """For appending. One that has grown past its limit makes room, and the one before that goes."""
    try:
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(f"{log.name}.1"))
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot write the log {log}: {error.strerror}") from error


def read_line(descriptor: int, timeout_s: float) -> bytes:
    """One line without its end; empty when the other side closed or fell silent before it was whole."""
    deadline = time.monotonic() + timeout_s
    received = b""
    while len(received) < READY_LINE_BYTES_MAX:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(descriptor, READY_LINE_BYTES_MAX) if readable else b""
        received += part
        if b"\n" in part:
            return received.partition(b"\n")[0]
        if not part:
            return b""
    return b""


def started_daemon(line: bytes, home: Home) -> RunningDaemon:
    said = parsed(line)
    if said.get("ready") is True:
        return RunningDaemon(int(said["pid"]), str(said.get("address", home.address)))
    error = ERROR_OF_EXIT_CODE.get(int(said.get("exit_code", 1)), DaemonStartError)
    raise error(str(said.get("error") or f"the daemon did not start; its log is {home.log}"))


def parsed(text: bytes) -> dict[str, Any]:
    """A JSON object; empty when it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def abandon(process: subprocess.Popen[bytes]) -> None:
    """Nothing half-started stays behind."""
    process.terminate()
    try:
        process.wait(ABANDON_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def silent_start(home: Home, process: subprocess.Popen[bytes], timeout_s: float) -> str:
    last = last_line(home.log)
    what = (
        f"the daemon was not ready within {timeout_s:g} s"
        if process.returncode in (0, -signal.SIGTERM, -signal.SIGKILL)
        else f"the daemon ended with exit code {process.returncode} before it was ready"
    )
    return f"{what}: {last or 'it logged nothing'}; its log is {home.log}"


def last_line(log: Path) -> str:
    """The last line of a log that is not blank; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES_MAX))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def reap_in_background(process: subprocess.Popen[bytes]) -> None:
    """So that a daemon that ends before this process leaves no zombie behind."""
    threading.Thread(target=process.wait, name="agents-obsd-reaper", daemon=True).start()


@contextmanager
def lock_file(home: Home) -> Iterator[int | None]:
    """The lock opened for looking at; `None` when there is none."""
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise ConfigurationError(f"cannot open {home.lock}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    """A shared lock asks the question, so that two askers do not mistake each other for a daemon."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def wait_until_free(descriptor: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_locked(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOCK_POLL_INTERVAL_S)
    return True


def lock_holder(home: Home, descriptor: int) -> RunningDaemon:
    """What the lock says of its holder. Raises `DaemonStopError` when it says nothing usable."""
    said = parsed(os.pread(descriptor, LOCK_FILE_BYTES_MAX, 0))
    pid = said.get("pid")
    if not isinstance(pid, int) or pid <= 1:
        raise DaemonStopError(f"{home.lock} is held, but does not name a process; try again in a moment")
    return RunningDaemon(pid, str(said.get("address", home.address)))


@contextmanager
def pinned_process(pid: int) -> Iterator[int | None]:
    """A descriptor of the process, which no stranger with a reused pid can take over.

    `None` when there is no such process, and where the platform has no such descriptors.
    """
    if sys.platform != "linux":
        yield None
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def tell_to_stop(home: Home, descriptor: int, holder: RunningDaemon, process: int | None) -> int | None:
    """Sends SIGTERM to the holder of the lock. The descriptor again, if that is who has it."""
    try:
        if sys.platform != "linux":
            os.kill(holder.pid, signal.SIGTERM)
        elif process is not None and has_open(holder.pid, descriptor):
            signal.pidfd_send_signal(process, signal.SIGTERM)
            return process
        elif process is not None and not wait_until_free(descriptor, DYING_TIMEOUT_S):
            raise DaemonStopError(
                f"pid {holder.pid} in {home.lock} is not the process that holds it; wait, or end that one"
            )
    except ProcessLookupError:
        pass  # it ended by itself; whether the lock is free now is the caller's next question
    except PermissionError as error:
        raise DaemonStopError(f"the daemon (pid {holder.pid}) belongs to another user") from error
    return None


def wait_until_gone(process: int | None, deadline: float) -> bool:
    """The lock ends a moment before its process does. False when the process is there at the deadline."""
    if process is None:
        return True
    ended, _, _ = select.select([process], [], [], max(0.0, deadline - time.monotonic()))
    return bool(ended)


def has_open(pid: int, descriptor: int) -> bool:
    """Whether a process has the same file open. Raises `PermissionError` for another user's."""
    wanted = os.fstat(descriptor)
    return any(os.path.samestat(wanted, found) for found in open_files(pid))


def open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            yield entry.stat()
        except FileNotFoundError:
            continue
