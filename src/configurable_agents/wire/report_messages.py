"""Reports to messages and back. Both ends of ReportService use these, and nothing else touches them."""

from __future__ import annotations

from dataclasses import asdict

from configurable_agents.observability.cache_economics import CacheReport, CacheUse
from configurable_agents.observability.cost_groups import CostGroup, GroupedCosts
from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.observability.price_table import RateCard
from configurable_agents.observability.receipts import PriceEntry, Receipt
from configurable_agents.runtime.profile_report import ProfileReport
from configurable_agents.telemetry import LlmCall, PriceStatus, Status, WorkflowRunRecord
from configurable_agents.wire.decode import llm_call_from_message, usage_from_message
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


def cost_summary_to_message(summary: CostSummary) -> pb.CostSummary:
    return pb.CostSummary(
        models=[
            pb.ModelCost(provider=entry.provider, model=entry.model, totals=totals_to_message(entry.totals))
            for entry in summary.models
        ],
        experiment=summary.experiment,
        run_id=summary.run_id,
        since_unix_ns=summary.since_unix_ns,
        run_count=summary.run_count,
        wasted=None if summary.wasted is None else totals_to_message(summary.wasted),
    )


def cost_summary_from_message(message: pb.CostSummary) -> CostSummary:
    return CostSummary(
        models=tuple(
            ModelCost(entry.provider, entry.model, totals_from_message(entry.totals))
            for entry in message.models
        ),
        experiment=message.experiment,
        run_id=message.run_id,
        since_unix_ns=message.since_unix_ns,
        run_count=message.run_count,
        wasted=totals_from_message(message.wasted) if message.HasField("wasted") else None,
    )


def grouped_costs_to_message(grouped: GroupedCosts) -> pb.GroupedCosts:
    return pb.GroupedCosts(
        by=grouped.by,
        groups=[_group_to_message(group) for group in grouped.groups],
        rest=None if grouped.rest is None else _group_to_message(grouped.rest),
        group_count=grouped.group_count,
        totals=totals_to_message(grouped.totals),
        wasted=None if grouped.wasted is None else totals_to_message(grouped.wasted),
        experiment=grouped.experiment,
        run_id=grouped.run_id,
        since_unix_ns=grouped.since_unix_ns,
        run_count=grouped.run_count,
    )


def grouped_costs_from_message(message: pb.GroupedCosts) -> GroupedCosts:
    return GroupedCosts(
        by=tuple(message.by),
        groups=tuple(_group_from_message(group) for group in message.groups),
        totals=totals_from_message(message.totals),
        wasted=totals_from_message(message.wasted) if message.HasField("wasted") else None,
        rest=_group_from_message(message.rest) if message.HasField("rest") else None,
        group_count=message.group_count,
        experiment=message.experiment,
        run_id=message.run_id,
        since_unix_ns=message.since_unix_ns,
        run_count=message.run_count,
    )


def _group_to_message(group: CostGroup) -> pb.CostGroup:
    return pb.CostGroup(
        values=group.values,
        totals=totals_to_message(group.totals),
        wasted=totals_to_message(group.wasted),
    )


def _group_from_message(message: pb.CostGroup) -> CostGroup:
    return CostGroup(
        tuple(message.values), totals_from_message(message.totals), totals_from_message(message.wasted)
    )


_TOTAL_FIELDS = tuple(name for name in CallTotals.__dataclass_fields__ if name != "usage")


def totals_to_message(totals: CallTotals) -> pb.CallTotals:
    message = pb.CallTotals(usage=telemetry_pb2.Usage(**totals.usage._asdict()))
    for name in _TOTAL_FIELDS:
        setattr(message, name, getattr(totals, name))
    return message


def totals_from_message(message: pb.CallTotals) -> CallTotals:
    return CallTotals(
        usage=usage_from_message(message.usage), **{name: getattr(message, name) for name in _TOTAL_FIELDS}
    )


def profile_report_to_message(report: ProfileReport) -> pb.ProfileReport:
    return pb.ProfileReport(
        nodes=[node_to_message(node) for node in report.nodes],
        experiment=report.experiment,
        workflow=report.workflow,
        run_id=report.run_id,
        since_unix_ns=report.since_unix_ns,
        run_count=report.run_count,
        status=int(report.status),
        wall_ns=report.wall_ns,
        times=times_to_message(report.times),
        models=[model_to_message(model) for model in report.models],
    )


