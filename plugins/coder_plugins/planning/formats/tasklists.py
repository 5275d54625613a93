"""Checklists inside a Markdown text, such as the body of an issue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .foreign import CheckItem

_ITEM = re.compile(
    r"(?P<before>\s*(?:[-*+]|\d+[.)])\s+\[)(?P<mark>[ xX])(?P<between>\]\s+)(?P<text>\S.*?)(?P<after>\s*)"
)
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")


def outside_fences(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield index and text of the lines that are no part of a fenced code block."""
    fence = ""
    for index, line in enumerate(lines):
        match = _FENCE.match(line)
        if fence:
            fence = "" if match and match[1].startswith(fence) else fence
        elif match:
            fence = match[1]
        else:
            yield index, line


def _items(lines: Sequence[str]) -> Iterator[tuple[int, re.Match[str]]]:
    for index, line in outside_fences(lines):
        match = _ITEM.fullmatch(line)
        if match:
            yield index, match


def tasklist(text: str) -> tuple[CheckItem, ...]:
    """Return the checklist items of a Markdown text, in order."""
    return tuple(CheckItem(match["text"], done=match["mark"] != " ") for _, match in _items(text.split("\n")))


def with_tasklist(text: str, items: Sequence[CheckItem]) -> str:
    """Return the text with these items: marks are set in place, other items go to the end."""
    lines = text.split("\n")
    found = dict(_items(lines))
    if [match["text"] for match in found.values()] != [item.text for item in items]:
        rest = "\n".join(line for index, line in enumerate(lines) if index not in found).rstrip()
        block = "\n".join(f"- [{'x' if item.done else ' '}] {item.text}" for item in items)
        return "\n\n".join(part for part in (rest, block) if part)
    for (index, match), item in zip(found.items(), items, strict=True):
        if item.done != (match["mark"] != " "):
            lines[index] = (
                f"{match['before']}{'x' if item.done else ' '}{match['between']}{match['text']}{match['after']}"
            )
    return "\n".join(lines)
