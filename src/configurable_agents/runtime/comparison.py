"""Two runs, or two sets of runs, side by side: what changed, and whether it is more than noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from configurable_agents.errors import InvalidValueError
from configurable_agents.observability.cost_summary import CallTotals, sum_totals
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
    """ns, nano-dollars or a count; `None` when that side has no such node or model, or nothing is known."""
    after: float | None
    noise_percent: float | None
    """How far past runs lie apart; `None` when there are too few to say."""
    before_unknown_calls: int = 0
    """Calls that are not in `before`, for lack of a price or of usage: it is a lower bound, or `None`."""
    after_unknown_calls: int = 0

    @property
    def percent(self) -> float | None:
        """Of `before`; a lower bound where only `after` is one. `None` when there is nothing to compare."""
        if self.before is None or self.after is None or self.before_unknown_calls:
            return None
        if not self.before:
            return 0.0 if self.after == 0 and not self.after_unknown_calls else None
        return 100 * (self.after - self.before) / self.before

    @property
    def is_certain(self) -> bool:
        """Whether both figures are whole."""
        return not self.before_unknown_calls and not self.after_unknown_calls

    @property
    def is_growth(self) -> bool:
        """Certainly, whatever is not known."""
        if self.after is None or self.before_unknown_calls:
            return False
        return self.after > (self.before or 0)

    @property
    def is_notable(self) -> bool:
        """More than noise. Without a known noise every change is; what is not certain is not."""
        if not self.is_certain and not self.is_growth:
            return False
        change = self.percent
        if change is None:
            return self.before != self.after
        return bool(change) and abs(change) > (self.noise_percent or 0.0)

    def exceeds(self, percent: float) -> bool | None:
        """Whether it grew by more than that, and by more than noise; `None`: it cannot be told."""
        is_on_both_sides = self.before is not None and self.after is not None
        is_beyond = self.percent is None or self.percent > percent
        if is_on_both_sides and is_beyond and self.is_notable:
            return True
        return False if self.is_certain else None

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
        return [
            (limit, change) for limit, change in self._judged(limits) if change.exceeds(limit.percent) is True
        ]

    def undecided(self, limits: Iterable[Limit]) -> list[tuple[Limit, Change]]:
        """The changes of which it cannot be told whether they are, because not every cost is known."""
        return [
            (limit, change) for limit, change in self._judged(limits) if change.exceeds(limit.percent) is None
        ]

    def _judged(self, limits: Iterable[Limit]) -> Iterator[tuple[Limit, Change]]:
        for limit in limits:
            among = self.nodes if limit.metric == "p95" else self.totals
            yield from ((limit, change) for change in among if change.metric == limit.metric)

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


class _Figure(NamedTuple):
    """One figure of a run, or of a model in it."""

    value: float
    calls: int = 0
    unknown_calls: int = 0
    """Calls that are not in the value."""


_OF_CALLS: dict[str, Callable[[CallTotals], _Figure]] = {
    "cost": lambda totals: _Figure(*totals.cost),
    "tokens": lambda totals: _Figure(totals.total_tokens, totals.calls, totals.no_usage_calls),
    "calls": lambda totals: _Figure(totals.calls),
}


def _of_run(metric: str, run: PastRun) -> _Figure:
    if metric == "wall":
        return _Figure(run.wall_ns)
    if metric == "errors":
        return _Figure(sum(node.errors for node in run.nodes))
    return _OF_CALLS[metric](sum_totals(model.totals for model in run.models))


def _total(
    metric: str, before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Change:
    sides = [[_of_run(metric, run) for run in runs] for runs in (before, after, past)]
    return _changed("", metric, sides, len(before), len(after))


def _changed(
    what: str, metric: str, sides: Sequence[Sequence[_Figure]], before_runs: int, after_runs: int
) -> Change:
    """`sides` are before, after, and the runs that say what noise is."""
    one, other, past = sides
    whole = [each.value for each in past if not each.unknown_calls]
    return Change(
        what,
        metric,
        _per_run(one, before_runs),
        _per_run(other, after_runs),
        noise_percent(whole),
        sum(each.unknown_calls for each in one),
        sum(each.unknown_calls for each in other),
    )


def _per_run(figures: Sequence[_Figure], runs: int) -> float | None:
    """`None` where there is no such thing, or nothing is known of it."""
    unknown_calls = sum(each.unknown_calls for each in figures)
    if not figures or (unknown_calls and unknown_calls == sum(each.calls for each in figures)):
        return None
    return sum(each.value for each in figures) / runs


def _node_changes(
    before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Iterable[Change]:
    sides = [_nodes_of(runs) for runs in (before, after, past)]
    totals = {
        node: sum(each.total_ns for side in sides[:2] for each in side.get(node, []))
        for node in (*sides[0], *sides[1])
    }
    for node in sorted(totals, key=lambda name: (-totals[name], name)):
        found = [side.get(node, []) for side in sides]
        one, other, noise = found
        durations = [[_Figure(each.total_ns) for each in side] for side in found]
        yield _changed(node, "total", durations, len(before), len(after))
        yield Change(
            node,
            "p95",
            median(each.p95_ns for each in one) if one else None,
            median(each.p95_ns for each in other) if other else None,
            noise_percent(each.p95_ns for each in noise),
        )
        executions = [[_Figure(each.calls) for each in side] for side in found]
        yield _changed(node, "calls", executions, len(before), len(after))


def _nodes_of(runs: Iterable[PastRun]) -> dict[str, list[PastNode]]:
    found: dict[str, list[PastNode]] = {}
    for run in runs:
        for node in run.nodes:
            found.setdefault(node.node_id, []).append(node)
    return found


def _model_changes(
    before: Sequence[PastRun], after: Sequence[PastRun], past: Sequence[PastRun]
) -> Iterable[Change]:
    sides = [_models_of(runs) for runs in (before, after, past)]
    for model in dict.fromkeys((*sides[0], *sides[1])):
        for metric, figure in _OF_CALLS.items():
            found = [[figure(totals) for totals in side.get(model, [])] for side in sides]
            yield _changed(model, metric, found, len(before), len(after))


def _models_of(runs: Iterable[PastRun]) -> dict[str, list[CallTotals]]:
    """The totals in each run, by `provider/model`; most expensive first."""
    found: dict[str, list[CallTotals]] = {}
    for run in runs:
        for model in run.models:
            found.setdefault(f"{model.provider}/{model.model}", []).append(model.totals)
    return dict(sorted(found.items(), key=lambda item: (-sum(each.cost_nanos for each in item[1]), item[0])))


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
