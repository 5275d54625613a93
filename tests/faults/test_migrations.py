"""Migrations of a real daemon: it answers meanwhile, and whatever ends one, the data is never in between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import RemoteError, runtime
from coder_local._registry.plugins import Plugin, Source, content_hash
from coder_local._store import backup
from coder_local.cli import main
from coder_local.testing.daemon import environment

from .conftest import NOTES
from .process import Process

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="FIFOs and SIGKILL are POSIX")]
GATED = Path(__file__).parent / "gated.py"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS x FROM c"
LARGE = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200)"
    " SELECT randomblob(100000) AS x FROM c"
)


class Gated(Process):
    """A daemon with migrations of its core to come, and the gate that one of them waits at."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, command=(sys.executable, str(GATED)))
        self.core = data_dir.parent / "core"
        self.core.mkdir()
        for plugin in ("core", "notes"):
            os.mkfifo(self.fifo(plugin))

    def fifo(self, plugin: str) -> Path:
        return self.data_dir.parent / f"fifo-{plugin}"

    def add(self, name: str, sql: str) -> None:
        (self.core / name).write_text(sql.replace("GATE", f"SELECT gate('{self.fifo('core')}')"))

    def start(self, **env: str) -> dict[str, Any]:
        return super().start(CODER_LOCAL_TEST_CORE=str(self.core), **env)

    @contextmanager
    def in_the_middle(self, plugin: str = "core") -> Iterator[None]:
        """While the migration stands at its gate."""
        gate = os.open(self.fifo(plugin), os.O_WRONLY)  # waits until it is there
        try:
            yield
        finally:
            os.close(gate)


class Waiting:
    """A call that waits for a migration, and what is reported of it."""

    def __init__(self, process: Process, pool: ThreadPoolExecutor) -> None:
        self.reported: list[str] = []
        self._heard = threading.Event()
        self._process = process
        self.answer: Future[Any] = pool.submit(self._call)
        assert self._heard.wait(30)

    def _call(self) -> Any:
        with self._process.client() as client:
            return client.call("notes.list", {}, 60, self._report)

    def _report(self, params: dict[str, Any]) -> None:
        self.reported.append(params["message"])
        self._heard.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture
def stopped(daemon: Process) -> Process:
    """A daemon that has written a note and was stopped in order."""
    daemon.call("notes.create", workspace="w", title="kept")
    daemon.call("planning.tasks.create", title="kept too")
    assert daemon.terminate() == 0
    return daemon


@pytest.fixture
def gated(stopped: Process) -> Iterator[Gated]:
    """The same one with more migrations of its core."""
    made = Gated(stopped.data_dir)
    yield made
    made.kill()


