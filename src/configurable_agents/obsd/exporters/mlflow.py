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
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from configurable_agents.client.home import Home
from configurable_agents.errors import AgentsObsError
from configurable_agents.obsd import limits
from configurable_agents.obsd.exporters import projection
from configurable_agents.obsd.exporters.mlflow_batches import (
    Doubt,
    Refused,
    RefusedError,
    RunWriter,
    first_line,
    may_be_the_values,
    permanent_errors,
    settled,
)
from configurable_agents.obsd.exporters.mlflow_store import artifact_location, open_store
from configurable_agents.obsd.exporters.mlflow_version import CHECK_EVERY_S, check_version
from configurable_agents.obsd.exporters.projection import ENDINGS, NO_NAME, FinalFigures, Point, milliseconds
from configurable_agents.obsd.exporters.protocol import ExportOutcome, ExportRequest
from configurable_agents.obsd.exporters.worker_memory import (
    bound_memory,
    keep_what_is_loaded,
    ran_out_of_memory,
)
from configurable_agents.obsd.ledger import export_queries, queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.export_queries import Page, RunHead
from configurable_agents.observability import mlflow_names as names
from configurable_agents.runtime.timeline import Timeline
from configurable_agents.runtime.timeline_page import timeline_page
from configurable_agents.telemetry import Status

_log = logging.getLogger(__name__)

NAME = "mlflow"

LIVE_EVERY_S = 5.0
"""How often the totals of a run in flight are written; node times are written as they come."""

RUNS_CACHED_MAX = 10_000

TWINS_LOOKED_AT_MAX = 10
"""MLflow runs with the tag of one run; there should be one."""


class _Taken:
    """What becomes of one request, as it goes along."""

    def __init__(self) -> None:
        self.runs: dict[int, tuple[int, str, int]] = {}
        self.set_aside: dict[int, tuple[int, int, str]] = {}
        self.doubts: list[Doubt] = []

    def wrote(self, run: int, foreign_id: str, final_events: int = -1) -> None:
        self.runs[run] = (run, foreign_id, final_events)

    def refuse(self, seqs: Iterable[int], run: int, reason: str) -> None:
        for seq in seqs:
            self.set_aside.setdefault(seq, (seq, run, reason))

    def refuse_value(self, seqs: list[int], run: int, refused: Refused) -> None:
        if refused.is_refused_again is None:
            self.refuse(seqs, run, refused.reason)
        else:
            self.doubts.append(Doubt(seqs, run, refused))

    def settle(self, pause: Callable[[float], None]) -> None:
        for doubt in settled(self.doubts, pause):
            self.refuse(doubt.seqs, doubt.run, doubt.refused.reason)


