"""The places of durable consumers in the event log, and the events that one of them could not take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from coder_local.api import Heard

from .clock import instant
from .eventlog import bounds
from .scope import ReadScope, WriteScope

KEEP_DEAD_MS = 30 * 24 * 3600 * 1000
"""How long a parked event is told of, in milliseconds."""


class Place(NamedTuple):
    """How far a consumer is: all events up to `cursor` are done, and the next one failed so many times."""

    cursor: int
    failures: int = 0


class Event(NamedTuple):
    """An event with what the log keeps of where it came from."""

    heard: Heard
    workspace: str
    cause: int | None
    depth: int


def enrol(scope: WriteScope, names: Iterable[str]) -> None:
    """Give consumers that are not known yet their first place: the head of the log."""
    scope.write_log()
    head = bounds(scope.connection).head
    scope.connection.executemany(
        "INSERT OR IGNORE INTO event_consumer (name, cursor, updated_at) VALUES (?, ?, ?)",
        [(name, head, scope.ms) for name in names],
    )


def place_of(scope: ReadScope, name: str) -> int:
    """Return the number up to which a consumer is done."""
    return found(scope, name).cursor


def found(scope: ReadScope, name: str) -> Place:
    """Return the place of a consumer that was enrolled."""
    row = scope.connection.execute("SELECT cursor, failures FROM event_consumer WHERE name = ?", (name,)).fetchone()
    return Place(*row)


def keep(scope: WriteScope, name: str, place: Place, error: str | None = None) -> None:
    """Save the place of a consumer, with what it failed at last."""
    scope.connection.execute(
        "UPDATE event_consumer SET cursor = ?, failures = ?, state = ?, last_error = coalesce(?, last_error),"
        " updated_at = ? WHERE name = ?",
        (place.cursor, place.failures, "lagging" if place.failures else "ok", error, scope.ms, name),
    )


def move(scope: WriteScope, places: Mapping[str, int]) -> None:
    """Save how far consumers are for whom there was nothing in between."""
    scope.connection.executemany(
        "UPDATE event_consumer SET cursor = ?, updated_at = ? WHERE name = ? AND cursor < ?",
        [(cursor, scope.ms, name, cursor) for name, cursor in places.items()],
    )


def park(scope: WriteScope, name: str, seq: int, error: str, attempts: int) -> None:
    """Put an event aside that a consumer cannot take."""
    scope.connection.execute(
        "INSERT OR REPLACE INTO event_dead (consumer, seq, error, attempts, at) VALUES (?, ?, ?, ?, ?)",
        (name, seq, error, attempts, scope.ms),
    )


def forget_dead(scope: WriteScope) -> None:
    """Take away what was parked so long ago that nobody will look at it."""
    scope.connection.execute("DELETE FROM event_dead WHERE at < ?", (scope.ms - KEEP_DEAD_MS,))


def events(scope: ReadScope, epoch: str, after: int, seqs: Sequence[int]) -> list[Event]:
    """Return some events that come after a number, in order."""
    scope.write_log()
    rows = scope.connection.execute(
        "SELECT seq, at, type, subject, actor, data, workspace_id, cause, depth FROM event"
        " WHERE seq IN (SELECT value FROM json_each(?)) AND seq > ? ORDER BY seq",
        (msgspec.json.encode(seqs).decode(), after),
    ).fetchall()
    return [
        Event(
            Heard(
                id=f"{epoch}:{seq}",
                seq=seq,
                type=type_,
                subject=subject,
                actor=actor,
                time=instant(at),
                data=msgspec.json.decode(data),
            ),
            workspace,
            cause,
            depth,
        )
        for seq, at, type_, subject, actor, data, workspace, cause, depth in rows
    ]


def chain(scope: ReadScope, event: Event, limit: int) -> list[str]:
    """Return the types of the events that led to this one, the first of them first."""
    types, cause = [event.heard.type], event.cause
    while cause is not None and len(types) <= limit:
        row = scope.connection.execute("SELECT type, cause FROM event WHERE seq = ?", (cause,)).fetchone()
        if row is None:
            break
        types.append(row[0])
        cause = row[1]
    return types[::-1]
