"""Soft references: which fields of records name other records, and those that name none.

No foreign key holds them, because records are only marked as deleted, and a plugin may be missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from coder_local._registry.registry import Registry
from coder_local._store.tables import Table


class Reference(NamedTuple):
    """A field of a record, and the tables that it may point into."""

    table: Table
    field: str
    others: tuple[Table, ...]


class Lost(NamedTuple):
    """References of one field to one kind of record that is not there."""

    table: Table
    field: str
    other: Table
    number: int
    first: str
    """Id of the oldest record that holds one."""


def declared(registry: Registry) -> list[Reference]:
    """Return the references that the loaded plugins declare with their lists. Call it on the loop."""
    found: list[Reference] = []
    for name in registry.names():
        operation = registry.declared(name)
        standard = None if operation is None else operation.standard
        if standard is None or standard.verb != "list":
            continue
        for field, other in standard.references:
            records = other if isinstance(other, tuple) else (other,)
            others = tuple(registry.tables.of(record) for record in records if registry.tables.keeps(record))
            found.append(Reference(registry.tables.of(standard.record), field, others))
    return found


def lost(connection: sqlite3.Connection, references: Sequence[Reference]) -> Iterator[Lost]:
    """Yield what live records name and is not kept, not even as deleted.

    Where a field may name one of several records, only those whose kind stands beside it (`source_type` beside
    `source`) are looked at: of the others nothing can be told, they may be another plugin's.
    """
    for table, field, others in references:
        if len(others) != 1 and f"{field}_type" not in table.by_name:
            continue
        for other in others:
            sql = f"SELECT count(*), min(id) {_dangling(table, field, other)}"
            count, first = connection.execute(sql, (other.kind,)).fetchone()
            if count:
                yield Lost(table, field, other, count, first)


def holders(connection: sqlite3.Connection, found: Lost) -> list[tuple[str, str]]:
    """Return workspace and id of each record that holds such a reference, oldest first."""
    sql = f"SELECT workspace_id, id {_dangling(found.table, found.field, found.other)} ORDER BY id"
    return connection.execute(sql, (found.other.kind,)).fetchall()


def holds(connection: sqlite3.Connection, found: Lost, id: str) -> bool:
    """Tell whether a record holds such a reference still."""
    sql = f"SELECT 1 {_dangling(found.table, found.field, found.other)} AND one.id = ?2"
    return connection.execute(sql, (found.other.kind, id)).fetchone() is not None


def _dangling(table: Table, field: str, other: Table) -> str:
    """Return the part of a query that finds the live records whose field names none of `other`, whose kind is `?1`."""
    kind = f"{field}_type"
    return (  # names that plugins declared
        f"FROM {table.name} AS one WHERE deleted_at IS NULL AND {field} <> ''"  # noqa: S608 - declared names
        f" AND {kind if kind in table.by_name else '?1'} = ?1"
        f" AND NOT EXISTS (SELECT 1 FROM {other.name} AS other WHERE other.id = one.{field})"
    )
