"""Damage to the ledger: found before anything is written, never written over, and what is left is saved."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configurable_agents.client.control import find_daemon, repair_ledger, start_daemon, stop_daemon
from configurable_agents.client.home import Home, ensure_private_folder
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.errors import (
    AgentsObsError,
    AlreadyRunningError,
    DaemonStartError,
    LedgerError,
    NotFoundError,
)
from configurable_agents.obsd import limits, repair
from configurable_agents.obsd.ledger import damage, database, queries
from configurable_agents.obsd.ledger.database import open_for_reading
from configurable_agents.obsd.ledger.salvage import salvage
from configurable_agents.obsd.ledger.writer import SqliteLedger
from configurable_agents.obsd.pricing import CallPricer
from configurable_agents.obsd.records import Batch
from configurable_agents.telemetry import Event

PAGE_BYTES = 4096
RUNS = 12
NODES = 40


def fill(ledger: SqliteLedger, runs: list[list[Event]]) -> None:
    for number, events in enumerate(runs):
        ledger.commit([Batch(number.to_bytes(16, "big"), 0, events)])


class Sample(NamedTuple):
    """A ledger as its daemon left it."""

    content: bytes
    seal: bytes
    modified_unix_ns: int
    cost_nanos: int
    events: int

    def put(self, path: Path, content: bytes | None = None, *, is_silent: bool) -> None:
        """`is_silent`: the disk has changed it, and its time of change says nothing."""
        path.write_bytes(self.content if content is None else content)
        path.with_name(path.name + damage.SEAL_SUFFIX).write_bytes(self.seal)
        if is_silent:
            os.utime(path, ns=(self.modified_unix_ns, self.modified_unix_ns))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, pricer: CallPricer) -> Sample:
    from tests.obsd.conftest import Events  # the fixture is for one test

    path = tmp_path_factory.mktemp("sample") / "ledger.db"
    with SqliteLedger(path, pricer) as ledger:
        fill(ledger, [Events().whole_run(f"run-{number}", nodes=NODES) for number in range(RUNS)])
    with closing(open_for_reading(path)) as connection:
        cost = queries.cost_summary(connection, Scope()).totals.cost_nanos
        events = queries.counts(connection).events_committed
    seal = path.with_name(path.name + damage.SEAL_SUFFIX)
    return Sample(path.read_bytes(), seal.read_bytes(), path.stat().st_mtime_ns, cost, events)


def flipped(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :]


def offsets(content: bytes, *, count: int) -> list[int]:
    """The first bytes of every page, where its structure is, and others spread over the file."""
    chosen = random.Random(6)
    spread = [chosen.randrange(len(content)) for _ in range(count)]
    heads = [page + at for page in range(0, len(content), PAGE_BYTES) for at in (0, 5)]
    return sorted({*spread, *heads, 24, 28, 100, 105})


# -- finding it -------------------------------------------------------------------------------------------


def test_a_sound_ledger_is_found_sound(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    assert database.check(path) == "", "there is none"
    sample.put(path, is_silent=True)
    assert database.check(path) == damage.CHECKED


def test_any_byte_that_the_disk_changed_is_found_and_the_file_is_not_written_to(
    sample: Sample, tmp_path: Path, pricer: CallPricer
) -> None:
    path = tmp_path / "ledger.db"
    for offset in offsets(sample.content, count=150):
        content = flipped(sample.content, offset)
        sample.put(path, content, is_silent=True)
        with pytest.raises(LedgerError, match=r"is damaged|cannot be opened|newer version") as caught:
            SqliteLedger(path, pricer)
        assert "\n" not in str(caught.value), offset
        assert path.read_bytes() == content, offset


def test_a_ledger_that_was_cut_off_is_found_wherever_that_was(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    cuts = random.Random(7)
    for size in [0, 1, 99, 100, *range(PAGE_BYTES, len(sample.content), PAGE_BYTES)] + [
        cuts.randrange(len(sample.content)) for _ in range(30)
    ]:
        sample.put(path, sample.content[:size], is_silent=False)
        with pytest.raises(LedgerError, match="is damaged"):
            database.check(path)
        assert path.stat().st_size == size


def test_a_ledger_that_somebody_has_written_to_since_is_not_taken_for_damaged(
    sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    sample.put(path, is_silent=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET tags = '{}'")
    assert database.check(path) == damage.CHECKED


def test_the_checksum_goes_before_the_ledger_is_written_to(book: Any) -> None:
    """One that outlived a write would have a sound ledger taken for damaged."""
    assert not damage.is_sealed(book.path)
    book.ledger.close()
    assert damage.is_sealed(book.path)
    with SqliteLedger(book.path, book.ledger._pricer):
        assert not damage.is_sealed(book.path)


def test_a_ledger_that_a_daemon_mistrusts_gets_no_checksum(book: Any) -> None:
    book.ledger.is_trusted = False
    book.ledger.close()
    assert not damage.is_sealed(book.path)


def test_a_check_that_takes_too_long_is_put_off(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    sample.put(path, is_silent=False)
    monkeypatch.setattr(limits, "CHECK_S_MAX", -1.0)
    monkeypatch.setattr(damage, "_STEPS_BETWEEN_LOOKS", 1)
    assert database.check(path) == damage.CHECKED_LATER
    sample.put(path, is_silent=True)
    assert database.check(path) == damage.CHECKED_SEAL


# -- saving what is left ----------------------------------------------------------------------------------


def all_answers(path: Path) -> str:
    with closing(open_for_reading(path)) as connection, queries.snapshot(connection):
        runs, _ = queries.list_runs(connection, Scope(), limit=1000)
        scopes = [Scope(), *(Scope(run_id=run.run_id) for run in runs)]
        return json.dumps(
            [
                [
                    queries.cost_summary(connection, scope).to_json(),
                    queries.profile_report(connection, scope).to_json(),
                ]
                for scope in scopes
            ]
        )


def cost_of(path: Path) -> int:
    with closing(open_for_reading(path)) as connection:
        return int(queries.cost_summary(connection, Scope()).totals.cost_nanos)


def test_a_sound_ledger_is_saved_whole(sample: Sample, tmp_path: Path) -> None:
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    sample.put(source, is_silent=True)
    found = salvage(source, target)
    assert (found.is_complete, found.rows_lost, found.runs_doubtful, found.stand_ins) == (True, 0, 0, 0)
    assert all_answers(target) == all_answers(source)
    with closing(open_for_reading(source)) as old, closing(open_for_reading(target)) as new:
        for name in found.tables:
            if name != "counters":
                sql = f"SELECT * FROM {name} ORDER BY 1"
                assert set(new.execute(sql)) == set(old.execute(sql)), name


def test_whatever_is_damaged_the_rest_is_saved_and_the_loss_is_said(sample: Sample, tmp_path: Path) -> None:
    source = tmp_path / "ledger.db"
    whole_cost = 0
    tried = offsets(sample.content, count=0)[::2] + offsets(sample.content, count=20)[1::7]
    for number, offset in enumerate(tried):
        content = flipped(sample.content, offset)
        sample.put(source, content, is_silent=True)
        target = tmp_path / f"new-{number}.db"
        found = salvage(source, target)
        all_answers(target)
        whole_cost += cost_of(target) == sample.cost_nanos
        with closing(open_for_reading(target)) as connection:
            assert "from a damaged one" in queries.repair_note(connection)
            events = queries.counts(connection).events_committed
        assert events >= sample.events or not found.is_complete
        if cost_of(target) != sample.cost_nanos:
            assert found.runs_doubtful or not found.is_complete, offset
        assert source.read_bytes() == content
        target.unlink()
    assert whole_cost > len(tried) / 2


def test_rows_behind_a_damaged_page_are_saved_too(sample: Sample, tmp_path: Path) -> None:
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    sample.put(source, is_silent=True)
    with closing(open_for_reading(source)) as connection:
        leaf = page_of(sample.content, "node_executions", connection)
        count = connection.execute("SELECT COUNT(*) FROM node_executions").fetchone()[0]
    source.write_bytes(
        sample.content[: leaf * PAGE_BYTES] + b"\xaa" * PAGE_BYTES + sample.content[(leaf + 1) * PAGE_BYTES :]
    )
    found = salvage(source, target)
    outcome = found.tables["node_executions"]
    assert not outcome.is_complete
    assert count / 2 < outcome.saved < count
    assert found.rows_lost == count - outcome.saved
    with closing(open_for_reading(target)) as connection:
        spans = [seq for (seq,) in connection.execute("SELECT seq FROM node_executions ORDER BY seq")]
    assert max(b - a for a, b in pairwise(spans)) > 10, "the gap is inside"
    assert cost_of(target) == sample.cost_nanos


def page_of(content: bytes, table: str, connection: sqlite3.Connection) -> int:
    """The second leaf of a table, from the pointers of its root."""
    [root] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    page = content[(root - 1) * PAGE_BYTES : root * PAGE_BYTES]
    assert page[0] == 5, "an interior page of a table"
    cell = int.from_bytes(page[12 + 2 : 12 + 4], "big")
    return int.from_bytes(page[cell : cell + 4], "big") - 1


def test_what_rows_refer_to_and_is_lost_gets_a_stand_in_that_says_so(sample: Sample, tmp_path: Path) -> None:
    """A report joins names: without one its rows would be left out, and its sum too low."""
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    source.write_bytes(sample.content)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("DELETE FROM names WHERE name = 'gpt-4o'")
        connection.execute("DELETE FROM runs WHERE id = 3")
        connection.execute("DELETE FROM producers WHERE id = 5")
        connection.execute("DELETE FROM rate_cards")
        connection.execute("DELETE FROM exporters")
    found = salvage(source, target)
    assert found.stand_ins >= 3
    assert found.runs_doubtful == 1
    assert cost_of(target) == sample.cost_nanos
    with closing(open_for_reading(target)) as connection, queries.snapshot(connection):
        summary = queries.cost_summary(connection, Scope())
        assert [model.model[:6] for model in summary.models] == ["(lost "]
        assert queries.cost_summary(connection, Scope(run_id="lost-3")).totals.calls == NODES


def test_totals_that_are_lost_are_made_again_from_the_rows(sample: Sample, tmp_path: Path) -> None:
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    source.write_bytes(sample.content)
    before = all_answers(source)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("DELETE FROM node_totals WHERE run IN (1, 2)")
        connection.execute("DELETE FROM call_totals WHERE run = 2")
    found = salvage(source, target)
    assert found.runs_doubtful == 2
    assert all_answers(target) == before


def test_no_number_is_used_twice_after_the_last_events_are_lost(
    sample: Sample, tmp_path: Path, pricer: CallPricer, events: Any
) -> None:
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    source.write_bytes(sample.content)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("DELETE FROM counters")
        connection.execute("DELETE FROM node_executions WHERE seq > 500")
        connection.execute("DELETE FROM llm_calls WHERE seq > 500")
        connection.execute("INSERT INTO exporters VALUES ('mlflow', 900, 1)")
    salvage(source, target)
    with SqliteLedger(target, pricer) as ledger:
        assert ledger.seq >= sample.events


def test_values_that_cannot_be_are_left_out_and_counted(sample: Sample, tmp_path: Path) -> None:
    source, target = tmp_path / "ledger.db", tmp_path / "new.db"
    source.write_bytes(sample.content)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("UPDATE node_executions SET status = 99 WHERE seq = 3")
        connection.execute("UPDATE node_executions SET duration_ns = 'text' WHERE seq = 5")
        connection.execute("UPDATE runs SET tags = '{' WHERE id = 2")
    found = salvage(source, target)
    assert (found.tables["node_executions"].refused, found.tables["runs"].refused) == (2, 1)
    all_answers(target)


# -- the commands -----------------------------------------------------------------------------------------


@pytest.fixture
def damaged_home(home: Home, sample: Sample) -> Iterator[Home]:
    """A state folder whose ledger has lost a page."""
    (home.folder / "agents-obsd.toml").write_text("[mlflow]\nenabled = false\n")
    home.ledger.write_bytes(sample.content)
    with closing(open_for_reading(home.ledger)) as connection:
        leaf = page_of(sample.content, "node_executions", connection)
    home.ledger.write_bytes(
        sample.content[: leaf * PAGE_BYTES] + bytes(PAGE_BYTES) + sample.content[(leaf + 1) * PAGE_BYTES :]
    )
    yield home
    stop_daemon(home)


def test_a_daemon_refuses_a_damaged_ledger_and_says_what_to_do(damaged_home: Home) -> None:
    before = damaged_home.ledger.read_bytes()
    with pytest.raises(DaemonStartError, match=r"is damaged .*agents-obsd repair.*--fresh-ledger"):
        start_daemon(damaged_home)
    assert damaged_home.ledger.read_bytes() == before
    assert find_daemon(damaged_home) is None


def test_after_a_repair_the_daemon_starts_and_every_report_says_what_it_is_made_from(
    damaged_home: Home, sample: Sample
) -> None:
    before = damaged_home.ledger.read_bytes()
    report = repair_ledger(damaged_home)
    assert Path(report["set_aside"]).read_bytes() == before
    assert report["rows_lost"] > 0
    start_daemon(damaged_home)
    with ReportClient(damaged_home) as client:
        assert client.cost_report(Scope()).totals.cost_nanos == sample.cost_nanos
        [note] = client.notes
        assert f"{report['rows_lost']} events are known to be lost" in note
        assert "from a damaged one" in client.status().storage.repaired
    command = [sys.executable, "-m", "configurable_agents", "cost-report", "--home", str(damaged_home.folder)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert shown.stderr.startswith("note: the ledger was made on ")


def test_a_fresh_ledger_is_begun_only_on_request_and_the_damaged_one_is_kept(damaged_home: Home) -> None:
    before = damaged_home.ledger.read_bytes()
    start_daemon(damaged_home, fresh_ledger=True)
    with ReportClient(damaged_home) as client:
        assert client.status().runs_total == 0
    [aside] = damaged_home.folder.glob("ledger.db.damaged-*Z")
    assert aside.read_bytes() == before


def test_asking_for_a_fresh_ledger_keeps_a_sound_one(home: Home, sample: Sample) -> None:
    (home.folder / "agents-obsd.toml").write_text("[mlflow]\nenabled = false\n")
    home.ledger.write_bytes(sample.content)
    start_daemon(home, fresh_ledger=True)
    with ReportClient(home) as client:
        assert client.status().runs_total == RUNS
    stop_daemon(home)
    assert list(home.folder.glob("*damaged*")) == []


def test_a_ledger_without_damage_is_not_repaired(home: Home, sample: Sample) -> None:
    home.ledger.write_bytes(sample.content)
    assert repair_ledger(home)["damage"] is None
    assert home.ledger.read_bytes() == sample.content


def test_there_is_nothing_to_repair_without_a_ledger(home: Home) -> None:
    with pytest.raises(NotFoundError, match="there is no ledger"):
        repair.repair(home)


def test_a_repair_that_finds_nothing_to_save_leaves_nothing_behind(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTS_OBS_HOME", str(home.folder.parent))
    ensure_private_folder(home.folder)
    home.ledger.write_bytes(b"no ledger at all" * 4096)
    with pytest.raises(AgentsObsError, match=f"agents-obsd start --fresh-ledger --home {home.folder}"):
        repair.repair(home)
    assert home.ledger.read_bytes() == b"no ledger at all" * 4096
    assert [path.name for path in home.folder.glob("ledger.db?*")] == []


def test_a_repair_waits_for_no_daemon_and_disturbs_none(daemon: Any, home: Home) -> None:
    with pytest.raises(AlreadyRunningError, match="already runs"):
        repair_ledger(home)


@pytest.mark.parametrize("failing", ["unlink", "replace"])
def test_a_repair_that_was_cut_off_can_be_run_again(
    damaged_home: Home, sample: Sample, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """At every moment there is a ledger in its place, so that no daemon begins afresh by mistake."""
    damaged_home.ledger.with_name("ledger.db-wal").write_bytes(b"")

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        salvage_whole = repair.salvage

        def then_cut(source: Path, target: Path) -> Any:
            saved = salvage_whole(source, target)
            patched.setattr(Path, failing, cut_off)
            return saved

        patched.setattr(repair, "salvage", then_cut)
        with pytest.raises(KeyboardInterrupt):
            repair.repair(damaged_home)
    assert damaged_home.ledger.exists()
    assert repair.repair(damaged_home)["damage"] is not None
    assert cost_of(damaged_home.ledger) == sample.cost_nanos
    assert len(list(damaged_home.folder.glob("ledger.db.damaged-*Z"))) == 1


def test_damage_that_is_found_while_the_daemon_works_stops_it(
    damaged_home: Home, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """A large ledger is looked through after the start."""
    code = (
        "import sys\n"
        "from configurable_agents.obsd import limits\n"
        "from configurable_agents.obsd.ledger import damage\n"
        "limits.CHECK_S_MAX, damage._STEPS_BETWEEN_LOOKS = -1.0, 1\n"
        "from configurable_agents.obsd.__main__ import main\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", code, "--home", str(damaged_home.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "is damaged" in ended.stderr.splitlines()[-1]
    assert not damage.is_sealed(damaged_home.ledger)
