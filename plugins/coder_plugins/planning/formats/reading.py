"""Reading records field by field, so that one pass names every fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from .foreign import TITLE_LIMIT, ImportFault
from .moments import instant

Record = dict[str, Any]


class Reader:
    """One record being read: each method returns a field's value or None, and notes a fault where the type is wrong."""

    def __init__(self, record: Record, *, line: int = 1, pointer: str = "") -> None:
        self.record = record
        self.line = line
        self.pointer = pointer
        self.faults: list[ImportFault] = []

    def fault(self, name: str, message: str, hint: str, *, index: int | None = None) -> None:
        """Note a fault of the named field, or of one item of it."""
        item = "" if index is None else f"/{index}"
        self.faults.append(ImportFault(self.line, f"{self.pointer}/{escaped(name)}{item}", message, hint))

    def text(self, name: str) -> str | None:
        """Return a text field; absent and null are None."""
        value = self.record.get(name)
        if value is None or isinstance(value, str):
            return value
        self.fault(name, f"{name} is {shown(value)}, not text", 'put it in quotes, "like this"')
        return None

    def identity(self, name: str) -> str:
        """Return the field that names the record, and fault one that is missing or empty."""
        value = self.text(name)
        if value:
            return value
        if value == "" or self.record.get(name) is None:
            self.fault(name, f"{name} is missing", f"give the record a {name} of its own")
        return ""

    def title(self, name: str) -> str:
        """Return the title without outer blanks, and fault one that is missing, empty or over 300 characters."""
        title = (self.text(name) or "").strip()
        if not title:
            if not isinstance(self.record.get(name), str | None):
                return ""
            self.fault(name, f"{name} is missing", f"give the record a {name} of 1 to {TITLE_LIMIT} characters")
        elif len(title) > TITLE_LIMIT:
            hint = f"shorten it to {TITLE_LIMIT} and move the rest to the description"
            self.fault(name, f"{name} has {len(title)} characters, {TITLE_LIMIT} are allowed", hint)
        return title

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number from `low` to `high`; absent and null are None."""
        value = self.record.get(name)
        if value is None:
            return None
        if type(value) is int and low <= value <= high:
            return value
        self.fault(name, f"{name} is {shown(value)}, not a whole number", f"write a whole number from {low} to {high}")
        return None

    def moment(self, name: str, read: Callable[[str], str] = instant) -> str | None:
        """Return a time field as `read` understands it."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            self.fault(name, f"{name} is {shown(value)}, which is no point in time", str(error))
            return None

    def items(self, name: str) -> list[Any]:
        """Return a list field; absent and null are empty."""
        value = self.record.get(name)
        if isinstance(value, list):
            return as_list(value)
        if value is not None:
            self.fault(name, f"{name} is {shown(value)}, not a list", "put it in brackets, [like this]")
        return []

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self.items(name)
        if all(isinstance(value, str) for value in values):
            return tuple(values)
        self.fault(name, f"{name} holds something that is not text", "put each item in quotes")
        return ()

    def objects(self, name: str) -> list[Record]:
        """Return a list of JSON objects."""
        values = self.items(name)
        if all(isinstance(value, dict) for value in values):
            return values
        self.fault(name, f"{name} holds something that is not an object", "write each item as {...}")
        return []

    def object(self, name: str) -> Record | None:
        """Return a JSON object; absent and null are None."""
        value = self.record.get(name)
        if isinstance(value, dict):
            return as_object(value)
        if value is not None:
            self.fault(name, f"{name} is {shown(value)}, not an object", "write it as {...}")
        return None


def as_object(value: Any) -> Record:
    """Return a value that may be a JSON object, any other value as an empty one."""
    return cast("Record", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a value that may be a JSON list, any other value as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def escaped(name: str) -> str:
    """Return one step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def shown(value: object) -> str:
    """Return a value as short JSON, for a message."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."
