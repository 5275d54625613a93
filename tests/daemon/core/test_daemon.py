"""`daemon.*`: how the process is, what is wrong with its data, and stopping it."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_local import __version__
from coder_local._admission.admission import Admission
from coder_local._registry.host import Host
from coder_local._store import consumers
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import Domain, Record

from .conftest import Core, running


class Process:
    """What a daemon tells of itself."""

    incarnation = "one"
    started_at = time.time() - 5
    socket = "/run/daemon.sock"
    http: str | None = None
    state = "ready"
    again: list[str] = []
    followed_by: str | None = None

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def about(self) -> dict[str, Any]:
        return {"incarnation": self.incarnation, "pid": os.getpid(), "data_dir": str(self.data_dir), "http": self.http}

    def stop(self) -> None:
        self.state = "stopping"

    def hand_over(self, version: str) -> None:
        self.followed_by = version


@pytest.fixture
def host(disk: Core, data_dir: Path) -> Process:
    disk.kernel.host = made = Process(data_dir)
    return made


@pytest.fixture
def level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


async def findings(core: Core, check: str) -> list[tuple[str, str]]:
    report = await core.call("daemon.doctor")
    assert report["healthy"] == all(each["state"] != "error" for each in report["items"])
    return [(each["state"], each["message"]) for each in report["items"] if each["check"] == check]


async def test_status_tells_of_process_and_load(disk: Core, host: Host, data_dir: Path) -> None:
    disk.kernel.clients.came()
    subscription = disk.kernel.feed.subscribe(None, [], [], lambda _: True, lambda _: None)
    status = await disk.call("daemon.status")
    subscription.close()
    assert (status["version"], status["pid"], status["state"]) == (__version__, os.getpid(), "ready")
    assert (status["incarnation"], status["data_dir"], status["http"]) == ("one", str(data_dir), None)
    assert 5 <= status["uptime_seconds"] < 600
    assert (status["clients"], status["subscribers"], status["damage"]) == (1, 1, None)
    assert status["event_head"] == (await disk.call("events.list"))["head"]
    assert status["memory_bytes"] > 10_000_000
    assert status["sqlite_version"] == sqlite3.sqlite_version
    assert status["plugins_loaded"] == len((await disk.call("plugins.list"))["items"])


async def test_status_of_operations_without_a_daemon(memory: Core) -> None:
    status = await memory.call("daemon.status")
    assert (status["state"], status["incarnation"], status["data_dir"]) == ("embedded", None, None)
    assert (await memory.refused("daemon.stop")).kind == "unsupported"


async def test_stop_asks_for_no_confirmation_of_the_person_and_is_refused_to_agents(disk: Core, host: Host) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    assert (await disk.as_agent().refused("daemon.stop")).kind == "refused"
    assert host.state == "ready"
    assert await disk.call("daemon.stop") == {"pid": os.getpid()}
    assert host.state == "stopping"


async def test_a_handover_is_for_the_daemon_that_is_meant_and_refused_to_agents(disk: Core, host: Process) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    meant = {"incarnation": host.incarnation, "version": "9.9"}
    assert (await disk.as_agent().refused("daemon.handover", **meant)).kind == "refused"
    refused = await disk.refused("daemon.handover", incarnation="another", version="9.9")
    assert (refused.kind, refused.field) == ("conflict", "/incarnation")
    assert host.followed_by is None
    told = await disk.call("daemon.handover", **meant)
    assert told == {"pid": os.getpid(), "incarnation": host.incarnation, "version": __version__}
    assert host.followed_by == "9.9"


async def test_a_database_set_aside_is_noticed_with_the_snapshot_to_put_in_its_place(
    data_dir: Path, put_notes: Callable[[], Path]
) -> None:
    put_notes()
    async with running(data_dir) as core:
        await core.call("plugins.enable", name="notes")
        await core.call("notes.create", workspace="w", title="kept")
        snapshot = await core.call("store.snapshot")
    (data_dir / "coder-local.db").write_bytes(b"this was a database once" * 1000)
    async with running(data_dir) as core:
        damage = (await core.call("daemon.status"))["damage"]
        assert damage["snapshot"] == snapshot["path"]
        assert Path(damage["set_aside"]).parent == data_dir / "quarantine"
        assert (await findings(core, "quarantine"))[0][0] == "warning"


async def test_the_doctor_tells_of_a_migration_that_was_edited_after_it_was_applied(notes: Core) -> None:
    folder = notes.kernel.registry.plugins["notes"].folder
    assert folder is not None
    file = folder / "migrations" / "0001_notes.sql"
    was = file.read_bytes()
    file.write_bytes(was.replace(b"\n", b"\r\n"))
    assert await findings(notes, "migrations") == [("ok", "nothing is wrong")]
    file.write_bytes(was + b"CREATE TABLE more (a TEXT);")
    assert await findings(notes, "migrations") == [
        ("warning", "0001_notes.sql of notes was changed after it was applied; the data is as it said before")
    ]


async def test_the_doctor_finds_nothing_wrong_with_what_is_whole(notes: Core) -> None:
    await notes.call("notes.create", workspace="w", title="a")
    report = await notes.call("daemon.doctor")
    assert report["healthy"] is True
    found = {each["check"]: each["state"] for each in report["items"]}
    assert found.pop("keyring") in {"ok", "warning"}  # as the machine has one or not
    assert found == dict.fromkeys(
        [
            "plugins",
            "settings",
            "budgets",
            "database",
            "tables",
            "migrations",
            "references",
            "clock",
            "listeners",
            "audit",
            "permissions",
            "leftovers",
            "mount",
            "snapshots",
            "quarantine",
            "disk",
        ],
        "ok",
    )


async def test_the_doctor_names_events_that_were_parked_until_they_are_old(notes: Core) -> None:
    now = notes.kernel.store.clock.now_ms()

    def park(scope: WriteScope) -> None:
        consumers.park(scope, "notes.index", 7, "Conflict: no", 5)
        sql = "INSERT INTO event_dead VALUES ('notes.index', 3, 'Conflict: old', 5, ?)"
        scope.connection.execute(sql, (now - consumers.KEEP_DEAD_MS - 1,))

    for work in (park, consumers.forget_dead):
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        notes.kernel.store.submit(work, Caller(), lambda _, error, done=done: done.set_result(error))  # type: ignore[misc]
        assert await done is None
    message = "notes.index could not take 1 events, the last of them number 7: Conflict: no"
    assert await findings(notes, "listeners") == [("warning", message)]


async def test_the_doctor_finds_a_damaged_page(notes: Core, data_dir: Path) -> None:
    for number in range(200):
        await notes.call("notes.create", workspace="w", title=str(number), body="x" * 300)
    connection = notes.kernel.store.writer.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'notes'").fetchone()[0]
    with (data_dir / "coder-local.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xde\xad" * 2048)
    found = await findings(notes, "database")
    assert found[0][0] == "error"


class Thing(Record):
    """A record whose table lacks a column."""

    size: int = 0


async def test_the_doctor_finds_a_table_that_is_not_as_its_record_says(disk: Core) -> None:
    domain = Domain("things")
    domain.table("things")(Thing)
    disk.kernel.take(domain)
    assert [state for state, message in await findings(disk, "tables") if "there is no table things" in message] == [
        "error"
    ]


class Shelf(Record):
    """A shelf, in a room of another plugin or beside another shelf."""

    beside: str | None = None
    holder: str = ""
    holder_type: str = "shelves.shelf"


async def test_the_doctor_finds_references_to_what_is_not_there(disk: Core) -> None:
    domain = Domain("shelves")
    domain.table("shelves")(Shelf)
    domain.standard(Shelf, filters=("beside", "holder"), references={"beside": Shelf, "holder": (Shelf,)})
    disk.kernel.take(domain)
    for statement in disk.kernel.registry.tables.of(Shelf).ddl():
        disk.kernel.store.writer.connection.execute(statement)
    one = await disk.call("shelves.create")
    await disk.call("shelves.create", beside=one["id"], holder=one["id"])
    await disk.call("shelves.create", holder="elsewhere", holder_type="rooms.room")
    await disk.call("shelves.delete", id=one["id"])
    assert await findings(disk, "references") == [("ok", "nothing is wrong")]
    bad = await disk.call("shelves.create", beside="gone", holder="gone")
    assert await findings(disk, "references") == [
        ("warning", f"{field} of 1 shelves.shelf names a shelves.shelf that is not there, first in {bad['id']}")
        for field in ("beside", "holder")
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
async def test_the_doctor_finds_what_others_may_enter(disk: Core, data_dir: Path) -> None:
    (data_dir / "settings.toml").write_text("")
    (data_dir / "settings.toml").chmod(0o666)
    assert [state for state, _ in await findings(disk, "permissions")] == ["warning"]
    data_dir.chmod(0o755)
    assert [state for state, _ in await findings(disk, "permissions")] == ["error", "error"]


async def test_the_doctor_finds_a_plugin_that_stopped_and_a_snapshot_that_is_old_or_not_whole(
    disk: Core, data_dir: Path
) -> None:
    folder = data_dir / "plugins" / "bad"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ValueError('no')")
    await disk.call("plugins.enable", name="bad")
    place = f"({folder / '__init__.py'}:1)"
    assert await findings(disk, "plugins") == [("error", f"bad is stopped_by_import_error: ValueError: no {place}")]
    old = Path((await disk.call("store.snapshot"))["path"])
    os.utime(old, (0, 0))
    (data_dir / "snapshots" / "broken.db").write_bytes(b"no database")
    os.utime(data_dir / "snapshots" / "broken.db", (0, 0))
    messages = [message for _, message in await findings(disk, "snapshots")]
    assert any("broken.db is not whole" in each for each in messages)
    assert any("days old" in each for each in messages)


async def test_the_log_takes_another_level_at_once_or_by_the_setting(disk: Core, level: None) -> None:
    logging.getLogger().setLevel("INFO")
    assert await disk.call("daemon.log_level") == {"level": "info", "previous": "info"}
    assert await disk.call("daemon.log_level", level="debug") == {"level": "debug", "previous": "info"}
    assert logging.getLogger().level == logging.DEBUG
    await disk.call("settings.set", plugin="daemon", name="log_level", value="warning")
    assert logging.getLogger().level == logging.WARNING
    assert (await disk.refused("daemon.log_level", level="loud")).kind == "invalid"
