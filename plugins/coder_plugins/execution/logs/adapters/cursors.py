"""Cursors of followers: where in the events, and in the output of each attempt, one has come to."""

from __future__ import annotations

from typing import NamedTuple

from coder_local.api import Invalid

END = "end"
"""The cursor of the last item of a run: after it comes nothing."""


class Place(NamedTuple):
    """A place in the output of an attempt."""

    offset: int = 0
    rest: tuple[bytes, bytes] = (b"", b"")
    """The bytes before it, of standard output and error, of a character that is not whole there."""


class Cursor(NamedTuple):
    """What the text of a cursor stands for."""

    event: str | None = None
    """The last event that was told."""
    read: int = 0
    """How many of the attempts that were there at first were read, in the order in which they began."""
    there: int = 0
    """How many those are; 0 once an event told of one that was not among them."""
    status: str = ""
    """What the run was at first, until that is told."""
    places: dict[tuple[str, int], Place] = {}  # noqa: RUF012 - a default that nobody changes
    """Of the attempts that go on, by key and number."""


def format_cursor(cursor: Cursor) -> str:
    """Return the text of a cursor."""
    lines = [cursor.event or "", f"{cursor.read}/{cursor.there}/{cursor.status}"]
    for (key, n), (offset, rest) in cursor.places.items():
        lines.append(f"{offset}/{'.'.join(each.hex() for each in rest)}/{n}/{key}")
    return "\n".join(lines)


def parse_cursor(text: str) -> Cursor:
    """Return what the text of a cursor stands for. Raises `Invalid` for any other text."""
    places: dict[tuple[str, int], Place] = {}
    try:
        event, counts, *lines = text.split("\n")
        read, there, status = counts.split("/")
        for line in lines:
            offset, rest, n, key = line.split("/", 3)
            out, err = map(bytes.fromhex, rest.split("."))
            places[key, int(n)] = Place(int(offset), (out, err))
        return Cursor(event or None, int(read), int(there), status, places)
    except ValueError:
        raise Invalid("this is no cursor of a run", field="/cursor", hint="give the cursor of the last item") from None