class _Final(NamedTuple):
    """What MLflow is told of a run that is over, from one look at the ledger."""

    head: RunHead
    end: list[int]
    """The event of its end."""
    figures: FinalFigures
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
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._client = client
        self._artifact_location = artifact_location
        self._clock = clock
        self._pause = pause
        self._experiments: dict[str, str] = {}
        self._foreign_ids: OrderedDict[int, str] = OrderedDict()
        self._live_at: OrderedDict[int, float] = OrderedDict()

    def export(self, cursor: int) -> ExportOutcome:
        """Writes what comes after `cursor`, and what is to be tried again.

        Raises when MLflow cannot be reached; then nothing counts. Nothing is read while MLflow writes: an
        MLflow that hangs must not keep the ledger's write-ahead log from being folded in.
        """
        with queries.snapshot(self._connection) as connection:
            page = export_queries.read_page(connection, cursor, limit=limits.EXPORT_EVENTS_MAX)
            heads = [self._look_at(run) for run in page.runs()]
            again = export_queries.read_retries(connection, NAME, limit=limits.EXPORT_EVENTS_MAX)
            heads_again = [self._look_at(run) for run in again.runs()]
            due = export_queries.finals_due(connection, NAME, page.upto, limit=limits.EXPORT_FINALS_MAX)
        taken = _Taken()
        for head, totals in heads:
            self._export_run(head, totals, page, taken)
        self._forget(again.runs())
        for head, totals in heads_again:
            self._export_run(head, totals, again, taken)
        for run in due:
            self._finish_run(run, taken)
        taken.settle(self._pause)
        return ExportOutcome(
            cursor=page.upto,
            runs=list(taken.runs.values()),
            set_aside=list(taken.set_aside.values()),
            retried=[seq for seq in again.seqs() if seq not in taken.set_aside],
            more=page.more or again.more or len(due) == limits.EXPORT_FINALS_MAX,
        )

    def _forget(self, runs: Iterable[int]) -> None:
        """Somebody may have restored or removed there what was known of these."""
        for run in runs:
            self._foreign_ids.pop(run, None)
            self._experiments.clear()

    # -- events as they come -------------------------------------------------------------------------

    def _look_at(self, run: int) -> tuple[RunHead, list[Point]]:
        head = export_queries.read_run(self._connection, NAME, run)
        return head, projection.totals(self._connection, head) if self._live_is_due(head) else []

    def _export_run(self, head: RunHead, totals: list[Point], page: Page, taken: _Taken) -> None:
        run = head.run
        try:
            foreign_id = self._foreign_id(head, taken)
            taken.wrote(run, foreign_id)
            writer = RunWriter(self._client, foreign_id, head.run_id)
            executions = [point for point in page.points if point.run == run]
            refused = writer.log_points([*projection.node_points(executions), *totals])
            writer.log_tags(projection.node_tags(executions))
        except RefusedError as refusal:
            _log.warning("events of run %s are set aside: %s", head.run_id, refusal)
            taken.refuse(page.seqs_of(run), run, str(refusal))
            return
        for each in refused:
            if each.seq:
                taken.refuse_value([each.seq], run, each)

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

    # -- the end of a run ------------------------------------------------------------------------------

    def _finish_run(self, run: int, taken: _Taken) -> None:
        """What is refused of its final figures is set aside with the event of its end."""
        final = self._read_final(run)
        head, foreign_id = final.head, final.head.foreign_id
        try:
            foreign_id = self._foreign_id(head, taken)
            with permanent_errors():
                refused = self._write_final(final, foreign_id)
        except RefusedError as refusal:
            _log.warning("run %s cannot be finished in MLflow: %s", head.run_id, refusal)
            refused = [Refused(0, str(refusal))]
        for each in refused:
            taken.refuse_value(final.end, run, each)
        taken.wrote(run, foreign_id, head.events)

    def _read_final(self, run: int) -> _Final:
        with queries.snapshot(self._connection) as connection:
            head = export_queries.read_run(connection, NAME, run)
            has_picture = 0 < head.events <= limits.EXPORT_PAGE_SPANS_MAX
            return _Final(
                head,
                export_queries.end_of_run(connection, run),
                projection.final_figures(connection, head),
                export_queries.run_timeline(connection, head.run_id) if has_picture else None,
            )

    def _write_final(self, final: _Final, foreign_id: str) -> list[Refused]:
        """Returns what MLflow refuses of it."""
        head = final.head
        refused = self._write_figures(head, final.figures, RunWriter(self._client, foreign_id, head.run_id))
        if not head.attach_id:
            self._client.set_terminated(
                foreign_id,
                status=ENDINGS[head.status],
                end_time=milliseconds(head.finished_unix_ns or head.last_event_unix_ns),
            )
        self._log_artifact(foreign_id, final.figures.summary.to_json(), names.ARTIFACT_COST)
        self._log_artifact(foreign_id, final.figures.profile.to_json(), names.ARTIFACT_PROFILE)
        if final.timeline is not None:
            self._log_timeline(final.timeline, foreign_id)
        return refused

    def _write_figures(self, head: RunHead, figures: FinalFigures, writer: RunWriter) -> list[Refused]:
        """In one call where MLflow takes all of it, as it nearly always does."""
        is_first = head.final_events < 0
        if is_first and writer.takes_at_once(figures.totals, figures.params, figures.tags):
            return []
        refused: list[Refused] = []
        told_again = not is_first and head.repriced_events != head.events
        if is_first:
            refused, told_again = self._log_params(writer, figures.params)
        tags = dict(figures.tags)
        if told_again:
            tags[names.TAG_LATE_EVENTS] = (
                f"the run had {head.events} events in the end; params show it before that"
            )
        return [*refused, *writer.log_points(figures.totals), *writer.log_tags(tags)]

    def _log_params(self, writer: RunWriter, params: dict[str, str]) -> tuple[list[Refused], bool]:
        """Writes params that are not there yet. True when some are there with another value."""
        known = self._client.get_run(writer.foreign_id).data.params
        refused = writer.log_params({name: value for name, value in params.items() if name not in known})
        return refused, any(known.get(name, value) != value for name, value in params.items())

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

    # -- MLflow's runs and experiments ---------------------------------------------------------------

    def _foreign_id(self, head: RunHead, taken: _Taken) -> str:
        """The MLflow run of a run: the one it asked for, the one made before, else a new one."""
        known = head.foreign_id or self._foreign_ids.get(head.run)
        if known is None or not known:
            known = head.attach_id or self._find_or_create(head, taken)
        self._foreign_ids[head.run] = known
        self._foreign_ids.move_to_end(head.run)
        if len(self._foreign_ids) > RUNS_CACHED_MAX:
            self._foreign_ids.popitem(last=False)
        return known

    def _find_or_create(self, head: RunHead, taken: _Taken) -> str:
        with permanent_errors():
            experiment_id = self._experiment_id(projection.experiment_name(head))
            found = self._client.search_runs(
                [experiment_id],
                filter_string=f"tags.`{names.TAG_RUN_ID}` = '{head.run_id}'",
                run_view_type=_all_runs(),
                max_results=TWINS_LOOKED_AT_MAX,
            )
            if not found:
                return self._create_run(experiment_id, head, taken)
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        return str((active or found)[0].info.run_id)

    def _create_run(self, experiment_id: str, head: RunHead, taken: _Taken) -> str:
        """A tag of the workflow's that MLflow refuses is set aside with the event of the run's start."""
        tags = projection.start_tags(head)
        ours = {key: tags.pop(key) for key in (names.TAG_RUN_ID, names.TAG_WORKFLOW)}

        def create(tags: dict[str, str]) -> str:
            created = self._client.create_run(
                experiment_id,
                start_time=milliseconds(head.started_unix_ns),
                run_name=head.workflow or NO_NAME,
                tags=tags,
            )
            return str(created.info.run_id)

        try:
            return create({**tags, **ours})
        except Exception as error:
            if not tags or not may_be_the_values(error):
                raise
        foreign_id = create(ours)
        for each in RunWriter(self._client, foreign_id, head.run_id).log_tags(tags):
            taken.refuse_value(export_queries.start_of_run(self._connection, head.run), head.run, each)
        return foreign_id

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


