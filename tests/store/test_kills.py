"""SIGKILL at every step of a start that migrates: it is done or taken back, never twice, and nothing is left over."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from coder_local._registry.plugins import Status
from coder_local._store import airlock, backup, migrations
from coder_local.testing.daemon import environment

from .killed import start
from .test_migrations import open_kernel, write_plugin

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX")]

COLUMNS = "'w', '', '', 1, NULL, '{}', '{}', 'x'"
ROW = f"INSERT INTO things VALUES ('one', {COLUMNS});"
AGAIN = """-- Why: two statements that show when they ran twice, and one between them.
UPDATE things SET title = title || '!';
ALTER TABLE things ADD COLUMN color TEXT;
CREATE TABLE extra (a TEXT);
UPDATE things SET title = title || '?';
"""
CORE = "-- Why: as above.\nUPDATE counter SET value = value + 1;\nCREATE TABLE more (a TEXT);\n"


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data directory whose plugin and whose core have a migration to come."""
    data_dir = tmp_path / "data"
    write_plugin(data_dir, {"0001_things.sql": "{table}\n" + ROW})
    kernel, _ = open_kernel(data_dir)
    kernel.store.write(lambda tx: tx.number("counted"))
    kernel.store.close()
    write_plugin(data_dir, {"0002_again.sql": AGAIN})
    return data_dir


def state(connection: sqlite3.Connection) -> tuple[str, int, set[str], int]:
    """What the migrations make: of each kind either what was before, or all of it."""
    title = connection.execute("SELECT title FROM things").fetchone()[0]
    value = connection.execute("SELECT value FROM counter WHERE name = 'counted'").fetchone()[0]
    made = connection.execute("SELECT name FROM sqlite_master WHERE name IN ('extra', 'more')")
    columns = len(connection.execute("PRAGMA table_info(things)").fetchall())
    return title, value, {name for (name,) in made}, columns


def parts(data_dir: Path) -> list[str]:
    return [path.name for path in data_dir.rglob("*.part*")]


def test_a_kill_at_any_step_leaves_all_or_nothing_and_the_next_start_completes_it(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = tmp_path / "0099_more.sql"
    core.write_text(CORE)
    work = tmp_path / "work"
    command = [sys.executable, "-m", "tests.store.killed", str(prepared), str(work), str(core)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    count = int(ran.stdout)
    monkeypatch.setattr(airlock, "CORE", airlock.CORE)
    seen: set[tuple[str, int]] = set()
    unfinished = 0
    for number in range(1, count + 1):
        data_dir = work / str(number)
        with closing(sqlite3.connect(data_dir / "coder-local.db")) as connection:
            title, value, made, columns = state(connection)
        assert (title, "extra" in made, columns) in {("x", False, 9), ("x!?", True, 10)}
        assert (value, "more" in made) in {(1, False), (2, True)}
        seen.add((title, value))
        unfinished += bool(parts(data_dir))
        kernel, plugin = start(data_dir, core)
        connection = kernel.store.writer.connection
        assert plugin.status is Status.LOADED, (number, plugin.reason)
        assert state(connection) == ("x!?", 2, {"extra", "more"}, 10)
        done = migrations.applied(connection)
        assert done["things"] == ["0001_things", "0002_again"]
        assert done["core"] == airlock.CORE.names
        assert not parts(data_dir)
        assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        kernel.store.close()
    assert seen == {("x", 1), ("x", 2), ("x!?", 2)}, "before both, between them, and after both"
    assert unfinished, "some were killed in the middle of a copy"
    assert backup.check(backup.snapshots(work / "1" / "snapshots")[0]) == []
