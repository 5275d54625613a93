"""The build as a person and a browser meet it; how it lives and dies is in tests/life, which runs from it too."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from coder_ipc import spawn
from coder_ipc.runtime import read
from tests.faults.process import Process
from tests.support.program import ROOT

from .conftest import Run

pytestmark = pytest.mark.alone


def test_it_serves_at_every_door_what_the_source_promises_and_stops(daemon: Process, run: Run, built: Path) -> None:
    line = daemon.start()
    assert (line["event"], line["pid"]) == ("ready", daemon.pid)  # no boot loader stays between
    made = json.loads(run("planning", "projects", "create", "Frozen", "FRZ", "--json").stdout)
    assert '"status":"healthy"' in _get(daemon, "/health")
    assert '"Frozen"' in _get(daemon, f"/api/planning/projects/{made['id']}")
    # descriptions of fields are read from the source files, which a build could lack without failing
    assert json.loads(_get(daemon, "/openapi.json")) == json.loads(
        (ROOT / "schema" / "openapi.json").read_text("utf-8")
    )
    assert daemon.call("planning.projects.get", id=made["id"])["name"] == "Frozen"
    assert "planning projects create" in run("completion", "bash").stdout
    second = Process(daemon.data_dir, command=[str(built)])
    assert second.start() == {**line, "event": "attached"}
    assert second.wait() == 0
    assert spawn.attach_or_spawn(daemon.data_dir, ["no-such-program"]).pid == daemon.pid  # from source
    assert json.loads(run("stop").stdout) == {"stopped": True}
    assert daemon.wait() == 0
    assert not (daemon.data_dir / "runtime.json").exists()


def _get(daemon: Process, path: str) -> str:
    found = read(daemon.data_dir)
    assert found is not None
    request = urllib.request.Request(f"{found.http}{path}", headers={"Authorization": f"Bearer {found.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        said: str = answer.read().decode()
        return said
