"""Options that several commands share, and how their values become a `Scope`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from configurable_agents.cli.escape import printable
from configurable_agents.client.home import Home
from configurable_agents.client.reports import Scope

RELATIVE_TIME = re.compile(r"(\d+)\s*([smhdw])(\s+ago)?", re.IGNORECASE)
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
NS_PER_SECOND = 1_000_000_000
UNIX_NS_MAX = 2**63 - 1
"""In the year 2262; the wire and the ledger count in 64 bits."""

VALUE_SHOWN_LENGTH_MAX = 80
"""A wrong value is quoted back up to this many characters."""

ExperimentOption = Annotated[
    str | None,
    typer.Option("--experiment", "-e", metavar="NAME", help="Only runs of this experiment."),
]
RunOption = Annotated[
    str | None,
    typer.Option("--run", "-r", metavar="ID", help="Only this run: its id, a unique beginning, or latest."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only runs started since then: 90s, 15m, 24h or 7d ago, or 2026-11-22[T08:00[Z]] (local time).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md) instead of a table.")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The state folder. Default: AGENTS_OBS_HOME, else the user's state folder.",
    ),
]
MLflowUriOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow-uri",
        metavar="URI",
        help="Answer from this MLflow store instead of the daemon; needs --experiment.",
    ),
]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class Sort(StrEnum):
    """`cost_groups.SORT_KEYS`."""

    COST = "cost"
    TOKENS = "tokens"
    CALLS = "calls"
    WASTED = "wasted"
    NAME = "name"


ByOption = Annotated[
    str | None,
    typer.Option("--by", metavar="DIMENSIONS", help="One line per value of these, such as node,model."),
]
TopOption = Annotated[
    int | None,
    typer.Option("--top", min=1, metavar="N", help="Only the first N lines; the others are added up in one."),
]
SortOption = Annotated[
    Sort | None, typer.Option("--sort", help="Largest first, or by name.", show_default="cost")
]
FormatOption = Annotated[
    Output | None, typer.Option("--format", help="How to print it.", show_default="table")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit code 4 unless the cost of every call is known.")
]
ThresholdOption = Annotated[
    float,
    typer.Option(
        "--threshold",
        min=0,
        max=100,
        metavar="PERCENT",
        help="A node above this share of time is a bottleneck: 0 to 100.",
    ),
]

WhatIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--what-if",
        metavar="NODE=2x",
        help="How long the run (or the newest one) would have taken with this node faster (2x), slower"
        " (0.5x) or removed. May be given several times.",
    ),
]


def home_of(folder: Path | None) -> Home:
    """Raises `ConfigurationError` for a folder whose socket path would be too long."""
    if folder is not None and not folder.name:
        raise typer.BadParameter("give a folder", param_hint="'--home'")
    return Home.from_environment(folder)


def scope_of(experiment: str | None, run: str | None = None, since: str | None = None) -> Scope:
    return Scope(
        experiment=given(experiment, "--experiment", "leave it out to see every experiment"),
        run_id=given(run, "--run", "give a run id, a unique beginning of one, or latest"),
        since_unix_ns=0 if since is None else parse_since(since, time.time_ns()),
    )


def given(value: str | None, option: str, remedy: str) -> str:
    """The value, or empty when the option was not used. Used with nothing in it, it is a slip."""
    if value is None:
        return ""
    if not value.strip():
        raise typer.BadParameter(f"it is empty; {remedy}", param_hint=f"'{option}'")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter("it is not UTF-8", param_hint=f"'{option}'") from error
    return value


def parse_since(text: str, now_unix_ns: int) -> int:
    """`15m` (or `15m ago`) and the like count back from now; anything else is an ISO 8601 date or time.

    Times without a zone are local. Raises `typer.BadParameter`, which is a usage error.
    """
    relative = RELATIVE_TIME.fullmatch(text.strip())
    try:
        if relative:
            return before(now_unix_ns, int(relative[1]), relative[2].lower())
        return unix_ns(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError, OSError) as error:
        shown = printable(text[:VALUE_SHOWN_LENGTH_MAX])
        raise typer.BadParameter(
            f"{shown!r} is no time from 1970 to 2262; give 90s, 15m, 24h or 7d, or a date such as 2026-11-22"
            " or 2026-11-22T08:00",
            param_hint="'--since'",
        ) from error


def before(now_unix_ns: int, amount: int, unit: str) -> int:
    """Raises `OverflowError` for more time than has passed since 1970."""
    moment_ns = now_unix_ns - amount * SECONDS_PER_UNIT[unit] * NS_PER_SECOND
    if moment_ns <= 0:
        raise OverflowError(amount)
    return moment_ns


def unix_ns(moment: datetime) -> int:
    """Exact to the microsecond. Raises `ValueError` for times before 1970 or after 2262."""
    since_epoch = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    found = since_epoch // timedelta(microseconds=1) * 1_000
    if not 0 < found <= UNIX_NS_MAX:
        raise ValueError(moment)
    return found
