"""One page of a b-tree: its cells, or why it is none. Checked as SQLite's own integrity check does, to the last byte.

A page that has one fault gives nothing: what stands beside the fault may be as wrong, and nothing would tell.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .pages import Pages

INDEX_BRANCH, TABLE_BRANCH, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
_KINDS = frozenset({INDEX_BRANCH, TABLE_BRANCH, INDEX_LEAF, TABLE_LEAF})
_LEAST_CELL = 4
_FIXED = {1: (1, ">b"), 2: (2, ">h"), 4: (4, ">i"), 6: (8, ">q"), 7: (8, ">d")}
"""Length and form of values by serial type; 3 and 5 have no form of `struct`."""
_ODD = {3: 3, 5: 6}
_WORDS = {0: None, 8: 0, 9: 1}
"""Serial types that are a value by themselves."""

Scalar = int | float | str | bytes | None


class DamagedPage(Exception):
    """A page is not what it should be; the message says how."""


class Cell(NamedTuple):
    """One entry of a page."""

    child: int
    """Page with what comes before it; 0 on a leaf."""
    rowid: int | None
    """In a table; None in an index."""
    size: int
    """Bytes of the whole payload."""
    local: bytes
    """The part of the payload that stands on the page."""
    overflow: int
    """The first page of the rest of the payload; 0 if all of it is here."""


class Node(NamedTuple):
    """A page of a b-tree."""

    kind: int
    cells: list[Cell]
    right: int
    """Page with what comes after the last cell; 0 on a leaf."""


def read_node(pages: Pages, number: int) -> Node:
    """Return a page as one of a b-tree. Raises `DamagedPage`."""
    page = pages.get(number)
    if page is None:
        raise DamagedPage("it is not in the file")
    head = 100 if number == 1 else 0
    kind, free, count, start, fragments = struct.unpack_from(">BHHHB", page, head)
    if kind not in _KINDS:
        raise DamagedPage(f"it is of no kind ({kind})")
    leaf = kind in {INDEX_LEAF, TABLE_LEAF}
    pointers = head + (8 if leaf else 12)
    start = start or 65536
    if not pointers + 2 * count <= start <= pages.usable:
        raise DamagedPage("its cells begin where they cannot")
    right = 0 if leaf else int.from_bytes(page[head + 8 : head + 12], "big")
    if not leaf and not 1 < right <= pages.count:
        raise DamagedPage("its last child is no page")
    cells: list[Cell] = []
    used: list[tuple[int, int]] = []
    for place in struct.unpack_from(f">{count}H", page, pointers):
        if not start <= place <= pages.usable - _LEAST_CELL:
            raise DamagedPage("a cell lies outside")
        cell, end = _cell(pages, page, kind, place)
        cells.append(cell)
        used.append((place, max(end, place + _LEAST_CELL)))
    _check_cover(page, start, pages.usable, used, free, fragments)
    return Node(kind, cells, right)


def _cell(pages: Pages, page: bytes, kind: int, place: int) -> tuple[Cell, int]:
    child = 0
    at = place
    if kind in {INDEX_BRANCH, TABLE_BRANCH}:
        child = int.from_bytes(page[at : at + 4], "big")
        at += 4
        if not 1 < child <= pages.count:
            raise DamagedPage("a child is no page")
    size, rowid = 0, None
    if kind != TABLE_BRANCH:
        size, at = varint(page, at)
    if kind in {TABLE_BRANCH, TABLE_LEAF}:
        rowid, at = varint(page, at)
        rowid -= 1 << 64 if rowid >> 63 else 0
    if size > pages.count * pages.usable:
        raise DamagedPage("a cell is larger than the file")
    here = 0 if kind == TABLE_BRANCH else _local(size, pages.usable, table=kind == TABLE_LEAF)
    end = at + here + (4 if here < size else 0)
    if end > pages.usable:
        raise DamagedPage("a cell reaches over its end")
    overflow = int.from_bytes(page[at + here : end], "big") if here < size else 0
    if here < size and not 1 < overflow <= pages.count:
        raise DamagedPage("the rest of a cell is on no page")
    return Cell(child, rowid, size, page[at : at + here], overflow), end


def _local(size: int, usable: int, *, table: bool) -> int:
    """Return how many bytes of a payload stand on the page itself."""
    most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
    if size <= most:
        return size
    least = (usable - 12) * 32 // 255 - 23
    fitting = least + (size - least) % (usable - 4)
    return fitting if fitting <= most else least


def _check_cover(page: bytes, start: int, usable: int, used: list[tuple[int, int]], free: int, fragments: int) -> None:
    """Raise `DamagedPage` unless cells, free blocks and fragments fill the page, each byte once."""
    spans = list(used)
    while free:
        if not start <= free <= usable - _LEAST_CELL:
            raise DamagedPage("a free block lies outside")
        following, size = struct.unpack_from(">HH", page, free)
        if size < _LEAST_CELL or free + size > usable or (following and following <= free + size):
            raise DamagedPage("its free blocks are out of order")
        spans.append((free, free + size))
        free = following
    left, at = 0, start
    for begin, end in sorted(spans):
        if begin < at:
            raise DamagedPage("two of its cells overlap")
        left += begin - at
        at = end
    if left + usable - at != fragments:
        raise DamagedPage("some of its bytes belong to nothing")


def varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes and where it ends. Raises `DamagedPage`."""
    value = 0
    for index in range(at, at + 9):
        if index >= len(page):
            raise DamagedPage("a number reaches over its end")
        byte = page[index]
        if index == at + 8:
            return value << 8 | byte, index + 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    raise AssertionError


