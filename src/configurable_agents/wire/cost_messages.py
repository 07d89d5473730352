"""Everything that is said of money, to messages and back: costs, caches, receipts, repricing."""

from __future__ import annotations

from configurable_agents.observability.cache_economics import CacheReport, CacheUse
from configurable_agents.observability.cost_groups import CostGroup, GroupedCosts
from configurable_agents.observability.cost_summary import COUNT_FIELDS, CallTotals, CostSummary, ModelCost
from configurable_agents.observability.price_table import RateCard
from configurable_agents.observability.receipts import PriceEntry, Receipt
from configurable_agents.observability.repricing import ModelRepricing, RepricingReport
from configurable_agents.telemetry import LlmCall, PriceStatus
from configurable_agents.wire.decode import llm_call_from_message, usage_from_message
from configurable_agents.wire.fields import SCOPE_FIELDS, same_fields
from configurable_agents.wire.v1 import reports_pb2 as pb
from configurable_agents.wire.v1 import repricing_pb2, telemetry_pb2


def totals_to_message(totals: CallTotals) -> pb.CallTotals:
    usage = telemetry_pb2.Usage(**totals.usage._asdict())
    return pb.CallTotals(usage=usage, **same_fields(totals, COUNT_FIELDS))


def totals_from_message(message: pb.CallTotals) -> CallTotals:
    return CallTotals(usage=usage_from_message(message.usage), **same_fields(message, COUNT_FIELDS))


def _known_totals(message: pb.CostSummary | pb.GroupedCosts) -> CallTotals | None:
    """What was wasted; `None` where that is not known."""
    return totals_from_message(message.wasted) if message.HasField("wasted") else None


def cost_summary_to_message(summary: CostSummary) -> pb.CostSummary:
    return pb.CostSummary(
        models=[
            pb.ModelCost(provider=entry.provider, model=entry.model, totals=totals_to_message(entry.totals))
            for entry in summary.models
        ],
        wasted=None if summary.wasted is None else totals_to_message(summary.wasted),
        **same_fields(summary, SCOPE_FIELDS),
    )


def cost_summary_from_message(message: pb.CostSummary) -> CostSummary:
    return CostSummary(
        models=tuple(
            ModelCost(entry.provider, entry.model, totals_from_message(entry.totals))
            for entry in message.models
        ),
        wasted=_known_totals(message),
        **same_fields(message, SCOPE_FIELDS),
    )


def grouped_costs_to_message(grouped: GroupedCosts) -> pb.GroupedCosts:
    return pb.GroupedCosts(
        by=grouped.by,
        groups=[_group_to_message(group) for group in grouped.groups],
        rest=None if grouped.rest is None else _group_to_message(grouped.rest),
        group_count=grouped.group_count,
        totals=totals_to_message(grouped.totals),
        wasted=None if grouped.wasted is None else totals_to_message(grouped.wasted),
        **same_fields(grouped, SCOPE_FIELDS),
    )


def grouped_costs_from_message(message: pb.GroupedCosts) -> GroupedCosts:
    return GroupedCosts(
        by=tuple(message.by),
        groups=tuple(_group_from_message(group) for group in message.groups),
        totals=totals_from_message(message.totals),
        wasted=_known_totals(message),
        rest=_group_from_message(message.rest) if message.HasField("rest") else None,
        group_count=message.group_count,
        **same_fields(message, SCOPE_FIELDS),
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


_CACHE_FIELDS = tuple(CacheUse.__dataclass_fields__)


def cache_report_to_message(report: CacheReport) -> pb.CacheReport:
    entries = [pb.CacheUse(**same_fields(entry, _CACHE_FIELDS)) for entry in report.entries]
    return pb.CacheReport(entries=entries, **same_fields(report, SCOPE_FIELDS))


def cache_report_from_message(message: pb.CacheReport) -> CacheReport:
    entries = tuple(CacheUse(**same_fields(entry, _CACHE_FIELDS)) for entry in message.entries)
    return CacheReport(entries=entries, **same_fields(message, SCOPE_FIELDS))


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


_REPRICING_FIELDS = ("run_count", "changed_runs", "applied", "table_version")
_REPRICED_FIELDS = ("provider", "model", "changed_calls")


def repricing_to_message(report: RepricingReport) -> repricing_pb2.RepricingReport:
    models = [
        repricing_pb2.ModelRepricing(
            before=totals_to_message(entry.before),
            after=totals_to_message(entry.after),
            **same_fields(entry, _REPRICED_FIELDS),
        )
        for entry in report.models
    ]
    return repricing_pb2.RepricingReport(models=models, **same_fields(report, _REPRICING_FIELDS))


def repricing_from_message(message: repricing_pb2.RepricingReport) -> RepricingReport:
    models = tuple(
        ModelRepricing(
            before=totals_from_message(entry.before),
            after=totals_from_message(entry.after),
            **same_fields(entry, _REPRICED_FIELDS),
        )
        for entry in message.models
    )
    return RepricingReport(models=models, **same_fields(message, _REPRICING_FIELDS))
