"""A plugin that ends the daemon at its start is found, and left out, while all others run; and safe mode."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import IpcError
from coder_local._daemon.core.grants import keep_grant
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, content_hash
from coder_local.testing.daemon import environment

from .conftest import enable
from .process import Process

pytestmark = pytest.mark.alone

GOOD = '''
from coder_local.api import Context, Domain, Snapshot
domain = Domain("{name}")

@domain.query("{name}.one")
def one(read: Snapshot) -> int:
    """Return one."""
    return 1

@domain.on_start
async def start(ctx: Context) -> None:
    """Begin."""
    {start}
'''
ARMED = "import os, pathlib\nARMED = pathlib.Path({gate!r}).exists()\n"
EXITS = ARMED + "if ARMED:\n    os._exit(1)\n"
LATER = (
    ARMED
    + '''
import threading
def end():
    """End the process, some time after its start."""
    import ctypes, time
    time.sleep(0.1)
    {how}
'''
)
NAMES = ["apples", "bad", "cherries", "dates", "elders", "figs"]


class Garden:
    """A data directory with some plugins, one of which can be told to end the daemon from then on."""

    def __init__(self, folder: Path) -> None:
        self.process = Process(folder / "data", "--no-http")
        self.gate = folder / "armed"
        self.watch = "0.1"
        """Seconds that a start is watched."""

    def plant(self, bad: str, start: str = "pass") -> None:
        self.process.data_dir.mkdir(mode=0o700)
        kernel = Kernel(self.process.data_dir)
        kernel.open()
        for name in NAMES:
            place = self.process.data_dir / "plugins" / name
            place.mkdir(parents=True)
            body = GOOD.format(name=name, start=start if name == "bad" else "pass")
            (place / "__init__.py").write_text(body + (bad if name == "bad" else ""))
            plugin = Plugin(name, Source.FOLDER, str(place))
            kernel.store.write(partial(keep_grant, plugin=plugin, content=content_hash(plugin), enabled=True))
        kernel.store.close()
        self.gate.touch()

    def start(self) -> bool:
        """Start the daemon; tell whether it lived until its start counted as clean."""
        before = self.record()
        try:
            self.process.start(CODER_LOCAL_DAEMON_START_WATCH=self.watch)
        except AssertionError:
            return False  # it did not come to its ready line
        assert self.process.popen is not None
        wanted = (None, 1 if before["open"] else before["clean"] + 1)
        while self.process.popen.poll() is None:
            now = self.record()
            if (now["open"], now["clean"]) == wanted:
                return True
            time.sleep(0.02)
        self.process.wait()
        return False

    def record(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.process.data_dir / "starts.json").read_text())
        except FileNotFoundError:
            return {"open": None, "clean": 0, "failed": []}
        return found

    def statuses(self) -> dict[str, str]:
        return {each["name"]: each["status"] for each in self.plugins() if each["name"] in NAMES}

    def plugins(self) -> list[dict[str, str]]:
        self.process.call("operations.list", prefix="operations.")  # waits until they are loaded
        found: list[dict[str, str]] = self.process.call("plugins.list")["items"]
        return found

    def said(self) -> list[tuple[str, str]]:
        """What the events said of the plugins."""
        found = self.process.call("events.list", types=["plugins.*"])["items"]
        return [(each["data"]["plugin"], each["data"]["status"]) for each in found]

    def found_in(self, limit: int) -> int:
        """Start it until all but the bad one run; return how many starts that took."""
        for count in range(1, limit + 1):
            if self.start():
                found = self.statuses()
                if all(found[name] == "loaded" for name in NAMES if name != "bad"):
                    assert found["bad"] == "quarantined"
                    return count
                self.process.terminate()
        raise AssertionError(f"it is not found in {limit} starts: {self.process.log.read_text()[-2000:]}")


@pytest.fixture
def garden(tmp_path: Path) -> Iterator[Garden]:
    made = Garden(tmp_path)
    yield made
    made.process.kill()


def test_one_that_ends_the_process_at_import_is_left_out_of_the_third_start(garden: Garden) -> None:
    garden.plant(EXITS.format(gate=str(garden.gate)))
    assert garden.found_in(3) == 3
    (bad,) = (each for each in garden.plugins() if each["name"] == "bad")
    assert bad["reason"] == (
        "2 starts of the daemon ended while it was importing; it is tried again after 2 starts without it"
    )
    garden.gate.unlink()  # the person mends it
    enable(garden.process, "bad")
    assert garden.statuses() == dict.fromkeys(NAMES, "loaded")


def test_one_that_faults_in_c_later_is_named_by_its_stack(garden: Garden) -> None:
    bad = LATER.format(gate=str(garden.gate), how="ctypes.string_at(0)")
    garden.watch = "0.5"  # it ends while that lasts
    garden.plant(bad, start="ARMED and threading.Thread(target=end).start()")
    assert garden.found_in(3) == 3
    (found,) = (each for each in garden.plugins() if each["name"] == "bad")
    assert found["reason"].startswith("2 starts of the daemon ended while it was running, of a fault in C")


def test_one_that_ends_the_process_later_and_leaves_no_trace_is_found_by_halves(garden: Garden) -> None:
    bad = LATER.format(gate=str(garden.gate), how="os._exit(1)")
    garden.watch = "0.5"  # it ends while that lasts
    garden.plant(bad, start="ARMED and threading.Thread(target=end).start()")
    assert garden.found_in(3 + math.ceil(math.log2(len(NAMES)))) > 3
    while (said := dict(garden.said())).get("bad") != "quarantined":  # it is said after the record
        time.sleep(0.02)
    assert set(said.values()) == {"quarantined", "loaded"}  # those that were left out meanwhile are there again
    assert [name for name, status in said.items() if status != "loaded"] == ["bad"]
    report = garden.process.call("daemon.doctor")["items"]
    assert any("bad is quarantined" in each["message"] for each in report)


def test_a_plugin_at_whose_import_the_person_killed_the_daemon_twice_is_tried_again(garden: Garden) -> None:
    garden.plant(
        f"import os, pathlib, time\nwhile pathlib.Path({str(garden.gate)!r}).exists():\n    time.sleep(0.01)\n"
    )
    for before in range(2):
        garden.process.start(CODER_LOCAL_DAEMON_START_WATCH=garden.watch)
        while (
            (found := garden.record())["open"] is None
            or found["open"]["at_work"] != "bad"
            or len(found["failed"]) < before
        ):
            time.sleep(0.02)
        garden.process.kill()
    garden.gate.unlink()
    seen: list[str] = []
    for _ in range(3):
        assert garden.start()
        seen.append(garden.statuses()["bad"])
        said = garden.said()
        garden.process.terminate()
    assert said == [("bad", "quarantined"), ("bad", "loaded")]  # once each
    assert seen == ["quarantined", "quarantined", "loaded"]
    assert garden.record() == {"open": None, "failed": [], "clean": 3, "suspects": [], "held": {}, "guilty": {}}


def test_safe_mode_loads_no_plugin_of_others_and_says_so(garden: Garden) -> None:
    garden.plant(EXITS.format(gate=str(garden.gate)))
    garden.process.arguments = ("--no-http", "--safe")
    assert garden.process.start()["safe"] is True
    assert garden.process.call("daemon.status")["safe"] is True
    assert set(garden.statuses().values()) == {"left_out"}
    assert "safe mode" in garden.plugins()[-1]["reason"]
    with pytest.raises(IpcError) as refused:
        garden.process.call("apples.one")
    assert refused.value.kind == "unsupported"
    enable(garden.process, "apples")
    assert set(garden.statuses().values()) == {"left_out"}
    garden.process.call("plugins.disable", name="figs")
    assert garden.statuses() == dict.fromkeys(NAMES, "left_out") | {"figs": "disabled"}
    garden.process.terminate()
    garden.process.arguments = ("--no-http",)
    assert "safe" not in garden.process.start(CODER_LOCAL_SAFE="0")


def test_who_asks_for_safe_mode_and_finds_another_daemon_is_told(daemon: Process) -> None:
    command = [sys.executable, "-m", "coder_local", "serve", "--data-dir", str(daemon.data_dir), "--safe"]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0
    line = json.loads(ran.stdout)
    assert (line["event"], line["pid"]) == ("attached", daemon.pid)
    assert "safe" not in line
    assert f"the daemon that runs (pid {daemon.pid}) is not in safe mode" in ran.stderr
