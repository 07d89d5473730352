"""What is asked about the accounts, to messages and back."""

from __future__ import annotations

from dataclasses import asdict

from configurable_agents.observability.verification import Balance, ExpectedPoint, ExpectedRun
from configurable_agents.wire.account_records import (
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetters,
    PurgeReport,
)
from configurable_agents.wire.report_records import Scope
from configurable_agents.wire.v1 import accounts_pb2 as pb
from configurable_agents.wire.v1 import reports_pb2

_GROUP_FIELDS = tuple(DeadLetterGroup.__dataclass_fields__)
_COUNT_FIELDS = tuple(name for name in DeadLetters.__dataclass_fields__ if name != "groups")
_PURGE_FIELDS = tuple(PurgeReport.__dataclass_fields__)
_BALANCE_FIELDS = tuple(Balance.__dataclass_fields__)
_EXPECTED_FIELDS = tuple(
    name for name in ExpectedRun.__dataclass_fields__ if name not in {"totals", "params", "tags"}
)


def filter_to_message(wanted: DeadLetterFilter) -> pb.DeadLetterFilter:
    scope = reports_pb2.Scope(**asdict(wanted.scope))
    return pb.DeadLetterFilter(scope=scope, exporter=wanted.exporter, reason=wanted.reason)


def filter_from_message(message: pb.DeadLetterFilter) -> DeadLetterFilter:
    scope = Scope(message.scope.experiment, message.scope.run_id, message.scope.since_unix_ns)
    return DeadLetterFilter(scope, message.exporter, message.reason)


def dead_letters_to_message(found: DeadLetters) -> pb.DeadLetterList:
    return pb.DeadLetterList(
        groups=[pb.DeadLetterGroup(**asdict(group)) for group in found.groups],
        **{name: getattr(found, name) for name in _COUNT_FIELDS},
    )


def dead_letters_from_message(message: pb.DeadLetterList) -> DeadLetters:
    groups = [
        DeadLetterGroup(**{name: getattr(group, name) for name in _GROUP_FIELDS}) for group in message.groups
    ]
    return DeadLetters(tuple(groups), **{name: getattr(message, name) for name in _COUNT_FIELDS})


def purge_report_to_message(report: PurgeReport) -> pb.PurgeReport:
    return pb.PurgeReport(**asdict(report))


def purge_report_from_message(message: pb.PurgeReport) -> PurgeReport:
    return PurgeReport(**{name: getattr(message, name) for name in _PURGE_FIELDS})


def balance_to_message(balance: Balance) -> pb.Balance:
    return pb.Balance(**asdict(balance))


def balance_from_message(message: pb.Balance) -> Balance:
    return Balance(**{name: getattr(message, name) for name in _BALANCE_FIELDS})


def expected_run_to_message(expected: ExpectedRun | None) -> pb.ExpectedRun:
    return pb.ExpectedRun() if expected is None else pb.ExpectedRun(**asdict(expected))


def expected_run_from_message(message: pb.ExpectedRun) -> ExpectedRun | None:
    if not message.row:
        return None
    return ExpectedRun(
        totals=dict(message.totals),
        params=dict(message.params),
        tags=dict(message.tags),
        **{name: getattr(message, name) for name in _EXPECTED_FIELDS},
    )


def expected_points_to_message(points: list[ExpectedPoint], next_seq: int) -> pb.ExpectedPointList:
    return pb.ExpectedPointList(
        points=[pb.ExpectedPoint(**point._asdict()) for point in points], next_seq=next_seq
    )


def expected_points_from_message(message: pb.ExpectedPointList) -> list[ExpectedPoint]:
    return [
        ExpectedPoint(point.seq, point.metric, point.step, point.at_ms, point.value)
        for point in message.points
    ]
