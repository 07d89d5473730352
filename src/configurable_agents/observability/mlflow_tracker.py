"""Costs and profiles in MLflow: written for scripts that have no daemon, read for reports.

With `mlflow_names` this is all the library knows of MLflow, which is imported inside functions only: that
takes seconds. A call logged here costs milliseconds; the daemon is the way for workflows.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from configurable_agents.errors import (
    AgentsObsError,
    ConfigurationError,
    InvalidValueError,
    MLflowUnavailableError,
    NotFoundError,
)
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.cost_estimator import COST_NANOS_MAX
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost, sum_totals
from configurable_agents.observability.multi_provider_tracker import (
    AssessedCall,
    MultiProviderCostTracker,
    report_json,
)
from configurable_agents.observability.providers import UNKNOWN_PROVIDER
from configurable_agents.telemetry import NANOS_PER_USD, Usage

RUNS_PER_PAGE = 500
RUNS_TRACKED_MAX = 256
"""MLflow runs whose totals are kept in memory; a forgotten one is read back from its tags."""
EXPERIMENTS_NAMED_MAX = 5
"""Experiments an error message names."""
EXPERIMENTS_READ_MAX = 1_000
SERVER_ANSWER_SECONDS_MAX = 5.0
"""A tracking server that does not answer by then is reported, not waited for."""
UNITS_PER_BATCH_MAX = 100
POINTS_PER_BATCH_MAX = 500
HISTORY_POINTS_MAX = 100_000
"""Points read of one metric when a profile is made from a run's history."""
DURATION_MS_MAX = 10**10
"""About 116 days, the most a recorded execution can last."""

_PARENT_TAG = "mlflow.parentRunId"
_NS_PER_MS = 1_000_000
_log = logging.getLogger(__name__)


# --- reading ---------------------------------------------------------------------------------------


class ExperimentCosts(NamedTuple):
    summary: CostSummary
    classes_known: bool
    """False when a run holds only totals of tokens; these then stand in the class `input_tokens`."""


def read_experiment_costs(experiment_name: str, mlflow_uri: str | None = None) -> ExperimentCosts:
    """The costs of all runs of an experiment that are not deleted, page by page.

    Raises `NotFoundError` naming experiments there are, `ConfigurationError` for a URI that cannot be used,
    `MLflowUnavailableError` when MLflow is missing or does not answer.
    """
    with mlflow_errors():
        client = open_client(mlflow_uri)
        experiment_id = _experiment_id(client, experiment_name)
        found = costs_of_runs(_runs(client, experiment_id))
    return found._replace(summary=replace(found.summary, experiment=experiment_name))


def costs_of_runs(runs: Iterable[Any]) -> ExperimentCosts:
    """The sum over MLflow runs, nothing counted twice.

    A run with a tag of ours (`agents_obs.run_id`, `agents_obs.cost`) carries its own calls only, so it
    always counts. Of other runs a parent that has at least the cost and tokens of its children together is
    taken to include them and counts instead of them; a parent with less counts beside them. Runs without
    cost metrics are ignored.
    """
    nodes = {run.info.run_id: _RunCosts.of(run) for run in runs if run.info.lifecycle_stage == "active"}
    children: dict[str, list[_RunCosts]] = {}
    for node in nodes.values():
        children.setdefault(node.parent_id if node.parent_id in nodes else "", []).append(node)
    counted = _counted(nodes, children)
    return ExperimentCosts(
        CostSummary.of(
            (entry for node in counted for entry in node.models),
            run_count=len(counted),
            wasted=_sum_if_known([node.wasted for node in counted]),
        ),
        classes_known=all(node.classes_known for node in counted),
    )


def _sum_if_known(parts: Sequence[CallTotals | None]) -> CallTotals | None:
    known = [part for part in parts if part is not None]
    return sum_totals(known) if len(known) == len(parts) else None


