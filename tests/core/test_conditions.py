"""The conditions of routes: what they decide, and what has no place in them."""

from __future__ import annotations

import pytest

from configurable_agents.core.conditions import ConditionSyntaxError, parse_condition
from configurable_agents.errors import RouteError

STATE = {
    "score": 7,
    "kind": "essay",
    "tags": ["sea", "tides"],
    "done": False,
    "review": {"grade": {"value": 3}, "notes": []},
    "nothing": None,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("state.score > 6", True),
        ("score >= 8", False),
        ("1 < state.score < 8", True),
        ("state.kind == 'essay' and not state.done", True),
        ("state.done or state.score != 7", False),
        ("'sea' in state.tags", True),
        ("state.kind not in ['poem', 'list']", True),
        ("state.review.grade.value == 3", True),
        ("state.tags[0] == 'sea' and state.tags[-1] == 'tides'", True),
        ("state.nothing is None", True),
        ("state.nothing == null and state.done == false", True),
        ("state.review.notes", False),
        ("-state.score < -6", True),
        ("default", True),
        (" Default ", True),
    ],
)
def test_a_condition_decides(text: str, holds: bool) -> None:
    assert parse_condition(text).holds(STATE) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "state.score.__class__",
        "[x for x in state.tags]",
        "lambda: 1",
        "state.score + 1 > 2",
        "(a := 3)",
        "f'{state.score}'",
        "state.score if state.done else 2",
        "len(state.tags) > 1",
        "b'x' == state.kind",
        "state.score >",
        "",
        "a = 1",
        "(" * 500 + ")" * 500,
        "1" * 2000,
    ],
)
def test_anything_else_has_no_place_in_it(text: str) -> None:
    with pytest.raises(ConditionSyntaxError):
        parse_condition(text)


def test_what_cannot_be_compared_is_said_with_its_condition() -> None:
    with pytest.raises(RouteError, match=r"'state.kind > 3' cannot be decided: '>' not supported"):
        parse_condition("state.kind > 3").holds(STATE)
    with pytest.raises(RouteError, match="'rank' is not there"):
        parse_condition("state.review.rank == 1").holds(STATE)
    with pytest.raises(RouteError, match="int has no 'digits'"):
        parse_condition("state.score.digits").holds(STATE)


def test_a_condition_names_the_fields_it_looks_at() -> None:
    condition = parse_condition("state.review.grade.value > score and ('x' in tags or not true)")
    assert condition.fields == ["review", "score", "tags"]
