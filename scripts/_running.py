"""What a set-up needs of the machine: one at a time, stamps written whole, commands run with a log and progress."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO


class SetupError(Exception):
    """The checkout could not be made ready; the message names the cause and the cure."""


def say(text: str) -> None:
    """Print one progress line on standard error, so that standard output stays the caller's."""
    print(f"set-up: {text}", file=sys.stderr, flush=True)


def has_text(path: Path, text: str) -> bool:
    """Tell whether a stamp stands and says this."""
    try:
        return path.read_text("utf-8") == text
    except OSError:
        return False


def write_stamp(path: Path, text: str) -> None:
    """Write a stamp in one step: a reader at the same moment never sees half of one."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(text, "utf-8")
    half.replace(path)


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file, waiting for it as long as need be; the system frees it when the process dies."""
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a+b") as file:
        # Inherited by pip and npm: one that outlives a killed set-up keeps the next from building beside it.
        os.set_inheritable(file.fileno(), True)
        if not _try_lock(file):
            say("waiting for another set-up of this checkout")
            while not _try_lock(file):
                time.sleep(0.1)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def run_logged(
    command: Sequence[str], folder: Path, log: Path, failure: str, env: Mapping[str, str] | None = None
) -> None:
    """Run a command with its output in the log, show that it moves, and show the log's end when it fails.

    `env` is added to the environment.
    """
    tail: list[str] = []
    progress = _Progress()
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONIOENCODING": "utf-8", **(env or {})}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with process:
            assert process.stdout is not None  # noqa: S101 - asked for above
            for line in process.stdout:
                file.write(line)
                tail = [*tail[-19:], line.rstrip()]
                progress.show(line)
    progress.end()
    if process.returncode != 0:
        end = "\n".join(f"    {line}" for line in tail)
        raise SetupError(
            f"{failure} (exit code {process.returncode}). The end of {log}:\n{end}\n"
            "  Check the network and the lines above, then run the same command again."
        )


class _Progress:
    """Show which package a running pip is at: in place on a terminal, else one line every ten seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._count = 0
        self._shown_at = time.monotonic()
        self._dirty = False

    def show(self, line: str) -> None:
        words = line.split()
        if len(words) < 2 or words[0] not in {"Collecting", "Installing", "Building"}:
            return
        self._count += words[0] == "Collecting"
        text = f"set-up:   {self._count} packages, {' '.join(words[:3])}"[:78]
        if self._terminal:
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
            self._dirty = True
        elif time.monotonic() - self._shown_at > 10:
            print(text, file=sys.stderr, flush=True)
            self._shown_at = time.monotonic()

    def end(self) -> None:
        if self._dirty:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
