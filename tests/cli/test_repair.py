"""`doctor --fix`, `salvage`, the list of snapshots and the trace of starts, against real daemons."""

import json
import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from coder_ipc import runtime, spawn
from coder_ipc.client import Client
from tests.cli.conftest import copy_plugins

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="modes, sockets and SIGKILL")]


def answer(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def found(done, *checks):
    return {item["check"]: item for item in json.loads(done.out)["items"] if item["check"] in checks}


def kill(folder: Path) -> None:
    running = runtime.read(folder)
    os.kill(running.pid, signal.SIGKILL)
    assert spawn.wait_stopped(running, 30)


def overwrite(database: Path, table: str) -> int:
    """Overwrite a page with rows of a table, and return how many it had."""
    with closing(sqlite3.connect(database)) as opened:
        pages = opened.execute(
            "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)
        ).fetchall()
        page, rows = pages[len(pages) // 2]
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    return rows


def test_what_a_kill_left_is_mended_without_a_daemon_and_with_one(own, folder):
    assert own("changes", "list").code == 0
    kill(folder)
    (folder / "settings.toml").write_text("")
    (folder / "settings.toml").chmod(0o666)
    assert found(own("doctor"), "daemon")["daemon"]["fix"] == "delete what is left"
    refused = own("doctor", "--fix")
    assert (refused.code, "give --yes to have all of it mended" in refused.err) == (7, True)
    assert (folder / runtime.RUNTIME_FILE).exists()
    done = own("doctor", "--fix", "--yes")
    assert done.code == 0
    fixed = {each["check"]: each["done"] for each in json.loads(done.out)["fixed"]}
    assert fixed == {"daemon": True, "permissions": True, "log": True}
    assert not any(item["fix"] for item in json.loads(done.out)["items"])
    assert not (folder / runtime.RUNTIME_FILE).exists()

    assert own("changes", "list").code == 0
    (folder / "settings.toml").chmod(0o666)
    fixed = json.loads(own("doctor", "--fix", "--yes").out)["fixed"]
    assert [(each["check"], each["done"]) for each in fixed] == [("permissions", True)]
    lines = answer(own("audit", "list", "--operation", "daemon.repair"))["items"]
    assert sorted(line["detail"].partition(":")[0] for line in lines if line["detail"]) == [
        "daemon",
        "log",
        "permissions",
        "permissions",
    ]

    starts = answer(own("doctor", "--boot"))["items"]
    assert [each["end"].partition(",")[0] for each in starts] == ["killed", "running"]
    assert {"lock", "store", "socket", "ready", "loaded"} <= {stage["stage"] for stage in starts[1]["stages"]}
    assert [each["code"] for each in starts] == [None, None]
    assert own("stop").code == 0
    assert answer(own("doctor", "--boot"))["items"][1]["end"] == "stopped"


def test_a_damaged_database_is_salvaged_with_rows_of_the_snapshot_which_is_restored_by_its_name(own, folder, tmp_path):
    """Damaged while it runs; the daemon is stopped for it and started again, and clients are told to load anew."""
    copy_plugins(folder)
    assert own("plugins", "enable", "notes", "--yes").code == 0
    with Client.connect(folder) as client:
        ids = [
            client.call("notes.create", {"workspace": "w", "title": f"{n}", "body": "x" * 400})["id"] for n in range(40)
        ]
        snapshot = client.call("store.snapshot")
        late = [client.call("notes.create", {"workspace": "w", "title": "late"})["id"] for _ in range(5)]
    cursor = answer(own("events", "--limit", "1"))["id"]
    assert own("stop").code == 0
    rows = overwrite(folder / "coder-local.db", "notes")
    listed = {each["name"]: each["state"] for each in answer(own("restore"))["items"]}
    assert listed[Path(snapshot["path"]).stem] == "whole"
    assert len(listed) == 2  # and that of before the migration of the notes

    assert found(own("doctor"), "database")["database"]["state"] == "error"
    assert own("status").code == 3
    own("changes", "list")  # a daemon runs on what it can
    done = own("doctor", "--fix", "--yes")
    (fixed,) = (each for each in json.loads(done.out)["fixed"] if each["check"] == "database")
    assert fixed["done"], fixed
    assert f"{rows} taken from the snapshot, 0 are missing" in fixed["said"]
    assert found(done, "database")["database"]["state"] == "ok"
    with Client.connect(folder) as client:
        assert [client.call("notes.get", {"id": id})["title"] for id in ids] == [f"{n}" for n in range(40)]
        assert {client.call("notes.get", {"id": id})["title"] for id in late} == {"late"}
    assert json.loads(own("events", "--cursor", cursor).out)["reset"]["reason"] == "other_epoch"
    (report,) = (folder / "quarantine").glob("*/salvage-report.json")
    tables = {table["name"]: table for table in json.loads(report.read_bytes())["tables"]}
    assert tables["notes"]["read"] + tables["notes"]["from_snapshot"] == 45

    running = runtime.read(folder)
    refused = own("salvage", str(tmp_path / "missing"), "--yes")
    assert (refused.code, "there is no file" in refused.err) == (2, True)
    assert runtime.read(folder) == running, "nothing was stopped for it"
    again = answer(own("salvage", "--yes"))  # the one in quarantine, once more
    assert (again["rows_from_snapshot"] >= rows, again["started"], again["rows_missing"]) == (True, True, 0)
    assert answer(own("restore", Path(snapshot["path"]).stem, "--yes"))["restored"] == snapshot["path"]
    assert answer(own("notes", "get", ids[0]))["title"] == "0"
    assert own("notes", "get", late[0]).code == 3


def test_a_listening_socket_of_somebody_else_is_left_alone(own, folder):
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(runtime.socket_path(folder))
        other.listen()
        assert found(own("doctor"), "daemon")["daemon"]["fix"] == ""
