"""What can be read of a b-tree: from its root down, and the pages that a damaged one leaves without a way to them.

Those are found from below: the pointer map tells for each page which one points to it, a damaged one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .nodes import INDEX_BRANCH, INDEX_LEAF, TABLE_BRANCH, TABLE_LEAF, Cell, DamagedPage, Node, payload, read_node
from .pages import NODE, ROOT, Pages

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1


class Row(NamedTuple):
    """One row of a table, or one entry of an index."""

    rowid: int | None
    payload: bytes


class Span(NamedTuple):
    """Rowids that may have been lost, both ends among them."""

    low: int
    high: int


class Tree:
    """One b-tree of a file, as far as it can be read. Make all of a file's, then `adopt`, then read the rows."""

    def __init__(self, pages: Pages, root: int, *, index: bool) -> None:
        self.root = root
        self.index = index
        self.damaged: dict[int, str] = {}
        """Pages that cannot be read, and why."""
        self.lost: list[Span] = []
        """Rowids that the unreadable pages held or may have held; for an index, none."""
        self.nodes: set[int] = set()
        """Pages that belong to it."""
        self._pages = pages
        self._kinds = {INDEX_BRANCH, INDEX_LEAF} if index else {TABLE_BRANCH, TABLE_LEAF}
        self._leaves: list[int] = []
        self._walk(root, LOWEST, HIGHEST)

    def _walk(self, root: int, low: int, high: int) -> None:
        waiting = [(root, low, high)]
        while waiting:
            number, low, high = waiting.pop()
            try:
                node = self._node(number, low, high)
            except DamagedPage as error:
                self._lose(number, str(error), low, high)
                continue
            self.nodes.add(number)
            if self.index or node.kind == TABLE_LEAF:
                self._leaves.append(number)
            if node.right:
                keys = [cell.rowid if cell.rowid is not None else HIGHEST for cell in node.cells] + [high]
                lows = [low, *(min(key + 1, HIGHEST) for key in keys[:-1])]
                children = [*(cell.child for cell in node.cells), node.right]
                waiting += reversed(list(zip(children, lows, keys, strict=True)))

    def _node(self, number: int, low: int, high: int) -> Node:
        """Return a page that stands where this tree's rowids from `low` to `high` are. Raises `DamagedPage`."""
        if number in self.nodes:
            raise DamagedPage("two pages point to it")
        origin = self._pages.origin(number)
        if origin is not None and origin.kind not in {NODE, ROOT}:
            raise DamagedPage("it belongs to something else")
        node = read_node(self._pages, number)
        if node.kind not in self._kinds:
            raise DamagedPage("it belongs to something else")
        before = low - 1
        for cell in node.cells:
            if cell.rowid is not None and not before < cell.rowid <= high:
                raise DamagedPage("its rows are out of order")
            before = before if cell.rowid is None else cell.rowid
        return node

    def _lose(self, number: int, why: str, low: int, high: int) -> None:
        self.damaged[number] = why
        if not self.index:
            self.lost.append(Span(low, high))

    def adopt(self, number: int, node: Node) -> bool:
        """Take in a page to which no readable page leads; False if it cannot be this tree's."""
        if node.kind not in self._kinds or number in self.nodes:
            return False
        keys = [cell.rowid for cell in node.cells if cell.rowid is not None]
        if keys and (sorted(set(keys)) != keys or not any(span.low <= keys[0] <= span.high for span in self.lost)):
            return False
        self.nodes.add(number)
        if self.index or node.kind == TABLE_LEAF:
            self._leaves.append(number)
        if keys and node.kind == TABLE_LEAF:
            self._found(keys[0], keys[-1])
        return True

    def _found(self, low: int, high: int) -> None:
        """Take rowids that were found out of those that were lost; within one leaf none is missing."""
        kept: list[Span] = []
        for span in self.lost:
            if span.high < low or span.low > high:
                kept.append(span)
                continue
            kept += [each for each in (Span(span.low, low - 1), Span(high + 1, span.high)) if each.low <= each.high]
        self.lost = kept

    def rows(self) -> Iterator[Row]:
        """Yield the rows; one that goes on on a damaged page is lost, and is said by `damaged` and `lost` then."""
        for number in self._leaves:
            for cell in read_node(self._pages, number).cells:
                try:
                    yield Row(cell.rowid, payload(self._pages, number, cell))
                except DamagedPage as error:
                    self._lose_cell(number, cell, str(error))

    def _lose_cell(self, number: int, cell: Cell, why: str) -> None:
        self.damaged.setdefault(cell.overflow, f"{why}; of a row on page {number}")
        if cell.rowid is not None:
            self.lost.append(Span(cell.rowid, cell.rowid))

    def lose_row(self, number: int | None) -> None:
        """Note that a row cannot be used, though its page can be read."""
        if number is not None:
            self.lost.append(Span(number, number))


def adopt_orphans(pages: Pages, trees: dict[int, Tree]) -> list[int]:
    """Give each tree, by its root, the pages below its damaged ones; return those that are nobody's for certain."""
    reached = {number for tree in trees.values() for number in tree.nodes}
    damaged = {number: tree for tree in trees.values() for number in tree.damaged}
    doubtful: list[int] = []
    for number in range(2, pages.present + 1):
        if number in reached or number in damaged or pages.is_map(number):
            continue
        origin = pages.origin(number)
        if origin is not None and origin.kind != NODE:
            continue
        owner = _owner(pages, number, damaged, reached)
        try:
            node = read_node(pages, number)
        except DamagedPage as error:
            if owner is not None:
                owner.damaged[number] = str(error)
            continue
        if owner is None or not owner.adopt(number, node):
            doubtful.append(number)
    return doubtful


def _owner(pages: Pages, number: int, damaged: dict[int, Tree], reached: set[int]) -> Tree | None:
    """Return the tree in which the way up from a page ends at a damaged page."""
    seen: set[int] = set()
    while number not in damaged:
        origin = pages.origin(number)
        # a readable page that does not point here has let go of this one
        if origin is None or origin.kind != NODE or number in seen or number in reached:
            return None
        seen.add(number)
        number = origin.parent
    return damaged[number]
