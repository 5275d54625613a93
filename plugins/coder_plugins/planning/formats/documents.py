"""Finding the records in a JSON text, each with the line it begins on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from .foreign import ImportFault
from .reading import Record, as_list, as_object, escaped

_BYTE = re.compile(r"\(byte (\d+)\)")
_DEPTH = 100
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


class Row(Struct, frozen=True):
    """One record of a text: the line it begins on and the JSON pointer to it."""

    line: int
    pointer: str
    record: Record


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold something, counted from 1; only a line feed ends one, U+2028 may stand in a text."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def json_lines(text: str, faults: list[ImportFault]) -> Iterator[Row]:
    """Yield one record a line; a line that cannot be read becomes a fault and the rest goes on."""
    for number, line in lines_of(text):
        if line.startswith(_CONFLICT):
            hint = "resolve the merge in this file first, then import it"
            faults.append(ImportFault(number, "", "the line is a merge conflict marker", hint))
            continue
        value = _decoded(line, number, faults)
        yield from _row(value, number, "", faults)


def json_array(text: str, faults: list[ImportFault]) -> Iterator[Row]:
    """Yield the objects of one JSON array, or the one object that the text is; broken JSON is a single fault."""
    data = _encoded(text.removeprefix("\ufeff"), 1, faults)
    if data is None:
        return
    if data.lstrip()[:1] == b"{":
        yield from _row(_decoded(text.removeprefix("\ufeff"), 1, faults), 1, "", faults)
        return
    try:
        elements = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        faults.append(_broken(error, data, 1))
        return
    position, line = 0, 1
    for index, raw in enumerate(elements):
        element = bytes(raw)
        found = data.index(element, position)
        line += data.count(b"\n", position, found)
        yield from _row(_decoded(element.decode(), line, faults), line, f"/{index}", faults)
        line += element.count(b"\n")
        position = found + len(element)


def _row(value: Any, line: int, pointer: str, faults: list[ImportFault]) -> Iterator[Row]:
    if isinstance(value, dict):
        record = as_object(value)
        try:
            bad = [
                ImportFault(line, pointer + at, "a text holds the character NUL", "remove it") for at in _nul(record)
            ]
        except RecursionError as error:
            bad = [_broken(error, b"", line)]
        faults.extend(bad)
        if not bad:
            yield Row(line, pointer, record)
    elif value is not msgspec.UNSET:
        hint = 'write one record as {"field": value, ...}'
        faults.append(ImportFault(line, pointer, "this is JSON but not an object", hint))


def _nul(value: Any, pointer: str = "", depth: int = 0) -> Iterator[str]:
    """Yield a pointer to every text with a NUL, or raise RecursionError past a hundred levels."""
    if depth > _DEPTH:
        raise RecursionError
    if isinstance(value, str):
        if "\0" in value:
            yield pointer
    elif isinstance(value, dict):
        for name, part in as_object(value).items():
            where = f"{pointer}/{escaped(name)}"
            if "\0" in name:
                yield where.replace("\0", "\\u0000")
            yield from _nul(part, where, depth + 1)
    else:
        for index, part in enumerate(as_list(value)):
            yield from _nul(part, f"{pointer}/{index}", depth + 1)


def _encoded(text: str, line: int, faults: list[ImportFault]) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        at = line + text.count("\n", 0, error.start)
        faults.append(ImportFault(at, "", "the line holds half of a surrogate pair", "save the file as UTF-8"))
        return None


def _decoded(text: str, line: int, faults: list[ImportFault]) -> Any:
    """Return the value, or UNSET after noting a fault (null is a value)."""
    data = _encoded(text, line, faults)
    if data is None:
        return msgspec.UNSET
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        faults.append(_broken(error, data, line))
        return msgspec.UNSET


def _broken(error: Exception, data: bytes, line: int) -> ImportFault:
    if isinstance(error, RecursionError):
        return ImportFault(line, "", "the JSON is nested too deeply", "flatten it: no task needs a hundred levels")
    match = _BYTE.search(str(error))
    at = line + data.count(b"\n", 0, int(match[1])) if match else line
    reason = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
    return ImportFault(
        at, "", f"not JSON: {reason}", "check quotes, commas and brackets of this line, or export it again"
    )


def json_rows(text: str, faults: list[ImportFault]) -> Iterator[Row]:
    """Yield the records of a JSON array, of one object, or of one object a line with or without commas at the ends."""
    lines = [line for _, line in lines_of(text)]
    if lines and all(line.startswith("{") for line in lines):
        return json_lines("\n".join(line.strip().removesuffix(",") for line in text.split("\n")), faults)
    return json_array(text, faults)
