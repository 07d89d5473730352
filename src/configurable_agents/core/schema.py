"""The workflow file as pydantic models. What the parts mean together is checked in `checks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from configurable_agents.core.nearest import did_you_mean
from configurable_agents.core.older_layout import is_older, modernised
from configurable_agents.core.source import Place, Problem, Source
from configurable_agents.core.types import FieldType, UnknownTypeError, parse_type
from configurable_agents.runtime.names import checked_name

START = "START"
END = "END"

TIMEOUT_S_DEFAULT = 120.0
RETRIES_DEFAULT = 3
RETRIES_MAX = 100
ITERATIONS_MAX = 10_000
LOOP_ITERATIONS_DEFAULT = 10


ID_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*$"
FUNCTION_PATTERN = r"^[\w.]+:[\w.]+$"


class Part(BaseModel):
    """Any part of a workflow: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


def _recorded(value: str) -> str:
    return checked_name(value, what="a name")


RecordedName = Annotated[str, AfterValidator(_recorded)]
"""A name that reports and the daemon take."""


class Flow(Part):
    name: RecordedName
    description: str = ""
    version: Annotated[str, BeforeValidator(str)] = ""
    tags: list[str] = []
    author: str = ""


class StateField(Part):
    type: str | dict[str, Any]
    required: bool = False
    default: Any = None
    description: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_a_known_type(self) -> StateField:
        _ = self.field_type
        if self.required and self.default is not None:
            raise ValueError("a required field takes no default; remove one of the two")
        return self

    @property
    def field_type(self) -> FieldType:
        return parse_type(self.type, self.schema_, description=self.description)


class State(Part):
    fields: dict[str, StateField] = Field(min_length=1)


class OutputField(Part):
    name: str = Field(min_length=1)
    type: str | dict[str, Any]
    description: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_a_known_type(self) -> OutputField:
        _ = self.field_type
        return self

    @property
    def field_type(self) -> FieldType:
        return parse_type(self.type, self.schema_, description=self.description)


class OutputSchema(Part):
    type: str
    fields: list[OutputField] = []
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str = ""

    @model_validator(mode="after")
    def _has_a_known_type(self) -> OutputSchema:
        if self.type == "object" and not (self.fields or self.schema_):
            raise ValueError("an object needs fields: a list of {name, type, description}")
        if self.type != "object" and self.fields:
            raise ValueError(
                f"only an object has fields; write type: object, or leave the fields of {self.type!r} out"
            )
        _ = self.output_types
        return self

    @property
    def output_types(self) -> dict[str, FieldType]:
        """By name; a schema of one simple type has one output without a name."""
        if self.fields:
            return {field.name: field.field_type for field in self.fields}
        whole = parse_type(self.type, self.schema_, description=self.description)
        return dict(whole.fields) if whole.fields else {"": whole}


