"""Tools that are no Python packages: where they are, or why a test cannot run here."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

CI_VARIABLE = "CI"
"""Set where every tool should be there: what is a skip elsewhere is a failure then."""

INSTALL = "scripts/install_fault_tools.sh installs it"


def need(reason: str | None) -> None:
    """Skips the test with the reason why it cannot run here, if there is one; fails it on CI."""
    if reason is None:
        return
    if os.environ.get(CI_VARIABLE):
        pytest.fail(reason)
    pytest.skip(reason)


def need_strace() -> None:
    need(_why_no_strace())


@functools.cache
def _why_no_strace() -> str | None:
    if shutil.which("strace") is None:
        return f"strace is not installed; {INSTALL}"
    return _why_not("strace", "-f", "-qq", "-e", "trace=none", "true", what="processes cannot be traced here")


def need_own_disks() -> None:
    """A user and mount namespace, in which a small file system can be mounted without being root."""
    need(_why_no_own_disks())


@functools.cache
def _why_no_own_disks() -> str | None:
    if shutil.which("unshare") is None:
        return "unshare of util-linux is not installed"
    with tempfile.TemporaryDirectory(prefix="aobs-") as folder:
        mount = ("unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
        return _why_not(*mount, what="no file system can be mounted here")


def need_prlimit() -> None:
    need(None if shutil.which("prlimit") else "prlimit of util-linux is not installed")


def _why_not(*command: str, what: str) -> str | None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return None if ran.returncode == 0 else f"{what}: {ran.stderr.strip()}"


@functools.cache
def postgres_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`: on the path, or where Debian keeps the newest."""
    named = shutil.which("initdb")
    if named:
        return Path(named).resolve().parent
    version: Callable[[Path], float] = lambda path: float(path.parent.name)  # noqa: E731
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version)
    return found[-1] if found else None
