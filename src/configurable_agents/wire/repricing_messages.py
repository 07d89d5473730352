"""Repricing to messages and back."""

from __future__ import annotations

from configurable_agents.observability.repricing import ModelRepricing, RepricingReport
from configurable_agents.wire.report_messages import totals_from_message, totals_to_message
from configurable_agents.wire.v1 import repricing_pb2 as pb


def repricing_to_message(report: RepricingReport) -> pb.RepricingReport:
    return pb.RepricingReport(
        models=[
            pb.ModelRepricing(
                provider=entry.provider,
                model=entry.model,
                changed_calls=entry.changed_calls,
                before=totals_to_message(entry.before),
                after=totals_to_message(entry.after),
            )
            for entry in report.models
        ],
        run_count=report.run_count,
        changed_runs=report.changed_runs,
        applied=report.applied,
        table_version=report.table_version,
    )


def repricing_from_message(message: pb.RepricingReport) -> RepricingReport:
    return RepricingReport(
        models=tuple(
            ModelRepricing(
                entry.provider,
                entry.model,
                entry.changed_calls,
                totals_from_message(entry.before),
                totals_from_message(entry.after),
            )
            for entry in message.models
        ),
        run_count=message.run_count,
        changed_runs=message.changed_runs,
        applied=message.applied,
        table_version=message.table_version,
    )
