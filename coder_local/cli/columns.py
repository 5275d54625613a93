"""Which members of objects are worth a column, and how the columns share the width of a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .shapes import is_object, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

GAP = "  "
BASE = ("workspace_id", "rev", "origin", "rank", "meta", "created_at", "updated_at", "deleted_at")
"""Of nearly every record, so they tell nothing one row from the other."""
FIRST = ("key", "id", "name", "title", "kind", "status", "state", "reason", "priority", "due", "assignee")
"""What a person looks for first."""
_WIDE = ("title", "text", "summary", "message", "reason")
_NAMES = ("key", "name", "status", "state", "at", "operation")
_LEAST_NAME = 30
_MOST = 48
_LEAST = 12
_LEAST_NESTED = 24
_WHOLE_FROM = 60
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{32,}")


def is_empty(value: object) -> bool:
    """Tell whether a value says nothing at all."""
    return value is None or value in ("", [], {})


def is_nested(value: object) -> bool:
    """Tell whether a value is made of objects."""
    return is_object(value) or bool(rows_of(value))


def is_record(value: object) -> bool:
    """Tell whether a value is a record, or named as one: by its key or its title."""
    return is_object(value) and any(isinstance(value.get(name), str) and value[name] for name in ("key", "title"))


def telling(rows: list[dict[str, Any]]) -> list[str]:
    """Return the members of rows that are worth a column, the most telling first."""
    names = dict.fromkeys(name for row in rows for name in row)
    filled = [name for name in names if any(not is_empty(row.get(name)) for row in rows)]
    own = [name for name in filled if name not in BASE] or filled or list(names)
    if "key" in own and "id" in own:
        own.remove("id")  # both name the record, and the key is the one for people
    own = [name for name in own if not _is_opaque(rows, name)] or own
    order = [name for name in FIRST if name in own]
    # a row about a record begins with it; what else is made of parts says least in one line
    records = [name for name in own if any(is_record(row.get(name)) for row in rows)]
    ids = [name for name in own if _all(rows, name, _UUID)]
    nested = [name for name in own if any(is_nested(row.get(name)) for row in rows)]
    little = [name for name in own if _is_little(rows, name)]
    plain = [name for name in own if name not in nested and name not in little]
    return list(dict.fromkeys([*order, *records, *ids, *plain, *nested, *little]))


def _is_little(rows: list[dict[str, Any]], name: str) -> bool:
    """Tell whether a member says little: when something happened, and nought in all rows."""
    return name.endswith("_at") or not any(row.get(name) for row in rows)


def _is_opaque(rows: list[dict[str, Any]], name: str) -> bool:
    """Tell whether a member says nothing to a person: a hash, and an id of another record than the row's."""
    if name == "id":
        return False
    has_name = any(row.get("key") for row in rows)
    return _all(rows, name, _HASH) or (has_name and _all(rows, name, _UUID))


def _all(rows: list[dict[str, Any]], name: str, pattern: re.Pattern[str]) -> bool:
    values = [row[name] for row in rows if not is_empty(row.get(name))]
    return bool(values) and all(isinstance(value, str) and pattern.fullmatch(value) for value in values)


def fit(rows: list[dict[str, Any]], wanted: dict[str, int], width: int) -> dict[str, int]:
    """Return the columns that fit with their widths; the last are left out, then the least telling give way."""
    most = {name: min(wish, _MOST) for name, wish in wanted.items()}
    while len(most) > 1 and _is_little(rows, next(reversed(most))) and _total(most) > width:
        most.popitem()
    least = {name: min(wish, _least(rows, name, width)) for name, wish in most.items()}
    while len(least) > 1 and _total(least) > width:
        most.popitem()
        least.popitem()
    wide = [name for name in most if _is_wide(rows, name)]
    over = _total(most) - width
    for group in ([name for name in most if name not in wide], wide):
        over -= _shrink(most, group, least, over)
    _shrink(most, list(most), dict.fromkeys(most, 1), over)
    for name in wide:
        most[name] = max(most[name], min(wanted[name], most[name] + width - _total(most)))
    return most


def _shrink(widths: dict[str, int], names: list[str], least: dict[str, int], over: int) -> int:
    """Take `over` columns from the widest of some names, never below `least`; return how many were taken."""
    for taken in range(over):
        can = [name for name in names if widths[name] > least[name]]
        if not can:
            return taken
        widths[max(can, key=lambda name: widths[name])] -= 1
    return max(over, 0)


def _least(rows: list[dict[str, Any]], name: str, width: int) -> int:
    if width >= _WHOLE_FROM and _all(rows, name, _UUID):
        return _MOST  # half an id is of no use
    if _is_wide(rows, name):
        return max(_LEAST, width * 2 // 5)
    if name in _NAMES:
        return _LEAST_NAME
    return _LEAST_NESTED if any(is_nested(row.get(name)) for row in rows) else _LEAST


def _is_wide(rows: Iterable[dict[str, Any]], name: str) -> bool:
    return name in _WIDE or any(is_record(row.get(name)) for row in rows)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)
