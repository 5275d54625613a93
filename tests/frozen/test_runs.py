"""Programs that the build starts: without its libraries. That they are found again and end is in tests/life."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from coder_ipc.client import Client
from tests.faults.process import Process

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")]
FOREIGN = "/opt/of-the-user"


def step(*run: str) -> dict[str, Any]:
    return {"key": "only", "kind": "command", "input": {"run": list(run)}}


def start(daemon: Process, folder: Path, *run: str) -> str:
    folder.mkdir()
    return daemon.confirmed("execution.start", steps=[step(*run)], folder=str(folder))["run"]["id"]


def follow(client: Client, id: str, until: str) -> str:
    """Return the output of a run, read until it has a status or says a text."""
    text = ""
    for said in client.items("execution.runs.follow", {"id": id}):
        text += said.get("text", "") if said["type"] == "output" else ""
        if until in text or (said["type"] == "run" and said["status"] == until):
            return text
    raise AssertionError(text)


def test_a_step_has_the_environment_of_the_shell_and_none_of_the_build(daemon: Process, tmp_path: Path) -> None:
    daemon.start(LD_LIBRARY_PATH=FOREIGN)
    id = start(daemon, tmp_path / "work", "env")
    with daemon.client() as client:
        lines = follow(client, id, "succeeded").splitlines()
    assert f"LD_LIBRARY_PATH={FOREIGN}" in lines
    assert not [line for line in lines if line.startswith("_PYI_") or "_ORIG=" in line or "_internal" in line]