class Llm(Part):
    """What a node asks. Of a node, it overrides `config.llm` key by key."""

    provider: str | None = None
    model: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)
    api_base: str | None = None
    stream: bool | None = None

    def over(self, common: Llm) -> Llm:
        """These settings where they are given, else the common ones."""
        return Llm(**{**common.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class Tool(Part):
    name: str
    on_error: Literal["fail", "continue"] = "fail"
    config: dict[str, Any] | None = None


def _as_tool(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Node(Part):
    id: str = Field(pattern=ID_PATTERN, max_length=128)
    name: str = ""
    description: str = ""
    prompt: str | None = None
    python: str | None = Field(None, pattern=FUNCTION_PATTERN)
    inputs: dict[str, Any] = {}
    outputs: list[str] = []
    output_schema: OutputSchema | None = None
    tools: list[Annotated[Tool, BeforeValidator(_as_tool)]] = []
    llm: Llm | None = None

    @model_validator(mode="after")
    def _does_one_thing(self) -> Node:
        if (self.prompt is None) == (self.python is None):
            raise ValueError("a node has either a prompt or python: package.module:function")
        if self.python is not None and (self.tools or self.llm):
            raise ValueError("tools and llm belong to a node with a prompt; this one runs python")
        return self

    @property
    def output_names(self) -> list[str]:
        """State fields it writes: as listed, else those of its schema."""
        if self.outputs or self.output_schema is None:
            return self.outputs
        return [name for name in self.output_schema.output_types if name]


class Condition(Part):
    logic: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)]


class Route(Part):
    condition: Condition
    to: str


class Loop(Part):
    condition_field: str
    max_iterations: int = Field(LOOP_ITERATIONS_DEFAULT, gt=0, le=ITERATIONS_MAX)
    exit_to: str = END


class Parallel(Part):
    items_field: str
    target_node: str
    collect_field: str


class Edge(Part):
    from_: str = Field(alias="from")
    to: str | list[str] | None = None
    routes: list[Route] = []
    loop: Loop | None = None
    parallel: Parallel | None = None

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Edge:
        kinds = [bool(self.routes), self.loop is not None, self.parallel is not None]
        if sum(kinds) > 1 or (self.routes and self.to):
            raise ValueError("an edge has one of to, routes, loop and parallel; make two edges of it")
        if not any(kinds) and not self.to:
            raise ValueError("an edge leads somewhere: give it to, routes, loop or parallel")
        return self

    @property
    def plain_targets(self) -> list[str]:
        if self.to is None:
            return []
        return [self.to] if isinstance(self.to, str) else list(self.to)


class Execution(Part):
    timeout: float = Field(default=TIMEOUT_S_DEFAULT, gt=0)
    max_retries: int = Field(default=RETRIES_DEFAULT, ge=0, le=RETRIES_MAX)
    max_iterations: int | None = Field(default=None, gt=0, le=ITERATIONS_MAX)


class MlflowSettings(Part):
    enabled: bool = False
    tracking_uri: str | None = None
    experiment_name: RecordedName | None = None


class Profiling(Part):
    enabled: bool = True


def _as_profiling(value: Any) -> Any:
    return {"enabled": value} if isinstance(value, bool) else value


class Observability(Part):
    mlflow: MlflowSettings | None = None
    profiling: Annotated[Profiling | None, BeforeValidator(_as_profiling)] = None


class Gate(Part):
    metric: Literal["cost_usd", "duration_ms", "total_tokens"]
    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Gate:
        if self.max is None and self.min is None:
            raise ValueError("a gate needs a max or a min")
        return self


class Gates(Part):
    gates: list[Gate] = []
    on_fail: Literal["fail", "warn"] = "warn"


class Config(Part):
    llm: Llm = Llm()
    execution: Execution = Execution()
    observability: Observability = Observability()
    gates: Gates = Gates()


def _version_text(value: Any) -> Any:
    return str(value) if isinstance(value, float | int) and not isinstance(value, bool) else value


class Workflow(Part):
    schema_version: Annotated[Literal["1.0"], BeforeValidator(_version_text)]
    flow: Flow
    state: State
    nodes: list[Node] = Field(min_length=1)
    edges: list[Edge] = Field(min_length=1)
    config: Config = Config()

    @property
    def nodes_by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    def llm_of(self, node: Node) -> Llm:
        return node.llm.over(self.config.llm) if node.llm else self.config.llm


class Loaded(NamedTuple):
    workflow: Workflow
    warnings: list[Problem]


IGNORED_ANYWHERE = "is not part of this runner and has no effect"
IGNORED = {
    (): (
        *("optimization", "webhook", "webhooks", "memory", "sandbox", "ab_test", "storage", "dashboard"),
        "orchestration",
    ),
    ("nodes", "*"): (
        *("memory", "sandbox", "code", "optimize", "optimization", "log_prompts", "log_artifacts"),
        *("mlflow", "cache", "gates"),
    ),
    ("config",): (
        *("memory", "sandbox", "ab_test", "storage", "optimization", "webhook", "webhooks", "mlflow"),
        "orchestration",
    ),
    ("config", "observability"): ("logging",),
    ("config", "observability", "mlflow"): (
        *("run_name", "log_prompts", "log_artifacts", "artifact_level", "async_logging"),
        *("retention_days", "redact_pii", "autolog_enabled"),
    ),
}
"""Keys of the same family of formats that mean something elsewhere: one warning each."""

MODELS_BY_KEY: dict[str, type[Part]] = {
    "flow": Flow,
    "state": State,
    "fields": StateField,
    "nodes": Node,
    "output_schema": OutputSchema,
    "tools": Tool,
    "llm": Llm,
    "edges": Edge,
    "routes": Route,
    "condition": Condition,
    "loop": Loop,
    "parallel": Parallel,
    "config": Config,
    "execution": Execution,
    "observability": Observability,
    "mlflow": MlflowSettings,
    "profiling": Profiling,
    "gates": Gates,
}


def load(source: Source) -> Loaded:
    """The workflow in its models, with warnings. Raises `WorkflowInvalidError`, which names every problem."""
    if not isinstance(source.data, Mapping):
        raise source.refusal(
            [Problem((), "a workflow is a mapping with schema_version, flow, state, nodes and edges")]
        )
    warnings: list[Problem] = []
    written = modernised(source.data, warnings) if is_older(source.data) else source.data
    data = _without_ignored(written, (), warnings)
    try:
        return Loaded(Workflow.model_validate(data), warnings)
    except ValidationError as error:
        raise source.refusal(
            [_problem(dict(detail), data) for detail in error.errors(include_url=False)]
        ) from error


def _without_ignored(value: Any, place: Place, warnings: list[Problem]) -> Any:
    if isinstance(value, list):
        return [_without_ignored(item, (*place, index), warnings) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    general = tuple("*" if isinstance(part, int) else part for part in place)
    kept = {}
    for key, inner in value.items():
        if key in IGNORED.get(general, ()) or (
            general == ("config",) and key == "gates" and isinstance(inner, list)
        ):
            warnings.append(Problem((*place, key), _why_ignored(place, key)))
        else:
            kept[key] = _without_ignored(inner, (*place, key), warnings)
    return kept


def _why_ignored(place: Place, key: str) -> str:
    if key == "code":
        return "code is not run here, the prompt is sent instead; write python: package.module:function"
    if key == "mlflow" and place == ("config",):
        return "has no effect here; write it under config.observability"
    if key == "gates":
        return "has no effect here; write config.gates: {gates: [{metric, max}], on_fail: warn}"
    return IGNORED_ANYWHERE


EXPECTED = {
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of names to values",
    "list_type": "a list",
    "string_type": "text (in quotes)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
PATTERNS = {
    ID_PATTERN: "use letters, digits, _ and -, with a letter first",
    FUNCTION_PATTERN: "write package.module:function",
}
PROBLEM_LENGTH_MAX = 300


def _problem(detail: dict[str, Any], data: Any) -> Problem:
    place = _place_in(data, tuple(detail["loc"]))
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Problem(place, _unknown_key(place))
    if kind == "missing":
        return Problem(place[:-1], f"{place[-1]} is missing")
    if kind in ("value_error", "assertion_error"):
        return Problem(place, str(detail["ctx"]["error"]))
    return Problem(place, _plainly(detail)[:PROBLEM_LENGTH_MAX])


def _plainly(detail: dict[str, Any]) -> str:
    """What pydantic says of a value, in the words of this format."""
    kind, given, limits = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind]}, not {given!r}"
    if kind == "too_short":
        return "is empty; at least one is needed"
    if kind == "string_too_long":
        return f"has more than {limits['max_length']} characters"
    if kind == "string_pattern_mismatch":
        return f"{given!r} cannot be used; {PATTERNS[limits['pattern']]}"
    shown = f", not {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{_lower(detail['msg'])}{shown}"


def _place_in(data: Any, loc: Place) -> Place:
    """pydantic names the members of unions too; only what is in the data is a place."""
    place: list[str | int] = []
    here = data
    for index, part in enumerate(loc):
        inside = isinstance(here, Mapping) and part in here
        if inside or (isinstance(here, list) and isinstance(part, int) and part < len(here)):
            place.append(part)
            here = here[part]
        elif index == len(loc) - 1 and isinstance(here, Mapping):
            place.append(part)
    return tuple(place)


def _unknown_key(place: Place) -> str:
    key = str(place[-1])
    owner = _model_at(place[:-1])
    known = [field.alias or name for name, field in owner.model_fields.items()]
    return f"unknown key{did_you_mean(key, known)}; known here: {', '.join(known)}"


def _model_at(place: Place) -> type[Part]:
    names = [part for part in place if isinstance(part, str)]
    if not names:
        return Workflow
    if names[-1] == "fields" and names[:2] != ["state", "fields"]:
        return OutputField
    if names[:2] == ["state", "fields"] and len(names) > 2:
        return StateField
    if names[-1] == "fields":
        return State
    if names[:3] == ["config", "gates", "gates"]:
        return Gate
    return MODELS_BY_KEY.get(names[-1], Workflow)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


__all__ = ["END", "START", "Edge", "Llm", "Loaded", "Node", "UnknownTypeError", "Workflow", "load"]
