"""Our runs as an MLflow store has them: looked up by their tag, read, deleted. Every call has a deadline.

MLflow is imported inside functions only, as in `mlflow_tracker`.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from configurable_agents.errors import AgentsObsError, MLflowUnavailableError
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.mlflow_tracker import mlflow_errors, open_client, without_user

T = TypeVar("T")

CALL_DEADLINE_S = 60.0
"""An MLflow that has not answered one call by then is reported, not waited for."""

RUNS_LOOKED_AT_MAX = 10
"""MLflow runs with the tag of one run; there should be one."""

_HTTP_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""MLflow's own retries take minutes."""


class FoundRun(NamedTuple):
    """An MLflow run."""

    mlflow_run_id: str
    is_active: bool
    """Else it is deleted, which MLflow can undo until `mlflow gc`."""
    status: str
    metrics: Mapping[str, float]
    """The latest value of each."""
    params: Mapping[str, str]
    tags: Mapping[str, str]


class FoundPoint(NamedTuple):
    step: int
    at_ms: int
    value: float


class MlflowRuns:
    """The runs of one store. Each method raises `MLflowUnavailableError` when MLflow does not answer in time,
    and `ConfigurationError` for an address that cannot be used. For one thread.
    """

    def __init__(self, tracking_uri: str, *, deadline_s: float = CALL_DEADLINE_S) -> None:
        for name, value in _HTTP_SETTINGS.items():
            os.environ.setdefault(name, value)
        self._uri = tracking_uri
        self._deadline_s = deadline_s
        self._client: Any = self._within_deadline(lambda: open_client(tracking_uri))
        self._experiment_ids: dict[str, str | None] = {}

    def by_tag(self, experiment: str, run_id: str) -> list[FoundRun]:
        """All runs of an experiment that say they are this run, deleted ones too."""
        experiment_id = self._experiment_id(experiment)
        if experiment_id is None:
            return []
        found = self._within_deadline(
            lambda: self._client.search_runs(
                [experiment_id],
                filter_string=f"tags.`{names.TAG_RUN_ID}` = '{run_id}'",
                run_view_type=_all_runs(),
                max_results=RUNS_LOOKED_AT_MAX,
            )
        )
        return [_found_run(run) for run in found]

    def by_id(self, mlflow_run_id: str) -> FoundRun | None:
        def get() -> Any:
            from mlflow.exceptions import MlflowException  # noqa: PLC0415

            try:
                return self._client.get_run(mlflow_run_id)
            except MlflowException as error:
                if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    return None
                raise

        found = self._within_deadline(get)
        return None if found is None else _found_run(found)

    def points(self, mlflow_run_id: str, metric: str) -> list[FoundPoint]:
        """All points of one metric. Thinning bounds how many there are of ours."""
        history = self._within_deadline(lambda: self._client.get_metric_history(mlflow_run_id, metric))
        return [FoundPoint(point.step, point.timestamp, point.value) for point in history]

    def delete(self, mlflow_run_id: str) -> None:
        self._within_deadline(lambda: self._client.delete_run(mlflow_run_id))

    def _experiment_id(self, name: str) -> str | None:
        if name not in self._experiment_ids:
            found = self._within_deadline(lambda: self._client.get_experiment_by_name(name))
            self._experiment_ids[name] = None if found is None else str(found.experiment_id)
        return self._experiment_ids[name]

    def _within_deadline(self, call: Callable[[], T]) -> T:
        """A call that hangs is left to a thread that ends with the process."""
        answers: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                with mlflow_errors():
                    answers.put(([call()], None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked
                answers.put(([], error))

        threading.Thread(target=answer, daemon=True).start()
        try:
            found, error = answers.get(timeout=self._deadline_s)
        except queue.Empty:
            raise MLflowUnavailableError(
                f"MLflow at {without_user(self._uri)} did not answer within {self._deadline_s:g} s;"
                " see whether it is up, then try again"
            ) from None
        if error is not None:
            raise error if isinstance(error, AgentsObsError) else AgentsObsError(str(error)) from error
        return found[0]


def delete_runs(
    store: MlflowRuns, run_id: str, *, experiment: str, mlflow_run_id: str, is_attached: bool
) -> list[str]:
    """Deletes the MLflow runs of a run and returns their ids. One that the workflow made itself is left."""
    found = store.by_tag(experiment, run_id)
    if mlflow_run_id and all(run.mlflow_run_id != mlflow_run_id for run in found):
        known = store.by_id(mlflow_run_id)
        found += [known] if known is not None else []
    ours = [
        run.mlflow_run_id
        for run in found
        if run.is_active and not (is_attached and run.mlflow_run_id == mlflow_run_id)
    ]
    for each in ours:
        store.delete(each)
    return ours


def _found_run(run: Any) -> FoundRun:
    return FoundRun(
        run.info.run_id,
        run.info.lifecycle_stage == "active",
        run.info.status,
        run.data.metrics,
        run.data.params,
        run.data.tags,
    )


def _all_runs() -> int:
    from mlflow.entities import ViewType  # noqa: PLC0415

    return int(ViewType.ALL)
