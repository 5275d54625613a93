"""Formats of other task tools: pure functions from text to `ForeignTask` and back.

`parse` reads everything it can and names every fault; whoever imports decides what a fault means. `render` writes a
record that nobody changed as it was found. Nothing here reads files or clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from . import beads, github, markdown, taskwarrior, vtodo
from .foreign import MEANING_FIELDS as MEANING_FIELDS
from .foreign import CheckItem as CheckItem
from .foreign import ForeignLink as ForeignLink
from .foreign import ForeignTask as ForeignTask
from .foreign import ImportFault as ImportFault
from .foreign import Parsed as Parsed
from .sniffing import sniff as sniff

Render = Callable[[Sequence[ForeignTask]], str]


class Parse(Protocol):
    """Reads a text; `source` is the path it came from, where ids are made of it."""

    def __call__(self, text: str, *, source: str = "") -> Parsed:
        """Return all tasks and all faults of the text."""
        ...


class Format(Struct, frozen=True):
    """One format; `carries` names the fields of `ForeignTask` that survive writing and reading back."""

    name: str
    parse: Parse
    render: Render
    suffix: str
    carries: frozenset[str] = frozenset(MEANING_FIELDS)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Format("beads", beads.parse, beads.render, ".jsonl"),
            Format("taskwarrior", taskwarrior.parse, taskwarrior.render, ".json"),
            Format("github", github.parse, github.render, ".json"),
            Format("vtodo", vtodo.parse, vtodo.render, ".ics"),
            Format("markdown", markdown.parse, markdown.render, ".md", markdown.CARRIES),
        )
    }
)