def _all_runs() -> int:
    from mlflow.entities import ViewType  # noqa: PLC0415

    return int(ViewType.ALL)


# -- the process -----------------------------------------------------------------------------------------


def main() -> int:
    _die_with_parent()
    bound_memory()
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
        os.write(answers, failure(error).to_line())
        return 1
    keep_what_is_loaded()
    os.write(answers, ExportOutcome().to_line())
    checked_at = time.monotonic()
    for line in sys.stdin.buffer:
        try:
            if time.monotonic() - checked_at >= CHECK_EVERY_S:
                check_version(uri)
                checked_at = time.monotonic()
            outcome = exporter.export(ExportRequest.from_line(line).cursor)
        except Exception as error:  # noqa: BLE001 - it is for the daemon to decide
            os.write(answers, failure(error).to_line())
            return 1
        os.write(answers, outcome.to_line())
    return 0


def failure(error: Exception) -> ExportOutcome:
    if ran_out_of_memory(error):
        bound = limits.EXPORT_WORKER_BYTES_MAX // 2**20
        return ExportOutcome(
            error=f"the export worker needed more than the {bound} MiB it may have; is it MLflow that answers"
            " at the tracking URI?"
        )
    hopeless = isinstance(error, AgentsObsError | ImportError)
    return ExportOutcome(error=f"{type(error).__name__}: {first_line(error)}", hopeless=hopeless)


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
