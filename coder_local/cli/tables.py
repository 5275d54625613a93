"""Answers as text for a person: lists of objects as tables, objects as lines, cut to the terminal's width."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from .columns import BASE, FIRST, GAP, fit, is_empty, telling
from .shapes import is_list, is_object, rows_of

_UNREAD = ("workspace_id", "origin", "rank")
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
        members = _members_of(rows)
        return table(members or rows, width, columns=tuple(members[0]) if members else (), bold=bold)
    return "\n".join(clean(_cell(item)) for item in items)


def _members_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each member of the objects in rows of a text and an object; none for other rows.

    So `settings.get` shows the names of the settings.
    """
    members: list[dict[str, Any]] = []
    for row in rows:
        label, held = [*row.values(), None, None][:2]
        if len(row) != 2 or not isinstance(label, str) or not is_object(held):
            return []
        members += [{next(iter(row)): label, "name": name, "value": value} for name, value in held.items()]
    return members


def _object(value: dict[str, Any], width: int, *, bold: bool) -> str:
    """Return an object's plain members as lines, and below them its lists of objects as tables."""
    items = value.get("items")
    if is_list(items) and set(value) <= {"items", "next_cursor"}:
        return _page(items, value.get("next_cursor"), width, bold=bold)
    below = {name: rows for name, part in value.items() if (rows := rows_of(part))}
    plain = {name: part for name, part in value.items() if name not in below and not is_empty(part)}
    parts = [_lines(_ordered(plain), width)] if plain else []
    for name, rows in below.items():
        parts.append(f"{clean(name)}:\n{_sentences(rows) or table(rows, width, bold=bold)}")
    return "\n\n".join(parts) or "nothing"


def _ordered(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a record's members, the most telling first, without those that every record has and nobody reads."""
    if not {"id", "rev"} <= plain.keys():
        return plain
    first = [name for name in FIRST if name in plain and name != "id"]
    last = ["id", *(name for name in BASE if name in plain and name not in _UNREAD)]
    own = [name for name in plain if name not in (*first, *last, *_UNREAD)]
    # whatever its size, what an import kept stands in nobody's way at the end
    return {name: plain[name] for name in sorted([*first, *own, *last], key="meta".__eq__)}


def _page(items: list[Any], cursor: Any, width: int, *, bold: bool) -> str:
    shown = _list(items, width, bold=bold)
    return f"{shown}\n\nmore: --cursor {clean(str(cursor))}" if cursor else shown


def _lines(plain: dict[str, Any], width: int) -> str:
    left = max(_width(clean(name)) for name in plain)
    lines: list[str] = []
    for name, value in plain.items():
        text = clean(value, keep_lines=True) if isinstance(value, str) else _part(value)
        if name == "meta":
            text = _cut(clean(_cell(value)), max(width - left - len(GAP), 1))
        indented = text.replace("\n", "\n" + " " * (left + len(GAP)))
        lines.append(f"{_padded(clean(name), left)}{GAP}{indented}")
    return "\n".join(lines)


def _part(value: Any) -> str:
    """Return a member of an object; texts that are more than words have a line each."""
    texts = [clean(text) for text in value if isinstance(text, str)] if is_list(value) else []
    if len(texts) > 1 and len(texts) == len(value) and any(" " in text.strip() for text in texts):
        return "\n".join(texts)
    if is_object(value) and not any(is_list(part) or is_object(part) for part in value.values()):
        return clean(_members(value))
    return clean(_cell(value))


def _sentences(rows: list[dict[str, Any]]) -> str:
    """Return rows that each hold a `text` as lines, empty when one holds none; a text cut short would say nothing."""
    if not all(isinstance(row.get("text"), str) for row in rows):
        return ""
    return "\n".join(_sentence(row) for row in rows)


def _sentence(row: dict[str, Any]) -> str:
    others = {name: value for name, value in row.items() if name != "text" and value is not False}
    before = " ".join(name if value is True else _short(value) for name, value in others.items() if not is_empty(value))
    return clean(f"{before}: {row['text']}" if before else row["text"])


def table(rows: list[dict[str, Any]], width: int, *, columns: tuple[str, ...] = (), bold: bool = False) -> str:
    """Return objects as a table; without `columns` those that tell most are chosen, as many as fit."""
    names = list(columns) or telling(rows)
    cells = {name: [_short(row.get(name)) for row in rows] for name in names}
    wanted = {name: max(map(_width, [clean(name), *cells[name]])) for name in names}
    widths = fit(rows, wanted, width)
    head = GAP.join(_padded(_cut(clean(name), most), most) for name, most in widths.items()).rstrip()
    lines = [f"\x1b[1m{head}\x1b[0m" if bold else head]
    for index in range(len(rows)):
        line = GAP.join(_padded(_cut(cells[name][index], most), most) for name, most in widths.items())
        lines.append(line.rstrip())
    return "\n".join(lines)


def name_of(value: object) -> str:
    """Return what a person calls a record: its key and its title; empty for anything else."""
    return _said(value, ("key", "title"))


def _said(value: object, names: tuple[str, ...]) -> str:
    named = [value.get(name) for name in names] if is_object(value) else []
    return " ".join(part for part in named if isinstance(part, str) and part)


def _label(value: object) -> str:
    """Return an object as a few words: a record's name, or what it says of itself as `text`, else its members."""
    if is_list(value) and rows_of(value):
        return " < ".join(map(_label, value))
    if not is_object(value):
        return _cell(value)
    return name_of(value) or _said(value, ("text",)) or _members(value)


def _members(value: dict[str, Any]) -> str:
    if {"field", "before", "after"} <= value.keys():
        return _cell(value["field"])  # what was changed; to what it was changed makes no cell of a table
    told = {name: _cell(part) for name, part in value.items() if not is_empty(part)}
    if isinstance(value.get("name"), str) and len(told) <= 2:
        return " ".join(told.values())
    return ", ".join(f"{name} {text}" for name, text in told.items())


def _short(value: Any) -> str:
    """Return a value as one line of a table."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return moment(value)
    if is_list(value) and any(is_object(part) or rows_of(part) for part in value):
        labels = [_label(part) for part in value]
        text = ("; " if any(", " in label for label in labels) else ", ").join(labels)
    else:
        text = _label(value)
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
