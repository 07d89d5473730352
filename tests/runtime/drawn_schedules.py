"""Reads `schedules.txt`: runs drawn as text, with what is to be found in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from configurable_agents.runtime.self_time import Span
from configurable_agents.telemetry import Graph

UNIT_NS = 1_000
BAR = re.compile(r"=+|#+|!")
FINDINGS = ("self", "critical", "slack")


@dataclass
class Drawing:
    title: str
    ended_ns: int = 0
    spans: list[Span] = field(default_factory=list)
    graph: Graph | None = None
    findings: dict[str, dict[str, int]] = field(default_factory=dict)
    what_ifs: list[tuple[str, int]] = field(default_factory=list)
    _levels: list[list[Span]] = field(default_factory=list)

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if "|" in line:
            self._read_bars(line)
        elif word == "edges":
            edges = tuple(tuple(edge.strip().split(">")) for edge in rest.split(","))
            self.graph = Graph(tuple(sorted({node for edge in edges for node in edge})), edges)
        elif word in FINDINGS:
            pairs = (pair.split("=") for pair in rest.split())
            self.findings[word] = {name: units(value) for name, value in pairs}
        elif word == "what-if":
            change, saves = rest.split(" saves ")
            self.what_ifs.append((change, units(saves)))
        else:
            raise ValueError(line)

    def _read_bars(self, line: str) -> None:
        label, drawn, after = line.split("|")
        node = label.strip(" <")
        level = len(label) - len(label.lstrip()) if node else 0
        self.ended_ns = max(self.ended_ns, len(drawn) * UNIT_NS)
        above = self._levels[level - 1] if level else []
        made = [
            self._span(node, above, bar, len(self.spans) + number)
            for number, bar in enumerate(BAR.finditer(drawn), 1)
        ]
        if "<" in label:
            made[0] = made[0]._replace(started_unix_ns=-UNIT_NS, duration_ns=made[0].duration_ns + UNIT_NS)
        if after.startswith(">"):
            made[-1] = made[-1]._replace(duration_ns=made[-1].duration_ns + UNIT_NS)
        del self._levels[level:]
        self._levels.append(made)
        self.spans.extend(made)

    def _span(self, node: str, above: list[Span], bar: re.Match[str], span_id: int) -> Span:
        """Its parent is the last one above that began before it."""
        started_ns = bar.start() * UNIT_NS
        parent = next((each for each in reversed(above) if each.started_unix_ns <= started_ns), None)
        length = 0 if bar[0] == "!" else len(bar[0])
        return Span(span_id, 0 if parent is None else parent.span_id, node, started_ns, length * UNIT_NS)


def units(text: str) -> int:
    return round(float(text) * UNIT_NS)


def drawings() -> list[Drawing]:
    text = (Path(__file__).parent / "schedules.txt").read_text()
    found = []
    for block in text.split("\n\n")[1:]:
        title, *lines = block.strip("\n").splitlines()
        drawing = Drawing(title.removeprefix("# "))
        for line in lines:
            drawing.read(line)
        found.append(drawing)
    return found
