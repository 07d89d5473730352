"""Files that a command is told to write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from configurable_agents.errors import OutputError


def check_writable(path: Path) -> None:
    """Raises `OutputError` where `write_file` would, as far as can be told without touching the file.

    For what is written at the end of something that takes long or costs money.
    """
    folder = path.parent
    if path.is_dir():
        raise _refusal(path, errno.EISDIR)
    if not folder.exists():
        raise _refusal(path, errno.ENOENT)
    if not folder.is_dir():
        raise _refusal(path, errno.ENOTDIR)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise _refusal(path, errno.EACCES)


def write_file(path: Path, text: str) -> None:
    """Raises `OutputError`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _refusal(path: Path, number: int) -> OutputError:
    return OutputError(f"cannot write {path}: {os.strerror(number)}")
