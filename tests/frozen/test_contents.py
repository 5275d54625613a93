"""What is in the one-folder build, and what is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from coder_local._registry import plugins
from tests.support.program import ROOT

from .conftest import Run

pytestmark = pytest.mark.alone
MOST_BYTES = 70_000_000


def test_it_finds_itself_whole(run: Run) -> None:
    ended = run("selfcheck")
    said = json.loads(ended.stdout)
    assert (ended.returncode, said["faults"]) == (0, [])
    assert said["plugins"] == [plugin.name for plugin in plugins.bundled()]


def test_it_notices_what_is_lost(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(built.parent), str(copy)], check=True)
    inner = copy / "_internal"
    (inner / "coder_plugins" / "planning" / "migrations").rename(tmp_path / "taken")
    (inner / "coder_plugins" / "execution" / "__init__.py").write_text("import no_such_module\n")
    for cached in (inner / "coder_plugins" / "execution" / "__pycache__").glob("__init__.*"):
        cached.unlink()
    ended = subprocess.run([str(copy / built.name), "selfcheck"], capture_output=True, text=True, check=False)
    faults = "\n".join(json.loads(ended.stdout)["faults"])
    assert ended.returncode == 1
    assert "there is no coder_plugins/planning/migrations/0001" in faults
    assert "execution is not loaded: ModuleNotFoundError" in faults


@pytest.mark.parametrize(
    "words",
    [("_inner",), ("_inner", "coder_plugins", "pdb"), ("_inner", "..", "conftest"), ("-c", "print(1)"), ("-m", "pdb")],
)
def test_it_is_no_python_for_others(run: Run, words: tuple[str, ...]) -> None:
    """What a library tries with `sys.executable` is refused, and is not taken for a start of the daemon."""
    ended = run(*words)
    assert ended.returncode in {1, 2}
    assert ended.stderr.startswith("error: ")
    assert ended.stdout == ""


def test_it_is_small(built: Path) -> None:
    files = [path for path in built.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    names = {path.name for path in files}
    assert not names & {"libtk8.6.so", "libtcl8.6.so", "pytest.ini"}


def test_it_brings_the_licences_of_what_is_in_it(built: Path) -> None:
    found = {path.parent.name for path in (built.parent / "_internal" / "licenses").glob("*/*")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = {re.split(r"[<>=]", each)[0].lower() for each in project["dependencies"]}
    assert required | {"coder-local", "yarl"} <= found


def test_a_build_over_its_goal_fails_the_check() -> None:
    code = "import build, sys; build.MOST_MB = 1; sys.exit(build.main())"
    ran = subprocess.run(
        [sys.executable, "-c", code, "--check", "--rounds", "0"],
        cwd=ROOT / "scripts", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "goal missed: it has" in ran.stderr
    assert "MB  cryptography" in ran.stdout


def test_it_tells_nothing_of_the_machine_that_built_it(built: Path) -> None:
    own = [path for package in ("coder_local", "coder_plugins", "coder_ipc")
           for path in (built.parent / "_internal" / package).rglob("*.pyc")]  # fmt: skip
    assert len(own) > 200
    place = str(ROOT).encode()
    assert [path for path in own if place in path.read_bytes()] == []
