"""The trace of the last starts, on disk at every moment: which stage each came to, how long it took, how it ended.

One JSON object a line in `logs/boot.jsonl`, written through at once (3 us each, without a flush to the disk): where a
start hangs or is killed, the last line tells the stage.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from coder_ipc import process

FILE = "boot.jsonl"
KEPT = 5
"""Starts that are kept."""
_MOST = 64 * 1024
"""Bytes from which on the file is shortened before the start is written: a daemon that never gets ready does not."""
_LINE = 2000
_BEGIN = re.compile(rb'^\{"begin":', re.MULTILINE)

_file: int | None = None
_began = 0.0
_use = threading.Lock()
"""Held by who writes, and while the file is exchanged: the number of a closed one may be another file's by then."""


class Boot(NamedTuple):
    """One start, as its lines tell it."""

    about: dict[str, Any]
    """What the first line says: `pid`, `version`, `at` and so on."""
    stages: list[dict[str, Any]]
    """What was reached: `stage`, `ms` since the process started, and what belongs to it."""
    code: int | None
    """The exit code; None where the process was killed, or still runs."""

    @property
    def last(self) -> str:
        """Return the last stage that it came to."""
        return str(self.stages[-1]["stage"]) if self.stages else "begin"

    @property
    def alive(self) -> bool:
        """Tell whether the process of the start runs still."""
        pid, started = self.about.get("pid"), self.about.get("process_started_at")
        if self.code is not None or type(pid) is not int or type(started) is not float:
            return False
        found = process.started_at(pid)
        return found is not None and abs(found - started) < 1.0  # the clock may have been set by less


def begin(folder: Path, version: str) -> None:
    """Open the trace of a data directory whose lock is held, and write the first line. Nothing that fails here matters.

    Without it, and after `end`, `mark` does nothing: so it is in tests, and where the file cannot be written.
    """
    global _file, _began  # noqa: PLW0603 - one process serves one data directory, and every part of it marks its stage
    path = folder / "logs" / FILE
    now = time.time()
    started = process.started_at(os.getpid()) or now
    _began = time.monotonic() - (now - started)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _shorten(path, _MOST)
        _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:
        return
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
    _write(
        {"begin": at, "pid": os.getpid(), "process_started_at": started, "version": version,
         "python": sys.version.split(" ", 1)[0], "frozen": bool(getattr(sys, "frozen", False))}
    )  # fmt: skip
    mark("lock")


def mark(stage: str, **more: Any) -> None:
    """Write that a stage was reached; `more` is what belongs to it, a plugin's name say. Never a person's texts."""
    if _file is not None:
        _write({"stage": stage, "ms": round((time.monotonic() - _began) * 1000, 1), **more})


def ready(folder: Path) -> None:
    """Write that all has begun, and let the oldest starts go."""
    mark("begun")
    with _use:
        if _file is None:
            return
        try:
            _shorten(folder / "logs" / FILE, 0)
            _reopen(folder / "logs" / FILE)
        except OSError:
            return  # longer than need be, and shortened at the next start


def end(code: int) -> None:
    """Write the exit code as the last line."""
    global _file  # noqa: PLW0603 - see begin
    _write({"end": code, "ms": round((time.monotonic() - _began) * 1000, 1)})
    with _use:
        if _file is not None:
            os.close(_file)
            _file = None


def read(folder: Path) -> list[Boot]:
    """Return the last starts of a data directory, the newest last; a line that is none is passed over."""
    try:
        text = (folder / "logs" / FILE).read_bytes()
    except OSError:
        return []
    found: list[Boot] = []
    for line in _lines(text):
        if "begin" in line:
            found.append(Boot(line, [], None))
        elif found and "stage" in line:
            found[-1].stages.append(line)
        elif found and type(line.get("end")) is int:
            found[-1] = found[-1]._replace(code=line["end"])
    return found[-KEPT:]


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            value: object = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            continue  # cut off by a crash of the machine
        if isinstance(value, dict):
            yield cast("dict[str, Any]", value)


def _write(line: dict[str, Any]) -> None:
    with _use:
        if _file is None:
            return
        try:
            os.write(_file, msgspec.json.encode(line)[:_LINE] + b"\n")
        except OSError:
            return  # a full disk: the log says so


def _shorten(path: Path, most: int) -> None:
    """Keep the last starts of a file that is longer than `most` bytes."""
    try:
        if path.stat().st_size <= most:
            return
        text = path.read_bytes()
    except FileNotFoundError:
        return
    begins = [match.start() for match in _BEGIN.finditer(text)]
    first = begins[-KEPT] if len(begins) > KEPT else 0
    text = text[max(first, len(text) - _MOST) :]
    part = path.with_name(f".{path.name}.part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(text)
    part.replace(path)


def _reopen(path: Path) -> None:
    global _file  # noqa: PLW0603 - see begin
    fresh = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
    if _file is not None:
        os.close(_file)
    _file = fresh
