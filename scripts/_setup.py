"""Make the checkout ready to run: `.venv` with everything installed, and the Node packages.

Runs on a bare Python and uses the standard library only. When all is current nothing is touched and no process is
started; several set-ups at once do the work once; one that was cut off is noticed and done anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _running import SetupError, has_text, one_at_a_time, run_logged, say, write_stamp

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20
# The client first: the example links to it.
NODE_FOLDERS = ("ipc/node", "ipc/electron-example")

LOCK = "setup.lock"
LOG = "setup.log"
STAMP = "setup-stamp"
UNFINISHED = "setup-unfinished"


def venv_bin(root: Path = ROOT) -> Path:
    """Return the folder of the environment's commands."""
    return root / ".venv" / ("Scripts" if os.name == "nt" else "bin")


def venv_python(root: Path = ROOT) -> Path:
    """Return the environment's interpreter, whether or not it exists yet."""
    return venv_bin(root) / ("python.exe" if os.name == "nt" else "python")


def ensure_python(root: Path = ROOT) -> Path:
    """Bring `.venv` up to date with pyproject.toml and return its interpreter.

    Takes about a minute the first time and some milliseconds when all is current. Raises SetupError.
    """
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"Python 3.11 or newer is needed, this is {found}: run it with a newer python3")
    wanted = python_fingerprint(root)
    if not _is_current(root, wanted):
        with one_at_a_time(root / ".venv" / LOCK):
            if not _is_current(root, wanted):
                _update_environment(root, wanted)
    return venv_python(root)


def python_fingerprint(root: Path = ROOT) -> str:
    """Return the checkout's path and a hash of all that decides what belongs into `.venv`, a line each.

    The path is part of it because an environment that was moved still points at the old place.
    """
    project = _read_pyproject(root)
    parts = {
        "build": project.get("build-system"),
        "project": project.get("project"),
        "groups": project.get("dependency-groups"),
        "packaging": project.get("tool", {}).get("hatch"),
        "python": [sys.implementation.name, *sys.version_info[:2], sys.platform],
    }
    return f"{root}\n{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}\n"


def development_requirements(root: Path = ROOT) -> list[str]:
    """Return the `dev` group of pyproject.toml, groups that it includes expanded.

    The names are handed to pip one by one: `pip install --group` is newer than the pip that Python 3.11 brings.
    """
    groups: dict[str, list[Any]] = _read_pyproject(root).get("dependency-groups", {})

    def expand(name: str) -> Iterator[str]:
        for item in groups.get(name, []):
            if isinstance(item, str):
                yield item
            else:
                yield from expand(item["include-group"])

    return list(expand("dev"))


def build_requirements(root: Path = ROOT) -> list[str]:
    """Return what a build needs: the project's dependencies, what makes its wheel, and PyInstaller."""
    project = _read_pyproject(root)
    freezer = [each for each in development_requirements(root) if each.startswith("pyinstaller")]
    return [*project["project"]["dependencies"], *project["build-system"]["requires"], *freezer]


