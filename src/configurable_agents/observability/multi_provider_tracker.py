"""What a workflow's calls cost, across providers: read, priced and added up in memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from configurable_agents.errors import InvalidValueError
from configurable_agents.observability.cost_estimator import CostEstimator, Price
from configurable_agents.observability.cost_summary import NO_CALLS, CallTotals, CostSummary, ModelCost, usd
from configurable_agents.observability.merging import identifies_call, precedence
from configurable_agents.observability.providers import detect_provider, normalise_model
from configurable_agents.observability.usage import MODEL_NAME_TOO_LONG, UsageReading, read_usage
from configurable_agents.telemetry import OTHER_NAME, TOKEN_CLASSES, Usage

if TYPE_CHECKING:
    from configurable_agents.observability.mlflow_tracker import ExperimentCosts, MLFlowTracker

MODELS_MAX = 1_000
"""Pairs of provider and model told apart; calls of further ones are added up under `__other__`."""
RESPONSES_MAX = 20_000
"""Responses remembered by id, to count one that is tracked twice once; the oldest is forgotten."""
MODEL_CHARS_MAX = 256
"""Longer names are cut, with an anomaly."""
PROVIDER_CHARS_MAX = 64

PROVIDER_NOT_TEXT = "provider_not_a_string"
MODEL_NOT_TEXT = "model_not_a_string"
PROVIDER_NAME_TOO_LONG = "provider_name_too_long"


class AssessedCall(NamedTuple):
    """One response, read and priced. `provider` and `model` are the names reports show."""

    provider: str
    model: str
    reading: UsageReading
    """Its anomalies include those of the names given."""
    price: Price
    provider_known_by: str = ""
    """`caller`, `model_prefix`, `response_shape`, `model_name` or `unknown`."""
    model_known_by: str = ""
    """`caller`, `response`, or empty when there is no model."""
    model_as_given: str = ""
    """The name before it was brought into the provider's form; empty when it is the same."""

    def to_json(self) -> dict[str, Any]:
        """What `track_call` returns. The cost, and the tokens, are `None` where they are not known."""
        usage = self.reading.usage
        known = self.price.is_known
        return {
            "provider": self.provider,
            "model": self.model,
            "input_tokens": None if usage is None else usage.all_input_tokens,
            "output_tokens": None if usage is None else usage.all_output_tokens,
            "total_tokens": None if usage is None else usage.total_tokens,
            "cost_usd": usd(self.price.cost_nanos) if known else None,
            "cost_nanos": self.price.cost_nanos if known else None,
            "price_status": self.price.status.value,
            "reason": self.price.reason,
            "tokens": None if usage is None else usage.by_class(),
            "anomalies": list(self.reading.anomalies),
        }


class _Counted(NamedTuple):
    """What the totals hold of one response."""

    key: tuple[str, str]
    totals: CallTotals
    rank: tuple[Any, ...]
    merged: int
    """Further reports of it."""


