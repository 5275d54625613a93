"""iCalendar text as components of content lines, each kept as it is written (RFC 5545, 3.1).

A VTODO becomes a record `{property name: [content lines]}`; a component inside it, such as an alarm, is
`{"BEGIN:VALARM": [[its lines], ...]}`. So a property that nobody maps goes back letter by letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from .documents import Row
from .foreign import ImportFault
from .reading import Record

_LINE = re.compile(
    r'(?P<name>[A-Za-z0-9-]+)(?P<parameters>(?:;[A-Za-z0-9-]+=(?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*)*):(?P<value>.*)',
    re.DOTALL,
)
_OCTETS = 75
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"|[^";:]*)')


class ContentLine(Struct, frozen=True):
    """One property: name in capitals, parameters (names in capitals, quotes removed), value still escaped."""

    name: str
    parameters: dict[str, str]
    value: str


def content_line(line: str) -> ContentLine:
    """Take one unfolded content line apart, or raise ValueError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{line[:60]!r} is no content line")
    parameters = {name.upper(): value.strip('"') for name, value in _PARAMETER.findall(match["parameters"])}
    return ContentLine(match["name"].upper(), parameters, match["value"])


def unescaped(value: str) -> str:
    """Return the text that a TEXT value means."""
    return re.sub(r"\\([nN\\;,])", lambda match: "\n" if match[1] in "nN" else match[1], value)


def escaped_text(text: str) -> str:
    """Return a text as a TEXT value."""
    return re.sub(r"([\\;,])", r"\\\1", text).replace("\r\n", "\\n").replace("\n", "\\n")


def text_list(value: str) -> list[str]:
    """Return the texts of a value that is a list of them."""
    return [unescaped(part) for part in re.findall(r"(?:^|(?<=,))((?:[^,\\]|\\.)*)(?:,|$)", value, re.DOTALL) if part]


def folded(line: str) -> str:
    """Return a content line broken so that no part has more than 75 octets, and no character is cut."""
    parts: list[str] = []
    size = 0
    for character in line:
        width = len(character.encode())
        if size + width > _OCTETS:
            parts.append("\r\n ")
            size = 1
        parts.append(character)
        size += width
    return "".join(parts)


def todos(text: str, faults: list[ImportFault]) -> Iterator[Row]:
    """Yield every VTODO; lines that are none, and components that are not closed, become faults."""
    stack: list[tuple[str, int]] = []
    record: Record | None = None
    inner: list[str] = []
    begun, depth = 1, 0
    for number, line in _unfolded(text):
        try:
            entry = content_line(line)
        except ValueError as error:
            faults.append(
                ImportFault(number, "", str(error), "write NAME:value, or begin the line with a blank to go on")
            )
            continue
        if "\0" in line:
            faults.append(ImportFault(number, f"/{entry.name}", "the line holds the character NUL", "remove it"))
        kind = entry.value.strip().upper()
        if entry.name == "BEGIN":
            stack.append((kind, number))
            if kind == "VTODO" and record is None:
                record, begun, depth = {}, number, len(stack)
                continue
        elif entry.name == "END" and (not stack or stack.pop()[0] != kind):
            faults.append(
                ImportFault(number, "", f"END:{kind} closes nothing that is open", "check the BEGIN and END lines")
            )
            return
        elif entry.name == "END" and record is not None and len(stack) < depth:
            yield Row(begun, "", record)
            record = None
        if record is not None:
            inner = _kept(record, entry.name, line, inner, nested=len(stack) > depth)
    faults.extend(ImportFault(at, "", f"BEGIN:{kind} is not closed", f"add END:{kind}") for kind, at in stack)


def _kept(record: Record, name: str, line: str, inner: list[str], *, nested: bool) -> list[str]:
    """Put a line into the record, and return the lines of the component inside it that is being read."""
    if nested or inner:
        inner = [*inner, line]
        if nested:
            return inner
        record.setdefault(inner[0].upper(), []).append(inner)
        return []
    record.setdefault(name, []).append(line)
    return inner


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    number, line = 0, ""
    for at, part in enumerate(text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"), 1):
        if part[:1] in {" ", "\t"} and line:
            line += part[1:]
        else:
            if line.strip():
                yield number, line
            number, line = at, part
    if line.strip():
        yield number, line
