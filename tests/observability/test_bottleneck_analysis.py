"""BottleneckAnalyzer: adding up node times and naming the bottleneck."""

from __future__ import annotations

import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import bottlenecks as bottlenecks_module
from configurable_agents.runtime.critical_path import Span
from configurable_agents.runtime.profiler import BottleneckAnalyzer, NodeTimings
from configurable_agents.telemetry import OTHER_NAME

ENTRY_KEYS = {"node_id", "total_duration_ms", "avg_duration_ms", "call_count", "percent_of_total"}


def analyzer_of(**durations_ms: float) -> BottleneckAnalyzer:
    analyzer = BottleneckAnalyzer()
    for node_id, duration_ms in durations_ms.items():
        analyzer.record_node(node_id, duration_ms)
    return analyzer


def test_bottlenecks_are_the_nodes_above_the_threshold_with_their_figures() -> None:
    analyzer = analyzer_of(fetch=100, rank=100)
    analyzer.record_node("draft", 500)
    analyzer.record_node("draft", 300)

    (entry,) = analyzer.get_bottlenecks()

    assert entry.keys() >= ENTRY_KEYS
    assert entry["node_id"] == "draft"
    assert entry["total_duration_ms"] == 800.0
    assert entry["avg_duration_ms"] == 400.0
    assert entry["max_duration_ms"] == 500.0
    assert entry["call_count"] == 2
    assert entry["percent_of_total"] == 80.0


def test_bottlenecks_come_highest_share_first() -> None:
    analyzer = analyzer_of(small=10, large=60, medium=30)

    assert [entry["node_id"] for entry in analyzer.get_bottlenecks(20)] == ["large", "medium"]


def test_bottlenecks_are_strictly_above_the_threshold() -> None:
    analyzer = analyzer_of(left=50, right=50)

    assert analyzer.get_bottlenecks(50.0) == []
    assert len(analyzer.get_bottlenecks(49.999)) == 2


def test_bottlenecks_of_a_single_node_are_that_node() -> None:
    (entry,) = analyzer_of(only=1).get_bottlenecks()

    assert entry["percent_of_total"] == 100.0


@pytest.mark.parametrize("threshold", [-1, -0.001, -math.inf])
def test_bottlenecks_below_a_negative_threshold_are_all_nodes(threshold: float) -> None:
    assert len(analyzer_of(a=1, b=2, idle=0).get_bottlenecks(threshold)) == 3


@pytest.mark.parametrize("threshold", [100, 100.5, 1e9, math.inf])
def test_bottlenecks_above_a_hundred_percent_do_not_exist(threshold: float) -> None:
    assert analyzer_of(only=1).get_bottlenecks(threshold) == []


def test_bottlenecks_of_nodes_that_took_no_time_do_not_exist() -> None:
    analyzer = analyzer_of(first=0, second=0.0)

    assert analyzer.get_bottlenecks() == []
    assert analyzer.get_bottlenecks(0) == []
    assert [entry["percent_of_total"] for entry in analyzer.get_bottlenecks(-1)] == [0.0, 0.0]


def test_bottlenecks_of_nothing_are_none() -> None:
    assert BottleneckAnalyzer().get_bottlenecks() == []
    assert BottleneckAnalyzer().get_bottlenecks(-1) == []


@pytest.mark.parametrize("threshold", [math.nan, "50", None, True, [50]])
def test_bottlenecks_with_a_threshold_that_is_no_number_are_refused(threshold: object) -> None:
    with pytest.raises(InvalidValueError, match="threshold_percent must be a number"):
        analyzer_of(a=1).get_bottlenecks(threshold)  # type: ignore[arg-type]


def test_a_bottleneck_is_judged_by_the_time_in_which_none_of_its_children_ran() -> None:
    analyzer = BottleneckAnalyzer()
    analyzer.record_node("pipeline", 100, self_duration_ms=10)
    analyzer.record_node("model", 90)

    assert [entry["node_id"] for entry in analyzer.get_bottlenecks()] == ["model"]
    slowest = analyzer.get_slowest_node()
    assert slowest is not None
    assert slowest["node_id"] == "pipeline"
    assert slowest["self_duration_ms"] == 10.0
    assert slowest["percent_of_total"] == 10.0


def test_the_slowest_node_is_the_one_with_the_highest_total() -> None:
    analyzer = analyzer_of(once=50)
    for _ in range(3):
        analyzer.record_node("often", 20)

    slowest = analyzer.get_slowest_node()

    assert slowest is not None
    assert slowest["node_id"] == "often"
    assert slowest["total_duration_ms"] == 60.0


