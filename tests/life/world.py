"""A data directory, the program under test, and short words for what the tests do with both."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from coder_ipc import RemoteError, runtime
from coder_ipc.client import Client
from coder_local.testing.daemon import environment
from tests.doors.serve import Serve

from .family import Family

LIMIT = 60.0
SOURCE = pytest.mark.parametrize("program", ["source"], indirect=True)
"""For what does not depend on how the program is built."""
ENDS = {"succeeded", "failed", "cancelled", "timed_out", "needs_decision"}


class World:
    """The data directory `data` of a folder, and a folder `work` for runs; use it in a `with` block."""

    def __init__(self, folder: Path, program: Sequence[str], kin: Family) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.work = folder / "work"
        self.work.mkdir()
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.env = {"TMPDIR": str(self.temporary)}
        self.program = list(program)
        self.kin = kin
        self._stack = contextlib.ExitStack()

    def serve(self, *options: str, stdin: int = subprocess.DEVNULL, program: Sequence[str] = ()) -> Serve:
        """Start `serve` and return it when it has said its line."""
        started = Serve(self.folder, *options, stdin=stdin, env=self.env, command=program or self.program)
        self._stack.enter_context(started)
        self.line = started.ready()
        return started

    def run(self, *arguments: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Run a command on the data directory."""
        return subprocess.run(
            [*self.program, "--data-dir", str(self.data), *arguments], env=environment(self.env),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def client(self) -> Client:
        return Client.connect(self.data)

    def call(self, name: str, /, **input: Any) -> Any:
        """Call, and confirm as the person would when asked to."""
        with self.client() as client:
            try:
                return client.call(name, input, timeout=LIMIT)
            except RemoteError as error:
                if error.kind != "needs_confirmation" or error.data is None:
                    raise
                return client.call(name, {**input, "confirm": error.data["confirm"]}, timeout=LIMIT)

    def start(self, shell: str, **step: Any) -> str:
        """Start a run of one program in the folder `work`; return its id."""
        steps = [{"key": "only", "kind": "command", "input": {"shell": shell}, **step}]
        return str(self.call("execution.start", steps=steps, folder=str(self.work))["run"]["id"])

    def until_ended(self, run: str) -> str:
        """Follow a run to its end; return its status."""
        with self.client() as client:
            limit = threading.Timer(LIMIT, client.close)
            limit.start()
            try:
                for said in client.items("execution.runs.follow", {"id": run}):
                    if said["type"] == "run" and said["status"] in ENDS:
                        return str(said["status"])
            finally:
                limit.cancel()
        raise AssertionError(self.call("execution.runs.get", id=run))

    def lines(self, name: str = "lines") -> list[str]:
        """Return the whole lines of a file of the folder `work`."""
        path = self.work / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def until_lines(self, count: int, name: str = "lines") -> None:
        """Wait until a file of the folder `work` has so many lines."""
        end = time.monotonic() + LIMIT
        while len(self.lines(name)) < count:
            assert time.monotonic() < end, self.lines(name)
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the daemon if one runs, and wait until its process has ended."""
        ended = self.run("stop")
        assert ended.returncode == 0, ended.stderr

    def traces(self) -> list[str]:
        """Return what a daemon that runs no more should not have left."""
        found = [name for name in (runtime.RUNTIME_FILE, "daemon.sock") if (self.data / name).exists()]
        found += [path.name for path in self.data.glob(f".{runtime.RUNTIME_FILE}.*")]
        return found + [path.name for path in self.temporary.iterdir()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def answer(text: str) -> dict[str, Any]:
    """Return the JSON that a command printed."""
    found: dict[str, Any] = json.loads(text)
    return found
