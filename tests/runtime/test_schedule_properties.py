"""What holds for every run, whatever its spans look like."""

from __future__ import annotations

import random
from dataclasses import replace as replaced
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime.concurrency import average_concurrency, concurrency_profile
from configurable_agents.runtime.critical_path import critical_path, critical_path_of
from configurable_agents.runtime.schedule import NONE, RUN, Schedule
from configurable_agents.runtime.self_time import Span
from configurable_agents.runtime.slack import node_slacks, slacks
from configurable_agents.runtime.time_classes import ModelCall, TimeClasses, time_classes
from configurable_agents.runtime.what_if import Change, one_more_slot, wall_with, what_if
from configurable_agents.telemetry import Graph

WALL_NS = 120


def within_reach(span: Span) -> Span:
    """At least touching the run, which would else be looked at over the extent of its spans."""
    return span if span.ended_unix_ns >= 0 else span._replace(started_unix_ns=0)


any_spans = st.lists(
    st.builds(
        Span,
        st.integers(1, 30),
        st.integers(0, 30),
        st.sampled_from("abcd"),
        st.integers(-5, 110),
        st.integers(0, 60),
        st.booleans(),
        st.integers(1, 3),
    ).map(within_reach),
    max_size=30,
    unique_by=lambda span: span.span_id,
)
any_graphs = st.one_of(
    st.none(),
    st.builds(
        Graph,
        st.just(("a", "b", "c")),
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=5).map(tuple),
    ),
)


def schedule_of(spans, graph=None) -> Schedule:
    return Schedule(spans, 0, WALL_NS, graph)


@settings(max_examples=400)
@given(any_spans, any_graphs)
def test_the_parts_of_the_critical_path_sum_to_the_wall(spans, graph):
    path = critical_path(schedule_of(spans, graph))

    assert path.between_ns + sum(path.by_node_ns.values()) == path.wall_ns == WALL_NS
    assert path.between_ns >= 0
    at_ns = 0
    for segment in path.segments:
        assert segment.started_ns == at_ns < segment.ended_ns
        at_ns = segment.ended_ns
    assert at_ns == WALL_NS


@given(any_spans, any_graphs)
def test_time_is_charged_to_an_execution_only_while_it_ran(spans, graph):
    schedule = schedule_of(spans, graph)

    for segment in critical_path(schedule).segments:
        if segment.execution != RUN:
            assert schedule.starts[segment.execution] <= segment.started_ns
            assert segment.ended_ns <= schedule.ends[segment.execution]


@settings(max_examples=400)
@given(any_spans, any_graphs, st.floats(1, 50))
def test_a_speed_up_off_the_path_saves_nothing_and_none_lengthens_the_run(spans, graph, speedup):
    schedule = schedule_of(spans, graph)
    on_path = critical_path(schedule).by_node_ns

    assert wall_with(schedule, {}) == WALL_NS
    for node in {span.node_id for span in spans}:
        saved_ns = what_if(schedule, Change(node, 1 / speedup)).saved_ns
        assert 0 <= saved_ns <= on_path.get(node, 0)
        removed = what_if(schedule, Change(node, 0.0))
        assert saved_ns <= removed.saved_ns + 1
        if node not in on_path:
            assert removed.saved_ns == 0


@settings(max_examples=200)
@given(any_spans, any_graphs)
def test_slack_is_never_negative_and_zero_where_the_path_waits_for_an_end(spans, graph):
    schedule = schedule_of(spans, graph)
    found = slacks(schedule)

    assert all(0 <= slack_ns <= WALL_NS for slack_ns in found)
    for segment in critical_path(schedule).segments:
        if segment.execution != RUN and segment.before == NONE:
            assert found[segment.execution] == 0


class Lengthened(NamedTuple):
    index: int
    by_ns: int


def wall_lengthened(schedule: Schedule, change: Lengthened) -> int:
    """The wall when one execution takes longer, by a forward pass of its own."""
    kept = schedule.end_lags[change.index]
    schedule.end_lags[change.index] = kept + change.by_ns
    wall_ns = wall_with(schedule, {})
    schedule.end_lags[change.index] = kept
    return wall_ns


@settings(max_examples=200)
@given(any_spans, any_graphs)
def test_an_execution_may_take_its_slack_longer_and_not_one_nanosecond_more(spans, graph):
    schedule = schedule_of(spans, graph)

    for index, slack_ns in enumerate(slacks(schedule)):
        assert wall_lengthened(schedule, Lengthened(index, slack_ns)) == WALL_NS
        assert wall_lengthened(schedule, Lengthened(index, slack_ns + 1)) == WALL_NS + 1