@dataclass(frozen=True, slots=True)
class _RunCosts:
    run_id: str
    parent_id: str
    is_ours: bool
    models: tuple[ModelCost, ...]
    classes_known: bool
    wasted: CallTotals | None = None
    """`None`: not known."""

    @classmethod
    def of(cls, run: Any) -> _RunCosts:
        tags, metrics = run.data.tags, run.data.metrics
        exact = names.exact_models(tags[names.TAG_COST]) if names.TAG_COST in tags else None
        models = _models_from_metrics(metrics, names.original_names(tags)) if exact is None else exact
        return cls(
            run_id=run.info.run_id,
            parent_id=tags.get(_PARENT_TAG, ""),
            is_ours=names.TAG_RUN_ID in tags or names.TAG_COST in tags,
            models=models,
            classes_known=exact is not None or not models,
            wasted=names.wasted_totals(tags[names.TAG_WASTED]) if names.TAG_WASTED in tags else None,
        )

    @property
    def weight(self) -> tuple[int, int]:
        """Cost and tokens."""
        return (
            sum(entry.totals.cost_nanos for entry in self.models),
            sum(entry.totals.total_tokens for entry in self.models),
        )


def _counted(nodes: Mapping[str, _RunCosts], children: Mapping[str, list[_RunCosts]]) -> list[_RunCosts]:
    """Bottom-up without recursion, however deep runs nest; runs in a circle of parents count each."""
    chosen: dict[str, list[_RunCosts]] = {}
    order = _children_first(children)
    for node in order:
        below = [run for child in children.get(node.run_id, ()) for run in chosen.get(child.run_id, ())]
        chosen[node.run_id] = _chosen(node, below)
    roots = [run for root in children.get("", ()) for run in chosen[root.run_id]]
    reached = {node.run_id for node in order}
    circular = [node for node in nodes.values() if node.run_id not in reached and node.models]
    return [*roots, *circular]


def _children_first(children: Mapping[str, list[_RunCosts]]) -> list[_RunCosts]:
    order: list[_RunCosts] = []
    waiting = list(children.get("", ()))
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(children.get(node.run_id, ()))
    return order[::-1]


def _chosen(node: _RunCosts, below: list[_RunCosts]) -> list[_RunCosts]:
    if not node.models:
        return below
    if node.is_ours or not below:
        return [node, *below]
    if not _includes(node, below):
        return [node, *below]
    return below if any(run.is_ours for run in below) else [node]


def _includes(parent: _RunCosts, below: list[_RunCosts]) -> bool:
    """Metrics are floats: each child may be off by a nano-dollar."""
    cost, tokens = parent.weight
    weights = [run.weight for run in below]
    return cost + len(below) >= sum(part[0] for part in weights) and tokens >= sum(
        part[1] for part in weights
    )


def _models_from_metrics(metrics: Mapping[str, float], originals: Mapping[str, str]) -> tuple[ModelCost, ...]:
    """The most detailed level there is: per model, else per provider, else the run's total."""
    by_model: dict[tuple[str, str], dict[str, float]] = {}
    by_provider: dict[tuple[str, str], dict[str, float]] = {}
    for key, value in metrics.items():
        named = names.model_of_metric(key, originals)
        if named is not None:
            by_model.setdefault((named.provider, named.model), {})[named.what] = value
            continue
        provider = names.provider_of_key(key)
        if provider is not None:
            by_provider.setdefault((provider[0], UNKNOWN_PROVIDER), {})[provider[1]] = value
    total = {
        what: metrics[key]
        for key, what in (
            (names.TOTAL_COST_USD, "cost_usd"),
            (names.TOTAL_TOKENS, "tokens"),
            (names.LLM_CALLS, "calls"),
            (names.UNPRICED_CALLS, "unpriced_calls"),
        )
        if key in metrics
    }
    whole = {(UNKNOWN_PROVIDER, UNKNOWN_PROVIDER): total} if total.keys() - {"unpriced_calls"} else {}
    found = by_model or by_provider or whole
    return tuple(ModelCost(*key, _totals(figures)) for key, figures in found.items())


