"""One daemon per state folder: the lock that is taken before anything else is touched."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from configurable_agents.client.home import Home
from configurable_agents.errors import AlreadyRunningError, ConfigurationError, DaemonStartError


@contextmanager
def owning(home: Home) -> Iterator[None]:
    """Owns the state folder within. Raises `AlreadyRunningError`, which names the owner, touching nothing.

    Raises `DaemonStartError` where there is no room for the name of the owner.

    The lock is the kernel's and ends with the process, however it ends. Its file stays and says who
    owns or last owned it.
    """
    try:
        file = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot use {home.lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(file)
            raise AlreadyRunningError(
                f"a daemon (pid {owner.get('pid', 'unknown')}) already runs in {home.folder}; stop it first:"
                f" {home.command('agents-obsd stop')}"
            ) from None
        try:
            _write_owner(file, home)
        except OSError as error:
            raise DaemonStartError(f"cannot write {home.lock}: {error.strerror}; make room there") from error
        yield
    finally:
        os.close(file)


def _owner(file: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write_owner(file: int, home: Home) -> None:
    owner = {"pid": os.getpid(), "address": home.address, "started_unix_ns": time.time_ns()}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(owner).encode(), 0)
