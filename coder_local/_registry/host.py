"""The process around the kernel, as far as operations need to know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Host(Protocol):
    """The running daemon."""

    incarnation: str
    """Differs for each start of a daemon."""
    started_at: float
    """Seconds since 1970."""
    data_dir: Path
    socket: str
    http: str | None
    """Base URL, or None when HTTP is off."""
    again: list[str]
    """Options of `serve` that start it again as it is, the data directory left out."""

    @property
    def state(self) -> str:
        """`starting`, `migrating`, `ready` or `stopping`."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what `initialize` tells: incarnation, pid, data_dir, http."""
        ...

    def stop(self) -> None:
        """Begin to stop; returns at once."""
        ...

    def hand_over(self, version: str) -> None:
        """Begin to stop, because a daemon of that version follows; returns at once."""
        ...
