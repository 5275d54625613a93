"""`plugins.*`: nothing foreign runs before it is enabled, and then exactly what was enabled."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from importlib._bootstrap_external import _code_to_timestamp_pyc
from pathlib import Path

import pytest

from coder_local._admission.admission import Admission
from coder_local._registry import contents
from coder_local._registry.plugins import Plugin, Source

from .conftest import Core, running

BODY = """
from pathlib import Path
from coder_local.api import Context, Domain, Snapshot
from .words import WORD
domain = Domain("traced", version="2.1.0")
Path({trace!r}).write_text(WORD)

@domain.query("traced.word")
def word(read: Snapshot) -> str:
    '''Return the word.'''
    return WORD

@domain.on_start
async def start(ctx: Context) -> None:
    Path({trace!r}).with_name("started").write_text(ctx.actor)
    {start}

@domain.on_stop
async def stop(ctx: Context) -> None:
    number = await ctx.transact(lambda tx: tx.number("traced"))
    Path({trace!r}).with_name("stopped").write_text(str(number))
"""

SLOW = """
import asyncio
from pathlib import Path
from coder_local.api import Context, Domain
domain = Domain("slow")

@domain.on_stop
async def stop(ctx: Context) -> None:
    gate = Path({gate!r})
    gate.touch()
    while gate.exists():
        await asyncio.sleep(0.005)
