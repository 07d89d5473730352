"""The commands as a user types them: real console scripts, their words, their exit codes."""

import json
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configurable_agents import observe_run
from configurable_agents.client.process import close_process_recorders
from configurable_agents.runtime.profiler import profile_node

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
        command,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def environment(**settings: str) -> dict[str, str]:
    """That of the tests without anything that bends the output."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)} | settings


def only_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.rstrip("\n")


@pytest.fixture
def recorded(daemon) -> str:
    """A daemon that knows two experiments, three runs, two providers and a name made to do harm."""
    for experiment in ("research", "support-bot", "support-bot"):
        record_run(daemon.home, experiment)
    close_process_recorders()
    return str(daemon.home.folder)


def record_run(home, experiment: str) -> None:
    with observe_run(experiment, "triage", home=home) as observed:

        @profile_node("[red]draft[/red]")
        def draft():
            observed.track_call(
                provider="openai",
                model="gpt-4o",
                response={"usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}},
            )
            observed.track_call(
                provider="acme",
                model="acme-1",
                response={"usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}},
            )

        draft()


def on_a_terminal(*command: str, **settings: str) -> str:
    """What a command writes when its standard output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment(TERM="xterm-256color", **settings), stdout=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65_536):
            written += part
    except OSError:  # how a terminal says that its other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return written.decode()


class TestWithoutADaemon:
    @pytest.mark.parametrize("command", COMMANDS_THAT_ASK)
    def test_a_question_gets_one_line_that_says_what_to_run(self, command, tmp_path):
        result = run(*AGENTS_OBS, *command, AGENTS_OBS_HOME=str(tmp_path))
        assert result.returncode == 3
        assert result.stdout == ""
        line = only_line(result.stderr)
        assert line.startswith("error: no daemon")
        assert "agents-obsd start" in line

    def test_the_hint_names_the_folder_that_was_asked_for(self, tmp_path):
        result = run(*AGENTS_OBS, "runs", "--home", str(tmp_path / "other"), AGENTS_OBS_HOME=str(tmp_path))
        assert only_line(result.stderr).endswith(f"agents-obsd start --home {tmp_path}/other")

    def test_a_group_that_lists_without_a_command_takes_a_folder_too(self, tmp_path):
        assert run(*AGENTS_OBS, "dead-letters", "--home", str(tmp_path)).returncode == 3
        result = run(*AGENTS_OBS, "dead-letters", "--home", str(tmp_path), "list")
        assert result.returncode == 2
        assert "give it after the command: dead-letters list --home" in only_line(result.stderr)

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
            (("cost-report", "--since", "9000-01-01"), "is no time"),
            (("cost-report", "--since", "5m\x1b[2J"), "\\x1b[2J"),
            (("cost-report", "--run", ""), "a unique beginning"),
            (("cost-report", "--experiment", " "), "it is empty"),
            (("cost-report", "--experiment", "\udcff"), "not UTF-8"),
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


