"""Self times and profiles from spans, whatever their order and shape."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.runtime.self_time import (
    Span,
    node_profiles,
    percentile_ns,
    self_times,
    union_ns,
)


def test_a_union_counts_overlapping_time_once() -> None:
    assert union_ns([]) == 0
    assert union_ns([(0, 10)]) == 10
    assert union_ns([(20, 30), (0, 10)]) == 20
    assert union_ns([(0, 10), (5, 15), (15, 20), (2, 3)]) == 20
    assert union_ns([(5, 5), (7, 6)]) == 0
    assert union_ns([(-10, -5), (9, 7), (-6, -1)]) == 9


def test_a_span_without_children_has_all_of_its_time() -> None:
    assert self_times([Span(1, 0, "a", 100, 30)]) == {1: 30}


def test_children_that_overlap_are_subtracted_once() -> None:
    spans = [
        Span(1, 0, "parent", 0, 100),
        Span(2, 1, "left", 10, 40),
        Span(3, 1, "right", 30, 40),
    ]

    assert self_times(spans) == {1: 40, 2: 40, 3: 40}


def test_a_grandchild_is_its_parents_time_only() -> None:
    spans = [Span(1, 0, "a", 0, 100), Span(2, 1, "b", 10, 50), Span(3, 2, "c", 20, 20)]

    assert self_times(spans) == {1: 50, 2: 30, 3: 20}


def test_a_child_counts_as_far_as_it_lies_in_its_parent() -> None:
    parent = Span(1, 0, "parent", 100, 100)

    assert self_times([parent, Span(2, 1, "late", 150, 500)])[1] == 50
    assert self_times([parent, Span(2, 1, "early", 0, 120)])[1] == 80
    assert self_times([parent, Span(2, 1, "around", 0, 500)])[1] == 0
    assert self_times([parent, Span(2, 1, "after", 300, 5)])[1] == 100
    assert self_times([parent, Span(2, 1, "late", 150, 500), Span(3, 1, "after", 300, 5)])[1] == 50


def test_spans_without_a_known_parent_stand_alone() -> None:
    assert self_times([Span(1, 77, "a", 0, 10), Span(2, 2, "own parent", 0, 10)]) == {1: 10, 2: 10}


def test_spans_of_no_duration_change_nothing() -> None:
    assert self_times([Span(1, 0, "a", 5, 0), Span(2, 1, "b", 5, 0), Span(3, 1, "c", 4, 2)]) == {
        1: 0,
        2: 0,
        3: 2,
    }


def test_parents_in_a_circle_are_survived() -> None:
    assert self_times([Span(1, 2, "a", 0, 10), Span(2, 1, "b", 0, 10)]) == {1: 0, 2: 0}


def test_spans_nested_thousands_deep_need_no_recursion() -> None:
    depth = 50_000
    spans = [Span(level + 1, level, "deep", level, 2 * (depth - level)) for level in range(depth)]

    assert sum(self_times(spans).values()) == 2 * depth


def test_profiles_hold_calls_totals_self_times_errors_and_percentiles() -> None:
    spans = [Span(1, 0, "flow", 0, 1_000)]
    spans += [Span(index + 2, 1, "step", index * 10, index, failed=index == 7) for index in range(1, 101)]

    step, flow = node_profiles(spans)

    assert (step.node_id, step.calls, step.total_ns, step.self_ns) == ("step", 100, 5_050, 5_050)
    assert (step.max_ns, step.errors, step.p95_ns) == (100, 1, 95)
    assert (flow.node_id, flow.calls, flow.total_ns, flow.p95_ns) == ("flow", 1, 1_000, 1_000)
    assert node_profiles([]) == ()


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile_ns([7], 95) == 7
    assert percentile_ns([3, 1, 2], 50) == 2
    assert percentile_ns(range(1, 21), 95) == 19
    assert percentile_ns([5, 1], 0) == 1
    assert percentile_ns([5, 1], 100) == 5


@st.composite
def sequential_runs(draw: st.DrawFn) -> list[Span]:
    """Spans of a program that does one thing at a time, without pauses at the top."""
    spans: list[Span] = []
    clock = 0

    def execute(parent: int, depth: int) -> None:
        nonlocal clock
        span_id = len(spans) + 1
        start = clock
        spans.append(Span(span_id, parent, "", 0, 0))
        clock += draw(st.integers(0, 20))
        if depth < 4:
            for _ in range(draw(st.integers(0, 3))):
                execute(span_id, depth + 1)
                clock += draw(st.integers(0, 20))
        spans[span_id - 1] = Span(span_id, parent, draw(st.sampled_from("abc")), start, clock - start)

    for _ in range(draw(st.integers(1, 3))):
        execute(0, 0)
    return spans


@given(sequential_runs())
def test_self_times_of_a_sequential_run_sum_to_its_wall(spans: list[Span]) -> None:
    wall = max(span.ended_unix_ns for span in spans) - min(span.started_unix_ns for span in spans)

    assert sum(self_times(spans).values()) == wall
    assert sum(node.self_ns for node in node_profiles(spans)) == wall


any_spans = st.lists(
    st.builds(
        Span,
        st.integers(1, 30),
        st.integers(0, 30),
        st.sampled_from("abc"),
        st.integers(0, 100),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=30,
    unique_by=lambda span: span.span_id,
)


@given(any_spans, st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_matters(spans: list[Span], chance: random.Random) -> None:
    shuffled = list(spans)
    chance.shuffle(shuffled)

    assert self_times(shuffled) == self_times(spans)
    assert node_profiles(shuffled) == node_profiles(spans)


@given(any_spans)
def test_a_self_time_is_each_instant_in_which_no_child_ran(spans: list[Span]) -> None:
    found = self_times(spans)

    for span in spans:
        own = set(range(span.started_unix_ns, span.ended_unix_ns))
        for child in spans:
            if child.parent_span_id == span.span_id != child.span_id:
                own -= set(range(child.started_unix_ns, child.ended_unix_ns))
        assert found[span.span_id] == len(own)


@given(any_spans)
def test_a_self_time_lies_between_zero_and_the_duration(spans: list[Span]) -> None:
    found = self_times(spans)

    assert all(0 <= found[span.span_id] <= span.duration_ns for span in spans)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12))
def test_a_union_counts_each_instant_once(intervals: list[tuple[int, int]]) -> None:
    instants = {instant for start, end in intervals for instant in range(start, end)}

    assert union_ns(intervals) == len(instants)
