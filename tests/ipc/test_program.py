"""How the program is started again, from source and frozen, and what its children inherit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coder_ipc import program
from coder_local.testing.daemon import environment

BUILD = "/opt/coder-local/_internal"


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the boot loader of a build sets."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", BUILD, raising=False)


def test_the_words_start_this_program_whatever_stands_in_the_folder(tmp_path) -> None:
    (tmp_path / "coder_local").mkdir()
    (tmp_path / "coder_local" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "coder_local" / "__main__.py").write_text("raise SystemExit('the wrong one')")
    said = subprocess.run(
        program.command("--version"), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("coder-local ")


def test_a_build_is_started_by_its_own_file(frozen: None) -> None:
    assert program.command("serve", "--linger", "1") == [sys.executable, "serve", "--linger", "1"]


def test_from_source_the_environment_is_a_copy() -> None:
    given = {"LD_LIBRARY_PATH": "/a", "LD_LIBRARY_PATH_ORIG": "/b", "_PYI_ARCHIVE_FILE": "another program's"}
    cleaned = program.clean_environment(given)
    assert cleaned == given
    assert cleaned is not given


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"LD_LIBRARY_PATH": BUILD}, {}),
        ({"LD_LIBRARY_PATH": f"{BUILD}/"}, {}),
        ({"LD_LIBRARY_PATH": f"{BUILD}{os.pathsep}/a{os.pathsep}/b", "LD_LIBRARY_PATH_ORIG": f"/a{os.pathsep}/b"},
         {"LD_LIBRARY_PATH": f"/a{os.pathsep}/b"}),
        ({"LD_LIBRARY_PATH": "/set/later", "LD_LIBRARY_PATH_ORIG": "/a"}, {"LD_LIBRARY_PATH": "/set/later"}),
        ({"DYLD_LIBRARY_PATH": BUILD, "DYLD_FRAMEWORK_PATH": f"/f{os.pathsep}{BUILD}"}, {"DYLD_FRAMEWORK_PATH": "/f"}),
        ({"_PYI_ARCHIVE_FILE": "x", "_PYI_PARENT_PROCESS_LEVEL": "1", "_PYI": "kept"}, {"_PYI": "kept"}),
    ],
)  # fmt: skip
def test_nothing_of_the_build_is_inherited(frozen: None, given: dict[str, str], left: dict[str, str]) -> None:
    assert program.clean_environment({"LANG": "C", **given}) == {"LANG": "C", **left}