class MultiProviderCostTracker:
    """Reads, prices and totals calls of any provider. Thread-safe; memory is bounded by `MODELS_MAX`.

    Odd responses never raise: they are counted as calls without usage or without a price. Calls are queued,
    which is atomic, and added up by whoever has the lock: a call tracked by the garbage collector (a dropped
    stream) or a signal handler never waits for a lock that its own thread holds.
    """

    def __init__(
        self,
        mlflow_tracker: MLFlowTracker | None = None,
        *,
        estimator: CostEstimator | None = None,
        counts_responses_once: bool = False,
    ) -> None:
        """With `counts_responses_once`, as within a run, calls with the same response id are one call."""
        self._counts_responses_once = counts_responses_once
        self._mlflow_tracker = mlflow_tracker
        self._estimator = CostEstimator() if estimator is None else estimator
        self._totals: dict[tuple[str, str], CallTotals] = {}
        self._responses: dict[str, _Counted] = {}
        self._pending: deque[tuple[AssessedCall, bool]] = deque()
        """Calls that wait to be added up, each with whether it failed."""
        self._lock = threading.Lock()

    @property
    def estimator(self) -> CostEstimator:
        return self._estimator

    def track_call(
        self, provider: str | None = "", model: str | None = "", response: object = None
    ) -> dict[str, Any]:
        """Assesses and adds one call. Empty `provider` or `model` are taken from the response.

        `input_tokens` is everything sent, cached or not, `output_tokens` everything produced, reasoning too;
        `tokens` holds the classes they are made of. All are `None` where the response has no usage.
        """
        return self.add(self.assess(provider, model, response))

    def assess(
        self,
        provider: str | None,
        model: str | None,
        response: object,
        *,
        at_unix_ns: int | None = None,
        service_tier: str = "",
        batch: bool = False,
    ) -> AssessedCall:
        """Reads and prices a response without adding it. `at_unix_ns` is the time of the call, else now."""
        notes: list[str] = []
        said_provider = _text(provider, PROVIDER_CHARS_MAX, notes, PROVIDER_NOT_TEXT, PROVIDER_NAME_TOO_LONG)
        said_model = _text(model, MODEL_CHARS_MAX, notes, MODEL_NOT_TEXT, MODEL_NAME_TOO_LONG)
        reading = read_usage(response, provider=said_provider)
        if notes:
            reading = reading._replace(anomalies=tuple(dict.fromkeys((*notes, *reading.anomalies))))
        named = said_model or reading.model
        detected = detect_provider(named, provider=said_provider, shape_provider=reading.provider)
        shown = normalise_model(detected.provider, named)
        price = self._estimator.price(
            provider=detected.provider,
            model=shown,
            usage=reading.usage,
            at_unix_ns=time.time_ns() if at_unix_ns is None else at_unix_ns,
            service_tier=service_tier or reading.service_tier,
            batch=batch,
            stated_cost_nanos=reading.stated_cost_nanos,
            anomalies=reading.anomalies,
        )
        return AssessedCall(
            provider=detected.provider,
            model=shown,
            reading=reading,
            price=price,
            provider_known_by=detected.how,
            model_known_by="caller" if said_model else "response" if named else "",
            model_as_given=named if named != shown else "",
        )

    def add(self, assessed: AssessedCall, *, failed: bool = False) -> dict[str, Any]:
        """Adds an assessed call to the totals and returns its figures. Never waits."""
        self._pending.append((assessed, failed))
        if self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()
        return assessed.to_json()

    def after_fork_in_child(self) -> None:
        """The locks may be held by threads that are not here."""
        self._lock = threading.Lock()
        self._estimator.after_fork_in_child()

    def _add_up(self) -> None:
        """With the lock held. Takes what is queued meanwhile as well."""
        while self._pending:
            assessed, failed = self._pending.popleft()
            price = assessed.price
            totals = CallTotals.of_call(assessed.reading.usage, price.status, price.cost_nanos, failed=failed)
            key = (assessed.provider, assessed.model)
            if key not in self._totals and len(self._totals) >= MODELS_MAX:
                key = (OTHER_NAME, OTHER_NAME)
            if self._counts_responses_once and identifies_call(
                assessed.reading.response_id, assessed.provider
            ):
                self._add_once(assessed, key, totals, failed=failed)
            else:
                self._add(key, totals)

    def _add_once(
        self, assessed: AssessedCall, key: tuple[str, str], totals: CallTotals, *, failed: bool
    ) -> None:
        reading = assessed.reading
        rank = precedence(
            reading.usage,
            stated_cost_nanos=reading.stated_cost_nanos,
            anomalies=reading.anomalies,
            is_failed=failed,
            provider=assessed.provider,
            model=assessed.model,
        )
        known = self._responses.pop(reading.response_id, None)
        counted = _Counted(key, totals, (*rank, key, totals.cost_nanos), 0)
        if known is None:
            self._add(key, totals)
        else:
            winner, loser = (counted, known) if counted.rank > known.rank else (known, counted)
            counted = winner._replace(merged=known.merged + 1)
            self._add(known.key, known.totals.plus(CallTotals(merged_calls=known.merged)).negated())
            self._add(counted.key, counted.totals.plus(CallTotals(merged_calls=counted.merged)))
            if self._totals.get(loser.key) == NO_CALLS:
                del self._totals[loser.key]
        self._responses[reading.response_id] = counted
        if len(self._responses) > RESPONSES_MAX:
            del self._responses[next(iter(self._responses))]

    def _add(self, key: tuple[str, str], totals: CallTotals) -> None:
        self._totals[key] = self._totals.get(key, NO_CALLS).plus(totals)

    def summary(self) -> CostSummary:
        """The totals of all calls added so far, as of one moment."""
        with self._lock:
            self._add_up()
            totals = dict(self._totals)
        return CostSummary.of(ModelCost(provider, model, part) for (provider, model), part in totals.items())

    def get_cost_summary(self, runs: Iterable[Any] | None = None) -> dict[str, Any]:
        """The totals as JSON; with `runs`, the totals of those instead.

        `runs` are MLflow runs, or dicts as this method returns them. Raises `InvalidValueError` for others.
        """
        if runs is None:
            return self.summary().to_json()
        return report_json(merged_costs(runs))

    def generate_report(self, experiment_name: str) -> dict[str, Any]:
        """`generate_cost_report` with the URI of this tracker's MLflow tracker, if it has one."""
        tracker = self._mlflow_tracker
        return generate_cost_report(experiment_name, None if tracker is None else tracker.tracking_uri)


