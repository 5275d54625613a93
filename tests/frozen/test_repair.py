"""The build mends its own directory, opens what older versions left, and tells of itself without secrets."""

from __future__ import annotations

import json
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.test_repair import overwrite
from tests.faults.process import Process
from tests.store.fixtures.make_fixture import load, path_of

from .conftest import Run

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="modes and SIGKILL are POSIX")]


def test_what_an_older_version_left_is_brought_up_to_date(daemon: Process) -> None:
    daemon.data_dir.mkdir(mode=0o700)
    load(path_of("planning", "0001_planning"), daemon.data_dir / "coder-local.db")
    daemon.start()
    assert [each["title"] for each in daemon.call("planning.tasks.list")["items"]] == [
        "Straße fegen",
        "second, renamed",
    ]
    assert daemon.call("planning.tasks.create", title="new")["title"] == "new"
    assert list((daemon.data_dir / "snapshots").glob("*.db"))  # of before
    assert daemon.terminate() == 0


def test_what_a_kill_left_is_mended_and_a_damaged_database_salvaged(daemon: Process, run: Run) -> None:
    daemon.start()
    for number in range(40):
        daemon.call("planning.tasks.create", title=f"{number}", description="x" * 400)
    daemon.call("store.snapshot")
    daemon.kill()
    daemon.data_dir.chmod(0o755)
    found = {each["check"]: each["state"] for each in json.loads(run("doctor").stdout)["items"]}
    assert found["permissions"] != "ok"
    with closing(sqlite3.connect(daemon.data_dir / "coder-local.db")) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite(daemon.data_dir / "coder-local.db", "planning_tasks")
    done = run("doctor", "--fix", "--yes")
    fixed = {each["check"]: each["done"] for each in json.loads(done.stdout)["fixed"]}
    assert (fixed["permissions"], fixed["database"]) == (True, True), done.stdout
    assert daemon.data_dir.stat().st_mode & 0o777 == 0o700
    tasks = json.loads(run("planning", "tasks", "list", "--limit", "100", "--json").stdout)["items"]
    assert sorted(int(each["title"]) for each in tasks) == list(range(40))


def test_the_bundle_holds_no_content(daemon: Process, run: Run, tmp_path: Path) -> None:
    daemon.start(SERVICE_API_KEY="zqplanted7")
    daemon.call("planning.tasks.create", title="zqplanted7")
    path = tmp_path / "bundle.zip"
    done = run("support-bundle", str(path))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(path) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert '"frozen"' in text
    assert "zqplanted7" not in text
    assert path.stat().st_mode & 0o777 == 0o600
