"""The built-in commands against real daemons."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from coder_ipc import runtime, spawn
from coder_ipc.client import Client
from coder_local._daemon.lock import Lock
from coder_local._daemon.main import EXIT_NO_DIRECTORY
from coder_local.cli import life
from coder_local.testing.daemon import environment
from tests.cli.conftest import copy_plugins

pytestmark = pytest.mark.alone


def answer(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_status_and_stop_without_a_daemon(own, folder):
    done = own("status")
    assert (done.code, json.loads(done.out)["state"]) == (3, "stopped")
    assert answer(own("stop")) == {"stopped": False}
    assert not folder.exists()


def test_an_operation_starts_a_daemon_that_stays_and_says_so_once(own, folder):
    done = own("changes", "list")
    assert answer(done)["items"] == []
    assert done.err.count("\n") == 1
    assert f"starting the daemon of {folder}; it stops 60 s after its last client" in done.err
    found = runtime.read(folder)
    assert own("changes", "list").err == ""
    state = answer(own("status"))
    assert (state["state"], state["pid"]) == ("ready", found.pid)
    assert {"operations", "daemon"} <= {plugin["name"] for plugin in state["plugins"] if plugin["status"] == "loaded"}
    assert answer(own("stop")) == {"stopped": True}
    assert spawn.wait_stopped(found, 0)


def test_a_folder_in_the_current_directory_is_not_run_as_the_daemon(own, tmp_path, monkeypatch):
    (tmp_path / "coder_local").mkdir()
    (tmp_path / "coder_local" / "__init__.py").write_text("raise SystemExit('run by accident')")
    monkeypatch.chdir(tmp_path)
    assert own("changes", "list").code == 0


def test_a_quiet_start_says_nothing(own):
    assert own("changes", "list", "--quiet").err == ""


def test_a_daemon_that_cannot_start_is_explained(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    lock = Lock(tmp_path)
    assert lock.take()
    try:
        done = command("changes", "list", data_dir=tmp_path)
    finally:
        lock.release()
    assert (done.code, done.out) == (8, "")
    assert "the daemon ended with exit code 8 before it was ready" in done.err
    assert f"another process holds {tmp_path} and does not answer" in done.err


@pytest.fixture(params=["a file", "below a file"])
def no_directory(request, tmp_path):
    """A path where no data directory can be made."""
    file = tmp_path / "file"
    file.touch()
    return file if request.param == "a file" else file / "d"


@pytest.mark.parametrize("words", [["changes", "list"], ["restore", "--yes", "copy.db"], ["events"]])
def test_a_data_directory_that_cannot_be_is_told_with_the_cure(
    command, own, no_directory, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert own("backup", "copy.db").code == 0
    done = command(*words, data_dir=no_directory)
    assert (done.code, done.out) == (EXIT_NO_DIRECTORY, "")
    assert f"error: the data directory {no_directory} cannot be used: " in done.err
    assert "hint: make it a folder that you may write, or choose another with --data-dir" in done.err
    assert "Traceback" not in done.err


def test_the_doctor_finds_a_data_directory_that_cannot_be(command, no_directory):
    done = command("doctor", data_dir=no_directory)
    assert (done.code, checks(done)["directory"]) == (1, "error")
    found = json.loads(done.out)
    assert (found["healthy"], "choose another with --data-dir" in found["items"][-1]["hint"]) == (False, True)


def test_the_doctor_leaves_nothing_behind(command, tmp_path):
    assert command("doctor", data_dir=tmp_path / "later").code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_backup_restores_what_was_and_sets_aside_what_is(own, folder, tmp_path):
    copy_plugins(folder)
    assert own("plugins", "enable", "notes", "--yes").code == 0
    kept = answer(own("notes", "create", "--workspace", "w", "--title", "kept"))
    copy = tmp_path / "copy.db"
    assert answer(own("backup", str(copy)))["path"] == str(copy)
    assert own("backup", str(copy)).code == 4
    assert own("backup", str(copy), "--overwrite").code == 0
    lost = answer(own("notes", "create", "--workspace", "w", "--title", "lost"))
    cursor = answer(own("events", "--limit", "1"))["id"]

    refused = own("restore", str(copy))
    assert (refused.code, "hint: give --yes to confirm" in refused.err) == (7, True)
    done = answer(own("restore", str(copy), "--yes"))
    assert done["started"]
    assert (folder / "replaced" / done["set_aside"].rpartition(os.sep)[2] / "coder-local.db").is_file()
    assert answer(own("notes", "get", kept["id"]))["title"] == "kept"
    assert own("notes", "get", lost["id"]).code == 3
    reset = own("events", "--cursor", cursor)
    assert json.loads(reset.out)["reset"]["reason"] == "other_epoch"


def test_a_restore_without_a_daemon_starts_none(own, folder, tmp_path):
    copy = tmp_path / "copy.db"
    assert own("backup", str(copy)).code == 0
    assert own("stop").code == 0
    assert answer(own("restore", str(copy), "--yes"))["started"] is False
    assert runtime.read(folder) is None


def test_what_is_no_backup_stops_no_daemon(own, folder, tmp_path):
    assert own("changes", "list").code == 0
    pid = runtime.read(folder).pid
    (tmp_path / "text").write_text("not a database")
    for name, message in (("text", "is not a whole backup"), ("none", "there is no file")):
        done = own("restore", str(tmp_path / name), "--yes")
        assert (done.code, message in done.err) == (2, True)
    assert answer(own("status"))["pid"] == pid


def test_a_restore_waits_for_no_lock_that_somebody_else_holds(own, folder, tmp_path):
    copy = tmp_path / "copy.db"
    assert own("backup", str(copy)).code == 0
    assert own("stop").code == 0
    lock = Lock(folder)
    assert lock.take()
    try:
        done = own("restore", str(copy), "--yes")
    finally:
        lock.release()
    assert (done.code, "another process holds" in done.err) == (8, True)


def checks(done) -> dict[str, str]:
    return {item["check"]: item["state"] for item in json.loads(done.out)["items"]}


def test_the_doctor_asks_a_daemon_that_runs(run):
    done = run("doctor")
    assert done.code == 0
    found = checks(done)
    assert found["daemon"] == found["database"] == found["plugins"] == "ok"


def test_the_doctor_looks_himself_when_none_runs(own, folder):
    assert checks(own("doctor"))["permissions"] == "ok"
    assert own("changes", "list").code == 0
    assert own("stop").code == 0
    done = own("doctor")
    assert (done.code, checks(done)["database"]) == (0, "ok")


def test_the_doctor_finds_what_a_killed_daemon_left(own, folder):
    assert own("changes", "list").code == 0
    found = runtime.read(folder)
    os.kill(found.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    assert spawn.wait_stopped(found, 10)
    done = own("doctor")
    assert (done.code, checks(done)["daemon"], checks(done)["database"]) == (0, "warning", "ok")
    assert f"of a daemon (pid {found.pid}) that has ended" in done.out


def test_the_doctor_finds_a_damaged_page(own, folder):
    assert own("changes", "list").code == 0
    assert own("stop").code == 0
    with (folder / "coder-local.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    done = own("doctor")
    assert (done.code, checks(done)["database"]) == (1, "error")
    assert "coder-local restore" in done.out


@pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing there")
def test_the_doctor_finds_a_directory_that_others_may_enter(own, folder):
    folder.mkdir()
    folder.chmod(0o755)
    done = own("doctor")
    assert (done.code, checks(done)["permissions"]) == (1, "error")
    assert f"chmod 700 '{folder}'" in done.out


def test_events_are_shown_newest_without_and_all_after_a_cursor(run, client):
    first = client.call("notes.create", {"workspace": "w", "title": "a"})["id"]
    for title in ("b", "c"):
        client.call("notes.update", {"id": first, "title": title})
    events = [json.loads(line) for line in run("events", "--limit", "3").out.splitlines()]
    assert [event["type"] for event in events] == ["notes.note.created", "notes.note.updated", "notes.note.updated"]
    after = run("events", "--cursor", events[0]["id"], "--subjects", f"notes.note/{first},other/*")
    assert [json.loads(line)["id"] for line in after.out.splitlines()] == [events[1]["id"], events[2]["id"]]
    only = run("events", "--cursor", events[0]["id"], "--types", "*.created", "--types", "nothing.*")
    assert only.out == ""
    assert "items" in answer(run("events", "list"))


def test_events_after_a_cursor_come_page_by_page(run, client, monkeypatch):
    from coder_local.cli import events

    monkeypatch.setattr(events, "_PAGE", 2)
    cursor = client.call("events.list")["head"]
    ids = [client.call("notes.create", {"workspace": "w", "title": "a"})["id"] for _ in range(5)]
    shown = [json.loads(line)["subject"] for line in run("events", "--cursor", cursor).out.splitlines()]
    assert shown == [f"notes.note/{id}" for id in ids]


def test_following_shows_what_happens_from_the_cursor_on(daemon, client):
    cursor = client.call("events.list")["head"]
    client.call("notes.create", {"workspace": "w", "title": "before"})
    argv = [sys.executable, "-m", "coder_local", "--data-dir", daemon.data_dir, "events", "-f", "--cursor", cursor]
    with subprocess.Popen(
        argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert json.loads(process.stdout.readline())["type"] == "notes.note.created"
            client.call("notes.create", {"workspace": "w", "title": "after"})
            assert json.loads(process.stdout.readline())["sequence"] == int(cursor.rpartition(":")[2]) + 2
        finally:
            process.terminate()


def test_following_a_cursor_that_cannot_be_served_says_so(run):
    done = run("events", "--follow", "--cursor", "other:1", "--timeout", "0.2")
    assert json.loads(done.out)["reset"]["reason"] == "other_epoch"
    assert "the cursor cannot be served (other_epoch)" in done.err


def test_plugins_are_listed_disabled_and_enabled(run):
    assert answer(run("plugins", "disable", "notes"))["status"] == "disabled"
    for words in (["notes", "list"], ["notes", "--help"], ["help", "notes"], ["call", "notes.list"]):
        done = run(*words)
        assert (done.code, done.out) == (12, "")
        assert "error: the plugin notes does not run (disabled): it was disabled" in done.err
        assert "hint: coder-local plugins enable notes\n" in done.err
    error = json.loads(run("notes", "list", "--json").err)
    assert (error["kind"], error["data"]["plugin"], error["data"]["status"]) == ("unsupported", "notes", "disabled")
    assert answer(run("plugins", "enable", "notes", "--yes"))["status"] == "loaded"
    assert "notes" in {plugin["name"] for plugin in answer(run("plugins", "list"))["items"]}
    shown = run("plugins", "--help").out
    assert all(f"  {word} " in shown for word in ("new", "check", "enable", "disable", "list"))


def test_a_plugin_that_does_not_run_is_told_with_its_status_reason_and_cure(own, folder):
    for name, code in (("fresh", "domain = 1\n"), ("faulty", "import nowhere_to_be_found\n")):
        (folder / "plugins" / name).mkdir(parents=True)
        (folder / "plugins" / name / "__init__.py").write_text(code)
    assert answer(own("plugins", "enable", "faulty", "--yes"))["status"] == "stopped_by_import_error"
    fresh, faulty = own("fresh", "list"), own("faulty.list")
    assert (fresh.code, faulty.code) == (12, 12)
    assert "the plugin fresh does not run (needs_enabling)" in fresh.err
    assert fresh.err.endswith("then: coder-local plugins enable fresh\n")
    assert "the plugin faulty does not run (stopped_by_import_error): ModuleNotFoundError" in faulty.err
    cure = f"`coder-local plugins check '{folder / 'plugins' / 'faulty'}'` tells more"
    assert f"hint: {cure}" in faulty.err
    found = [item for item in json.loads(own("doctor").out)["items"] if item["check"] == "plugins"]
    assert any(cure in item["hint"] for item in found)
    assert all(item["hint"] for item in found)


_COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_coder_local; printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash_completes(script: str, *words: str) -> list[str]:
    argv = ["bash", "-c", _COMPLETE, "bash", "/dev/stdin", *words]
    return subprocess.run(argv, input=script, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_words_of_operations_and_options(run):
    script = run("completion", "bash").out
    assert {"status", "notes", "probe"} <= set(bash_completes(script, "coder-local", ""))
    assert bash_completes(script, "coder-local", "--data-dir", "somewhere", "notes", "up") == ["update"]
    assert bash_completes(script, "coder-local", "probe", "echo", "--lo") == ["--loud"]
    assert bash_completes(script, "coder-local", "probe", "echo", "--no") == ["--no-loud"]
    assert bash_completes(script, "coder-local", "plugins", "n") == ["new"]
    assert "--json" in bash_completes(script, "coder-local", "status", "--js")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_taken_by_them(run, shell, tmp_path):
    script = run("completion", shell).out
    assert "notes" in script
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(script)
    assert subprocess.run([shell, "-n", tmp_path / "script"], check=False).returncode == 0


def test_completion_without_a_daemon_has_the_built_in_commands(command, tmp_path):
    done = command("completion", "bash", data_dir=tmp_path)
    assert done.code == 0
    assert "doctor" in done.out
    assert "only the built-in commands are completed" in done.err


def test_a_daemon_that_is_slow_to_stop_is_told_of(own, folder):
    copy_plugins(folder)
    assert own("plugins", "enable", "probe", "--yes").code == 0
    argv = [sys.executable, "-m", "coder_local", "--data-dir", folder, "probe", "hang"]
    with Client.connect(folder) as client, subprocess.Popen(argv, env=environment()) as hanging:
        client.call("probe.until_hanging", timeout=20)
        found = runtime.read(folder)
        done = own("stop", "--timeout", "0.2")
        hanging.terminate()
    assert (done.code, "has been asked to stop and still runs" in done.err) == (11, True)
    assert spawn.wait_stopped(found, 20)


def test_lengths_of_time_are_said_in_two_units():
    assert [life._length(seconds) for seconds in (None, 0.4, 59, 3600, 90061)] == [
        "unknown",
        "0 s",
        "59 s",
        "1 h",
        "1 d 1 h",
    ]
