from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Process

NOTES = Path(__file__).parent.parent / "support" / "notes"


def put_notes(data_dir: Path) -> None:
    """Put the notes plugin into the plugin folder of a data directory."""
    shutil.copytree(NOTES, data_dir / "plugins" / "notes", ignore=shutil.ignore_patterns("__pycache__"))


def enable(process: Process, name: str) -> None:
    """Enable a plugin as its owner does: by name, confirmed for its exact content."""
    process.confirmed("plugins.enable", name=name)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Process]:
    """A running daemon with the notes plugin enabled; the test may kill and start it again."""
    put_notes(data_dir)
    process = Process(data_dir)
    process.start()
    enable(process, "notes")
    yield process
    process.kill()
