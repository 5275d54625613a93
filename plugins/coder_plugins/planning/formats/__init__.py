"""Formats of other task tools: pure functions from text to `ForeignTask` and back.

`parse` reads everything it can and names every fault; whoever imports decides what a fault means. `render` writes a
record that nobody changed as it was found. Nothing here reads files or clocks.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from .foreign import MEANING_FIELDS as MEANING_FIELDS
from .foreign import CheckItem as CheckItem
from .foreign import ForeignLink as ForeignLink
from .foreign import ForeignTask as ForeignTask
from .foreign import ImportFault as ImportFault
from .foreign import Parsed as Parsed

Render = Callable[[Sequence[ForeignTask]], str]


class Parse(Protocol):
    """Reads a text; `source` is the path it came from, where ids are made of it."""

    def __call__(self, text: str, *, source: str = "") -> Parsed:
        """Return all tasks and all faults of the text."""
        ...


class Format:
    """One format. Its module is imported when it is first used: all of them together cost a start some milliseconds."""

    def __init__(self, name: str, suffix: str) -> None:
        self.name = name
        self.suffix = suffix

    @functools.cached_property
    def _module(self) -> Any:
        return importlib.import_module(f"{__name__}.{self.name}")

    @property
    def parse(self) -> Parse:
        """Reads a text."""
        parse: Parse = self._module.parse
        return parse

    @property
    def render(self) -> Render:
        """Writes tasks."""
        render: Render = self._module.render
        return render

    @property
    def carries(self) -> frozenset[str]:
        """The fields of `ForeignTask` that survive writing and reading back."""
        carries: frozenset[str] = getattr(self._module, "CARRIES", frozenset(MEANING_FIELDS))
        return carries


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Format("beads", ".jsonl"),
            Format("taskwarrior", ".json"),
            Format("github", ".json"),
            Format("vtodo", ".ics"),
            Format("markdown", ".md"),
        )
    }
)


def sniff(text: str, filename: str = "") -> str | None:
    """Return the name of the format that a text is in, or None where nothing tells; the first 64 KiB are read."""
    from . import sniffing  # noqa: PLC0415 - see `Format`

    return sniffing.sniff(text, filename)
