"""Putting what can be read of a damaged database into a new one, and telling what cannot.

No row is invented: a page or a row that has one fault is left out, and a free page is never taken for a full one. What
was lost is looked for in a snapshot, and only there where it was lost: a row that was taken away since stays away where
an index tells so, and is listed as one that may have been where none does.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from coder_local._store.clock import SystemClock, instant
from coder_local._store.connection import open_writer

from . import schema
from .nodes import DamagedPage, Scalar, read_node, values
from .pages import Pages
from .places import place
from .report import SHOWN, Lost, SalvagedTable, SalvageReport
from .schema import Entry
from .tables import Target
from .trees import HIGHEST, LOWEST, Span, Tree, adopt_orphans

_PARTIAL = re.compile(r"\bWHERE\b", re.IGNORECASE)
_APPLIED = "_sqlite_migrations"
_SEQUENCE = "sqlite_sequence"


def salvage(source: Path, target: Path, *, snapshot: Path | None = None, like: Path | None = None) -> SalvageReport:
    """Make `target`, a new database, out of what can be read of `source` with its log, and return what came of it.

    `snapshot` is a whole copy of earlier, from which rows are taken that were lost. `like` is a database that the same
    program made anew. Each of them tells the tables where the file itself does not. Raises `OSError` or
    `sqlite3.Error` if `source` cannot be read at all, or `target` not written.
    """
    likes = [path for path in (snapshot, like) if path is not None]
    with Pages(source, likes[0] if likes else None) as pages:
        master = Tree(pages, 1, index=False)
        adopt_orphans(pages, {1: master})
        plan = schema.read(master, source, likes)
        entries = [*plan.entries, *place(pages, plan.added, {entry.root for entry in plan.entries})]
        connection = open_writer(target)
        try:
            connection.execute("PRAGMA foreign_keys = OFF")  # rows come in the order of tables; looked at in the end
            work = _Salvage(pages, connection, entries, master)
            tables = work.run(snapshot, likes)
            connection.execute("PRAGMA journal_mode = DELETE")
            faults = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
            broken = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        finally:
            connection.close()
    faults += work.unmade + [f"row {row} of {table} points to nothing in {parent}" for table, row, parent, _ in broken]
    return SalvageReport(
        source=str(source),
        at=instant(SystemClock().now_ms()),
        page_size=pages.size,
        pages=pages.count,
        damaged_pages=len({number for tree in work.trees.values() for number in tree.damaged if number > 0}),
        doubtful_pages=work.doubtful,
        schema_from=str(plan.source),
        schema_whole=plan.whole,
        snapshot=None if snapshot is None else str(snapshot),
        tables=tables,
        faults=faults,
    )


def damaged_tables(path: Path) -> list[str]:
    """Return the tables that pages which cannot be read belong to, those of their indexes among them, by name."""
    with Pages(path) as pages:
        master = Tree(pages, 1, index=False)
        adopt_orphans(pages, {1: master})
        found = {"sqlite_master"} if master.damaged else set[str]()
        for entry in schema.read(master, path, ()).entries:
            if entry.root:
                keyed = entry.type == "index" or "WITHOUT ROWID" in (entry.sql or "").upper()
                tree = Tree(pages, entry.root, index=keyed)
                for _ in tree.rows():
                    pass  # the pages that a row goes on on are looked at when it is read
                found |= {entry.table} if tree.damaged else set()
    return sorted(found)


class _Salvage:
    """One salvage: the trees of the file, and the new database."""

    def __init__(self, pages: Pages, target: sqlite3.Connection, entries: list[Entry], master: Tree) -> None:
        self._pages = pages
        self._target = target
        self._entries = entries
        self.trees: dict[int, Tree] = {1: master}
        self.doubtful: list[int] = []
        self.unmade: list[str] = []
        """What could not be made at all, in words."""

    def run(self, snapshot: Path | None, likes: Sequence[Path]) -> list[SalvagedTable]:
        """Fill the new database and return what came of each table."""
        execute = self._target.execute
        others = schema.statements(likes)
        execute("BEGIN")
        tables: dict[str, Target] = {}
        for entry in sorted(self._entries, key=lambda entry: entry.type != "table"):
            if entry.type == "trigger" or not entry.sql or entry.name.startswith("sqlite_"):
                continue
            if (entry.type == "table" or entry.table in tables) and self._make(entry, others) and entry.type == "table":
                tables[entry.name] = Target(self._target, entry)
        self._plant(tables)
        reports = [self._fill(table, snapshot, likes) for table in tables.values()]
        self._number_on()
        for entry in self._entries:
            if entry.type == "trigger" and entry.sql and entry.table in tables:
                self._make(entry, others)
        execute("COMMIT")
        return reports

    def _make(self, entry: Entry, others: Mapping[tuple[str, str], str]) -> bool:
        """Make a table, index or trigger, by another file's statement where its own was hit; False if neither does."""
        execute = self._target.execute
        for sql in (entry.sql, others.get((entry.type, entry.name))):
            execute("SAVEPOINT made")
            with contextlib.suppress(sqlite3.Error, ValueError):  # ValueError: it has a zero byte
                execute(sql or "")
            named = "SELECT 1 FROM sqlite_master WHERE type = ? AND name = ? AND tbl_name = ?"
            made = execute(named, (entry.type, entry.name, entry.table)).fetchone() is not None
            execute("RELEASE made" if made else "ROLLBACK TO made")
            if made:
                return True
        self.unmade.append(f"the statement that makes {entry.type} {entry.name} is damaged")
        return False

    def _plant(self, tables: dict[str, Target]) -> None:
        for entry in self._entries:
            if entry.root and entry.root not in self.trees:
                index = entry.type == "index" or (entry.name in tables and tables[entry.name].keyed)
                self.trees[entry.root] = Tree(self._pages, entry.root, index=index)
        left = adopt_orphans(self._pages, self.trees)
        free = self._pages.free()
        self.doubtful = [
            number
            for number in left
            if free is None or (number not in free and not self._adopted(number, tables.values()))
        ]

    def _adopted(self, number: int, tables: Iterable[Target]) -> bool:
        """Give a page that is in use, and of which no map tells whose it is, to the one table that its rows fit."""
        if self._pages.origin(number) is not None:
            return False
        node = read_node(self._pages, number)
        fitting = [
            table
            for table in tables
            if self.trees[table.root].lost and all(table.takes(self._pages, number, cell) for cell in node.cells)
        ]
        return len(fitting) == 1 and bool(node.cells) and self.trees[fitting[0].root].adopt(number, node)

    def _fill(self, table: Target, snapshot: Path | None, likes: Sequence[Path]) -> SalvagedTable:
        tree = self.trees[table.root]
        for row in tree.rows():
            try:
                found = values(row.payload)
            except DamagedPage as error:
                tree.lose_row(row.rowid)
                table.note(str(error))
            else:
                table.put(row.rowid, found)
        hurt = bool(tree.damaged or tree.lost)
        named, exact = self._named(table) if hurt else ({}, False)
        known = named or (self._numbered(table) if hurt else {})
        taken: set[int] = set()
        if hurt and snapshot is not None:
            sought = [Span(number, number) for number in known.keys() - table.rowids] if exact else tree.lost
            taken = table.take(snapshot, sought, self._ids(table), named)
        if hurt and table.name == _APPLIED:
            for like in likes:  # without its rows, tables that are there would be made once more
                taken |= table.take(like, [Span(LOWEST, HIGHEST)], sure=range(LOWEST, HIGHEST + 1))
        missing = sorted(known.keys() - table.rowids)
        lost = [Span(number, number) for number in missing] if exact else _without(tree.lost, taken)
        told = bool(known) or not hurt
        return SalvagedTable(
            name=table.name,
            read=table.read,
            from_snapshot=table.taken,
            maybe_deleted=table.unsure,
            maybe_deleted_keys=table.unsure_keys,
            missing=(len(missing) if told else None),
            refused=table.refused,
            lost=_shown(lost, max([*known, *table.rowids], default=None) if told else None),
            missing_ids=[text for number in missing[:SHOWN] if isinstance(text := known[number], str)],
            damaged_pages=sorted(number for number in tree.damaged if number > 0),
            reasons=[*dict.fromkeys([*tree.damaged.values(), *table.reasons])][:SHOWN],
        )

    def _named(self, table: Target) -> tuple[dict[int, Scalar], bool]:
        """Return the rowids that the table's indexes name, each with what leads there, and whether those are all."""
        known: dict[int, Scalar] = {}
        exact = False
        for entry in self._entries:
            if entry.type != "index" or entry.table != table.name or _PARTIAL.search(entry.sql or ""):
                continue
            tree = self.trees[entry.root]
            for row in tree.rows():
                try:
                    found = values(row.payload)
                except DamagedPage:
                    tree.damaged.setdefault(0, "an entry cannot be read")
                    continue
                if found and isinstance(found[-1], int):
                    known.setdefault(found[-1], found[0])
            exact = exact or not tree.damaged
        return known, exact

    def _numbered(self, table: Target) -> dict[int, Scalar]:
        """Return the rowids up to the last one given that may have been lost."""
        last = 0 if table.numbered is None else self._sequence().get(table.name, 0)
        spans = [Span(max(span.low, 1), min(span.high, last)) for span in self.trees[table.root].lost]
        return {number: None for span in spans for number in range(span.low, span.high + 1)}

    def _ids(self, table: Target) -> dict[int, Scalar]:
        """Return the id of each row by its rowid, as far as the index of the primary key has them."""
        name = f"sqlite_autoindex_{table.name}_1"
        root = next((entry.root for entry in self._entries if entry.name == name), 0)
        found: dict[int, Scalar] = {}
        for row in self.trees[root].rows() if root and not table.keyed else ():
            with contextlib.suppress(DamagedPage):
                match values(row.payload):
                    case [id, int(rowid)]:
                        found[rowid] = id
                    case _:
                        pass
        return found

    def _sequence(self) -> dict[str, int]:
        """Return the last numbers given, which the file keeps in a table of its own."""
        found: dict[str, int] = {}
        for entry in self._entries:
            if entry.name != _SEQUENCE:
                continue
            for row in self.trees[entry.root].rows():
                try:
                    match values(row.payload):
                        case [str(name), int(last)]:
                            found[name] = last
                        case _:
                            pass
                except DamagedPage:
                    continue
        return found

    def _number_on(self) -> None:
        """See to it that no number is given a second time, also where the rows that had it are lost."""
        if not any(entry.name == _SEQUENCE for entry in self._entries):
            return
        now = dict(self._target.execute(f"SELECT name, seq FROM {_SEQUENCE}"))  # noqa: S608 - a constant
        for name, last in self._sequence().items():
            if name not in now:
                self._target.execute(f"INSERT INTO {_SEQUENCE} (name, seq) VALUES (?, ?)", (name, last))  # noqa: S608
            elif now[name] < last:
                self._target.execute(f"UPDATE {_SEQUENCE} SET seq = ? WHERE name = ?", (last, name))  # noqa: S608


def _without(spans: Sequence[Span], found: set[int]) -> list[Span]:
    """Return spans without some numbers in them."""
    left: list[Span] = []
    for span in spans:
        low = span.low
        for number in sorted(each for each in found if span.low <= each <= span.high):
            if low < number:
                left.append(Span(low, number - 1))
            low = number + 1
        if low <= span.high:
            left.append(Span(low, span.high))
    return left


def _shown(spans: Sequence[Span], last: int | None) -> list[Lost]:
    """Return spans as a report says them: joined where they touch, from 1 on, open where nothing tells the end."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.low <= joined[-1].high + 1:
            joined[-1] = Span(joined[-1].low, max(joined[-1].high, span.high))
        else:
            joined.append(span)
    end = HIGHEST if last is None else last
    return [
        Lost(
            low=max(span.low, 1),
            high=None if (high := min(span.high, end)) == HIGHEST else high,
        )
        for span in joined
        if span.low <= end and span.high > 0
    ]
