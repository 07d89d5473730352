"""Ledgers of every version are opened, brought to the version of today in place, and answer the same."""

from __future__ import annotations

import importlib.util
import json
import lzma
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from configurable_agents.errors import LedgerError
from configurable_agents.obsd.ledger import migrations
from configurable_agents.obsd.ledger.database import open_for_writing
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).resolve().parent / "golden"
VERSIONS = sorted(int(re.sub(r"\D", "", path.name.partition(".")[0])) for path in GOLDEN.glob("*.db.xz"))

HINT = (
    "schema.sql is not what the golden ledger of its version was made with. If that version is released, add"
    " a step (see obsd/ledger/migrations); if it is not, run `make golden` and commit what it writes"
)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", ROOT / "scripts" / "make_golden_ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(version: int, folder: Path) -> Path:
    path = folder / "ledger.db"
    path.write_bytes(lzma.decompress((GOLDEN / f"ledger-v{version}.db.xz").read_bytes()))
    return path


def schema_of(path: Path) -> dict[str, str]:
    """Tables and indices as they were declared, without comments and white space."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(re.sub(r"--[^\n]*", "", sql).split()) for name, sql in rows}


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_there_is_a_golden_ledger_of_every_version() -> None:
    assert list(range(1, migrations.schema_version() + 1)) == VERSIONS, HINT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ledger_of_every_version_answers_what_it_answered(
    version: int, tmp_path: Path, maker: ModuleType, pricer: CallPricer
) -> None:
    path = golden(version, tmp_path)
    with SqliteLedger(path, pricer):
        assert version_of(path) == migrations.schema_version()
    expected = json.loads((GOLDEN / f"ledger-v{version}.json").read_text())
    assert maker.figures(path) == expected, HINT


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ledger_of_every_version_gets_the_schema_of_a_new_one(version: int, tmp_path: Path) -> None:
    path, new = golden(version, tmp_path), tmp_path / "new.db"
    for each in (path, new):
        open_for_writing(each).close()
    assert schema_of(path) == schema_of(new), HINT


def test_a_ledger_of_every_version_takes_new_events(
    tmp_path: Path, maker: ModuleType, pricer: CallPricer
) -> None:
    from configurable_agents.obsd.records import Batch

    path = golden(VERSIONS[0], tmp_path)
    with SqliteLedger(path, pricer) as ledger:
        before = ledger.seq
        resent = ledger.commit([Batch((0).to_bytes(16, "big"), 0, next(maker.all_runs()))])
        new = ledger.commit([Batch(b"another producer", 0, maker.run("new", "support"))])
    assert (resent.events, resent.duplicates) == ([], 11)
    assert len(new.events) == 10
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT min(seq) FROM llm_calls WHERE run = 6").fetchone()[0] > before


# -- the steps themselves ---------------------------------------------------------------------------------


@pytest.fixture
def with_steps(monkeypatch: pytest.MonkeyPatch) -> object:
    """Pretends that there are further versions, made by these scripts."""

    def pretend(*scripts: str) -> None:
        named = {f"{number:04}.sql": text for number, text in enumerate(scripts, 2)}
        monkeypatch.setattr(migrations, "STEPS", tuple(named))
        monkeypatch.setattr(migrations, "script", named.__getitem__)

    return pretend


ADD = "ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"
FILL = "UPDATE runs SET colour = 'blue' WHERE id = 1;"


def test_all_steps_are_applied_in_place_at_the_start(
    tmp_path: Path, with_steps: object, pricer: CallPricer
) -> None:
    path = golden(1, tmp_path)
    with_steps(ADD, FILL)  # type: ignore[operator]
    with SqliteLedger(path, pricer) as ledger:
        colours = ledger.connection.execute("SELECT colour FROM runs ORDER BY id LIMIT 2").fetchall()
    assert colours == [("blue",), ("red",)]
    assert version_of(path) == 3


def test_a_step_that_fails_leaves_the_ledger_as_it_was(
    tmp_path: Path, with_steps: object, pricer: CallPricer
) -> None:
    path = golden(1, tmp_path)
    before = schema_of(path)
    with_steps(ADD, "UPDATE nowhere SET x = 1;")  # type: ignore[operator]
    with pytest.raises(LedgerError, match="from format 1 to 3: no such table: nowhere; it is left as it was"):
        SqliteLedger(path, pricer)
    assert (version_of(path), schema_of(path)) == (1, before)


def test_a_ledger_of_a_later_step_skips_what_it_has(
    tmp_path: Path, with_steps: object, pricer: CallPricer
) -> None:
    path = golden(1, tmp_path)
    with_steps(ADD)  # type: ignore[operator]
    SqliteLedger(path, pricer).close()
    with_steps(ADD, FILL)  # type: ignore[operator]
    SqliteLedger(path, pricer).close()
    assert version_of(path) == 3
