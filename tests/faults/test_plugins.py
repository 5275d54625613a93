"""A bad plugin stops itself and nothing else, and says why."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import RemoteError

from .conftest import enable
from .process import Process

pytestmark = pytest.mark.alone

GOOD = '''
import time
from coder_local.api import Context, Domain, Safety, Snapshot, Transaction
domain = Domain("{name}")

@domain.query("{name}.fail")
def fail(read: Snapshot) -> int:
    """Raise."""
    raise RuntimeError("a secret in the message")

@domain.action("{name}.block", safety=Safety.READ)
async def block(ctx: Context, *, seconds: float) -> int:
    """Block the event loop."""
    time.sleep(seconds)
    return 1

@domain.command("{name}.hold")
def hold(tx: Transaction, *, seconds: float) -> int:
    """Hold the writer."""
    time.sleep(seconds)
    return 1
'''

UNTYPED = """
from __future__ import annotations
from coder_local.api import Domain, Record
domain = Domain("untyped")

@domain.table("things")
class Thing(Record):
    size: Decimal
"""
ODD = """
from coder_local.api import Domain
class Odd(Domain):
    def __getattribute__(self, name):
        if name == "operations":
            raise RuntimeError("odd")
        return super().__getattribute__(name)
domain = Odd("odd")
"""
BAD = {
    "raises": ("raise RuntimeError('at import')", "stopped_by_import_error", "at import"),
    "exits": ("import sys; sys.exit(3)", "stopped_by_import_error", "SystemExit"),
    "syntax": ("def (", "stopped_by_import_error", "SyntaxError"),
    "empty": ("x = 1", "stopped_by_declaration", "domain"),
    "interrupts": ("raise KeyboardInterrupt", "stopped_by_import_error", "KeyboardInterrupt"),
    "untyped": (UNTYPED, "stopped_by_migration", "import them for real"),
    "odd": (ODD, "stopped_by_declaration", "RuntimeError: odd"),
    "clash": (GOOD.format(name="notes"), "stopped_by_declaration", "notes"),
}


def write(data_dir: Path, name: str, body: str) -> Path:
    folder = data_dir / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body)
    return folder


def status_of(process: Process, name: str, *, loaded: bool = True) -> dict[str, Any]:
    if loaded:
        process.call("operations.list", prefix="operations.")  # waits for the plugins, which `plugins.list` does not
    plugins: list[dict[str, Any]] = process.call("plugins.list")["items"]
    return next(each for each in plugins if each["name"] == name)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_stops_itself_alone_and_says_why(daemon: Process, name: str) -> None:
    body, status, reason = BAD[name]
    write(daemon.data_dir, name, body)
    enable(daemon, name)
    assert status_of(daemon, name)["status"] == status
    assert reason in status_of(daemon, name)["reason"]
    daemon.terminate()
    daemon.start()
    assert status_of(daemon, name)["status"] == status
    assert daemon.call("notes.create", workspace="w", title="works on")["rev"] == 1


def test_a_plugin_whose_migration_fails_is_stopped_and_the_rest_answers(daemon: Process) -> None:
    folder = write(
        daemon.data_dir,
        "migrates",
        "from coder_local.api import Domain, Record\ndomain = Domain('migrates')\n"
        "@domain.table('migrates')\nclass Thing(Record):\n    '''A thing.'''\n    size: int = 0\n",
    )
    (folder / "migrations").mkdir()
    (folder / "migrations" / "0001_migrates.sql").write_text("-- Why: to fail\nCREATE TABLE migrates (x);\nnonsense;")
    enable(daemon, "migrates")
    assert status_of(daemon, "migrates")["status"] == "stopped_by_migration"
    assert daemon.call("notes.create", workspace="w", title="works on")["rev"] == 1


def test_nothing_of_a_plugin_runs_before_it_is_enabled_and_changed_content_needs_enabling_again(
    daemon: Process, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    body = f"open({str(trace)!r}, 'w').close()\n" + GOOD.format(name="traced")
    folder = write(daemon.data_dir, "traced", body)
    assert status_of(daemon, "traced")["status"] == "needs_enabling"
    daemon.terminate()
    daemon.start()
    assert not trace.exists()
    enable(daemon, "traced")
    assert trace.exists()
    trace.unlink()
    (folder / "__init__.py").write_text(body + "\n# another content\n")
    daemon.terminate()
    daemon.start()
    assert not trace.exists()
    assert status_of(daemon, "traced")["status"] == "needs_enabling"


def test_an_operation_that_raises_is_broken_with_a_report_and_no_trace_goes_out(daemon: Process) -> None:
    write(daemon.data_dir, "faulty", GOOD.format(name="faulty"))
    enable(daemon, "faulty")
    with pytest.raises(RemoteError) as caught:
        daemon.call("faulty.fail")
    assert caught.value.kind == "broken"
    assert caught.value.data is not None
    assert "secret" not in str(caught.value.data) + caught.value.message
    log = daemon.log.read_text()
    assert caught.value.data["report_id"] in log
    assert "a secret in the message" in log
    assert daemon.call("notes.list")["items"] == []


@pytest.mark.parametrize(("operation", "what"), [("faulty.block", "event loop"), ("faulty.hold", "writer")])
def test_what_blocks_the_loop_or_the_writer_is_named_in_the_log(daemon: Process, operation: str, what: str) -> None:
    write(daemon.data_dir, "faulty", GOOD.format(name="faulty"))
    enable(daemon, "faulty")
    daemon.call("settings.set", plugin="daemon", name="quarantine_blocks", value=1)
    daemon.call(operation, seconds=4.5)
    lines = [line for line in daemon.log.read_text().splitlines() if "is blocked" in line]
    assert any(what in line and operation in line and "time.sleep" in line for line in lines), lines
    while (found := status_of(daemon, "faulty"))["status"] != "quarantined":
        pass
    assert f"it blocked the {what} for" in found["reason"]
    assert found["costs"]["blocked"] == 1
    assert found["costs"]["blocked_worst_ms"] > 2000
    assert daemon.call("notes.list")["items"] == []


QUICK = """
import sys
from coder_local._daemon import care
care._SAMPLE_EVERY = 3.0
from coder_local.cli import main
sys.exit(main())
"""
"""The program that looks at its memory every three seconds, not every minute."""
LEAKY = '''
from coder_local.api import Domain, Snapshot
domain = Domain("leaky")
KEPT = []

@domain.query("leaky.leak")
def leak(read: Snapshot) -> int:
    """Keep 128 KiB for ever."""
    KEPT.append(b"x" * 2**17)
    return len(KEPT)
'''


def test_one_that_takes_memory_from_the_moment_it_is_enabled_is_named(data_dir: Path) -> None:
    process = Process(data_dir, command=(sys.executable, "-c", QUICK))
    process.start()
    try:
        process.call("settings.set", plugin="daemon", name="memory_budget_mb", value=20)
        write(data_dir, "leaky", LEAKY)
        enable(process, "leaky")
        with process.client() as client:
            for _ in range(600):
                client.call("leaky.leak")
        while not (over := status_of(process, "leaky", loaded=False)["costs"]["over"]):
            time.sleep(0.1)  # asking is a call too, and nearly all of them are to be its own
        assert "that is a suspicion, no proof" in over[0]
        told = [each["message"] for each in process.call("daemon.doctor")["items"] if each["check"] == "budgets"]
        assert told == [f"leaky: {text}" for text in over]
    finally:
        process.kill()


SLOW = """
import pathlib, time
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
"""


def test_the_daemon_answers_and_stops_while_a_plugin_is_imported(daemon: Process, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    write(daemon.data_dir, "slow", SLOW.format(gate=str(gate)) + GOOD.format(name="slow"))
    enable(daemon, "slow")
    daemon.terminate()
    gate.unlink()
    daemon.start()
    with daemon.client() as first, daemon.client() as second:
        assert first.call("initialize")["pid"] == daemon.pid
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(second.call, "slow.hold", {"seconds": 0}, timeout=30)
            assert first.call("initialize")["pid"] == daemon.pid
            assert not waiting.done()
            gate.touch()
            assert waiting.result(30) == 1
    daemon.terminate()
    gate.unlink()
    daemon.start()
    assert daemon.call("daemon.stop")["pid"] == daemon.pid
    assert daemon.wait(15) == 0


STUCK = '''
import asyncio
from coder_local.api import Context, Domain, Snapshot
domain = Domain("stuck")

@domain.on_start
async def start(ctx: Context) -> None:
    """Never be done."""
    await asyncio.Event().wait()

@domain.query("stuck.ask")
def ask(read: Snapshot) -> int:
    """Answer."""
    return 1
'''


def over_http(url: str, token: str, path: str) -> tuple[int, Any]:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_what_needs_no_plugin_answers_at_every_door_while_one_is_imported(daemon: Process, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    write(daemon.data_dir, "slow", SLOW.format(gate=str(gate)) + GOOD.format(name="slow"))
    enable(daemon, "slow")
    daemon.terminate()
    gate.unlink()
    ready = daemon.start()

    token = json.loads((daemon.data_dir / "runtime.json").read_text())["token"]

    def ask(path: str) -> tuple[int, Any]:
        return over_http(ready["http"], token, path)

    status = daemon.call("daemon.status")
    while "importing" not in status["at_work"].get("slow", ""):  # its turn comes after the bundled ones
        status = daemon.call("daemon.status")
    assert status["state"] == "starting"
    found = status_of(daemon, "slow", loaded=False)
    assert (found["status"], found["operations"]) == ("loading", 0)
    assert found["reason"].startswith("it has been importing for ")
    assert daemon.call("audit.list")["items"][0]["operation"] == "plugins.enable"
    assert ask("/live") == (200, {"status": "live"})
    code, health = ask("/health")
    assert (code, health["status"], health["dependencies"]["slow"]) == (200, "starting", "loading")
    assert health["at_work"]["slow"].startswith("it has been importing for ")
    code, said = ask("/ready")
    assert (code, said["status"], said["reasons"][0]) == (503, "not_ready", "the daemon is starting")
    assert any(reason.startswith("slow is loading: it has been importing for ") for reason in said["reasons"])
    assert ask("/api/daemon/status")[1]["state"] == "starting"
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, path) for path in ("/api/notes", "/openapi.json")]
        assert ask("/live")[0] == 200
        assert [each.done() for each in waiting] == [False, False]
        gate.touch()
        assert waiting[0].result(30) == (200, {"items": [], "next_cursor": None})
        assert "/api/slow/hold" in waiting[1].result(30)[1]["paths"]
    assert (ask("/ready")[0], ask("/health")[1]["status"]) == (200, "healthy")
    assert daemon.call("daemon.status")["at_work"] == {}


def test_a_start_that_hangs_is_named_and_holds_nobody_up(daemon: Process) -> None:
    write(daemon.data_dir, "stuck", STUCK)
    daemon.confirmed("plugins.disable", name="notes")
    with daemon.client() as enabling, ThreadPoolExecutor(1) as pool:
        with pytest.raises(RemoteError) as first:
            enabling.call("plugins.enable", {"name": "stuck"})
        assert first.value.data is not None
        pool.submit(enabling.call, "plugins.enable", {"name": "stuck", "confirm": first.value.data["confirm"]})
        while not daemon.call("daemon.status")["at_work"]:
            pass
        assert status_of(daemon, "stuck")["reason"].startswith("it has been starting for ")
        assert daemon.call("stuck.ask") == 1
        daemon.terminate()
