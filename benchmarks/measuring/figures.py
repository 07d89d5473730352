"""Figures with their spread, ratios of paired turns, and what they say about a goal."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self


class Size(Enum):
    """How much an item does."""

    TINY = "tiny"
    """Shows that it works; its figures mean nothing."""
    NORMAL = "normal"
    """All items together take less than ten minutes on two cores."""
    LONG = "long"
    """Ledgers of 10^7 events."""


@dataclass(frozen=True, slots=True)
class Series:
    """The same figure measured in several turns."""

    label: str
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        return quantile(self.samples, 0.25)

    @property
    def high(self) -> float:
        return quantile(self.samples, 0.75)


@dataclass(frozen=True, slots=True)
class Ratio:
    """`label` in each turn over the same turn of what it is compared with: the only claims made."""

    label: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        return quantile(self.samples, 0.25)

    @property
    def high(self) -> float:
        return quantile(self.samples, 0.75)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, what was measured, and whether that meets it; `None` where this run cannot tell."""

    goal: str
    measured: str
    met: bool | None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """How a figure grows with something."""

    label: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What an item found. Written to JSON as it stands."""

    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    """Contenders that could not take part, with the reason."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A result with its circumstances."""

    item: str
    what: str
    size: str
    seconds: float
    load: tuple[float, float]
    """The machine's load average over a minute, before and after."""
    result: Result

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        result = found["result"]
        return cls(
            **{
                **found,
                "load": tuple(found["load"]),
                "result": Result(
                    tuple(Series(**_tuples(each)) for each in result["series"]),
                    tuple(Ratio(**_tuples(each)) for each in result["ratios"]),
                    tuple(Verdict(**each) for each in result["verdicts"]),
                    tuple(Curve(**_tuples(each)) for each in result["curves"]),
                    tuple(result["notes"]),
                    result["absent"],
                ),
            }
        )


def save(path: Path, machine: dict[str, Any], measured: Sequence[Measured]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "items": [each.to_json() for each in measured]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], list[Measured]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["machine"], [Measured.from_json(each) for each in content["items"]]


def quantile(samples: Sequence[float], part: float) -> float:
    """The value below which `part` of the samples lie, by linear interpolation."""
    ordered = sorted(samples)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(label: str, ours: Series, theirs: Series) -> Ratio:
    """Turn by turn, so that what disturbed both cancels out."""
    return Ratio(label, tuple(mine / other for mine, other in zip(ours.samples, theirs.samples, strict=True)))


def at_most(goal: str, series: Series, bound: float, *, remark: str = "") -> Verdict:
    """`remark` says why it is not met, and stands only there."""
    return _verdict(goal, series, remark, met=series.median <= bound)


def at_least(goal: str, series: Series, bound: float, *, remark: str = "") -> Verdict:
    return _verdict(goal, series, remark, met=series.median >= bound)


def _verdict(goal: str, series: Series, remark: str, *, met: bool) -> Verdict:
    return Verdict(goal, shown(series), met, "" if met else remark)


def shown(series: Series) -> str:
    """Median and the middle half of the turns."""
    return f"{number(series.median)} {series.unit} ({number(series.low)} to {number(series.high)})"


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
