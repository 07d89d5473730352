"""Runs benchmarks, prints what they found, and ends with a table: goal, measured, met.

python benchmarks/run.py                    all items, under ten minutes on two cores
python benchmarks/run.py --size tiny        shows that everything works, in a minute
python benchmarks/run.py hot_path ingest    some items
python benchmarks/run.py --peers            with peers installed by `make bench-peers`
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from install_peers import versions
from measuring import figures
from measuring.document import write_document
from measuring.figures import Measured, Result, Size, number, shown
from measuring.interruptions import exit_code_of
from measuring.machine import describe

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"

ITEMS = (
    "hot_path",
    "track_call",
    "pricing",
    "workflow_slowdown",
    "ingest",
    "ack_latency",
    "raw_limit",
    "growth",
    "report_latency",
    "long_run",
    "page",
    "command_line",
    "daemon_start",
    "memory",
    "export",
    "disk",
)
WITH_PEERS = ("hot_path", "track_call", "workflow_slowdown", "ingest", "report_latency", "memory")
LONG = ("growth", "report_latency", "daemon_start", "memory")


def main() -> int:
    arguments = _arguments()
    size = Size(arguments.size)
    names = arguments.items or (WITH_PEERS if arguments.peers else LONG if size is Size.LONG else ITEMS)
    began = time.monotonic()
    measured = [run_item(name, size, peers=arguments.peers) for name in names]
    kind = "peers" if arguments.peers else size.value
    path = arguments.out or RESULTS / f"{kind}.json"
    machine = describe(versions() if arguments.peers else None)
    if not arguments.out and arguments.items and path.exists():  # some items again, the others as they were
        machine, before = figures.load(path)
        again = {each.item for each in measured}
        measured = [*(each for each in before if each.item not in again), *measured]
        measured.sort(key=lambda each: ITEMS.index(each.item))
    figures.save(path, machine, measured)
    print_table(measured)
    print(f"\n{time.monotonic() - began:.0f} s in all; figures in {os.path.relpath(path)}")
    if not arguments.out and size is not Size.TINY:
        print(f"written: {os.path.relpath(write_document(RESULTS))}")
    return 0


def run_item(name: str, size: Size, *, peers: bool = False) -> Measured:
    """One item, measured now."""
    module = importlib.import_module(f"items.{name}")
    print(f"\n{module.TITLE} …", flush=True)
    load_before, began = os.getloadavg()[0], time.monotonic()
    options: dict[str, Any] = {"peers": True} if peers else {}
    result: Result = module.measure(size, **options)
    seconds = time.monotonic() - began
    print_result(result)
    return Measured(
        name, module.__doc__.strip(), size.value, seconds, (load_before, os.getloadavg()[0]), result
    )


def print_result(result: Result) -> None:
    for series in result.series:
        print(f"  {series.label}: {shown(series)}")
    for ratio in result.ratios:
        print(f"  {ratio.label}: {number(ratio.median)} ({number(ratio.low)} to {number(ratio.high)})")
    for curve in result.curves:
        points = ", ".join(f"{number(x)}: {number(y)}" for x, y in zip(curve.x, curve.y, strict=True))
        print(f"  {curve.label} ({curve.x_label}: {curve.y_label}): {points}")
    for note in result.notes:
        print(f"  {note}")
    for name, reason in result.absent.items():
        print(f"  not measured: {name}: {reason}")
    sys.stdout.flush()


def print_table(measured: Sequence[Measured]) -> None:
    rows = [
        (verdict.goal, verdict.measured, verdict.met) for each in measured for verdict in each.result.verdicts
    ]
    words = {True: "yes", False: "NO", None: "-"}
    width = max((len(goal) for goal, _, _ in rows), default=4)
    between = max((len(found) for _, found, _ in rows), default=8)
    print(f"\n{'goal':{width}}  {'measured':{between}}  met")
    for goal, found, met in rows:
        print(f"{goal:{width}}  {found:{between}}  {words[met]}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("items", nargs="*", choices=[*ITEMS, []], metavar="ITEM", help=", ".join(ITEMS))
    parser.add_argument("--size", choices=[size.value for size in Size], default=Size.NORMAL.value)
    parser.add_argument("--peers", action="store_true", help="with the peers of `make bench-peers`")
    parser.add_argument("--out", type=Path, help="where the JSON goes; then no document is written")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(exit_code_of(main))