def payload(pages: Pages, number: int, cell: Cell, used: set[int] | None = None) -> bytes:
    """Return the whole payload of a cell of a page. Raises `DamagedPage` if a page of the rest is not its own.

    The numbers of the pages that hold the rest are put into `used`.
    """
    parts, have, page, before = [cell.local], len(cell.local), cell.overflow, number
    each = pages.usable - 4
    while have < cell.size:
        content, origin = pages.get(page), pages.origin(page)
        if content is None or (origin is not None and origin.parent != before):
            raise DamagedPage(f"page {page}, where a row goes on, is not its own")
        if content.count(0) == len(content):  # never written, or wiped: a text of nothing but zeros is no text of ours
            raise DamagedPage(f"page {page}, where a row goes on, is empty")
        if used is not None:
            used.add(page)
        taken = content[4 : 4 + min(each, cell.size - have)]
        parts.append(taken)
        have += len(taken)
        before, page = page, int.from_bytes(content[:4], "big")
    if cell.overflow and page != 0:
        raise DamagedPage(f"page {before}, where a row ends, says that it goes on")
    return b"".join(parts)


def values(record: bytes) -> list[Scalar]:
    """Return the values of a payload. Raises `DamagedPage` if it is no record of SQLite's."""
    head, at = varint(record, 0)
    if head > len(record):
        raise DamagedPage("a row's header is longer than the row")
    body, found = head, list[Scalar]()
    while at < head:
        kind, at = varint(record, at)
        value, length = _value(record, kind, body)
        found.append(value)
        body += length
    if at != head or body != len(record):
        raise DamagedPage("a row is not as long as it says")
    return found


def _value(record: bytes, kind: int, at: int) -> tuple[Scalar, int]:
    if kind in _WORDS:
        return _WORDS[kind], 0
    if kind in {10, 11}:
        raise DamagedPage("a row has a value of no type")
    length = _FIXED[kind][0] if kind in _FIXED else _ODD[kind] if kind in _ODD else (kind - 12) // 2
    part = record[at : at + length]
    if len(part) != length:
        raise DamagedPage("a row's values are longer than the row")
    if kind in _FIXED:
        return struct.unpack(_FIXED[kind][1], part)[0], length
    if kind in _ODD:
        return int.from_bytes(part, "big", signed=True), length
    if kind % 2 == 0:
        return part, length
    try:
        return part.decode("utf-8"), length
    except UnicodeDecodeError as error:
        raise DamagedPage("a row has a text that is none") from error
