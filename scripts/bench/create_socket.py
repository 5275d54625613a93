"""`create`, durable, 64 clients: throughput and the 99th percentile of latency.

Floor: a protocol with `Content-Length` frames that decodes with msgspec, inserts one row on a connection in the loop
and commits it (WAL, `synchronous=FULL`) before it answers with the record. It writes that row and nothing else; the
daemon also writes history and an event, and checks what it is sent.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import floors
import msgspec
from load import load
from measure import Figure, interleave, main, median
from servers import both, frame

ROUNDS = 7
_INPUT = {
    "title": "Mend the hinge of the left door",
    "body": "It creaks when it is opened slowly, and does not close by itself.",
    "priority": 3,
    "points": 1.5,
    "due": "2026-12-24",
    "owner": "user",
    "url": "https://example.org/items/1",
    "tags": ["house", "door"],
}


class _Params(msgspec.Struct):
    title: str
    body: str = ""
    state: str = "open"
    priority: int = 0
    points: float | None = None
    due: str | None = None
    started_at: str | None = None
    done: bool = False
    owner: str = ""
    url: str = ""
    tags: list[str] = []
    number: int = 0


class _Request(msgspec.Struct):
    method: str
    id: int
    params: _Params


def _new_id() -> str:
    text = f"{time.time_ns() // 1_000_000:012x}7{os.urandom(10).hex()[1:]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _floor(folder: Path) -> floors.Answer:
    connection = floors.open_items(folder)
    decode, encode = msgspec.json.Decoder(_Request).decode, msgspec.json.Encoder().encode
    sql = f"INSERT INTO bench_items ({floors.FIELDS}) VALUES ({', '.join('?' * 20)})"  # noqa: S608

    def answer(body: bytes) -> bytes:
        request = decode(body)
        given = request.params
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        tags = encode(given.tags)
        item = floors.Item(
            _new_id(), "default", now, now, 1, None, "user", msgspec.Raw(b"{}"), given.title, given.body, given.state,
            given.priority, given.points, given.due, given.started_at, given.done, given.owner, given.url,
            msgspec.Raw(tags), given.number,
        )  # fmt: skip
        row = list(msgspec.structs.astuple(item))
        row[7], row[18] = "{}", tags.decode()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(sql, row)
        connection.execute("COMMIT")
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, encode(item))

    return answer


def run() -> list[Figure]:
    """Measure."""
    requests = [frame("bench.items.create", _INPUT)]
    with both(__file__, "create") as (daemon, floor):
        sides = interleave(
            lambda: load(daemon, requests, clients=64, seconds=1),
            lambda: load(floor, requests, clients=64, seconds=1),
            ROUNDS,
        )
    rates = [median(each.rate for each in side) for side in sides]
    p99 = [median(each.p99 for each in side) / 1000 for side in sides]
    cpu = [median(each.cpu for each in side) for side in sides]
    note = f"processor {cpu[0]:.0f} / {cpu[1]:.0f} us a call"
    return [
        Figure("`create`, durable, 64 clients", "calls/s", *rates, 5.0, more_is_better=True, note=note),
        Figure("`create`, durable, 64 clients, p99", "ms", p99[0], p99[1], 1.0),
    ]


if __name__ == "__main__":
    main(run, {"create": lambda: floors.run(_floor)})
