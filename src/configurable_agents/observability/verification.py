"""The ledger against MLflow, run by run: what of it is missing there, doubled, or different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.mlflow_runs import FoundPoint, FoundRun

FINDINGS_KEPT_MAX = 1_000
"""Findings that are shown; further ones are counted."""

MISSING, DOUBLED, DIFFERENT, DELETED = "missing", "doubled", "different", "deleted"

_MADE_TEXTS = frozenset({names.TAG_COVERAGE, names.TAG_BOTTLENECK_INFO, names.TAG_ADVICE, names.TAG_THINNED})
"""Tags that another version may word in another way: they have to be there."""


class ExpectedPoint(NamedTuple):
    """One execution as MLflow has it."""

    seq: int
    metric: str
    step: int
    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """A run that was exported, and what MLflow should hold of it. Points come apart, in portions."""

    row: int
    run_id: str
    experiment: str
    mlflow_run_id: str
    is_attached: bool
    events: int
    dead_letters: int
    """Of all states: what MLflow has of these is not certain."""
    has_rows: bool
    """Else its single executions are gone from the ledger, and only totals can be compared."""
    status: str = ""
    """MLflow's, of a run that is final there; empty: it is not yet, and has no totals to compare."""
    totals: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Finding(NamedTuple):
    """Something that is not as it should be, and what to do about it."""

    kind: str
    """`missing`, `doubled`, `different` or `deleted`."""
    run_id: str
    """Empty: the ledger itself."""
    mlflow_run_id: str
    what: str
    to_do: str

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "run_id": self.run_id or None, "mlflow_run_id": self.mlflow_run_id or None}


@dataclass(frozen=True, slots=True)
class Balance:
    """Where every committed event is. The rows were counted one by one."""

    events_committed: int
    events_kept: int
    """Of runs in the ledger, by what the runs say."""
    events_removed: int
    events_purged: int
    rows_expected: int
    """Events of the runs that have all their rows."""
    rows_counted: int
    exporter: str
    tracking_uri: str
    state: str
    events_exported: int
    events_waiting: int
    events_set_aside: int
    events_dropped: int
    runs_to_compare: int

    @property
    def findings(self) -> list[Finding]:
        """What of it does not add up: a defect, since nothing that is done in order leads to it."""
        committed = self.events_committed
        kept = self.events_kept + self.events_removed + self.events_purged
        parts = (self.events_exported, self.events_waiting, self.events_set_aside, self.events_dropped)
        offered = sum(parts) + self.events_purged
        checks = (
            (kept == committed, f"{committed:,} events were committed and {kept:,} are known of"),
            (
                self.rows_counted == self.rows_expected,
                f"its runs have {self.rows_expected:,} events in {self.rows_counted:,} rows",
            ),
            (
                offered == committed and min(parts) >= 0,
                f"exported, waiting, set aside, dropped and purged are {offered:,} of {committed:,} events",
            ),
        )
        return [_not_balanced(what) for holds, what in checks if not holds]


def _not_balanced(what: str) -> Finding:
    return Finding(
        DIFFERENT,
        "",
        "",
        f"the ledger does not add up: {what}",
        "stop the daemon, run `agents-obsd repair`, and report it to the maintainers",
    )


