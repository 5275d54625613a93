"""Stopping what a thread does from another thread, without ever hitting what it does next."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from .faults import OverDeadline, raise_in, take_back

T = TypeVar("T")


class Strike(Generic[T]):
    """The part of a thread's work that may be struck: `OverDeadline` is raised in it at its next step of Python.

    The thread sets `current`, works, and calls `leave` in a `finally`, all inside one `try` whose handler calls
    `leave_surely`: a strike may land at any step between, that of leaving among them. A call of a C function, such as a
    sleep, comes to its end first.
    """

    __slots__ = ("_struck", "current", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held by whoever strikes, from looking at `current` on: the next piece of work cannot begin meanwhile."""
        self.current: T | None = None
        """What runs now."""
        self._struck = False

    def land(self, thread: int | None) -> bool:
        """Strike the thread, once for each piece of work; the caller holds `lock` and has looked at `current`.

        False if it stands where it cannot be struck, and must be struck later.
        """
        self._struck = self._struck or raise_in(thread, OverDeadline)
        return self._struck

    def leave(self) -> None:
        """Leave the part that may be struck; a strike that has not landed yet is taken back."""
        with self.lock:
            self.current = None
            if self._struck:
                self._struck = False
                take_back(threading.get_ident())

    def leave_surely(self) -> None:
        """Leave, although a strike may land in the very act of leaving."""
        while True:
            try:
                self.leave()
            except OverDeadline:
                continue
            return
