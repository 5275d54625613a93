"""`scripts/test.py` without Node: it says loudly what it left out, and with CI=true that is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODES = ("node", "node.exe", "nodejs", "npm", "npm.cmd")
# Everything of the script but what takes minutes: the set-up, the checks of the sources, the Python tests.
SHORTENED = """
import sys
sys.path.insert(0, {scripts!r})
import test as script
script.ensure_python = lambda: script.Path(sys.executable)
script.ensure_node = lambda: None
script.Runner.check = lambda self, name, command, **_: (
    self.outcomes.append(script.Outcome(name, script.PASSED)), print("ran", name), 0)[2]
script.Runner.begin = lambda self, name, command: lambda: self.check(name, command)
sys.argv = ["test.py"]
sys.exit(script.main())
"""


@pytest.fixture
def path_without_node(tmp_path: Path) -> str:
    """A PATH with the same commands as ours, and no Node."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for command in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / command.name
            if command.name not in NODES and not link.is_symlink():
                link.symlink_to(command)
    assert shutil.which("node", path=str(folder)) is None
    return str(folder)


def run(path: str, ci: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    environment.pop("CI", None)
    if ci is not None:
        environment["CI"] = ci
    return subprocess.run(
        [sys.executable, "-c", SHORTENED.format(scripts=str(ROOT / "scripts"))],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize(
    ("ci", "code", "word"), [(None, 0, "LEFT OUT"), ("false", 0, "LEFT OUT"), ("true", 1, "FAILED")]
)
def test_without_node_its_tests_are_left_out_loudly_and_under_ci_that_fails(
    path_without_node: str, ci: str | None, code: int, word: str
) -> None:
    ran = run(path_without_node, ci)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "!!! Node tests LEFT OUT" in ran.stdout
    assert "!!! pyright LEFT OUT" in ran.stdout
    summary = ran.stdout.partition("=== summary")[2].splitlines()
    for name in ("Node tests", "pyright"):
        (line,) = [each for each in summary if f"  {name}" in each]
        assert line.split("  ")[1] == word
        assert "left out:" in line
    assert "ran pytest" in ran.stdout  # the rest runs all the same


def test_with_node_nothing_is_left_out() -> None:
    if shutil.which("node") is None:
        pytest.skip("NOT TESTED HERE: there is no Node")
    ran = run(os.environ["PATH"], "true")
    assert "LEFT OUT" not in ran.stdout, ran.stdout
    assert "ran Node tests" in ran.stdout
    assert ran.returncode == 0
