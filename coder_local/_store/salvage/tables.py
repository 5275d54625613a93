"""One table of the new database, and taking rows into it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from coder_local._store.connection import open_reader

from .nodes import Cell, DamagedPage, Scalar, payload, values
from .pages import Pages
from .report import SHOWN
from .schema import Entry
from .trees import Span

_FITTING: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "REAL": (int, float), "TEXT": (str,), "BLOB": (bytes,)}


class Target:
    """A table that is being filled."""

    def __init__(self, connection: sqlite3.Connection, entry: Entry) -> None:
        self.name = entry.name
        self.root = entry.root
        self.read = self.taken = self.refused = self.unsure = 0
        self.unsure_keys: list[str] = []
        """Keys of rows from a snapshot of which nothing tells that they were not deleted since."""
        self.rowids: set[int] = set()
        """Rowids that it has rows of."""
        self.reasons: list[str] = []
        self._connection = connection
        self._quoted = _quote(entry.name)
        listed = connection.execute(f"PRAGMA table_list({self._quoted})").fetchone()
        self.keyed = bool(listed[4])
        """Whether it is WITHOUT ROWID, and so lies in the file as an index does."""
        columns = connection.execute(f"PRAGMA table_info({self._quoted})").fetchall()
        if self.keyed:  # its rows begin with the key, whatever the order of the columns
            columns.sort(key=lambda column: (column[5] == 0, column[5], column[0]))
        self.columns: list[str] = [column[1] for column in columns]
        self._types: list[str] = [column[2].upper() for column in columns]
        if entry.name == "sqlite_sequence":  # made by SQLite, without types
            self._types = ["TEXT", "INTEGER"]
        self._may_lack = [not column[3] or column[4] is not None for column in columns]
        self._may_be_null = [not column[3] for column in columns]
        keys = [index for index, column in enumerate(columns) if column[5]]
        self._keys = [self.columns[index] for index in keys]
        alias = len(keys) == 1 and self._types[keys[0]] == "INTEGER" and not self.keyed
        self.numbered: int | None = keys[0] if alias else None
        """Index of the column that is the rowid itself, which the rows of the file leave empty."""

    def note(self, reason: str) -> None:
        """Keep a reason why a row is not there."""
        if len(self.reasons) < SHOWN:
            self.reasons.append(reason)

    def put(self, rowid: int | None, row: Sequence[Scalar]) -> None:
        """Take in a row of the damaged file; one that the table does not take is counted."""
        if self._insert(rowid, row):
            self.read += 1
        else:
            self.refused += 1

    def _insert(self, rowid: int | None, row: Sequence[Scalar]) -> bool:
        if len(row) > len(self.columns):
            self.note(f"a row has {len(row)} values, the table {len(self.columns)} columns")
            return False
        given = list(row)
        # rows of before a column was added do not have it, and get its default
        names = self.columns[: len(given)]
        if self.numbered is not None:
            given[self.numbered] = rowid
        elif not self.keyed:
            names, given = ["rowid", *names], [rowid, *given]
        listed, marks = ", ".join(map(_quote, names)), ", ".join("?" * len(given))
        try:
            self._connection.execute(f"INSERT INTO {self._quoted} ({listed}) VALUES ({marks})", given)  # noqa: S608
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
            self.note(str(error))
            return False
        if rowid is not None:
            self.rowids.add(rowid)
        return True

    def take(
        self,
        snapshot: Path,
        spans: Sequence[Span],
        ids: Mapping[int, Scalar] | None = None,
        sure: Collection[int] = (),
    ) -> set[int]:
        """Take rows of a snapshot that were lost, and return their rowids; of a keyed table all that it lacks.

        `ids` are those of lost rows by rowid, as far as they are known: SQLite gives the rowid of a row that was taken
        away to the next one, so the snapshot may have another there. `sure` are rowids that an index names; all others
        are noted, for they may have been deleted since.
        """
        connection = open_reader(snapshot)
        before = set(self.rowids)
        try:
            self._take(connection, spans, ids or {}, sure)
        except sqlite3.Error as error:
            self.note(f"the snapshot: {error}")
        finally:
            connection.close()
        return self.rowids - before

    def _take(
        self, connection: sqlite3.Connection, spans: Sequence[Span], ids: Mapping[int, Scalar], sure: Collection[int]
    ) -> None:
        known = {row[1] for row in connection.execute(f"PRAGMA table_info({self._quoted})")}
        names = [name for name in self.columns if name in known]
        if not names:
            return
        listed = ", ".join(map(_quote, names))
        if self.keyed:
            rows = connection.execute(f"SELECT {listed} FROM {self._quoted}")  # noqa: S608 - quoted names
            for row in rows:
                if self._add(names, row):
                    self.taken += 1
                    self._doubt(names, row)
            return
        sql = f"SELECT rowid, {listed} FROM {self._quoted} WHERE rowid BETWEEN ? AND ?"  # noqa: S608 - as above
        for span in spans:
            for rowid, *row in connection.execute(sql, span):
                another = rowid in ids and ids[rowid] not in row
                if rowid not in self.rowids and not another and self._add(["rowid", *names], [rowid, *row]):
                    self.rowids.add(rowid)
                    self.taken += 1
                    if rowid not in sure:
                        self._doubt(["rowid", *names], [rowid, *row])

    def _doubt(self, names: Sequence[str], row: Sequence[Scalar]) -> None:
        self.unsure += 1
        if len(self.unsure_keys) < SHOWN:
            given = dict(zip(names, row, strict=True))
            self.unsure_keys.append(", ".join(str(given.get(name)) for name in self._keys or ["rowid"]))

    def _add(self, names: Sequence[str], row: Sequence[Scalar]) -> bool:
        if self.numbered is not None and names[0] == "rowid":
            names, row = names[1:], row[1:]
        listed, marks = ", ".join(map(_quote, names)), ", ".join("?" * len(row))
        with contextlib.suppress(sqlite3.IntegrityError):  # another row has its key by now
            sql = f"INSERT OR IGNORE INTO {self._quoted} ({listed}) VALUES ({marks})"  # noqa: S608 - quoted names
            return self._connection.execute(sql, row).rowcount > 0
        return False

    def takes(self, pages: Pages, number: int, cell: Cell) -> bool:
        """Tell whether a cell of a page can be a row of this table, by the number and the types of its values."""
        if self.keyed or cell.rowid is None:
            return False
        try:
            row = values(payload(pages, number, cell))
        except DamagedPage:
            return False
        return len(row) == len(self.columns) and self.shaped(row)

    def shaped(self, row: Sequence[Scalar]) -> bool:
        """Tell whether values can be a row of this table, by number and types; or one of before a column came."""
        if len(row) > len(self.columns) or not all(self._may_lack[len(row) :]):
            return False
        return all(self._suits(index, value) for index, value in enumerate(row))

    def _suits(self, index: int, value: Scalar) -> bool:
        if value is None:
            return self._may_be_null[index] or index == self.numbered
        return isinstance(value, _FITTING.get(self._types[index], (int, float, str, bytes)))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
