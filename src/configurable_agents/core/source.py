"""A YAML file as plain data that remembers on which line each part of it stands."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from configurable_agents.errors import ConfigurationError, WorkflowInvalidError

FILE_BYTES_MAX = 1024 * 1024
PARTS_MAX = 100_000
"""Keys and values of a file, with those that aliases repeat: a small file cannot unfold endlessly."""
MERGE_TAG = "tag:yaml.org,2002:merge"
PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Place: TypeAlias = tuple[str | int, ...]
"""Where in the data something stands: `("nodes", 0, "prompt")`."""


class Problem(NamedTuple):
    """Something in a workflow that must change before it runs, or (as a warning) that has no effect."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """What was read, and from where. Workflows given as data have no lines."""

    name: str
    data: Any
    lines: dict[Place, int]
    folder: Path | None = None
    """Modules named in the workflow are looked for here first."""

    def line_of(self, place: Place) -> int | None:
        """The line of the place, or of the nearest place around it that is known."""
        for length in range(len(place), -1, -1):
            line = self.lines.get(place[:length])
            if line is not None:
                return line
        return None

    def sentence(self, problem: Problem) -> str:
        """`file.yaml:12: nodes[0].prompt: …`"""
        line = self.line_of(problem.place)
        where = f"{self.name}:{line}" if line else self.name
        path = spelled(problem.place)
        return ": ".join(part for part in (where, path, problem.message) if part)

    def refusal(self, problems: list[Problem]) -> WorkflowInvalidError:
        ordered = sorted(problems, key=lambda problem: self.line_of(problem.place) or 0)
        return WorkflowInvalidError(tuple(dict.fromkeys(self.sentence(problem) for problem in ordered)))


def spelled(place: Place) -> str:
    """`nodes[0].llm.model`"""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_source(path: Path) -> Source:
    """Reads a file. Raises `ConfigurationError` or, for what is no YAML, `WorkflowInvalidError`."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > FILE_BYTES_MAX:
            raise ConfigurationError(
                f"{path} has {size_bytes:,} bytes; a workflow has at most {FILE_BYTES_MAX:,}"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}; give the path of a workflow"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text; give the path of a YAML workflow") from error
    return parse_source(text, name=str(path), folder=path.absolute().parent)


def parse_source(text: str, *, name: str, folder: Path | None = None) -> Source:
    lines: dict[Place, int] = {}
    try:
        data = _read(text, name, lines)
    except yaml.MarkedYAMLError as error:
        raise WorkflowInvalidError((_yaml_sentence(error, name),)) from error
    except RecursionError as error:
        raise WorkflowInvalidError(
            (f"{name}: is nested too deeply, or a part of it is an alias of what it is in",)
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise WorkflowInvalidError((f"{name}: not readable as YAML: {detail}",)) from error
    return Source(name, data, lines, folder)


def _read(text: str, name: str, lines: dict[Place, int]) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        return None if root is None else _Reader(loader, name, lines).value(root, ())
    finally:
        loader.dispose()


class _Reader:
    """Turns YAML nodes into data and notes their lines. Keys given twice are refused, as YAML demands."""

    def __init__(self, loader: yaml.SafeLoader, name: str, lines: dict[Place, int]) -> None:
        self._loader = loader
        self._name = name
        self._lines = lines

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if len(self._lines) > PARTS_MAX:
            raise WorkflowInvalidError(
                (f"{self._name}: has more than {PARTS_MAX:,} parts; no workflow needs so many",)
            )
        if not isinstance(node, yaml.ScalarNode) and node.tag not in PLAIN_TAGS:
            raise yaml.MarkedYAMLError(
                problem=f"could not determine a constructor for {node.tag!r}", problem_mark=node.start_mark
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*place, index)) for index, child in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[Any, Any]:
        merges = any(key.tag == MERGE_TAG for key, _ in node.value)
        if merges:
            self._loader.flatten_mapping(node)  # what is merged comes first, and may be given again
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self._loader.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(problem="a key must be a name", problem_mark=key_node.start_mark)
            inner = (*place, key if isinstance(key, str | int) else str(key))
            if key in found and not merges:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is given twice, first on line {self._lines[inner]}",
                    problem_mark=key_node.start_mark,
                )
            self._lines[inner] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, inner)
        return found


def _yaml_sentence(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    context = f" ({error.context})" if error.context else ""
    hint = '; quote a type that has brackets: "list[str]"' if "but got '['" in str(error.problem) else ""
    return f"{where}: not valid YAML: {error.problem}{context}{hint}"
