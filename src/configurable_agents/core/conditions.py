"""The language of `routes`: comparison, boolean logic, membership and attribute access. Nothing is executed.

state.score > 7 and (state.kind in ["a", "b"] or not state.review.done)
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from configurable_agents.errors import RouteError

DEFAULT = "default"
LENGTH_MAX = 1_000
"""Characters of a condition."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
NAMED_VALUES = {"true": True, "false": False, "null": None, "none": None}


class ConditionSyntaxError(ValueError):
    """A condition is not of the language; the message says what is not."""


@dataclass(frozen=True, slots=True)
class Condition:
    text: str
    tree: ast.expr | None
    """`None` for `default`, which always holds."""

    @property
    def is_default(self) -> bool:
        return self.tree is None

    @property
    def fields(self) -> list[str]:
        """State fields it looks at."""
        return [] if self.tree is None else list(dict.fromkeys(_fields(self.tree)))

    def holds(self, state: Mapping[str, Any]) -> bool:
        """Raises `RouteError` where values cannot be compared or a part is not there."""
        if self.tree is None:
            return True
        try:
            return bool(_value(self.tree, state))
        except (TypeError, KeyError, IndexError, ValueError) as error:
            detail = f"{error.args[0]!r} is not there" if isinstance(error, KeyError) else str(error)
            raise RouteError(f"the condition {self.text!r} cannot be decided: {detail}") from error


def parse_condition(text: str) -> Condition:
    """Raises `ConditionSyntaxError` for what is not of the language."""
    stripped = text.strip()
    if stripped.lower() == DEFAULT:
        return Condition(stripped, None)
    if len(stripped) > LENGTH_MAX:
        raise ConditionSyntaxError(
            f"a condition has at most {LENGTH_MAX:,} characters; decide in a python node"
        )
    try:
        tree = ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        detail = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConditionSyntaxError(f"the condition {stripped[:80]!r} is not readable: {detail}") from error
    _check(tree, stripped)
    return Condition(stripped, tree)


def _check(node: ast.expr, text: str) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.expr) and not _is_allowed(inner):
            what = ast.unparse(inner)[:60]
            raise ConditionSyntaxError(
                f"{what!r} has no place in the condition {text!r}; it may compare (==, <, in, …) fields"
                " such as state.score with values, joined by and, or, not"
            )


def _is_allowed(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, str | int | float | bool)
    if isinstance(node, ast.Attribute):
        return not node.attr.startswith("__")
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.USub)
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant | ast.UnaryOp)
    return isinstance(node, ast.BoolOp | ast.Compare | ast.Name | ast.List | ast.Tuple | ast.Set)


def _fields(node: ast.expr) -> Iterator[str]:
    """`state.score.value` and `score.value` both look at the field `score`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "state":
        yield node.attr
    elif isinstance(node, ast.Name):
        if node.id.lower() not in NAMED_VALUES and node.id != "state":
            yield node.id
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _fields(child)


def _value(node: ast.expr, state: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one line for each kind
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _named(node.id, state)
        case ast.Attribute():
            return _member(_value(node.value, state), node.attr)
        case ast.Subscript():
            return _value(node.value, state)[_value(node.slice, state)]
        case ast.List() | ast.Tuple() | ast.Set():
            return [_value(item, state) for item in node.elts]
        case ast.UnaryOp():
            operand = _value(node.operand, state)
            return not operand if isinstance(node.op, ast.Not) else -operand
        case ast.BoolOp():
            return _joined(node, state)
        case ast.Compare():
            return _compared(node, state)
    raise RouteError(
        f"{ast.unparse(node)!r} is not part of conditions"
    )  # pragma: no cover - checked when parsed


def _named(name: str, state: Mapping[str, Any]) -> Any:
    if name == "state":
        return state
    if name in state:
        return state[name]
    return NAMED_VALUES[name.lower()]


def _member(owner: Any, name: str) -> Any:
    """A key of a mapping. State holds plain data, so there are no other attributes."""
    if isinstance(owner, Mapping):
        return owner[name]
    raise TypeError(f"{type(owner).__name__} has no {name!r}")


def _joined(node: ast.BoolOp, state: Mapping[str, Any]) -> Any:
    stops_at = isinstance(node.op, ast.Or)
    value: Any = None
    for part in node.values:
        value = _value(part, state)
        if bool(value) is stops_at:
            break
    return value


def _compared(node: ast.Compare, state: Mapping[str, Any]) -> bool:
    left = _value(node.left, state)
    for comparison, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, state)
        if not COMPARISONS[type(comparison)](left, right):
            return False
        left = right
    return True
