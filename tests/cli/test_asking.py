"""What cannot be undone is asked for, once, and only where there is somebody to ask."""

from __future__ import annotations

import sys

import pytest
import typer

from configurable_agents.cli.asking import confirm
from configurable_agents.errors import InvalidValueError


class Terminal:
    def __init__(self, answer: str) -> None:
        self._answers = iter([answer])

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        return f"{next(self._answers, '')}\n"


def test_who_said_yes_is_not_asked(capsys):
    confirm("Really?", is_sure=True)
    assert capsys.readouterr() == ("", "")


def test_where_nobody_can_answer_it_is_an_error_that_says_how(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(InvalidValueError, match="say --yes to go on"):
        confirm("Really?", is_sure=False)


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("yes", True), ("n", False), ("", False)])
def test_only_a_yes_goes_on_and_the_question_leaves_standard_output_alone(
    monkeypatch, capsys, answer, goes_on
):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    if goes_on:
        confirm("Really?", is_sure=False)
    else:
        with pytest.raises(typer.Abort):
            confirm("Really?", is_sure=False)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Really? [y/N]: ")
