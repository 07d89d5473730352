"""What a run is told: values that can be recorded, or `InvalidValueError`; or, where nothing may be raised,
the part that can be recorded. The rules of names are in `runtime.names`, the figures in `runtime.bounds`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from configurable_agents.errors import InvalidValueError
from configurable_agents.runtime import bounds
from configurable_agents.runtime.names import checked_name, checked_text, fitting_text
from configurable_agents.telemetry import NO_SPAN, Graph, Status

SPAN_ID_HEX = re.compile("[0-9a-fA-F]{16}")

ENDINGS = (Status.OK, Status.ERROR, Status.CANCELLED)


def checked_tags(tags: object) -> tuple[tuple[str, str], ...]:
    if tags is None:
        return ()
    if not isinstance(tags, Mapping):
        raise InvalidValueError(f"tags must be a mapping of strings, not {type(tags).__name__}")
    if len(tags) > bounds.TAGS_MAX:
        raise InvalidValueError(f"{len(tags)} tags; at most {bounds.TAGS_MAX} can be recorded")
    return tuple(
        (checked_name(key, what="the name of a tag"), checked_text(value, what=f"the tag {key!r}"))
        for key, value in tags.items()
    )


def checked_graph(graph: object) -> Graph | None:
    if graph is None:
        return None
    if not isinstance(graph, Graph):
        raise InvalidValueError(f"graph must be a telemetry.Graph, not {type(graph).__name__}")
    nodes = tuple(checked_name(node, what="a node of the graph") for node in graph.nodes)
    edges = tuple(
        (
            checked_name(source, what="the start of an edge"),
            checked_name(target, what="the end of an edge"),
        )
        for source, target in graph.edges
    )
    if len(nodes) > bounds.GRAPH_NODES_MAX or len(edges) > bounds.GRAPH_EDGES_MAX:
        raise InvalidValueError(
            f"the graph has {len(nodes):,} nodes and {len(edges):,} edges;"
            f" at most {bounds.GRAPH_NODES_MAX:,} and {bounds.GRAPH_EDGES_MAX:,} can be recorded"
        )
    return Graph(nodes, edges)


def checked_count(value: object, *, what: str, minimum: int, maximum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValueError(f"{what} must be a whole number, not {type(value).__name__}")
    if not minimum <= value <= maximum:
        raise InvalidValueError(f"{what} must lie between {minimum} and {maximum:,}, not {value}")
    return value


def checked_span_id(value: object, *, what: str, minimum: int = 1) -> int:
    if not isinstance(value, str):
        return checked_count(value, what=what, minimum=minimum, maximum=bounds.SPAN_ID_MAX)
    if not SPAN_ID_HEX.fullmatch(value):
        raise InvalidValueError(f"{what} must be an integer or 16 hexadecimal digits, not {value[:40]!r}")
    return checked_count(int(value, 16), what=what, minimum=minimum, maximum=bounds.SPAN_ID_MAX)


def checked_ending(status: object) -> Status:
    if isinstance(status, str):
        named = [ending for ending in ENDINGS if ending.label == status]
        if named:
            return named[0]
    elif isinstance(status, int) and not isinstance(status, bool) and status in ENDINGS:
        return Status(status)
    raise InvalidValueError(f'status must be "ok", "error" or "cancelled", or a Status, not {status!r}')


@dataclass(slots=True)
class UsableArguments:
    """Takes from arguments what can be recorded, and notes the names of the others."""

    anomalies: tuple[str, ...] = ()

    def number(self, name: str, value: object, *, maximum: int) -> int:
        """A whole number from 0 to `maximum`; 0 for `None` and for what is none."""
        if value is None:
            return 0
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= maximum:
            return int(value)
        self._note(name)
        return 0

    def text(self, name: str, value: object) -> str:
        """A string that can be recorded; empty for `None` and for what is no string."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self._note(name)
            return ""
        fitting = fitting_text(value)
        if fitting != value:
            self._note(name)
        return fitting

    def flag(self, name: str, value: object) -> bool:
        if isinstance(value, bool):
            return value
        self._note(name)
        return False

    def span_id(self, value: object, *, otherwise: int) -> int:
        try:
            return checked_span_id(value, what="span_id", minimum=NO_SPAN)
        except InvalidValueError:
            self._note("span_id")
            return otherwise

    def ending(self, status: object, error_type: object) -> Status:
        """`status`, where it is one; else what `error_type` suggests."""
        try:
            return checked_ending(status)
        except InvalidValueError:
            self._note("status")
            return Status.ERROR if isinstance(error_type, str) and error_type else Status.OK

    def _note(self, name: str) -> None:
        self.anomalies += (f"{name}_unusable",)
