"""What the commands of one commit leave beside their own rows: history and the event log.

Rows are numbered when their command ends and written by eights before the commit: 5.4 us a command, not 8.7. What
reads these tables inside a command calls `write` first, or it would miss the commands before it in the same commit.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from .eventlog import INSERT as INSERT_EVENT
from .eventlog import EventRow
from .scope import WriteScope

_INSERT_CHANGE = (
    "INSERT INTO change"
    " (seq, change_set, at, workspace_id, actor, operation, table_name, record_id, rev, before, after) VALUES "
)
_CHANGE_COLUMNS, _EVENT_COLUMNS = 11, 10
_TOGETHER = 8
"""Rows of one statement; twice as many save half a microsecond a command more."""


class Place(NamedTuple):
    """Where the journal stood before a command."""

    change_seq: int
    event_seq: int
    changes: list[Any]
    changes_length: int
    events: list[Any]
    events_length: int
    said: int


class Journal:
    """Numbers and keeps the change rows and event rows of the commands that are committed together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        last = dict(connection.execute("SELECT name, seq FROM sqlite_sequence WHERE name IN ('event', 'change')"))
        # The last numbers given, trimmed ones included.
        self._event_seq: int = last.get("event", 0)
        self._change_seq: int = last.get("change", 0)
        self._changes: list[Any] = []
        self._events: list[Any] = []
        self.said: list[EventRow] = []
        """The events since `begin`, to be delivered after the commit."""

    def begin(self) -> Place:
        """Start with nothing, and return the place that `go_back` takes when the whole transaction is rolled back."""
        self._changes, self._events, self.said = [], [], []
        return self.place()

    def place(self) -> Place:
        """Return where it stands."""
        changes, events = self._changes, self._events
        return Place(self._change_seq, self._event_seq, changes, len(changes), events, len(events), len(self.said))

    def go_back(self, place: Place) -> None:
        """Forget what came after a place; rows that were waiting there wait again, even if they were written since."""
        self._change_seq, self._event_seq, self._changes, changes, self._events, events, said = place
        del self._changes[changes:], self._events[events:], self.said[said:]

    def add(self, scope: WriteScope) -> None:
        """Take in what a command changed and said; first the parts of it that were done on behalf of others."""
        for part in scope.parts:
            self.add(part)
        caller, at = scope.caller, scope.ms
        if scope.changes:
            change_set = self._change_seq + 1
            for table, record_id, rev, before, after in scope.changes:
                self._change_seq += 1
                self._changes += (
                    self._change_seq, change_set, at, caller.workspace, caller.actor, caller.operation, table,
                    record_id, rev, before, after,
                )  # fmt: skip
            if scope.undoes is not None:
                self._mark_undone(change_set, *scope.undoes)
        for type_, subject, data in scope.events:
            self._event_seq += 1
            self.said.append((self._event_seq, at, type_, subject, caller.actor, data))
            self._events += (
                self._event_seq, at, type_, subject, caller.workspace, caller.actor, caller.cause, caller.depth,
                "normal", data,
            )  # fmt: skip

    def write(self) -> None:
        """Write the rows that wait."""
        changes, self._changes = self._changes, []  # new lists: a place may hold the old ones
        events, self._events = self._events, []
        self._insert(_INSERT_CHANGE, _CHANGE_COLUMNS, changes)
        self._insert(INSERT_EVENT, _EVENT_COLUMNS, events)

    def _insert(self, sql: str, columns: int, values: list[Any]) -> None:
        execute, at, together = self._connection.execute, 0, _TOGETHER * columns
        row = f"({', '.join('?' * columns)})"
        while len(values) - at >= together:
            execute(sql + ", ".join([row] * _TOGETHER), values[at : at + together])
            at += together
        for start in range(at, len(values), columns):
            execute(sql + row, values[start : start + columns])

    def _mark_undone(self, by: int, first: int, last: int) -> None:
        """Mark a change set as taken back; if it was itself an undo, what that one took back is there again."""
        self._connection.execute("UPDATE change SET undone_by = NULL WHERE undone_by = ?", (first,))
        self._connection.execute("UPDATE change SET undone_by = ? WHERE seq BETWEEN ? AND ?", (by, first, last))
