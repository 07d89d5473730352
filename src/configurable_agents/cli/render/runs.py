"""The list of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.contracts import bottleneck_info
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import heading, runs_counted, scope_details
from configurable_agents.cli.render.tables import (
    ALARMING_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    fitted,
    table,
    wanted_cells,
)
from configurable_agents.client.reports import Scope
from configurable_agents.observability.cost_summary import percent_below
from configurable_agents.observability.known_cost import cost_of_run, tokens_of_run
from configurable_agents.telemetry import Status, WorkflowRunRecord

SHORT_ID_LENGTH_MIN = 12
"""Run ids are shortened, where columns would be lost otherwise, to this much or what keeps them apart."""

STATUS_STYLES = {
    Status.OK: "green",
    Status.ERROR: ALARMING_STYLE,
    Status.CANCELLED: NOTABLE_STYLE,
    Status.INTERRUPTED: NOTABLE_STYLE,
    Status.RUNNING: "cyan",
}

COLUMNS = (
    Column("Run", 0, folds=True, justify="left"),
    Column("Experiment", 5, folds=True, justify="left"),
    Column("Workflow", 7, folds=True, justify="left"),
    Column("Status", 1, justify="left"),
    Column("Started", 4, justify="left"),
    Column("Wall", 3),
    Column("Cost", 0),
    Column("Tokens", 8),
    Column("Calls", 9),
    Column("Bottleneck", 6, folds=True, justify="left"),
)


def runs_list(
    runs: Sequence[WorkflowRunRecord], matching: int, scope: Scope, *, width: int
) -> Iterator[RenderableType]:
    """`matching` is how many runs the scope holds; `runs` are the newest of them."""
    details = scope_details(scope)
    yield from heading("Runs, newest first", *details, runs_counted(matching))
    yield table(COLUMNS, rows_that_fit(runs, width), width=width)
    for note in notes(runs, matching):
        yield Text(note, style=QUIET_STYLE)


def notes(runs: Sequence[WorkflowRunRecord], matching: int) -> list[str]:
    found = []
    if legend := figures.legend(map(cost_of_run, runs), map(tokens_of_run, runs)):
        found.append(legend)
    if len(runs) < matching:
        found.append(f"{matching - len(runs):,} more; --limit shows them.")
    return ["", *found] if found else []


def rows_that_fit(runs: Sequence[WorkflowRunRecord], width: int) -> list[Row]:
    """With whole run ids, each on one line, where that loses no column; else with the beginnings that tell
    them apart."""
    whole = rows(runs, id_length=None)
    layout = fitted(COLUMNS, whole, width)
    if len(layout.columns) == len(COLUMNS) and layout.widths[0] >= wanted_cells(COLUMNS, whole, 0):
        return whole
    return rows(runs, id_length=distinct_length([run.run_id for run in runs]))


def distinct_length(run_ids: Sequence[str]) -> int:
    """How many characters tell neighbours in sorted order, and therefore all of them, apart."""
    ordered = sorted(set(run_ids))
    return max((common_length(left, right) + 1 for left, right in pairwise(ordered)), default=0)


def common_length(left: str, right: str) -> int:
    pairs = zip(left, right, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right))
    )


def rows(runs: Sequence[WorkflowRunRecord], *, id_length: int | None) -> list[Row]:
    decimals = figures.dollar_decimals(run.total_cost_nanos for run in runs)
    some_lack_prices = any(run.unpriced_calls for run in runs)
    some_lack_usage = any(run.no_usage_calls for run in runs)
    length = None if id_length is None else max(id_length, SHORT_ID_LENGTH_MIN)
    return [
        Row(
            (
                Cell(printable(run.run_id[:length])),
                Cell(printable(run.experiment)),
                Cell(printable(run.workflow)),
                Cell(run.status.label, STATUS_STYLES.get(run.status, "")),
                Cell(figures.local_time(run.started_unix_ns)),
                Cell(wall(run)),
                Cell(cost(run, decimals, padded=some_lack_prices)),
                Cell(tokens(run, padded=some_lack_usage)),
                Cell(figures.count(run.llm_calls)),
                Cell(bottleneck(run)),
            )
        )
        for run in runs
    ]


def wall(run: WorkflowRunRecord) -> str:
    """Of a run whose process died before anything ended it is not known."""
    if run.finished_unix_ns is None:
        return figures.UNKNOWN
    wall_ns = run.finished_unix_ns - run.started_unix_ns
    return figures.duration_if_known(None if run.status is Status.INTERRUPTED and not wall_ns else wall_ns)


def cost(run: WorkflowRunRecord, decimals: int, *, padded: bool) -> str:
    text = figures.cost(cost_of_run(run), decimals)
    return figures.aligned(text) if padded else text


def tokens(run: WorkflowRunRecord, *, padded: bool) -> str:
    text = figures.tokens(tokens_of_run(run))
    return figures.aligned(text) if padded else text


def bottleneck(run: WorkflowRunRecord) -> str:
    """What the run waited for most, and the node above the threshold of self time where that is another."""
    info = bottleneck_info(run) or {}
    path_known = info.get("between_nodes_percent_of_wall") is not None
    named = [waited_for(info)] if path_known else []
    busiest = next(iter(info.get("bottlenecks") or []), None)
    if busiest is not None and not (named and busiest["node_id"] == info["critical_node"]):
        share = percent_below(float(busiest["percent_of_total"]))
        named.append(f"{printable(str(busiest['node_id']))} ({share} of self time)")
    return "; ".join(named) or figures.UNKNOWN


def waited_for(info: dict[str, Any]) -> str:
    """`draft (71.0 % of wall)`."""
    node, between = info["critical_node"], float(info["between_nodes_percent_of_wall"])
    share = float(info["critical_percent_of_wall"])
    if node is None or between > share:
        return f"between nodes ({percent_below(between)} of wall)"
    return f"{printable(str(node))} ({percent_below(share)} of wall)"
