"""Placeholders in prompts."""

from __future__ import annotations

import pytest

from configurable_agents.core.templates import fill, placeholders, resolve
from configurable_agents.errors import InvalidValueError

VALUES = {"topic": "tides", "profile": {"bio": "old", "tags": ["a", "b"]}, "count": 3, "nothing": None}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("On {state.topic}, {topic}", "On tides, tides"),
        ("{state.profile.bio}/{profile.tags.1}", "old/b"),
        ("{state.profile}", '{"bio": "old", "tags": ["a", "b"]}'),
        ("{count} times {state.nothing}.", "3 times ."),
        ('{"a": 1} {{topic}}', '{"a": 1} {topic}'),
        ("{ topic }", "{ topic }"),
    ],
)
def test_placeholders_are_filled_and_other_braces_stay(template: str, filled: str) -> None:
    assert fill(template, VALUES) == filled


def test_an_input_that_is_one_placeholder_keeps_its_type() -> None:
    assert resolve("{state.profile.tags}", VALUES) == ["a", "b"]
    assert resolve("{count} of them", VALUES) == "3 of them"
    assert resolve(7, VALUES) == 7


def test_what_fills_nothing_is_named() -> None:
    with pytest.raises(InvalidValueError, match=r"\{state.profile.born\}: there is no 'born'"):
        fill("{state.profile.born}", VALUES)


def test_a_value_is_not_a_template() -> None:
    assert fill("{topic}", {"topic": "{secret}", "secret": "x"}) == "{secret}"


def test_the_paths_of_a_template_are_known_before_it_is_filled() -> None:
    assert list(placeholders("{state.topic} {{no}} {profile.bio}")) == ["topic", "profile.bio"]
