"""A data directory without a daemon: what was left is cleared away, and a damaged database salvaged in place."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from pathlib import Path

import msgspec
import pytest

from coder_ipc import runtime
from coder_ipc.errors import IpcError
from coder_local._daemon import runtimefile
from coder_local._daemon.lock import Lock
from coder_local._daemon.repair import salvaging
from coder_local._daemon.repair.offline import Held
from coder_local._registry.kernel import Kernel
from coder_local._store import audit, backup
from coder_local._store.salvage import SalvageReport
from coder_local.api import Invalid, Locked

DEAD = 2**22 - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with a database in which something stands."""
    folder = tmp_path / "d"
    folder.mkdir(mode=0o700)
    kernel = Kernel(folder)
    kernel.open()
    kernel.store.write(lambda tx: [tx.number(f"counter.{number}") for number in range(400)])
    kernel.store.close()
    return folder


def fixable(folder: Path) -> dict[str, str]:
    with Held(folder) as held:
        return {each.finding.check: each.finding.fix for each in held.look() if each.finding.fix}


def details(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "coder-local.db")
    found = [row[0] for row in connection.execute("SELECT detail FROM audit ORDER BY seq")]
    assert list(audit.faults(connection)) == []
    connection.close()
    return found


def test_a_directory_that_a_daemon_holds_is_not_touched(folder: Path) -> None:
    lock = Lock(folder)
    assert lock.take()
    with pytest.raises(Locked), Held(folder):
        pass
    lock.release()
    assert fixable(folder) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no sockets as files")
def test_socket_and_address_of_a_dead_daemon_go_and_those_of_a_living_stay(folder: Path) -> None:
    path = Path(runtime.socket_path(folder))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    found = runtime.Runtime(1, "1", "a", DEAD, 1.0, str(path), None, "token", str(folder))
    runtimefile.write(folder, found)
    assert fixable(folder) == {"daemon": "delete what is left"}
    with Held(folder) as held:
        (done,) = held.repair(["daemon"])
    assert done.done
    assert not path.exists()
    assert not (folder / runtime.RUNTIME_FILE).exists()
    assert "token" not in str(details(folder))
    assert details(folder)[0].startswith("daemon: not running; ")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        assert fixable(folder) == {}


def test_a_log_that_no_start_took_over_is_written_into_the_database(folder: Path) -> None:
    writer = sqlite3.connect(folder / "coder-local.db", isolation_level=None)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE counter SET value = 77")
    log = (folder / "coder-local.db-wal").read_bytes()
    content = (folder / "coder-local.db").read_bytes()
    writer.close()
    (folder / "coder-local.db").write_bytes(content)
    (folder / "coder-local.db-wal").write_bytes(log)
    assert "log" in fixable(folder)
    with Held(folder) as held:
        assert [each.said for each in held.repair(["log"])] == ["it was written into the database"]
    assert fixable(folder) == {}
    reader = sqlite3.connect(folder / "coder-local.db")
    assert reader.execute("SELECT min(value) FROM counter").fetchone() == (77,)
    reader.close()


