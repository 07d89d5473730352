"""Reports as messages and back: every field arrives, and unknown stays unknown."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.observability.cost_summary import CallTotals, CostSummary, ModelCost
from configurable_agents.runtime.profile_report import NodeProfile, ProfileReport
from configurable_agents.telemetry import Status, Usage, WorkflowRunRecord
from configurable_agents.wire import cost_messages, report_messages
from configurable_agents.wire.report_records import DaemonStatus, ExporterStatus, PartStatus, StorageStatus
from configurable_agents.wire.v1 import reports_pb2 as pb

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
count = st.integers(0, 2**63 - 1)
usage = st.builds(Usage, *[count] * 9)
totals = st.builds(CallTotals, count, count, usage, *[count] * (len(fields(CallTotals)) - 3))
summaries = st.builds(
    CostSummary,
    st.lists(st.builds(ModelCost, text, text, totals), max_size=3).map(tuple),
    experiment=text,
    run_id=text,
    since_unix_ns=count,
    run_count=count,
)
nodes = st.builds(NodeProfile, text, count, count, count, count, count, st.none() | count)
status = st.sampled_from(Status)
profiles = st.builds(
    ProfileReport,
    nodes=st.lists(nodes, max_size=3).map(tuple),
    experiment=text,
    workflow=text,
    run_id=text,
    since_unix_ns=count,
    run_count=count,
    status=status,
    wall_ns=count,
)
runs = st.builds(
    WorkflowRunRecord,
    text,
    text,
    text,
    status,
    count,
    st.none() | count,
    st.dictionaries(text, text, max_size=3),
    *[count] * 5,
    text,
    text,
)


def through_the_wire(message: object) -> object:
    kind = type(message)
    return kind.FromString(message.SerializeToString())  # type: ignore[attr-defined]


@given(summaries)
def test_a_cost_summary_arrives_whole(summary: CostSummary) -> None:
    message = through_the_wire(cost_messages.cost_summary_to_message(summary))
    assert cost_messages.cost_summary_from_message(message) == summary  # type: ignore[arg-type]


@given(profiles)
def test_a_profile_report_arrives_whole(report: ProfileReport) -> None:
    message = through_the_wire(report_messages.profile_report_to_message(report))
    assert report_messages.profile_report_from_message(message) == report  # type: ignore[arg-type]


@given(runs)
def test_a_run_arrives_whole(run: WorkflowRunRecord) -> None:
    message = through_the_wire(report_messages.run_to_message(run))
    assert report_messages.run_from_message(message) == run  # type: ignore[arg-type]


def test_a_status_arrives_whole() -> None:
    """Each field a value of its own, so that no two can be mixed up."""
    names = [field.name for field in fields(ExporterStatus)]
    exporter = ExporterStatus(
        **{
            field.name: index + 1 if field.type == "int" else f"text {index}"
            for index, field in enumerate(fields(ExporterStatus))
        }
    )
    assert len(names) == len({getattr(exporter, name) for name in names})
    values: dict[str, object] = {
        field.name: index + 1 if field.type == "int" else f"text {index}"
        for index, field in enumerate(fields(DaemonStatus))
    }
    storage = StorageStatus(
        **{
            field.name: index + 1 if field.type == "int" else f"text {index}"
            for index, field in enumerate(fields(StorageStatus))
        }
    )
    part = PartStatus("ledger", "stuck", 201, "no room", is_vital=True)
    values |= {"events_refused": {"no_status": 3}, "exporters": (exporter,), "storage": storage}
    values |= {"commit_p50_ns": 101, "commit_p99_ns": 102, "parts": (part,)}
    sent = DaemonStatus(**values)  # type: ignore[arg-type]
    plain = {name: value for name, value in values.items() if name not in {"exporters", "storage", "parts"}}
    message = pb.DaemonStatus(
        **plain,  # type: ignore[arg-type]
        parts=[report_messages.part_to_message(part)],
        exporters=[report_messages.exporter_to_message(exporter)],
        storage=report_messages.storage_to_message(storage),
    )
    assert report_messages.status_from_message(through_the_wire(message)) == sent  # type: ignore[arg-type]
