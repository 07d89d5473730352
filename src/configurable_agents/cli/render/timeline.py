"""The waterfall of one run: a bar per execution, its part on the critical path marked, its cost beside it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import heading
from configurable_agents.cli.render.profile import percent_of
from configurable_agents.cli.render.tables import ALARMING_STYLE, BAR_STYLE, NOTABLE_STYLE, QUIET_STYLE
from configurable_agents.observability.cost_summary import percent_below, plural
from configurable_agents.observability.known_cost import cost_of_run
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.runtime.timeline_rows import Waterfall, WaterfallRow, waterfall
from configurable_agents.telemetry import Status

ROWS_MAX = 60
"""Executions shown unless asked otherwise; of a longer run the longest."""

NAME_CELLS_MAX = 32
NAME_CELLS_MIN = 10
NAME_WIDTH_PART = 0.3
DURATION_CELLS = 9
COST_CELLS = 10
LANE_CELLS_MIN = 8
INDENT_MAX = 8

CRITICAL, OFF_PATH = "█", "░"


def timeline_report(timeline: Timeline, *, width: int, rows_max: int = ROWS_MAX) -> Iterator[RenderableType]:
    found = waterfall(timeline, rows_max=rows_max)
    yield from heading("Timeline", *details(timeline, found))
    if not found.rows:
        interrupted = timeline.run.status is Status.INTERRUPTED
        yield Text("No node had ended when its process was gone." if interrupted else "No node has run.")
        return
    layout = Layout(found, width)
    for row in found.rows:
        yield layout.line(row)
    yield Text()
    yield from closing_lines(timeline, found)


def details(timeline: Timeline, found: Waterfall) -> tuple[str, ...]:
    run = timeline.run
    return (
        f"run {printable(run.run_id)}",
        f"experiment {printable(run.experiment)}" if run.experiment else "",
        f"workflow {printable(run.workflow)}" if run.workflow else "",
        run.status.label,
        f"wall {figures.duration(found.schedule.wall_ns)}" if found.rows or found.schedule.wall_ns else "",
        figures.cost(cost_of_run(run)) if run.llm_calls else "",
    )


class Layout:
    """How many cells a line has for what. Narrow terminals lose the cost first, then the duration."""

    def __init__(self, found: Waterfall, width: int) -> None:
        self._schedule = found.schedule
        longest = max(len(printable(row.span.node_id)) + indent(row) for row in found.rows)
        part = max(NAME_CELLS_MIN, min(NAME_CELLS_MAX, int(width * NAME_WIDTH_PART)))
        self._name_cells = min(longest, part, max(1, width - LANE_CELLS_MIN - 1))
        spare = width - self._name_cells - 1
        self._shows_duration = spare >= LANE_CELLS_MIN + 1 + DURATION_CELLS
        spare -= (1 + DURATION_CELLS) * self._shows_duration
        some_cost = any(row.cost.calls for row in found.rows)
        self._shows_cost = some_cost and spare >= 2 * LANE_CELLS_MIN + 1 + COST_CELLS
        spare -= (1 + COST_CELLS) * self._shows_cost
        self._lane_cells = max(1, spare)
        self._decimals = figures.dollar_decimals(row.cost.nanos for row in found.rows)

    def line(self, row: WaterfallRow) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        name = Text(
            " " * indent(row) + printable(row.span.node_id), style="" if row.critical else QUIET_STYLE
        )
        name.truncate(self._name_cells, overflow="ellipsis", pad=True)
        text.append_text(name)
        text.append(" ")
        text.append_text(self.lane(row))
        if self._shows_duration:
            running = row.span.is_running
            duration = figures.duration(row.span.duration_ns) + ("…" if running else "")
            text.append(f" {duration:>{DURATION_CELLS}}", style=NOTABLE_STYLE if running else "")
        if self._shows_cost:
            cost = figures.cost(row.cost, self._decimals) if row.cost.calls else ""
            text.append(f" {cost:>{COST_CELLS}}")
        return text

    def lane(self, row: WaterfallRow) -> Text:
        since = row.span.started_unix_ns - self._schedule.started_ns
        first, last = self.cells(since, since + row.span.duration_ns)
        critical = {cell for piece in row.critical for cell in range(*self.cells(*piece))}
        lane = Text(" " * first)
        failed = row.span.status in {Status.ERROR, Status.CANCELLED}
        for cell in range(first, last):
            on_path = cell in critical
            style = ALARMING_STYLE if failed else NOTABLE_STYLE if on_path else BAR_STYLE
            lane.append(CRITICAL if on_path else OFF_PATH, style=style)
        lane.append(" " * (self._lane_cells - last))
        return lane

    def cells(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """From which cell to before which one; never none."""
        wall_ns = max(self._schedule.wall_ns, 1)
        first = min(max(start_ns, 0) * self._lane_cells // wall_ns, self._lane_cells - 1)
        last = min(-(-max(end_ns, 0) * self._lane_cells // wall_ns), self._lane_cells)
        return first, max(last, first + 1)


def indent(row: WaterfallRow) -> int:
    return min(row.depth, INDENT_MAX)


def closing_lines(timeline: Timeline, found: Waterfall) -> Iterator[Text]:
    yield Text(f"{CRITICAL} on the critical path   {OFF_PATH} off it", style=QUIET_STYLE)
    wall_ns = found.path.wall_ns
    parts = [
        f"{printable(node)} {percent_below(percent_of(ns, wall_ns))}"
        for node, ns in list(found.path.by_node_ns.items())[:5]
    ]
    if found.path.between_ns:
        parts.append(f"between nodes {percent_below(percent_of(found.path.between_ns, wall_ns))}")
    yield Text(f"Critical path: {', '.join(parts)}", overflow="fold")
    if found.cost_elsewhere.calls:
        cost = figures.cost(found.cost_elsewhere)
        calls = plural(found.cost_elsewhere.calls, "call")
        yield Text(f"In none of these executions: {cost} in {calls}.", style=QUIET_STYLE)
    costs = [cost_of_run(timeline.run), found.cost_elsewhere, *(row.cost for row in found.rows)]
    if legend := figures.legend(costs):
        yield Text(legend, style=QUIET_STYLE)
    if found.left_out:
        yield Text(
            f"{found.left_out:,} shorter executions are left out; --rows shows more, --html all of them.",
            style=QUIET_STYLE,
        )
    if timeline.cut:
        yield Text(
            "The run is longer than one answer may be: its later executions are missing.", style=NOTABLE_STYLE
        )
