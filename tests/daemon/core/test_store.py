"""`store.*`: copies that are whole, and never one over something else."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from coder_local._admission.admission import Admission
from coder_local._store import backup

from .conftest import Core


async def test_a_backup_is_a_whole_database_with_everything_that_was_answered(notes: Core, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    made = [notes.call("notes.create", workspace="w", title=str(number)) for number in range(50)]
    await asyncio.gather(*made)
    written = await notes.call("store.backup", path=str(target))
    assert (written["path"], written["bytes"]) == (str(target), target.stat().st_size)
    assert backup.check(target) == []
    opened = sqlite3.connect(target)
    assert opened.execute("SELECT count(*) FROM notes").fetchone() == (50,)
    opened.close()


async def test_a_backup_does_not_hold_the_loop_or_the_writer_up(notes: Core, tmp_path: Path) -> None:
    await asyncio.gather(*(notes.call("notes.create", workspace="w", title="t", body="x" * 5000) for _ in range(500)))
    copying = asyncio.ensure_future(notes.call("store.backup", path=str(tmp_path / "copy.db")))
    await asyncio.sleep(0)
    written = 0
    while not copying.done():
        await notes.call("notes.create", workspace="w", title="meanwhile")
        written += 1
    assert written > 0
    assert backup.check(tmp_path / "copy.db") == []


async def test_a_path_that_cannot_be_is_refused_with_the_cure(disk: Core, tmp_path: Path) -> None:
    for path, word in (
        ("copy.db", "absolute"),
        (str(tmp_path / "none" / "copy.db"), "no folder"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / ("x" * 300)), "cannot be used"),
    ):
        error = await disk.refused("store.backup", path=path)
        assert (error.kind, error.field) == ("invalid", "/path"), path
        assert word in error.message
        assert error.hint


async def test_what_is_there_is_overwritten_only_when_asked_and_only_a_database(disk: Core, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    await disk.call("store.backup", path=str(target))
    error = await disk.refused("store.backup", path=str(target))
    assert (error.kind, error.field) == ("conflict", "/path")
    await disk.call("store.backup", path=str(target), overwrite=True)
    letter = tmp_path / "letter.txt"
    letter.write_text("dear reader")
    assert (await disk.refused("store.backup", path=str(letter), overwrite=True)).kind == "conflict"
    assert letter.read_text() == "dear reader"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "data", "letter.txt"]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_the_database_itself_is_never_the_target(disk: Core, data_dir: Path, suffix: str) -> None:
    path = data_dir / "plugins" / ".." / f"coder-local.db{suffix}"
    (data_dir / "plugins").mkdir()
    error = await disk.refused("store.backup", path=str(path), overwrite=True)
    assert (error.kind, error.field) == ("conflict", "/path")
    assert "itself" in error.message


async def test_the_newest_five_snapshots_are_kept_and_listed_newest_first(disk: Core) -> None:
    names = [(await disk.call("store.snapshot", name=f"number-{number}"))["name"] for number in range(7)]
    listed = (await disk.call("store.snapshots"))["items"]
    assert [each["name"] for each in listed] == names[:1:-1]
    assert all(backup.check(Path(each["path"])) == [] for each in listed)
    assert (await disk.refused("store.snapshot", name="../x")).kind == "invalid"


async def test_an_agent_makes_snapshots_but_writes_no_files_elsewhere(disk: Core, tmp_path: Path) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    agent = disk.as_agent()
    assert (await agent.call("store.snapshot"))["bytes"] > 0
    assert (await agent.refused("store.backup", path=str(tmp_path / "stolen.db"))).kind == "refused"
    assert not (tmp_path / "stolen.db").exists()


async def test_a_store_in_memory_has_no_copies(memory: Core, tmp_path: Path) -> None:
    assert (await memory.refused("store.backup", path=str(tmp_path / "copy.db"))).kind == "unsupported"
    assert (await memory.refused("store.snapshot")).kind == "locked"
    assert await memory.call("store.snapshots") == {"items": []}