def damage(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096 * 2 :] = b"".join(os.urandom(4096) for _ in range(len(content) // 4096 - 2))
    database.write_bytes(content)


def test_a_damaged_database_is_replaced_by_what_can_be_read_and_a_whole_snapshot(folder: Path) -> None:
    kernel = Kernel(folder)
    kernel.open()
    epoch = kernel.store.epoch
    kernel.store.snapshot("good")
    kernel.store.close()
    damage(folder / "coder-local.db")
    assert "database" in fixable(folder)
    with Held(folder) as held:
        assert held.repair(["database"]) == []  # that is for a salvage
        found = salvaging.put_in_place(folder, salvaging.to_salvage(folder))
    assert backup.check(folder / "coder-local.db") == []
    kernel = Kernel(folder)
    kernel.open()
    counters = kernel.store.writer.connection.execute("SELECT count(*) FROM counter").fetchone()
    assert counters == (400,)
    assert kernel.store.epoch != epoch
    kernel.store.close()
    assert found.set_aside is not None
    assert found.path.parent == found.set_aside
    assert found.set_aside.parent == folder / "quarantine"
    report = msgspec.json.decode(found.path.read_bytes(), type=SalvageReport)
    counter = next(table for table in report.tables if table.name == "counter")
    assert (counter.read, counter.from_snapshot) == (0, 400)
    assert not list(folder.glob(".salvage-*"))


def test_one_that_was_set_aside_is_meant_when_the_one_in_use_is_whole(folder: Path) -> None:
    with pytest.raises(Invalid, match="no damaged database"):
        salvaging.to_salvage(folder)
    for name in ("2026-01-01T000000.000Z", "2026-02-01T000000.000Z"):
        aside = folder / "quarantine" / name
        aside.mkdir(parents=True)
        (aside / "coder-local.db").write_bytes((folder / "coder-local.db").read_bytes())
    newest = folder / "quarantine" / "2026-02-01T000000.000Z"
    assert salvaging.to_salvage(folder) == newest / "coder-local.db"
    assert salvaging.to_salvage(folder, newest.with_name("2026-01-01T000000.000Z")).parent != newest
    with Held(folder):
        found = salvaging.put_in_place(folder, salvaging.to_salvage(folder))
    assert found.set_aside is not None
    assert found.set_aside.parent == folder / "replaced"
    assert json.loads((newest / "salvage-report.json").read_bytes())["damaged_pages"] == 0
    assert (newest / "coder-local.db").exists()


def test_where_nothing_can_be_read_all_stays_as_it_is(folder: Path) -> None:
    (folder / "coder-local.db").write_bytes(os.urandom(50_000))
    before = (folder / "coder-local.db").read_bytes()
    with Held(folder), pytest.raises(Invalid, match="nothing can be"):
        salvaging.put_in_place(folder, folder / "coder-local.db")
    assert (folder / "coder-local.db").read_bytes() == before
    assert not (folder / "quarantine").exists()


def test_a_damaged_database_is_not_written_to_by_other_cures(folder: Path) -> None:
    """What its list of free pages says is not true any more: a line of audit could take the place of a whole row."""
    database = folder / "coder-local.db"
    damage(database)
    log = folder / "coder-local.db-wal"
    log.write_bytes(b"x" * 100)
    folder.chmod(0o755)
    before = database.read_bytes()
    assert "log" not in fixable(folder)
    with Held(folder) as held:
        done = held.repair(["permissions", "log"])
    assert [(each.check, each.done) for each in done] == ([("permissions", True)] if os.name == "posix" else [])
    assert (database.read_bytes(), log.read_bytes()) == (before, b"x" * 100)


def test_without_room_for_what_was_read_the_damaged_database_stays_in_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = folder / "coder-local.db"
    with database.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(os.urandom(4096))
    before = database.read_bytes()

    def full(*_: object) -> None:
        raise Locked("the copy could not be written", hint="free some space")

    monkeypatch.setattr(backup, "copy", full)
    with Held(folder), pytest.raises(Locked, match="could not be written"):
        salvaging.put_in_place(folder, database)
    assert database.read_bytes() == before
    assert not (folder / "quarantine").exists()


def test_the_one_in_use_is_known_by_any_path_and_kept_as_it_was(folder: Path) -> None:
    database = folder / "coder-local.db"
    with database.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(os.urandom(4096))
    before = database.read_bytes()
    with Held(folder):
        found = salvaging.put_in_place(folder, folder / ".." / folder.name / database.name)
    assert found.set_aside is not None
    assert found.set_aside.parent == folder / "quarantine"
    assert (found.set_aside / database.name).read_bytes() == before


def test_a_report_that_cannot_lie_beside_the_damaged_file_is_kept_in_quarantine(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "old.db").write_bytes((folder / "coder-local.db").read_bytes())
    (elsewhere / "salvage-report.json").mkdir()  # nothing can be written there, not even by root
    with Held(folder):
        found = salvaging.put_in_place(folder, elsewhere / "old.db")
    assert found.path.parent.parent == folder / "quarantine"
    assert msgspec.json.decode(found.path.read_bytes(), type=SalvageReport).source == str(elsewhere / "old.db")


def test_an_address_that_may_not_be_read_is_a_finding_with_its_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise IpcError("runtime.json cannot be read", hint="run as the user who owns it")

    monkeypatch.setattr(runtime, "read", refuse)
    with Held(folder) as held:
        found = {each.finding.check: each.finding for each in held.look()}
    assert (found["daemon"].state, found["daemon"].hint) == ("error", "run as the user who owns it")
    assert found["database"].state == "ok"


def test_a_snapshot_that_a_kill_left_halfway_to_quarantine_goes_there_the_next_time(folder: Path) -> None:
    """Before the file itself is moved, its folder is there, and a log that somebody left beside it."""
    kernel = Kernel(folder)
    kernel.open()
    bad = kernel.store.snapshot("bad")
    kernel.store.close()
    bad.write_bytes(b"no database")
    aside = folder / "quarantine" / bad.stem
    aside.mkdir(parents=True)
    (aside / f"{bad.name}-wal").write_bytes(b"")
    with Held(folder) as held:
        (done,) = held.repair(["snapshots"])
    assert (done.done, done.said) == (True, f"it lies in {aside} now")
    assert (aside / bad.name).read_bytes() == b"no database"
