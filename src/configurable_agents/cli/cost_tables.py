"""Grouped costs as CSV and Markdown, with every cell made harmless."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from configurable_agents.cli import figures
from configurable_agents.cli.escape import one_line
from configurable_agents.observability.cost_groups import CostGroup, GroupedCosts
from configurable_agents.observability.cost_summary import CallTotals, share_of_all
from configurable_agents.observability.known_cost import LOWER_BOUND_SIGN, KnownCost
from configurable_agents.observability.price_table import YOCTOS_PER_NANO
from configurable_agents.observability.receipts import plain_usd
from configurable_agents.telemetry import TOKEN_CLASSES

FORMULA_SIGNS = ("=", "+", "-", "@")
"""Spreadsheets run cells that begin with one of these, blanks before it or not."""
REST = "(others)"

NO_CALLS = "No LLM call was recorded."

CSV_FIGURES = (
    *("calls", "failed_calls", "merged_calls", *TOKEN_CLASSES, "total_tokens", "cost_usd", "cost_nanos"),
    *("priced_calls", "stated_calls", "free_calls", "unpriced_calls", "no_usage_calls", "unpriced_tokens"),
    *("calls_covered_percent", "tokens_covered_percent", "wasted_calls", "wasted_cost_usd"),
    "wasted_calls_covered_percent",
)


def as_csv(grouped: GroupedCosts) -> str:
    """One line per group and no total, so that a column can be summed. Costs are exact decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*map(harmless, grouped.by), *CSV_FIGURES])
    for names, group in named_groups(grouped):
        writer.writerow([*map(harmless, names), *csv_figures(group)])
    return text.getvalue()


def harmless(text: str) -> str:
    """The text on one line, quoted with an apostrophe where a spreadsheet would run it."""
    line = one_line(text)
    return f"'{line}" if line.startswith(FORMULA_SIGNS) else line


def csv_figures(group: CostGroup) -> list[object]:
    totals, wasted = group.totals, group.wasted
    return [
        totals.calls,
        totals.failed_calls,
        totals.merged_calls,
        *_known_usage(totals),
        exact_usd(totals.cost),
        "" if totals.cost.known_nanos is None else totals.cost.known_nanos,
        totals.priced_calls,
        totals.stated_calls,
        totals.free_calls,
        totals.unpriced_calls,
        totals.no_usage_calls,
        totals.unpriced_tokens,
        share_of_all(totals.calls_covered_percent),
        share_of_all(totals.tokens_covered_percent),
        wasted.calls,
        exact_usd(wasted.cost),
        share_of_all(wasted.calls_covered_percent),
    ]


def _known_usage(totals: CallTotals) -> Sequence[int | str]:
    """By class, and their sum; empty where no call said what it used."""
    found = [*totals.usage, totals.total_tokens]
    return [""] * len(found) if totals.tokens.known is None else found


def exact_usd(cost: KnownCost) -> str:
    """To the last digit; empty where nothing is known."""
    return "" if cost.known_nanos is None else plain_usd(cost.known_nanos * YOCTOS_PER_NANO)


def as_markdown(grouped: GroupedCosts) -> str:
    """A table with a total, and the sentence that says what it does not cover."""
    lines = [
        row([*map(markdown_text, grouped.by), "calls", "tokens", "cost"]),
        row([*("---" for _ in grouped.by), "---:", "---:", "---:"]),
        *(row([*map(markdown_text, names), *cells(group)]) for names, group in named_groups(grouped)),
        row(["**total**", *("" for _ in grouped.by[1:]), *cells(CostGroup((), grouped.totals))]),
        "",
        markdown_text(grouped.totals.coverage_sentence() if grouped.totals.calls else NO_CALLS),
    ]
    return "\n".join(lines) + "\n"


def cells(group: CostGroup) -> list[str]:
    totals = group.totals
    exact = exact_usd(totals.cost)
    sign = "" if totals.cost.is_complete else f" {LOWER_BOUND_SIGN}"
    cost = f"${exact}{sign}" if exact else figures.UNKNOWN
    return [figures.count(totals.calls), figures.tokens(totals.tokens), cost]


def row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def markdown_text(text: str) -> str:
    line = one_line(text)
    for sign in "\\|`*_[]<>":
        line = line.replace(sign, f"\\{sign}")
    return line


def named_groups(grouped: GroupedCosts) -> Iterator[tuple[list[str], CostGroup]]:
    """The groups with what they are called, the rest last."""
    for group in grouped.groups:
        yield list(group.values), group
    if grouped.rest is not None:
        yield [REST, *("" for _ in grouped.by[1:])], grouped.rest
