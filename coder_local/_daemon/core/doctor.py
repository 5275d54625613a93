"""Looking for what is wrong with the data directory and with what is loaded. Reads, and changes nothing."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Status
from coder_local._store import audit, backup, migrations
from coder_local._store.airlock import CORE
from coder_local._store.connection import open_reader
from coder_local._store.tables import Table
from coder_local.api import Value

from . import references
from .references import Reference

OLD_SNAPSHOT_DAYS = 30
LARGE_LOG = 256 * 2**20
"""Bytes of the write-ahead log above which something keeps it from being begun anew."""
_DAY = 24 * 3600
_HOUR_MS = 3600 * 1000

State = Literal["ok", "warning", "error"]


class Finding(Value):
    """What one check found."""

    check: str
    state: State
    message: str
    hint: str = ""
    """What to do about it."""


class Report(Value):
    """What the doctor found."""

    healthy: bool
    """Whether there is no error; warnings may be there."""
    items: list[Finding]


Check = Iterator[Finding]


def examine(kernel: Kernel, tables: Sequence[Table], named: Sequence[Reference]) -> Report:
    """Run all checks; one that fails is itself a finding. Takes as long as reading the whole database."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("plugins", lambda: _plugins(kernel)),
        ("settings", lambda: _settings(kernel)),
    ]
    folder = kernel.store.folder
    if folder is not None:
        connected: list[tuple[str, Callable[[sqlite3.Connection], Check]]] = [
            ("database", _database),
            ("tables", lambda connection: _tables(connection, tables)),
            ("migrations", lambda connection: _migrations(connection, [CORE, *kernel.registry.migration_sets()])),
            ("references", lambda connection: _references(connection, named)),
            ("clock", lambda connection: _clock(connection, kernel.store.clock.now_ms())),
            ("listeners", _listeners),
            ("audit", _audit),
        ]
        checks += [(name, _connected(kernel.store.path, check)) for name, check in connected]
        checks += [
            ("permissions", lambda: _permissions(folder)),
            ("snapshots", lambda: _snapshots(kernel, folder)),
            ("quarantine", lambda: _quarantine(folder)),
            ("disk", lambda: _disk(kernel.store.path)),
        ]
    items = [finding for name, check in checks for finding in _run(name, check)]
    return Report(healthy=all(each.state != "error" for each in items), items=items)


def _run(name: str, check: Callable[[], Check]) -> list[Finding]:
    try:
        found = list(check())
    except (OSError, sqlite3.Error) as error:
        return [Finding(check=name, state="error", message=f"it cannot be checked: {error}")]
    return found or [Finding(check=name, state="ok", message="nothing is wrong")]


def _connected(path: Path, check: Callable[[sqlite3.Connection], Check]) -> Callable[[], Check]:
    """Return a check on a connection of its own: reading the whole file must not hold up other readers."""

    def run() -> Check:
        connection = open_reader(path)
        try:
            yield from check(connection)
        finally:
            connection.close()

    return run


def _database(connection: sqlite3.Connection) -> Check:
    faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
    if faults != ["ok"]:
        hint = "stop the daemon and restore the newest good snapshot: coder-local restore"
        yield from (Finding(check="database", state="error", message=fault, hint=hint) for fault in faults)
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    for table, row, parent, _ in broken:
        yield Finding(check="database", state="error", message=f"row {row} of {table} points to nothing in {parent}")


def _tables(connection: sqlite3.Connection, tables: Sequence[Table]) -> Check:
    for fault in migrations.verify(connection, tables):
        yield Finding(
            check="tables", state="error", message=fault, hint="install the version of the plugin that made the data"
        )


def _migrations(connection: sqlite3.Connection, sets: Sequence[migrations.MigrationSet]) -> Check:
    for plugin, name in migrations.edited(connection, sets):
        message = f"{name}.sql of {plugin} was changed after it was applied; the data is as it said before"
        yield Finding(
            check="migrations",
            state="warning",
            message=message,
            hint="put what was changed into a migration of its own",
        )


def _references(connection: sqlite3.Connection, named: Sequence[Reference]) -> Check:
    for table, field, other, number, first in references.lost(connection, named):
        message = f"{field} of {number} {table.kind} names a {other.kind} that is not there, first in {first}"
        yield Finding(
            check="references", state="warning", message=message, hint="give it another, or delete the record"
        )


