"""What can be known to be missing before a run begins, and before it costs anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from configurable_agents.core.checks import Checked, check_source
from configurable_agents.core.functions import load_function
from configurable_agents.core.models import (
    PROVIDERS,
    ModelName,
    check_key,
    install_hint,
    langchain_name,
    model_name,
)
from configurable_agents.core.schema import Llm, Node, Workflow
from configurable_agents.core.source import Place, Problem, read_source
from configurable_agents.errors import AgentsObsError, ConfigurationError, MissingPackageError


class _Obstacle(NamedTuple):
    place: Place
    error: AgentsObsError
    is_of_the_file: bool
    """Else of where it is to run: a key or a package is not there."""


def check_ready(checked: Checked) -> None:
    """Raises `ConfigurationError` or one of its kinds for the first thing that no run could do without."""
    for obstacle in _obstacles(checked.plan.workflow, checked.folder):
        raise obstacle.error


def read_ready_workflow(path: Path) -> Checked:
    """Reads a file that a run could begin with. Imports the modules that it names.

    Raises `WorkflowInvalidError` with all that must change in the file, `ConfigurationError` when it cannot
    be read. A key or a package that is missing here is no problem of the file: see `lacking`.
    """
    return check_source(read_source(path), more_problems=_problems_of_the_file)


def lacking(checked: Checked) -> tuple[str, ...]:
    """A sentence for each key and package that a run would need here and that is not there."""
    obstacles = _obstacles(checked.plan.workflow, checked.folder)
    return tuple(dict.fromkeys(str(obstacle.error) for obstacle in obstacles if not obstacle.is_of_the_file))


def _problems_of_the_file(workflow: Workflow, folder: Path | None) -> Iterator[Problem]:
    for obstacle in _obstacles(workflow, folder):
        if obstacle.is_of_the_file:
            yield Problem(obstacle.place, str(obstacle.error))


def _obstacles(workflow: Workflow, folder: Path | None) -> Iterator[_Obstacle]:
    for index, node in enumerate(workflow.nodes):
        place = ("nodes", index)
        if node.python is not None:
            yield from _function_obstacle(node.python, folder, (*place, "python"))
        else:
            yield from _model_obstacles(workflow, node, place)
        for position, tool in enumerate(node.tools):
            where = (*place, "tools", position)
            if ":" in tool.name:
                yield from _function_obstacle(tool.name, folder, where)
            else:
                sentence = (
                    f"node {node.id!r}: the tool {tool.name!r} is none of this runner's; name your own as"
                    " package.module:function"
                )
                yield _Obstacle(where, ConfigurationError(sentence), is_of_the_file=True)


def _function_obstacle(reference: str, folder: Path | None, place: Place) -> Iterator[_Obstacle]:
    try:
        load_function(reference, folder)
    except ConfigurationError as error:
        yield _Obstacle(place, error, is_of_the_file=True)


def _model_obstacles(workflow: Workflow, node: Node, place: Place) -> Iterator[_Obstacle]:
    settings = workflow.llm_of(node)
    try:
        name = model_name(settings, node_id=node.id)
    except ConfigurationError as error:
        yield _Obstacle(place, error, is_of_the_file=True)
        return
    checks: tuple[Callable[[], object], ...] = (
        lambda: _check_package(node, name),
        lambda: check_key(name.provider, PROVIDERS.get(name.provider)),
    )
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            yield _Obstacle(place, error, is_of_the_file=False)
            return
    try:
        langchain_name(settings, name)
    except ConfigurationError as error:
        yield _Obstacle(_place_of_provider(node, settings, place), error, is_of_the_file=True)


def _check_package(node: Node, name: ModelName) -> None:
    package = PROVIDERS.get(name.provider)
    if find_spec("langchain") is None or (package and find_spec(package.module) is None):
        raise MissingPackageError(
            f"node {node.id!r} asks {name.provider}, which needs: {install_hint(name, package)}"
        )


def _place_of_provider(node: Node, settings: Llm, place: Place) -> Place:
    """Where the provider is written: in the node, in `config`, or as a part of the model's name."""
    key = "model" if settings.provider is None else "provider"
    is_own = node.llm is not None and getattr(node.llm, key) is not None
    return (*place, "llm", key) if is_own else ("config", "llm", key)
