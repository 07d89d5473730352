"""`run`, `validate` and `graph` as a user meets them: real processes, real exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configurable_agents.client.home import Home

WORKFLOW = """\
schema_version: "1.0"
flow: {name: numbers}
state:
  fields:
    number: {type: int, required: true, description: where to begin}
    words: {type: "list[str]", default: []}
    note: {type: str, default: ""}
nodes:
  - {id: double, python: "steps:double", outputs: [number]}
  - {id: tell, python: "steps:tell", outputs: [note]}
edges:
  - {from: START, to: double}
  - {from: double, to: tell}
"""
STEPS = """
import asyncio

def double(state):
    return state["number"] * 2

async def tell(state):
    if state["number"] > 1000:
        raise ValueError("too large")
    if state["number"] == 666:
        await asyncio.sleep(3600)
    await asyncio.sleep(0.05)
    return " ".join(state["words"]) or "nothing"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "numbers.yaml").write_text(WORKFLOW, encoding="utf-8")
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def environment(home: Home) -> dict[str, str]:
    return {**os.environ, "AGENTS_OBS_HOME": str(home.folder), "COLUMNS": "120"}


@pytest.fixture
def command(folder: Path, environment: dict[str, str]) -> Run:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("configurable-agents"), *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_a_run_shows_its_nodes_and_ends_with_what_it_made(command: Run) -> None:
    ended = command("run", "numbers.yaml", "--input", "number=3", "--input", 'words=["a", "b"]')
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[0] == "double: started"
    assert [line.split(" in ")[0] for line in ended.stderr.splitlines()[1::2]] == [
        "double: done",
        "tell: done",
    ]
    assert "numbers: ok" in ended.stdout
    assert "number: 6\nnote: a b\n" in ended.stdout
    assert "Cost: no model was called" in ended.stdout
    assert "Slowest node" not in ended.stdout


def test_with_profiling_the_slowest_node_and_the_bottlenecks_are_said(command: Run) -> None:
    ended = command("run", "numbers.yaml", "-i", "number=3", "--enable-profiling")
    lines = ended.stdout.splitlines()
    slowest = next(line for line in lines if line.startswith("Slowest node: "))
    assert slowest.startswith("Slowest node: tell (")
    assert slowest.endswith("ms avg)")
    share = lines[lines.index("Bottlenecks (>50% of total time):") + 1]
    assert share.startswith("  tell: ")
    assert share.endswith("%")
    assert "call_count" not in ended.stdout