def generate_cost_report(experiment_name: str, mlflow_uri: str | None = None) -> dict[str, Any]:
    """The costs of all runs of an experiment, from MLflow alone; the JSON of `CostSummary`.

    `mlflow_uri` defaults to MLflow's own setting (`MLFLOW_TRACKING_URI`). Deleted runs do not count, and
    what a parent run repeats of its children counts once; see `mlflow_tracker.costs_of_runs`. Where a
    run holds totals only, `tokens` (the classes) is `None`.
    Raises `NotFoundError`, `ConfigurationError` or `MLflowUnavailableError`.
    """
    from configurable_agents.observability import mlflow_tracker  # noqa: PLC0415 it imports this module

    return report_json(mlflow_tracker.read_experiment_costs(experiment_name, mlflow_uri))


def report_json(found: ExperimentCosts) -> dict[str, Any]:
    """The JSON of costs read from MLflow."""
    report = found.summary.to_json()
    return report if found.classes_known else _without_classes(report)


def merged_costs(runs: Iterable[Any]) -> ExperimentCosts:
    """The sum of several runs, each an MLflow run or a summary as JSON."""
    from configurable_agents.observability import mlflow_tracker  # noqa: PLC0415 it imports this module

    given = list(runs)
    reports = [run for run in given if isinstance(run, Mapping)]
    total = CostSummary()
    for report in reports:
        total = summary_from_json(report).merged_with(total)
    classes_known = all(map(_classes_known, reports))
    foreign = [run for run in given if not isinstance(run, Mapping)]
    if not all(hasattr(run, "info") and hasattr(run, "data") for run in foreign):
        raise InvalidValueError(
            "runs must be MLflow runs or dicts as get_cost_summary returns; pass a list of them"
        )
    if not foreign:
        return mlflow_tracker.ExperimentCosts(total, classes_known)
    found = mlflow_tracker.costs_of_runs(foreign)
    return mlflow_tracker.ExperimentCosts(
        found.summary.merged_with(total), found.classes_known and classes_known
    )


def _classes_known(report: Mapping[str, Any]) -> bool:
    """Whether a summary as JSON says of what classes its tokens are."""
    parts = (part for provider in report["by_provider"].values() for part in provider["models"].values())
    return all(part["tokens"] is not None or part["total_tokens"] is None for part in parts)


def summary_from_json(data: Mapping[str, Any]) -> CostSummary:
    """A `CostSummary` from its JSON. Raises `InvalidValueError` when it is no such JSON."""
    try:
        entries = [
            ModelCost(provider, model, _totals_from_json(part))
            for provider, whole in data["by_provider"].items()
            for model, part in whole["models"].items()
        ]
        return CostSummary.of(entries, run_count=max(int(data.get("run_count") or 0), 1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidValueError(
            f"not a cost summary ({error!r}); pass what get_cost_summary() returned"
        ) from error


def _totals_from_json(part: Mapping[str, Any]) -> CallTotals:
    coverage = part["coverage"]
    tokens = part["tokens"]
    total = part["total_tokens"] or 0
    usage = Usage(total) if tokens is None else Usage(*(tokens[name] for name in TOKEN_CLASSES))
    return CallTotals(
        calls=part["call_count"],
        cost_nanos=part["total_cost_nanos"] or 0,
        usage=usage,
        priced_calls=coverage["priced_calls"],
        stated_calls=coverage["stated_calls"],
        free_calls=coverage["free_calls"],
        unpriced_calls=coverage["unpriced_calls"],
        no_usage_calls=coverage["no_usage_calls"],
        unpriced_tokens=coverage["unpriced_tokens"],
        failed_calls=part["failed_calls"],
        stated_tokens=coverage.get("stated_tokens", 0),
        free_tokens=coverage.get("free_tokens", 0),
        merged_calls=part.get("merged_calls", 0),
    )


def _without_classes(report: dict[str, Any]) -> dict[str, Any]:
    """The same report where the token classes are not known: no figure is better than a guessed one."""
    report["tokens"] = None
    for provider in report["by_provider"].values():
        provider["tokens"] = None
        for model in provider["models"].values():
            model["tokens"] = None
    return report


def _text(value: Any, chars_max: int, notes: list[str], not_text: str, too_long: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        notes.append(not_text)
        return ""
    if len(value) > chars_max:
        notes.append(too_long)
        return value[:chars_max]
    return value