def profile_report_from_message(message: pb.ProfileReport) -> ProfileReport:
    return ProfileReport(
        nodes=tuple(node_from_message(node) for node in message.nodes),
        experiment=message.experiment,
        workflow=message.workflow,
        run_id=message.run_id,
        since_unix_ns=message.since_unix_ns,
        run_count=message.run_count,
        status=Status(message.status),
        wall_ns=message.wall_ns,
        times=times_from_message(message.times) if message.HasField("times") else None,
        models=tuple(model_from_message(model) for model in message.models),
    )


def cache_report_to_message(report: CacheReport) -> pb.CacheReport:
    return pb.CacheReport(
        entries=[pb.CacheUse(**asdict(entry)) for entry in report.entries],
        experiment=report.experiment,
        run_id=report.run_id,
        since_unix_ns=report.since_unix_ns,
        run_count=report.run_count,
    )


def cache_report_from_message(message: pb.CacheReport) -> CacheReport:
    return CacheReport(
        entries=tuple(
            CacheUse(**{name: getattr(entry, name) for name in _CACHE_FIELDS}) for entry in message.entries
        ),
        experiment=message.experiment,
        run_id=message.run_id,
        since_unix_ns=message.since_unix_ns,
        run_count=message.run_count,
    )


_CACHE_FIELDS = tuple(CacheUse.__dataclass_fields__)


def receipt_to_message(receipt: Receipt) -> pb.Receipt:
    return pb.Receipt(
        call=_call_to_message(receipt.call),
        counted=receipt.counted,
        price=_price_to_message(receipt.price),
        history=[_price_to_message(price) for price in receipt.history],
    )


def _call_to_message(call: LlmCall) -> telemetry_pb2.LlmCall:
    usage = None if call.usage is None else telemetry_pb2.Usage(**call.usage._asdict())
    return telemetry_pb2.LlmCall(**{**call._asdict(), "usage": usage})


def receipt_from_message(message: pb.Receipt) -> Receipt:
    return Receipt(
        llm_call_from_message(message.call),
        _price_from_message(message.price),
        counted=message.counted,
        history=tuple(_price_from_message(price) for price in message.history),
    )


def _price_to_message(price: PriceEntry) -> pb.PriceEntry:
    return pb.PriceEntry(
        status=price.status.value,
        cost_nanos=price.cost_nanos,
        table_cost_nanos=price.table_cost_nanos,
        rate_card="" if price.card is None else price.card.to_json(),
        reason=price.reason,
        replaced_at_unix_ns=price.replaced_at_unix_ns,
        replaced_because=price.replaced_because,
    )


def _price_from_message(message: pb.PriceEntry) -> PriceEntry:
    return PriceEntry(
        PriceStatus(message.status),
        message.cost_nanos,
        message.table_cost_nanos if message.HasField("table_cost_nanos") else None,
        RateCard.from_json(message.rate_card) if message.rate_card else None,
        message.reason,
        message.replaced_at_unix_ns,
        message.replaced_because,
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
        **{name: getattr(message, name) for name in _RUN_FIELDS},
    )


def exporter_to_message(exporter: ExporterStatus) -> pb.ExporterStatus:
    return pb.ExporterStatus(**asdict(exporter))


def exporter_from_message(message: pb.ExporterStatus) -> ExporterStatus:
    return ExporterStatus(**{name: getattr(message, name) for name in _EXPORTER_FIELDS})


def storage_to_message(storage: StorageStatus) -> pb.StorageStatus:
    return pb.StorageStatus(**asdict(storage))


def storage_from_message(message: pb.StorageStatus) -> StorageStatus:
    return StorageStatus(**{name: getattr(message, name) for name in _STORAGE_FIELDS})


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
        **{name: getattr(message, name) for name in _STATUS_FIELDS},
    )


_STORAGE_FIELDS = tuple(StorageStatus.__dataclass_fields__)
_EXPORTER_FIELDS = tuple(ExporterStatus.__dataclass_fields__)
_STATUS_FIELDS = tuple(
    name
    for name in DaemonStatus.__dataclass_fields__
    if name not in {"events_refused", "exporters", "storage", "parts", "commit_p50_ns", "commit_p99_ns"}
)
