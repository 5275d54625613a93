"""`coder-local --help`, `--version`, a call and `status`: the time of the whole process, from start to end.

Floor: `python -c pass`. The goal for the help is 1.5 times that and 100 ms; the other figures are given beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Figure, interleave, main, median

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 15
_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "ipc"))}
_COMMAND = ("-m", "coder_local")


def _milliseconds(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env=_ENV, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def _figure(name: str, *arguments: str) -> Figure:
    ours, bare = interleave(
        lambda: _milliseconds(*_COMMAND, *arguments), lambda: _milliseconds("-c", "pass"), rounds=ROUNDS
    )
    allowed = 1.5 * median(bare) + 100
    return Figure(name, "ms", median(ours), allowed, 1.0, note=f"`python -c pass`: {median(bare):.1f} ms")


def run() -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        own = ("--data-dir", folder, "--quiet")
        figures = [_figure("`coder-local --help`", "--help"), _figure("`coder-local --version`", "--version")]
        _milliseconds(*_COMMAND, *own, "changes", "list")  # starts the daemon
        try:
            figures.append(_figure("`coder-local changes list`", *own, "changes", "list"))
            figures.append(_figure("`coder-local status`", *own, "status"))
        finally:
            _milliseconds(*_COMMAND, *own, "stop")
    return figures


if __name__ == "__main__":
    main(run, {})
