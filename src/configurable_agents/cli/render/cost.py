"""The cost report: provider subtotals, their models, a total, and what the total does not cover."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import folded_note, report_heading
from configurable_agents.cli.render.tables import (
    BAR_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    table,
)
from configurable_agents.observability.cost_summary import (
    CallTotals,
    CostSummary,
    format_usd,
    percent_below,
    plural,
)

COSTLIEST_SIGN = "▲"
MODEL_INDENT_CELLS = 2

COLUMNS = (
    Column("", 0, justify="left"),
    Column("Provider / model", 0, folds=True, justify="left"),
    Column("Calls", 3),
    Column("Input", 5),
    Column("Cached", 5),
    Column("Output", 5),
    Column("Tokens", 2),
    Column("Cost", 0),
    Column("Share", 1),
    Column("", 4, justify="left"),
)


def cost_report(summary: CostSummary, *, width: int, classes_known: bool = True) -> Iterator[RenderableType]:
    """`Input` is everything sent, `Cached` the part of it that was read from a cache.

    Without `classes_known` only the sum of tokens means anything, and nothing else is shown.
    """
    yield from report_heading("Cost by provider and model", summary)
    if not summary.models:
        yield Text("No LLM call was recorded.")
        return
    yield table(COLUMNS, list(rows(summary, classes_known=classes_known)), width=width)
    yield Text()
    yield from closing_lines(summary)
    yield from folded_note(model.model for model in summary.models)


def rows(summary: CostSummary, *, classes_known: bool) -> Iterator[Row]:
    line = Figures(summary, classes_known=classes_known)
    for provider, totals in summary.by_provider().items():
        costliest = provider == summary.most_expensive_provider
        sign = COSTLIEST_SIGN if costliest else ""
        name = Cell(figures.name(provider))
        yield Row(line.cells(sign, name, totals), style=NOTABLE_STYLE if costliest else "bold")
        for entry in summary.models_of(provider):
            model = Cell(figures.name(entry.model), indent=MODEL_INDENT_CELLS)
            yield Row(line.cells("", model, entry.totals, bar_style=QUIET_STYLE))
    *total, _no_bar = line.cells("", Cell("Total"), summary.totals)
    yield Row((*total, Cell("")), style="bold", total=True)


class Figures:
    """Makes the cells of a line, all with the same decimals, so that amounts can be compared by eye."""

    def __init__(self, summary: CostSummary, *, classes_known: bool) -> None:
        self.classes_known = classes_known
        amounts = [entry.totals.cost_nanos for entry in summary.models]
        self.decimals = figures.dollar_decimals(amounts)
        self.whole = summary.totals.cost
        self.all_tokens = summary.totals.tokens

    def cells(
        self, sign: str, name: Cell, totals: CallTotals, *, bar_style: str = BAR_STYLE
    ) -> tuple[Cell, ...]:
        usage = totals.usage
        return (
            Cell(sign),
            name,
            Cell(figures.count(totals.calls)),
            self.token_class(totals, usage.all_input_tokens),
            self.token_class(totals, usage.cache_read_tokens),
            self.token_class(totals, usage.all_output_tokens),
            self.tokens(totals, usage.total_tokens),
            Cell(self.cost(totals)),
            *self.share(totals, bar_style),
        )

    def token_class(self, totals: CallTotals, tokens: int) -> Cell:
        return self.tokens(totals, tokens) if self.classes_known else Cell(figures.UNKNOWN)

    def tokens(self, totals: CallTotals, tokens: int) -> Cell:
        text = figures.tokens(totals.tokens_of(tokens))
        return Cell(text if self.all_tokens.is_complete else figures.aligned(text))

    def cost(self, totals: CallTotals) -> str:
        text = figures.cost(totals.cost, self.decimals)
        return text if self.whole.is_complete else figures.aligned(text)

    def share(self, totals: CallTotals, bar_style: str) -> tuple[Cell, Cell]:
        percent = figures.share(totals.cost, self.whole)
        if percent is None:
            return Cell(figures.UNKNOWN), Cell("")
        return Cell(percent_below(percent)), Cell(figures.share_bar(percent), bar_style)


def closing_lines(summary: CostSummary) -> Iterator[Text]:
    totals = summary.totals
    yield Text(totals.coverage_sentence(), style="bold")
    costs = [part.cost for part in (totals, *summary.by_provider().values())]
    costs += [entry.totals.cost for entry in summary.models]
    if legend := figures.legend(costs, [totals.tokens]):
        yield Text(legend, style=QUIET_STYLE)
    costliest = summary.most_expensive_provider
    if costliest is not None:
        nanos = summary.by_provider()[costliest].cost_nanos
        share = percent_below(100 * nanos / totals.cost_nanos)
        yield Text(
            f"{COSTLIEST_SIGN} Most expensive provider: {printable(costliest)}"
            f" ({format_usd(nanos)}, {share} of the known cost)",
            style=NOTABLE_STYLE,
            overflow="fold",
        )
    yield from included_lines(totals, summary.wasted)


def included_lines(totals: CallTotals, wasted: CallTotals | None) -> Iterator[Text]:
    """What the totals hold that a reader may not expect in them."""
    if totals.merged_calls:
        further = plural(totals.merged_calls, "further report")
        yield Text(f"{further} of calls that were reported already: not counted again.", style=QUIET_STYLE)
    if totals.failed_calls:
        yield Text(f"{plural(totals.failed_calls, 'failed call')} included.", style=QUIET_STYLE)
    if wasted is not None and wasted.calls:
        spent = f"{figures.cost(wasted.cost)} in {plural(wasted.calls, 'call')}"
        yield Text(f"Wasted: {spent} of attempts that were thrown away, included.", style=NOTABLE_STYLE)
