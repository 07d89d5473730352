"""The commands as a user types them: real console scripts, their words, their exit codes."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent
AGENTS_OBS = (str(SCRIPTS / "agents-obs"),)
AGENTS_OBSD = (str(SCRIPTS / "agents-obsd"),)
SETTINGS = ("AGENTS_OBS_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_", "MLFLOW_")
COMMANDS_THAT_ASK = (
    ("cost-report",),
    ("profile-report",),
    ("runs",),
    ("status",),
    ("observability", "cost-report"),
    ("observability", "profile-report"),
    ("observability", "status"),
)


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, check=False, timeout=60
    )


def environment(**settings: str) -> dict[str, str]:
    """That of the tests without anything that bends the output."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)} | settings


def only_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.rstrip("\n")


class TestWithoutADaemon:
    @pytest.mark.parametrize("command", COMMANDS_THAT_ASK)
    def test_a_question_gets_one_line_that_says_what_to_run(self, command, tmp_path):
        result = run(*AGENTS_OBS, *command, AGENTS_OBS_HOME=str(tmp_path))
        assert result.returncode == 3
        assert result.stdout == ""
        line = only_line(result.stderr)
        assert line.startswith("error: no daemon")
        assert "agents-obsd start" in line

    def test_json_does_not_change_that(self, tmp_path):
        result = run(*AGENTS_OBS, "cost-report", "--json", "--home", str(tmp_path))
        assert (result.returncode, result.stdout) == (3, "")

    def test_asking_leaves_no_trace_on_disk(self, tmp_path):
        run(*AGENTS_OBS, "cost-report", "--home", str(tmp_path / "state"))
        assert list(tmp_path.iterdir()) == []

    def test_stopping_says_that_nothing_runs(self, tmp_path):
        result = run(*AGENTS_OBSD, "stop", "--home", str(tmp_path))
        assert result.returncode == 3
        assert only_line(result.stderr) == f"error: no daemon is running in {tmp_path}"

    def test_a_state_folder_whose_socket_path_is_too_long_is_refused(self, tmp_path):
        result = run(*AGENTS_OBS, "status", "--home", str(tmp_path / ("x" * 120)))
        assert result.returncode == 2
        assert "AGENTS_OBS_SOCKET" in only_line(result.stderr)


class TestOneProgramWithThreeDoors:
    @pytest.mark.parametrize(
        "door",
        [AGENTS_OBS, (str(SCRIPTS / "configurable-agents"),), (sys.executable, "-m", "configurable_agents")],
    )
    def test_every_door_leads_to_the_same_commands(self, door):
        help_text = run(*door, "--help").stdout
        for command in ("cost-report", "profile-report", "runs", "status", "observability"):
            assert command in help_text
        assert run(*door, "--version").stdout == run(*AGENTS_OBS, "version").stdout

    def test_the_daemon_has_its_own_commands(self):
        help_text = run(*AGENTS_OBSD, "--help").stdout
        for command in ("start", "run", "stop", "status"):
            assert command in help_text
        assert run(*AGENTS_OBSD, "--version").stdout.startswith("agents-obsd ")


class TestClumsyUse:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("cost-reprot",), "Did you mean 'cost-report'?"),
            (("observability", "runs"), "No such command"),
            (("cost-report", "--sicne", "1h"), "--since"),
            (("cost-report", "--since", "yesterday"), "'yesterday' is no time"),
            (("cost-report", "--since", ""), "is no time"),
            (("cost-report", "--since", "-5m"), "is no time"),
            (("cost-report", "--since", "99999999999999d"), "is no time"),
            (("cost-report", "--since", "1969-12-31"), "is no time"),
            (("cost-report", "--since", "5m\x1b[2J"), "\\x1b[2J"),
            (("cost-report", "--run", ""), "a unique beginning"),
            (("cost-report", "--experiment", " "), "it is empty"),
            (("cost-report", "everything"), "unexpected extra argument"),
            (("profile-report", "--threshold", "half"), "--threshold"),
            (("profile-report", "--threshold", "nan"), "--threshold"),
            (("runs", "--limit", "0"), "--limit"),
            (("runs", "--limit", "many"), "--limit"),
            (("cost-report", "--mlflow-uri", "sqlite:///x.db"), "--experiment"),
            (("cost-report", "--mlflow-uri", "sqlite:///x.db", "-e", "a", "--run", "b"), "--run"),
        ],
    )
    def test_a_slip_is_answered_with_a_hint_and_exit_code_2(self, arguments, words, tmp_path):
        result = run(*AGENTS_OBS, *arguments, AGENTS_OBS_HOME=str(tmp_path))
        assert result.returncode == 2
        assert result.stdout == ""
        assert words in result.stderr
        assert "Traceback" not in result.stderr
        assert "\x1b" not in result.stderr

    def test_no_command_at_all_shows_the_help(self):
        result = run(*AGENTS_OBS)
        assert result.returncode == 2
        assert "cost-report" in result.stdout + result.stderr

    @pytest.mark.parametrize(
        ("uri", "code"),
        [("sqlite:////nonexistent/mlflow.db", 2), ("http://127.0.0.1:9/", 1), ("nonsense://x", 2)],
    )
    @pytest.mark.parametrize("command", ["cost-report", "profile-report"])
    def test_an_mlflow_that_is_not_there_is_one_line(self, command, uri, code):
        result = run(*AGENTS_OBS, command, "--mlflow-uri", uri, "-e", "support-bot")
        assert result.returncode == code
        assert result.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in result.stderr


class TestWhatIsLoaded:
    """A command that shows a report as JSON starts in a fraction of the time that all this would take."""

    HEAVY = ("mlflow", "grpc", "google.protobuf", "rich.table", "numpy", "pandas", "genai_prices", "anyio")

    def test_the_doors_load_nothing_heavy(self):
        assert self.loaded("import configurable_agents.cli.doors") == set()

    def test_neither_do_the_commands_until_one_runs(self):
        code = "import configurable_agents.cli.app, configurable_agents.cli.daemon"
        assert self.loaded(code) == set()

    def test_a_command_that_finds_no_daemon_loads_nothing_more(self, tmp_path):
        code = f"""
            import sys
            sys.argv = ["agents-obs", "cost-report", "--home", {str(tmp_path)!r}]
            from configurable_agents.cli import doors, endings
            assert endings.run_program(doors.ask) == 3
        """
        assert self.loaded(code) <= {"google.protobuf"}

    def loaded(self, code: str) -> set[str]:
        report = f"import json, sys; print(json.dumps([m for m in {self.HEAVY!r} if m in sys.modules]))"
        result = run(sys.executable, "-c", f"{textwrap.dedent(code)}\n{report}")
        assert result.returncode == 0, result.stderr
        return set(json.loads(result.stdout.splitlines()[-1]))
