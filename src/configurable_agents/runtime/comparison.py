"""Two runs, or two sets of runs, side by side: what changed, and whether it is more than noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime.past_runs import PastNode, PastRun

NOISE_RUNS_MIN = 5
"""With fewer past runs nothing is said about noise."""

MAD_TO_DEVIATION = 1.4826
"""The median absolute deviation times this is the standard deviation of a normal distribution."""

NOISE_DEVIATIONS = 2.0

FAIL_ON = re.compile(r"\s*(\w+)\s*>\s*\+?(\d+(?:\.\d+)?)\s*%\s*")

METRICS = ("wall", "cost", "tokens", "calls", "errors")
"""Figures of a whole run. `p95` is of nodes."""


class Change(NamedTuple):
    """One figure before and after: the mean over the runs of each side, the median for p95."""

    what: str
    """Empty, or the node or model it is of."""
    metric: str
    """`wall`, `cost`, `tokens`, `calls`, `errors`, `total` or `p95`."""
    before: float | None
    """ns, nano-dollars or a count; `None` when that side has no such node or model."""
    after: float | None
    noise_percent: float | None
    """How far past runs lie apart; `None` when there are too few to say."""

    @property
    def percent(self) -> float | None:
        """Of `before`; `None` when that is nothing to compare with."""
        if self.before is None or self.after is None:
            return None
        if not self.before:
            return 0.0 if not self.after else None
        return 100 * (self.after - self.before) / self.before

    @property
    def is_notable(self) -> bool:
        """More than noise. Without a known noise every change is."""
        change = self.percent
        if change is None:
            return self.before != self.after
        return bool(change) and abs(change) > (self.noise_percent or 0.0)

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "percent": self.percent, "notable": self.is_notable}


class Limit(NamedTuple):
    """`cost>+10%`: fails when the cost grows by more."""

    metric: str
    percent: float

    @property
    def text(self) -> str:
        return f"{self.metric}>+{self.percent:g}%"


@dataclass(frozen=True, slots=True)
class Comparison:
    before_runs: int
    after_runs: int
    noise_runs: int
    totals: tuple[Change, ...]
    nodes: tuple[Change, ...]
    """For each node, most time first: `total`, `p95`, `calls`."""
    models: tuple[Change, ...]
    """For each model: `cost`, `tokens`, `calls`."""

    def exceeded(self, limits: Iterable[Limit]) -> list[tuple[Limit, Change]]:
        """The changes that are beyond a limit and more than noise."""
        found: list[tuple[Limit, Change]] = []
        for limit in limits:
            among = self.nodes if limit.metric == "p95" else self.totals
            found.extend(
                (limit, change)
                for change in among
                if change.metric == limit.metric and _is_beyond(change, limit.percent)
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """`diff --json`; see docs/json.md."""
        return {
            "before_run_count": self.before_runs,
            "after_run_count": self.after_runs,
            "noise_run_count": self.noise_runs,
            "totals": [change.to_json() for change in self.totals],
            "nodes": [change.to_json() for change in self.nodes],
            "models": [change.to_json() for change in self.models],
        }


def _is_beyond(change: Change, percent: float) -> bool:
    if not change.is_notable or change.after is None or change.before is None:
        return False
    return change.percent is None or change.percent > percent


def parse_limits(text: str) -> list[Limit]:
    """`cost>+10%,p95>+15%`. Raises `InvalidValueError`."""
    found = []
    for part in text.split(","):
        match = FAIL_ON.fullmatch(part)
        if match is None or match[1] not in (*METRICS, "p95"):
            known = ", ".join((*METRICS, "p95"))
            raise InvalidValueError(f"{part!r} is no limit; give for example cost>+10%,p95>+15% (of {known})")
        found.append(Limit(match[1], float(match[2])))
    return found


def compared(before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]) -> Comparison:
    """`past` are runs from which the noise is taken. Neither side may be empty."""
    return Comparison(
        len(before),
        len(after),
        len(past),
        tuple(_total(metric, before, after, past) for metric in METRICS),
        tuple(_node_changes(before, after, past)),
        tuple(_model_changes(before, after, past)),
    )


_OF_RUN: dict[str, Callable[[PastRun], float]] = {
    "wall": lambda run: run.wall_ns,
    "cost": lambda run: sum(model.totals.cost_nanos for model in run.models),
    "tokens": lambda run: sum(model.totals.total_tokens for model in run.models),
    "calls": lambda run: sum(model.totals.calls for model in run.models),
    "errors": lambda run: sum(node.errors for node in run.nodes),
}


def _total(
    metric: str, before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Change:
    figure = _OF_RUN[metric]
    return Change(
        "", metric, fmean(map(figure, before)), fmean(map(figure, after)), noise_percent(map(figure, past))
    )


def _node_changes(
    before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Iterable[Change]:
    sides = [_nodes_of(runs) for runs in (before, after, past)]
    totals = {
        node: sum(each.total_ns for side in sides[:2] for each in side.get(node, []))
        for node in (*sides[0], *sides[1])
    }
    for node in sorted(totals, key=lambda name: (-totals[name], name)):
        one, other, noise = (side.get(node, []) for side in sides)
        yield Change(
            node,
            "total",
            _per_run(one, before, lambda each: each.total_ns),
            _per_run(other, after, lambda each: each.total_ns),
            noise_percent(each.total_ns for each in noise),
        )
        yield Change(
            node,
            "p95",
            median(each.p95_ns for each in one) if one else None,
            median(each.p95_ns for each in other) if other else None,
            noise_percent(each.p95_ns for each in noise),
        )
        yield Change(
            node,
            "calls",
            _per_run(one, before, lambda each: each.calls),
            _per_run(other, after, lambda each: each.calls),
            noise_percent(each.calls for each in noise),
        )


def _nodes_of(runs: Iterable[PastRun]) -> dict[str, list[PastNode]]:
    found: dict[str, list[PastNode]] = {}
    for run in runs:
        for node in run.nodes:
            found.setdefault(node.node_id, []).append(node)
    return found


def _per_run(
    nodes: Sequence[PastNode], runs: Sequence[PastRun], figure: Callable[[PastNode], float]
) -> float | None:
    return sum(map(figure, nodes)) / len(runs) if nodes else None


def _model_changes(
    before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Iterable[Change]:
    sides = [_models_of(runs) for runs in (before, after, past)]
    figures = {"cost": 0, "tokens": 1, "calls": 2}
    for model in dict.fromkeys((*sides[0], *sides[1])):
        one, other, noise = (side.get(model, []) for side in sides)
        for metric, position in figures.items():
            yield Change(
                model,
                metric,
                sum(each[position] for each in one) / len(before) if one else None,
                sum(each[position] for each in other) / len(after) if other else None,
                noise_percent(each[position] for each in noise),
            )


def _models_of(runs: Iterable[PastRun]) -> dict[str, list[tuple[int, int, int]]]:
    """Cost, tokens and calls in each run, by `provider/model`; most expensive first."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for run in runs:
        for model in run.models:
            totals = model.totals
            figures = (totals.cost_nanos, totals.total_tokens, totals.calls)
            found.setdefault(f"{model.provider}/{model.model}", []).append(figures)
    return dict(sorted(found.items(), key=lambda item: (-sum(each[0] for each in item[1]), item[0])))


def noise_percent(values: Iterable[float]) -> float | None:
    """Two standard deviations in percent of the median, from the median absolute deviation, which a few
    runs that went wrong do not move (Rousseeuw and Croux, "Alternatives to the Median Absolute
    Deviation", 1993). `None` for fewer than `NOISE_RUNS_MIN` values, or around nothing."""
    known = list(values)
    if len(known) < NOISE_RUNS_MIN:
        return None
    middle = median(known)
    if not middle:
        return None
    deviation = MAD_TO_DEVIATION * median(abs(value - middle) for value in known)
    return 100 * NOISE_DEVIATIONS * deviation / middle
