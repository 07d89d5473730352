"""Exit codes and last words, as the shell sees them: each case is a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HEAD = """
import sys, time
from configurable_agents.cli.endings import run_program
from configurable_agents.errors import *
"""
TAIL = "\nsys.exit(run_program(program))"


def ending_of(program: str, **options) -> subprocess.CompletedProcess[str]:
    code = f"{HEAD}def program():\n{textwrap.indent(textwrap.dedent(program), '    ')}{TAIL}"
    settings = options.pop("settings", {})
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        **({"stdout": subprocess.PIPE} | options),
    )


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("NotFoundError('no experiment is called x')", 1),
        ("InvalidValueError('x')", 2),
        ("ConfigurationError('x')", 2),
        ("DaemonUnavailableError('x')", 3),
        ("AlreadyRunningError('x')", 5),
        ("OutputError('x')", 74),
        ("SystemExit(4)", 4),
        ("KeyboardInterrupt()", 130),
    ],
)
def test_each_situation_has_its_exit_code_and_no_traceback(raised, code):
    ending = ending_of(f"raise {raised}")
    assert ending.returncode == code
    assert "Traceback" not in ending.stderr
    assert ending.stderr.count("\n") <= 1


def test_an_error_is_one_harmless_line_whatever_its_message_holds():
    ending = ending_of("raise NotFoundError('no experiment\\nis called \\x1b[2J\\u202ex')")
    assert ending.stderr == "error: no experiment is called \\x1b[2J\\u202ex\n"


def test_a_name_of_any_length_does_not_flood_the_terminal():
    ending = ending_of("raise NotFoundError('x' * 100_000)")
    assert len(ending.stderr) < 3_000


def test_a_defect_says_its_type_and_how_to_get_the_traceback():
    ending = ending_of("1 / 0")
    assert ending.returncode == 70
    assert ending.stderr.startswith("error: unexpected ZeroDivisionError: division by zero;")
    assert "AGENTS_OBS_DEBUG=1" in ending.stderr
    assert ending.stderr.count("\n") == 1


def test_a_defect_shows_its_traceback_when_asked():
    ending = ending_of("1 / 0", settings={"AGENTS_OBS_DEBUG": "1"})
    assert ending.returncode == 70
    assert "Traceback" in ending.stderr
    assert ending.stderr.splitlines()[-1].startswith("error: unexpected ZeroDivisionError")


def test_ctrl_c_ends_a_command_without_a_traceback():
    code = f"{HEAD}def program():\n    print('ready', flush=True)\n    time.sleep(60){TAIL}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "")


WRITE = "from configurable_agents.cli.terminal import write_out\nwrite_out({text})"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_away_is_no_error(lines):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        ending = ending_of(WRITE.format(text=f"'a line\\n' * {lines}"), stdout=write_end)
    finally:
        os.close(write_end)
    assert (ending.returncode, ending.stderr) == (0, "")


@pytest.mark.parametrize(("closed", "code"), [(">&-", 74), ("2>&-", 3), (">&- 2>&-", 74)])
def test_a_closed_standard_output_is_an_error_once_something_is_written(closed, code):
    write = textwrap.indent(WRITE.format(text="'report'"), "    ")
    program = f"{HEAD}def program():\n{write}\n    raise DaemonUnavailableError('x'){TAIL}"
    command = f'"{sys.executable}" -c "$PROGRAM" {closed}'
    ending = subprocess.run(
        ["/bin/sh", "-c", command], env={**os.environ, "PROGRAM": program}, check=False, timeout=60
    )
    assert ending.returncode == code


def door(arguments: str) -> str:
    return f"import sys; sys.argv = ['agents-obs', *{arguments.split()!r}]; {DOOR}"


DOOR = "from configurable_agents.cli.doors import agents_obs; agents_obs()"


@pytest.mark.parametrize("arguments", ["--help", "runs --help", "version"])
def test_help_too_is_said_not_to_be_written(arguments):
    with Path("/dev/full").open("w") as full:
        ending = subprocess.run(
            [sys.executable, "-c", door(arguments)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert ending.returncode == 74
    assert ending.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_reader_of_help_that_has_gone_away_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        ending = subprocess.run(
            [sys.executable, "-c", door("--help")],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(write_end)
    assert (ending.returncode, ending.stderr) == (0, "")


@pytest.mark.parametrize("module", ["endings", "app"])
def test_ctrl_c_while_a_program_is_loaded_leaves_no_traceback(module):
    interrupt = f"""
import builtins, os, signal
load = builtins.__import__
def loading(name, *more):
    if name == "configurable_agents.cli.{module}":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *more)
builtins.__import__ = loading
"""
    ending = subprocess.run(
        [sys.executable, "-c", interrupt + door("runs")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ending.returncode, ending.stdout, ending.stderr) == (130, "", "")


def test_an_interrupt_that_is_ignored_stays_ignored():
    """As in a shell script that runs a command with `&`."""
    program = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {door('version')}"
    seen = program.replace(
        "agents_obs()", "import configurable_agents.cli.doors as d; d.leave_at_once_when_interrupted()"
    )
    seen += "; d.interruptible(); print(signal.getsignal(signal.SIGINT).name)"
    ending = subprocess.run(
        [sys.executable, "-c", seen], capture_output=True, text=True, check=True, timeout=60
    )
    assert ending.stdout == "SIG_IGN\n"


def test_a_full_disk_under_standard_output_is_an_error():
    with Path("/dev/full").open("w") as full:
        ending = ending_of(WRITE.format(text="'report'"), stdout=full)
    assert ending.returncode == 74
    assert ending.stderr == "error: cannot write to standard output: No space left on device\n"


def test_an_output_that_is_not_unicode_gets_stand_ins_of_the_same_width():
    ending = ending_of(WRITE.format(text="'▲ ██▌ ─ 12 µs 模\\n'"), settings={"PYTHONIOENCODING": "ascii"})
    assert ending.stdout == "^ ### - 12 us ?\n"