def _totals(figures: Mapping[str, float]) -> CallTotals:
    """A group without a cost has calls without a price, one without tokens too has calls without usage; the
    class of its tokens is not known."""
    tokens = _whole(figures.get("tokens", 0.0))
    calls = _whole(figures.get("calls", 0.0))
    cost_nanos = _nanos(figures["cost_usd"]) if "cost_usd" in figures else None
    unpriced = calls if cost_nanos is None else min(_whole(figures.get("unpriced_calls", 0.0)), calls)
    no_usage = unpriced if cost_nanos is None and "tokens" not in figures else 0
    return CallTotals(
        calls=calls,
        cost_nanos=cost_nanos or 0,
        usage=Usage(input_tokens=tokens),
        priced_calls=calls - unpriced,
        unpriced_calls=unpriced - no_usage,
        no_usage_calls=no_usage,
        unpriced_tokens=tokens if cost_nanos is None else 0,
    )


def _whole(value: float) -> int:
    return round(value) if math.isfinite(value) and value > 0 else 0


def _nanos(dollars: float) -> int | None:
    """Foreign metrics hold anything: what is no amount of money is not known."""
    if not math.isfinite(dollars) or not 0 <= dollars * NANOS_PER_USD <= COST_NANOS_MAX:
        return None
    return round(dollars * NANOS_PER_USD)


# --- reaching MLflow -------------------------------------------------------------------------------


def open_client(mlflow_uri: str | None) -> Any:
    try:
        import mlflow  # noqa: PLC0415 takes seconds
    except ImportError as error:
        raise MLflowUnavailableError(
            "MLflow is not installed; run: pip install 'agents-obs[daemon]'"
        ) from error
    uri = mlflow_uri or mlflow.get_tracking_uri()
    _check_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri)


def _check_uri(uri: str) -> None:
    """Asking MLflow would create a missing database, and wait four minutes for a missing server."""
    if not isinstance(uri, str) or not uri.strip():
        raise ConfigurationError(f"{uri!r} is no MLflow URI; give one such as sqlite:///path/to/mlflow.db")
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        path = Path(unquote(parts.path)[1:])
        if not path.is_file():
            raise ConfigurationError(
                f"there is no MLflow database at {path}; check the URI {uri} or set MLFLOW_TRACKING_URI"
            )
    elif parts.scheme in {"http", "https"}:
        _check_server(uri)


def _check_server(uri: str) -> None:
    request = urllib.request.Request(uri.rstrip("/") + "/health")  # noqa: S310 http and https only, see above
    try:
        with urllib.request.urlopen(request, timeout=SERVER_ANSWER_SECONDS_MAX):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return  # it answers; what it thinks of us is for the real request
    except (OSError, ValueError) as error:
        raise MLflowUnavailableError(
            f"no MLflow server answers at {without_user(uri)} ({error}); start it or check the URI"
        ) from error


def without_user(uri: str) -> str:
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl()


ERROR_CHARS_MAX = 300


