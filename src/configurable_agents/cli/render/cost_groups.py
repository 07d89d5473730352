"""Costs by dimensions: one line per group, a total, and what the total does not cover."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.cost_tables import named_groups
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.cost import included_lines
from configurable_agents.cli.render.headings import report_heading
from configurable_agents.cli.render.tables import BAR_STYLE, QUIET_STYLE, Cell, Column, Row, table
from configurable_agents.observability.cost_groups import TOKEN_CLASS, GroupedCosts
from configurable_agents.observability.cost_summary import CallTotals, percent_below
from configurable_agents.observability.known_cost import KnownCost

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
    yield from report_heading(f"Cost by {', '.join(map(printable, grouped.by))}", grouped)
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
        yield Row(
            (
                *(Cell(figures.name(name)) for name in names),
                *line.cells(group.totals, group.wasted),
            )
        )
    blanks = (Cell("") for _ in grouped.by[1:])
    whole = line.cells(grouped.totals, grouped.wasted, bar=False)
    yield Row((Cell("Total"), *blanks, *whole), style="bold", total=True)


class Figures:
    """Makes the cells of a line, all with the same decimals."""

    def __init__(self, grouped: GroupedCosts) -> None:
        self.decimals = figures.dollar_decimals(group.totals.cost_nanos for group in grouped.groups)
        self.whole = grouped.totals.cost
        self.all_tokens = grouped.totals.tokens

    def cells(self, totals: CallTotals, wasted: CallTotals | None, *, bar: bool = True) -> tuple[Cell, ...]:
        usage, percent = totals.usage, figures.share(totals.cost, self.whole)
        return (
            Cell(figures.count(totals.calls)),
            Cell(figures.count(totals.failed_calls)),
            self.tokens(totals, usage.all_input_tokens),
            self.tokens(totals, usage.cache_read_tokens),
            self.tokens(totals, usage.all_output_tokens),
            self.tokens(totals, usage.total_tokens),
            Cell(self.cost(totals.cost)),
            Cell(figures.UNKNOWN if wasted is None else self.cost(wasted.cost)),
            Cell(figures.UNKNOWN if percent is None else percent_below(percent)),
            Cell(figures.share_bar(percent or 0.0) if bar else "", BAR_STYLE),
        )

    def tokens(self, totals: CallTotals, tokens: int) -> Cell:
        text = figures.tokens(totals.tokens_of(tokens))
        return Cell(text if self.all_tokens.is_complete else figures.aligned(text))

    def cost(self, known: KnownCost) -> str:
        text = figures.cost(known, self.decimals)
        return text if self.whole.is_complete else figures.aligned(text)


def closing_lines(grouped: GroupedCosts) -> Iterator[Text]:
    yield Text(grouped.totals.coverage_sentence(), style="bold")
    if legend := figures.legend(shown_costs(grouped), [grouped.totals.tokens]):
        yield Text(legend, style=QUIET_STYLE)
    hidden = grouped.group_count - len(grouped.groups)
    if hidden:
        yield Text(f"{hidden:,} more in (others).", style=QUIET_STYLE)
    if TOKEN_CLASS in grouped.by:
        yield Text("A call counts in the line of each class it has tokens of.", style=QUIET_STYLE)
    yield from included_lines(grouped.totals, grouped.wasted)


def shown_costs(grouped: GroupedCosts) -> Iterator[KnownCost]:
    for _, group in named_groups(grouped):
        yield from (group.totals.cost, group.wasted.cost)
    yield grouped.totals.cost