@dataclass(slots=True)
class Verification:
    """What came of it so far."""

    balance: Balance
    runs_compared: int = 0
    points_compared: int = 0
    runs_without_rows: int = 0
    """Compared by their totals only: their rows are past their time."""
    findings: list[Finding] = field(default_factory=list)
    finding_count: int = 0

    def note(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.finding_count += 1
            if len(self.findings) < FINDINGS_KEPT_MAX:
                self.findings.append(finding)

    def to_json(self) -> dict[str, Any]:
        balance = asdict(self.balance)
        shown = {name: value for name, value in balance.items() if name.startswith(("events_", "rows_"))}
        return {
            "balanced": not self.finding_count,
            **shown,
            "exporter": self.balance.exporter,
            "exporter_state": self.balance.state,
            "runs_compared": self.runs_compared,
            "runs_without_rows": self.runs_without_rows,
            "points_compared": self.points_compared,
            "finding_count": self.finding_count,
            "findings": [finding.to_json() for finding in self.findings],
        }


def compare_run(expected: ExpectedRun, found: list[FoundRun]) -> list[Finding]:
    """Everything but the points. `found` are the MLflow runs that say they are this run, deleted ones too."""
    by_id = {run.mlflow_run_id: run for run in found}
    known = by_id.get(expected.mlflow_run_id)
    findings = [
        _finding(
            expected,
            DOUBLED,
            f"MLflow run {run.mlflow_run_id} says that it is this run too",
            f"compare them, then: mlflow runs delete --run-id {run.mlflow_run_id}",
        )
        for run in found
        if run.is_active and run.mlflow_run_id != expected.mlflow_run_id
    ]
    if known is None:
        return [*findings, _gone(expected)]
    if not known.is_active:
        return [*findings, _deleted(expected)]
    return [*findings, *_differences(expected, known)]


def _differences(expected: ExpectedRun, known: FoundRun) -> list[Finding]:
    if not expected.status:
        return []
    pairs: list[tuple[str, str, object, object]] = []
    if not expected.is_attached:
        pairs.append(("status", "", known.status, expected.status))
    pairs += [("metric", name, known.metrics.get(name), value) for name, value in expected.totals.items()]
    pairs += [
        ("tag", name, known.tags.get(name), known.tags.get(name, value) if name in _MADE_TEXTS else value)
        for name, value in expected.tags.items()
    ]
    pairs += [
        ("param", name, known.params.get(name), value)
        for name, value in expected.params.items()
        if not _may_be_older(name, known)
    ]
    return [_difference(expected, *pair) for pair in pairs if pair[2] != pair[3]]


def _may_be_older(param: str, known: FoundRun) -> bool:
    """Params are written once: where MLflow's run says that its figures have changed since, another value is
    the one of before. So is the lack of a cost, where calls got a price only by being repriced."""
    if names.TAG_REPRICED in known.tags:
        provider = names.provider_of_key(param)
        return param in known.params or (provider is not None and provider[1] == "cost_usd")
    return names.TAG_LATE_EVENTS in known.tags and param in known.params


def _difference(expected: ExpectedRun, kind: str, name: str, found: object, wanted: object) -> Finding:
    what = f"{kind} {name}".strip()
    again = f"agents-obs dead-letters retry --run {expected.run_id} --whole-run"
    if found is None:
        return _finding(expected, MISSING, f"{what} is not in MLflow", again)
    to_do = "params are written once: nothing can be done in MLflow" if kind == "param" else again
    return _finding(expected, DIFFERENT, f"{what} is {_short(found)}, not {_short(wanted)}", to_do)


class PointCheck:
    """The points of one run, added in portions and compared metric by metric."""

    def __init__(self, expected: ExpectedRun) -> None:
        self._expected = expected
        self._by_metric: dict[str, dict[int, tuple[int, float]]] = {}
        self.count = 0

    def add(self, points: Iterable[ExpectedPoint]) -> None:
        for point in points:
            self._by_metric.setdefault(point.metric, {})[point.step] = (point.at_ms, point.value)
            self.count += 1

    @property
    def metrics(self) -> list[str]:
        return list(self._by_metric)

    def compare(self, metric: str, found: Iterable[FoundPoint]) -> list[Finding]:
        wanted = self._by_metric[metric]
        steps: dict[int, tuple[int, float]] = {}
        doubled = 0
        for point in found:
            pair = (point.at_ms, point.value)
            doubled += point.step in steps
            if point.step not in steps or wanted.get(point.step) == pair:
                steps[point.step] = pair
        missing = sum(step not in steps for step in wanted)
        different = sum(step in steps and steps[step] != point for step, point in wanted.items())
        more = sum(step not in wanted for step in steps) if self._is_complete else 0
        again = f"agents-obs dead-letters retry --run {self._expected.run_id} --whole-run"
        of_all = f"of {len(wanted):,} points of {metric}"
        counts = (
            (MISSING, missing, f"{of_all} are not in MLflow", again),
            (DIFFERENT, different, f"{of_all} have another time or value", "see who wrote over them"),
            (DOUBLED, doubled, f"points of {metric} are in MLflow twice", "see who wrote them"),
            (DIFFERENT, more, f"points of {metric} are not from the ledger", "see who wrote them"),
        )
        return [
            _finding(self._expected, kind, f"{count:,} {what}", to_do)
            for kind, count, what, to_do in counts
            if count
        ]

    @property
    def _is_complete(self) -> bool:
        """Whether MLflow can have nothing that the ledger did not say."""
        expected = self._expected
        return bool(expected.status) and expected.has_rows and not expected.dead_letters


def _gone(expected: ExpectedRun) -> Finding:
    return _finding(
        expected,
        MISSING,
        f"MLflow run {expected.mlflow_run_id} is not in MLflow",
        f"agents-obs dead-letters retry --run {expected.run_id} --whole-run makes it anew",
    )


def _deleted(expected: ExpectedRun) -> Finding:
    return _finding(
        expected,
        DELETED,
        f"MLflow run {expected.mlflow_run_id} is deleted",
        f"mlflow runs restore --run-id {expected.mlflow_run_id}, or agents-obs purge --run {expected.run_id}",
    )


def _finding(expected: ExpectedRun, kind: str, what: str, to_do: str) -> Finding:
    return Finding(kind, expected.run_id, expected.mlflow_run_id, what, to_do)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"
