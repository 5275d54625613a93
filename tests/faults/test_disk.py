"""A disk that is full or cannot be written, a damaged page: a clear error, the daemon stays, nothing is lost."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_ipc import RemoteError
from coder_ipc.client import Client

from .conftest import enable, put_notes
from .process import Process

pytestmark = pytest.mark.alone


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a tmpfs can be mounted on Linux, by root, only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def start_on(folder: Path) -> Process:
    process = Process(folder / "data")
    process.data_dir.mkdir()
    process.log = folder.parent / "daemon.log"
    put_notes(process.data_dir)
    process.start()
    enable(process, "notes")
    return process


def create(client: Client, title: str, size: int = 20_000) -> str:
    note = client.call("notes.create", {"workspace": "w", "title": title, "body": "x" * size})
    return str(note["id"])


def test_a_full_disk_is_said_and_what_was_answered_stays(small_disk: Path) -> None:
    process = start_on(small_disk)
    written: list[str] = []
    with process.client() as client:
        with pytest.raises(RemoteError) as caught:
            for number in range(2000):
                written.append(create(client, str(number)))
        assert caught.value.kind == "locked"
        assert "disk is full" in caught.value.message
        assert len(written) > 20
        # The daemon stays, reads go on, and the next write is told the same.
        assert client.call("notes.get", {"id": written[-1]})["id"] == written[-1]
        with pytest.raises(RemoteError, match="disk is full"):
            create(client, "again", 90_000)
    process.kill()
    (small_disk / "data" / "logs").mkdir(exist_ok=True)
    database = sqlite3.connect(f"file:{small_disk}/data/coder-local.db?mode=ro", uri=True)
    assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    kept = {row[0] for row in database.execute("SELECT id FROM notes")}
    database.close()
    assert set(written) <= kept


def test_after_room_is_made_it_writes_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    process = start_on(small_disk)
    with process.client() as client:
        free = shutil.disk_usage(small_disk).free
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            file.write(b"\0" * (free - 4096))  # the daemon may have taken some of it meanwhile
        with pytest.raises(RemoteError, match="disk is full"):
            for number in range(50):
                create(client, str(number), 50_000)
        ballast.unlink()
        assert create(client, "room again")
    process.kill()


def test_a_directory_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    folder = tmp_path / "file-in-the-way"
    folder.write_text("not a folder")
    process = Process(folder)
    with pytest.raises(AssertionError, match="exit code 73"):
        process.start()
    assert "cannot be used" in process.log.read_text()


def test_a_disk_that_becomes_read_only_is_said(small_disk: Path) -> None:
    process = start_on(small_disk)
    with process.client() as client:
        kept = create(client, "before")
    process.terminate()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(AssertionError, match="exit code 73"):
        process.start()
    assert "mounted read-only" in process.log.read_text()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    process.start()
    assert process.call("notes.get", id=kept)["title"] == "before"
    process.kill()


def test_a_damaged_page_answers_broken_and_the_next_start_offers_the_snapshot(daemon: Process) -> None:
    for number in range(200):
        daemon.call("notes.create", workspace="w", title=str(number), body="x" * 300)
    daemon.confirmed("store.snapshot")
    assert daemon.terminate() == 0
    damage(daemon.data_dir / "coder-local.db", "notes")
    daemon.start()
    with pytest.raises(RemoteError) as caught:
        daemon.call("notes.list", sort="title", limit=200)
    assert caught.value.kind == "broken"
    assert "damaged" in caught.value.message
    assert daemon.call("daemon.status")["pid"] == daemon.pid
    daemon.terminate()
    daemon.start()
    status = daemon.call("daemon.status")
    assert "quarantine" in str(status)
    assert list((daemon.data_dir / "quarantine").iterdir())
    assert any((daemon.data_dir / "snapshots").glob("*.db"))


@pytest.mark.parametrize("table", ["event", "sqlite_sequence", "setting", "plugin_grant", "_sqlite_migrations"])
def test_damage_that_a_start_meets_does_not_keep_the_daemon_from_starting(tmp_path: Path, table: str) -> None:
    process = Process(tmp_path / "data")
    process.start()
    process.confirmed("store.snapshot")
    assert process.terminate() == 0
    damage(process.data_dir / "coder-local.db", table)
    process.start()
    try:
        found = process.call("daemon.status")["damage"]
        assert "quarantine" in found["set_aside"]
        assert found["snapshot"]
        assert (Path(found["set_aside"]) / "coder-local.db").exists()
        assert not (process.data_dir / "damaged").exists()
        assert process.call("settings.get", plugin="daemon")
    finally:
        process.kill()


@pytest.mark.parametrize("gone", ["emptied", "missing"])
def test_a_database_that_is_gone_is_said_and_the_snapshot_offered(tmp_path: Path, gone: str) -> None:
    process = Process(tmp_path / "data")
    process.start()
    assert process.call("daemon.status")["damage"] is None
    process.confirmed("store.snapshot")
    assert process.terminate() == 0
    database = process.data_dir / "coder-local.db"
    if gone == "emptied":
        database.write_bytes(b"")
    else:
        database.unlink()
    process.start()
    try:
        found = process.call("daemon.status")["damage"]
        assert ("0 bytes" if gone == "emptied" else "missing") in found["message"]
        assert found["snapshot"]
        process.wait_for_log(found["message"])
    finally:
        process.kill()


def test_data_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    process.start()
    assert process.terminate() == 0
    database = process.data_dir / "coder-local.db"
    opened = sqlite3.connect(database)
    opened.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('core', '0009_major_events', 'x')"
    )
    opened.commit()
    before = list(opened.iterdump())
    opened.close()
    with pytest.raises(AssertionError, match="exit code 65"):
        process.start()
    said = process.log.read_text()
    assert "newer version (0009_major_events)" in said
    assert "hint: install the newer version" in said
    opened = sqlite3.connect(database)
    assert list(opened.iterdump()) == before
    opened.close()
    assert not (process.data_dir / "runtime.json").exists()


def damage(database: Path, table: str) -> None:
    """Overwrite the root page of a table."""
    opened = sqlite3.connect(database)
    root = opened.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    size = opened.execute("PRAGMA page_size").fetchone()[0]
    opened.close()
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad" * (size // 2))
