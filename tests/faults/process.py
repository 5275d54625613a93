"""A daemon process that a test may treat badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coder_ipc import RemoteError
from coder_ipc.client import Client
from coder_local.testing.daemon import environment


class Process:
    """One data directory and the daemon on it."""

    def __init__(self, data_dir: Path, *arguments: str, command: Sequence[str] = (sys.executable, "-m", "coder_local")):
        self.data_dir = data_dir
        self.arguments = arguments
        self.command = command
        self.popen: subprocess.Popen[bytes] | None = None
        self.log = data_dir.parent / f"{data_dir.name}.log"

    def start(self, **env: str) -> dict[str, Any]:
        """Start `serve` and return its ready line. That it is killed is no plugin's fault, unless a test asks whose."""
        env = {"CODER_LOCAL_DAEMON_START_WATCH": "0"} | env
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*self.command, "serve", "--data-dir", str(self.data_dir), *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(env),
            )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(f"no ready line, exit code {self.wait(10)}: {self.log.read_text()[-3000:]}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def client(self) -> Client:
        return Client.connect(self.data_dir)

    def call(self, name: str, /, **input: Any) -> Any:
        with self.client() as client:
            return client.call(name, input, timeout=30)

    def confirmed(self, name: str, /, **input: Any) -> Any:
        """Call, and confirm as the person would when asked to."""
        try:
            return self.call(name, **input)
        except RemoteError as error:
            if error.kind != "needs_confirmation":
                raise
            assert error.data is not None
            return self.call(name, **input, confirm=error.data["confirm"])

    def wait_for_log(self, text: str) -> None:
        """Wait until the log says something: what a start found is written after its first answer."""
        end = time.monotonic() + 20
        while text not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            self.call("daemon.status")

    def kill(self) -> None:
        """SIGKILL: nothing in the process can react."""
        if self.popen is not None and self.popen.poll() is None:
            os.kill(self.popen.pid, signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.popen is not None
        self.popen.terminate()
        return self.wait()

    def wait(self, timeout: float = 30) -> int:
        if self.popen is None:
            return 0
        code = self.popen.wait(timeout)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code
