"""`serve` as a shell starts it: with pipes, and options of the spawn contract."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from coder_ipc.client import Client
from coder_local.testing.daemon import environment

PROMPT = 2.0
"""Seconds in which an orphan is gone."""


class Serve:
    """A `serve` that was started; use it in a `with` block, at whose end it is killed if it still runs."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        stdin: int = subprocess.DEVNULL,
        env: dict[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "coder_local"),
    ) -> None:
        self.data_dir = folder / "data"
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                [*command, "serve", "--data-dir", str(self.data_dir), *options],
                stdin=stdin, stdout=subprocess.PIPE, stderr=log, env=environment(env),
            )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        """Return the one line, when it is there."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"exit code {self.popen.wait(10)}: {self.log()}"
        return json.loads(line)

    def client(self) -> Client:
        return Client.connect(self.data_dir)

    def call(self, name: str, /, **input: Any) -> Any:
        with self.client() as client:
            return client.call(name, input, timeout=30)

    def end(self, timeout: float = 30) -> int:
        """Wait for the end of the process; return the exit code."""
        return self.popen.wait(timeout)

    def rest(self) -> bytes:
        """Return what was said on standard output and was not read yet, up to its end."""
        assert self.popen.stdout is not None
        return self.popen.stdout.read()

    def log(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(30)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