def _read_pyproject(root: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - missing before 3.11, where the message about the version must still be printed

    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def _is_current(root: Path, wanted: str) -> bool:
    venv = root / ".venv"
    return has_text(venv / STAMP, wanted) and not (venv / UNFINISHED).exists() and venv_python(root).exists()


def _update_environment(root: Path, wanted: str) -> None:
    """Install into `.venv`, after building it anew when it cannot be trusted."""
    started = time.monotonic()
    unfinished = root / ".venv" / UNFINISHED
    fault = _fault_of_environment(root)
    if fault is not None:
        _create_environment(root, fault)
    unfinished.touch()
    say("installing the project and its development tools (the first time takes about a minute)")
    requirements = development_requirements(root)
    command = [
        str(venv_python(root)),
        "-m",
        "pip",
        "install",
        "--compile",
        "--no-input",
        "--progress-bar=off",
    ]
    try:
        command += ["--editable", str(root), *requirements]
        run_logged(command, root, root / ".venv" / LOG, "pip could not install the packages")
    except SetupError:
        # pip rolled its own work back: what stood here before is still whole and need not be built anew.
        if fault is None:
            unfinished.unlink(missing_ok=True)
        raise
    _compile_sources(root)
    write_stamp(root / ".venv" / STAMP, wanted)
    unfinished.unlink(missing_ok=True)
    say(f"environment ready in {time.monotonic() - started:.0f} s")


def _fault_of_environment(root: Path) -> str | None:
    """Return why `.venv` must be built anew, or None when packages can be installed into it as it is."""
    if (root / ".venv" / UNFINISHED).exists():
        return "an earlier set-up was interrupted"
    python = venv_python(root)
    if not python.exists():
        return "it does not exist"
    probe = "import sys, pip; print(sys.version_info[0], sys.version_info[1])"
    answer = subprocess.run([str(python), "-I", "-c", probe], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return "its interpreter does not run, or has no pip"
    major, minor = answer.stdout.split()
    if (int(major), int(minor)) != sys.version_info[:2]:
        return f"it holds Python {major}.{minor}, this is {sys.version_info[0]}.{sys.version_info[1]}"
    # Its commands would start the old place's interpreter, which may well still be there.
    place = _place_of_stamp(root / ".venv")
    return f"it was made at {place}" if place not in {"", str(root)} else None


def _place_of_stamp(venv: Path) -> str:
    """Return the checkout that the environment was last set up for, or "" when it was made by other means."""
    try:
        return (venv / STAMP).read_text("utf-8").partition("\n")[0]
    except OSError:
        return ""


def _create_environment(root: Path, reason: str) -> None:
    venv = root / ".venv"
    if Path(sys.prefix).resolve() == venv.resolve():
        raise SetupError(f"{venv} must be built anew ({reason}) and cannot do so itself: run with the system's python3")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(_cure_for_missing_venv())
    say(f"making {venv} ({reason})")
    (venv / UNFINISHED).touch()
    _empty_environment(venv)
    run_logged([sys.executable, "-m", "venv", str(venv)], root, venv / LOG, "the environment could not be made")


def _cure_for_missing_venv() -> str:
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    cure = "install Python anew with its venv and ensurepip modules"
    if shutil.which("apt-get"):
        cure = f"run: sudo apt-get install {package} (or python3-venv)"
    return f"this Python cannot make virtual environments (venv or ensurepip is missing): {cure}"


def _empty_environment(venv: Path) -> None:
    """Remove all but the lock, on which others wait, and the mark, which must outlive an interruption here."""
    for entry in venv.iterdir():
        if entry.name in {LOCK, LOG, UNFINISHED}:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _compile_sources(root: Path) -> None:
    """Compile the checkout's own modules: without bytecode the daemon starts two and a half times slower."""
    folders = [folder for folder in ("coder_local", "plugins", "ipc/coder_ipc") if (root / folder).is_dir()]
    if folders:
        say("compiling bytecode")
        command = [str(venv_python(root)), "-m", "compileall", "-q", *folders]
        # A module that does not compile is shown, with its line, by whatever imports it: no reason to refuse.
        subprocess.run(command, cwd=root, check=False, stdout=sys.stderr)


def find_node() -> tuple[str | None, str]:
    """Return the path of Node and "", or None and what is wrong with the machine's Node."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return None, f"node and npm are not installed: install Node {OLDEST_NODE} or newer"
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = answer.lstrip("v").split(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        return None, f"Node {answer or 'does not run'}: install Node {OLDEST_NODE} or newer"
    return node, ""


def ensure_node(root: Path = ROOT) -> None:
    """Install the packages of NODE_FOLDERS as locked, unless they stand. Needs node and npm; raises SetupError.

    Install scripts of packages are not run: nothing used here needs them, and some would download programs.
    """
    for name in NODE_FOLDERS:
        folder = root / name
        lock = folder / "package-lock.json"
        if lock.exists():
            _install_node_packages(root, folder, lock)


def _install_node_packages(root: Path, folder: Path, lock: Path) -> None:
    stamp = folder / "node_modules" / f".{STAMP}"
    wanted = hashlib.sha256(lock.read_bytes() + (folder / "package.json").read_bytes()).hexdigest()
    if has_text(stamp, wanted):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(find_node()[1])
    with one_at_a_time(root / ".venv" / LOCK):
        if not has_text(stamp, wanted):
            say(f"installing the Node packages of {folder.relative_to(root).as_posix()}")
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run_logged(command, folder, root / ".venv" / LOG, "npm could not install the packages")
            stamp.parent.mkdir(exist_ok=True)
            write_stamp(stamp, wanted)


def main() -> int:
    """Set everything up and say where the environment is."""
    try:
        python = ensure_python()
        node, fault = find_node()
        if node is not None:
            ensure_node()
        else:
            say(f"the Node packages are left out: {fault}")
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run does it anew")
        return 130
    say(f"ready: {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
