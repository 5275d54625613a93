"""Looking for what is wrong with the data directory and with what is loaded. Changes nothing unless asked to mend."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from coder_local._daemon.repair import data, files
from coder_local._daemon.repair.finding import (
    HINT,
    SALVAGE,
    Check,
    Finding,
    Problem,
    Report,
    State,
    problem,
    report,
    run,
)
from coder_local._daemon.repair.references import Reference
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Status
from coder_local._store import audit, backup, migrations
from coder_local._store.airlock import CORE
from coder_local._store.connection import open_reader
from coder_local._store.exchange import family
from coder_local._store.salvage import damaged_tables
from coder_local._store.tables import Table
from coder_local.api import HealthCheck

from . import budgets

_log = logging.getLogger("coder_local.doctor")

OLD_SNAPSHOT_DAYS = 30
LARGE_LOG = 256 * 2**20
"""Bytes of the write-ahead log above which something keeps it from being begun anew."""
_DAY = 24 * 3600
_HOUR_MS = 3600 * 1000
_LATELY = 100_000
_SET_BACK = (
    "SELECT count(*), max(back), max(seq) FROM (SELECT seq, lag(at) OVER (ORDER BY seq) - at AS back FROM event"
    " WHERE seq > (SELECT coalesce(max(seq), 0) FROM event) - ?) WHERE back > ?"
)
"""How often the clock was set back among the last events, by how much at most, and the last event after it."""


def examine(
    kernel: Kernel, tables: Sequence[Table], named: Sequence[Reference], health: Sequence[Health] = ()
) -> Report:
    """Run all checks; one that fails is itself a finding. Takes as long as reading the whole database."""
    return report(problems(kernel, tables, named, health))


def problems(
    kernel: Kernel, tables: Sequence[Table], named: Sequence[Reference], health: Sequence[Health], actor: str = ""
) -> list[Problem]:
    """Return all that the checks find, with what mends it, which is done in the name of `actor`."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("plugins", lambda: _plugins(kernel)),
        ("settings", lambda: _settings(kernel)),
        ("keyring", files.keyring),
        ("budgets", lambda: _budgets(kernel)),
    ]
    folder = kernel.store.folder
    if folder is not None:
        connected: list[tuple[str, Callable[[sqlite3.Connection], Check]]] = [
            ("database", lambda connection: _database(connection, kernel.store.path)),
            ("tables", lambda connection: data.tables(connection, tables, kernel)),
            ("migrations", lambda connection: _migrations(connection, [CORE, *kernel.registry.migration_sets()])),
            ("references", lambda connection: data.references(connection, named, kernel, actor)),
            ("clock", lambda connection: _clock(connection, kernel.store.clock.now_ms())),
            ("listeners", _listeners),
            ("audit", _audit),
        ]
        checks += [(name, _connected(kernel.store.path, check)) for name, check in connected]
        checks += [
            ("permissions", lambda: files.permissions(folder)),
            ("leftovers", lambda: files.leftovers(folder)),
            ("mount", lambda: files.disk(folder)),
            ("snapshots", lambda: _snapshots(kernel, folder)),
            ("quarantine", lambda: _quarantine(folder)),
            ("disk", lambda: _disk(kernel.store.path)),
        ]
        checks += [(each.name, _looking(kernel, each, folder)) for each in health]
    return [found for name, check in checks for found in run(name, check)]


class Health(NamedTuple):
    """A check of a plugin."""

    plugin: str
    check: HealthCheck

    @property
    def name(self) -> str:
        """Return what its findings stand under."""
        return f"{self.plugin}.{self.check.name}"


def health_checks(kernel: Kernel) -> list[Health]:
    """Return the checks that the loaded plugins bring. Call it on the loop."""
    return [Health(*each) for each in kernel.answers("health_checks") if isinstance(each[1], HealthCheck)]


def _looking(kernel: Kernel, health: Health, folder: Path) -> Callable[[], Check]:
    def run() -> Check:
        own = folder / health.plugin
        try:
            found = kernel.store.read_alone(lambda scope: list(health.check.look(scope, own)))
        except Exception as error:  # noqa: BLE001 - a plugin's fault, which keeps no other check from looking
            _log.exception("check %s failed", health.name, extra={"plugin": health.plugin})
            yield Finding(check=health.name, state="error", message=f"it cannot be checked: {type(error).__name__}")
            return
        for each in found:
            finding = Finding(
                check=health.name, state=each.state, message=each.message, hint=each.hint,
                fix=each.fix if each.mend is not None else "",
            )  # fmt: skip
            yield Problem(finding, each.mend if each.fix else None)  # what nobody was told is not done

    return run


