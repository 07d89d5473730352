"""A price table the user has installed from a file, in place of the one that came with genai-prices.

The file is the data of genai-prices as JSON: a list of providers. Which of two tables is newer is told by
the latest date a price of theirs begins, then by how many models they know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configurable_agents.errors import ConfigurationError

FILE_NAME = "price-table.json"
FILE_BYTES_MAX = 64 * 1024 * 1024


class TableAge(NamedTuple):
    """Compares: the newer table is the greater."""

    latest_price_date: str
    """ISO date; empty when no price is dated."""
    models: int

    def __str__(self) -> str:
        return f"{self.latest_price_date or 'undated'}, {self.models:,} models"


class LoadedTable(NamedTuple):
    providers: list[Any]
    age: TableAge
    forced: bool


def load_table(path: Path) -> LoadedTable | None:
    """The installed table; `None` when there is none. Raises `ConfigurationError` for a damaged one."""
    if not path.exists():
        return None
    found = _json(path)
    if not isinstance(found, dict) or not isinstance(found.get("providers"), list):
        raise ConfigurationError(f"{path} is not a price table; install one: agents-obs prices update FILE")
    providers = _providers(path, found["providers"])
    return LoadedTable(providers, age_of(providers), bool(found.get("forced")))


def install_table(source: Path, target: Path, *, bundled: TableAge, force: bool) -> TableAge:
    """Checks a file and makes it the table, in one step. Returns its age.

    Raises `ConfigurationError` when it is no price table, or older than the one in use and not forced.
    """
    raw = _json(source)
    if not isinstance(raw, list) or not raw:
        raise ConfigurationError(f"{source} is not a price table: a list of providers as genai-prices has it")
    age = age_of(_providers(source, raw))
    known = load_table(target)
    in_use = bundled if known is None else known.age if known.forced else max(known.age, bundled)
    if age < in_use and not force:
        raise ConfigurationError(
            f"{source} is older ({age}) than the table in use ({in_use}); --force installs it all the same"
        )
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(json.dumps({"forced": force, "providers": raw}), encoding="utf-8")
    fresh.chmod(0o600)
    os.replace(fresh, target)  # noqa: PTH105 - says that it replaces
    return age


def age_of(providers: Sequence[Any]) -> TableAge:
    models = [model for provider in providers for model in provider.models]
    dates = [
        entry.constraint.start_date.isoformat()
        for model in models
        if isinstance(model.prices, list)
        for entry in model.prices
        if hasattr(entry.constraint, "start_date")
    ]
    return TableAge(max(dates, default=""), len(models))


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigurationError(
                f"{path} is larger than {FILE_BYTES_MAX:,} bytes; that is no price table"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error


def _providers(path: Path, raw: Any) -> list[Any]:
    from genai_prices.types import _providers_from_raw  # noqa: PLC0415 0.3 s that only prices take

    try:
        return list(_providers_from_raw(raw))
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"{path} is not a price table this version can read: {line}") from error
