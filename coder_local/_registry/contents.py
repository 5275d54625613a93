"""The hashes of plugins' files for whoever lists them, which are not read again while nothing about them changed.

Never for a decision: whether a content is the one that was enabled is told by `content_hash`, which reads all.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from .plugins import Plugin, Source, content_files, content_hash

_SETTLED_NS = 2_000_000_000
"""What changed within so long may change once more in the same tick of its file system's clock, and look the same."""
_Stamps = tuple[tuple[str, int, int, int, int, int], ...]


class _Kept(NamedTuple):
    stamps: _Stamps
    hash: str


class Contents:
    """What was hashed, by the place of each plugin. Safe to be asked from any thread."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Source, str], _Kept] = {}

    def hash_of(self, plugin: Plugin) -> str:
        """Return what `content_hash` returned when its files had the present stamps. Raises as that does.

        A stamp is path, size, times of the last change of content and of anything, inode and device.
        """
        place, now = (plugin.source, plugin.location), time.time_ns()
        stamps = _stamps(plugin)  # before they are read: what changes meanwhile has other stamps next time
        kept = self._kept.get(place)
        if kept is not None and kept.stamps == stamps:
            return kept.hash
        found = content_hash(plugin)
        if all(max(changed, touched) < now - _SETTLED_NS for _, _, changed, touched, _, _ in stamps):
            self._kept[place] = _Kept(stamps, found)
        else:
            self._kept.pop(place, None)
        return found


def _stamps(plugin: Plugin) -> _Stamps:
    _, files = content_files(plugin)
    told = ((str(path), path.stat()) for path in files)
    return tuple(
        sorted(
            (path, each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino, each.st_dev) for path, each in told
        )
    )
