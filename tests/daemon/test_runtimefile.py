"""The file by which a daemon is found stays there as it was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coder_ipc import runtime
from coder_local._daemon.runtimefile import Published, write

FOUND = runtime.Runtime(1, "1", "a", 4711, 1.0, "/d/daemon.sock", None, "token", "/d")


def test_what_others_made_of_it_is_put_right_and_nothing_else_is_written(tmp_path: Path) -> None:
    path = tmp_path / runtime.RUNTIME_FILE
    write(tmp_path, FOUND)
    published = Published(tmp_path, FOUND)
    before = path.stat().st_ino
    published.look()
    path.write_bytes(path.read_bytes() + b"\n")  # it names the daemon still
    published.look()
    assert path.stat().st_ino == before
    for spoil in (path.unlink, lambda: path.write_text("{}"), lambda: os.truncate(path, 40)):
        spoil()
        assert runtime.read(tmp_path) is None
        published.look()
        assert runtime.read(tmp_path) == FOUND


def test_where_it_cannot_be_put_back_that_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / runtime.RUNTIME_FILE
    write(tmp_path, FOUND)
    published = Published(tmp_path, FOUND)
    path.unlink()
    path.mkdir()
    for _ in range(3):
        published.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert list(tmp_path.iterdir()) == [path]
    path.rmdir()
    published.look()
    assert runtime.read(tmp_path) == FOUND
