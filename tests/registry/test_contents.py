"""Files of plugins that are listed are read once, and again whenever anything about them changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coder_local._registry import contents
from coder_local._registry.contents import Contents
from coder_local._registry.plugins import Plugin, Source, content_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("WORD = 'one'\n")
    (folder / "inner" / "data.txt").write_text("data")
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes for which the files were read."""
    found: list[str] = []

    def reading(plugin: Plugin) -> str:
        found.append(content_hash(plugin))
        return found[-1]

    monkeypatch.setattr(contents, "content_hash", reading)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once: nobody waits two seconds for that."""
    monkeypatch.setattr(contents, "_SETTLED_NS", -(10**12))


def plugin(folder: Path) -> Plugin:
    return Plugin("small", Source.FOLDER, str(folder))


@pytest.mark.usefixtures("settled")
def test_what_did_not_change_is_not_read_again(folder: Path, read: list[str]) -> None:
    made = Contents()
    assert made.hash_of(plugin(folder)) == made.hash_of(plugin(folder)) == content_hash(plugin(folder))
    assert len(read) == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("same size and time", marks=pytest.mark.skipif(os.name == "nt", reason="Windows tells no ctime")),
        "exchanged", "added", "removed", "renamed",
    ],
)  # fmt: skip
def test_each_change_is_read(folder: Path, read: list[str], how: str) -> None:
    made, file = Contents(), folder / "inner" / "data.txt"
    before, stamp = made.hash_of(plugin(folder)), file.stat()
    if how == "same size and time":
        file.write_text("atad")
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif how == "exchanged":
        (folder.parent / "other").write_text("atad")
        os.utime(folder.parent / "other", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        (folder.parent / "other").replace(file)
    elif how == "added":
        (folder / "inner" / "more.txt").touch()
    elif how == "removed":
        file.unlink()
    else:
        file.rename(folder / "inner" / "atad.txt")
    after = made.hash_of(plugin(folder))
    assert after == content_hash(plugin(folder)) != before
    assert read == [before, after]


def test_what_changed_just_now_is_read_each_time(folder: Path, read: list[str]) -> None:
    made = Contents()
    assert made.hash_of(plugin(folder)) == made.hash_of(plugin(folder))
    assert len(read) == 2  # it may change once more within one tick of the clock
