"""`docs/performance.md` and its pictures, made from the JSON of the last runs. Nothing in it is written
by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from measuring import figures
from measuring.figures import Measured, number
from measuring.pictures import draw

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENT = DOCS / "performance.md"
PICTURES = DOCS / "pictures" / "performance"

KINDS = {
    "normal": ("What was measured", "make bench"),
    "long": ("With 10^7 events", "make bench-long"),
    "peers": ("Beside peers", "make bench-peers"),
    "replay": ("Real traffic, replayed", "make bench-replay"),
}
WORDS = {True: "yes", False: "**no**", None: "-"}

PREFACE = """# Performance

Made by `make bench` from its own figures; do not edit. Absolute figures are this machine's on that day,
and machines of this kind are noisy: only ratios are claims. What is compared took turns in one run
(A B A B). A figure is the median of its turns; behind it, in brackets, the middle half of them.
"""


def write_document(results: Path) -> Path:
    """Writes the document and the pictures from all results that are there."""
    found = {
        kind: figures.load(results / f"{kind}.json") for kind in KINDS if (results / f"{kind}.json").exists()
    }
    parts = [PREFACE]
    for kind, (machine, measured) in found.items():
        parts.extend(_part(kind, machine, measured))
    DOCUMENT.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    return DOCUMENT


def _part(kind: str, machine: dict[str, Any], measured: Sequence[Measured]) -> Iterable[str]:
    title, command = KINDS[kind]
    yield f"## {title}\n"
    yield f"`{command}`: {_circumstances(machine, measured)}\n"
    verdicts = [verdict for each in measured for verdict in each.result.verdicts]
    if verdicts:
        rows = ((each.goal, each.measured, WORDS[each.met], each.remark) for each in verdicts)
        yield from _table(("goal", "measured", "met", "why, and what would help"), rows)
    for each in measured:
        yield from _section(kind, each)


def _circumstances(machine: dict[str, Any], measured: Sequence[Measured]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    highest = max((each.load[0] for each in measured), default=machine["load"])
    return (
        f"{machine['date']}; {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB,"
        f" {machine['system']}; Python {machine['python']}, SQLite {machine['sqlite']}, {packages};"
        f" load average {machine['load']} at the end and at most {highest:.2f} at the start of an item,"
        f" the items' own work included; {sum(each.seconds for each in measured):.0f} s in all."
    )


def _section(kind: str, measured: Measured) -> Iterable[str]:
    result = measured.result
    name = measured.item.replace("_", " ")
    yield f"### {name[0].upper()}{name[1:]}{'' if kind == 'normal' else f' ({kind})'}\n"
    yield f"{measured.what}\n"
    yield from _table(
        ("", "median", "middle half", "turns"),
        (
            (
                series.label,
                f"{number(series.median)} {series.unit}",
                f"{number(series.low)} to {number(series.high)}",
                str(len(series.samples)),
            )
            for series in result.series
        ),
    )
    if result.ratios:
        yield from _table(
            ("ratio", "median", "middle half"),
            (
                (each.label, f"{number(each.median)} times", f"{number(each.low)} to {number(each.high)}")
                for each in result.ratios
            ),
        )
    for note in result.notes:
        yield f"{note}\n"
    for picture in draw(measured, PICTURES, kind):
        yield f"![{name}]({picture.relative_to(DOCS).as_posix()})\n"
    for absent, reason in result.absent.items():
        yield f"Not measured: {absent}, {reason}.\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    listed = list(rows)
    if listed:
        yield "| " + " | ".join(heads) + " |"
        yield "|" + "---|" * len(heads)
        for row in listed:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        yield ""
