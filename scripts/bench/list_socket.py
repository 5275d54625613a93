"""A list of 50 records of 20 columns over the socket, 64 clients: throughput.

Floor: a protocol with `Content-Length` frames that reads the first 51 rows by id on a connection in the loop, puts 50
into Structs and encodes them with the id that the next page begins after.
"""

from __future__ import annotations

from pathlib import Path

import floors
import msgspec
from load import load
from measure import Figure, interleave, main, median
from servers import both, fill, frame

ROWS = 1000
ROUNDS = 7


class _Params(msgspec.Struct):
    limit: int = 50
    first: int = 0
    count: int = 0


class _Request(msgspec.Struct):
    method: str
    id: int
    params: _Params


class _Page(msgspec.Struct):
    items: list[floors.Item]
    next_cursor: str | None


def _floor(folder: Path) -> floors.Answer:
    connection = floors.open_items(folder)
    decode, encode = msgspec.json.Decoder(_Request).decode, msgspec.json.Encoder().encode
    sql = f"SELECT {floors.FIELDS} FROM bench_items WHERE deleted_at IS NULL ORDER BY id LIMIT ?"  # noqa: S608

    def answer(body: bytes) -> bytes:
        request = decode(body)
        if request.method == "bench.items.list":
            limit = request.params.limit
            rows = connection.execute(sql, (limit + 1,)).fetchall()
            items = [floors.item_of(row) for row in rows[:limit]]
            result = encode(_Page(items, items[-1].id if len(rows) > limit else None))
        else:
            result = encode(floors.insert_items(connection, request.params.first, request.params.count))
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, result)

    return answer


def run() -> list[Figure]:
    """Measure."""
    requests = [frame("bench.items.list", {"limit": 50})]
    with both(__file__, "list") as (daemon, floor):
        fill(daemon, ROWS)
        fill(floor, ROWS)
        sides = interleave(
            lambda: load(daemon, requests, clients=64, seconds=1),
            lambda: load(floor, requests, clients=64, seconds=1),
            ROUNDS,
        )
    rates = [median(each.rate for each in side) for side in sides]
    cpu = [median(each.cpu for each in side) for side in sides]
    note = f"processor {cpu[0]:.0f} / {cpu[1]:.0f} us a call"
    return [
        Figure("list of 50 records of 20 columns, 64 clients", "calls/s", *rates, 0.8, more_is_better=True, note=note)
    ]


if __name__ == "__main__":
    main(run, {"list": lambda: floors.run(_floor)})
