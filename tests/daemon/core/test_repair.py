"""`daemon.repair`: what the doctor finds is mended, noted in the audit, and looked at again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_local._admission.admission import Admission
from coder_local._daemon.core import doctor
from coder_local._daemon.repair import files
from coder_local._daemon.repair.finding import Finding
from coder_local._daemon.repair.references import declared
from coder_local._store.caller import Caller
from coder_local.api import Broken, Domain, HealthCheck, Id, Record, Snapshot, Symptom

from .conftest import Core, running

DAY = 24 * 3600


def shelf() -> Domain:
    """A domain whose books may stand on a shelf."""
    domain = Domain("books")

    @domain.table("shelves")
    class Shelf(Record):
        title: str

    @domain.table("books", indexes=(("title",),))
    class Book(Record):
        title: str
        shelf: Id | None = None
        note: str | None = None
        isbn: str | None = None

    domain.standard(Shelf)
    domain.standard(Book, filters=("shelf",), references={"shelf": Shelf})
    return domain


@pytest.fixture
async def books(disk: Core) -> Core:
    disk.kernel.take(shelf())
    for table in disk.kernel.registry.tables.all():
        for statement in table.ddl():
            disk.kernel.store.writer.connection.execute(statement)
    return disk


async def fixes(core: Core, check: str) -> list[str]:
    report = await core.call("daemon.doctor")
    return [each["fix"] for each in report["items"] if each["check"] == check and each["state"] != "ok"]


async def repaired(core: Core, *checks: str) -> list[dict[str, Any]]:
    answer = await core.call("daemon.repair", checks=list(checks))
    found: list[dict[str, Any]] = answer["items"]
    return found


async def test_only_the_person_repairs_and_is_asked_first(disk: Core) -> None:
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    assert (await disk.as_agent().refused("daemon.repair")).kind == "refused"
    assert (await disk.refused("daemon.repair")).kind == "needs_confirmation"


@pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing there")
async def test_permissions_are_closed_and_each_cure_is_in_the_audit(disk: Core, data_dir: Path) -> None:
    (data_dir / "settings.toml").write_text("")
    (data_dir / "settings.toml").chmod(0o666)
    plugin = data_dir / "plugins" / "other" / "plugin.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("")
    plugin.chmod(0o664)
    data_dir.chmod(0o755)
    assert len(await fixes(disk, "permissions")) == 3
    done = await repaired(disk, "permissions")
    assert [each["done"] for each in done] == [True] * 3
    assert [path.stat().st_mode & 0o777 for path in (data_dir, data_dir / "settings.toml", plugin)] == [
        0o700,
        0o600,
        0o644,
    ]
    assert await fixes(disk, "permissions") == []
    lines = (await disk.call("audit.list", operation="daemon.repair"))["items"]
    cures = [line["detail"] for line in lines if line["detail"]]
    assert len(cures) == 3
    assert all(detail.startswith("permissions: other users may") for detail in cures)
    assert await fixes(disk, "audit") == []  # the chain is whole


async def test_references_to_nothing_go_empty_and_undo_brings_them_back(books: Core) -> None:
    placed = await books.call("books.shelves.create", title="a")
    kept = await books.call("books.create", title="kept", shelf=placed["id"])
    lost = [await books.call("books.create", title=f"lost {number}", shelf="gone") for number in range(3)]
    (fix,) = await fixes(books, "references")
    assert "let shelf of 3 books.book go empty" in fix
    (done,) = await repaired(books, "references")
    assert (done["done"], done["said"]) == (True, "shelf of 3 books.book is empty now")
    assert [(await books.call("books.get", id=each["id"]))["shelf"] for each in lost] == [None] * 3
    assert (await books.call("books.get", id=kept["id"]))["shelf"] == placed["id"]
    assert await fixes(books, "references") == []
    changed = (await books.call("changes.list"))["items"][0]
    assert changed["operation"] == "daemon.repair"
    await books.call("changes.undo")
    assert (await books.call("books.get", id=lost[0]["id"]))["shelf"] == "gone"


async def test_a_reference_that_was_put_right_since_the_check_is_left_alone(books: Core) -> None:
    placed = await books.call("books.shelves.create", title="a")
    lost = [await books.call("books.create", title=f"lost {number}", shelf="gone") for number in range(2)]
    kernel = books.kernel
    problems = doctor.problems(kernel, kernel.registry.tables.all(), declared(kernel.registry), [], "person")
    (found,) = (each for each in problems if each.finding.check == "references")
    await books.call("books.update", id=lost[0]["id"], shelf=placed["id"])
    assert found.mend is not None
    assert await asyncio.to_thread(found.mend) == "shelf of 1 books.book is empty now"
    shelves = [(await books.call("books.get", id=each["id"]))["shelf"] for each in lost]
    assert shelves == [placed["id"], None]


async def test_a_missing_index_and_an_empty_column_are_made_anew(books: Core) -> None:
    book = await books.call("books.create", title="a", note="n")
    connection = books.kernel.store.writer.connection
    connection.execute("DROP INDEX books_by_title")
    connection.execute("ALTER TABLE books DROP COLUMN note")
    (fix,) = await fixes(books, "tables")
    assert fix == "add note to books, empty"
    await repaired(books, "tables")
    (fix,) = await fixes(books, "tables")
    assert fix == "make the indexes of books anew"
    await repaired(books, "tables")
    assert await fixes(books, "tables") == []
    assert (await books.call("books.get", id=book["id"]))["note"] is None
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "books_by_title" in names


async def test_a_column_that_must_have_a_value_is_left_to_a_person(books: Core) -> None:
    connection = books.kernel.store.writer.connection
    for name in ("books_by_title", "books_list_title"):
        connection.execute(f"DROP INDEX IF EXISTS {name}")
    connection.execute("ALTER TABLE books DROP COLUMN title")
    assert await fixes(books, "tables") == [""]
    assert await repaired(books, "tables") == []


async def test_a_snapshot_that_is_not_whole_is_put_aside_and_an_old_one_followed(disk: Core, data_dir: Path) -> None:
    bad = Path((await disk.call("store.snapshot", name="bad"))["path"])
    old = Path((await disk.call("store.snapshot", name="old"))["path"])
    content = bytearray(bad.read_bytes())
    content[4096 * 3 : 4096 * 7] = b"\xee" * 4096 * 4
    bad.write_bytes(content)
    past = disk.kernel.store.clock.now_ms() / 1000 - 40 * DAY
    for path in (bad, old):
        os.utime(path, (past, past))
    states = {each["name"]: each["whole"] for each in (await disk.call("store.snapshots"))["items"]}
    assert set(states.values()) == {None}  # both have changed since they were read
    assert len(await fixes(disk, "snapshots")) == 2
    done = await repaired(disk, "snapshots")
    assert all(each["done"] for each in done)
    assert not bad.exists()
    assert (data_dir / "quarantine" / bad.stem / bad.name).exists()
    assert [each["whole"] for each in (await disk.call("store.snapshots"))["items"]] == [True, True]
    assert await fixes(disk, "snapshots") == []


async def test_unfinished_copies_go_when_nobody_can_be_writing_them(disk: Core, data_dir: Path) -> None:
    fresh, stale = data_dir / ".x.db.1.part", data_dir / ".coder-local.db.restore"
    for path in (fresh, stale):
        path.write_bytes(b"x" * 100)
    salvage = data_dir / ".salvage-killed"
    salvage.mkdir()
    (salvage / "coder-local.db").write_bytes(b"x" * 100)
    for path in (stale, salvage):
        os.utime(path, (0, 0))
    assert await fixes(disk, "leftovers") == ["delete the unfinished copies"]
    await repaired(disk, "leftovers")
    assert (fresh.exists(), stale.exists(), salvage.exists()) == (True, False, False)


async def test_a_cure_that_fails_says_why_and_the_others_go_on(data_dir: Path) -> None:
    domain, mended = Domain("sick"), list[str]()

    def refuse() -> str:
        raise Broken("it does not let go")

    def succeed() -> str:
        mended.append("two")
        return "ended"

    def look(read: Snapshot, folder: Path) -> Iterator[Symptom]:
        assert read.rows("SELECT 1") == [(1,)]
        assert folder == data_dir / "sick"
        yield Symptom("one", fix="end it", mend=refuse)
        yield Symptom("two", state="error", fix="end it", mend=succeed)
        yield Symptom("three", hint="a person must", fix="never shown")
        yield Symptom("four", mend=lambda: str(1 // 0))  # it says not what it would do
        yield Symptom("five", fix="divide", mend=lambda: str(1 // 0))

    def fail(read: Snapshot, folder: Path) -> Iterator[Symptom]:
        raise RuntimeError("a secret text of the plugin")

    @domain.hook
    def health_checks() -> list[HealthCheck]:
        return [HealthCheck("processes", look), HealthCheck("broken", fail)]

    async with running(data_dir) as core:
        core.kernel.take(domain)
        core.kernel.forget_hooks()
        report = await core.call("daemon.doctor")
        assert not report["healthy"]
        own = [each for each in report["items"] if each["check"] == "sick.processes"]
        assert [(each["message"], each["fix"]) for each in own] == [
            ("one", "end it"), ("two", "end it"), ("three", ""), ("four", ""), ("five", "divide"),
        ]  # fmt: skip
        (broken,) = (each for each in report["items"] if each["check"] == "sick.broken")
        assert broken["message"] == "it cannot be checked: RuntimeError"
        done = await repaired(core, "sick.processes")
        assert [(each["message"], each["done"]) for each in done] == [("one", False), ("two", True), ("five", False)]
        assert [done[index]["said"] for index in (0, 2)] == ["it does not let go", "ZeroDivisionError; see the log"]
        assert mended == ["two"]


async def test_a_damaged_database_is_named_by_its_tables(books: Core) -> None:
    for number in range(300):
        await books.call("books.create", title=f"{number}" * 20)
    store = books.kernel.store
    store.writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    probe = sqlite3.connect(store.path)
    (page,) = probe.execute("SELECT max(pageno) FROM dbstat WHERE name = 'books' AND pagetype = 'leaf'").fetchone()
    probe.close()
    content = bytearray(store.path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = os.urandom(4096)
    with contextlib.closing(os.fdopen(os.open(store.path, os.O_WRONLY), "wb")) as file:
        file.write(content)
    report = await books.call("daemon.doctor")
    found = [each for each in report["items"] if each["check"] == "database"]
    assert found[0]["message"] == "damaged: books"
    assert "newest good snapshot" in found[0]["fix"]
    assert await repaired(books, "database") == []  # no daemon may run meanwhile


async def test_a_clock_that_was_set_back_between_events_is_told(notes: Core) -> None:
    for title in ("a", "b", "c"):
        await notes.call("notes.create", workspace="w", title=title)

    def move(scope: Any) -> None:
        scope.write_log()
        last, at = scope.connection.execute("SELECT seq, at FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        scope.connection.execute("UPDATE event SET at = ? WHERE seq = ?", (at + 7_200_000, last - 1))

    moved = asyncio.Event()
    notes.kernel.store.submit(move, Caller(), lambda result, error: moved.set())
    await moved.wait()
    report = await notes.call("daemon.doctor")
    (found,) = (each for each in report["items"] if each["check"] == "clock")
    assert (found["state"], "set back 1 times, by 2 h" in found["message"]) == ("warning", True)


async def test_a_clock_that_stands_before_the_newest_event_is_told(notes: Core) -> None:
    await notes.call("notes.create", workspace="w", title="a")
    moved = asyncio.Event()

    def move(scope: Any) -> None:
        scope.write_log()
        scope.connection.execute("UPDATE event SET at = at + ? WHERE seq = (SELECT max(seq) FROM event)", (7_260_000,))

    notes.kernel.store.submit(move, Caller(), lambda result, error: moved.set())
    await moved.wait()
    report = await notes.call("daemon.doctor")
    (found,) = (each for each in report["items"] if each["check"] == "clock")
    assert (found["state"], found["hint"]) == ("warning", "set the clock of the machine")
    assert found["message"] == "the newest event is 2 h in the future: the clock was set back"


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("keyring.backends.fail", "this system has no keyring"),
        ("raising", "the keyring of this system cannot be used: RuntimeError"),
        ("good", ""),
    ],
)
def test_a_system_without_a_keyring_is_told_and_what_that_means(
    monkeypatch: pytest.MonkeyPatch, backend: str, message: str
) -> None:
    keyring = pytest.importorskip("keyring")

    def get() -> object:
        if backend == "raising":
            raise RuntimeError
        return type("Keyring", (), {"__module__": backend})()

    monkeypatch.setattr(keyring, "get_keyring", get)
    found = [each for each in files.keyring() if isinstance(each, Finding)]
    assert [message in each.message for each in found] == ([True] if message else [])
    assert all("no secret is kept there as yet" in each.hint for each in found)


async def test_all_is_looked_at_once_more_after_it_was_mended(disk: Core, data_dir: Path) -> None:
    data_dir.chmod(0o755)
    answer = await disk.call("daemon.repair")
    assert answer["healthy"]
    assert {each["check"] for each in answer["left"]} <= {"keyring"}
