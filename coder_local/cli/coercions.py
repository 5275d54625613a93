"""What a person may write where the wire is stricter: `2h` for a duration, and paths from the current folder on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

_SPAN = re.compile(
    r"(?=\d)(?:(\d+)\s*w)?\s*(?:(\d+)\s*d)?\s*(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s)?",
    re.ASCII | re.IGNORECASE,
)


def coerced(format: object, name: str, text: str) -> str:
    """Return the text that goes to the daemon for a field of a format of JSON Schema. Raises `Failure`."""
    known = _BY_FORMAT.get(str(format))
    return text if known is None else known(name, text)


def refuse_span(name: str, text: str) -> None:
    """Raise `Failure` for hours and minutes where a whole number belongs.

    What it counts is not known here, minutes or points: `2h` cannot be made 120 unseen.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or any(found.group(1, 2, 5)):
        return
    minutes = 60 * int(found[3] or 0) + int(found[4] or 0)
    hint = f"{text.strip()} is {minutes} minutes: give {minutes} where it counts minutes"
    raise invalid(f"{name} is a whole number, and {text.strip()!r} is a span of time", field=f"/{name}", hint=hint)


def _duration(_: str, text: str) -> str:
    """Return `1h30m`, `2d`, `90 min` as ISO 8601; anything else as it is, for the daemon to judge."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        return text
    weeks, days, *times = (
        f"{int(number)}{unit}" if number else "" for number, unit in zip(found.groups(), "WDHMS", strict=True)
    )
    time = "".join(times)
    return f"P{weeks}{days}" + (f"T{time}" if time else "")


def _path(name: str, text: str) -> str:
    """Return a path from the root on: the daemon has a current folder of its own."""
    if not text:
        return text
    try:
        return str(Path(text).expanduser().absolute())
    except (RuntimeError, OSError) as fault:  # no such user, or the current folder is gone
        raise invalid(f"{name}: {text} is no path: {fault}", field=f"/{name}", hint="give the whole path") from None


_BY_FORMAT: dict[str, Callable[[str, str], str]] = {"duration": _duration, "path": _path}
