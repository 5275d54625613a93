"""From spawn to the first answer on the socket, and of a small command: the one-folder build, floored by the source.

The build must stand: `python scripts/build.py`. With `--json ROUNDS` only the first figure is measured, and its two
medians are printed for a program.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from measure import Figure, interleave, main, median
from servers import ROOT, environment, folders
from start import hello, timed

ROUNDS = 15
PROGRAM = ROOT / "dist" / "coder-local" / ("coder-local.exe" if sys.platform == "win32" else "coder-local")
FROZEN = (str(PROGRAM),)
SOURCE = (sys.executable, "-m", "coder_local")


def _serve(command: tuple[str, ...], folder: Path) -> list[str]:
    return [*command, "serve", "--data-dir", str(folder)]


def first_answers(rounds: int) -> tuple[float, float]:
    """Return the median milliseconds from spawn to the first answer, of the build and from source."""
    with folders("frozen", "source") as (ours, theirs):
        sides = interleave(
            lambda: timed(_serve(FROZEN, ours), ours, hello),
            lambda: timed(_serve(SOURCE, theirs), theirs, hello),
            rounds,
        )
    return median(sides[0]), median(sides[1])


def _milliseconds(command: tuple[str, ...], *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([*command, *arguments], check=True, env=environment(), stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def run() -> list[Figure]:
    """Measure."""
    if not PROGRAM.exists():
        print(f"left out: there is no {PROGRAM}; make it with: python scripts/build.py", file=sys.stderr)
        return []
    small = interleave(
        lambda: _milliseconds(FROZEN, "--version"), lambda: _milliseconds(SOURCE, "--version"), rounds=ROUNDS
    )
    return [
        Figure("spawn to the first answer, frozen / from source", "ms", *first_answers(ROUNDS), 1.5),
        Figure("`--version`, frozen / from source", "ms", *map(median, small), float("inf"), note="no goal set"),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--json"]:
        print(json.dumps(first_answers(int(sys.argv[2]))))
    else:
        main(run, {})
