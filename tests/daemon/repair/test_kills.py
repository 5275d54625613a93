"""SIGKILL at every line of a repair that moves a database: the next start, or the next repair, has all of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coder_local._daemon.repair import salvaging
from coder_local._daemon.repair.offline import Held
from coder_local._registry.kernel import Kernel
from coder_local._store import backup
from coder_local._store.caller import Caller
from coder_local._store.exchange import complete, exchange
from coder_local.testing.daemon import environment

from .killed_at_work import mend, opened
from .test_offline import details

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX")]
DATABASE = "coder-local.db"
COUNTERS = 400


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data directory with a snapshot, a damaged database, and a log that has what was written last."""
    folder = tmp_path / "prepared"
    folder.mkdir(mode=0o700)
    kernel = Kernel(folder)
    kernel.open()
    kernel.store.write(lambda tx: [tx.number(f"counter.{number}") for number in range(COUNTERS)])
    kernel.store.writer.connection.execute("CREATE TABLE late (a TEXT)")
    kernel.store.snapshot("good")
    kernel.store.close()
    writer = sqlite3.connect(folder / DATABASE, isolation_level=None)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("INSERT INTO late VALUES ('in the log')")
    kept = {name: (folder / name).read_bytes() for name in (DATABASE, f"{DATABASE}-wal")}
    writer.close()
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    (folder / f"{DATABASE}-shm").unlink(missing_ok=True)
    with (folder / DATABASE).open("r+b") as file:
        file.write(os.urandom(4096))
    return folder


def kill(program: str, *arguments: object, work: Path) -> list[Path]:
    """Run a program that kills a repair wherever it has written, and return the data directories."""
    command = [sys.executable, "-m", f"tests.daemon.repair.{program}", *map(str, arguments), str(work)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return [work / str(number) for number in range(1, int(ran.stdout) + 1)]


def old_in(folder: Path) -> list[bytes]:
    """Return the bytes of each damaged database, with its log, wherever it lies."""
    places = [path for path in folder.rglob(DATABASE) if backup.check(path)]
    return [path.read_bytes() + path.with_name(f"{DATABASE}-wal").read_bytes() for path in places]


@pytest.mark.parametrize("repair", ["salvage", "restore"])
def test_wherever_it_is_killed_the_database_is_the_old_one_or_the_new_one(
    prepared: Path, tmp_path: Path, repair: str
) -> None:
    folders = kill("killed", repair, prepared, work=tmp_path / repair)
    before = old_in(prepared)
    gaps = 0
    for folder in folders:
        gap = not (folder / DATABASE).exists()
        gaps += gap
        if gap:
            start(Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-start"))))
        begun = (folder / f".{DATABASE}.replacing").exists()
        with Held(folder) as held:
            found = [each.finding for each in held.look()]
        assert not (folder / f".{DATABASE}.replacing").exists()
        assert old_in(folder) == before, "the damaged one with its log is kept, together, and once"
        states = {each.state for each in found if each.check == "database"}
        replaced = states == {"ok"}
        assert replaced or not (begun or gap), folder
        if begun and replaced:
            assert "being replaced when a kill came" in details(folder)[-1]
        if replaced and repair == "salvage":
            assert list((folder / "quarantine").glob("*/salvage-report.json"))
            with closing(sqlite3.connect(folder / DATABASE)) as opened:
                assert opened.execute("SELECT a FROM late").fetchall() == [("in the log",)]
    assert gaps > 1, "some were killed while there was no database in place"
    assert replaced, "the last one came to its end"


def start(folder: Path) -> None:
    """Assert that a start takes nothing for lost, and completes the repair."""
    kernel = Kernel(folder)
    kernel.open()
    assert (kernel.store.loss, kernel.store.set_aside) == (None, None)
    counters = kernel.store.writer.connection.execute("SELECT count(*) FROM counter").fetchone()
    assert counters == (COUNTERS,)
    kernel.store.close()


def test_a_start_that_was_killed_while_it_set_a_damaged_one_aside_says_where_it_is(prepared: Path) -> None:
    before = old_in(prepared)
    aside = prepared / "quarantine" / "then"
    aside.mkdir(parents=True)
    (prepared / f".{DATABASE}.replacing").write_text("\nquarantine/then")
    (prepared / DATABASE).rename(aside / DATABASE)  # and there the kill came
    kernel = Kernel(prepared)
    kernel.open()
    assert (kernel.store.loss, kernel.store.set_aside) == (None, aside)
    kernel.store.close()
    assert old_in(prepared) == before
    with Held(prepared):
        found = salvaging.put_in_place(prepared, salvaging.to_salvage(prepared))
    assert next(table for table in found.report.tables if table.name == "late").read == 1


def test_what_an_older_program_began_in_the_gap_is_left_in_place(prepared: Path) -> None:
    aside = prepared / "quarantine" / "then"
    aside.mkdir(parents=True)
    (prepared / DATABASE).rename(aside / DATABASE)
    (prepared / f".{DATABASE}.replacing").write_text(f".{DATABASE}.restore\nquarantine/then")
    (prepared / f".{DATABASE}.restore").write_bytes(b"what was salvaged")
    (prepared / DATABASE).write_bytes(b"begun anew")
    assert complete(prepared / DATABASE) == aside
    assert (prepared / DATABASE).read_bytes() == b"begun anew"
    assert complete(prepared / DATABASE) is None
    with pytest.raises(FileExistsError):
        exchange(prepared / DATABASE, aside)


def test_cures_of_tables_and_references_are_each_whole_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Two columns and two indexes are made together, and 200 references go empty together."""
    folder = tmp_path / "books"
    folder.mkdir(mode=0o700)
    kernel = opened(folder)
    connection = kernel.store.writer.connection
    for table in kernel.registry.tables.all():
        for statement in table.ddl():
            connection.execute(statement)
    book: Any = kernel.registry.tables.named_record("books")
    by = Caller(actor="person", operation="books.create")
    kernel.store.write(lambda tx: [tx.insert(book(title=f"{n}", shelf="gone")) for n in range(250)], by)
    connection.execute("DROP INDEX books_by_title")
    for column in ("note", "isbn"):
        connection.execute(f"ALTER TABLE books DROP COLUMN {column}")
    kernel.store.close()
    seen: set[tuple[bool, int]] = set()
    for killed in kill("killed_at_work", folder, work=tmp_path / "work"):
        kernel = opened(killed)
        read = kernel.store.writer.connection.execute
        made = {row[1] for row in read("PRAGMA table_info(books)")} & {"note", "isbn"}
        assert len(made) in {0, 2}
        (left,) = read("SELECT count(*) FROM books WHERE shelf = 'gone'").fetchone()
        (changed,) = read("SELECT count(*) FROM change WHERE operation = 'daemon.repair'").fetchone()
        assert changed == 250 - left
        seen.add((bool(made), left))
        mend(kernel)
        assert read("SELECT count(*) FROM books WHERE shelf IS NULL").fetchone() == (250,)
        assert read("SELECT count(*) FROM change WHERE operation = 'daemon.repair'").fetchone() == (250,)
        assert read("SELECT 1 FROM sqlite_master WHERE name = 'books_by_title'").fetchone()
        kernel.store.close()
    assert {left for _, left in seen} == {250, 50, 0}
    assert {made for made, _ in seen} == {False, True}