def shortened(text: str) -> str:
    """At most `ERROR_CHARS_MAX` characters, cut behind a sentence or a word, with a sign where it is cut."""
    if len(text) <= ERROR_CHARS_MAX:
        return text
    kept = text[: ERROR_CHARS_MAX - 2]
    sentence, end, _ = kept.rpartition(". ")
    return sentence + "." if end else f"{kept.rpartition(' ')[0] or kept} …"


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Whatever MLflow or its database raises becomes one line of ours."""
    try:
        yield
    except AgentsObsError:
        raise
    except Exception as error:
        text = shortened(" ".join(str(error).split()))
        if "not a supported" in text or "URI" in type(error).__name__ or "scheme" in text:
            raise ConfigurationError(f"MLflow cannot use this URI: {text}") from error
        raise MLflowUnavailableError(f"MLflow's store does not answer: {text}") from error


def _experiment_id(client: Any, name: str) -> str:
    experiment = client.get_experiment_by_name(name) if isinstance(name, str) and name else None
    if experiment is not None and experiment.lifecycle_stage == "active":
        return str(experiment.experiment_id)
    found = [entry.name for entry in client.search_experiments(max_results=EXPERIMENTS_READ_MAX)]
    near = get_close_matches(str(name), found, n=EXPERIMENTS_NAMED_MAX, cutoff=0.5)
    listed = ", ".join(repr(entry) for entry in (near or found)[:EXPERIMENTS_NAMED_MAX])
    state = "was deleted" if experiment is not None else "does not exist"
    hint = f"{'did you mean' if near else 'there are'}: {listed}" if listed else "the store has none"
    raise NotFoundError(f"the experiment {name!r} {state} in MLflow; {hint}")


def _runs(client: Any, experiment_id: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], max_results=RUNS_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


# --- writing ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _TrackedRun:
    """Totals of one MLflow run. Held and written under `lock`, so that points keep their order."""

    tracker: MultiProviderCostTracker
    before: ExperimentCosts
    """What the run held when this process first saw it."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def costs(self) -> ExperimentCosts:
        return self.before._replace(summary=self.before.summary.merged_with(self.tracker.summary()))


