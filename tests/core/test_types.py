"""What type names mean: which values pass, and what models are asked for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from configurable_agents.core.types import UnknownTypeError, parse_type

PROFILE = {"bio": "str", "tags": "list[str]", "score": "int"}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("str", "seven", "seven"),
        ("int", 7.0, 7),
        ("int", "7", 7),
        ("float", 7, 7.0),
        ("bool", "true", True),
        ("list", [1, "a"], [1, "a"]),
        ("list[int]", ["1", 2], [1, 2]),
        ("dict[str, list[int]]", {"a": ["1"]}, {"a": [1]}),
        ("dict", {"a": None}, {"a": None}),
        ("object", {"x": [1]}, {"x": [1]}),
        ("any", object, object),
    ],
)
def test_values_of_a_type_pass_and_are_converted_where_nothing_is_lost(
    name: str, value: Any, kept: Any
) -> None:
    assert parse_type(name).checked(value) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [("int", 7.5), ("int", "seven"), ("list[int]", ["a"]), ("dict[str, int]", [1]), ("str", [])],
)
def test_other_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        parse_type(name).checked(value)


def test_an_object_has_the_fields_of_its_schema_as_plain_data() -> None:
    profile = parse_type("object", PROFILE)
    value = {"bio": "b", "tags": ["x"], "score": "3", "more": 1}
    assert profile.checked(value) == {"bio": "b", "tags": ["x"], "score": 3}
    with pytest.raises(ValidationError):
        profile.checked({"bio": "b"})


def test_a_schema_may_nest_and_describe() -> None:
    kind = parse_type("object", {"who": {"name": "str", "born": {"type": "int", "description": "a year"}}})
    assert kind.checked({"who": {"name": "Ada", "born": 1815}}) == {"who": {"name": "Ada", "born": 1815}}
    who = kind.json_schema()["properties"]["who"]
    assert who["properties"]["born"] == {"type": "integer", "description": "a year"}


def test_models_are_asked_for_closed_objects_with_every_field() -> None:
    assert parse_type("object", PROFILE, description="a person").json_schema() == {
        "type": "object",
        "properties": {
            "bio": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "score": {"type": "integer"},
        },
        "required": ["bio", "tags", "score"],
        "additionalProperties": False,
        "description": "a person",
    }


@pytest.mark.parametrize(
    ("name", "closed"), [("str", True), ("list[int]", True), ("list", False), ("dict[str, int]", False)]
)
def test_strict_modes_are_only_asked_for_types_whose_every_part_is_named(name: str, closed: bool) -> None:
    assert parse_type(name).is_closed is closed


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("strng", "did you mean 'str'"),
        ("list<str>", "did you mean 'list'"),
        ("dict[int, str]", "keys of 'dict[int, str]' must be str"),
        ("tuple[int]", "write list[str] or dict[str, int]"),
        (7, "a type is a name"),
        ("list[" * 12 + "int" + "]" * 12, "nested 10 deep"),
    ],
)
def test_a_name_that_means_nothing_is_explained(name: Any, said: str) -> None:
    with pytest.raises(UnknownTypeError) as refused:
        parse_type(name)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("mine", "other", "accepted"),
    [
        ("float", "int", True),
        ("int", "float", False),
        ("list[str]", "list", True),
        ("str", "int", False),
        ("dict", "object", True),
    ],
)
def test_a_field_accepts_what_it_can_keep(mine: str, other: str, accepted: bool) -> None:
    assert parse_type(mine).accepts(parse_type(other)) is accepted
