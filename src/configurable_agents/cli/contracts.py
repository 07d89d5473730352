"""The JSON of `runs`, `status` and `run --output`. The reports bring their own; docs/json.md has them all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from configurable_agents.cli.escape import without_password
from configurable_agents.client.reports import DaemonStatus, ExporterStatus, PartStatus
from configurable_agents.errors import WireFormatError
from configurable_agents.observability.cost_summary import share_of_all
from configurable_agents.observability.known_cost import cost_of_run, tokens_of_run
from configurable_agents.runtime.profile_report import milliseconds, milliseconds_if_known
from configurable_agents.telemetry import WorkflowRunRecord
from configurable_agents.wire.report_records import StorageStatus

if TYPE_CHECKING:
    from configurable_agents.runtime.executor import WorkflowResult

CRITICAL_PATH_UNKNOWN = {
    "critical_node": None,
    "critical_percent_of_wall": None,
    "between_nodes_percent_of_wall": None,
}
UNKNOWN_TO_MLFLOW = {"self_duration_ms": None, "error_count": None, "bottleneck_run_count": None}


def run_json(run: WorkflowRunRecord) -> dict[str, Any]:
    finished = run.finished_unix_ns
    return {
        "run_id": run.run_id,
        "experiment": run.experiment,
        "workflow": run.workflow,
        "status": run.status.label,
        "started_unix_ns": run.started_unix_ns,
        "started_at": utc_time(run.started_unix_ns),
        "finished_unix_ns": finished,
        "finished_at": None if finished is None else utc_time(finished),
        "wall_time_ms": None if finished is None else milliseconds(finished - run.started_unix_ns),
        "total_cost_usd": cost_of_run(run).usd,
        "total_cost_nanos": cost_of_run(run).known_nanos,
        "total_tokens": tokens_of_run(run).known,
        "llm_calls": run.llm_calls,
        "unpriced_calls": run.unpriced_calls,
        "no_usage_calls": run.no_usage_calls,
        "calls_covered_percent": share_of_all(run.calls_covered_percent),
        "node_executions": run.node_executions,
        "tags": dict(run.tags),
        "mlflow_run_id": run.mlflow_run_id or None,
        "bottleneck_info": bottleneck_info(run),
    }


def result_json(result: WorkflowResult, *, profiled: bool) -> dict[str, Any]:
    """What `run --output` writes. Of a run that was not profiled the executions are not counted here."""
    run = run_json(result.record)
    return {
        "run": run if profiled else {**run, "node_executions": None},
        "state": result.state,
        "costs": result.costs.to_json(),
        "profile": result.profile.to_json() if profiled else None,
        "warnings": list(result.warnings),
    }


def bottleneck_info(run: WorkflowRunRecord) -> dict[str, Any] | None:
    """`None` until a node has finished."""
    if not run.bottleneck_info:
        return None
    try:
        info = json.loads(run.bottleneck_info)
    except ValueError as error:
        raise WireFormatError(f"the bottleneck_info of run {run.run_id} is not JSON") from error
    if not isinstance(info, dict):
        raise WireFormatError(f"the bottleneck_info of run {run.run_id} is not a JSON object")
    return CRITICAL_PATH_UNKNOWN | info


def status_json(status: DaemonStatus) -> dict[str, Any]:
    return {
        "version": status.version,
        "pid": status.pid,
        "started_unix_ns": status.started_unix_ns,
        "started_at": utc_time(status.started_unix_ns),
        "home": status.home,
        "address": status.address,
        "events_committed": status.events_committed,
        "serving": status.is_serving,
        "events_acknowledged": status.events_acknowledged,
        "events_pending": status.events_pending,
        "bytes_pending": status.bytes_pending,
        "oldest_pending_ms": milliseconds(status.oldest_pending_ns),
        "commit_p50_ms": milliseconds_if_known(status.commit_p50_ns),
        "commit_p99_ms": milliseconds_if_known(status.commit_p99_ns),
        "events_kept": status.events_kept,
        "events_purged": status.events_purged,
        "events_removed": status.events_removed,
        "balanced": status.is_balanced,
        "events_duplicate": status.events_duplicate,
        "events_refused": dict(sorted(status.events_refused.items())),
        "names_folded": status.names_folded,
        "prices_problem": status.prices_problem or None,
        "runs_live": status.runs_live,
        "runs_total": status.runs_total,
        "producers_connected": status.producers_connected,
        "ledger_bytes": status.ledger_bytes,
        "spool_bytes": status.spool_bytes,
        "exporters": [exporter_json(exporter) for exporter in status.exporters],
        "parts": [part_json(part) for part in status.parts],
        "storage": storage_json(status.storage),
    }


def storage_json(storage: StorageStatus) -> dict[str, Any]:
    return {
        "free_bytes": storage.free_bytes,
        "reserve_bytes": storage.reserve_bytes,
        "waiting_bytes": storage.waiting_bytes,
        "allowance_bytes": storage.allowance_bytes or None,
        "refuses_because": storage.refuses_because or None,
        "raw_kept_s": storage.raw_kept_s or None,
        "totals_kept_s": storage.totals_kept_s or None,
        "ledger_bytes_max": storage.ledger_bytes_max or None,
        "note": storage.note or None,
        "checked": storage.checked or None,
        "repaired": storage.repaired or None,
        "events_retired": storage.events_retired,
        "runs_retired": storage.runs_retired,
        "runs_retired_for_size": storage.runs_retired_for_size,
        "runs_removed": storage.runs_removed,
        "spools_damaged": storage.spools_damaged,
    }


def part_json(part: PartStatus) -> dict[str, Any]:
    since = part.stuck_since_unix_ns
    return {
        "name": part.name,
        "state": part.state,
        "vital": part.is_vital,
        "stuck_since_unix_ns": since or None,
        "stuck_since_at": utc_time(since) if since else None,
        "problem": without_password(part.problem) or None,
    }


def exporter_json(exporter: ExporterStatus) -> dict[str, Any]:
    last_success = exporter.last_success_unix_ns
    return {
        "name": exporter.name,
        "target": without_password(exporter.target),
        "state": exporter.state,
        "events_exported": exporter.events_exported,
        "events_waiting": exporter.events_waiting,
        "events_set_aside": exporter.events_set_aside,
        "events_dropped": exporter.events_dropped,
        "events_purged": exporter.events_purged,
        "runs_waiting": exporter.runs_waiting,
        "last_success_unix_ns": last_success or None,
        "last_success_at": utc_time(last_success) if last_success else None,
        "last_error": without_password(exporter.last_error) or None,
    }


def without_unknowns(profile: dict[str, Any]) -> dict[str, Any]:
    """`profile-report --json` made from MLflow, which knows no self times, errors and walls."""
    slowest = profile["slowest_node"]
    return {
        **profile,
        "wall_time_ms": None,
        "slowest_node": slowest and {**slowest, **UNKNOWN_TO_MLFLOW},
        "bottlenecks": [{**node, **UNKNOWN_TO_MLFLOW} for node in profile["bottlenecks"]],
        "nodes": [{**node, **UNKNOWN_TO_MLFLOW} for node in profile["nodes"]],
    }


def utc_time(unix_ns: int) -> str | None:
    """ISO 8601 with microseconds, in UTC; `None` for a time no calendar has."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_ns // 1_000)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
