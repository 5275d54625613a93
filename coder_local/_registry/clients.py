"""Who is attached: the daemon lingers for clients, and stops for want of them."""

from __future__ import annotations

from collections.abc import Callable


class Clients:
    """Counts connections that stay open (socket, WebSocket, event stream); a single HTTP request is no client."""

    def __init__(self) -> None:
        self.count = 0
        self.changed: Callable[[], None] = lambda: None

    def came(self) -> None:
        """Count a new connection."""
        self.count += 1
        self.changed()

    def left(self) -> None:
        """Count a connection off."""
        self.count -= 1
        self.changed()
