"""Answers as text for a person: lists of objects as tables, objects as lines, cut to the terminal's width."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from .shapes import is_list, is_object, rows_of

# of nearly every record, so they tell nothing one row from the other
_BASE = ("workspace_id", "rev", "origin", "meta", "created_at", "updated_at", "deleted_at")
_FIRST = ("key", "id", "name", "title", "status", "state", "priority")
_MOST = 48
_LEAST = 12
_LEAST_NESTED = 24
_GAP = "  "
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# directional overrides would let a record's title show itself as something else
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Return the text with what could steer a terminal made visible, on one line unless `keep_lines`."""
    if keep_lines:
        return "\n".join(clean(line) for line in text.split("\n"))
    return _STEERING.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    sign = match[0]
    return {"\n": " ", "\r": "", "\t": " "}.get(sign, f"\\u{ord(sign):04x}")


def render(value: Any, width: int, *, bold: bool = False) -> str:
    """Return a value as text of at most `width` columns a line; long texts of one object are given whole."""
    if is_object(value):
        return _object(value, width, bold=bold)
    if is_list(value):
        return _list(value, width, bold=bold)
    if isinstance(value, str):
        return clean(value, keep_lines=True)
    return "done" if value is None else _cell(value)


def _list(items: list[Any], width: int, *, bold: bool) -> str:
    if not items:
        return "nothing found"
    if rows := rows_of(items):
        return table(rows, width, bold=bold)
    return "\n".join(clean(_cell(item)) for item in items)


def _object(value: dict[str, Any], width: int, *, bold: bool) -> str:
    """Return an object's plain members as lines, and below them its lists of objects as tables."""
    items = value.get("items")
    if is_list(items) and set(value) <= {"items", "next_cursor"}:
        return _page(items, value.get("next_cursor"), width, bold=bold)
    below = {name: rows for name, part in value.items() if (rows := rows_of(part))}
    plain = {name: part for name, part in value.items() if name not in below and part not in (None, "", [], {})}
    parts = [_lines(plain)] if plain else []
    for name, rows in below.items():
        parts.append(f"{clean(name)}:\n{table(rows, width, bold=bold)}")
    return "\n\n".join(parts) or "nothing"


def _page(items: list[Any], cursor: Any, width: int, *, bold: bool) -> str:
    shown = _list(items, width, bold=bold)
    return f"{shown}\n\nmore: --cursor {clean(str(cursor))}" if cursor else shown


def _lines(plain: dict[str, Any]) -> str:
    left = max(_width(clean(name)) for name in plain)
    lines: list[str] = []
    for name, value in plain.items():
        text = clean(value, keep_lines=True) if isinstance(value, str) else clean(_cell(value))
        indented = text.replace("\n", "\n" + " " * (left + len(_GAP)))
        lines.append(f"{_padded(clean(name), left)}{_GAP}{indented}")
    return "\n".join(lines)


def table(rows: list[dict[str, Any]], width: int, *, columns: tuple[str, ...] = (), bold: bool = False) -> str:
    """Return objects as a table; without `columns` those that tell most are chosen, as many as fit."""
    names = list(columns) or _telling(rows)
    cells = {name: [_short(row.get(name)) for row in rows] for name in names}
    wanted = {name: max(map(_width, [name, *cells[name]])) for name in names}
    nested = {name for name in names if any(_is_nested(row.get(name)) for row in rows)}
    widths = _fit(wanted, {name: _LEAST_NESTED if name in nested else _LEAST for name in names}, width)
    head = _GAP.join(_padded(_cut(clean(name), most), most) for name, most in widths.items()).rstrip()
    lines = [f"\x1b[1m{head}\x1b[0m" if bold else head]
    for index in range(len(rows)):
        line = _GAP.join(_padded(_cut(cells[name][index], most), most) for name, most in widths.items())
        lines.append(line.rstrip())
    return "\n".join(lines)


def _telling(rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns worth showing, the most telling first."""
    names = dict.fromkeys(name for row in rows for name in row)
    filled = [name for name in names if any(row.get(name) not in (None, "", [], {}) for row in rows)]
    own = [name for name in filled if name not in _BASE] or filled or list(names)
    if "key" in own and "id" in own:
        own.remove("id")  # both name the record, and the key is the one for people
    order = [name for name in _FIRST if name in own]
    # a row about a record begins with it; what else is made of parts says least in one line
    records = [name for name in own if any(_name(row.get(name)) for row in rows)]
    nested = [name for name in own if any(_is_nested(row.get(name)) for row in rows)]
    plain = [name for name in own if name not in nested]
    return list(dict.fromkeys([*order, *records, *plain, *nested]))


def _is_nested(value: object) -> bool:
    return is_object(value) or bool(rows_of(value))


def _name(value: object) -> str:
    """Return what a person calls a record: its key and its title; empty for anything else."""
    return _said(value, ("key", "title"))


def _said(value: object, names: tuple[str, ...]) -> str:
    named = [value.get(name) for name in names] if is_object(value) else []
    return " ".join(part for part in named if isinstance(part, str) and part)


def _label(value: object) -> str:
    """Return an object as a few words: a record's name, or what it says of itself as `text`, else its values."""
    if is_list(value) and rows_of(value):
        return " < ".join(map(_label, value))
    if not is_object(value):
        return _cell(value)
    return (
        _name(value)
        or _said(value, ("text",))
        or " ".join(_cell(part) for part in value.values() if part not in (None, "", [], {}))
    )


def _fit(wanted: dict[str, int], least: dict[str, int], width: int) -> dict[str, int]:
    """Return the columns that fit with their widths; the last are left out, then the widest give way."""
    widths = {name: min(most, _MOST) for name, most in wanted.items()}
    while len(widths) > 1 and _total({name: min(most, least[name]) for name, most in widths.items()}) > width:
        widths.popitem()
    while (over := _total(widths) - width) > 0:
        widest = max(widths, key=lambda name: widths[name])
        if widths[widest] <= 1:
            break
        second = max((most for name, most in widths.items() if name != widest), default=1)
        widths[widest] = max(widths[widest] - over, min(second, widths[widest] - 1), 1)
    return widths


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _short(value: Any) -> str:
    """Return a value as one line of a table."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return moment(value)
    parts = is_list(value) and any(is_object(part) or rows_of(part) for part in value)
    text = ", ".join(map(_label, value)) if parts else _label(value)
    first, _, rest = text.strip().partition("\n")
    return clean(f"{first} …" if rest else first)


def moment(text: str) -> str:
    """Return an instant in the local zone, to the minute; a text that is none as it is."""
    from datetime import datetime  # noqa: PLC0415 - few answers hold a time

    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return clean(text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if is_list(value) and not any(is_list(item) or is_object(item) for item in value):
        return ", ".join(map(_cell, value))
    return json.dumps(value, ensure_ascii=False)


def _width(text: str) -> int:
    """Return the columns that a terminal gives a text: wide letters two, marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept, used = "", 0
    for sign in text:
        used += _columns(sign)
        if used > width - 1:
            break
        kept += sign
    return f"{kept}…"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
