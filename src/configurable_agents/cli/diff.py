"""`diff`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import typer

from configurable_agents.cli import sources, terminal
from configurable_agents.cli.endings import complain
from configurable_agents.cli.options import HomeOption, JsonOption, given, home_of, parse_since
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.client.timelines import TimelineClient
from configurable_agents.errors import IncompleteCoverageError, NotFoundError
from configurable_agents.runtime.comparison import Comparison, Limit, compared, parse_limits
from configurable_agents.runtime.past_runs import PastRun

EXIT_LIMIT_EXCEEDED = 6
NOISE_RUNS_MAX = 30


class DiffFormat(StrEnum):
    TABLE = "table"
    MARKDOWN = "markdown"


BeforeArgument = Annotated[str, typer.Argument(metavar="A", help="A run, or an experiment: what was.")]
AfterArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[B]", help="A run, or an experiment: what is. Without it: A since --since against before."
    ),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Where what is begins: 24h, 7d ago, or a date.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only runs started before then.")
]
FailOnOption = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        metavar="LIMITS",
        help="Exit code 6 when a figure grew by more, and by more than noise: cost>+10%,p95>+15%."
        " Of wall, cost, tokens, calls, errors (per run) and p95 (of any node). Exit code 4 when it cannot"
        " be told because calls have no known cost or usage.",
    ),
]
FormatOption = Annotated[
    DiffFormat, typer.Option("--format", help="markdown is for a comment on a pull request.")
]


class Sides(NamedTuple):
    before: list[PastRun]
    after: list[PastRun]
    past: list[PastRun]
    """Runs from which the noise is taken."""


def diff(
    before: BeforeArgument,
    after: AfterArgument = None,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    fail_on: FailOnOption = None,
    as_json: JsonOption = False,
    output: FormatOption = DiffFormat.TABLE,
    home: HomeOption = None,
) -> None:
    """What changed between two runs, two experiments, or two times.

    Figures are means per run, p95 the median of the p95 of the runs. Noise is how far the runs before A lie
    apart (two standard deviations); with fewer than 5 of them it is not known, and every change counts.
    """
    limits = parse_limits(fail_on) if fail_on is not None else []
    with sources.daemon(home_of(home)) as client:
        if after is not None:
            sides = two_sides(client, given(before, "A", "name one"), given(after, "B", "name one"))
        elif since is not None:
            sides = two_times(client, given(before, "A", "name an experiment"), since, until)
        else:
            raise typer.BadParameter("give B, or --since", param_hint="'B'")
    found = compared(*sides)
    show(found, before, after or f"{before} since {since}", as_json=as_json, output=output)
    judge(found, limits)


def judge(found: Comparison, limits: Sequence[Limit]) -> None:
    """Raises `typer.Exit` when a limit is exceeded, `IncompleteCoverageError` when that cannot be told."""
    exceeded = found.exceeded(limits)
    for limit, change in exceeded:
        grown = "appeared" if change.percent is None else f"grew by {change.percent:.1f} %"
        complain(f"{limit.text}: {change.metric}{f' of {change.what}' if change.what else ''} {grown}")
    if exceeded:
        raise typer.Exit(EXIT_LIMIT_EXCEEDED)
    from configurable_agents.cli.render.diff import left_out  # noqa: PLC0415 - Rich is loaded by then

    for limit, change in found.undecided(limits):
        raise IncompleteCoverageError(
            f"{limit.text} cannot be judged: {change.metric} leaves out {left_out(change)};"
            " agents-obs explain says why of each, and agents-obs reprice prices anew"
        )


def show(found: Comparison, before: str, after: str, *, as_json: bool, output: DiffFormat) -> None:
    if as_json:
        terminal.show_json(found.to_json())
        return
    from configurable_agents.cli.render import diff as render  # noqa: PLC0415 - Rich is for tables only

    if output is DiffFormat.MARKDOWN:
        terminal.write_out(render.markdown(found, before, after))
    else:
        terminal.show(lambda width: render.diff_report(found, before, after, width=width))


def two_sides(client: ReportClient, before: str, after: str) -> Sides:
    ask = TimelineClient(client)
    one, other = scope_named(client, before), scope_named(client, after)
    was, now = runs_of(ask, one, before), runs_of(ask, other, after)
    if not one.run_id:
        return Sides(was, now, was)
    experiment = client.runs(one, limit=1)[0][0].experiment
    past = ask.past_runs(
        Scope(experiment=experiment), limit=NOISE_RUNS_MAX, before_unix_ns=was[0].started_unix_ns + 1
    )
    return Sides(was, now, past)


def two_times(client: ReportClient, experiment: str, since: str, until: str | None) -> Sides:
    now_unix_ns = time.time_ns()
    begin = parse_since(since, now_unix_ns)
    end = 0 if until is None else parse_since(until, now_unix_ns)
    ask = TimelineClient(client)
    now = ask.past_runs(Scope(experiment=experiment, since_unix_ns=begin), before_unix_ns=end)
    was = ask.past_runs(Scope(experiment=experiment), before_unix_ns=begin)
    if not now or not was:
        raise NotFoundError(
            f"experiment {experiment!r} has {len(was)} finished runs before {since} and {len(now)} since;"
            " both are needed; choose another time"
        )
    return Sides(was, now, was)


def scope_named(client: ReportClient, name: str) -> Scope:
    """An experiment of that name, else a run. Raises `NotFoundError`."""
    try:
        client.runs(Scope(experiment=name), limit=1)
    except NotFoundError as no_experiment:
        try:
            run_id = client.runs(Scope(run_id=name), limit=1)[0][0].run_id
        except NotFoundError as no_run:
            raise NotFoundError(both(str(no_experiment), str(no_run))) from no_run
        return Scope(run_id=run_id)
    return Scope(experiment=name)


def both(no_experiment: str, no_run: str) -> str:
    """Two sentences as one, with what there is instead after both, and said once."""
    first, _, experiments = no_experiment.partition("; ")
    second, _, runs = no_run.partition("; ")
    return "; ".join(dict.fromkeys((f"{first} and {second}", experiments, runs)))


def runs_of(ask: TimelineClient, scope: Scope, name: str) -> list[PastRun]:
    found = ask.past_runs(scope)
    if not found:
        raise NotFoundError(f"{name!r} has no run that is over; wait for its end")
    return found