def _connected(path: Path, check: Callable[[sqlite3.Connection], Check]) -> Callable[[], Check]:
    """Return a check on a connection of its own: reading the whole file must not hold up other readers."""

    def run() -> Check:
        connection = open_reader(path)
        try:
            yield from check(connection)
        finally:
            connection.close()

    return run


def _database(connection: sqlite3.Connection, path: Path) -> Check:
    try:
        faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
    except sqlite3.DatabaseError as error:  # so badly damaged that not even the check comes to its end
        faults = [str(error)]
    if faults != ["ok"]:
        names = ", ".join(damaged_tables(path)) or "none that can be told"
        yield Finding(check="database", state="error", message=f"damaged: {names}", hint=HINT, fix=SALVAGE)
        yield from (Finding(check="database", state="error", message=fault) for fault in faults)
        return
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    for table, row, parent, _ in broken:
        yield Finding(check="database", state="error", message=f"row {row} of {table} points to nothing in {parent}")


def _migrations(connection: sqlite3.Connection, sets: Sequence[migrations.MigrationSet]) -> Check:
    for plugin, name in migrations.edited(connection, sets):
        message = f"{name}.sql of {plugin} was changed after it was applied; the data is as it said before"
        hint = "put what was changed into a migration of its own"
        yield Finding(check="migrations", state="warning", message=message, hint=hint)


def _clock(connection: sqlite3.Connection, now_ms: int) -> Check:
    row = connection.execute("SELECT at FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    ahead = 0 if row is None else row[0] - now_ms
    if ahead > _HOUR_MS:
        message = f"the newest event is {ahead // _HOUR_MS} h in the future: the clock was set back"
        yield Finding(check="clock", state="warning", message=message, hint="set the clock of the machine")
    back, most, seq = connection.execute(_SET_BACK, (_LATELY, _HOUR_MS)).fetchone()
    if back:
        message = f"among the last events the clock was set back {back} times, by {most // _HOUR_MS} h at {seq}"
        hint = "their times are not in order, their numbers are; have the machine's clock kept by the network"
        yield Finding(check="clock", state="warning", message=message, hint=hint)


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
        state: State = (
            "warning" if plugin.status in {Status.LOADING, Status.NEEDS_ENABLING, Status.LEFT_OUT} else "error"
        )
        reason = plugin.reason or plugin.at_work
        yield Finding(check="plugins", state=state, message=f"{plugin.name} is {plugin.status}: {reason}")


def _settings(kernel: Kernel) -> Check:
    for fault in kernel.settings.faults():
        hint = "put it right where it is set; settings.explain shows every place"
        yield Finding(check="settings", state="warning", message=fault, hint=hint)


def _budgets(kernel: Kernel) -> Check:
    for message, hint in budgets.findings(kernel):
        yield Finding(check="budgets", state="warning", message=message, hint=hint)


def _snapshots(kernel: Kernel, folder: Path) -> Check:
    yield from files.snapshots(folder)
    found = backup.snapshots(folder / "snapshots")
    if not found:
        return
    days = int((kernel.store.clock.now_ms() / 1000 - found[0].stat().st_mtime) // _DAY)
    if days > OLD_SNAPSHOT_DAYS:
        hint = "make one: coder-local store snapshot; or keep a backup elsewhere: coder-local backup FILE"
        message = f"the newest snapshot is {days} days old"
        mend = partial(_make_snapshot, kernel)
        yield problem("snapshots", message, hint, fix="make a snapshot", mend=mend)


def _make_snapshot(kernel: Kernel) -> str:
    return f"{kernel.store.snapshot('by-doctor').name} was made"


def _quarantine(folder: Path) -> Check:
    aside = folder / "quarantine"
    found = sorted(aside.iterdir()) if aside.is_dir() else []
    if found:
        message = f"{len(found)} damaged databases or snapshots were set aside, the last in {found[-1]}"
        hint = "coder-local salvage, or restore a snapshot, if you miss something; then delete what you do not need"
        yield Finding(check="quarantine", state="warning", message=message, hint=hint)


def _disk(database: Path) -> Check:
    size = sum(path.stat().st_size for path in family(database))
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
