"""`timeline` and `watch` asked of a real daemon."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from configurable_agents import observe_run
from configurable_agents.cli.app import app
from configurable_agents.cli.endings import run_program
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Status


@profile_node("inner")
def inner() -> None:
    pass


@profile_node("outer")
def outer() -> None:
    inner()
    inner()


@pytest.fixture
def ask(daemon, eventually, capsys) -> Callable[..., tuple[int, str, str]]:
    with observe_run("pictures", workflow="w", home=daemon.home.folder):
        outer()
    with ReportClient(daemon.home) as client:
        eventually(lambda: [run.status for run in client.runs(Scope())[0]] == [Status.OK])

    def run(*arguments: str) -> tuple[int, str, str]:
        home = ["--home", str(daemon.home.folder)]
        code = run_program(lambda: app([*arguments, *home]))
        return code, *capsys.readouterr()

    return run


def test_a_run_is_drawn_written_as_a_page_and_in_other_formats(ask, tmp_path):
    code, out, _ = ask("timeline", "latest")
    bars = [
        words[0] for line in out.splitlines() if (words := line.split()) and words[0] in ("outer", "inner")
    ]
    assert (code, bars) == (0, ["outer", "inner", "inner"]), out

    page = tmp_path / "run.html"
    assert ask("timeline", "latest", "--html", str(page))[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    assert "/*DATA*/" not in page.read_text()

    trace = json.loads(ask("timeline", "latest", "--format", "perfetto")[1])
    assert sorted(event["name"] for event in trace["traceEvents"] if event["ph"] == "X") == [
        "inner",
        "inner",
        "outer",
    ]
    stacks = [
        line.rpartition(" ")[0] for line in ask("timeline", "latest", "--format", "folded")[1].splitlines()
    ]
    assert set(stacks) <= {"outer", "outer;inner"}
    assert "outer" in ask("timeline", "latest", "--follow")[1]


def test_following_is_for_the_terminal_only(ask, tmp_path):
    for more in (("--html", str(tmp_path / "run.html")), ("--format", "perfetto")):
        code, out, err = ask("timeline", "latest", "--follow", *more)
        assert (code, out, "it draws in the terminal" in err) == (2, "", True)


def test_a_page_has_no_format(ask, tmp_path):
    page = tmp_path / "run.html"
    code, out, err = ask("timeline", "latest", "--html", str(page), "--format", "folded")
    assert (code, out, "it is a page; leave out --format" in err) == (2, "", True)
    assert not page.exists()


def test_a_page_that_cannot_be_written_is_one_line_of_error(ask, tmp_path):
    code, _, err = ask("timeline", "latest", "--html", str(tmp_path / "none" / "run.html"))

    assert (code, err.count("\n")) == (74, 1)
    assert "No such file or directory" in err


def test_what_if_is_answered_for_the_run_and_refused_for_nodes_it_does_not_have(ask):
    [answer] = json.loads(ask("profile-report", "--what-if", "inner=removed", "--json")[1])["what_if"]
    assert answer["time_multiplier"] == 0
    assert answer["saved_ms"] == pytest.approx(answer["wall_time_ms"] - answer["changed_wall_time_ms"])
    assert "What if inner were 2 times as fast" in ask("profile-report", "--what-if", "inner=2x")[1]
    code, _, err = ask("profile-report", "--what-if", "nobody=2x")
    assert (code, "there are: inner, outer" in err, err.startswith("error: run ")) == (2, True, True)
    assert ask("profile-report", "--what-if", "inner=fast")[0] == 2


def test_watching_ends_after_as_many_updates_as_asked_for(ask):
    code, out, _ = ask("watch", "--updates", "2", "--every", "200")

    assert code == 0
    assert out.count("No run is in flight.") == 2
