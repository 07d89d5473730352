"""What the parts of a workflow mean together: names that must exist, edges that must lead somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from configurable_agents.core.conditions import ConditionSyntaxError, parse_condition
from configurable_agents.core.nearest import did_you_mean
from configurable_agents.core.plan import Plan, arrows, cycles, plan_of, reached_from, targets
from configurable_agents.core.schema import END, START, Edge, Llm, Node, Workflow, load
from configurable_agents.core.source import Place, Problem, Source, read_source
from configurable_agents.core.templates import placeholders
from configurable_agents.core.types import FieldType

ITEM_NAMES = ("item", "index", "_parallel_item", "_parallel_index")
"""What the prompt of a node that runs once per item may also name."""


class Checked(NamedTuple):
    """A workflow that can run, and what its author should know."""

    plan: Plan
    warnings: tuple[str, ...]
    folder: Path | None


def read_workflow(path: Path) -> Checked:
    """Reads and checks a file. Raises `WorkflowInvalidError` or, unread, `ConfigurationError`."""
    return check_source(read_source(path))


def workflow_of(config: dict[str, Any], *, name: str = "workflow") -> Checked:
    """The same for a workflow given as data. Raises `WorkflowInvalidError`."""
    return check_source(Source(name, config, {}))


MoreProblems = Callable[[Workflow, Path | None], Iterable[Problem]]
"""What else is to be said of a workflow and of the folder it is in."""


def check_source(source: Source, *, more_problems: MoreProblems = lambda *_: ()) -> Checked:
    loaded = load(source)
    problems = [*_problems(loaded.workflow), *more_problems(loaded.workflow, source.folder)]
    if problems:
        raise source.refusal(problems)
    plan = plan_of(loaded.workflow)
    warnings = [*loaded.warnings, *_warnings(plan)]
    return Checked(plan, tuple(source.sentence(warning) for warning in warnings), source.folder)


def _problems(workflow: Workflow) -> Iterator[Problem]:
    yield from _state_problems(workflow)
    for index, node in enumerate(workflow.nodes):
        yield from _node_problems(workflow, node, ("nodes", index))
    for index, edge in enumerate(workflow.edges):
        yield from _edge_problems(workflow, edge, ("edges", index))
    yield from _per_item_problems(workflow)
    yield from _shape_problems(workflow)


# --- state -----------------------------------------------------------------------------------------


def _state_problems(workflow: Workflow) -> Iterator[Problem]:
    for name, field in workflow.state.fields.items():
        place = ("state", "fields", name)
        if not name.isidentifier() or name.startswith("__"):
            yield Problem(place, f"{name!r} is no name for a field; use letters, digits and _")
        if field.default is not None:
            try:
                field.field_type.checked(field.default)
            except ValidationError:
                yield Problem((*place, "default"), f"the default {field.default!r} is no {field.field_type}")


# --- nodes -----------------------------------------------------------------------------------------


def _node_problems(workflow: Workflow, node: Node, place: Place) -> Iterator[Problem]:
    ids = [other.id for other in workflow.nodes]
    if node.id in (START, END):
        yield Problem((*place, "id"), f"{node.id} is where runs begin or end; give the node another id")
    if ids.index(node.id) != place[1]:
        yield Problem((*place, "id"), f"another node is called {node.id!r} too; ids are unique")
    yield from _output_problems(workflow, node, place)
    yield from _prompt_problems(workflow, node, place)
    names = [tool.name for tool in node.tools]
    for index, name in enumerate(names):
        if names.index(name) != index:
            yield Problem((*place, "tools", index), f"the tool {name!r} is given twice")


def _output_problems(workflow: Workflow, node: Node, place: Place) -> Iterator[Problem]:
    fields = workflow.state.fields
    for index, name in enumerate(node.output_names):
        where = (*place, "outputs", index) if node.outputs else (*place, "output_schema")
        if name not in fields:
            hint = did_you_mean(name, fields)
            yield Problem(where, f"{name!r} is no field of the state{hint}; fields are: {_listed(fields)}")
    if not node.output_names and node.prompt is not None:
        yield Problem(place, "outputs is missing: name the state fields that the answer goes to")
    if node.output_schema is None:
        if len(node.output_names) > 1 and node.prompt is not None:
            yield Problem(place, "several outputs need an output_schema that says which is which")
        return
    yield from _schema_problems(workflow, node, place)


def _schema_problems(workflow: Workflow, node: Node, place: Place) -> Iterator[Problem]:
    assert node.output_schema is not None  # noqa: S101 - asked by the caller
    types = node.output_schema.output_types
    if "" in types and len(node.output_names) > 1:
        yield Problem(
            (*place, "output_schema"),
            f"one value cannot fill {len(node.output_names)} outputs; use type: object with fields",
        )
    for index, name in enumerate(node.output_names):
        kind = output_type(node, name)
        state_field = workflow.state.fields.get(name)
        if kind is None:
            yield Problem(
                (*place, "outputs", index),
                f"{name!r} is not in the output_schema{did_you_mean(name, types)}; it has: {_listed(types)}",
            )
        elif state_field and not state_field.field_type.accepts(kind):
            yield Problem(
                (*place, "output_schema"),
                f"{name!r} is {kind} here and {state_field.field_type} in the state; make them the same",
            )


def output_type(node: Node, name: str) -> FieldType | None:
    """The type of an output as its schema has it. A schema of one value is that of the one output."""
    if node.output_schema is None:
        return None
    types = node.output_schema.output_types
    if name in types:
        return types[name]
    return types.get("") or (_whole(node) if len(node.output_names) == 1 else None)


def _whole(node: Node) -> FieldType | None:
    """An object whose fields together fill one output of type object."""
    schema = node.output_schema
    if schema is None or schema.fields or schema.type != "object":
        return None
    return FieldType("object", fields=tuple(schema.output_types.items()), description=schema.description)


def _prompt_problems(workflow: Workflow, node: Node, place: Place) -> Iterator[Problem]:
    known = [*workflow.state.fields, *(ITEM_NAMES if _is_per_item(workflow, node) else ())]
    for name, template in node.inputs.items():
        if isinstance(template, str):
            yield from _placeholder_problems(template, known, (*place, "inputs", name))
    if node.prompt is not None:
        yield from _placeholder_problems(node.prompt, [*known, *node.inputs], (*place, "prompt"))


def _placeholder_problems(template: str, known: list[str], place: Place) -> Iterator[Problem]:
    for path in dict.fromkeys(placeholders(template)):
        name = path.split(".")[0]
        if name not in known:
            hint = did_you_mean(name, known)
            yield Problem(
                place,
                f"nothing fills {{{path}}}{hint}; fields are: {_listed(known)} (write {{{{ for a brace)",
            )


def _is_per_item(workflow: Workflow, node: Node) -> bool:
    return any(edge.parallel and edge.parallel.target_node == node.id for edge in workflow.edges)


# --- edges -----------------------------------------------------------------------------------------


def _edge_problems(workflow: Workflow, edge: Edge, place: Place) -> Iterator[Problem]:
    nodes = list(workflow.nodes_by_id)
    yield from _end_problems(edge.from_, [START, *nodes], (*place, "from"), "an edge comes from")
    for name, where in _named_targets(edge, place):
        yield from _end_problems(name, [*nodes, END], where, "an edge leads to")
    for index, route in enumerate(edge.routes):
        yield from _condition_problems(
            workflow, route.condition.logic, (*place, "routes", index, "condition")
        )
    yield from _order_problems(edge, place)
    yield from _field_problems(workflow, edge, place)


def _named_targets(edge: Edge, place: Place) -> Iterator[tuple[str, Place]]:
    for index, name in enumerate(edge.plain_targets):
        yield name, (*place, "to", index) if isinstance(edge.to, list) else (*place, "to")
    for index, route in enumerate(edge.routes):
        yield route.to, (*place, "routes", index, "to")
    if edge.loop is not None:
        yield edge.loop.exit_to, (*place, "loop", "exit_to")
    if edge.parallel is not None:
        yield edge.parallel.target_node, (*place, "parallel", "target_node")


def _end_problems(name: str, known: list[str], place: Place, what: str) -> Iterator[Problem]:
    if name not in known:
        yield Problem(
            place, f"there is no node {name!r}{did_you_mean(name, known)}; {what}: {_listed(known)}"
        )


def _condition_problems(workflow: Workflow, text: str, place: Place) -> Iterator[Problem]:
    try:
        condition = parse_condition(text)
    except ConditionSyntaxError as error:
        yield Problem((*place, "logic"), str(error))
        return
    for name in condition.fields:
        if name not in workflow.state.fields:
            hint = did_you_mean(name, workflow.state.fields)
            yield Problem(
                (*place, "logic"),
                f"{name!r} is no field of the state{hint}; fields are: {_listed(workflow.state.fields)}",
            )


def _order_problems(edge: Edge, place: Place) -> Iterator[Problem]:
    """Routes are tried in order, so nothing after a default is ever taken."""
    for index, route in enumerate(edge.routes[:-1]):
        if route.condition.logic.strip().lower() == "default":
            yield Problem((*place, "routes", index), "default always applies; put it last")


def _field_problems(workflow: Workflow, edge: Edge, place: Place) -> Iterator[Problem]:
    named = []
    if edge.loop is not None:
        named = [("loop", "condition_field", edge.loop.condition_field)]
    if edge.parallel is not None:
        parallel = edge.parallel
        named = [
            ("parallel", "items_field", parallel.items_field),
            ("parallel", "collect_field", parallel.collect_field),
        ]
        if edge.plain_targets not in ([], [parallel.target_node]):
            yield Problem((*place, "to"), "a parallel edge leads to its target_node; leave to out")
    for group, key, name in named:
        field = workflow.state.fields.get(name)
        if field is None:
            hint = did_you_mean(name, workflow.state.fields)
            yield Problem(
                (*place, group, key),
                f"{name!r} is no field of the state{hint}; fields are: {_listed(workflow.state.fields)}",
            )
        elif group == "parallel" and field.field_type.kind not in ("list", "any"):
            yield Problem((*place, group, key), f"{name!r} must be a list, not {field.field_type}")


def _per_item_problems(workflow: Workflow) -> Iterator[Problem]:
    """A node that runs once per item does so for one edge, and is reached by no other."""
    reached: dict[str, int] = {}
    for index, edge in enumerate(workflow.edges):
        for target in dict.fromkeys(targets(edge)):
            if target in reached and (_runs(edge, target) or _runs(workflow.edges[reached[target]], target)):
                yield Problem(
                    ("edges", index),
                    f"{target!r} runs once per item, so that one edge leads to it and no other; make a second"
                    " node",
                )
            reached.setdefault(target, index)


def _runs(edge: Edge, target: str) -> bool:
    """Whether the edge runs the node once per item."""
    return edge.parallel is not None and edge.parallel.target_node == target


# --- the whole graph -------------------------------------------------------------------------------


def _shape_problems(workflow: Workflow) -> Iterator[Problem]:
    known = {START, END, *workflow.nodes_by_id}
    if any(name not in known for arrow in arrows(workflow.edges) for name in arrow):
        return  # said already, and nothing certain can be said about the rest
    if all(edge.from_ != START for edge in workflow.edges):
        yield Problem(("edges",), "no edge comes from START; add {from: START, to: the first node}")
        return
    yield from _unreachable(workflow)
    for cycle in cycles(workflow.edges):
        yield from _cycle_problems(workflow, cycle)


def _unreachable(workflow: Workflow) -> Iterator[Problem]:
    followers: dict[str, list[str]] = {}
    for source, target in arrows(workflow.edges):
        followers.setdefault(source, []).append(target)
    reached = reached_from(START, followers)
    for index, node in enumerate(workflow.nodes):
        if node.id not in reached:
            yield Problem(("nodes", index), f"no way leads from START to {node.id!r}; add an edge to it")


def _cycle_problems(workflow: Workflow, cycle: list[str]) -> Iterator[Problem]:
    inside = [
        (index, edge)
        for index, edge in enumerate(workflow.edges)
        if edge.from_ in cycle and _stays(edge, cycle)
    ]
    path = " → ".join([*cycle, cycle[0]])
    index = inside[-1][0]
    if not any(edge.loop or edge.routes for _, edge in inside):
        yield Problem(
            ("edges", index), f"{path} never ends: no edge of it has routes or a loop that leads out"
        )
    elif workflow.config.execution.max_iterations is None and not any(edge.loop for _, edge in inside):
        yield Problem(
            ("edges", index),
            f"{path} is a cycle without a limit; set config.execution.max_iterations, or use a loop with"
            " max_iterations",
        )


def _stays(edge: Edge, cycle: list[str]) -> bool:
    return any(target in cycle for _, target in arrows([edge]))


# --- warnings --------------------------------------------------------------------------------------


def _warnings(plan: Plan) -> Iterator[Problem]:
    workflow = plan.workflow
    without_model = [node.id for node in workflow.nodes if _lacks_model(workflow, node)]
    if without_model:
        yield Problem(
            ("config", "llm"),
            f"no model is set for {', '.join(without_model)}; set config.llm: {{provider, model}}",
        )
    for index, node in enumerate(workflow.nodes):
        for position, tool in enumerate(node.tools):
            if ":" not in tool.name:
                yield Problem(
                    ("nodes", index, "tools", position),
                    f"the tool {tool.name!r} is none of this runner's; write package.module:function",
                )
    mlflow = workflow.config.observability.mlflow
    if mlflow and mlflow.enabled and mlflow.tracking_uri:
        yield Problem(
            ("config", "observability", "mlflow", "tracking_uri"),
            "is the daemon's to use: start agents-obsd with MLFLOW_TRACKING_URI set to it",
        )


def _lacks_model(workflow: Workflow, node: Node) -> bool:
    settings: Llm = workflow.llm_of(node)
    return node.prompt is not None and settings.model is None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