class TestWithADaemon:
    def test_the_cost_report_adds_up_everything_unless_narrowed_down(self, recorded):
        everything = json.loads(run(*AGENTS_OBS, "cost-report", "--json", "--home", recorded).stdout)
        assert everything["experiment"] is None
        assert everything["run_count"] == 3
        assert everything["call_count"] == 6
        assert everything["coverage"]["unpriced_calls"] == 3
        assert everything["total_cost_nanos"] == 3 * (1_000 * 2_500 + 100 * 10_000)
        narrowed = json.loads(
            run(*AGENTS_OBS, "cost-report", "--json", "-e", "support-bot", "--home", recorded).stdout
        )
        assert (narrowed["experiment"], narrowed["run_count"]) == ("support-bot", 2)

    def test_the_tables_say_what_they_cover_and_print_names_literally(self, recorded):
        cost = run(*AGENTS_OBS, "cost-report", "--home", recorded, COLUMNS="120").stdout
        assert "everything: all experiments · 3 runs" in cost
        assert "$0.0105 + 3 unpriced calls (33 tokens), 50.0 % of calls priced" in cost
        assert "▲ Most expensive provider: openai" in cost
        profile = run(*AGENTS_OBS, "profile-report", "-e", "research", "--home", recorded).stdout
        assert "Slowest node: [red]draft[/red] (" in profile
        assert "Bottlenecks (>50% of total time):" in profile

    def test_a_run_is_found_by_its_id_by_its_beginning_and_as_the_latest(self, recorded):
        listed = json.loads(run(*AGENTS_OBS, "runs", "--json", "--home", recorded).stdout)
        assert [entry["experiment"] for entry in listed] == ["support-bot", "support-bot", "research"]
        newest = listed[0]["run_id"]
        for name in (newest, newest[:12], "latest"):
            report = run(*AGENTS_OBS, "profile-report", "--json", "--run", name, "--home", recorded)
            assert json.loads(report.stdout)["run_id"] == newest
            assert listed[0]["bottleneck_info"]["slowest_node"]["node_id"] == "[red]draft[/red]"

    def test_the_list_of_runs_can_be_cut_short_and_narrowed_down(self, recorded):
        shortened = run(*AGENTS_OBS, "runs", "--limit", "1", "--home", recorded, COLUMNS="120").stdout
        assert "2 more; --limit shows them." in shortened
        of_one = run(*AGENTS_OBS, "runs", "-e", "research", "--json", "--home", recorded).stdout
        assert len(json.loads(of_one)) == 1
        assert (
            json.loads(run(*AGENTS_OBS, "runs", "--since", "2100-01-01", "--json", "--home", recorded).stdout)
            == []
        )

    def test_the_status_is_the_same_from_both_programs(self, recorded):
        asked = json.loads(run(*AGENTS_OBS, "status", "--json", "--home", recorded).stdout)
        told = json.loads(run(*AGENTS_OBSD, "status", "--json", "--home", recorded).stdout)
        lasting = ("version", "pid", "started_unix_ns", "home", "address", "events_committed", "exporters")
        assert [asked[key] for key in lasting] == [told[key] for key in lasting]
        assert asked["home"] == recorded
        assert asked["runs_total"] == 3
        assert "committed" in run(*AGENTS_OBS, "status", "--home", recorded).stdout

    @pytest.mark.parametrize("command", ["cost-report", "profile-report", "runs"])
    def test_an_unknown_experiment_is_answered_with_those_there_are(self, recorded, command):
        result = run(*AGENTS_OBS, command, "-e", "suport-bot", "--home", recorded)
        assert (result.returncode, result.stdout) == (1, "")
        line = only_line(result.stderr)
        assert line.startswith("error: ")
        assert "suport-bot" in line
        assert "support-bot" in line.replace("suport-bot", "")

    def test_an_unknown_run_is_answered_with_one_line(self, recorded):
        result = run(*AGENTS_OBS, "cost-report", "--run", "no-such-run", "--home", recorded)
        assert result.returncode == 1
        assert "no-such-run" in only_line(result.stderr)

    def test_a_time_without_runs_says_what_the_newest_run_is(self, recorded):
        result = run(*AGENTS_OBS, "cost-report", "--since", "2100-01-01", "--home", recorded)
        assert result.returncode == 0
        assert "since 2100-01-01" in result.stdout
        assert "The newest run is " in result.stdout

    def test_an_empty_ledger_says_how_to_fill_it(self, daemon):
        result = run(*AGENTS_OBS, "runs", "--home", str(daemon.home.folder))
        assert result.returncode == 0
        assert "No runs are recorded yet" in result.stdout

    def test_colour_is_for_terminals_and_not_for_those_who_decline(self, recorded):
        command = (*AGENTS_OBS, "cost-report", "--home", recorded)
        assert "\x1b[" in on_a_terminal(*command)
        assert "\x1b" not in on_a_terminal(*command, NO_COLOR="1")
        assert "\x1b" not in run(*command).stdout

    def test_a_file_or_a_log_has_room_for_every_column(self, recorded):
        command = (*AGENTS_OBS, "cost-report", "--home", recorded)
        assert "Cached" in run(*command).stdout
        assert "Cached" not in run(*command, COLUMNS="60").stdout

    def test_piped_output_has_no_blanks_at_line_ends(self, recorded):
        lines = run(*AGENTS_OBS, "cost-report", "--home", recorded).stdout.splitlines()
        assert all(line == line.rstrip() for line in lines)

    def test_a_reader_that_stops_early_gets_what_it_read_and_no_complaint(self, recorded):
        command = f'"{AGENTS_OBS[0]}" runs --home "{recorded}"'
        result = run("/bin/bash", "-c", f"set -o pipefail; {command} | head -1")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "Runs, newest first\n"

    def test_a_second_daemon_is_refused_with_the_pid_of_the_first(self, daemon):
        for word in ("start", "run"):
            result = run(*AGENTS_OBSD, word, "--home", str(daemon.home.folder))
            assert result.returncode == 5, result.stderr
            assert str(daemon.pid) in only_line(result.stderr)

    def test_stop_ends_the_daemon_and_says_so(self, daemon):
        home = str(daemon.home.folder)
        assert run(*AGENTS_OBSD, "stop", "--home", home).stdout == "agents-obsd has stopped\n"
        assert run(*AGENTS_OBS, "status", "--home", home).returncode == 3
        assert not daemon.home.socket.exists()


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
