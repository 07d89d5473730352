"""What changed, as tables and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import one_line, printable
from configurable_agents.cli.render.headings import heading
from configurable_agents.cli.render.tables import (
    ALARMING_STYLE,
    HEADING_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    table,
)
from configurable_agents.observability.cost_summary import plural
from configurable_agents.observability.known_cost import LOWER_BOUND_SIGN
from configurable_agents.runtime.comparison import NOISE_RUNS_MIN, Change, Comparison

BETTER_STYLE = "bold green"
ROWS_MAX = 60
"""Changes of nodes, and of models, in a table: those of the slowest and most expensive."""

MARKUP = str.maketrans(
    {sign: f"\\{sign}" for sign in "\\`*_[]|#"} | {sign: f"&#{ord(sign)};" for sign in "<>@"}
)
"""What Markdown would take for its own."""

COLUMNS = (
    Column("", 0, folds=True, justify="left"),
    Column("Figure", 0, justify="left"),
    Column("Before", 1),
    Column("After", 1),
    Column("Change", 0),
    Column("Noise", 2),
    Column("", 3, justify="left"),
)


def diff_report(found: Comparison, before: str, after: str, *, width: int) -> Iterator[RenderableType]:
    yield from heading("What changed", *details(found, before, after))
    for title, changes in sections(found):
        yield Text(title, style=HEADING_STYLE)
        yield table(COLUMNS, [row(change) for change in changes], width=width)
        yield Text()
    if note := coverage_note(found):
        yield Text(note, style=NOTABLE_STYLE)
    for note in notes(found):
        yield Text(note, style=QUIET_STYLE, overflow="fold")


def notes(found: Comparison) -> Iterator[str]:
    """How the figures were made."""
    if found.before_runs > 1 or found.after_runs > 1:
        yield "Figures are means per run; p95 is the median of the p95 of the runs."
    if found.noise_runs < NOISE_RUNS_MIN:
        yield (
            f"Noise is not known from {plural(found.noise_runs, 'past run')}; it takes {NOISE_RUNS_MIN}."
            " Every change counts."
        )
    else:
        yield f"Noise: two standard deviations of {plural(found.noise_runs, 'past run')}."


def coverage_note(found: Comparison) -> str:
    """How much of the costs is not known; empty when all is."""
    cost = next(change for change in found.totals if change.metric == "cost")
    if cost.is_certain:
        return ""
    return (
        f"Costs leave out {left_out(cost)} without a known price: {LOWER_BOUND_SIGN} marks a lower bound,"
        f" {figures.UNKNOWN} what is not known."
    )


def left_out(change: Change) -> str:
    """`2 calls before and 1 call after`."""
    sides = (("before", change.before_unknown_calls), ("after", change.after_unknown_calls))
    return " and ".join(f"{plural(calls, 'call')} {side}" for side, calls in sides if calls)


def details(found: Comparison, before: str, after: str) -> tuple[str, ...]:
    return (
        f"before: {printable(before)} ({plural(found.before_runs, 'run')})",
        f"after: {printable(after)} ({plural(found.after_runs, 'run')})",
    )


def sections(found: Comparison) -> Iterator[tuple[str, Sequence[Change]]]:
    yield "Per run", found.totals
    if found.nodes:
        yield "Nodes", found.nodes[:ROWS_MAX]
    if found.models:
        yield "Models", found.models[:ROWS_MAX]


def row(change: Change) -> Row:
    style = ""
    if change.is_notable:
        style = ALARMING_STYLE if change.is_growth else BETTER_STYLE
    first, *rest = words(change)
    cells = [Cell(printable(first)), *(Cell(word) for word in rest)]
    cells[4] = Cell(cells[4].text, style)
    return Row(tuple(cells))


def words(change: Change) -> tuple[str, ...]:
    """What, figure, before, after, change, noise, verdict."""
    noise = figures.UNKNOWN if change.noise_percent is None else f"± {change.noise_percent:.1f} %"
    return (
        change.what,
        change.metric,
        amount(change.metric, change.before, is_whole=not change.before_unknown_calls),
        amount(change.metric, change.after, is_whole=not change.after_unknown_calls),
        changed_by(change),
        noise,
        verdict(change),
    )


def amount(metric: str, value: float | None, *, is_whole: bool = True) -> str:
    if value is None:
        return figures.UNKNOWN
    sign = "" if is_whole else f" {LOWER_BOUND_SIGN}"
    if metric in {"wall", "total", "p95"}:
        return figures.duration(value)
    if metric == "cost":
        return figures.dollars(round(value), figures.dollar_decimals([round(value)])) + sign
    return (f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}") + sign


def changed_by(change: Change) -> str:
    if not change.is_certain and not change.is_growth:
        return figures.UNKNOWN
    if change.percent is not None:
        return f"{'' if change.is_certain else 'at least '}{change.percent:+.1f} %"
    if change.before is None:
        return "new"
    return "gone" if change.after is None else "from nothing"


def verdict(change: Change) -> str:
    if not change.percent or change.noise_percent is None or not change.is_certain:
        return ""
    return "" if change.is_notable else "within noise"


def markdown(found: Comparison, before: str, after: str) -> str:
    """For a pull request. Names come from outside: nothing in them is markup."""
    lines = ["### What changed", "", escaped(" · ".join(details(found, before, after))), ""]
    for title, changes in sections(found):
        lines += [
            f"**{title}**",
            "",
            "| | figure | before | after | change | noise | |",
            "|---|---|--:|--:|--:|--:|---|",
        ]
        for change in changes:
            cells = [escaped(word) for word in words(change)]
            if change.is_notable:
                cells[4] = f"**{cells[4]}**"
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if note := coverage_note(found):
        lines += [escaped(note), ""]
    return "\n".join([*lines, *map(escaped, notes(found)), ""])


def escaped(text: str) -> str:
    return one_line(text).translate(MARKUP)