def test_the_profile_is_a_table_sorted_by_total(command: Run) -> None:
    ended = command("run", "numbers.yaml", "-i", "number=3", "--profile")
    lines = ended.stdout.splitlines()
    heading = next(index for index, line in enumerate(lines) if line.startswith("node_id"))
    assert lines[heading].split() == [
        *("node_id", "call_count", "total_time_ms", "avg_time_ms", "percent_of_total")
    ]
    rows = [line.split() for line in lines[heading + 2 :] if line]
    assert [row[0] for row in rows] == ["tell", "double"]
    assert sum(float(row[4].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.11)


def test_the_config_may_ask_for_profiling(command: Run, folder: Path) -> None:
    path = folder / "numbers.yaml"
    path.write_text(f"{WORKFLOW}config: {{observability: {{profiling: true}}}}\n", encoding="utf-8")
    assert "Slowest node: tell" in command("run", "numbers.yaml", "-i", "number=3").stdout


def test_the_whole_result_can_be_written_to_a_file(command: Run, folder: Path) -> None:
    (folder / "inputs.json").write_text('{"number": 1, "words": ["from", "file"]}', encoding="utf-8")
    ended = command(
        *("run", "numbers.yaml", "--inputs-file", "inputs.json", "-i", "number=4", "--profile"),
        *("--output", "result.json", "--experiment", "mine"),
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads((folder / "result.json").read_text())
    assert result["state"] == {"number": 8, "words": ["from", "file"], "note": "from file"}
    assert (result["run"]["experiment"], result["run"]["status"]) == ("mine", "ok")
    assert result["run"]["bottleneck_info"]["slowest_node"]["node_id"] == "tell"
    assert {node["node_id"] for node in result["profile"]["nodes"]} == {"double", "tell"}
    assert result["costs"]["call_count"] == 0


def test_the_file_holds_the_profile_also_where_none_is_printed(command: Run, folder: Path) -> None:
    ended = command("run", "numbers.yaml", "-i", "number=1", "-o", "result.json")
    assert ended.returncode == 0, ended.stderr
    assert "Slowest node" not in ended.stdout
    result = json.loads((folder / "result.json").read_text())
    assert result["run"]["node_executions"] == 2
    assert {node["node_id"] for node in result["profile"]["nodes"]} == {"double", "tell"}
    path = folder / "numbers.yaml"
    path.write_text(f"{WORKFLOW}config: {{observability: {{profiling: false}}}}\n", encoding="utf-8")
    assert command("run", "numbers.yaml", "-i", "number=1", "-o", "result.json").returncode == 0
    result = json.loads((folder / "result.json").read_text())
    assert (result["run"]["node_executions"], result["profile"]) == (None, None)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("absent/x.json", "No such file or directory"),
        (".", "Is a directory"),
        ("steps.py/x", "Not a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    command: Run, folder: Path, output: str, said: str
) -> None:
    ended = command("run", "numbers.yaml", "-i", "number=1", "-o", output)
    assert (ended.returncode, ended.stdout) == (74, "")
    assert ended.stderr == f"error: cannot write {output}: {said}\n"


def test_a_run_that_fails_before_it_begins_leaves_a_file_of_before_alone(command: Run, folder: Path) -> None:
    (folder / "result.json").write_text("before", encoding="utf-8")
    assert command("run", "numbers.yaml", "-i", "number=x", "-o", "result.json").returncode == 2
    assert (folder / "result.json").read_text() == "before"


@pytest.mark.parametrize(("number", "code"), [(3, 74), (600, 1)])
def test_a_file_that_cannot_be_written_in_the_end_keeps_nothing_from_being_printed(
    command: Run, folder: Path, number: int, code: int
) -> None:
    """The folder goes away while the workflow runs. Of a run that failed, that is what the exit code says."""
    steps = f"import shutil\n{STEPS}".replace(
        "def double(state):", "def double(state):\n    shutil.rmtree('out')"
    )
    (folder / "steps.py").write_text(steps, encoding="utf-8")
    (folder / "out").mkdir()
    ended = command("run", "numbers.yaml", "-i", f"number={number}", "--profile", "-o", "out/result.json")
    assert ended.returncode == code
    assert "error: cannot write out/result.json: No such file or directory; the run itself is" in ended.stderr
    assert "Cost: no model was called" in ended.stdout
    assert "Slowest node: " in ended.stdout


def test_a_run_that_fails_ends_with_1_names_the_node_and_still_reports(command: Run, folder: Path) -> None:
    ended = command("run", "numbers.yaml", "-i", "number=600", "--profile", "-o", "result.json")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "error: workflow numbers failed: node 'tell' failed: steps:tell raised ValueError: too large"
    )
    assert "numbers: error" in ended.stdout
    assert "number: " not in ended.stdout
    assert "Slowest node: " in ended.stdout
    assert json.loads((folder / "result.json").read_text())["run"]["status"] == "error"


def test_ctrl_c_stops_the_run_once_and_records_it_as_cancelled(
    folder: Path, environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("configurable-agents"), "run", "numbers.yaml"),
            *("-i", "number=333", "--profile", "-o", "result.json"),
        ],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "tell: started" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "numbers: cancelled" in out
    assert "Traceback" not in err
    assert "tell: cancelled" in err
    assert json.loads((folder / "result.json").read_text())["run"]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["numbers.yaml"], 2, "numbers needs the input 'number' (int: where to begin); give it with --input"),
        (["numbers.yaml", "-i", "number"], 2, "'number' is not NAME=VALUE"),
        (["numbers.yaml", "-i", "number=x"], 2, "the input 'number' is no int"),
        (["numbers.yaml", "-i", "nubmer=1"], 2, "did you mean 'number'?"),
        (["absent.yaml"], 2, "cannot read absent.yaml: No such file or directory"),
        (["numbers.yaml", "--inputs-file", "absent.json"], 2, "cannot read absent.json"),
        (["numbers.yaml", "--inputs-file", "steps.py"], 2, "steps.py is not JSON"),
        (["numbers.yaml", "-i", "number=1", "-o", "absent/x.json"], 74, "cannot write absent/x.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_explained_in_one_line(
    command: Run, arguments: list[str], code: int, said: str
) -> None:
    ended = command("run", *arguments)
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_validate_says_every_problem_with_its_line(command: Run, folder: Path) -> None:
    assert command("validate", "numbers.yaml").stdout == "numbers.yaml: numbers, 2 nodes, valid\n"
    broken = WORKFLOW.replace("outputs: [note]", "output: [note]").replace("to: tell", "to: tel")
    (folder / "broken.yaml").write_text(broken, encoding="utf-8")
    ended = command("validate", "broken.yaml")
    assert ended.returncode == 2
    (problem,) = ended.stderr.splitlines()
    assert problem.startswith("error: broken.yaml:10: nodes[1].output: unknown key; did you mean 'outputs'?;")


