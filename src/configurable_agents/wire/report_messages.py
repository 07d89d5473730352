"""Profiles, runs and states to messages and back. Both ends of ReportService use these."""

from __future__ import annotations

from dataclasses import asdict

from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import Status, WorkflowRunRecord
from configurable_agents.wire.fields import SCOPE_FIELDS, same_fields
from configurable_agents.wire.report_records import DaemonStatus, ExporterStatus, PartStatus, StorageStatus
from configurable_agents.wire.time_messages import (
    model_from_message,
    model_to_message,
    node_from_message,
    node_to_message,
    times_from_message,
    times_to_message,
)
from configurable_agents.wire.v1 import reports_pb2 as pb
from configurable_agents.wire.v1 import telemetry_pb2


def profile_report_to_message(report: ProfileReport) -> pb.ProfileReport:
    return pb.ProfileReport(
        nodes=[node_to_message(node) for node in report.nodes],
        workflow=report.workflow,
        status=int(report.status),
        wall_ns=report.wall_ns,
        times=times_to_message(report.times),
        models=[model_to_message(model) for model in report.models],
        **same_fields(report, SCOPE_FIELDS),
    )


def profile_report_from_message(message: pb.ProfileReport) -> ProfileReport:
    return ProfileReport(
        nodes=tuple(node_from_message(node) for node in message.nodes),
        workflow=message.workflow,
        status=Status(message.status),
        wall_ns=message.wall_ns,
        times=times_from_message(message.times) if message.HasField("times") else None,
        models=tuple(model_from_message(model) for model in message.models),
        **same_fields(message, SCOPE_FIELDS),
    )


_RUN_FIELDS = tuple(
    name
    for name in WorkflowRunRecord.__dataclass_fields__
    if name not in {"status", "tags", "finished_unix_ns"}
)


def run_to_message(run: WorkflowRunRecord) -> pb.RunRecord:
    message = pb.RunRecord(
        status=int(run.status),
        finished_unix_ns=run.finished_unix_ns,
        tags=[telemetry_pb2.Tag(key=key, value=value) for key, value in run.tags.items()],
    )
    for name in _RUN_FIELDS:
        setattr(message, name, getattr(run, name))
    return message


def run_from_message(message: pb.RunRecord) -> WorkflowRunRecord:
    return WorkflowRunRecord(
        status=Status(message.status),
        finished_unix_ns=message.finished_unix_ns if message.HasField("finished_unix_ns") else None,
        tags={tag.key: tag.value for tag in message.tags},
        **same_fields(message, _RUN_FIELDS),
    )


def exporter_to_message(exporter: ExporterStatus) -> pb.ExporterStatus:
    return pb.ExporterStatus(**asdict(exporter))


def exporter_from_message(message: pb.ExporterStatus) -> ExporterStatus:
    return ExporterStatus(**same_fields(message, _EXPORTER_FIELDS))


def storage_to_message(storage: StorageStatus) -> pb.StorageStatus:
    return pb.StorageStatus(**asdict(storage))


def storage_from_message(message: pb.StorageStatus) -> StorageStatus:
    return StorageStatus(**same_fields(message, _STORAGE_FIELDS))


def part_to_message(part: PartStatus) -> pb.PartStatus:
    return pb.PartStatus(**part._asdict())


def part_from_message(message: pb.PartStatus) -> PartStatus:
    return PartStatus(*(getattr(message, name) for name in PartStatus._fields))


def status_from_message(message: pb.DaemonStatus) -> DaemonStatus:
    return DaemonStatus(
        events_refused=dict(message.events_refused),
        exporters=tuple(exporter_from_message(each) for each in message.exporters),
        storage=storage_from_message(message.storage),
        parts=tuple(part_from_message(each) for each in message.parts),
        commit_p50_ns=message.commit_p50_ns if message.HasField("commit_p50_ns") else None,
        commit_p99_ns=message.commit_p99_ns if message.HasField("commit_p99_ns") else None,
        **same_fields(message, _STATUS_FIELDS),
    )


_STORAGE_FIELDS = tuple(StorageStatus.__dataclass_fields__)
_EXPORTER_FIELDS = tuple(ExporterStatus.__dataclass_fields__)
_STATUS_FIELDS = tuple(
    name
    for name in DaemonStatus.__dataclass_fields__
    if name not in {"events_refused", "exporters", "storage", "parts", "commit_p50_ns", "commit_p99_ns"}
)
