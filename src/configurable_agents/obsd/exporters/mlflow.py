"""The worker that writes to MLflow: `python -m configurable_agents.obsd.exporters.mlflow HOME URI`.

It reads the ledger, is asked on standard input and answers on standard output (see `protocol`). Every
write is one that may be repeated: a point's timestamp and step come from the ledger, a run is looked
up by its tag before it is created, params are written once.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from configurable_agents.client.home import Home
from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters.mlflow_store import artifact_location, open_store
from configurable_agents.obsd.exporters.protocol import ExportOutcome, ExportRequest
from configurable_agents.obsd.exporters.thinning import keeps_point, thinned_tag
from configurable_agents.obsd.ledger import export_queries, queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.export_queries import NodePoint, Page, RunHead
from configurable_agents.observability import mlflow_names as names
from configurable_agents.observability.cost_summary import CostSummary
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.runtime.timeline_page import timeline_page
from configurable_agents.telemetry import Status

_log = logging.getLogger(__name__)

NAME = "mlflow"

METRICS_MAX = 1000
PARAMS_MAX = 100
TAGS_MAX = 100
"""MLflow's bounds on one `log_batch`."""

LIVE_EVERY_S = 5.0
"""How often the totals of a run in flight are written; node times are written as they come."""

RUNS_CACHED_MAX = 10_000

NO_NAME = "(unknown)"
"""Stands for the experiment or workflow of a run whose start never arrived."""

_PERMANENT = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_STATE",
        "BAD_REQUEST",
    }
)
"""MLflow's error codes that a repetition does not cure."""

_ENDINGS = {
    Status.OK: "FINISHED",
    Status.ERROR: "FAILED",
    Status.CANCELLED: "KILLED",
    Status.INTERRUPTED: "KILLED",
}


class RefusedError(Exception):
    """MLflow will never take this; the reason is kept with what is set aside."""


class _Point(NamedTuple):
    """A metric value on its way. `seq` is its event; 0 for totals, which have none."""

    seq: int
    metric: Any


class _Final(NamedTuple):
    """What MLflow is told of a run that is over, from one look at the ledger."""

    head: RunHead
    summary: CostSummary
    profile: ProfileReport
    totals: list[_Point]
    timeline: Timeline | None
    """`None` for a run too long for a picture."""