class MLFlowTracker:
    """Logs costs and profiles to MLflow runs from within a script. Thread-safe.

    Making one imports nothing and opens nothing. MLflow failures while a call is tracked are logged as
    warnings and reported in the result: they never reach the workflow.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        *,
        cost_tracker: MultiProviderCostTracker | None = None,
    ) -> None:
        self.tracking_uri = tracking_uri
        """`None`: MLflow's own setting."""
        self.experiment_name = experiment_name
        self._cost_tracker = MultiProviderCostTracker(self) if cost_tracker is None else cost_tracker
        self._runs: dict[str, _TrackedRun] = {}
        self._lock = threading.Lock()
        self._made_client: Any = None

    @property
    def cost_tracker(self) -> MultiProviderCostTracker:
        """The totals of all calls tracked here, whichever run they were logged to."""
        return self._cost_tracker

    def track_provider_call(
        self, provider: str | None, model: str | None, response: object, run_id: str | None = None
    ) -> dict[str, Any]:
        """Tracks a call and logs the run's totals to the given, else the active MLflow run.

        Returns what `track_call` returns and `mlflow_run_id`, `None` when nothing was logged.
        """
        assessed = self._cost_tracker.assess(provider, model, response)
        result = self._cost_tracker.add(assessed)
        result["mlflow_run_id"] = None
        try:
            with mlflow_errors():
                result["mlflow_run_id"] = self._log_call(assessed, run_id)
        except AgentsObsError as error:
            _log.warning("a call was tracked but not logged to MLflow: %s", error)
        return result

    def get_workflow_cost_summary(self, run_id: str | None = None) -> dict[str, Any]:
        """The costs of one MLflow run (given, else active), or of everything tracked when there is none.

        Raises `NotFoundError` for an unknown run, `MLflowUnavailableError`, `ConfigurationError`.
        """
        with mlflow_errors():
            wanted = run_id or _active_run_id()
            if wanted is None:
                return self._cost_tracker.summary().to_json()
            tracked = self._tracked(wanted)
            with tracked.lock:
                return report_json(_of_run(tracked.costs(), wanted))

    def log_workflow_summary(
        self, run_id: str | None = None, profile: names.Profile | None = None
    ) -> dict[str, Any]:
        """Writes the final metrics, params, tags and artifacts of a run; returns its cost summary.

        Params are write-once in MLflow: one that is already there with another value is left and logged as
        a warning. Raises `InvalidValueError` without a run, and as `get_workflow_cost_summary` does.
        """
        with mlflow_errors():
            wanted = run_id or _active_run_id()
            if wanted is None:
                raise InvalidValueError(
                    "there is no active MLflow run; pass run_id or call mlflow.start_run()"
                )
            tracked = self._tracked(wanted)
            with tracked.lock:
                costs = _of_run(tracked.costs(), wanted)
                self._write_summary(wanted, costs)
                if profile is not None:
                    self._write_profile(wanted, profile)
        return report_json(costs)

    def get_bottleneck_report(self, run_id: str) -> dict[str, Any]:
        """`slowest_node`, `bottlenecks` and `total_time_ms` of a run, as logged or from its node metrics.

        Raises `NotFoundError` for an unknown run, `MLflowUnavailableError`, `ConfigurationError`.
        """
        with mlflow_errors():
            run = self._run(run_id)
            logged = run.data.tags.get(names.TAG_BOTTLENECK_INFO)
            info = _json_object(logged) if logged else None
            if info is None:
                info = _bottlenecks_from_history(self._client(), run)
        return {"run_id": run_id, **info}

    def _client(self) -> Any:
        with self._lock:
            if self._made_client is None:
                self._made_client = open_client(self.tracking_uri)
            return self._made_client

    def _run(self, run_id: str) -> Any:
        client = self._client()
        try:
            return client.get_run(run_id)
        except Exception as error:
            if getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise NotFoundError(
                    f"MLflow has no run {run_id!r}; check the id and the tracking URI"
                ) from error
            raise

    def _tracked(self, run_id: str) -> _TrackedRun:
        with self._lock:
            known = self._runs.get(run_id)
        if known is not None:
            return known
        before = costs_of_runs([self._run(run_id)])
        with self._lock:
            while run_id not in self._runs and len(self._runs) >= RUNS_TRACKED_MAX:
                del self._runs[next(iter(self._runs))]
            tracker = MultiProviderCostTracker(estimator=self._cost_tracker.estimator)
            return self._runs.setdefault(run_id, _TrackedRun(tracker, before))

    def _log_call(self, assessed: AssessedCall, run_id: str | None) -> str | None:
        wanted = run_id or _active_run_id()
        if wanted is None:
            return None
        tracked = self._tracked(wanted)
        with tracked.lock:
            tracked.tracker.add(assessed)
            costs = tracked.costs()
            self._write(wanted, names.cost_metrics(costs.summary), tags=_tags(costs))
        return wanted

    def _write_summary(self, run_id: str, costs: ExperimentCosts) -> None:
        self._write(run_id, names.cost_metrics(costs.summary), tags=_tags(costs))
        self._write_params(run_id, names.cost_params(costs.summary))
        self._client().log_dict(run_id, report_json(costs), names.ARTIFACT_COST)

    def _write_profile(self, run_id: str, profile: names.Profile) -> None:
        self._write(run_id, {}, tags=names.profile_tags(profile))
        self._write_params(run_id, names.profile_params(profile))
        self._client().log_dict(run_id, profile.to_json(), names.ARTIFACT_PROFILE)

    def _write(self, run_id: str, metrics: Mapping[str, float], *, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, RunTag  # noqa: PLC0415 takes seconds

        at_ms = time.time_ns() // _NS_PER_MS
        step = int(metrics.get(names.LLM_CALLS, 0))
        points = [Metric(key, value, at_ms, step) for key, value in metrics.items() if math.isfinite(value)]
        labels = [RunTag(key, value) for key, value in tags.items()]
        client = self._client()
        for batch in _batches(points, POINTS_PER_BATCH_MAX):
            client.log_batch(run_id, metrics=batch)
        for batch in _batches(labels, UNITS_PER_BATCH_MAX):
            client.log_batch(run_id, tags=batch)

    def _write_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param  # noqa: PLC0415 takes seconds

        there = self._run(run_id).data.params
        for key, value in params.items():
            if there.get(key, value) != value:
                _log.warning("param %s of MLflow run %s stays %r, not %r", key, run_id, there[key], value)
        fresh = [Param(key, value) for key, value in params.items() if key not in there]
        for batch in _batches(fresh, UNITS_PER_BATCH_MAX):
            self._client().log_batch(run_id, params=batch)


def _active_run_id() -> str | None:
    """Where MLflow was never imported no run can be active, so it is not imported to ask."""
    loaded = sys.modules.get("mlflow")
    active = None if loaded is None else loaded.active_run()
    return None if active is None else str(active.info.run_id)


def _of_run(costs: ExperimentCosts, run_id: str) -> ExperimentCosts:
    return costs._replace(summary=CostSummary.of(costs.summary.models, run_id=run_id, run_count=1))


def _tags(costs: ExperimentCosts) -> dict[str, str]:
    """Without the exact totals where the classes of some tokens are not known."""
    tags = names.cost_tags(costs.summary)
    if not costs.classes_known:
        tags.pop(names.TAG_COST, None)
    return tags


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None  # a tag that someone else wrote: the history still tells
    return found if isinstance(found, dict) else None


def _bottlenecks_from_history(client: Any, run: Any) -> dict[str, Any]:
    """Durations without nesting: a node's share is its duration over the sum of durations."""
    durations = _node_durations(client, run)
    total = math.fsum(value for values in durations.values() for value in values)
    entries = sorted(
        (_entry(node, values, total) for node, values in durations.items()),
        key=lambda entry: (-entry["total_duration_ms"], entry["node_id"]),
    )
    return {
        "slowest_node": entries[0] if entries else None,
        "bottlenecks": [entry for entry in entries if entry["percent_of_total"] > 50.0],
        "total_time_ms": total,
    }


def _entry(node: str, values: list[float], total: float) -> dict[str, Any]:
    spent = math.fsum(values)
    return {
        "node_id": node,
        "total_duration_ms": spent,
        "avg_duration_ms": spent / len(values) if values else 0.0,
        "max_duration_ms": max(values, default=0.0),
        "call_count": len(values),
        "percent_of_total": 100.0 * spent / total if total else 0.0,
    }


class ExperimentDurations(NamedTuple):
    durations_ms: dict[str, list[float]]
    """Per node, one per execution that MLflow holds."""
    run_count: int
    """Runs with at least one node."""
    partial_runs: int = 0
    """Of these, runs of which not all executions are here: MLflow was given some only, or has too many."""
    nodeless_runs: int = 0
    """Further runs, of which MLflow has no node."""


def read_experiment_durations(experiment_name: str, mlflow_uri: str | None = None) -> ExperimentDurations:
    """The node times of all runs of an experiment that are not deleted. Raises as `read_experiment_costs`.

    Asks once per run and node. At most `HISTORY_POINTS_MAX` points of a node in a run are read.
    """
    durations: dict[str, list[float]] = {}
    run_count = partial_runs = nodeless_runs = 0
    with mlflow_errors():
        client = open_client(mlflow_uri)
        for run in _runs(client, _experiment_id(client, experiment_name)):
            found = _node_durations(client, run)
            run_count += bool(found)
            nodeless_runs += not found
            is_cut = any(len(values) >= HISTORY_POINTS_MAX for values in found.values())
            partial_runs += bool(found) and (is_cut or names.TAG_THINNED in run.data.tags)
            for node, values in found.items():
                durations.setdefault(node, []).extend(values)
    return ExperimentDurations(durations, run_count, partial_runs, nodeless_runs)


def _node_durations(client: Any, run: Any) -> dict[str, list[float]]:
    """Foreign metrics hold anything: what is no duration is left out."""
    originals = names.original_names(run.data.tags)
    found: dict[str, list[float]] = {}
    for key in run.data.metrics:
        node = names.node_of_metric(key, originals)
        if node is not None:
            points = client.get_metric_history(run.info.run_id, key)[:HISTORY_POINTS_MAX]
            durations = [point.value for point in points if 0 <= point.value <= DURATION_MS_MAX]
            if durations:
                found[node] = durations
    return found
