"""The pages of a database file that SQLite itself may no longer open, with what its write-ahead log holds of them.

After https://sqlite.org/fileformat2.html. Nothing here is written, and nothing is believed that is not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC = b"SQLite format 3\0"
_WAL_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
_PENDING_BYTE = 0x40000000
_CUT_OFF = 1000
"""How many times as long a file may have been before it was cut off: more is taken for a damaged number."""
PAGE_SIZE = 4096
"""Where neither the file nor its like tells another: what SQLite makes a file with."""

ROOT, FREE, OVERFLOW_FIRST, OVERFLOW_NEXT, NODE = 1, 2, 3, 4, 5
"""What a pointer map says that a page is."""


class Origin(NamedTuple):
    """What the pointer map says of a page."""

    kind: int
    parent: int
    """The page that points to it; 0 for a root and a free page."""


class Shape(NamedTuple):
    """What the first page says of the whole file."""

    page_size: int
    reserved: int
    """Bytes at the end of each page that SQLite leaves alone."""
    mapped: bool
    """Whether there is a pointer map: in files with `auto_vacuum`, which are all of ours."""
    length: int
    """Pages that the file has; it may have been cut off since. 0 where nothing tells."""
    free_first: int | None
    """The first page of the list of free pages, 0 if none is free; None where the page cannot be read."""


class Pages:
    """The pages of one file, numbered from 1; use it in a `with` statement. Raises `OSError` if it cannot be read."""

    def __init__(self, path: Path, like: Path | None = None) -> None:
        self._file = path.open("rb")
        try:
            self._logged = _read_log(path.with_name(path.name + "-wal"))
            first = self._logged.get(1) or self._file.read(512)
            told = _shape(first)
            if told is None:
                size = len(next(iter(self._logged.values()), b""))
                told = _shape_of_like(like)._replace(free_first=None, length=0)
                told = told._replace(page_size=size or told.page_size)
            self.shape = told
            self.size = told.page_size
            self.usable = self.size - told.reserved
            self.present = max([(self._file.seek(0, 2) + self.size - 1) // self.size, *self._logged])
            """The last page that is there, or a part of it."""
            self.count = max(self.present, told.length if told.length < _CUT_OFF * (self.present + 100) else 0)
            """The last page that there was; more than `present` in a file that was cut off."""
        except BaseException:
            self._file.close()
            raise
        self._maps: dict[int, list[Origin] | None] = {}

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, number: int) -> bytes | None:
        """Return a page, None when there is no such page, or not all of it."""
        if not 1 <= number <= self.count:
            return None
        found = self._logged.get(number)
        if found is None:
            self._file.seek((number - 1) * self.size)
            found = self._file.read(self.size)
        return found if len(found) == self.size else None

    def origin(self, number: int) -> Origin | None:
        """Return what the pointer map says of a page; None where there is none, or it cannot be believed."""
        if not self.shape.mapped or number < 3 or self.is_map(number):
            return None
        place = self._map_of(number)
        if place not in self._maps:
            self._maps[place] = self._read_map(place)
        found = self._maps[place]
        index = number - place - 1
        return None if found is None or index >= len(found) else found[index]

    def is_map(self, number: int) -> bool:
        """Tell whether a page is one of the pointer map, or the one that is never used because locks lie there."""
        if number == _PENDING_BYTE // self.size + 1:
            return True
        return self.shape.mapped and number >= 2 and self._map_of(number) == number

    def _map_of(self, number: int) -> int:
        each = self.usable // 5 + 1
        place = (number - 2) // each * each + 2
        return place + 1 if place == _PENDING_BYTE // self.size + 1 else place

    def _read_map(self, place: int) -> list[Origin] | None:
        """Return the entries of one page of the map; one entry that cannot be makes all of them doubtful."""
        page = self.get(place)
        if page is None:
            return None
        entries = min(self.usable // 5, self.count - place)
        found = [Origin(*each) for each in struct.iter_unpack(">BI", page[: entries * 5])]
        for entry in found:
            alone = entry.kind in {ROOT, FREE}
            if not ROOT <= entry.kind <= NODE or entry.parent > self.count or alone != (entry.parent == 0):
                return None
        return found

    def free(self) -> set[int] | None:
        """Return the pages on the list of free pages; None where the list cannot be followed to its end."""
        trunk = self.shape.free_first
        found: set[int] = set()
        while trunk:
            page = self.get(trunk)
            if page is None or trunk in found:
                return None
            following, entries = struct.unpack_from(">II", page)
            if entries > self.usable // 4 - 2:
                return None
            leaves = set(struct.unpack_from(f">{entries}I", page, 8))
            if any(not 1 < leaf <= self.count for leaf in leaves) or leaves & found:
                return None
            found |= leaves | {trunk}
            trunk = following
        return None if trunk is None else found


def _shape(first: bytes) -> Shape | None:
    """Return what a first page says, None if it cannot be one."""
    if first[:16] != _MAGIC or len(first) < 100:
        return None
    size = int.from_bytes(first[16:18], "big")
    size = 65536 if size == 1 else size
    if not 512 <= size <= 65536 or size & size - 1 or first[21:24] != b"\x40\x20\x20":
        return None
    if int.from_bytes(first[56:60], "big") not in {0, 1}:
        return None  # UTF-16: none of ours
    count = int.from_bytes(first[28:32], "big") if first[24:28] == first[92:96] else 0
    return Shape(size, first[20], any(first[52:56]), count, int.from_bytes(first[32:36], "big"))


def _shape_of_like(like: Path | None) -> Shape:
    found = None
    if like is not None:
        with like.open("rb") as file:
            found = _shape(file.read(512))
    return found or Shape(PAGE_SIZE, 0, mapped=True, length=0, free_first=None)


def _read_log(path: Path) -> dict[int, bytes]:
    """Return the newest committed page of each number in a write-ahead log, up to where its checksums break."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    if len(content) < 32:
        return {}
    magic, _, size, _, salt, salt_2, own, own_2 = struct.unpack_from(">8I", content)
    order = _WAL_MAGICS.get(magic)
    if order is None or not 512 <= size <= 65536 or size & size - 1:
        return {}
    sums = _checksum(content[:24], order, (0, 0))
    if sums != (own, own_2):
        return {}
    found: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    for number, committed, page in _frames(content, size, order, (salt, salt_2), sums):
        waiting[number] = page
        if committed:
            found |= waiting
            waiting = {}
    return found


def _frames(
    content: bytes, size: int, order: str, salts: tuple[int, int], sums: tuple[int, int]
) -> Iterator[tuple[int, bool, bytes]]:
    for at in range(32, len(content) - 24 - size + 1, 24 + size):
        number, commit, salt, salt_2, own, own_2 = struct.unpack_from(">6I", content, at)
        page = content[at + 24 : at + 24 + size]
        sums = _checksum(page, order, _checksum(content[at : at + 8], order, sums))
        if (salt, salt_2) != salts or sums != (own, own_2) or number == 0:
            return
        yield number, commit != 0, page


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second