def test_there_is_no_slowest_node_before_one_has_run() -> None:
    assert BottleneckAnalyzer().get_slowest_node() is None


def test_the_summary_holds_total_count_slowest_and_bottlenecks_as_json() -> None:
    summary = analyzer_of(fetch=25, draft=75).get_summary()

    assert summary["total_time_ms"] == 100.0
    assert summary["node_count"] == 2
    assert summary["slowest_node"]["node_id"] == "draft"
    assert [entry["node_id"] for entry in summary["bottlenecks"]] == ["draft"]
    assert json.loads(json.dumps(summary)) == summary


def test_the_summary_of_nothing_is_zero_and_none() -> None:
    assert BottleneckAnalyzer().get_summary() == {
        "total_time_ms": 0.0,
        "node_count": 0,
        "slowest_node": None,
        "bottlenecks": [],
    }


def test_failed_executions_are_counted() -> None:
    analyzer = analyzer_of(flaky=1)
    analyzer.record_node("flaky", 1, failed=True)

    (node,) = analyzer.report().nodes

    assert (node.calls, node.errors) == (2, 1)


def test_a_disabled_analyzer_adds_nothing_and_keeps_what_it_has() -> None:
    analyzer = analyzer_of(before=1)
    analyzer.enabled = False
    analyzer.record_node("ignored", 1)
    analyzer.record_span(Span(1, 0, "ignored", 0, 5))

    assert not analyzer.enabled
    assert [node.node_id for node in analyzer.report().nodes] == ["before"]

    analyzer.enabled = True
    analyzer.record_node("after", 1)
    assert analyzer.get_summary()["node_count"] == 2
    assert not BottleneckAnalyzer(False).enabled


def test_clearing_forgets_everything() -> None:
    analyzer = analyzer_of(a=1)
    analyzer.record_span(Span(1, 0, "b", 0, 5))

    analyzer.clear()

    assert analyzer.report().nodes == ()


@pytest.mark.parametrize("duration", [-1, -0.5, math.nan, math.inf, -math.inf, 1e300, 10**30])
def test_a_duration_that_cannot_be_is_refused(duration: float) -> None:
    analyzer = BottleneckAnalyzer()

    with pytest.raises(InvalidValueError, match="duration_ms must be a finite number"):
        analyzer.record_node("a", duration)
    with pytest.raises(InvalidValueError, match="self_duration_ms must be a finite number"):
        analyzer.record_node("a", 1, self_duration_ms=duration)
    assert analyzer.report().nodes == ()


@pytest.mark.parametrize("duration", ["1", None, True, [1], 1j])
def test_a_duration_that_is_no_number_is_refused(duration: object) -> None:
    with pytest.raises(InvalidValueError, match="duration_ms must be a number"):
        BottleneckAnalyzer().record_node("a", duration)  # type: ignore[arg-type]


def test_a_self_time_above_the_whole_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="more than the whole"):
        BottleneckAnalyzer().record_node("a", 1, self_duration_ms=2)


