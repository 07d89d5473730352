"""Thirty runs drawn by hand, with what is to be found in them worked out by hand (`schedules.txt`)."""

from __future__ import annotations

from collections import defaultdict

import pytest
from drawn_schedules import Drawing, drawings

from configurable_agents.runtime.critical_path import critical_path
from configurable_agents.runtime.schedule import Schedule
from configurable_agents.runtime.self_time import self_times
from configurable_agents.runtime.slack import node_slacks
from configurable_agents.runtime.what_if import Change, what_if

every_drawing = pytest.mark.parametrize("drawing", drawings(), ids=lambda drawing: drawing.title)


def schedule_of(drawing: Drawing) -> Schedule:
    return Schedule(drawing.spans, 0, drawing.ended_ns, drawing.graph)


def test_there_are_at_least_25_of_them():
    assert len(drawings()) >= 25


@every_drawing
def test_self_times_are_as_drawn(drawing):
    own = self_times(drawing.spans)
    found: dict[str, int] = defaultdict(int)
    for span in drawing.spans:
        found[span.node_id] += own[span.span_id]

    assert found == drawing.findings.get("self", {})


@every_drawing
def test_the_critical_path_is_as_drawn(drawing):
    path = critical_path(schedule_of(drawing))
    off_path = {span.node_id: 0 for span in drawing.spans}

    assert {**off_path, **path.by_node_ns, "between": path.between_ns} == drawing.findings["critical"]
    assert sum(drawing.findings["critical"].values()) == drawing.ended_ns


@every_drawing
def test_slack_is_as_drawn(drawing):
    assert node_slacks(schedule_of(drawing)) == drawing.findings.get("slack", {})


@every_drawing
def test_what_a_change_would_save_is_as_drawn(drawing):
    schedule = schedule_of(drawing)

    for change, saved_ns in drawing.what_ifs:
        assert what_if(schedule, Change.parse(change)).saved_ns == saved_ns, change
