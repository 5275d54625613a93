"""The types hold: what a plugin may write is clean, and each mistake is an error to both type checkers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coder_local.testing import sandbox
from coder_local.testing.daemon import environment

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "tests" / "typing_tests"
MISTAKES = sorted(FILES.glob("refuses_*.py"))


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_mypy_finds_every_mistake_and_nothing_else() -> None:
    ran = run("mypy", "--config-file", "pyproject.toml", str(FILES.relative_to(ROOT)))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_pyright_finds_every_mistake_and_nothing_else() -> None:
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("pyright runs on Node, which is not here")
    ran = run("pyright", "--pythonpath", sys.executable, "-p", str(FILES.relative_to(ROOT)))
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_are_mistakes_to_find() -> None:
    text = "".join(path.read_text("utf-8") for path in MISTAKES)
    assert len(re.findall(r"# pyright: ignore\[", text)) > 40
    assert len(re.findall(r"# type: ignore\[", text)) > 35


def test_what_the_types_allow_can_be_declared_and_run() -> None:
    from tests.typing_tests.keeps import domain

    with sandbox(domain) as box:
        book = box.call("shelf.books.create", title="Walden", price={"minor": 1050, "currency": "USD"})
        assert box.call("shelf.books.get", id=book["id"])["price"] == {"minor": 1050, "currency": "USD"}
        assert box.call("shelf.count") == 1
