"""An SVG per item, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring.figures import Curve, Measured, Series

BAR = "#3b6ea5"
INK = "#555555"
MARKERS = "os^Dv"


def draw(measured: Measured, folder: Path, kind: str) -> list[Path]:
    """Bars for series of one unit that are worth comparing, a line for each growth."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "agents-obs", "font.size": 9, "svg.fonttype": "none"})
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure in _figures(measured):
        path = folder / f"{measured.item}{name}{'' if kind == 'normal' else f'-{kind}'}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        path.write_text(
            "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()) + "\n",
            encoding="utf-8",
        )
        drawn.append(path)
    return drawn


def _figures(measured: Measured) -> Iterator[tuple[str, Any]]:
    import matplotlib.pyplot as plt

    result = measured.result
    if result.curves:
        labels = list(dict.fromkeys(curve.x_label for curve in result.curves))
        figure, axes = plt.subplots(1, len(labels), figsize=(3.6 * len(labels), 2.8), squeeze=False)
        for axis, label in zip(axes[0], labels, strict=True):
            _lines(axis, [curve for curve in result.curves if curve.x_label == label])
        yield "", figure
        plt.close(figure)
        return
    units = list(dict.fromkeys(series.unit for series in result.series))
    several = [unit for unit in units if len(_of_unit(result.series, unit)) > 1] or units[:1]
    for index, unit in enumerate(several):
        some = _of_unit(result.series, unit)
        figure, axis = plt.subplots(figsize=(6.5, 0.5 + 0.32 * len(some)))
        _bars(axis, some, unit)
        yield ("" if index == 0 else f"-{index + 1}"), figure
        plt.close(figure)


def _of_unit(series: Sequence[Series], unit: str) -> list[Series]:
    return [each for each in series if each.unit == unit]


def _bars(axis: Any, series: Sequence[Series], unit: str) -> None:
    places = range(len(series))
    medians = [each.median for each in series]
    spread = [
        [max(0.0, each.median - each.low) for each in series],
        [max(0.0, each.high - each.median) for each in series],
    ]
    axis.barh(places, medians, xerr=spread, color=BAR, ecolor=INK, height=0.6)
    axis.set_yticks(list(places), [each.label for each in series])
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    positive = [median for median in medians if median > 0]
    if len(positive) == len(medians) and max(positive) > 30 * min(positive):
        axis.set_xscale("log")
    axis.spines[["top", "right"]].set_visible(False)


def _lines(axis: Any, curves: Sequence[Curve]) -> None:
    for curve, marker in zip(curves, MARKERS, strict=False):
        axis.plot(curve.x, curve.y, marker=marker, markersize=4, label=f"{curve.label}, {curve.y_label}")
    axis.set_xscale("log")
    axis.set_xlabel(curves[0].x_label)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
