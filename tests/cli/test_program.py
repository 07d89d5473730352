"""A command line that cannot be used is answered with one line, and with where to read on."""

from __future__ import annotations

import pytest

from configurable_agents.cli import app, daemon
from configurable_agents.cli.endings import run_program


def ended(program, capsys, *arguments: str) -> tuple[int, str, str]:
    code = run_program(lambda: program(list(arguments), prog_name="the-program"))
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "what", "where"),
    [
        (["cost-reprot"], "No such command 'cost-reprot'. Did you mean 'cost-report'?", "the-program"),
        (["cost-report", "--bu", "node"], "No such option: --bu", "the-program cost-report"),
        (["cost-report", "--top", "x"], "Invalid value for '--top'", "the-program cost-report"),
        (["cost-report", "--top"], "Option '--top' requires an argument", "the-program"),
        (["cost-report", "--format", "cvs"], "'--format': 'cvs' is not one of", "the-program cost-report"),
        (["diff"], "Missing argument 'A'", "the-program diff"),
        (["prices", "show"], "Missing argument 'MODEL'", "the-program prices show"),
        (["runs", "--since", "soon"], "'soon' is no time", "the-program runs"),
        (["runs", "extra"], "Got unexpected extra argument", "the-program runs"),
        (["profile-report", "--threshold", "200"], "Invalid value for '--threshold'", "profile-report"),
        (["profile-report", "--threshold", "-1"], "Invalid value for '--threshold'", "profile-report"),
        (["profile-report", "--threshold", "nan"], "Invalid value for '--threshold'", "profile-report"),
    ],
)
def test_a_slip_is_one_line_with_what_and_where_to_read_on(capsys, arguments, what, where):
    code, out, err = ended(app.app, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert what in err
    assert err.rstrip().endswith(f"{where} --help")


def test_the_daemons_program_does_the_same(capsys):
    code, out, err = ended(daemon.app, capsys, "stopp")
    assert (code, out) == (2, "")
    assert err == "error: No such command 'stopp'. Did you mean 'stop'? See: the-program --help\n"


@pytest.mark.parametrize("arguments", [[], ["prices"]])
def test_a_program_or_group_alone_shows_its_commands(capsys, arguments):
    code, out, err = ended(app.app, capsys, *arguments)
    assert code == 2
    assert "Commands:" in out + err
    assert "error" not in out + err


def test_help_and_version_end_well(capsys):
    assert ended(app.app, capsys, "--version")[0] == 0
    code, out, err = ended(app.app, capsys, "cost-report", "--help")
    assert (code, err) == (0, "")
    assert "--strict" in out
