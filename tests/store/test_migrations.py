"""Migrations: all or nothing for each plugin, checked against its records, and nothing to do at a warm start."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source, Status
from coder_local._store import airlock, backup, migrations
from coder_local._store.migrations import MigrationError, split
from coder_local.api import Error

PLUGIN = '''
from coder_local.api import Domain, Record, Title
domain = Domain("{name}")

@domain.table("{name}")
class Thing(Record):
    """A thing."""
    title: Title
{fields}
domain.standard(Thing)
'''


def write_plugin(folder: Path, files: dict[str, str], *, name: str = "things", fields: str = "") -> Path:
    """Write a plugin folder; `{table}` in a migration stands for the table's definition as its record says."""
    where = folder / "plugins" / name
    (where / "migrations").mkdir(parents=True, exist_ok=True)
    (where / "__init__.py").write_text(PLUGIN.format(name=name, fields=fields))
    for file, text in files.items():
        (where / "migrations" / file).write_text(text.replace("{table}", table_of(name)))
    return where


def table_of(name: str) -> str:
    columns = [
        "id TEXT PRIMARY KEY NOT NULL", "workspace_id TEXT NOT NULL", "created_at TEXT NOT NULL",
        "updated_at TEXT NOT NULL", "rev INTEGER NOT NULL", "deleted_at TEXT", "origin TEXT NOT NULL",
        "meta TEXT NOT NULL", "title TEXT NOT NULL",
    ]  # fmt: skip
    return f"CREATE TABLE {name} ({', '.join(columns)}) STRICT;"


def open_kernel(folder: Path, name: str = "things") -> tuple[Kernel, Plugin]:
    kernel = Kernel(folder)
    plugin = Plugin(name, Source.FOLDER, str(folder / "plugins" / name))
    kernel.load([plugin])
    kernel.open()
    return kernel, plugin


def test_a_plugin_s_tables_are_made_and_a_warm_start_does_nothing(tmp_path: Path) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "-- Why: to keep things; with a semicolon.\n{table}"})
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.LOADED
    core = ["0001_core", "0002_listeners", "0003_audit", "0004_audit_chain", "0005_quarantine"]
    assert migrations.applied(kernel.store.writer.connection) == {"core": core, "things": ["0001_things"]}
    kernel.store.close()
    again, plugin = open_kernel(tmp_path)
    seen: list[str] = []
    again.store.writer.connection.set_trace_callback(seen.append)
    assert again.store.migrate(again.registry.migration_sets()) == {}
    assert len(seen) <= 2
    again.store.close()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("-- Why: x\nCREATE TABLE other (a TEXT); CREATE TABLE other (a TEXT);", "already exists"),
        ("-- Why: x\nINSERT INTO things (id) VALUES (1);", "NOT NULL"),
        ("-- Why: x\nCREAT TABLE nonsense (a);", "syntax error"),
        ("-- Why: x\nALTER TABLE things DROP COLUMN title;", "ADD COLUMN title TEXT NOT NULL"),
    ],
)
def test_a_failing_migration_is_taken_back_whole_and_stops_its_plugin_alone(
    tmp_path: Path, second: str, said: str
) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "{table}"})
    open_kernel(tmp_path)[0].store.close()
    write_plugin(tmp_path, {"0002_bad.sql": "CREATE TABLE before_it (a TEXT);\n" + second})
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.STOPPED_BY_MIGRATION
    assert said in plugin.reason
    connection = kernel.store.writer.connection
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name IN ('other', 'before_it')").fetchone()
    assert migrations.applied(connection)["things"] == ["0001_things"]
    assert not kernel.registry.offers("things.list")
    snapshots = backup.snapshots(tmp_path / "snapshots")
    assert len(snapshots) == 1
    assert backup.check(snapshots[0]) == []
    kernel.store.close()


def test_a_record_without_its_column_is_told_the_statement_to_write(tmp_path: Path) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "{table}"}, fields="    size: int = 0\n")
    kernel, plugin = open_kernel(tmp_path)
    assert "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 0;" in plugin.reason
    kernel.store.close()


def test_an_older_program_works_with_newer_minor_data(tmp_path: Path) -> None:
    where = write_plugin(
        tmp_path, {"0001_things.sql": "{table}", "0002_color.sql": "ALTER TABLE things ADD COLUMN color TEXT;"}
    )
    open_kernel(tmp_path)[0].store.close()
    (where / "migrations" / "0002_color.sql").unlink()
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.LOADED
    kernel.store.close()


def test_an_older_program_refuses_the_plugin_of_newer_major_data_not_the_daemon(tmp_path: Path) -> None:
    where = write_plugin(
        tmp_path, {"0001_things.sql": "{table}", "0002_major_split.sql": "ALTER TABLE things ADD COLUMN color TEXT;"}
    )
    open_kernel(tmp_path)[0].store.close()
    (where / "migrations" / "0002_major_split.sql").unlink()
    kernel, plugin = open_kernel(tmp_path)
    assert plugin.status is Status.STOPPED_BY_NEWER_DATA
    assert "newer version" in plugin.reason
    kernel.store.close()


def test_split_keeps_triggers_strings_and_comments_together() -> None:
    script = """-- one; two
    CREATE TABLE a (x TEXT DEFAULT ';');
    CREATE TRIGGER t AFTER INSERT ON a BEGIN
      DELETE FROM a WHERE x = 'a;b'; -- a; comment
      SELECT 1;
    END;
    -- the end; really
    """
    statements = split(script)
    assert len(statements) == 2
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_two_plugins_migrate_independently(tmp_path: Path) -> None:
    write_plugin(tmp_path, {"0001_things.sql": "{table}"})
    write_plugin(tmp_path, {"0001_bad.sql": "nonsense;"}, name="bad")
    kernel = Kernel(tmp_path)
    kernel.load(Plugin(name, Source.FOLDER, str(tmp_path / "plugins" / name)) for name in ("bad", "things"))
    kernel.open()
    assert [plugin.status for plugin in kernel.registry.plugins.values()] == [
        Status.STOPPED_BY_MIGRATION,
        Status.LOADED,
    ]
    kernel.store.close()


def test_named_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(Error):
        migrations.refuse_newer(migrations.MigrationSet("x", ()), ["0002_major_x"])


def test_a_core_migration_that_fails_refuses_the_start_and_leaves_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path)
    kernel.open()
    kernel.store.write(lambda tx: tx.number("kept"))
    kernel.store.close()
    bad = tmp_path / "0002_bad.sql"
    bad.write_text("-- Why: x\nDROP TABLE counter;\nCREAT TABLE nonsense (a);")
    core = airlock.CORE
    with monkeypatch.context() as patched:
        patched.setattr(airlock, "CORE", core._replace(files=(*core.files, bad)))
        with pytest.raises(MigrationError, match="core failed and was taken back"):
            Kernel(tmp_path).open()
    assert [backup.check(path) for path in backup.snapshots(tmp_path / "snapshots")] == [[]]
    again = Kernel(tmp_path)
    again.open()
    assert again.store.set_aside is None
    assert again.store.write(lambda tx: tx.number("kept")) == 2
    again.store.close()