def test_validate_refuses_what_run_refuses(command: Run, folder: Path) -> None:
    text = WORKFLOW.replace('python: "steps:tell"', 'prompt: "{number}", llm: {provider: foo, model: x}')
    (folder / "foreign.yaml").write_text(text.replace("steps:double", "absent:double"), encoding="utf-8")
    for arguments in (["validate", "foreign.yaml"], ["run", "foreign.yaml", "-i", "number=1"]):
        ended = command(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        first, second = ended.stderr.splitlines()
        assert first.startswith("error: foreign.yaml:9: nodes[0].python: cannot import 'absent'")
        assert second.startswith(
            "error: foreign.yaml:10: nodes[1].llm.provider: unknown provider 'foo'; there"
        )


def test_validate_warns_of_a_key_that_is_not_here(
    command: Run, folder: Path, environment: dict[str, Any]
) -> None:
    environment.pop("OPENAI_API_KEY", None)
    text = WORKFLOW.replace('python: "steps:tell"', 'prompt: "{number}", llm: {model: gpt-4o-mini}')
    (folder / "asking.yaml").write_text(text, encoding="utf-8")
    ended = command("validate", "asking.yaml")
    assert (ended.returncode, ended.stderr) == (0, "warning: no key for openai: set OPENAI_API_KEY\n")


def test_validate_warns_of_what_has_no_effect(command: Run, folder: Path) -> None:
    (folder / "foreign.yaml").write_text(f"{WORKFLOW}webhook: {{enabled: true}}\n", encoding="utf-8")
    ended = command("validate", "foreign.yaml")
    assert (ended.returncode, ended.stderr) == (
        0,
        "warning: foreign.yaml:14: webhook: is not part of this runner and has no effect\n",
    )


def test_graph_prints_mermaid(command: Run) -> None:
    drawn = command("graph", "numbers.yaml").stdout
    assert drawn.startswith("flowchart TD\n")
    assert "    double --> tell\n" in drawn


def test_a_workflow_with_models_needs_their_keys_before_anything_runs(
    command: Run, folder: Path, environment: dict[str, Any]
) -> None:
    environment.pop("OPENAI_API_KEY", None)
    text = WORKFLOW.replace('python: "steps:tell"', 'prompt: "{number}", llm: {model: gpt-4o-mini}')
    (folder / "asking.yaml").write_text(text, encoding="utf-8")
    ended = command("run", "asking.yaml", "-i", "number=1")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "error: no key for openai: set OPENAI_API_KEY"
