"""Where the tables lie that another file tells of: its numbers of pages are a guess, until what lies there fits.

A file that was brought up to date has its tables elsewhere than one that was made anew by the same program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from coder_local._store.connection import MEMORY, open_writer

from .nodes import INDEX_BRANCH, INDEX_LEAF, DamagedPage, Scalar, read_node, values
from .pages import ROOT, Pages
from .schema import Entry
from .tables import Target
from .trees import Tree

_LOOKED_AT = 500
"""Rows of a tree that have to fit, from its beginning on."""


class _Shape(NamedTuple):
    """What the rows of a table, or the entries of an index, look like."""

    entry: Entry
    keyed: bool
    """Whether it lies in the file as an index does."""
    table: Target | None
    length: int
    """Values of each entry of an index."""

    def fits(self, row: Sequence[Scalar]) -> bool:
        return len(row) == self.length if self.table is None else self.table.shaped(row)


def place(pages: Pages, added: Sequence[Entry], taken: Collection[int]) -> list[Entry]:
    """Return the entries of another file with the roots that they have in this one; `taken` are those of others.

    If what lies at all of its roots fits, they are taken for true. Else a table gets the one root with rows that fit it
    and no other table; what has none so gets a number that is no page's, and counts as lost.
    """
    shapes = _shapes(added)
    if all(_can_be(pages, entry, shapes, taken) for entry in added if entry.root):
        return list(added)
    tables = [shape for shape in shapes.values() if shape.table is not None]
    fitting: dict[int, list[str]] = {}
    for root in range(3, pages.present + 1):
        origin = pages.origin(root)
        if root not in taken and origin is not None and origin.kind == ROOT:
            fitting[root] = [shape.entry.name for shape in tables if _holds(pages, root, shape)]
    found: list[Entry] = []
    for number, entry in enumerate(added, 1):
        own = [root for root, names in fitting.items() if names == [entry.name]]
        root = own[0] if len(own) == 1 and entry.type == "table" else -number
        found.append(entry._replace(root=root if entry.root else 0))
    return found


def _shapes(added: Sequence[Entry]) -> dict[str, _Shape]:
    """Return what can be told of tables and indexes by making them, by name."""
    found: dict[str, _Shape] = {}
    connection = open_writer(MEMORY)
    try:
        for entry in sorted(added, key=lambda entry: entry.type != "table"):
            try:
                if entry.sql and not entry.name.startswith("sqlite_"):
                    connection.execute(entry.sql)
                if entry.type == "table":
                    table = Target(connection, entry)
                    found[entry.name] = _Shape(entry, table.keyed, table, 0)
                elif entry.type == "index":
                    length = connection.execute("SELECT count(*) FROM pragma_index_xinfo(?)", (entry.name,)).fetchone()
                    found[entry.name] = _Shape(entry, True, None, length[0])
            except sqlite3.Error:
                continue  # it belongs to a table that the damaged file tells itself
    finally:
        connection.close()
    return found


def _can_be(pages: Pages, entry: Entry, shapes: Mapping[str, _Shape], taken: Collection[int]) -> bool:
    """Tell whether nothing that can be read says that an entry has another root."""
    origin = pages.origin(entry.root)
    if entry.root in taken or (origin is not None and origin.kind != ROOT):
        return False
    shape = shapes.get(entry.name)
    try:
        node = read_node(pages, entry.root)
    except DamagedPage:
        return True
    if shape is None:
        return True
    if (node.kind in {INDEX_BRANCH, INDEX_LEAF}) != shape.keyed:
        return False
    return all(shape.fits(row) for row in _rows(pages, entry.root, keyed=shape.keyed))


def _holds(pages: Pages, root: int, shape: _Shape) -> bool:
    """Tell whether rows lie below a root, and can all be of one table."""
    rows = list(_rows(pages, root, keyed=shape.keyed))
    return bool(rows) and all(shape.fits(row) for row in rows)


def _rows(pages: Pages, root: int, *, keyed: bool) -> Iterator[list[Scalar]]:
    for row in islice(Tree(pages, root, index=keyed).rows(), _LOOKED_AT):
        try:
            yield values(row.payload)
        except DamagedPage:
            continue
