"""On whose behalf something runs in the store, and what a scope reaches of what lies above and beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from coder_local.api import Event, Fault, Operation, Rights, Safety, Snapshot


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf something runs."""

    actor: str = "user"
    workspace: str = "default"
    operation: str = ""
    request_id: str = ""
    cause: int | None = None
    """Sequence number of the event that led here, if one did."""
    depth: int = 0
    """How many events led to each other before this."""
    principal: Any = None
    """What the caller may do, as the registry knows it; None for the person and the daemon, who may all."""
    confirmed: frozenset[Safety] | None = None
    """The words beyond read and write that a call inside may have; None where the operation's declaration tells."""


class Calls(Protocol):
    """How a scope reaches other operations and settings; the registry provides it."""

    def run_inside(self, scope: Snapshot, name: str, values: Mapping[str, Any]) -> Any:
        """Run an operation inside a scope."""
        ...

    def offers(self, name: str) -> bool:
        """Tell whether an operation is loaded."""
        ...

    def settings_of(self, settings: type[Any], /) -> Any:
        """Return current settings."""
        ...

    def event_type(self, event: type[Event]) -> tuple[str, str]:
        """Return the type of a declared event, and the plugin and word of its subject, `notes.note`."""
        ...

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        """Return what the plugins answer to a hook."""
        ...

    def operation(self, name: str) -> Operation:
        """Return an operation as it was declared."""
        ...

    def check(self, name: str, values: Mapping[str, Any]) -> list[Fault]:
        """Return what an operation's schema has against an input."""
        ...

    def rights_of(self, caller: Caller) -> Rights:
        """Return what a caller may do, as plain data."""
        ...

    def acting(self, caller: Caller, rights: Rights, operation: str) -> Caller:
        """Return the caller for a part of another's work that is done with those rights."""
        ...

    def folder_of(self, plugin: str, /) -> Path:
        """Return the folder of a plugin."""
        ...


class Log(Protocol):
    """Where history and events of this commit wait; the journal."""

    def write(self) -> None:
        """Write the rows that wait."""
        ...

    def place(self) -> Any:
        """Return where it stands."""
        ...

    def go_back(self, place: Any) -> None:
        """Forget what came after a place."""
        ...
