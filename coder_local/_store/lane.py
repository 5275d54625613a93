"""One thread that runs whole functions on one connection: the reader for queries that are not bounded."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from coder_local.api import Locked

from .strike import Strike

_log = logging.getLogger("coder_local.store")
_PROGRESS_STEPS = 50_000
"""Steps of SQLite, a few milliseconds, between two looks at whether a read was cancelled."""
_SOON, _LATER, _TRIES = 0.005, 0.1, 100
"""Seconds after which a read is struck anew that could not be struck just then: the first so many times, and then."""


class Lane:
    """Runs functions one after another and calls `done(result, error)` on its own thread after each."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self._queue: queue.SimpleQueue[
            tuple[Callable[[], Any], Callable[[Any, BaseException | None], None], Token] | None
        ] = queue.SimpleQueue()
        self._strike: Strike[Token] = Strike()
        # SQLite forgets an interrupt that comes before a statement has begun, or between two of them
        connection.set_progress_handler(self._is_cancelled, _PROGRESS_STEPS)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> Token:
        """Queue a function; the token it returns can interrupt it."""
        token = Token(self)
        with self._strike.lock:  # behind the end of the queue nobody would answer it
            stopping = self._stopping
            if not stopping:
                self._queue.put((work, done, token))
        if stopping:
            done(None, _stopped())
        return token

    def cancel(self) -> None:
        """Interrupt what runs and what waits, and take no more; each is answered that the daemon stops."""
        with self._strike.lock:
            if self._stopping:
                return
            self._stopping = True
            self._queue.put(None)
            if self._strike.current is not None:
                self.connection.interrupt()

    def stop(self, timeout: float = 5.0) -> bool:
        """Cancel all, and close the connection; False if a function did not come to its end within `timeout` seconds.

        Its connection is left open then: to close it under the thread that uses it crashes the process.
        """
        self.cancel()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self.connection.close()
        return True

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, done, token = item
            result, error = None, None
            try:
                try:
                    with self._strike.lock:
                        self._strike.current = token  # from here on a strike may land, and must be caught
                    if token.cancelled or self._stopping:
                        raise sqlite3.OperationalError("interrupted")
                    result = work()
                finally:
                    self._strike.leave()
            except BaseException as caught:  # noqa: BLE001 - whoever waits must get an answer
                self._strike.leave_surely()
                error = _stopped() if self._stopping else caught
                self._end_snapshot()
            try:
                done(result, error)
            except Exception:  # noqa: BLE001 - a lane that ended here would leave all after this one without an answer
                _log.exception("a read could not be answered")

    def _end_snapshot(self) -> None:
        """End what a strike left open, or the next function would read an old snapshot, or none."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.exception("a snapshot could not be ended")

    def _is_cancelled(self) -> bool:
        current = self._strike.current
        return self._stopping or (current is not None and current.cancelled)

    def interrupt(self, token: Token) -> None:
        """Stop a function: at once if it waits, at the next step of SQLite or of Python if it runs.

        A loop in Python has `OverDeadline` raised in it, once. A C function, such as a sleep, comes to its end first.
        """
        with self._strike.lock:  # or the interrupt could hit the function after it
            token.cancelled = True
            if self._strike.current is not token:
                return
            self.connection.interrupt()
            landed = self._strike.land(self._thread.ident)
        if not landed:
            token.tries += 1
            again = threading.Timer(_SOON if token.tries < _TRIES else _LATER, self.interrupt, (token,))
            again.daemon = True
            again.start()


def _stopped() -> Locked:
    return Locked("the daemon is stopping", hint="start it again, then call again")


class Token:
    """Stands for one function in a lane."""

    __slots__ = ("_lane", "cancelled", "tries")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.cancelled = False
        self.tries = 0
        """How often it could not be struck just then."""

    def interrupt(self) -> None:
        """Stop the function."""
        self._lane.interrupt(self)
