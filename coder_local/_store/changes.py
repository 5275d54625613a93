"""History and universal undo, from the change rows that every write leaves.

Undo works field by field: what was changed again since stands against it and is named; nothing is overwritten unseen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from coder_local.api import Conflict, NotFound, Record, Value

from .clock import instant
from .scope import ReadScope, WriteScope, bind
from .tables import Table

UNDO = "changes.undo"
"""The operation under which an undo stands in history."""
_COLUMNS = "seq, change_set, at, actor, operation, table_name, record_id, rev, before, after, undone_by"


class FieldChange(Value):
    """One field before and after a change."""

    field: str
    before: Any = None
    after: Any = None


class RecordChange(Value):
    """One record as one command changed it."""

    seq: int
    change_set: int
    """Shared by all that one command wrote; give it to `changes.undo`."""
    at: str
    actor: str
    operation: str
    record: str
    """Kind of the record, `notes.note`."""
    id: str
    rev: int
    action: str
    """`created`, `updated`, `deleted` or `restored`."""
    fields: list[FieldChange]
    """For a created record only its own values, without `before`."""
    undone_by: int | None = None
    """The change set that took it back."""


class _Row(msgspec.Struct):
    seq: int
    change_set: int
    at: int
    actor: str
    operation: str
    table: str
    record_id: str
    rev: int
    before: dict[str, Any] | None
    after: dict[str, Any]
    undone_by: int | None

    @property
    def action(self) -> str:
        if self.before is None:
            return "created"
        if "deleted_at" in self.after:
            return "restored" if self.after["deleted_at"] is None else "deleted"
        return "updated"


def _row(raw: tuple[Any, ...]) -> _Row:
    before = None if raw[8] is None else msgspec.json.decode(raw[8])
    seq, change_set, at, actor, operation, table, record_id, rev = raw[:8]
    return _Row(
        seq, change_set, at, actor, operation, table, record_id, rev, before, msgspec.json.decode(raw[9]), raw[10]
    )


def _show(scope: ReadScope, row: _Row) -> RecordChange:
    table = scope.tables.named(row.table)
    names = (
        row.after
        if row.before is not None
        else [name for name, value in row.after.items() if value not in (None, "", [], {})]
    )
    return RecordChange(
        seq=row.seq,
        change_set=row.change_set,
        at=instant(row.at),
        actor=row.actor,
        operation=row.operation,
        record=row.table if table is None else table.kind,
        id=row.record_id,
        rev=row.rev,
        action=row.action,
        fields=[FieldChange(field=name, before=(row.before or {}).get(name), after=row.after[name]) for name in names],
        undone_by=row.undone_by,
    )


def history(scope: ReadScope, table: Table, id: str, *, before: int | None, limit: int) -> list[RecordChange]:
    """Return the changes of one record, newest first, those numbered under `before`."""
    scope.write_log()
    rows = scope.connection.execute(
        f"SELECT {_COLUMNS} FROM change WHERE record_id = ? AND table_name = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
        (id, table.name, before or 2**62, limit),
    )
    return [_show(scope, _row(raw)) for raw in rows]


def recent(
    scope: ReadScope, *, before: int | None, limit: int, plugins: Collection[str] | None = None
) -> list[RecordChange]:
    """Return the changes that were made in the caller's workspace, newest first, those numbered under `before`.

    With `plugins` only those of their records.
    """
    scope.write_log()
    among = ""
    if plugins is not None:
        among = " AND table_name IN (SELECT value FROM json_each(:tables))"
    values = {
        "workspace": scope.workspace,
        "before": before or 2**62,
        "limit": limit,
        "tables": tables_of(scope, plugins or ()),
    }
    rows = scope.connection.execute(
        f"SELECT {_COLUMNS} FROM change WHERE workspace_id = :workspace AND seq < :before{among}"  # noqa: S608
        " ORDER BY seq DESC LIMIT :limit",
        bind(values),
    )
    return [_show(scope, _row(raw)) for raw in rows]


def tables_of(scope: ReadScope, plugins: Collection[str]) -> list[str]:
    """Return the names of the tables that some plugins keep."""
    return [table.name for table in scope.tables.all() if table.plugin in plugins]


def written(scope: ReadScope, change_set: int) -> set[tuple[str, str]]:
    """Return who wrote a change set, and into which tables."""
    scope.write_log()
    rows = scope.connection.execute(
        "SELECT DISTINCT actor, table_name FROM change WHERE change_set = ? AND seq >= ?", (change_set, change_set)
    )
    return {(actor, table) for actor, table in rows}


def last_change_set(scope: ReadScope, actor: str) -> int:
    """Return the newest change set of an actor in this workspace that can still be undone. Raises `NotFound`."""
    scope.write_log()
    row = scope.connection.execute(
        "SELECT change_set FROM change WHERE workspace_id = ? AND actor = ? AND undone_by IS NULL AND operation <> ?"
        " ORDER BY seq DESC LIMIT 1",
        (scope.workspace, actor, UNDO),
    ).fetchone()
    if row is None:
        raise NotFound("there is nothing to undo", hint="look at changes.list")
    return int(row[0])


def undo(scope: WriteScope, change_set: int) -> list[RecordChange]:
    """Take back all that one command wrote, and return what was taken back, newest first.

    Raises `NotFound` for an unknown change set and `Conflict` if a field was changed again since, naming each.
    """
    scope.write_log()
    rows: list[_Row] = []
    for raw in scope.connection.execute(f"SELECT {_COLUMNS} FROM change WHERE seq >= ? ORDER BY seq", (change_set,)):  # noqa: S608
        row = _row(raw)
        if row.change_set != change_set:
            break
        rows.append(row)
    if not rows:
        raise NotFound(f"no change set {change_set}", field="/change_set", hint="look at changes.list")
    if rows[0].undone_by is not None:
        raise Conflict(
            f"change set {change_set} was already undone by {rows[0].undone_by}",
            field="/change_set",
            hint=f"undo {rows[0].undone_by} to have it again",
        )
    rows.reverse()
    against = [clash for row in _final(rows) for clash in _clashes(scope, row)]
    if against:
        raise Conflict(
            "it was changed again since: " + ", ".join(f"{each['record']}.{each['field']}" for each in against[:5]),
            hint="undo the later changes first (data.against names them)",
            data={"against": against},
        )
    for row in rows:
        _take_back(scope, row)
    scope.undoes = (rows[-1].seq, rows[0].seq)
    return [_show(scope, row) for row in rows]


def _final(rows: list[_Row]) -> list[_Row]:
    """Return the rows (newest first) with only the fields that no later row of the same command wrote again."""
    seen: dict[str, set[str]] = {}
    final: list[_Row] = []
    for row in rows:
        known = seen.setdefault(f"{row.table}/{row.record_id}", set())
        final.append(
            msgspec.structs.replace(row, after={name: v for name, v in row.after.items() if name not in known})
        )
        known.update(row.after)
    return final


def _current(scope: WriteScope, row: _Row) -> tuple[Table, Record]:
    table = scope.tables.named(row.table)
    if table is None:
        raise Conflict(f"the plugin of {row.table} is not loaded", hint="enable it, then undo again")
    record = scope.find(table.record, row.record_id, deleted=True)
    if record is None:
        raise NotFound(f"{table.kind} {row.record_id} is gone")
    return table, record


def _clashes(scope: WriteScope, row: _Row) -> list[dict[str, Any]]:
    table, record = _current(scope, row)
    now = msgspec.json.decode(msgspec.json.encode(record))
    skip = {"rev", "updated_at"} if row.before is None else set[str]()
    return [
        {"record": table.kind, "id": row.record_id, "field": name, "then": value, "now": now.get(name)}
        for name, value in row.after.items()
        if name not in skip and now.get(name) != value and not _same(table, record, name, value)
    ]


def _same(table: Table, record: Record, name: str, then: Any) -> bool:
    """Tell whether a field holds what was written then: a set has no order, so its JSON may differ."""
    if name not in table.hints:
        return False
    try:
        return bool(_value(table, name, then) == getattr(record, name))
    except msgspec.ValidationError:
        return False


def _value(table: Table, name: str, kept: Any) -> Any:
    return msgspec.convert(kept, table.hints[name], str_keys=True)


def _take_back(scope: WriteScope, row: _Row) -> None:
    table, record = _current(scope, row)
    if row.before is None:
        scope.delete(record)
        return
    values = {name: _value(table, name, value) for name, value in row.before.items() if name in table.hints}
    scope.write_back(record, values)
