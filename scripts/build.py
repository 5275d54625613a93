"""Make the one-folder build in `dist/coder-local`: `build.py [--check] [--rounds N]`.

A wheel is built from the checkout and installed with what it requires, and with PyInstaller, into an environment of its
own under `build/`; there pyinstaller.spec runs, so that nothing of the checkout or of the development tools gets in by
accident. Then the build looks itself over, and its size and start are measured. What stands is not made anew: a
second run with nothing changed takes a second. `--check` fails when a goal is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _running import SetupError, has_text, one_at_a_time, run_logged, say, write_stamp
from _setup import ROOT, build_requirements, python_fingerprint

PLACE = ROOT / "build" / "frozen"
BUILT = ROOT / "dist" / "coder-local"
STAMP = ROOT / "dist" / "coder-local.stamp"
SOURCES = ("coder_local", "plugins", "ipc/coder_ipc")
RECIPE = ("pyproject.toml", "pyinstaller.spec", "scripts/_frozen_entry.py", "scripts/build.py")
MOST_MB = 70.0
MOST_RATIO = 1.5
ROUNDS = 7


def environment_python() -> Path:
    """Return the interpreter of the environment that builds are made in, whether or not it exists yet."""
    return PLACE / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def program() -> Path:
    """Return the program of the build."""
    return BUILT / ("coder-local.exe" if os.name == "nt" else "coder-local")


def fingerprint() -> str:
    """Return a hash of all that decides what the build is made of."""
    digest = hashlib.sha256(python_fingerprint(ROOT).encode())
    for path in _inputs():
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{digest.hexdigest()}\n"


def _inputs() -> Iterator[Path]:
    yield from (ROOT / name for name in RECIPE)
    for folder in SOURCES:
        yield from sorted(
            path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )


def build() -> None:
    """Make the build, unless it stands as the sources are. Raises SetupError."""
    wanted = fingerprint()
    with one_at_a_time(ROOT / "build" / "frozen.lock"):
        if _is_current(wanted):
            say("the build is up to date")
            return
        STAMP.unlink(missing_ok=True)
        started = time.monotonic()
        PLACE.mkdir(parents=True, exist_ok=True)
        _make_environment()
        _install_wheel()
        _freeze()
        write_stamp(STAMP, wanted)
        say(f"built in {time.monotonic() - started:.0f} s")


def _is_current(wanted: str) -> bool:
    return has_text(STAMP, wanted) and program().exists()


def _make_environment() -> None:
    """Install what the wheel requires and what builds it; kept until that changes."""
    stamp = PLACE / "environment-stamp"
    requirements = build_requirements(ROOT)
    wanted = f"{python_fingerprint(ROOT)}{json.dumps(requirements)}\n"
    if has_text(stamp, wanted) and environment_python().exists():
        return
    stamp.unlink(missing_ok=True)
    say("making the environment of the build")
    _run([sys.executable, "-m", "venv", "--clear", str(PLACE / "venv")], "the environment could not be made")
    install = ["-m", "pip", "install", "--no-input", "--progress-bar=off", *requirements]
    _run([str(environment_python()), *install], "pip could not install the packages")
    write_stamp(stamp, wanted)


def _install_wheel() -> None:
    say("building the wheel")
    python = str(environment_python())
    wheels = PLACE / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels)]
    _run([python, "-m", "pip", "wheel", *options, str(ROOT)], "the wheel could not be built")
    wheel = next(wheels.glob("*.whl"))
    _run([python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel)], "no wheel")


def _freeze() -> None:
    """Run PyInstaller on copies: beside the spec it would find the checkout's packages, and take those."""
    say("running PyInstaller")
    recipe = PLACE / "recipe"
    shutil.rmtree(recipe, ignore_errors=True)
    (recipe / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "pyinstaller.spec", recipe)
    shutil.copy(ROOT / "scripts" / "_frozen_entry.py", recipe / "scripts")
    places = ["--distpath", str(PLACE / "dist"), "--workpath", str(PLACE / "work")]
    command = [str(environment_python()), "-m", "PyInstaller", "--noconfirm", *places, "pyinstaller.spec"]
    _run(command, "PyInstaller failed", folder=recipe)
    BUILT.parent.mkdir(exist_ok=True)
    shutil.rmtree(BUILT, ignore_errors=True)
    (PLACE / "dist" / "coder-local").rename(BUILT)


