"""Many processes at once, and processes that do not end as they should: nothing recorded is lost."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.acceptance

START_AND_END = 2


def test_twenty_processes_with_five_thousand_events_each_lose_none(workplace, start):
    start()
    processes = [workplace.launch("record_many.py", f"many-{index}", 5000) for index in range(20)]
    for process in processes:
        workplace.finish(process)
    status = workplace.wait_until_settled(runs=20, exported=False)
    assert status.events_committed == 20 * (5000 + START_AND_END)
    assert status.events_refused == {}
    per_run = workplace.rows(
        "SELECT COUNT(*), COUNT(DISTINCT span_id), MAX(call_index) FROM node_executions GROUP BY run"
    )
    assert per_run == [(5000, 5000, 5000)] * 20
    report = workplace.report("profile-report", "--experiment", "many")
    assert [(node["node_id"], node["call_count"]) for node in report["nodes"]] == [("step", 100_000)]


@pytest.mark.parametrize("ending", ["sigterm", "_exit", "sigkill", "segfault"])
def test_what_a_workflow_recorded_survives_its_violent_end(workplace, start, ending):
    start()
    process = workplace.launch("record_many.py", f"ends-by-{ending}", 1000, ending)
    recorded, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert int(recorded) == 1000 + 1
    status = workplace.wait_until_settled(runs=1, exported=False)
    assert status.events_committed == 1000 + 1 + 1, "its events, and the end that the daemon noted"
    [run] = workplace.report("runs")
    assert (run["run_id"], run["status"]) == (f"ends-by-{ending}", "interrupted")
    report = workplace.report("profile-report", "--run", "latest")
    assert report["nodes"][0]["call_count"] == 1000


def test_a_workflow_killed_while_there_is_no_daemon_is_in_the_reports_of_the_next_one(workplace, start):
    process = workplace.launch("record_many.py", "alone", 1000, "sigkill")
    process.communicate(timeout=60)
    start()
    workplace.wait_until_settled(runs=1, exported=False)
    [run] = workplace.report("runs")
    assert (run["run_id"], run["status"]) == ("alone", "interrupted")
    assert workplace.report("profile-report", "--run", "alone")["nodes"][0]["call_count"] == 1000
