"""PostgreSQL in a temporary folder, as a store of MLflow that can be restarted at any moment."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harness.tools import INSTALL, need, postgres_binaries

READY_WITHIN_S = 60.0
SETTINGS = {"listen_addresses": "", "fsync": "off", "shared_buffers": "16MB", "max_connections": "40"}
"""It is to be gone when its test is: nothing needs to survive the machine."""


def need_postgres() -> None:
    if postgres_binaries() is None:
        need(f"PostgreSQL is not installed; {INSTALL}")
    if importlib.util.find_spec("psycopg2") is None:
        need("psycopg2 is not installed; install it: pip install psycopg2-binary")


class Postgres:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://postgres@/postgres?host={self._folder}"

    def create(self) -> None:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        command = [
            "initdb",
            "-D",
            f"{self._folder}/data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
        ]
        self._run(command).wait()

    def start(self) -> None:
        settings = [part for item in SETTINGS.items() for part in ("-c", "=".join(item))]
        command = ["postgres", "-D", f"{self._folder}/data", "-k", str(self._folder), *settings]
        self._process = self._run(command)
        self._wait_until_it_answers()

    def stop(self, *, at_once: bool = False) -> None:
        """`at_once`: without an orderly end, as when its machine goes down."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(READY_WITHIN_S)
            self._process = None

    def execute(self, statement: str, *values: object) -> int:
        """Past MLflow. Returns how many rows it was about."""
        import psycopg2

        opened = psycopg2.connect(host=str(self._folder), user="postgres", dbname="postgres")
        with closing(opened), opened, opened.cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount)

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        binaries = postgres_binaries()
        assert binaries is not None
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [binaries / command[0], *command[1:]],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._user,
                env={**os.environ, "LC_ALL": "C"},
            )

    def _wait_until_it_answers(self) -> None:
        import psycopg2

        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                psycopg2.connect(host=str(self._folder), user="postgres", dbname="postgres").close()
            except psycopg2.OperationalError:
                log = (self._folder / "log").read_text()
                assert self._process is not None
                assert self._process.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.05)  # between looks at another process
            else:
                return


@contextmanager
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="aobs-pg-"))
    made = Postgres(folder)
    try:
        made.create()
        made.start()
        yield made
    finally:
        made.stop(at_once=True)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> str | None:
    """PostgreSQL does not run as root; as anybody else it runs as who we are."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
