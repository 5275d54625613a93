"""Databases that every version of the schema left: opened, brought up to date, with data, history and undo."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coder_local._daemon.core import core_domains
from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER
from coder_local._store import backup, migrations
from coder_local.testing.loading import PersonGate

from .fixtures import make_fixture
from .fixtures.make_fixture import load, path_of, sets, states

STATES = [(plugin, name) for plugin, name, _ in states()]
LAST = {each.plugin: each.names[-1] for each in sets()}
TABLES = {"core": "setting", "planning": "planning_tasks", "execution": "execution_runs"}
"""A table of each set, to which a newer version adds a column."""


def opened(data_dir: Path) -> Kernel:
    """Open a data directory with all that is bundled."""
    kernel = Kernel(data_dir, gate=PersonGate())
    for domain in core_domains(kernel):
        kernel.take(domain)
    kernel.load(plugins.bundled())
    kernel.open()
    return kernel


async def call(kernel: Kernel, name: str, /, **input: Any) -> Any:
    return json.loads(await kernel.dispatcher.call(name, json.dumps(input).encode(), OWNER))


async def works(kernel: Kernel, fixture: str) -> None:
    """See to it that what was written is there, with its history, can be taken back, and can be added to."""
    assert [plugin.reason for plugin in kernel.registry.plugins.values() if not plugin.loaded] == []
    connection = kernel.store.writer.connection
    assert migrations.verify(connection, kernel.registry.tables.all()) == []
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    kernel.start(asyncio.get_running_loop().call_soon_threadsafe)
    if fixture != "planning":
        assert [run["status"] for run in (await call(kernel, "execution.runs.list"))["items"]] == ["succeeded"]
    if fixture != "execution":
        await _planning_works(kernel)
    assert (await call(kernel, "settings.explain", plugin="daemon", name="log_level"))["value"] == "warning"
    assert [token["name"] for token in (await call(kernel, "tokens.list"))["items"]] == ["reader"]
    assert (await call(kernel, "planning.tasks.create", title="new"))["key"] == "TASK-3"


async def _planning_works(kernel: Kernel) -> None:
    tasks: list[dict[str, Any]] = (await call(kernel, "planning.tasks.list"))["items"]
    assert {(task["title"], task["status"]) for task in tasks} == {
        ("Straße fegen", "done"), ("second, renamed", "todo")
    }  # fmt: skip
    (renamed,) = (task for task in tasks if task["status"] == "todo")
    history = (await call(kernel, "planning.tasks.history", id=renamed["id"]))["items"]
    assert [each["operation"] for each in history] == ["planning.tasks.update", "planning.tasks.create"]
    assert (await call(kernel, "changes.undo"))["operation"] == "planning.tasks.update"
    assert (await call(kernel, "planning.tasks.get", id=renamed["id"]))["title"] == "second"


def test_every_state_of_the_schema_has_its_fixture() -> None:
    missing = [path_of(*state).name for state in STATES if not path_of(*state).exists()]
    assert not missing, f"run python -m {make_fixture.__name__}, and commit what it writes"


@pytest.mark.parametrize(("plugin", "name"), STATES, ids=lambda each: each)
async def test_a_database_of_a_released_version_is_brought_up_to_date(tmp_path: Path, plugin: str, name: str) -> None:
    load(path_of(plugin, name), tmp_path / "coder-local.db")
    kernel = opened(tmp_path)
    store, known = kernel.store, kernel.registry.migration_sets()
    done = migrations.applied(store.writer.connection)
    assert done == {each.plugin: each.names for each in sets()}
    assert migrations.edited(store.writer.connection, sets()) == [], "a released migration is never changed"
    await works(kernel, plugin)
    saved = backup.snapshots(tmp_path / "snapshots")
    assert [backup.check(each) for each in saved] == [[]] * len(saved)
    assert bool(saved) == (plugin != "core" or name != LAST["core"])
    assert await asyncio.to_thread(store.close)
    again = opened(tmp_path)
    seen: list[str] = []
    again.store.writer.connection.set_trace_callback(seen.append)
    assert again.store.migrate(known) == {}
    assert len(seen) <= 2, "a second start has nothing to do"
    again.store.close()


@pytest.mark.parametrize("plugin", sorted(LAST))
async def test_this_version_works_with_the_data_of_a_newer_minor_one(tmp_path: Path, plugin: str) -> None:
    load(path_of(plugin, LAST[plugin]), tmp_path / "coder-local.db")
    with closing(sqlite3.connect(tmp_path / "coder-local.db")) as newer:
        newer.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, '0099_color', '')", (plugin,)
        )
        newer.execute(f"ALTER TABLE {TABLES[plugin]} ADD COLUMN color TEXT")
        newer.execute(f"CREATE TABLE {plugin}_colors (id TEXT) STRICT")
        newer.execute("UPDATE store_meta SET value = 'of the newer one' WHERE name = 'migrations'")
        newer.commit()
    kernel = opened(tmp_path)
    await works(kernel, plugin)
    kept = kernel.store.writer.connection.execute(f"SELECT count(*) FROM {plugin}_colors").fetchone()
    assert kept == (0,)
    assert await asyncio.to_thread(kernel.store.close)