@pytest.mark.parametrize("node_id", ["", None, 5, b"a", "a\n", "a\x00", "\x1b[31m", "\ud800", "x" * 257])
def test_a_name_that_cannot_be_recorded_is_refused(node_id: object) -> None:
    with pytest.raises(InvalidValueError, match="node_id"):
        BottleneckAnalyzer().record_node(node_id, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("node_id", ["x" * 256, "a[0]", "Prüfung", "節点", "with space", "a/b:c"])
def test_unusual_names_are_kept_as_they_are(node_id: str) -> None:
    analyzer = BottleneckAnalyzer()
    analyzer.record_node(node_id, 1)

    assert [node.node_id for node in analyzer.report().nodes] == [node_id]


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
def test_a_limit_that_is_no_count_is_refused(count: object) -> None:
    with pytest.raises(InvalidValueError, match="node_count_max"):
        BottleneckAnalyzer(node_count_max=count)  # type: ignore[arg-type]


def test_nodes_beyond_the_limit_are_added_up_in_one_node_with_exact_totals() -> None:
    analyzer = BottleneckAnalyzer(node_count_max=3)
    for index in range(10):
        analyzer.record_node(f"node{index}", 2)
    analyzer.record_node("node0", 2)

    nodes = {node.node_id: node for node in analyzer.report().nodes}

    assert nodes.keys() == {"node0", "node1", "node2", OTHER_NAME}
    assert nodes[OTHER_NAME].calls == 7
    assert nodes[OTHER_NAME].total_ns == 14_000_000
    assert nodes["node0"].calls == 2


def test_spans_beyond_the_limit_of_names_are_added_up_in_that_node_too() -> None:
    analyzer = BottleneckAnalyzer(node_count_max=2)
    analyzer.record_node("a", 1)
    for index in range(5):
        analyzer.record_span(Span(index + 1, 0, f"span{index}", 0, 10, failed=True))

    nodes = {node.node_id: node for node in analyzer.report().nodes}

    assert len(nodes) == 3
    assert nodes[OTHER_NAME].calls == nodes[OTHER_NAME].errors == 4
    assert nodes[OTHER_NAME].total_ns == 40


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_span_measured_elsewhere_loses_the_time_of_its_children_in_any_order(parent_first: bool) -> None:
    analyzer = BottleneckAnalyzer()
    spans = [Span(1, 0, "parent", 1_000, 100), Span(2, 1, "child", 1_010, 60)]
    for span in spans if parent_first else reversed(spans):
        analyzer.record_span(span)

    assert {node.node_id: node.self_ns for node in analyzer.report().nodes} == {"parent": 40, "child": 60}


def test_totals_stay_exact_when_there_are_too_many_spans_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bottlenecks_module, "SPAN_COUNT_MAX", 12)
    analyzer = BottleneckAnalyzer()
    for index in range(35):
        parent, child = 2 * index + 1, 2 * index + 2
        analyzer.record_span(Span(child, parent, "child", index * 100, 60))
        analyzer.record_span(Span(parent, 0, "parent", index * 100, 100))

    nodes = {node.node_id: node for node in analyzer.report().nodes}

    assert len(analyzer._spans) <= 12
    assert (nodes["parent"].calls, nodes["parent"].total_ns, nodes["parent"].self_ns) == (35, 3_500, 1_400)
    assert (nodes["child"].calls, nodes["child"].total_ns, nodes["child"].self_ns) == (35, 2_100, 2_100)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_parent_that_comes_after_too_many_children_loses_the_time_of_all_of_them(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bottlenecks_module, "SPAN_COUNT_MAX", 12)
    analyzer = BottleneckAnalyzer()
    for index in range(60):
        for number in range(at_once):
            analyzer.record_span(Span(1 + at_once * index + number, 1_000, "child", index * 100, 60))
    analyzer.record_span(Span(1_000, 0, "parent", 0, 6_000))
    for _ in range(2):
        nodes = {node.node_id: node.self_ns for node in analyzer.report().nodes}
        assert nodes == {"child": 60 * 60 * at_once, "parent": 60 * 40}
        for number in range(20):  # until the parent is settled too
            analyzer.record_span(Span(2_000 + number, 0, "child", 10_000, 0))
    assert not analyzer._covered


def test_a_thousand_threads_add_up_exactly() -> None:
    analyzer = BottleneckAnalyzer()
    start = threading.Barrier(1_000)

    def work(number: int) -> None:
        start.wait()
        for index in range(20):
            analyzer.record_ns(f"node{index % 3}", number + index, number, number % 2 == 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    nodes = analyzer.report().nodes
    assert sum(node.calls for node in nodes) == 20_000
    assert sum(node.total_ns for node in nodes) == sum(n + i for n in range(1_000) for i in range(20))
    assert sum(node.self_ns for node in nodes) == 20 * sum(range(1_000))
    assert sum(node.errors for node in nodes) == 10_000
    assert max(node.max_ns for node in nodes) == 999 + 19


def test_reports_may_be_asked_for_while_threads_record() -> None:
    analyzer = BottleneckAnalyzer()
    done = threading.Event()

    def work() -> None:
        for _ in range(20_000):
            analyzer.record_ns("a", 1, 1, failed=False)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    counts = []
    while not done.is_set():
        counts += [node.calls for node in analyzer.report().nodes]
    thread.join()

    assert counts == sorted(counts)
    assert analyzer.report().nodes[0].calls == 20_000


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**12), st.booleans()), max_size=60))
def test_any_executions_add_up_to_the_whole(executions: list[tuple[str, int, bool]]) -> None:
    analyzer = BottleneckAnalyzer()
    for node_id, duration_ns, failed in executions:
        analyzer.record_ns(node_id, duration_ns, duration_ns, failed)

    report = analyzer.report()

    assert report.all_total_ns == sum(duration for _, duration, _ in executions)
    shares = sum(entry["percent_of_total"] for entry in analyzer.get_bottlenecks(-1))
    assert math.isclose(shares, 100.0) or report.all_self_ns == 0


def test_timings_of_a_node_start_at_zero() -> None:
    timings = NodeTimings("a")

    assert timings.profile().calls == 0
    assert timings.profile().avg_ns == 0.0
