"""What can be read of a damaged database is kept, to the last whole page; what cannot is told, and nothing invented."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from coder_local._store import backup
from coder_local._store.salvage import SalvageReport, salvage
from coder_local._store.salvage.pages import Pages

from .filled import SNAPSHOT_AT, TASKS, Filled, fill, open_planning, rows_of

FIXTURES = Path(__file__).parent.parent / "fixtures"
PAGE = 4096
MAP = 2
TAKEN_ANEW = {"store_meta", "_sqlite_migrations"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return fill(tmp_path_factory.mktemp("salvage") / "data")


class Damaged:
    """A copy of the database in which pages were overwritten."""

    def __init__(self, filled: Filled, folder: Path) -> None:
        self.filled = filled
        self.path = folder / "damaged.db"
        self.target = folder / "new.db"
        shutil.copy(filled.database, self.path)
        self.count = self.path.stat().st_size // PAGE

    def overwrite(self, pages: Iterable[int], seed: int = 0, part: slice = slice(0, PAGE)) -> set[int]:
        chance = random.Random(seed)
        done = set(pages)
        with self.path.open("r+b") as file:
            for page in done:
                file.seek((page - 1) * PAGE + part.start)
                file.write(chance.randbytes(part.stop - part.start))
        return done

    def salvage(self, snapshot: Path | None = None, *, like: bool = True) -> SalvageReport:
        report = salvage(self.path, self.target, snapshot=snapshot, like=self.filled.fresh if like else None)
        assert report.faults == []
        return report

    def lost(self, table: str, pages: set[int]) -> set[int]:
        """Return the rows that lie on some pages."""
        return {rowid for rowid, places in self.filled.places[table].items() if places & pages}


@pytest.fixture
def damaged(filled: Filled, tmp_path: Path) -> Damaged:
    return Damaged(filled, tmp_path)


def hold(damaged: Damaged, report: SalvageReport, pages: set[int]) -> None:
    """Assert that every row off the damaged pages is there as it was, that no other is, and that the report adds up."""
    got = rows_of(damaged.target)
    told = {table.name: table for table in report.tables}
    for name, places in damaged.filled.places.items():
        original = damaged.filled.rows[name]
        lost = damaged.lost(name, pages)
        kept = {rowid: row for rowid, row in original.items() if rowid not in lost}
        assert got[name] == kept, name
        assert told[name].read == len(places) - len(lost)
        for rowid in lost:
            assert any(span.low <= rowid <= (span.high or rowid) for span in told[name].lost), (name, rowid)
        if name == "planning_tasks":
            assert (told[name].missing or 0) <= len(lost)
    for name in got.keys() - damaged.filled.places.keys():  # WITHOUT ROWID
        assert got[name].items() <= damaged.filled.rows[name].items()


def test_a_whole_database_comes_out_as_it_was(damaged: Damaged) -> None:
    report = damaged.salvage()
    got, original = rows_of(damaged.target), damaged.filled.rows
    assert got == original
    assert report.damaged_pages == 0
    assert report.doubtful_pages == []
    assert all(table.missing == 0 and table.lost == [] for table in report.tables)
    assert report.read == sum(map(len, original.values()))


@pytest.mark.parametrize("seed", range(60 if os.environ.get("CODER_LOCAL_LONG_TESTS") else 3))
def test_rows_of_whole_pages_are_kept_and_none_is_invented(damaged: Damaged, seed: int) -> None:
    chance = random.Random(seed)
    pages = damaged.overwrite(chance.sample(range(3, damaged.count + 1), chance.choice([1, 5, 40])), seed)
    report = damaged.salvage(damaged.filled.snapshot) if seed % 3 == 0 else damaged.salvage()
    if seed % 3:
        hold(damaged, report, pages)
        return
    got = rows_of(damaged.target)
    snapshot = rows_of(damaged.filled.snapshot)
    for name, original in damaged.filled.rows.items():
        for key, row in got[name].items():
            assert row in (original.get(key), snapshot[name].get(key)) or name in TAKEN_ANEW


def test_pages_below_a_damaged_one_are_found_by_the_map(damaged: Damaged) -> None:
    pages = damaged.overwrite(damaged.filled.branches)
    report = damaged.salvage()
    hold(damaged, report, pages)
    tasks = next(table for table in report.tables if table.name == "planning_tasks")
    assert tasks.read == TASKS


@pytest.mark.parametrize("told_by", ["snapshot", "fresh"])
def test_the_table_of_tables_may_be_lost_when_another_file_tells_it(damaged: Damaged, told_by: str) -> None:
    """A file that the program makes anew has its tables at the same pages."""
    wipe_schema(damaged.path)
    report = damaged.salvage(damaged.filled.snapshot if told_by == "snapshot" else None)
    assert report.schema_from == str(getattr(damaged.filled, told_by))
    assert rows_of(damaged.target) == damaged.filled.rows
    damaged.target.unlink()
    assert not salvage(damaged.path, damaged.target).schema_whole
    assert rows_of(damaged.target) == {}


def test_the_tables_of_a_file_that_was_brought_up_to_date_lie_elsewhere_and_are_found(
    filled: Filled, tmp_path: Path
) -> None:
    """No row gets into the table that lies at the same page of another file, and what tells itself apart is kept."""
    old = tmp_path / "old"
    old.mkdir()
    path = old / "coder-local.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.executescript((FIXTURES / "planning-0001_planning.sql").read_text("utf-8"))
    connection.close()
    open_planning(old).store.close()
    original = rows_of(path)
    assert roots(path) != roots(filled.fresh)
    wipe_schema(path)
    report = salvage(path, tmp_path / "new.db", like=filled.fresh)
    got = rows_of(tmp_path / "new.db")
    for name in got.keys() - TAKEN_ANEW:
        assert got[name].items() <= original.get(name, {}).items(), name
    for name in ("planning_tasks", "change", "event", "audit"):
        assert got[name] == original[name] != {}, name
    assert all(table.missing is None for table in report.tables if got[table.name] != original.get(table.name, {}))


@pytest.mark.parametrize("name", ["planning_tasks", "change_by_record"])
def test_one_wrong_byte_in_a_statement_costs_no_more_than_what_it_makes(damaged: Damaged, name: str) -> None:
    content = damaged.path.read_bytes()
    ((sql,),) = query(damaged.path, f"SELECT sql FROM sqlite_master WHERE name = '{name}'")
    at = content.index(sql.encode())
    damaged.path.write_bytes(content[:at] + b"k" + content[at + 1 :])
    damaged.salvage()
    assert rows_of(damaged.target) == damaged.filled.rows
    assert query(damaged.target, f"SELECT sql FROM sqlite_master WHERE name = '{name}'") == [(sql,)]
    damaged.target.unlink()
    alone = salvage(damaged.path, damaged.target)
    assert [fault for fault in alone.faults if "statement" in fault and name in fault]
    assert len(rows_of(damaged.target)["change"]) == len(damaged.filled.rows["change"])


def test_page_one_alone_costs_nothing(damaged: Damaged) -> None:
    damaged.overwrite([1])
    report = damaged.salvage(like=False)
    assert report.schema_from == str(damaged.path)
    assert rows_of(damaged.target) == damaged.filled.rows


def test_without_its_map_too_a_page_goes_to_the_one_table_that_it_fits(damaged: Damaged) -> None:
    damaged.overwrite([MAP, *damaged.filled.branches])
    report = damaged.salvage()
    got = rows_of(damaged.target)
    for name, rows in got.items():
        assert rows.items() <= damaged.filled.rows[name].items()
    assert len(got["planning_tasks"]) == TASKS - len(damaged.lost("planning_tasks", set(report.doubtful_pages)))
    assert len(got["planning_tasks"]) > TASKS / 2


@pytest.mark.parametrize("share", [0.15, 0.8])
def test_of_a_file_that_was_cut_off_the_rest_is_kept(damaged: Damaged, share: float) -> None:
    keep = int(damaged.count * share)
    with damaged.path.open("r+b") as file:
        file.truncate(keep * PAGE + 77)
    report = damaged.salvage(damaged.filled.snapshot)
    got = rows_of(damaged.target)["planning_tasks"]
    gone = damaged.lost("planning_tasks", set(range(keep + 1, damaged.count + 1)))
    assert got.keys() >= damaged.filled.rows["planning_tasks"].keys() - gone
    tasks = next(table for table in report.tables if table.name == "planning_tasks")
    assert tasks.read == TASKS - len(gone)
    assert tasks.from_snapshot == len([rowid for rowid in gone if rowid <= SNAPSHOT_AT])


def test_lost_rows_come_from_the_snapshot_and_the_others_are_named(damaged: Damaged) -> None:
    rows = damaged.filled.places["planning_tasks"]
    old, new = min(rows[100]), min(rows[1100])
    damaged.overwrite([old, new])
    report = damaged.salvage(damaged.filled.snapshot)
    tasks = next(table for table in report.tables if table.name == "planning_tasks")
    in_old, in_new = damaged.lost("planning_tasks", {old}), damaged.lost("planning_tasks", {new})
    assert (tasks.read, tasks.from_snapshot, tasks.missing) == (TASKS - len(in_old | in_new), len(in_old), len(in_new))
    assert tasks.read + tasks.from_snapshot + (tasks.missing or 0) == TASKS
    assert (tasks.maybe_deleted, tasks.maybe_deleted_keys) == (0, [])
    ids = {damaged.filled.rows["planning_tasks"][rowid][1] for rowid in in_new}
    assert set(tasks.missing_ids) == ids
    assert [(span.low, span.high) for span in tasks.lost] == [(min(in_new), max(in_new))]
    assert sorted(tasks.damaged_pages) == sorted([old, new])


def test_a_row_that_was_taken_away_since_does_not_come_back_from_the_snapshot(damaged: Damaged, tmp_path: Path) -> None:
    connection = sqlite3.connect(damaged.path)
    connection.execute("DELETE FROM planning_tasks WHERE rowid = 500")
    connection.commit()
    connection.close()
    damaged.overwrite([min(damaged.filled.places["planning_tasks"][501])])
    damaged.salvage(damaged.filled.snapshot)
    got = rows_of(damaged.target)["planning_tasks"]
    assert 500 not in got
    assert 501 in got


def test_a_row_that_may_have_been_taken_away_since_is_listed_where_no_index_tells(damaged: Damaged) -> None:
    """All indexes of the tasks are lost, and a table without row numbers has none that could tell."""
    with contextlib.closing(sqlite3.connect(damaged.path)) as connection:
        (gone,) = connection.execute("DELETE FROM planning_tasks WHERE rowid = 500 RETURNING id").fetchone()
        connection.execute("DELETE FROM counter WHERE name = 'planning.keys'")
        connection.commit()
    pages = (
        "SELECT pageno FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = '{}' AND type = '{}')"
    )
    indexes = [page for (page,) in query(damaged.path, pages.format("planning_tasks", "index"))]
    counters = [page for (page,) in query(damaged.path, pages.format("counter", "table"))]
    rows = damaged.overwrite([min(damaged.filled.places["planning_tasks"][501]), *indexes, *counters])
    report = damaged.salvage(damaged.filled.snapshot)
    told = {table.name: table for table in report.tables}
    tasks, counter = told["planning_tasks"], told["counter"]
    lost = damaged.lost("planning_tasks", rows)
    assert 500 in rows_of(damaged.target)["planning_tasks"]
    assert tasks.from_snapshot == tasks.maybe_deleted == len(lost)
    assert gone in tasks.maybe_deleted_keys
    assert (counter.from_snapshot, counter.maybe_deleted) == (len(counter.maybe_deleted_keys),) * 2
    assert "planning.keys" in counter.maybe_deleted_keys
    assert all(table.maybe_deleted == 0 for name, table in told.items() if name not in {"planning_tasks", "counter"})


def test_another_row_that_had_the_rowid_before_does_not_come_back_in_its_place(
    damaged: Damaged, tmp_path: Path
) -> None:
    """The last one was taken away for good, and the next one got its rowid."""
    with contextlib.closing(sqlite3.connect(damaged.path)) as connection:
        (old,) = connection.execute("SELECT id FROM planning_tasks WHERE rowid = 500").fetchone()
        connection.execute("UPDATE planning_tasks SET id = 'another', key = 'T-0' WHERE rowid = 500")
        connection.commit()
    damaged.overwrite([min(damaged.filled.places["planning_tasks"][500])])
    report = damaged.salvage(damaged.filled.snapshot)
    got = rows_of(damaged.target)["planning_tasks"]
    assert 500 not in got
    assert 501 in got
    assert all(row[1] != old for row in got.values())
    tasks = next(table for table in report.tables if table.name == "planning_tasks")
    assert (tasks.missing, tasks.missing_ids) == (1, ["another"])


def test_what_stands_in_the_log_only_is_kept_up_to_the_last_commit(damaged: Damaged) -> None:
    writer = sqlite3.connect(damaged.path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE planning_tasks SET title = 'in the log' WHERE rowid < 300")
    kept = damaged.path.with_name("killed.db")
    shutil.copy(damaged.path, kept)
    log = damaged.path.with_name("damaged.db-wal").read_bytes()
    kept.with_name("killed.db-wal").write_bytes(log + b"\0" * 100)
    writer.close()
    damaged.path = kept
    damaged.salvage()
    titles = [row[0] for row in query(damaged.target, "SELECT title FROM planning_tasks WHERE rowid < 300")]
    assert set(titles) == {"in the log"}
    damaged.target.unlink()
    torn = bytearray(log)
    torn[len(log) // 2] ^= 0xFF
    kept.with_name("killed.db-wal").write_bytes(torn)
    damaged.salvage()
    assert rows_of(damaged.target) == damaged.filled.rows


@pytest.mark.parametrize("at", [0, 9])
def test_a_few_wrong_bytes_at_the_head_of_a_page_are_not_believed(damaged: Damaged, at: int) -> None:
    pages = {min(damaged.filled.places["planning_tasks"][rowid]) for rowid in (10, 700, 1100)}
    damaged.overwrite(pages, seed=at, part=slice(at, at + 3))
    report = damaged.salvage()
    got = rows_of(damaged.target)["planning_tasks"]
    assert got.items() <= damaged.filled.rows["planning_tasks"].items()
    assert len(got) >= TASKS - len(damaged.lost("planning_tasks", pages))
    assert report.damaged_pages <= len(pages)


def test_an_empty_page_where_a_row_goes_on_gives_no_text_of_zeros(damaged: Damaged) -> None:
    long = [places for places in damaged.filled.places["planning_tasks"].values() if len(places) > 1]
    assert len(long) > 3
    with Pages(damaged.path) as pages:
        last = {page for places in long for page in places if (content := pages.get(page)) and not any(content[:4])}
    with damaged.path.open("r+b") as file:
        for page in last:
            file.seek((page - 1) * PAGE)
            file.write(bytes(PAGE))
    report = damaged.salvage()
    hold(damaged, report, last)


def test_a_page_in_the_place_of_another_is_not_believed(damaged: Damaged) -> None:
    rows = damaged.filled.places["planning_tasks"]
    here, there = min(rows[300]), min(rows[1100])
    content = damaged.path.read_bytes()
    with damaged.path.open("r+b") as file:
        file.seek((here - 1) * PAGE)
        file.write(content[(there - 1) * PAGE : there * PAGE])
    report = damaged.salvage()
    hold(damaged, report, {here})


def test_numbers_go_on_and_the_program_works_with_what_was_saved(damaged: Damaged, tmp_path: Path) -> None:
    last = query(damaged.path, "SELECT seq FROM sqlite_sequence WHERE name = 'change'")[0][0]
    tail = min(damaged.filled.places["change"][max(damaged.filled.places["change"])])
    damaged.overwrite([tail])
    damaged.salvage()
    assert query(damaged.target, "SELECT seq FROM sqlite_sequence WHERE name = 'change'")[0][0] == last
    folder = tmp_path / "again"
    folder.mkdir()
    backup.restore(damaged.target, folder / "coder-local.db", folder / "replaced", "now")
    kernel = open_planning(folder)
    assert kernel.registry.plugins["planning"].loaded
    assert kernel.store.write(lambda tx: tx.number("planning.keys")) == TASKS + 1
    kernel.store.close()


def wipe_schema(path: Path) -> None:
    """Overwrite the first page and those that it leads to."""
    content = bytearray(path.read_bytes())
    with Pages(path) as whole:
        below = [number for number in range(3, whole.count + 1) if (o := whole.origin(number)) and o.parent == 1]
    assert below
    for number in (1, *below):
        content[(number - 1) * PAGE : number * PAGE] = random.Random(number).randbytes(PAGE)
    path.write_bytes(content)


def roots(path: Path) -> dict[str, int]:
    return dict(query(path, "SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))


def query(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found
