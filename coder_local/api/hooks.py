"""What one plugin offers to another without either naming the other. Implement one with `@domain.hook`.

Version 1. A hook is only ever added to; an argument is never taken away. Operations are never returned by hooks.
"""

from __future__ import annotations

from typing import Any

from .health import HealthCheck
from .records import Record
from .steps import StepKind

VERSION = 1
"""Raised when a hook changes in a way that a plugin must know of."""


class Hooks:
    """The hook specifications. Each answers with a list; the answers of all plugins are joined."""

    def step_kinds(self) -> list[StepKind[Any]]:
        """Return kinds of steps that a run may have."""
        raise NotImplementedError

    def health_checks(self) -> list[HealthCheck]:
        """Return what the doctor looks at beside the database (used by the daemon)."""
        raise NotImplementedError

    def searchable_records(self) -> list[type[Record]]:
        """Return the records whose texts belong into the one index (used by search)."""
        raise NotImplementedError

    def context_sources(self) -> list[Any]:
        """Return sources of text for a model's context (used by assistant)."""
        raise NotImplementedError

    def calendar_overlays(self) -> list[Any]:
        """Return layers to show above a calendar (used by calendar)."""
        raise NotImplementedError

    def widgets(self) -> list[Any]:
        """Return widgets that a board can show (used by dashboard)."""
        raise NotImplementedError

    def ai_providers(self) -> list[Any]:
        """Return providers of language models (used by ai)."""
        raise NotImplementedError

    def embedders(self) -> list[Any]:
        """Return makers of vectors from text (used by search)."""
        raise NotImplementedError

    def notify(self, title: str, text: str) -> list[Any]:
        """Show a note to the person; any plugin calls it, a messaging plugin takes it over."""
        raise NotImplementedError
