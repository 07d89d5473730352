"""Where the state of one installation lives. The client and the daemon agree on it here."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from configurable_agents.errors import ConfigurationError

HOME_VARIABLE = "AGENTS_OBS_HOME"
SOCKET_VARIABLE = "AGENTS_OBS_SOCKET"
SPOOL_VARIABLE = "AGENTS_OBS_SPOOL"

WRITTEN_SPOOL = "written"
"""The value of `AGENTS_OBS_SPOOL` for processes that are to map nothing."""

SOCKET_PATH_BYTES_MAX = 107
"""What fits into `sun_path` of a Unix socket address on Linux, without its closing NUL."""


_ESCAPED_IN_ADDRESS = str.maketrans({"%": "%25", "?": "%3F", "#": "%23"})
"""gRPC reads the address as a URI, where these have a meaning."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder with all state of one daemon and its clients. Making one touches no disk."""

    folder: Path
    socket: Path
    """The daemon's Unix socket. Its folder must be private to the user."""

    @classmethod
    def from_environment(cls, folder: str | os.PathLike[str] | None = None) -> Home:
        """`folder`, else `AGENTS_OBS_HOME`, else the platform's state folder of the user.

        The socket is `AGENTS_OBS_SOCKET`, else `agents-obsd.sock` in the folder.
        Raises `ConfigurationError` when the socket's path is too long for the kernel or has a
        comma, or nobody knows where `~` is.
        """
        chosen = folder or os.environ.get(HOME_VARIABLE) or platformdirs.user_state_dir("agents-obs")
        root = _expanded(chosen)
        named = os.environ.get(SOCKET_VARIABLE)
        socket = _expanded(named) if named else root / "agents-obsd.sock"
        if len(os.fsencode(socket)) > SOCKET_PATH_BYTES_MAX:
            raise ConfigurationError(
                f"the socket path {socket} is longer than {SOCKET_PATH_BYTES_MAX} bytes;"
                f" set {SOCKET_VARIABLE} to a shorter path in a private folder, or {HOME_VARIABLE} to one"
            )
        if "," in os.fspath(socket):
            raise ConfigurationError(
                f"the socket path {socket} has a comma, at which gRPC would cut it in two; set"
                f" {SOCKET_VARIABLE} to a path without one in a private folder"
            )
        return cls(root, socket)

    @property
    def address(self) -> str:
        """The gRPC target of the daemon."""
        return f"unix:{os.fspath(self.socket).translate(_ESCAPED_IN_ADDRESS)}"

    @property
    def may_be_served(self) -> bool:
        """Whether there is a socket to try. A folder that cannot be looked into has none."""
        return os.path.exists(self.socket)  # noqa: PTH110 - `Path.exists` raises where it may not look

    def command(self, text: str) -> str:
        """A command for this installation as it must be typed: with `--home` unless it is the default one."""
        return command_for(self.folder, text)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def spool_is_mapped(self) -> bool:
        """Whether processes may map their spools: unless `AGENTS_OBS_SPOOL` is `written`."""
        return os.environ.get(SPOOL_VARIABLE) != WRITTEN_SPOOL

    @property
    def lock(self) -> Path:
        """Held by the running daemon; its content is a JSON object with `pid` and `address`."""
        return self.folder / "agents-obsd.lock"

    @property
    def log(self) -> Path:
        return self.folder / "agents-obsd.log"

    @property
    def mlflow_database(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.folder / "mlartifacts"

    @property
    def mlflow_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, else a SQLite store in the folder."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.mlflow_database}"


def command_for(folder: Path, text: str) -> str:
    """`Home.command`, where only the folder is known."""
    try:
        is_default = Home.from_environment().folder == folder
    except ConfigurationError:
        is_default = False
    return text if is_default else f"{text} --home {shlex.quote(os.fspath(folder))}"


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # no such user, or no HOME and no entry in the list of users
        raise ConfigurationError(
            f"{os.fspath(path)} is in a home folder that cannot be found; set {HOME_VARIABLE} (or"
            f" {SOCKET_VARIABLE}) to a whole path"
        ) from error


def ensure_private_folder(folder: Path) -> None:
    """Creates the folder (mode 0700) or checks that it is a real folder of ours that only we can enter.

    Raises `ConfigurationError`, which names the folder and the remedy. A folder of ours that others
    may enter is closed to them when we made it; one we did not make is refused.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigurationError(
            f"cannot use {folder}: {error.strerror}; set {HOME_VARIABLE} to a folder you can write to"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(
            f"{folder} is not a folder (a link is not followed); remove it or choose another"
        )
    if found.st_uid != os.getuid():
        raise ConfigurationError(
            f"{folder} belongs to another user; choose another folder with {HOME_VARIABLE}"
        )
    if found.st_mode & 0o077:
        raise ConfigurationError(f"{folder} can be entered by other users; run: chmod 700 {folder}")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ConfigurationError(
            f"{folder} is on a file system that is read-only; set {HOME_VARIABLE} to a folder you can write"
            " to"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{folder} is not writable; run: chmod 700 {folder}")