"""


def put(data_dir: Path, trace: Path, *, word: str = "first", start: str = "") -> Path:
    """Put a plugin into the plugin folder that leaves a trace when any of it runs."""
    folder = data_dir / "plugins" / "traced"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(BODY.format(trace=str(trace), start=start))
    (folder / "words.py").write_text(f"WORD = {word!r}\n")
    return folder


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "ran"


async def test_a_plugin_is_listed_but_does_not_run_before_it_is_enabled(
    disk: Core, data_dir: Path, trace: Path
) -> None:
    put(data_dir, trace)
    found = await disk.plugin("traced")
    assert (found["status"], found["source"], found["domain"]) == ("needs_enabling", "folder", None)
    assert len(found["content_hash"]) == 64
    assert "plugins.enable" in found["reason"]
    error = await disk.refused("traced.word")
    assert error.kind == "not_found"
    assert not trace.exists()


async def test_a_change_that_the_list_does_not_see_is_never_enabled(
    disk: Core, data_dir: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_stamps", lambda _plugin: ())
    put(data_dir, trace)
    seen = (await disk.plugin("traced"))["content_hash"]
    put(data_dir, trace, word="second")
    assert (await disk.plugin("traced"))["content_hash"] == seen
    error = await disk.refused("plugins.enable", name="traced", content_hash=seen)
    assert (error.kind, error.field) == ("conflict", "/content_hash")
    assert not trace.exists()


async def test_enabling_loads_at_once_and_starts_it(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace)
    found = await disk.plugin("traced")
    enabled = await disk.call("plugins.enable", name="traced", content_hash=found["content_hash"])
    assert (enabled["status"], enabled["reason"], enabled["operations"]) == ("loaded", "", 1)
    assert (enabled["version"], enabled["domain"]) == ("2.1.0", "traced")
    assert enabled["import_ms"] > 0 < enabled["start_ms"]
    assert await disk.call("traced.word") == "first"
    assert trace.with_name("started").read_text() == "plugin:traced"
    said = (await disk.call("events.list", types=["plugins.*"]))["items"]
    assert [(each["subject"], each["data"]["status"]) for each in said] == [("plugins.plugin/traced", "loaded")]
    again = await disk.call("plugins.enable", name="traced")
    assert (again["status"], again["reason"]) == ("loaded", "")


async def test_disabling_lets_it_stop_what_it_does_by_itself(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace)
    await disk.call("plugins.enable", name="traced")
    await disk.call("plugins.disable", name="traced")
    assert trace.with_name("stopped").read_text() == "1"
    assert await disk.kernel.end_all() == []
    assert trace.with_name("stopped").read_text() == "1"  # once is enough


async def test_disabling_comes_to_its_end_although_its_caller_leaves(disk: Core, data_dir: Path) -> None:
    folder = data_dir / "plugins" / "slow"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(SLOW.format(gate=str(data_dir / "gate")))
    await disk.call("plugins.enable", name="slow")
    leaving = asyncio.create_task(disk.call("plugins.disable", name="slow"))
    async with asyncio.timeout(30):
        while not (data_dir / "gate").exists():
            await asyncio.sleep(0.005)
        leaving.cancel()
        await asyncio.wait((leaving,))
        (data_dir / "gate").unlink()
        while (await disk.plugin("slow"))["status"] != "disabled":
            await asyncio.sleep(0.005)


async def test_who_hears_that_it_was_disabled_finds_it_gone(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace)
    await disk.call("plugins.enable", name="traced")
    with disk.kernel.dispatcher.context("test", "test").subscribe("plugins.*") as events:
        disabling = asyncio.create_task(disk.call("plugins.disable", name="traced"))
        event = await anext(events)
        assert (event.data["status"], disk.kernel.registry.plugins["traced"].status) == ("disabled", "disabled")
        await disabling


async def test_enabling_makes_the_tables_of_a_plugin_while_others_write(
    notes: Core, data_dir: Path, put_notes: Callable[[], Path]
) -> None:
    folder = data_dir / "plugins" / "things"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from coder_local.api import Domain, Record\ndomain = Domain('things')\n"
        "@domain.table('things')\nclass Thing(Record):\n    '''A thing.'''\n    size: int = 0\n"
        "domain.standard(Thing)\n"
    )
    columns = (
        "id TEXT PRIMARY KEY NOT NULL, workspace_id TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,"
        " rev INTEGER NOT NULL, deleted_at TEXT, origin TEXT NOT NULL, meta TEXT NOT NULL, size INTEGER NOT NULL"
    )
    (folder / "migrations" / "0001_things.sql").write_text(f"-- Why: to begin\nCREATE TABLE things ({columns}) STRICT;")
    writes = [notes.call("notes.create", workspace="w", title=str(number)) for number in range(100)]
    enabled, *made = await asyncio.gather(notes.call("plugins.enable", name="things"), *writes)
    assert enabled["status"] == "loaded", enabled["reason"]
    assert {each["rev"] for each in made} == {1}
    assert (await notes.call("things.create", size=3))["size"] == 3
    assert list((data_dir / "snapshots").glob("*before-migration.db"))


async def test_a_content_that_was_not_looked_at_is_refused_and_does_not_run(
    disk: Core, data_dir: Path, trace: Path
) -> None:
    folder = put(data_dir, trace)
    looked_at = (await disk.plugin("traced"))["content_hash"]
    (folder / "more.py").write_text("more = 1\n")
    error = await disk.refused("plugins.enable", name="traced", content_hash=looked_at)
    assert (error.kind, error.field) == ("conflict", "/content_hash")
    assert error.data["content_hash"] != looked_at
    assert not trace.exists()
    assert (await disk.plugin("traced"))["status"] == "needs_enabling"


async def test_the_next_start_loads_what_was_enabled_and_nothing_else(data_dir: Path, trace: Path) -> None:
    folder = put(data_dir, trace)
    async with running(data_dir) as core:
        await core.call("plugins.enable", name="traced")
    trace.unlink()
    async with running(data_dir) as core:
        assert await core.call("traced.word") == "first"
    trace.unlink()
    (folder / "words.py").write_text("WORD = 'second'\n")
    async with running(data_dir) as core:
        found = await core.plugin("traced")
        assert (found["status"], found["operations"]) == ("needs_enabling", 0)
        assert "its content changed since it was enabled" in found["reason"]
        assert not trace.exists()
        assert (await core.call("plugins.enable", name="traced"))["status"] == "loaded"
        assert await core.call("traced.word") == "second"  # its submodule was imported anew


async def test_a_loaded_plugin_whose_files_changed_says_so(disk: Core, data_dir: Path, trace: Path) -> None:
    folder = put(data_dir, trace)
    await disk.call("plugins.enable", name="traced")
    (folder / "words.py").write_text("WORD = 'second'\n")
    found = await disk.plugin("traced")
    assert found["status"] == "loaded"
    assert "its content changed" in found["reason"]
    assert await disk.call("traced.word") == "first"
    enabled = await disk.call("plugins.enable", name="traced")
    assert (enabled["status"], enabled["reason"]) == ("loaded", "")
    assert await disk.call("traced.word") == "second"


async def test_files_that_are_gone_are_named_at_the_next_start(data_dir: Path, trace: Path) -> None:
    folder = put(data_dir, trace)
    async with running(data_dir) as core:
        await core.call("plugins.enable", name="traced")
    shutil.rmtree(folder)
    async with running(data_dir) as core:
        found = await core.plugin("traced")
        assert (found["status"], found["content_hash"]) == ("needs_enabling", None)
        assert "cannot be read" in found["reason"]
        assert (await core.refused("plugins.enable", name="traced")).kind == "conflict"


async def test_a_compiled_file_made_by_hand_does_not_run(disk: Core, data_dir: Path, trace: Path) -> None:
    folder = put(data_dir, trace)
    source = folder / "words.py"
    evil = compile("WORD = 'evil'", str(source), "exec")
    stat = source.stat()
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir()
    compiled.write_bytes(_code_to_timestamp_pyc(evil, int(stat.st_mtime), stat.st_size))
    await disk.call("plugins.enable", name="traced")
    assert await disk.call("traced.word") == "first"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
async def test_a_link_to_a_folder_is_no_content_that_can_be_enabled(
    disk: Core, data_dir: Path, trace: Path, tmp_path: Path
) -> None:
    folder = put(data_dir, trace)
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    error = await disk.refused("plugins.enable", name="traced")
    assert error.kind == "conflict"
    assert "link" in error.message
    assert not trace.exists()


async def test_disabling_takes_operations_away_at_once_and_at_the_next_start_and_keeps_the_data(
    data_dir: Path, put_notes: Callable[[], Path]
) -> None:
    put_notes()
    async with running(data_dir) as core:
        await core.call("plugins.enable", name="notes")
        note = await core.call("notes.create", workspace="w", title="kept")
        gone = await core.call("plugins.disable", name="notes")
        assert (gone["status"], gone["operations"]) == ("disabled", 0)
        assert (await core.refused("notes.get", id=note["id"])).kind == "unsupported"
    async with running(data_dir) as core:
        assert (await core.plugin("notes"))["status"] == "disabled"
        assert (await core.call("plugins.enable", name="notes"))["status"] == "loaded"
        assert (await core.call("notes.get", id=note["id"]))["title"] == "kept"


async def test_a_bundled_plugin_stays_disabled_until_it_is_enabled(data_dir: Path) -> None:
    def bundled() -> Plugin:
        return Plugin("notes", Source.BUNDLED, "tests.support.notes")

    async with running(data_dir, bundled()) as core:
        found = await core.plugin("notes")
        assert (found["status"], found["source"], found["content_hash"]) == ("loaded", "bundled", None)
        await core.call("plugins.disable", name="notes")
    async with running(data_dir, bundled()) as core:
        assert (await core.plugin("notes"))["status"] == "disabled"
        assert (await core.refused("notes.list")).kind == "unsupported"
        assert (await core.call("plugins.enable", name="notes"))["status"] == "loaded"
        assert (await core.call("notes.create", workspace="w", title="again"))["rev"] == 1
    async with running(data_dir, bundled()) as core:
        assert [each["title"] for each in (await core.call("notes.list"))["items"]] == ["again"]


async def test_a_plugin_that_cannot_be_loaded_says_why_and_is_loaded_when_it_is_put_right(
    disk: Core, data_dir: Path, trace: Path
) -> None:
    folder = put(data_dir, trace)
    (folder / "words.py").write_text("raise ValueError('no word today')\n")
    broken = await disk.call("plugins.enable", name="traced")
    assert broken["status"] == "stopped_by_import_error"
    assert "no word today" in broken["reason"]
    (folder / "words.py").write_text("WORD = 'now'\n")
    assert (await disk.call("plugins.enable", name="traced"))["status"] == "loaded"
    assert await disk.call("traced.word") == "now"


async def test_a_plugin_whose_start_fails_is_stopped(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace, start="raise OSError('no port')")
    stopped = await disk.call("plugins.enable", name="traced")
    assert (stopped["status"], stopped["reason"]) == ("stopped_by_start_error", "OSError: no port")
    assert (await disk.refused("traced.word")).kind == "unsupported"


async def test_a_plugin_begins_once_and_again_only_after_it_ended_or_could_not(
    disk: Core, data_dir: Path, trace: Path
) -> None:
    counted = trace.with_name("count")
    put(data_dir, trace, start=f"with open({str(counted)!r}, 'a') as file: file.write('.')")
    await disk.call("plugins.enable", name="traced")
    await disk.kernel.begin(disk.kernel.registry.plugins["traced"])  # its turn at the start of the daemon
    assert counted.read_text() == "."
    counted.unlink()
    await disk.call("plugins.disable", name="traced")
    await disk.call("plugins.enable", name="traced")
    assert counted.read_text() == "."
    put(data_dir, trace, start="raise OSError('no port')")
    await disk.call("plugins.disable", name="traced")
    assert (await disk.call("plugins.enable", name="traced"))["status"] == "stopped_by_start_error"
    assert await disk.kernel.end_all() == []


async def test_parts_of_the_daemon_and_unknown_names_are_refused(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace)
    assert (await disk.refused("plugins.disable", name="settings")).kind == "conflict"
    assert (await disk.refused("plugins.enable", name="settings")).kind == "conflict"
    error = await disk.refused("plugins.enable", name="trace")
    assert (error.kind, error.hint) == ("not_found", "did you mean traced?")


async def test_a_plugin_cannot_take_the_name_of_a_part_of_the_daemon(disk: Core, data_dir: Path) -> None:
    folder = data_dir / "plugins" / "changes"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from coder_local.api import Domain\ndomain = Domain('changes')\n")
    same = [each for each in (await disk.call("plugins.list"))["items"] if each["name"] == "changes"]
    assert [(each["source"], each["status"]) for each in same] == [
        ("core", "loaded"),
        ("folder", "stopped_by_declaration"),
    ]
    assert (await disk.refused("plugins.enable", name="changes")).kind == "conflict"


async def test_a_file_may_name_the_folder_of_a_plugin_that_stands_elsewhere(
    disk: Core, data_dir: Path, trace: Path, tmp_path: Path
) -> None:
    copy = put(data_dir, trace)
    await disk.call("plugins.enable", name="traced")
    moved = tmp_path / "elsewhere" / "traced"
    shutil.copytree(copy, moved)
    (moved / "words.py").write_text("WORD = 'moved'\n")
    link = data_dir / "plugins" / "traced.link"
    link.write_text(f"{moved}\n")
    await disk.call("plugins.disable", name="traced")
    shutil.rmtree(copy)
    enabled = await disk.call("plugins.enable", name="traced")
    assert (enabled["status"], enabled["location"]) == ("loaded", str(moved))
    assert await disk.call("traced.word") == "moved"
    for text in ("", "not/whole", "\0", str(tmp_path / "nowhere")):
        (data_dir / "plugins" / "other.link").write_text(text)
        assert "other" not in [each["name"] for each in (await disk.call("plugins.list"))["items"]]


async def test_a_folder_that_nobody_enabled_keeps_no_other_plugin_from_being_listed(disk: Core, data_dir: Path) -> None:
    folder = data_dir / "plugins" / "odd"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "plugin.toml").write_text(f"a = {'[' * 20_000}")
    assert "nested too deep" in (await disk.plugin("odd"))["reason"]
    (folder / "plugin.toml").write_text("#" * 70_000)
    assert "over 64 KiB" in (await disk.plugin("odd"))["reason"]
    (folder / "plugin.toml").unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "plugin.toml")
        os.mkfifo(folder.with_name("other.link"))
        assert "plugin.toml is no file" in (await disk.plugin("odd"))["reason"]
        (folder / "plugin.toml").unlink()
    if sys.platform == "linux":  # other systems take no such name
        (folder / os.fsdecode(b"\xff.txt")).touch()
    assert (await disk.plugin("odd"))["content_hash"]


async def test_only_a_person_enables_and_only_after_confirming(disk: Core, data_dir: Path, trace: Path) -> None:
    put(data_dir, trace)
    disk.kernel.dispatcher.gate = Admission(disk.kernel)
    assert (await disk.as_agent().refused("plugins.enable", name="traced")).kind == "refused"
    assert (await disk.as_agent().refused("plugins.disable", name="traced")).kind == "refused"
    asked = await disk.refused("plugins.enable", name="traced")
    assert asked.kind == "needs_confirmation"
    assert not trace.exists()
    enabled = await disk.call("plugins.enable", name="traced", confirm=asked.data["confirm"])
    assert enabled["status"] == "loaded"
