"""The profile: where the time went, node by node, with the slowest node and the bottlenecks marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from configurable_agents.cli import figures
from configurable_agents.cli.escape import printable
from configurable_agents.cli.render.headings import folded_note, report_heading
from configurable_agents.cli.render.tables import (
    ALARMING_STYLE,
    BAR_STYLE,
    NOTABLE_STYLE,
    QUIET_STYLE,
    Cell,
    Column,
    Row,
    table,
)
from configurable_agents.observability.cost_summary import percent_below, plural
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.runtime.time_report import ModelProfile, RunTimes
from configurable_agents.runtime.what_if import WhatIf
from configurable_agents.telemetry import Status

SLOWEST_SIGN = "▲"
BOTTLENECK_SIGN = "●"
CRITICAL_SIGN = "◆"

COLUMNS = (
    Column("", 0, justify="left"),
    Column("Node", 0, folds=True, justify="left"),
    Column("Calls", 3),
    Column("Total", 1),
    Column("Self", 7),
    Column("Avg", 2),
    Column("p50", 12),
    Column("p95", 6),
    Column("p99", 12),
    Column("Max", 8),
    Column("Errors", 5),
    Column("Share", 0),
    Column("", 9, justify="left"),
    Column("Critical", 4),
    Column("Of wall", 4),
    Column("Slack", 10),
)

MODEL_COLUMNS = (
    Column("Model", 0, folds=True, justify="left"),
    Column("Calls", 2),
    Column("p50", 0),
    Column("p95", 1),
    Column("p99", 4),
    Column("Max", 5),
    Column("First token", 3),
    Column("Tokens/s", 2),
)

OVER_RUNS_COLUMNS = (
    *COLUMNS,
    Column("Decides", 7),
    Column("p95 over runs", 11, justify="left"),
)
"""`Decides`: in how many of the runs the node had the most critical time."""


def profile_report(
    report: ProfileReport, *, threshold_percent: float, width: int, nesting_known: bool = True
) -> Iterator[RenderableType]:
    yield from report_heading("Profile by node", report, *details(report))
    if not report.nodes:
        yield Text("No node has finished.")
        return
    found = list(rows(report, threshold_percent, nesting_known=nesting_known))
    yield table(COLUMNS if report.run_count == 1 else OVER_RUNS_COLUMNS, found, width=width)
    yield Text()
    yield from closing_lines(report, threshold_percent)
    yield from critical_lines(report)
    yield from model_table(report, width=width)
    yield from folded_note(node.node_id for node in report.nodes)
    if report.status is Status.RUNNING:
        note = (
            "The run is in flight: this is of executions that have ended. The timeline shows those that run."
        )
        yield Text(note, style=QUIET_STYLE, overflow="fold")
    if not nesting_known:
        yield Text("MLflow keeps no nesting and no errors: shares are of total time.", style=QUIET_STYLE)


def details(report: ProfileReport) -> tuple[str, ...]:
    return (
        f"workflow {printable(report.workflow)}" if report.workflow else "",
        report.status.label if report.status else "",
        wall(report),
    )


def wall(report: ProfileReport) -> str:
    if not report.wall_ns:
        return ""
    up_to = " up to the last event" if report.status is Status.RUNNING else ""
    return f"wall {figures.duration(report.wall_ns)}{up_to}"


def rows(report: ProfileReport, threshold_percent: float, *, nesting_known: bool) -> Iterator[Row]:
    bottlenecks = report.bottlenecks(threshold_percent)
    for node in report.nodes:
        slowest = node is report.slowest_node
        bottleneck = node in bottlenecks
        critical = node is report.critical_node
        signs = "".join(
            sign
            for sign, shown in (
                (SLOWEST_SIGN, slowest),
                (BOTTLENECK_SIGN, bottleneck),
                (CRITICAL_SIGN, critical),
            )
            if shown
        )
        style = ALARMING_STYLE if bottleneck else NOTABLE_STYLE if slowest or critical else ""
        found = cells(report, node, signs)
        yield Row(found if nesting_known else without_unknowns(found), style=style)


def cells(report: ProfileReport, node: NodeProfile, signs: str) -> tuple[Cell, ...]:
    percent = report.percent_of_total(node)
    return (
        Cell(signs),
        Cell(printable(node.node_id)),
        Cell(figures.count(node.calls)),
        Cell(figures.duration(node.total_ns)),
        Cell(figures.duration(node.self_ns)),
        Cell(figures.duration(node.avg_ns)),
        Cell(figures.duration_if_known(node.p50_ns)),
        Cell(figures.duration_if_known(node.p95_ns)),
        Cell(figures.duration_if_known(node.p99_ns)),
        Cell(figures.duration(node.max_ns)),
        Cell(figures.count(node.errors), ALARMING_STYLE if node.errors else ""),
        Cell(percent_below(percent)),
        Cell(figures.share_bar(percent), BAR_STYLE),
        *critical_cells(report, node),
    )


def critical_cells(report: ProfileReport, node: NodeProfile) -> Iterator[Cell]:
    times, critical_ns = report.times, node.critical_ns
    if times is None or critical_ns is None:
        yield from (Cell(figures.UNKNOWN),) * 4
    else:
        yield Cell(figures.duration(critical_ns))
        yield Cell(percent_below(percent_of(critical_ns, times.wall_ns)))
        yield Cell(figures.duration_if_known(node.slack_ns))
        yield Cell(f"{times.bottlenecks.get(node.node_id, 0):,} of {times.run_count:,}")
    yield Cell(figures.sparkline(node.p95_history_ns), BAR_STYLE)


def without_unknowns(cells_of_node: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """Dashes for self time and errors, which are not zero but not known."""
    unknown = [column.title in ("Self", "Errors") for column in OVER_RUNS_COLUMNS]
    return tuple(
        Cell(figures.UNKNOWN) if hidden else cell for cell, hidden in zip(cells_of_node, unknown, strict=True)
    )


def critical_lines(report: ProfileReport) -> Iterator[Text]:
    """What the path is made of, and what to do about it."""
    times, advice = report.times, report.advice()
    if times is None or advice is None:
        return
    yield Text()
    yield Text(f"{CRITICAL_SIGN} {printable(advice)}", style=NOTABLE_STYLE, overflow="fold")
    yield from other_measure(report)
    parts = [
        f"{name} {percent_below(percent_of(value, times.wall_ns))}"
        for name, value in path_parts(report, times)
        if value
    ]
    yield Text(f"    Critical path: {', '.join(parts)}", style=QUIET_STYLE, overflow="fold")
    yield from untimed_note(report)
    if times.slot_saved_ns:
        saved = figures.duration(times.slot_saved_ns)
        yield Text(f"    One more execution at a time would save {saved}.", overflow="fold")


def other_measure(report: ProfileReport) -> Iterator[Text]:
    """By self time another node may come first: then both are said."""
    times, busiest = report.times, report.busiest_node
    if times is None or busiest is None or busiest is report.critical_node:
        return
    share = percent_below(report.percent_of_total(busiest))
    waited = percent_below(percent_of(busiest.critical_ns or 0, times.wall_ns))
    yield Text(
        f"    {printable(busiest.node_id)} has most self time, {share} of it all,"
        f" but the run waited for it for {waited} of the wall.",
        overflow="fold",
    )


def path_parts(report: ProfileReport, times: RunTimes) -> Iterator[tuple[str, int]]:
    """Where no call was timed, models and code cannot be told apart."""
    classes = times.classes
    yield "models", classes.model_ns
    yield "models, tools and code" if report.no_call_is_timed else "tools and code", classes.python_ns
    yield "waits before retries", classes.retry_wait_ns
    yield "queue", classes.queue_ns
    yield "outside of nodes and calls", classes.framework_ns


def untimed_note(report: ProfileReport) -> Iterator[Text]:
    if not report.untimed_calls:
        return
    calls = plural(report.untimed_calls, "call")
    of_all = "" if report.no_call_is_timed else f" of {sum(model.calls for model in report.models):,}"
    yield Text(
        f"    How long models took is not recorded for {calls}{of_all}, whose time is in that of the code"
        " around: give track_call a duration_ns, or use track_stream.",
        style=NOTABLE_STYLE,
        overflow="fold",
    )


def model_table(report: ProfileReport, *, width: int) -> Iterator[RenderableType]:
    """Only where somebody measured calls."""
    measured = [model for model in report.models if model.p50_ns is not None]
    if not measured:
        return
    yield Text()
    yield table(MODEL_COLUMNS, [Row(model_cells(model)) for model in measured], width=width)


def model_cells(model: ModelProfile) -> tuple[Cell, ...]:
    speed = model.output_tokens_per_s
    return (
        Cell(f"{figures.name(model.provider)}/{figures.name(model.model)}"),
        Cell(figures.count(model.calls)),
        Cell(figures.duration_if_known(model.p50_ns)),
        Cell(figures.duration_if_known(model.p95_ns)),
        Cell(figures.duration_if_known(model.p99_ns)),
        Cell(figures.duration(model.max_ns)),
        Cell(figures.duration_if_known(model.first_token_p50_ns)),
        Cell(figures.UNKNOWN if speed is None else f"{speed:,.1f}"),
    )


def what_if_lines(answers: Iterable[WhatIf], run_id: str, *, newest_of: int = 1) -> Iterator[Text]:
    """One sentence per question. The run is the newest of the `newest_of` that the report is about."""
    yield Text()
    run = f"run {printable(run_id)}{f', the newest of {newest_of:,},' if newest_of > 1 else ''}"
    for answer in answers:
        sentence = what_if_sentence(answer, run)
        yield Text(f"{CRITICAL_SIGN} {sentence}", style=NOTABLE_STYLE, overflow="fold")


def what_if_sentence(answer: WhatIf, run: str) -> str:
    changed = f"What if {printable(answer.node_id)} {how_changed(answer.multiplier)}: {run}"
    if not answer.saved_ns:
        return f"{changed} would have taken as long, {figures.duration(answer.wall_ns)}."
    share = percent_below(100 * abs(answer.saved_ns) / answer.wall_ns)
    less = "less" if answer.saved_ns > 0 else "more"
    return (
        f"{changed} would have taken {figures.duration(answer.changed_wall_ns)}"
        f" instead of {figures.duration(answer.wall_ns)}:"
        f" {figures.duration(abs(answer.saved_ns))} ({share}) {less}."
    )


def how_changed(multiplier: float) -> str:
    if not multiplier:
        return "were not there"
    return f"were {1 / multiplier:g} times as fast"


def percent_of(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def closing_lines(report: ProfileReport, threshold_percent: float) -> Iterator[Text]:
    slowest = report.slowest_node
    if slowest is not None:
        line = f"Slowest node: {printable(slowest.node_id)} ({slowest.avg_ns / 1e6:.2f}ms avg)"
        if slowest.self_ns * 2 < slowest.total_ns:
            inside = percent_of(slowest.total_ns - slowest.self_ns, slowest.total_ns)
            line += f"; {percent_below(inside)} of its time is that of nodes inside it"
        yield Text(f"{SLOWEST_SIGN} {line}", style=NOTABLE_STYLE, overflow="fold")
    bottlenecks = report.bottlenecks(threshold_percent)
    if not bottlenecks:
        yield Text(f"No node takes more than {threshold_percent:g}% of the total time.")
        return
    title = f"Bottlenecks (>{threshold_percent:g}% of total time):"
    yield Text(f"{BOTTLENECK_SIGN} {title}", style=ALARMING_STYLE)
    for node in bottlenecks:
        share = percent_below(report.percent_of_total(node))
        yield Text(f"    {printable(node.node_id)}: {share}", overflow="fold")