def database(data_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(data_dir / "coder-local.db", isolation_level=None)


def rows_of(data_dir: Path, *, of: str = "") -> list[str]:
    """The whole database as SQL, or what of it speaks of one plugin; events and audit of the start itself left out."""
    with closing(database(data_dir)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        dump = list(connection.iterdump())
    own = ('INTO "event', 'INTO "audit"', 'INTO "sqlite_sequence"', 'INTO "store_meta"')
    return [line for line in dump if of in line and not any(table in line for table in own)]


def titles(process: Process) -> list[str]:
    return [note["title"] for note in process.call("notes.list")["items"]]


def plugin(process: Process, name: str) -> dict[str, Any]:
    return next(each for each in process.call("plugins.list")["items"] if each["name"] == name)


def add_to_notes(data_dir: Path, name: str, sql: str) -> None:
    """Give the plugin one more migration, and have the person enable it with that while no daemon runs."""
    (data_dir / "plugins" / "notes" / "migrations" / name).write_text(sql)
    content = content_hash(Plugin("notes", Source.FOLDER, str(data_dir / "plugins" / "notes")))
    with closing(database(data_dir)) as connection:
        connection.execute("UPDATE plugin_grant SET content_hash = ? WHERE name = 'notes'", (content,))


def asked(data_dir: Path, path: str) -> tuple[int, dict[str, Any]]:
    found = runtime.read(data_dir)
    assert found is not None
    request = urllib.request.Request(f"{found.http}{path}", headers={"Authorization": f"Bearer {found.token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_daemon_answers_in_the_middle_of_migrations_and_a_kill_there_does_no_harm(
    stopped: Process, gated: Gated, pool: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = stopped.data_dir
    add_to_notes(data_dir, "0002_slow.sql", f"CREATE TABLE notes_slow (a TEXT);\nSELECT gate('{gated.fifo('notes')}');")
    before, snapshots = rows_of(data_dir), backup.snapshots(data_dir / "snapshots")
    gated.add("0098_one.sql", "CREATE TABLE one (a TEXT);")
    gated.add("0099_slow.sql", "CREATE TABLE slow (a TEXT);\nGATE;\nINSERT INTO slow VALUES ('once');")
    assert gated.start()["state"] == "migrating"
    with gated.in_the_middle():
        gated.kill()
    assert rows_of(data_dir) == before
    ready = gated.start()
    with gated.in_the_middle():
        status = gated.call("daemon.status")
        assert status["state"] == "migrating"
        step = status["migrating"]
        assert (step["plugin"], step["step"], step["done"], step["of"]) == ("core", "0099_slow", 1, 2)
        waits = Waiting(gated, pool)
        assert waits.reported[0].startswith("migrating core 0099 (2 of 2), ")
        second = Process(data_dir)
        assert second.start() | {"event": ""} == ready | {"event": ""}
        assert second.wait() == 0
        assert "migrating core 0099 (2 of 2), " in second.log.read_text()
        assert main(["--data-dir", str(data_dir), "status"]) == 0
        assert "migrating core 0099 (2 of 2), " in capsys.readouterr().out
        words = [sys.executable, "-m", "coder_local", "--data-dir", str(data_dir), "notes", "list"]
        command = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        assert command.stderr is not None
        assert command.stderr.readline().startswith(b"migrating core 0099 (2 of 2), ")
        code, health = asked(data_dir, "/health")
        assert (code, health["status"], health["migrating"]["step"]) == (200, "migrating", "0099_slow")
        code, found = asked(data_dir, "/ready")
        assert (code, found["status"], found["migrating"]["plugin"]) == (503, "not_ready", "core")
    with gated.in_the_middle("notes"):
        status = gated.call("daemon.status")
        assert (status["state"], status["migrating"]["plugin"]) == ("migrating", "notes")
        assert status["migrating"]["message"].startswith("migrating notes 0002 (1 of 1), ")
        assert gated.call("tokens.list")["items"] == []
        assert not waits.answer.done()
    assert [note["title"] for note in waits.answer.result(60)["items"]] == ["kept"]
    out, err = command.communicate(timeout=60)
    assert (command.returncode, b"kept" in out) == (0, True), err
    assert gated.terminate() == 0
    added = set(backup.snapshots(data_dir / "snapshots")) - set(snapshots)
    assert [backup.check(path) for path in added] == [[], []], "one for the core, one for the plugin"
    again = gated.start()
    assert "state" not in again
    assert (gated.call("daemon.status")["migrating"], titles(gated)) == (None, ["kept"])
    gated.kill()
    assert set(backup.snapshots(data_dir / "snapshots")) - set(snapshots) == added
    with closing(database(data_dir)) as connection:
        assert connection.execute("SELECT a FROM slow").fetchall() == [("once",)]


def test_a_core_that_is_stopped_or_fails_in_the_middle_has_its_data_as_it_was(
    stopped: Process, gated: Gated, pool: ThreadPoolExecutor
) -> None:
    data_dir = stopped.data_dir
    before = rows_of(data_dir)
    gated.add("0098_endless.sql", f"CREATE TABLE one (a TEXT);\nCREATE TABLE endless AS {ENDLESS};")
    gated.start()
    waits = Waiting(gated, pool)
    with gated.client() as client:
        while not client.call("daemon.status")["migrating"]["instructions"]:
            assert not waits.answer.done()
        client.call("daemon.stop")
    assert gated.wait() == 0
    with pytest.raises(RemoteError, match="the daemon is stopping"):
        waits.answer.result(60)
    assert rows_of(data_dir) == before
    gated.add("0098_endless.sql", "CREATE TABLE one (a TEXT);\nGATE;\nCREAT TABLE two (a);")
    gated.start()
    with gated.in_the_middle():
        waits = Waiting(gated, pool)
    with pytest.raises(RemoteError, match="could not be brought up to date and is as it was") as caught:
        waits.answer.result(60)
    assert caught.value.kind == "locked"
    assert gated.wait() == 65
    assert "migration of core failed and was taken back" in gated.log.read_text()
    assert not (data_dir / "runtime.json").exists()
    assert rows_of(data_dir) == before
    stopped.start()
    assert titles(stopped) == ["kept"]


def test_a_failing_or_a_newer_plugin_is_stopped_with_its_data_as_it_was_and_others_work(stopped: Process) -> None:
    data_dir = stopped.data_dir
    add_to_notes(data_dir, "0002_bad.sql", "UPDATE notes SET title = 'lost';\nCREAT TABLE nonsense (a);")
    with closing(database(data_dir)) as connection:
        connection.executemany(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, '')",
            [("planning", "0099_major_split"), ("execution", "0099_color")],
        )
        connection.execute("ALTER TABLE execution_runs ADD COLUMN color TEXT")
    before = rows_of(data_dir, of="notes"), rows_of(data_dir, of="planning")
    for reason in ("syntax error", "ALTER TABLE notes ADD COLUMN body"):
        stopped.start()
        assert stopped.call("execution.runs.list")["items"] == []
        notes, planning = plugin(stopped, "notes"), plugin(stopped, "planning")
        assert (notes["status"], planning["status"]) == ("stopped_by_migration", "stopped_by_newer_data")
        assert reason in notes["reason"]
        assert "newer version (0099_major_split)" in planning["reason"]
        with pytest.raises(RemoteError) as caught:
            titles(stopped)
        assert caught.value.kind == "unsupported"
        assert stopped.terminate() == 0
        assert (rows_of(data_dir, of="notes"), rows_of(data_dir, of="planning")) == before
        add_to_notes(data_dir, "0002_bad.sql", "UPDATE notes SET title = 'lost';\nALTER TABLE notes DROP COLUMN body;")
        before = rows_of(data_dir, of="notes"), before[1]
    # A newer core is not touched at all.
    with closing(database(data_dir)) as connection:
        connection.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('core', '0099_major_new')")
    file = data_dir / "coder-local.db"
    written = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(AssertionError, match="exit code 65"):
        stopped.start()
    assert "written by a newer version" in stopped.log.read_text()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == written


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a tmpfs can be mounted on Linux, by root, only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def process(disk: Path) -> Iterator[Process]:
    """A daemon on that disk."""
    made = Process(disk / "data")
    made.log = disk.parent / "daemon.log"
    yield made
    made.kill()


def test_a_disk_that_is_full_before_or_in_the_middle_keeps_the_data_as_it_was(disk: Path, process: Process) -> None:
    shutil.copytree(NOTES, process.data_dir / "plugins" / "notes", ignore=shutil.ignore_patterns("__pycache__"))
    process.start()
    process.confirmed("plugins.enable", name="notes")
    process.call("notes.create", workspace="w", title="kept")
    assert process.terminate() == 0
    add_to_notes(process.data_dir, "0002_large.sql", f"UPDATE notes SET title = 'new';\nCREATE TABLE large AS {LARGE};")
    before = rows_of(process.data_dir, of="notes")
    ballast = disk / "ballast"
    room = 2 * (process.data_dir / "coder-local.db").stat().st_size
    ballast.write_bytes(b"\0" * (shutil.disk_usage(disk).free - room + 65536))
    for reason in ("MiB of free disk, and 0 MiB are free", "full"):
        process.start()
        assert process.call("planning.tasks.list")["items"] == []
        found = plugin(process, "notes")
        assert (found["status"], reason in found["reason"]) == ("stopped_by_migration", True), found
        ballast.unlink(missing_ok=True)
        process.call("planning.tasks.create", title="after")
        process.call("changes.undo")
        assert process.terminate() == 0
        assert rows_of(process.data_dir, of="notes") == before
    subprocess.run(["mount", "-o", "remount,size=96m", str(disk)], check=True)
    process.start()
    assert titles(process) == ["new"]
