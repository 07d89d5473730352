"""The state a run begins with: inputs, checked and converted, over defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from configurable_agents.core.nearest import did_you_mean
from configurable_agents.core.schema import StateField, Workflow
from configurable_agents.core.types import FieldType
from configurable_agents.errors import OutputMismatchError, WorkflowInputError

VALUE_SHOWN_LENGTH_MAX = 60


def initial_state(workflow: Workflow, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the state. Raises `WorkflowInputError` for missing, unknown and unfitting inputs."""
    fields = workflow.state.fields
    for name in inputs:
        if name not in fields:
            raise WorkflowInputError(
                f"{name!r} is no field of the state of {workflow.flow.name}{did_you_mean(name, fields)};"
                f" fields are: {', '.join(fields)}"
            )
    missing = [name for name, field in fields.items() if field.required and inputs.get(name) is None]
    if missing:
        described = "; ".join(_described(name, fields[name]) for name in missing)
        raise WorkflowInputError(
            f"{workflow.flow.name} needs the input {described}; give it with --input {missing[0]}=…"
        )
    return {name: _beginning(name, field, inputs) for name, field in fields.items()}


def input_from_text(workflow: Workflow, name: str, text: str) -> Any:
    """What a command line means: text for `str`, JSON for everything else."""
    field = workflow.state.fields.get(name)
    if field is None or field.field_type.kind == "str":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # `initial_state` converts it, or says what it should have been


def checked_value(kind: FieldType, value: Any, *, what: str) -> Any:
    """Raises `OutputMismatchError`, which begins with `what`."""
    try:
        return kind.checked(value)
    except ValidationError as error:
        raise OutputMismatchError(f"{what} is no {kind}: {reason(error)}") from error


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    detail = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in detail["loc"])
    shown = repr(detail["input"])
    if len(shown) > VALUE_SHOWN_LENGTH_MAX:
        shown = f"{shown[:VALUE_SHOWN_LENGTH_MAX]}…"
    message = str(detail["msg"])
    return f"{f'{place}: ' if place else ''}{message[:1].lower()}{message[1:]}, not {shown}"


def _described(name: str, field: StateField) -> str:
    detail = f": {field.description}" if field.description else ""
    return f"{name!r} ({field.field_type}{detail})"


def _beginning(name: str, field: StateField, inputs: Mapping[str, Any]) -> Any:
    value = inputs.get(name)
    if value is None:
        return copy.deepcopy(field.default)
    try:
        return field.field_type.checked(value)
    except ValidationError as error:
        raise WorkflowInputError(f"the input {name!r} is no {field.field_type}: {reason(error)}") from error
