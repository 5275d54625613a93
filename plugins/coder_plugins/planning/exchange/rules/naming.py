"""Naming the project that an import makes when none is given."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

from msgspec import Struct

from coder_plugins.planning.formats import ForeignTask
from coder_plugins.planning.projects.records import PREFIX

_FALLBACK = {"beads": "BEADS", "taskwarrior": "TW", "github": "GH", "vtodo": "TODO", "markdown": "LIST"}
_NAMES = {
    "beads": "Beads",
    "taskwarrior": "Taskwarrior",
    "github": "GitHub",
    "vtodo": "iCalendar",
    "markdown": "Checklists",
}
_LONGEST_KEY = 10
_CUT_KEY = 4
_LONGEST_SOURCE = 500
_LONGEST_NAME = 300


class Place(Struct, frozen=True):
    """Where new tasks of an import go: the project with that `source`, or a new one of that name."""

    name: str
    key: str
    source: str


def place_of(format: str, tasks: Sequence[ForeignTask], file: str | None) -> Place:
    """Return the place of an import: the repository that the records name, else the file, else the tool.

    All tasks of one Taskwarrior are one list, whatever file it was exported to.
    """
    name = source = ""
    if format == "beads":
        name = _commonest(task.id.rpartition("-")[0] for task in tasks)
        source = name
    elif format == "github":
        source = _commonest(task.id.rpartition("#")[0] for task in tasks)
        name = source.rpartition("/")[2]
    if not source and file is not None and format != "taskwarrior":
        name, source = PurePath(file).stem, file
    name = (name or _NAMES[format])[:_LONGEST_NAME]
    key = _key(name) if source else ""
    return Place(name, key or _FALLBACK[format], _short(f"{format}:{source}"))


def free_key(wanted: str, taken: Callable[[str], bool]) -> str:
    """Return the wanted key, or the first with a number behind it that nobody has."""
    key, number = wanted, 1
    while key == PREFIX or taken(key):
        number += 1
        key = f"{wanted[: _LONGEST_KEY - len(str(number))]}{number}"
    return key


def _commonest(names: Iterable[str]) -> str:
    counts = Counter(names)
    return counts.most_common(1)[0][0] if counts else ""


def _key(name: str) -> str:
    """Return a key that reads like the name: as many whole words as fit, else initials, else its first letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
    words = re.sub(r"[^A-Z0-9]+", " ", plain).lstrip(" 0123456789").split()
    key = ""
    for word in words:
        if len(key) + len(word) > _LONGEST_KEY:
            break
        key += word
    if words and not key:
        key = "".join(word[0] for word in words)[:_LONGEST_KEY] if len(words) > 1 else words[0][:_CUT_KEY]
    return key if len(key) > 1 else ""


def _short(source: str) -> str:
    import hashlib  # noqa: PLC0415 - 2 ms, and only for an import

    return source if len(source) <= _LONGEST_SOURCE else f"sha256:{hashlib.sha256(source.encode()).hexdigest()}"
