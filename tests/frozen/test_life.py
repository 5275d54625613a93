"""The build as a shell, a person and a browser meet it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from coder_ipc import spawn
from coder_ipc.runtime import read
from tests.doors.serve import PROMPT, Clock, Serve
from tests.faults.process import Process
from tests.support.program import ROOT

from .conftest import Run

pytestmark = pytest.mark.alone


def test_it_serves_at_every_door_and_stops(daemon: Process, run: Run) -> None:
    line = daemon.start()
    assert (line["event"], line["pid"]) == ("ready", daemon.pid)  # no boot loader stays between
    made = json.loads(run("planning", "projects", "create", "Frozen", "FRZ", "--json").stdout)
    found = read(daemon.data_dir)
    assert found is not None
    for path, part in (("/health", '"status":"healthy"'), (f"/api/planning/projects/{made['id']}", '"Frozen"')):
        request = urllib.request.Request(f"{found.http}{path}", headers={"Authorization": f"Bearer {found.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert part in answer.read().decode()
    assert daemon.call("planning.projects.get", id=made["id"])["name"] == "Frozen"
    assert "planning projects create" in run("completion", "bash").stdout
    assert json.loads(run("stop").stdout) == {"stopped": True}
    assert daemon.wait() == 0
    assert not (daemon.data_dir / "runtime.json").exists()


def test_its_contract_is_that_of_the_source(daemon: Process) -> None:
    """Descriptions of fields are read from the source files, which a build could lack without failing."""
    daemon.start()
    daemon.call("operations.list", prefix="operations.")  # answers when the plugins are loaded
    found = read(daemon.data_dir)
    assert found is not None
    request = urllib.request.Request(f"{found.http}/openapi.json", headers={"Authorization": f"Bearer {found.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == json.loads((ROOT / "schema" / "openapi.json").read_text("utf-8"))


def test_who_comes_second_attaches(daemon: Process, built: Path) -> None:
    line = daemon.start()
    second = Process(daemon.data_dir, command=[str(built)])
    assert second.start() == {**line, "event": "attached"}
    assert second.wait() == 0
    from_source = spawn.attach_or_spawn(daemon.data_dir, ["no-such-program"])
    assert from_source.pid == daemon.pid


def test_a_command_starts_the_build_itself(run: Run, tmp_path: Path) -> None:
    started = run("planning", "projects", "list", "--json")
    assert "starting the daemon" in started.stderr
    found = read(tmp_path / "data")
    assert found is not None
    run("stop")
    assert spawn.wait_stopped(found, 30)


@pytest.mark.parametrize("way", ["parent", "input", "signal"])
def test_it_ends_with_who_started_it(way: str, tmp_path: Path, built: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        options = ("--parent-pid", str(parent.pid)) if way == "parent" else ("--watch-stdin",)
        with Serve(tmp_path, *options, stdin=subprocess.PIPE, command=[str(built)]) as serve:
            serve.ready()
            serve.call("planning.tasks.create", title="kept")
            clock = Clock()
            if way == "parent":
                parent.kill()
            elif way == "input":
                assert serve.popen.stdin is not None
                serve.popen.stdin.close()
            else:
                serve.popen.terminate()
            assert serve.end() == 0
            assert clock.seconds < PROMPT
        parent.kill()
