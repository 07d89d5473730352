"""Plays two recorded hours of production LLM traffic through real processes, and looks for what is lost.

Each request of a trace becomes a run with two nodes and an LLM call of its tokens, begun when the trace
says. Several workflow processes share the requests. 1x plays the first minutes at their own pace, 60x the
whole hour in one minute, max as fast as the processes can record. Afterwards the ledger must hold every
event and every token. The traces: AzureLLMInferenceTrace_code (Splitwise, ISCA 2024) and
mooncake_conversation (Mooncake, FAST 2025); `AGENTS_OBS_SHARED_DATA` names the folder that holds `traffic/`.

    python benchmarks/replay_traffic.py [--speeds 1 60 max] [--seconds 30] [--processes 4]
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from measuring import figures
from measuring.contenders import Program, running
from measuring.daemons import Daemon, daemon_in, ledger_bytes, state_folder
from measuring.document import write_document
from measuring.figures import Measured, Result, Series, Verdict
from measuring.interruptions import exit_code_of
from measuring.machine import describe
from run import RESULTS, print_result, print_table

DATA_VARIABLE = "AGENTS_OBS_SHARED_DATA"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
EVENTS_PER_REQUEST = 5
"""Its start, two nodes, a call, its end."""

MAX = "max"


class Request(NamedTuple):
    at_s: float
    input_tokens: int
    output_tokens: int


class Played(NamedTuple):
    """What came of one trace at one speed."""

    requests: int
    lost_events: int
    lost_tokens: int
    lag_ms: Sequence[float]
    cpu_s_per_million: float
    daemon_rss_mb: float
    events_per_second: float
    bytes_per_event: float = 0.0
    """Once the daemon has stopped."""


def azure(folder: Path) -> list[Request]:
    with (folder / "AzureLLMInferenceTrace_code.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    times = [
        dt.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=dt.UTC).timestamp() for row in rows
    ]
    return [
        Request(at - times[0], int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for at, row in zip(times, rows, strict=True)
    ]


def mooncake(folder: Path) -> list[Request]:
    lines = (folder / "mooncake_conversation_nohash.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Request(each["timestamp"] / 1000, each["input_length"], each["output_length"])
        for each in map(json.loads, lines)
    ]


TRACES = {"Azure": azure, "Mooncake": mooncake}


def play(requests: Sequence[Request], speed: float, processes: int) -> Played:
    """All requests through `processes` workflow processes and one daemon."""
    with state_folder() as home:
        played = play_in(home, requests, speed, processes)
        return played._replace(bytes_per_event=ledger_bytes(home) / (EVENTS_PER_REQUEST * len(requests)))


def play_in(home: Home, requests: Sequence[Request], speed: float, processes: int) -> Played:
    with daemon_in(home) as found, ExitStack() as stack:
        variables = {"AGENTS_OBS_HOME": str(found.home.folder)}
        players = [
            stack.enter_context(running(Program("player", "traffic_player", ()), **variables))
            for _ in range(processes)
        ]
        cpu_before = found.cpu_seconds()
        began = time.time() + 0.5
        for number, player in enumerate(players):
            player.ask(
                requests=[tuple(each) for each in requests[number::processes]],
                speed=None if math.isinf(speed) else speed,
                start_at=began,
                prefix=f"p{number}",
            )
        answers = [player.answer() for player in players]
        expected = EVENTS_PER_REQUEST * len(requests)
        found.wait_until_idle()
        seconds = max(answer["acknowledged_at"] for answer in answers) - began
        cpu_s = found.cpu_seconds() - cpu_before
        committed, tokens = kept(found)
        rss_mb = found.rss_mb()
    sent_tokens = sum(each.input_tokens + each.output_tokens for each in requests)
    return Played(
        requests=len(requests),
        lost_events=expected - committed,
        lost_tokens=sent_tokens - tokens,
        lag_ms=[1000 * lag for answer in answers for lag in answer["lags_s"]],
        cpu_s_per_million=1e6 * cpu_s / expected,
        daemon_rss_mb=rss_mb,
        events_per_second=expected / seconds,
    )


def kept(found: Daemon) -> tuple[int, int]:
    """Events and tokens the daemon says it has. Announced nodes are no events of their own."""
    with ReportClient(found.home) as client:
        return client.status().events_committed, client.cost_report(Scope()).totals.usage.total_tokens


def measure(folder: Path, speeds: Sequence[str], seconds: float, processes: int) -> Result:
    series: list[Series] = []
    verdicts: list[Verdict] = []
    for name, read in TRACES.items():
        whole = read(folder)
        for speed in speeds:
            factor = math.inf if speed == MAX else float(speed)
            span_s = math.inf if speed == MAX else seconds * factor
            played = play([each for each in whole if each.at_s <= span_s], factor, processes)
            what = f"{name} at {speed if speed == MAX else f'{speed}x'} ({played.requests:,} runs)"
            lag = tuple(figures.quantile(played.lag_ms, part) for part in (0.5, 0.99))
            series += [
                Series(f"{what}: lag to the acknowledgement, p50", "ms", (lag[0],)),
                Series(f"{what}: lag to the acknowledgement, p99", "ms", (lag[1],)),
                Series(f"{what}: events", "events/s", (played.events_per_second,)),
                Series(f"{what}: daemon CPU", "s per 10^6 events", (played.cpu_s_per_million,)),
                Series(f"{what}: daemon memory", "MB", (played.daemon_rss_mb,)),
                Series(f"{what}: ledger", "bytes/event", (played.bytes_per_event,)),
            ]
            lost = f"{played.lost_events} events, {played.lost_tokens} tokens"
            verdicts.append(
                Verdict(f"{what}: nothing lost", lost, played.lost_events == played.lost_tokens == 0)
            )
    return Result(series=tuple(series), verdicts=tuple(verdicts))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speeds", nargs="+", default=["1", "60", MAX])
    parser.add_argument("--seconds", type=float, default=30, help="how long each speed but max plays")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--out", type=Path, help="where the JSON goes; then no document is written")
    arguments = parser.parse_args()
    folder = Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA) / "traffic"
    if not folder.is_dir():
        print(
            f"replay: no traces in {folder}; name their folder's parent in {DATA_VARIABLE}", file=sys.stderr
        )
        return 2
    load, began = os.getloadavg()[0], time.monotonic()
    result = measure(folder, arguments.speeds, arguments.seconds, arguments.processes)
    seconds = time.monotonic() - began
    assert __doc__ is not None
    what = "\n\n".join(__doc__.strip().split("\n\n")[:2])
    measured = Measured("replay_traffic", what, "normal", seconds, (load, os.getloadavg()[0]), result)
    figures.save(arguments.out or RESULTS / "replay.json", describe(), [measured])
    print_result(result)
    print_table([measured])
    if not arguments.out:
        write_document(RESULTS)
    return 0 if all(verdict.met for verdict in result.verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(exit_code_of(main))
