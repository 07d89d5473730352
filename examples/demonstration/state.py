"""The demo's own folder, and the environment its processes get: nothing of the user's is read or written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configurable_agents.client.home import SOCKET_PATH_BYTES_MAX, SOCKET_VARIABLE
from demonstration.failure import DemoError

MARKER = "made-by-the-demo"
"""Only a folder that holds this file is emptied."""
SOCKET_NAME = "agents-obsd.sock"
NOT_INHERITED = (
    "AGENTS_OBS_",
    "ANTHROPIC_",
    "AZURE_",
    "GEMINI_",
    "GOOGLE_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "MLFLOW_",
    "OLLAMA_",
    "OPENAI_",
)
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
DEMO_KEY = "a-demo-needs-no-key"


def renew_folder(folder: Path) -> None:
    """Makes the folder afresh. What an earlier demo left there is removed, anything else is not touched."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DemoError(f"{folder} is not a folder; choose another with --home")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise DemoError(f"{folder} was not made by a demo, so it is left alone; choose another with --home")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True)
        (folder / MARKER).touch()
    except OSError as error:
        raise DemoError(f"cannot use {folder}: {error.strerror}; choose another with --home") from error


@contextmanager
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of all of the demo's processes: this state folder, no keys, no proxies."""
    with _socket(folder) as socket:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(NOT_INHERITED) and name.upper() not in PROXIES
        }
        yield {
            **inherited,
            "AGENTS_OBS_HOME": str(folder),
            **socket,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
        }


@contextmanager
def _socket(folder: Path) -> Iterator[dict[str, str]]:
    """Nothing to say, unless the folder's path is too long for a socket."""
    if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="agents-obs-") as short:
        yield {SOCKET_VARIABLE: str(Path(short) / SOCKET_NAME)}


def provider_settings(address: str) -> dict[str, str]:
    """Sends the SDKs of all providers to one address."""
    return {
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": DEMO_KEY,
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": DEMO_KEY,
        "GOOGLE_GEMINI_BASE_URL": address,
        "GEMINI_API_KEY": DEMO_KEY,
        "OLLAMA_HOST": address,
    }
