"""The support bundle: facts in, secrets and contents out, also of a daemon that hangs or is broken."""

import json
import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

from coder_ipc import RemoteError, runtime
from coder_ipc.client import Client
from coder_local._daemon.bundle.redact import Redactor, own_words
from coder_local.cli.bundle import _write
from coder_local.cli.errors import Failure
from tests.cli.conftest import copy_plugins

pytestmark = pytest.mark.alone
PARTS = {"about", "boot", "database", "doctor", "files", "log", "plugins", "runtime", "settings"}


def unpacked(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.removesuffix(".json"): archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_no_secret_and_no_content_is_in_it_whatever_the_daemon_does(own, folder, tmp_path, monkeypatch, request):
    planted = {name: f"zq{name}planted7" for name in (
        "environment", "title", "body", "setting", "output", "key", "plugin", "file", "raw", "trace", "workspace",
        "snapshot", "script", "line", "method",
    )}  # fmt: skip
    monkeypatch.setenv("SERVICE_API_KEY", planted["environment"])
    copy_plugins(folder)
    assert own("plugins", "enable", "notes", "--yes").code == 0
    with Client.connect(folder) as client:
        client.call("notes.create", {"workspace": "w", "title": planted["title"], "body": planted["body"]})
        client.call("planning.tasks.create", {"title": planted["title"], "description": f"see {planted['body']}"})
        client.call(
            "settings.set", {"plugin": "daemon", "name": "origins", "value": [f"http://{planted['setting']}:1"]}
        )
        with pytest.raises(RemoteError):
            client.call("notes.get", {"id": planted["key"]})
    token = runtime.read(folder).token
    (folder / "settings.toml").write_text(f'[notes]\nprefix = "{planted["plugin"]}"\n')
    (folder / f"{planted['file']}.txt").write_text(planted["file"])
    run = folder / "execution" / "runs" / "output.log"
    run.parent.mkdir(parents=True, exist_ok=True)
    run.write_text(planted["output"])
    (folder / "snapshots").mkdir(exist_ok=True)
    (folder / "snapshots" / f"2026-01-01T000000.000Z-{planted['snapshot']}.db").write_bytes(b"cut off" * 100)
    (folder / "quarantine" / f"2026-01-01T000000.000Z-{planted['snapshot']}").mkdir(parents=True)
    script = folder / "plugins" / "notes" / f"{planted['script']} it.py"
    script.write_text("")
    script.chmod(0o666)
    wrong = f"it failed: {planted['trace']}\n{planted['line']}\n{planted['line']}: more"
    trace = f'Traceback (most recent call last):\n  File "{Path.home()}/x.py", line 3, in go\nValueError: {wrong}'
    denied = f"Authorization: Bearer {token} {planted['raw']}"
    lines = [
        {"time": "t", "level": "ERROR", "logger": "coder_local.store", "message": wrong, "trace": trace},
        {"time": "t", "level": "INFO", "logger": "of.a.plugin", "message": denied},
        {
            "time": "t",
            "level": "WARNING",
            "logger": "coder_local.daemon",
            "message": f"a call was dropped, 9 of its connection wait already: {planted['method']}",
        },
    ]
    log = folder / "logs" / "daemon.stderr.log"
    log.write_text("\n".join([*map(json.dumps, lines), planted["raw"], f'say "{planted["raw"]}"', ""]))

    def bundle(name: str) -> dict[str, str]:
        path = tmp_path / f"{name}.zip"
        done = own("support-bundle", str(path), "--timeout", "1" if name == "hung" else "60")
        assert done.code == 0, done.err
        told = json.loads(done.out)
        assert (told["file"], told["sent"], len(told["inside"])) == (str(path), False, len(PARTS))
        assert path.stat().st_mode & 0o777 == 0o600
        parts = unpacked(path)
        assert parts.keys() == PARTS
        for content in parts.values():
            json.loads(content)
            for secret in [*planted.values(), token, str(Path.home()) + "/", str(folder)]:
                assert secret not in content
        return parts

    parts = bundle("running")
    assert json.loads(parts["database"])["rows"]["planning_tasks"] == 1
    assert any(row[1] == "planning.task.created" for row in json.loads(parts["database"])["events_by_hour"])
    assert json.loads(parts["settings"])["file"] == {"notes": {"prefix": f"<{len(planted['plugin'])} characters>"}}
    assert {"planning", "notes"} <= {plugin["name"] for plugin in json.loads(parts["plugins"])}
    checks = {check["check"]: check["message"] for check in json.loads(parts["doctor"]) if check["state"] != "ok"}
    assert checks["snapshots"].startswith("<name> is not whole")
    assert checks["quarantine"].endswith("the last in <data>/quarantine/<name>")
    assert checks["permissions"] == "other users may write to <data>/plugins/<name>, which runs as you"
    assert any(check["check"] == "database" for check in json.loads(parts["doctor"]))
    assert json.loads(parts["boot"])[-1]["stages"]
    logged = json.loads(parts["log"])
    assert logged[0]["message"] == f"it failed: <{len(planted['trace'])} characters>"
    assert (
        logged[2]["message"]
        == f"a call was dropped, 9 of its connection wait already: <{len(planted['method'])} characters>"
    )
    assert logged[0]["trace"] == ["<path>:3 go", "ValueError"]
    assert own("support-bundle", str(tmp_path / "running.zip")).code == 2  # it is there

    pid = runtime.read(folder).pid
    os.kill(pid, signal.SIGSTOP)
    request.addfinalizer(lambda: None if not runtime.read(folder) else os.kill(pid, signal.SIGCONT))
    parts = bundle("hung")
    assert [check["state"] for check in json.loads(parts["doctor"]) if check["check"] == "daemon"] == ["error"]
    assert json.loads(parts["database"])["rows"]["planning_tasks"] == 1
    os.kill(pid, signal.SIGCONT)

    assert own("stop").code == 0
    (folder / "coder-local.db").write_bytes(planted["body"].encode() * 1000)
    parts = bundle("broken")
    assert "DatabaseError" in parts["database"]
    assert [check["state"] for check in json.loads(parts["doctor"]) if check["check"] == "database"] == ["error"]
    (folder / "coder-local.db").unlink()


def test_without_a_data_directory_there_is_nothing_to_tell(command, tmp_path):
    done = command("support-bundle", str(tmp_path / "x.zip"), data_dir=tmp_path / "none")
    assert (done.code, "no data directory" in done.err) == (3, True)
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_on_a_full_disk_no_half_of_a_bundle_is_left(tmp_path, monkeypatch):
    target = tmp_path / "x.zip"
    opened = os.open

    def full(path, flags, mode):
        os.close(opened(path, flags, mode))
        return opened("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(Failure, match="cannot be written: No space left"):
        _write(target, {"about.json": b"x" * 100_000})
    assert not target.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: <secret>"),
        ('{"password": "hunter2"}', '{"password": "<secret>"}'),
        ("api_key=k1 next", "api_key=<secret> next"),
        ("https://ann:pw@host/x", "https://<secret>@host/x"),
        ("/home/ann/work of ann on box", "~/work of <user> on <host>"),
        ("annual box-office", "annual <host>-office"),
        ("0198f3c2-7b1e-7cc3-98c4-dc0c0c07398f", "0198f3c2-7b1e-7cc3-98c4-dc0c0c07398f"),
        ("a" * 20 + "1" * 20, "<secret>"),
        ("planning_tasks_list_completed_at_by", "planning_tasks_list_completed_at_by"),
        ("mine is s3cr3t-value", "mine is <secret>"),
    ],
)
def test_what_looks_like_a_secret_or_names_a_person_is_taken_out(text, expected):
    redactor = Redactor(["s3cr3t-value"], home=Path("/home/ann"), user="ann", host="box")
    assert redactor.text(text) == expected
    assert redactor.value({"k": [text, 5, None]}) == {"k": [expected, 5, None]}


def test_of_a_message_our_own_words_stay():
    assert own_words("plugin x is stopped: the title 'my secret' is bad") == "plugin x is stopped: <28 characters>"
    assert own_words("row 'abc' of t\nsecond line") == "row <text> of t"