class MlflowExporter:
    """Writes pages of the ledger to one MLflow store. For one thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        client: Any,
        *,
        artifact_location: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._client = client
        self._artifact_location = artifact_location
        self._clock = clock
        self._experiments: dict[str, str] = {}
        self._foreign_ids: OrderedDict[int, str] = OrderedDict()
        self._live_at: OrderedDict[int, float] = OrderedDict()

    def export(self, cursor: int) -> ExportOutcome:
        """Writes what comes after `cursor`. Raises when MLflow cannot be reached; then nothing counts.

        Nothing is read while MLflow writes: an MLflow that hangs must not keep the ledger's write-ahead
        log from being folded in.
        """
        with queries.snapshot(self._connection):
            page = export_queries.read_page(self._connection, cursor, limit=limits.EXPORT_EVENTS_MAX)
            heads = [self._look_at(run) for run in page.runs()]
            due = export_queries.finals_due(self._connection, NAME, page.upto, limit=limits.EXPORT_FINALS_MAX)
        written: dict[int, tuple[int, str, int]] = {}
        set_aside: list[tuple[int, str]] = []
        for head, totals in heads:
            self._export_run(head, totals, page, written, set_aside)
        for run in due:
            self._finish_run(run, written)
        return ExportOutcome(
            cursor=page.upto,
            runs=list(written.values()),
            set_aside=set_aside,
            more=page.more or len(due) == limits.EXPORT_FINALS_MAX,
        )

    # -- events as they come -------------------------------------------------------------------------

    def _look_at(self, run: int) -> tuple[RunHead, list[_Point]]:
        head = export_queries.read_run(self._connection, NAME, run)
        return head, self._live_totals(head) if self._live_is_due(head) else []

    def _export_run(
        self,
        head: RunHead,
        totals: list[_Point],
        page: Page,
        written: dict[int, tuple[int, str, int]],
        set_aside: list[tuple[int, str]],
    ) -> None:
        run = head.run
        try:
            foreign_id = self._foreign_id(head)
        except RefusedError as refusal:
            set_aside.extend((seq, str(refusal)) for seq in page.seqs_of(run))
            return
        written[run] = (run, foreign_id, -1)
        points = [point for point in page.points if point.run == run]
        tags = _name_tags(points) | _thinned_tags(points)
        set_aside.extend(self._log(foreign_id, [*_node_metrics(points), *totals], tags))

    def _live_is_due(self, head: RunHead) -> bool:
        now = self._clock()
        if (
            head.status is not Status.RUNNING
            or now - self._live_at.get(head.run, -LIVE_EVERY_S) < LIVE_EVERY_S
        ):
            return False
        self._live_at[head.run] = now
        self._live_at.move_to_end(head.run)
        if len(self._live_at) > RUNS_CACHED_MAX:
            self._live_at.popitem(last=False)
        return True

    def _live_totals(self, head: RunHead) -> list[_Point]:
        """The totals as of this snapshot; step = events of the run so far, so a repetition is the same."""
        summary = export_queries.run_cost(self._connection, head.run_id)
        figures = names.cost_metrics(summary, repriced=bool(head.repriced)) | names.profile_metrics(
            head.duration_ns / 1e6
        )
        at_ms = _milliseconds(head.last_event_unix_ns)
        return [_Point(0, _metric(name, value, at_ms, head.events)) for name, value in figures.items()]

    def _log(self, foreign_id: str, points: Sequence[_Point], tags: dict[str, str]) -> list[tuple[int, str]]:
        """Writes points and tags. Returns the events (seq, reason) MLflow will never take."""
        refused: list[tuple[int, str]] = []
        for start in range(0, len(points), METRICS_MAX):
            refused.extend(self._log_points(foreign_id, points[start : start + METRICS_MAX]))
        for some in _slices(list(tags.items()), TAGS_MAX):
            try:
                self._log_batch(foreign_id, tags=some)
            except RefusedError as refusal:
                _log.warning("tags of MLflow run %s are refused: %s", foreign_id, refusal)
        return refused

    def _log_points(self, foreign_id: str, points: Sequence[_Point]) -> list[tuple[int, str]]:
        try:
            self._log_batch(foreign_id, metrics=[point.metric for point in points])
        except RefusedError as refusal:
            if len(points) == 1 or not self._is_active(foreign_id):
                _log.warning("%d points of MLflow run %s are set aside: %s", len(points), foreign_id, refusal)
                return [(point.seq, str(refusal)) for point in points if point.seq]
            middle = len(points) // 2
            return [
                *self._log_points(foreign_id, points[:middle]),
                *self._log_points(foreign_id, points[middle:]),
            ]
        return []

    def _log_batch(
        self,
        foreign_id: str,
        *,
        metrics: Sequence[Any] = (),
        params: Iterable[tuple[str, str]] = (),
        tags: Iterable[tuple[str, str]] = (),
    ) -> None:
        from mlflow.entities import Param, RunTag  # noqa: PLC0415

        with _permanent_errors():
            self._client.log_batch(
                foreign_id,
                metrics=metrics,
                params=[Param(*param) for param in params],
                tags=[RunTag(*tag) for tag in tags],
            )

    def _is_active(self, foreign_id: str) -> bool:
        try:
            with _permanent_errors():
                return bool(self._client.get_run(foreign_id).info.lifecycle_stage == "active")
        except RefusedError:
            return False

    # -- the end of a run ------------------------------------------------------------------------------

    def _finish_run(self, run: int, written: dict[int, tuple[int, str, int]]) -> None:
        final = self._read_final(run)
        head = final.head
        try:
            foreign_id = self._foreign_id(head)
            with _permanent_errors():
                self._write_final(final, foreign_id)
        except RefusedError as refusal:
            _log.warning("run %s cannot be finished in MLflow: %s", head.run_id, refusal)
            foreign_id = head.foreign_id
        written[run] = (run, foreign_id, head.events)

    def _read_final(self, run: int) -> _Final:
        with queries.snapshot(self._connection) as connection:
            head = export_queries.read_run(connection, NAME, run)
            has_picture = 0 < head.events <= limits.EXPORT_PAGE_SPANS_MAX
            return _Final(
                head,
                export_queries.run_cost(connection, head.run_id),
                export_queries.run_profile(connection, head.run_id),
                self._live_totals(head),
                export_queries.run_timeline(connection, head.run_id) if has_picture else None,
            )

    def _write_final(self, final: _Final, foreign_id: str) -> None:
        head, summary, profile, totals, timeline = final
        tags = names.cost_tags(summary) | names.profile_tags(profile)
        tags[names.TAG_RUN_ID] = head.run_id
        params = names.cost_params(summary) | names.profile_params(profile)
        if head.repriced:
            tags[names.TAG_REPRICED] = head.repriced
        told_again = head.final_events >= 0 and head.repriced_events != head.events
        if told_again or not (head.final_events >= 0 or self._log_params(foreign_id, params)):
            tags[names.TAG_LATE_EVENTS] = (
                f"the run had {head.events} events in the end; params show it before that"
            )
        self._log(foreign_id, totals, tags)
        self._log_artifact(foreign_id, summary.to_json(), names.ARTIFACT_COST)
        self._log_artifact(foreign_id, profile.to_json(), names.ARTIFACT_PROFILE)
        if timeline is not None:
            self._log_timeline(timeline, foreign_id)
        if not head.attach_id:
            self._client.set_terminated(
                foreign_id,
                status=_ENDINGS[head.status],
                end_time=_milliseconds(head.finished_unix_ns or head.last_event_unix_ns),
            )

    def _log_artifact(self, foreign_id: str, content: dict[str, Any], name: str) -> None:
        """Artifacts repeat what metrics, params and tags say; a store that takes none holds up nothing."""
        try:
            self._client.log_dict(foreign_id, content, name)
        except OSError as error:
            _log.warning("%s of MLflow run %s is not written: %s", name, foreign_id, error)

    def _log_timeline(self, timeline: Timeline, foreign_id: str) -> None:
        """The picture of the run, so that it opens from MLflow's own pages."""
        page = timeline_page(timeline, rows_max=limits.EXPORT_PAGE_ROWS_MAX)
        try:
            self._client.log_text(foreign_id, page, names.ARTIFACT_TIMELINE)
        except OSError as error:
            _log.warning("%s of MLflow run %s is not written: %s", names.ARTIFACT_TIMELINE, foreign_id, error)

    def _log_params(self, foreign_id: str, params: dict[str, str]) -> bool:
        """Writes params that are not there yet. False when some are there with another value."""
        known = self._client.get_run(foreign_id).data.params
        missing = [(name, value) for name, value in params.items() if name not in known]
        for some in _slices(missing, PARAMS_MAX):
            self._log_batch(foreign_id, params=some)
        return all(known.get(name, value) == value for name, value in params.items())

    # -- MLflow's runs and experiments ---------------------------------------------------------------

    def _foreign_id(self, head: RunHead) -> str:
        """The MLflow run of a run: the one it asked for, the one made before, else a new one."""
        known = head.foreign_id or self._foreign_ids.get(head.run)
        if known is None or not known:
            known = head.attach_id or self._find_or_create(head)
        self._foreign_ids[head.run] = known
        self._foreign_ids.move_to_end(head.run)
        if len(self._foreign_ids) > RUNS_CACHED_MAX:
            self._foreign_ids.popitem(last=False)
        return known

    def _find_or_create(self, head: RunHead) -> str:
        with _permanent_errors():
            experiment_id = self._experiment_id(head.experiment or NO_NAME)
            found = self._client.search_runs(
                [experiment_id],
                filter_string=f"tags.`{names.TAG_RUN_ID}` = '{head.run_id}'",
                run_view_type=_all_runs(),
                max_results=1,
            )
            if found:
                return str(found[0].info.run_id)
            tags = {names.encode_name(key): value for key, value in head.tags.items()}
            created = self._client.create_run(
                experiment_id,
                start_time=_milliseconds(head.started_unix_ns),
                run_name=head.workflow or NO_NAME,
                tags={
                    **tags,
                    names.TAG_RUN_ID: head.run_id,
                    names.TAG_WORKFLOW: head.workflow or NO_NAME,
                },
            )
            return str(created.info.run_id)

    def _experiment_id(self, name: str) -> str:
        known = self._experiments.get(name)
        if known is None:
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage != "active":
                raise RefusedError(f"the experiment {name!r} is deleted in MLflow")
            known = found.experiment_id if found is not None else self._create_experiment(name)
            if len(self._experiments) >= RUNS_CACHED_MAX:
                self._experiments.clear()
            self._experiments[name] = known
        return known

    def _create_experiment(self, name: str) -> str:
        location = None
        if self._artifact_location is not None:
            location = f"{self._artifact_location}/{names.encode_name(name, slashes=False)}"
        return str(self._client.create_experiment(name, artifact_location=location))


