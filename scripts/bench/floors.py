"""What the hand-written floors share: frames on a Unix socket, as little as one would write for one job."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from servers import SOCKET

Answer = Callable[[bytes], bytes]
"""From the body of a request to the body of its answer."""


class Frames(asyncio.Protocol):
    """One connection that answers each frame at once."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer all whole frames in one write."""
        if self._rest:
            data = self._rest + data
        position, out = 0, list[bytes]()
        while (end := data.find(b"\r\n\r\n", position)) >= 0:
            start = end + 4
            stop = start + int(data[position + 16 : end])
            if stop > len(data):
                break
            body = self._answer(data[start:stop])
            out.append(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            position = stop
        self._rest = data[position:]
        if out:
            self._transport.write(b"".join(out))


async def serve(answer: Answer, folder: Path) -> None:
    """Answer on the folder's socket until the process is ended."""
    server = await asyncio.get_running_loop().create_unix_server(lambda: Frames(answer), str(folder / SOCKET))
    await server.serve_forever()


def run(make: Callable[[Path], Answer]) -> None:
    """Serve the floor for the folder on the command line."""
    folder = Path(sys.argv[3])
    asyncio.run(serve(make(folder), folder))


class Item(msgspec.Struct):
    """The measuring domain's record."""

    id: str
    workspace_id: str
    created_at: str
    updated_at: str
    rev: int
    deleted_at: str | None
    origin: str
    meta: msgspec.Raw
    title: str
    body: str
    state: str
    priority: int
    points: float | None
    due: str | None
    started_at: str | None
    done: bool
    owner: str
    url: str
    tags: msgspec.Raw
    number: int


FIELDS = ", ".join(Item.__struct_fields__)
_MIGRATION = Path(__file__).parent / "bench_domain" / "migrations" / "0001_items.sql"


def open_items(folder: Path) -> sqlite3.Connection:
    """Open a durable database with the measuring domain's own table."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_MIGRATION.read_text("utf-8"))
    return connection


def insert_items(connection: sqlite3.Connection, first: int, count: int) -> list[str]:
    """Insert the items that the daemon's `bench.fill` inserts, and return their ids."""
    ids = [f"0193a000-0000-7000-8000-{number:012x}" for number in range(first, first + count)]
    now = "2026-11-20T16:15:27.123Z"
    rows = [
        (
            id_, "default", now, now, 1, None, "user", "{}", f"Item {number}: mend the hinge of the left door",
            "It creaks when it is opened slowly, and does not close by itself.", "open", number % 5, 1.5, "2026-12-24",
            None, 0, "user", f"https://example.org/items/{number}", '["house","door"]', number,
        )
        for number, id_ in enumerate(ids, first)
    ]  # fmt: skip
    connection.execute("BEGIN")
    connection.executemany(f"INSERT INTO bench_items ({FIELDS}) VALUES ({', '.join('?' * 20)})", rows)  # noqa: S608
    connection.execute("COMMIT")
    return ids


def item_of(row: tuple[object, ...]) -> Item:
    """Return the item of a row."""
    values = list(row)
    values[7] = msgspec.Raw(values[7])  # type: ignore[arg-type]
    values[15] = bool(values[15])
    values[18] = msgspec.Raw(values[18])  # type: ignore[arg-type]
    return Item(*values)  # type: ignore[arg-type]