def _run(command: list[str], failure: str, folder: Path = ROOT) -> None:
    # the same build from the same sources, whatever an earlier one of another checkout left behind
    environment = {"SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0", "PYINSTALLER_CONFIG_DIR": str(PLACE / "cache")}
    run_logged(command, folder, PLACE / "build.log", failure, environment)


def check_itself() -> dict[str, Any]:
    """Have the build look itself over, and return what it says. Raises SetupError for its faults."""
    answer = subprocess.run([str(program()), "selfcheck"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SetupError(f"the build is not whole:\n{answer.stdout}{answer.stderr}")
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


def size_mb(path: Path) -> float:
    """Return the size of a file or of all files of a folder, in MB of 1,000,000 bytes; links count nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(each.stat().st_size for each in files if each.is_file() and not each.is_symlink()) / 1e6


def biggest(count: int = 10) -> list[tuple[float, str]]:
    """Return the largest parts of the build."""
    parts = [*BUILT.iterdir(), *(BUILT / "_internal").iterdir()]
    sizes = [(size_mb(part), part.name) for part in parts if part.name != "_internal"]
    return sorted(sizes, reverse=True)[:count]


def packed_mb() -> float:
    """Return the size of the build as a compressed archive, which is made for this and removed."""
    archive = PLACE / "coder-local.tar.xz"
    with tarfile.open(archive, "w:xz", preset=6) as tar:
        tar.add(BUILT, BUILT.name)
    size = size_mb(archive)
    archive.unlink()
    return size


def start_times(rounds: int) -> tuple[float, float]:
    """Return the median milliseconds from spawn to the first answer: of the build, and from source."""
    bench = ROOT / "scripts" / "bench" / "frozen.py"
    command = [str(environment_python()), str(bench), "--json", str(rounds)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    frozen, source = json.loads(answer.stdout)
    return frozen, source


def report_size(*, packed: bool) -> Iterator[str]:
    """Print the size and the largest parts; yield the goal if it is missed."""
    size = size_mb(BUILT)
    print(f"size       {size:.1f} MB (goal {MOST_MB:g})" + (f", {packed_mb():.1f} MB as .tar.xz" if packed else ""))
    for part, name in biggest():
        print(f"  {part:>6.1f} MB  {name}")
    if size > MOST_MB:
        yield f"it has {size:.1f} MB, over {MOST_MB:g}"


def report_start(rounds: int) -> Iterator[str]:
    """Measure and print the start; yield the goal if it is missed."""
    frozen, source = start_times(rounds)
    if frozen > MOST_RATIO * source:  # a miss is believed when it is seen twice: the machine does other things too
        frozen, source = start_times(2 * rounds)
    ratio = frozen / source
    print(f"start      {frozen:.0f} ms to the first answer, {source:.0f} ms from source: {ratio:.2f} ({MOST_RATIO:g})")
    if ratio > MOST_RATIO:
        yield f"its start takes {ratio:.2f} times that from source"


def report(rounds: int, *, packed: bool) -> list[str]:
    """Have the build look itself over, measure it, print, and return the goals that are missed. Raises SetupError."""
    said = check_itself()
    print(f"versions   Python {said['python']}, SQLite {said['sqlite']}, {said['openssl']}")
    for warning in said["warnings"]:
        print(f"warning    {warning}")
    missed = list(report_size(packed=packed))
    return [*missed, *report_start(rounds)] if rounds else missed


def main() -> int:
    """Build, and say what came out."""
    parser = argparse.ArgumentParser(description="Make the one-folder build in dist/coder-local.")
    parser.add_argument("--is-current", action="store_true", help="build nothing; exit code 1 if it is to be made anew")
    parser.add_argument("--check", action="store_true", help="fail when the size or the start misses its goal")
    parser.add_argument("--packed", action="store_true", help="tell the size as .tar.xz too (20 s)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"starts to measure ({ROUNDS}; 0: none)"
    )
    options = parser.parse_args()
    if options.is_current:
        return 0 if _is_current(fingerprint()) else 1
    try:
        build()
        missed = report(options.rounds, packed=options.packed)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run does it anew")
        return 130
    for each in missed:
        say(f"goal missed: {each}")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
