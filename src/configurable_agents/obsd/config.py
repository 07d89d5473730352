"""What a user may set for the daemon, in `agents-obsd.toml` of the state folder. All of it is optional."""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import dataclass, fields
from typing import Any

from configurable_agents.client.home import Home
from configurable_agents.errors import ConfigurationError

FILE_NAME = "agents-obsd.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    mlflow_enabled: bool = True
    """Whether runs are exported to MLflow."""
    mlflow_tracking_uri: str = ""
    """Empty: `MLFLOW_TRACKING_URI`, else the SQLite store of the state folder."""
    grpc_reflection: bool = False
    """Whether gRPC tools may ask the daemon for its services."""
    retention_raw: str = "14d"
    """How long single executions and calls of a run are kept; its totals stay. Units: see `quantities`."""
    retention_totals: str = "400d"
    """How long runs are kept."""
    retention_size: str = "20GiB"
    """The size of the ledger beyond which the oldest goes before its time."""
    disk_reserve: str = "256MiB"
    """Free space below which new events are refused."""
    disk_allowance: str = "2GiB"
    """What may wait for MLflow before new events are refused."""


def load_settings(home: Home) -> Settings:
    """Reads the file if there is one. Raises `ConfigurationError`, which names the file and the setting."""
    path = home.folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    checked: dict[str, Any] = {name: _checked(str(path), name, value) for name, value in _flat(found).items()}
    return Settings(**checked)


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """`[mlflow] enabled = …` is the setting `mlflow_enabled`."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            flat.update({f"{name}_{inner}": each for inner, each in value.items()})
        else:
            flat[name] = value
    return flat


def _checked(path: str, name: str, value: object) -> object:
    kinds = {field.name: type(field.default) for field in fields(Settings)}
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        hint = f"did you mean {spelled(near[0])}?" if near else f"there are: {', '.join(map(spelled, kinds))}"
        raise ConfigurationError(f"{path}: there is no setting {spelled(name)}; {hint}")
    if type(value) is not kinds[name]:
        raise ConfigurationError(
            f"{path}: {spelled(name)} must be {KINDS[kinds[name]]}, not {json.dumps(value, default=str)}"
        )
    return value


KINDS: dict[type, str] = {bool: "true or false", str: "a text (in quotes)"}


def spelled(name: str) -> str:
    """A setting as it is written into the file: `[mlflow] enabled` for `mlflow_enabled`."""
    section, separator, key = name.partition("_")
    return f"[{section}] {key}" if separator else name