def _clock(connection: sqlite3.Connection, now_ms: int) -> Check:
    row = connection.execute("SELECT at FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    ahead = 0 if row is None else row[0] - now_ms
    if ahead > _HOUR_MS:
        message = f"the newest event is {ahead // _HOUR_MS} h in the future: the clock was set back"
        yield Finding(check="clock", state="warning", message=message, hint="set the clock of the machine")


def _listeners(connection: sqlite3.Connection) -> Check:
    sql = "SELECT consumer, count(*), max(seq), error FROM event_dead GROUP BY consumer ORDER BY consumer"
    for name, count, seq, error in connection.execute(sql):
        message = f"{name} could not take {count} events, the last of them number {seq}: {error}"
        hint = "mend what failed; it went on without them, and they are told of for 30 days"
        yield Finding(check="listeners", state="warning", message=message, hint=hint)


def _audit(connection: sqlite3.Connection) -> Check:
    for fault in audit.faults(connection):
        hint = "somebody wrote to the database behind the daemon; compare with a snapshot of before"
        yield Finding(check="audit", state="warning", message=f"the audit is not whole: {fault}", hint=hint)


def _plugins(kernel: Kernel) -> Check:
    for plugin in list(kernel.registry.plugins.values()):
        for fault in kernel.registry.uncallable(plugin).values():
            hint = "it is missing at every door until its author mends it; see coder-local plugins check"
            yield Finding(check="plugins", state="error", message=f"an operation cannot be called: {fault}", hint=hint)
        if plugin.loaded or plugin.status is Status.DISABLED:
            continue
        state: State = "warning" if plugin.status in {Status.LOADING, Status.NEEDS_ENABLING} else "error"
        reason = plugin.reason or plugin.at_work
        yield Finding(check="plugins", state=state, message=f"{plugin.name} is {plugin.status}: {reason}")


def _settings(kernel: Kernel) -> Check:
    for fault in kernel.settings.faults():
        hint = "put it right where it is set; settings.explain shows every place"
        yield Finding(check="settings", state="warning", message=fault, hint=hint)


def _permissions(folder: Path) -> Check:
    if os.name != "posix":
        return
    open_folder = stat.S_IMODE(folder.stat().st_mode) & 0o077
    if open_folder:
        yield Finding(
            check="permissions",
            state="error",
            message=f"other users may enter {folder}",
            hint=f"chmod 700 {folder}",
        )
    for name, forbidden in (("runtime.json", 0o077), ("settings.toml", 0o022), ("daemon.lock", 0o022)):
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & forbidden:
            state: State = "error" if open_folder else "warning"
            yield Finding(
                check="permissions", state=state, message=f"other users may use {path}", hint=f"chmod 600 {path}"
            )


def _snapshots(kernel: Kernel, folder: Path) -> Check:
    found = backup.snapshots(folder / "snapshots")
    for path in found:
        if faults := backup.check(path):
            hint = "delete it, then make another: coder-local store snapshot"
            yield Finding(
                check="snapshots", state="warning", message=f"{path.name} is not whole: {faults[0]}", hint=hint
            )
    if found:
        days = int((kernel.store.clock.now_ms() / 1000 - found[0].stat().st_mtime) // _DAY)
        if days > OLD_SNAPSHOT_DAYS:
            hint = "make one: coder-local store snapshot; or keep a backup elsewhere: coder-local backup FILE"
            message = f"the newest snapshot is {days} days old"
            yield Finding(check="snapshots", state="warning", message=message, hint=hint)


def _quarantine(folder: Path) -> Check:
    aside = folder / "quarantine"
    found = sorted(aside.iterdir()) if aside.is_dir() else []
    if found:
        message = f"{len(found)} damaged databases were set aside, the last in {found[-1]}"
        hint = "restore a snapshot if you miss something, then delete what you do not need"
        yield Finding(check="quarantine", state="warning", message=message, hint=hint)


def _disk(database: Path) -> Check:
    size = sum(path.stat().st_size for path in backup.family(database))
    import shutil  # noqa: PLC0415 - 2 ms, and not at every start

    free = shutil.disk_usage(database.parent).free
    if free < 2 * size + 64 * 2**20:
        message = f"{free // 2**20} MiB are free, and the database takes {size // 2**20 + 1} MiB"
        hint = "free some space: a snapshot before a migration needs twice the database"
        yield Finding(check="disk", state="warning", message=message, hint=hint)
    log = database.with_name(database.name + "-wal")
    if log.exists() and log.stat().st_size > LARGE_LOG:
        message = f"the write-ahead log takes {log.stat().st_size // 2**20} MiB"
        hint = "close other programs that read the database"
        yield Finding(check="disk", state="warning", message=message, hint=hint)
