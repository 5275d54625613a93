"""No room for the snapshot before a migration: the plugins that would migrate stop, the daemon starts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status
from coder_local._store import backup, migrations
from coder_local._store.scope import Caller

from .test_migrations import open_kernel, write_plugin

Usage = namedtuple("Usage", "total used free")


def open_both(folder: Path) -> tuple[Kernel, Plugin, Plugin]:
    kernel = Kernel(folder)
    plugins = [Plugin(name, Source.FOLDER, str(folder / "plugins" / name)) for name in ("things", "others")]
    kernel.load(plugins)
    kernel.open()
    return kernel, plugins[0], plugins[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with two plugins and a record, one of which has a migration to do."""
    for name in ("things", "others"):
        write_plugin(tmp_path, {f"0001_{name}.sql": "{table}"}, name=name)
    kernel, things, others = open_both(tmp_path)
    assert things.loaded
    assert others.loaded
    kernel.store.close()
    write_plugin(tmp_path, {"0002_color.sql": "ALTER TABLE things ADD COLUMN color TEXT;"})
    return tmp_path


def test_without_room_for_a_snapshot_the_plugin_stops_and_its_data_is_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 4096, 4096))
        kernel, things, others = open_both(folder)
        assert things.status is Status.STOPPED_BY_MIGRATION
        assert "MiB of free disk" in things.reason
        assert others.loaded
        assert not kernel.registry.offers("things.list")
        assert migrations.applied(kernel.store.writer.connection)["things"] == ["0001_things"]
        assert kernel.store.write(lambda tx: tx.number("still writes"), Caller()) == 1
        kernel.store.close()
        assert backup.snapshots(folder / "snapshots") == []
    kernel, things, _ = open_both(folder)  # with room, the next start does it
    assert things.loaded
    assert migrations.applied(kernel.store.writer.connection)["things"] == ["0001_things", "0002_color"]
    assert len(backup.snapshots(folder / "snapshots")) == 1
    kernel.store.close()


def test_a_place_where_no_snapshot_can_be_written_is_no_reason_not_to_start(folder: Path) -> None:
    (folder / "snapshots").write_text("not a folder")
    kernel, things, others = open_both(folder)
    assert things.status is Status.STOPPED_BY_MIGRATION
    assert "no snapshot can be written" in things.reason
    assert others.loaded
    kernel.store.close()


def test_a_first_start_needs_no_snapshot_and_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    write_plugin(tmp_path, {"0001_things.sql": "{table}"})
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.loaded
    kernel.store.close()