class _permanent_errors(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Turns MLflow's errors that no repetition cures into `RefusedError`."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        code = getattr(error, "error_code", None)
        if error is not None and code in _PERMANENT:
            raise RefusedError(_first_line(error)) from error


def _node_metrics(points: Iterable[NodePoint]) -> list[_Point]:
    return [
        _Point(
            point.seq,
            _metric(
                names.node_metric(point.node_id),
                point.duration_ns / 1e6,
                _milliseconds(point.ended_unix_ns),
                point.call_index,
            ),
        )
        for point in points
        if keeps_point(point.call_index)
    ]


def _name_tags(points: Iterable[NodePoint]) -> dict[str, str]:
    found = (names.name_tag(node_id) for node_id in dict.fromkeys(point.node_id for point in points))
    return dict(tag for tag in found if tag is not None)


def _thinned_tags(points: Iterable[NodePoint]) -> dict[str, str]:
    text = thinned_tag(max((point.call_index for point in points), default=0))
    return {names.TAG_THINNED: text} if text else {}


def _metric(name: str, value: float, at_ms: int, step: int) -> Any:
    from mlflow.entities import Metric  # noqa: PLC0415

    return Metric(name, float(value), at_ms, step)


def _milliseconds(unix_ns: int) -> int:
    return unix_ns // 1_000_000


def _slices(items: Sequence[tuple[str, str]], size: int) -> Iterable[Sequence[tuple[str, str]]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _all_runs() -> int:
    from mlflow.entities import ViewType  # noqa: PLC0415

    return int(ViewType.ALL)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


# -- the process -----------------------------------------------------------------------------------------


def main() -> int:
    _die_with_parent()
    answers = _private_stdout()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s exporter=mlflow %(message)s")
    home, uri = Home.from_environment(sys.argv[1]), sys.argv[2]
    try:
        exporter = MlflowExporter(
            open_for_reading(home.ledger),
            open_store(home, uri),
            artifact_location=artifact_location(home, uri),
        )
    except Exception as error:  # noqa: BLE001 - it is for the daemon to decide
        os.write(answers, _failure(error).to_line())
        return 1
    os.write(answers, ExportOutcome().to_line())
    for line in sys.stdin.buffer:
        try:
            outcome = exporter.export(ExportRequest.from_line(line).cursor)
        except Exception as error:  # noqa: BLE001 - it is for the daemon to decide
            os.write(answers, _failure(error).to_line())
            return 1
        os.write(answers, outcome.to_line())
    return 0


def _failure(error: Exception) -> ExportOutcome:
    hopeless = isinstance(error, AgentsObsError | ImportError)
    return ExportOutcome(error=f"{type(error).__name__}: {_first_line(error)}", hopeless=hopeless)


def _private_stdout() -> int:
    """Answers get a descriptor of their own; what libraries print goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _die_with_parent() -> None:
    """A worker that hangs in MLflow must not outlive its daemon (on Linux; else the closed pipe ends it)."""
    set_parent_death_signal = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
