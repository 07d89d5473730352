"""The types of state and output fields: `str`, `list[int]`, `dict[str, float]`, `object` with a schema, …"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, create_model

from configurable_agents.core.nearest import did_you_mean

SCALARS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
TYPE_NAMES = (*SCALARS, "list", "dict", "object", "any")
JSON_NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
GENERIC = re.compile(r"(\w+)\s*\[(.*)\]", re.DOTALL)
NESTING_MAX = 10
"""Types nested deeper than this are refused: no model fills them in reliably."""

TypeName: TypeAlias = str | Mapping[str, Any]


class UnknownTypeError(ValueError):
    """A type name means nothing; the message says which and what it may have been meant to be."""


@dataclass(frozen=True)
class FieldType:
    """The type of a field, as data. `item` is that of a list's items or a dict's values."""

    kind: str
    item: FieldType | None = None
    fields: tuple[tuple[str, FieldType], ...] = ()
    """Of an object; without any, an object may hold anything."""
    description: str = ""

    def __str__(self) -> str:
        if self.kind == "list" and self.item:
            return f"list[{self.item}]"
        if self.kind == "dict" and self.item:
            return f"dict[str, {self.item}]"
        return self.kind

    @cached_property
    def annotation(self) -> Any:
        """The same for pydantic."""
        if self.kind in SCALARS:
            return SCALARS[self.kind]
        if self.kind == "list":
            return list[self.item.annotation if self.item else Any]  # type: ignore[misc]
        if self.fields:
            return _object_model(self.fields)
        if self.kind in ("dict", "object"):
            return dict[str, self.item.annotation if self.item else Any]  # type: ignore[misc]
        return Any

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(
            self.annotation, config=None if self.fields else ConfigDict(coerce_numbers_to_str=True)
        )

    def checked(self, value: Any) -> Any:
        """`value` as plain data of this type. Raises `pydantic.ValidationError`."""
        return self.adapter.dump_python(self.adapter.validate_python(value))

    def json_schema(self) -> dict[str, Any]:
        """What models are asked to fill in. Objects with fields are closed and need every field."""
        schema: dict[str, Any] = {}
        if self.kind in JSON_NAMES:
            schema = {"type": JSON_NAMES[self.kind]}
        elif self.kind == "list":
            schema = {"type": "array", "items": self.item.json_schema() if self.item else {}}
        elif self.fields:
            schema = closed_object({name: field.json_schema() for name, field in self.fields})
        elif self.kind in ("dict", "object"):
            schema = {
                "type": "object",
                "additionalProperties": self.item.json_schema() if self.item else True,
            }
        return {**schema, "description": self.description} if self.description else schema

    @property
    def is_closed(self) -> bool:
        """Whether every part of it is named, as providers' strict modes demand."""
        if self.kind in SCALARS:
            return True
        if self.kind == "list":
            return self.item is not None and self.item.is_closed
        return bool(self.fields) and all(field.is_closed for _, field in self.fields)

    def accepts(self, other: FieldType) -> bool:
        """Whether every value of `other` can be kept in a field of this type."""
        if (
            "any" in (self.kind, other.kind)
            or self.kind == other.kind
            or (self.kind, other.kind) == ("float", "int")
        ):
            return self.item is None or other.item is None or self.item.accepts(other.item)
        return {self.kind, other.kind} == {"dict", "object"}


def closed_object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_type(name: Any, schema: Any = None, *, description: str = "", depth: int = 0) -> FieldType:
    """Reads a type name, with the `schema` of an object. Raises `UnknownTypeError`."""
    if depth > NESTING_MAX:
        raise UnknownTypeError(f"types can be nested {NESTING_MAX} deep; make this one flatter")
    if isinstance(name, Mapping):
        return _nested(name, depth)
    if not isinstance(name, str):
        raise UnknownTypeError(f"a type is a name such as str or list[int], not {name!r}")
    text = name.strip()
    generic = GENERIC.fullmatch(text)
    if generic:
        return _generic(text, generic[1], generic[2], description, depth)
    if text not in TYPE_NAMES:
        raise UnknownTypeError(
            f"unknown type {text!r}{did_you_mean(text, TYPE_NAMES)}; types are str, int, float, bool,"
            " list[…], dict[str, …] and object with a schema"
        )
    return FieldType(text, fields=_fields(schema, depth) if text == "object" else (), description=description)


def _nested(name: Mapping[str, Any], depth: int) -> FieldType:
    """A type given as a mapping: `{type: list[str], description: …}`, or the fields of an object."""
    if isinstance(name.get("type"), str):
        described = name.get("description")
        text = described if isinstance(described, str) else ""
        return parse_type(name["type"], name.get("schema"), description=text, depth=depth + 1)
    return FieldType("object", fields=_fields(name, depth))


def _generic(text: str, outer: str, inner: str, description: str, depth: int) -> FieldType:
    if outer == "list":
        return FieldType("list", parse_type(inner, depth=depth + 1), description=description)
    key, comma, value = inner.partition(",")
    if outer == "dict" and comma:
        if key.strip() != "str":
            raise UnknownTypeError(f"the keys of {text!r} must be str: they travel as JSON")
        return FieldType("dict", parse_type(value, depth=depth + 1), description=description)
    raise UnknownTypeError(f"unknown type {text!r}; write list[str] or dict[str, int]")


def _fields(schema: Any, depth: int) -> tuple[tuple[str, FieldType], ...]:
    if schema is None:
        return ()
    if not isinstance(schema, Mapping):
        raise UnknownTypeError("the schema of an object is a mapping of names to types")
    return tuple((str(name), parse_type(kind, depth=depth + 1)) for name, kind in schema.items())


def _object_model(fields: tuple[tuple[str, FieldType], ...]) -> Any:
    definitions: dict[str, Any] = {
        f"field_{index}": (field.annotation, Field(alias=name)) for index, (name, field) in enumerate(fields)
    }
    return create_model(
        "object",
        __config__=ConfigDict(extra="ignore", serialize_by_alias=True, coerce_numbers_to_str=True),
        **definitions,
    )
