"""Costs by dimensions: one line per group, a total, and what the total does not cover."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.cost_tables import named_groups
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.cost import included_lines, lacks_prices
from configurable_agents.cli.render.headings import heading, runs_counted, scope_details
from configurable_agents.cli.render.tables import BAR_STYLE, QUIET_STYLE, Cell, Column, Row, table
from configurable_agents.observability.cost_groups import TOKEN_CLASS, CostGroup, GroupedCosts
from configurable_agents.observability.cost_summary import CallTotals, percent_below

FIGURE_COLUMNS = (
    Column("Calls", 3),
    Column("Failed", 6),
    Column("Input", 5),
    Column("Cached", 5),
    Column("Output", 5),
    Column("Tokens", 2),
    Column("Cost", 0),
    Column("Wasted", 4),
    Column("Share", 1),
    Column("", 7, justify="left"),
)


def grouped_costs(grouped: GroupedCosts, *, width: int) -> Iterator[RenderableType]:
    details = scope_details(
        experiment=grouped.experiment, run_id=grouped.run_id, since_unix_ns=grouped.since_unix_ns
    )
    counted = "" if grouped.run_id else runs_counted(grouped.run_count)
    title = f"Cost by {', '.join(map(printable, grouped.by))}"
    yield from heading(title, *details, counted)
    if not grouped.groups:
        yield Text("No LLM call was recorded.")
        return
    names = [Column(name.capitalize(), 0, folds=True, justify="left") for name in map(printable, grouped.by)]
    yield table((*names, *FIGURE_COLUMNS), list(rows(grouped)), width=width)
    yield Text()
    yield from closing_lines(grouped)


def rows(grouped: GroupedCosts) -> Iterator[Row]:
    line = Figures(grouped)
    for names, group in named_groups(grouped):
        yield Row((*(Cell(printable(name) or figures.UNKNOWN) for name in names), *line.cells(group)))
    blanks = (Cell("") for _ in grouped.by[1:])
    total = CostGroup((), grouped.totals, grouped.wasted or CallTotals())
    yield Row((Cell("Total"), *blanks, *line.cells(total, bar=False)), style="bold", total=True)


class Figures:
    """Makes the cells of a line, all with the same decimals."""

    def __init__(self, grouped: GroupedCosts) -> None:
        self.decimals = figures.dollar_decimals(group.totals.cost_nanos for group in grouped.groups)
        self.whole_nanos = grouped.totals.cost_nanos
        self.some_lack_prices = lacks_prices(grouped.totals)

    def cells(self, group: CostGroup, *, bar: bool = True) -> tuple[Cell, ...]:
        totals, usage = group.totals, group.totals.usage
        percent = 100 * totals.cost_nanos / self.whole_nanos if self.whole_nanos else 0.0
        return (
            Cell(figures.count(totals.calls)),
            Cell(figures.count(totals.failed_calls)),
            Cell(figures.count(usage.all_input_tokens - usage.cache_read_tokens)),
            Cell(figures.count(usage.cache_read_tokens)),
            Cell(figures.count(usage.all_output_tokens)),
            Cell(figures.count(usage.total_tokens)),
            Cell(self.cost(totals)),
            Cell(figures.dollars(group.wasted.cost_nanos, self.decimals)),
            Cell(percent_below(percent) if self.whole_nanos else figures.UNKNOWN),
            Cell(figures.share_bar(percent) if bar else "", BAR_STYLE),
        )

    def cost(self, totals: CallTotals) -> str:
        text = figures.cost(
            totals.cost_nanos,
            decimals=self.decimals,
            calls=totals.calls,
            unknown_calls=totals.calls - totals.covered_calls,
        )
        return figures.aligned(text) if self.some_lack_prices else text


def closing_lines(grouped: GroupedCosts) -> Iterator[Text]:
    yield Text(grouped.totals.coverage_sentence(), style="bold")
    if lacks_prices(grouped.totals):
        yield Text("+ marks costs that leave out calls without a known price.", style=QUIET_STYLE)
    hidden = grouped.group_count - len(grouped.groups)
    if hidden:
        yield Text(f"{hidden:,} more in (others).", style=QUIET_STYLE)
    if TOKEN_CLASS in grouped.by:
        yield Text("A call counts in the line of each class it has tokens of.", style=QUIET_STYLE)
    yield from included_lines(grouped.totals, grouped.wasted)
