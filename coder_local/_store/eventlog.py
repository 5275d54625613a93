"""The event log: one order for everything that is said, kept with the change it tells of.

Numbers are given by the writer, so their order is the order of commit, and a rolled-back number is never seen.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec

from .clock import instant

INSERT = "INSERT INTO event (seq, at, type, subject, workspace_id, actor, cause, depth, class, data) VALUES "
_SELECT = "SELECT seq, at, type, subject, actor, data FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
DATA_LIMIT = 8 * 1024
"""Bytes that the data of one event may take."""
ROWS_LIMIT = 1_000_000
"""The log keeps at most this many events; the oldest go first."""
KEEP_MS = {"short": 24 * 3600 * 1000, "normal": 30 * 24 * 3600 * 1000}
"""How long the events of each class are kept, in milliseconds."""
TRIM_BATCH = 1000
"""Rows that one trimming transaction takes away, so that it never holds the writer for long."""
SILENT_MS = 14 * 24 * 3600 * 1000
"""A durable consumer that is silent for so long stops holding the log."""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it goes outward: CloudEvents 1.0 in JSON, with a `sequence` extension."""

    specversion: str = "1.0"
    id: str
    source: str = "coder-local"
    type: str
    subject: str
    time: str
    sequence: int
    actor: str
    data: msgspec.Raw


EventRow = tuple[int, int, str, str, str, str]
"""A committed event: seq, at, type, subject, actor, data."""


class Published:
    """One committed event, encoded once for all who hear it, and not before anybody does."""

    __slots__ = ("_actor", "_at", "_body", "_data", "_epoch", "seq", "subject", "type")

    def __init__(self, epoch: str, row: EventRow) -> None:
        self.seq, self._at, self.type, self.subject, self._actor, self._data = row
        self._epoch = epoch
        self._body = b""

    @property
    def body(self) -> bytes:
        """Return the CloudEvent as JSON."""
        if not self._body:
            self._body = _encode(CloudEvent(
                id=f"{self._epoch}:{self.seq}", type=self.type, subject=self.subject, time=instant(self._at),
                sequence=self.seq, actor=self._actor, data=msgspec.Raw(self._data),
            ))  # fmt: skip
        return self._body


class Bounds(NamedTuple):
    """Which events can be served: those with `low < seq <= head`."""

    epoch: str
    low: int
    head: int


_encode = msgspec.json.Encoder().encode


def read_after(connection: sqlite3.Connection, epoch: str, seq: int, limit: int) -> list[Published]:
    """Return the events after a sequence number, oldest first, at most `limit`."""
    return [Published(epoch, row) for row in connection.execute(_SELECT, (seq, limit))]


def bounds(connection: sqlite3.Connection) -> Bounds:
    """Return the epoch of the log, the number that all served ones are above, and the last number given."""
    meta = dict(connection.execute("SELECT name, value FROM store_meta WHERE name IN ('epoch', 'event_low')"))
    head = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'").fetchone()[0]
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
    return Bounds(meta["epoch"], int(meta.get("event_low", 0)), max(int(head), int(last)))


def trim(connection: sqlite3.Connection, now_ms: int, *, rows_limit: int = ROWS_LIMIT) -> int:
    """Take away at most `TRIM_BATCH` of the oldest events that are over age or over the cap, and return how many.

    Only a prefix of the log goes, so that a cursor is either served whole or told to reset. Never past a live consumer.
    """
    held = connection.execute(
        "SELECT min(cursor) FROM event_consumer WHERE state IN ('ok', 'lagging') AND updated_at > ?",
        (now_ms - SILENT_MS,),
    ).fetchone()[0]
    low, high = connection.execute("SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM event").fetchone()
    over = max(0, (high - low + 1) - rows_limit) if high else 0
    last = low - 1
    for seq, at, class_ in connection.execute("SELECT seq, at, class FROM event ORDER BY seq LIMIT ?", (TRIM_BATCH,)):
        if seq - low >= over and at >= now_ms - KEEP_MS.get(class_, KEEP_MS["normal"]):
            break
        last = seq
    if held is not None:
        last = min(last, held)
    if last < low or not high:
        return 0
    removed = connection.execute("DELETE FROM event WHERE seq <= ?", (last,)).rowcount
    connection.execute("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('event_low', ?)", (str(last),))
    return removed
