"""Draws the README's pictures from the state that `make demo` leaves behind: real reports, as SVG.

Usage: make demo && .venv/bin/python scripts/draw_report_pictures.py
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from configurable_agents.cli.render.cost import cost_report
from configurable_agents.cli.render.profile import profile_report
from configurable_agents.client.control import start_daemon, stop_daemon
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH_CELLS = 104

THEME = TerminalTheme(
    (24, 26, 31),
    (214, 218, 227),
    [(60, 64, 73), (224, 108, 117), (152, 195, 121), (229, 192, 123),
     (97, 175, 239), (198, 120, 221), (86, 182, 194), (171, 178, 191)],
    [(92, 99, 112), (240, 128, 137), (172, 215, 141), (245, 208, 143),
     (117, 195, 255), (218, 140, 241), (106, 202, 214), (255, 255, 255)],
)  # fmt: skip


def main() -> int:
    home = Home.from_environment(ROOT / ".demo")
    if not home.ledger.exists():
        print(f"no ledger in {home.folder}; run `make demo` first", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    start_daemon(home)
    try:
        with ReportClient(home) as client:
            costs = client.cost_report(Scope())
            profile = client.profile_report(Scope(experiment="support-bot"))
        draw("cost-report", "agents-obs cost-report", cost_report(costs, width=WIDTH_CELLS))
        nodes = profile_report(profile, threshold_percent=50.0, width=WIDTH_CELLS)
        draw("profile-report", "agents-obs profile-report --experiment support-bot", nodes)
    finally:
        stop_daemon(home)
    return 0


def draw(name: str, command: str, parts: Iterable[RenderableType]) -> None:
    console = Console(
        record=True, width=WIDTH_CELLS, file=io.StringIO(), force_terminal=True, highlight=False, markup=False
    )
    console.print(f"$ {command}", style="dim")
    console.print()
    for part in parts:
        console.print(part)
    svg = console.export_svg(title=command, theme=THEME)
    (PICTURES / f"{name}.svg").write_text(without_fonts_from_elsewhere(svg))
    print(PICTURES.relative_to(ROOT) / f"{name}.svg")


def without_fonts_from_elsewhere(svg: str) -> str:
    """A picture must not make whoever looks at it ask another server for anything."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!-- Generated with Rich .*?-->\s*", "", svg)
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


if __name__ == "__main__":
    raise SystemExit(main())
