"""Telling a format by its text, and by the file's name where the text could be several."""

from __future__ import annotations

import re

_SUFFIXES = {".jsonl": "beads", ".ics": "vtodo", ".ical": "vtodo", ".md": "markdown", ".markdown": "markdown"}
# fields that only one of the JSON formats has, the surest first
_FIELDS = (
    ("taskwarrior", re.compile(r'"uuid"\s*:')),
    ("github", re.compile(r'"number"\s*:')),
    ("beads", re.compile(r'"(?:issue_type|depends_on_id|priority|id)"\s*:')),
)
_CHECKLIST = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[[ xX/>!?-]\](?:[ \t]|$)", re.MULTILINE)
_START = 65536


def sniff(text: str, filename: str = "") -> str | None:
    """Return the name of the format that a text is in, or None where nothing tells; the first 64 KiB are read."""
    start = text[:_START].removeprefix("\ufeff").lstrip()
    if start[:15].upper() == "BEGIN:VCALENDAR":
        return "vtodo"
    if start.startswith(("{", "[")) and not re.match(r"\[[^\]\n]*\]\(", start):
        told = next((name for name, pattern in _FIELDS if pattern.search(start)), None)
        if told:
            return told
    name = filename.lower()
    by_name = next((format for suffix, format in _SUFFIXES.items() if name.endswith(suffix)), None)
    return by_name or ("markdown" if _CHECKLIST.search(start) else None)
