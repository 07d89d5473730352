"""Kills export workers at the points where an export could leave something twice, or half."""

from __future__ import annotations

import ast
import random

from harness.mlflow_oracle import check_mlflow
from harness.oracle import Verdict, check_balance, check_ledger
from harness.site import DEADLINE_S, Site

BETWEEN_CREATE_AND_RECORD = "after create_run"

KILL_S_MAX = 6.0
"""Of a worker and of what it does again, on a machine that may be busy."""


def kill_workers(site: Site, chances: random.Random, *, kills: int, point: str = "") -> tuple[int, Verdict]:
    """Returns how many were killed, and what is wrong after everything was exported."""
    seed = chances.getrandbits(32)
    process = site.launch("export_workers.py", kills, seed, *([point] if point else []))
    said = site.finish(process, within_s=DEADLINE_S + kills * KILL_S_MAX)
    killed = ast.literal_eval(said.splitlines()[-1])
    verdict = check_ledger(site.home.ledger, site.journals())
    verdict.join(check_balance(site.home.ledger))
    in_mlflow = check_mlflow(site.home.ledger, site.home.mlflow_uri)
    verdict.looked_at += in_mlflow.looked_at
    verdict.join(in_mlflow)
    return sum(killed.values()), verdict