@given(any_spans, any_graphs, st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_arrival(spans, graph, chance: random.Random):
    shuffled = list(spans)
    chance.shuffle(shuffled)
    one, other = schedule_of(spans, graph), schedule_of(shuffled, graph)

    assert critical_path(one) == critical_path(other)
    assert node_slacks(one) == node_slacks(other)
    assert concurrency_profile(one) == concurrency_profile(other)
    assert wall_with(one, {"a": 0.5}) == wall_with(other, {"a": 0.5})
    assert one_more_slot(one) == one_more_slot(other)


@given(any_spans)
def test_the_levels_of_concurrency_count_each_instant_as_it_is(spans):
    schedule = schedule_of(spans)
    found = concurrency_profile(schedule)
    expected: dict[int, int] = {}
    for instant in range(WALL_NS):
        running = {
            index for index in range(len(spans)) if schedule.starts[index] <= instant < schedule.ends[index]
        }
        at_work = running - {schedule.launchers[index] for index in running}
        expected[len(at_work)] = expected.get(len(at_work), 0) + 1

    assert found == expected


def test_concurrency_of_two_branches_and_a_join():
    spans = [Span(1, 0, "a", 0, 60), Span(2, 0, "b", 0, 30), Span(3, 0, "c", 60, 30)]
    profile = concurrency_profile(schedule_of(spans))

    assert profile == {0: 30, 1: 60, 2: 30}
    assert average_concurrency(profile) == 1.0
    assert average_concurrency({}) == 0.0


@given(
    any_spans,
    any_graphs,
    st.lists(st.builds(ModelCall, st.integers(0, 30), st.integers(-5, 110), st.integers(0, 60)), max_size=10),
)
def test_the_classes_of_time_sum_to_the_wall(spans, graph, calls):
    schedule = schedule_of(spans, graph)
    classes = time_classes(schedule, critical_path(schedule), calls)

    assert classes.sum_ns == WALL_NS
    assert min(classes.model_ns, classes.python_ns, classes.framework_ns, classes.queue_ns) >= 0


def test_time_is_classed_as_model_python_retry_wait_queue_and_framework():
    spans = [
        Span(1, 0, "fetch", 10, 20, failed=True),
        Span(2, 0, "fetch", 35, 15, attempt=2),
        Span(3, 0, "draft", 60, 40),
    ]
    calls = [ModelCall(3, 65, 20), ModelCall(3, 80, 10), ModelCall(1, 0, 15)]
    graph = Graph(("fetch", "draft"), (("fetch", "draft"),))
    with_graph, without = schedule_of(spans, graph), schedule_of(spans)
    known = TimeClasses(model_ns=30, python_ns=45, retry_wait_ns=5, queue_ns=10, framework_ns=30)

    assert time_classes(with_graph, critical_path(with_graph), calls) == known
    assert time_classes(without, critical_path(without), calls) == replaced(
        known, queue_ns=0, framework_ns=40
    )


def test_a_wait_that_the_runner_records_as_a_node_is_one_before_a_retry():
    spans = [
        Span(1, 0, "ask", 0, 10, failed=True),
        Span(2, 0, "ask/wait", 11, 80, attempt=2),
        Span(3, 0, "ask", 92, 28, attempt=2),
    ]
    graph = Graph(("ask", "next"), (("ask", "next"),))
    for schedule in (schedule_of(spans), schedule_of(spans, graph)):
        assert time_classes(schedule, critical_path(schedule), []) == TimeClasses(
            python_ns=38, retry_wait_ns=82
        )


def test_one_more_slot_shortens_a_run_that_waits_for_workers():
    graph = Graph(("s", "t"), (("s", "t"),))
    spans = [
        Span(1, 0, "s", 0, 10),
        *(Span(2 + number, 0, "t", 10 + 30 * (number // 2), 30) for number in range(4)),
    ]
    independent = [
        span._replace(node_id=f"t{span.span_id}") if span.node_id == "t" else span for span in spans
    ]
    edges = tuple(("s", span.node_id) for span in independent[1:])
    answer = one_more_slot(Schedule(independent, 0, 70, Graph(("s",), edges)))

    assert answer is not None
    assert (answer.slots, answer.simulated_wall_ns, answer.wider_wall_ns) == (2, 70, 70)
    six = [*independent[:1], *(Span(20 + n, 0, f"t{n}", 10 + 30 * (n // 2), 30) for n in range(6))]
    answer = one_more_slot(Schedule(six, 0, 100, Graph(("s",), tuple(("s", f"t{n}") for n in range(6)))))
    assert answer is not None
    assert (answer.slots, answer.simulated_wall_ns, answer.wider_wall_ns, answer.saved_ns) == (2, 100, 70, 30)
    assert one_more_slot(Schedule(spans, 0, 70)) is None
    assert graph.nodes == ("s", "t")


def test_spans_of_another_time_than_their_run_are_looked_at_over_their_own_extent():
    yesterday = [Span(1, 0, "a", -5_000, 60), Span(2, 0, "b", -4_930, 30)]
    path = critical_path(schedule_of(yesterday))

    assert path.by_node_ns == {"a": 60, "b": 30}
    assert (path.between_ns, path.wall_ns) == (10, 100)
    assert critical_path(schedule_of([*yesterday, Span(3, 0, "c", 0, 120)])).by_node_ns == {"c": 120}


def test_executions_nested_thousands_deep_need_no_recursion():
    depth = 20_000
    spans = [Span(level + 1, level, "deep", level, 2 * (depth - level)) for level in range(depth)]
    path = critical_path_of(spans, 0, 2 * depth)

    assert path.by_node_ns == {"deep": 2 * depth}


@pytest.mark.parametrize("text", ["", "a", "a=", "=2x", "a=2", "a=0x", "a=-1x", "a=nanx", "a=infx", "a=gone"])
def test_what_is_no_change_is_refused(text):
    with pytest.raises(InvalidValueError, match="NODE=2x"):
        Change.parse(text)


def test_a_node_that_did_not_run_cannot_be_changed():
    with pytest.raises(InvalidValueError, match="there are: a, b"):
        what_if(schedule_of([Span(1, 0, "b", 0, 1), Span(2, 0, "a", 0, 1)]), Change("c", 0.5))
    assert Change.parse("a=b=4x") == Change("a=b", 0.25)
