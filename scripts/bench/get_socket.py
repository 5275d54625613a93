"""`get` over the socket: latency of one client, and throughput of 64.

Floor: a protocol with `Content-Length` frames that decodes with msgspec, reads one row by its key on a connection in
the loop, puts it into a Struct and encodes that. It knows no other operation, no caller, no limit, one error.
"""

from __future__ import annotations

from pathlib import Path

import floors
import msgspec
from load import Load, load
from measure import Figure, interleave, main, median
from servers import both, fill, frame

ROWS = 1000
ROUNDS = 9


class _Params(msgspec.Struct):
    id: str = ""
    first: int = 0
    count: int = 0


class _Request(msgspec.Struct):
    method: str
    id: int
    params: _Params


def _floor(folder: Path) -> floors.Answer:
    connection = floors.open_items(folder)
    decode, encode = msgspec.json.Decoder(_Request).decode, msgspec.json.Encoder().encode
    sql = f"SELECT {floors.FIELDS} FROM bench_items WHERE id = ? AND deleted_at IS NULL"  # noqa: S608

    def answer(body: bytes) -> bytes:
        request = decode(body)
        if request.method == "bench.items.get":
            row = connection.execute(sql, (request.params.id,)).fetchone()
            if row is None:
                return b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"not found"}}' % request.id
            result = encode(floors.item_of(row))
        else:
            result = encode(floors.insert_items(connection, request.params.first, request.params.count))
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (request.id, result)

    return answer


def run() -> list[Figure]:
    """Measure."""
    figures: list[Figure] = []
    with both(__file__, "get") as (daemon, floor):
        ours, theirs = ([frame("bench.items.get", {"id": id_}) for id_ in fill(each, ROWS)] for each in (daemon, floor))

        def of(clients: int) -> tuple[list[Load], list[Load]]:
            return interleave(
                lambda: load(daemon, ours, clients=clients, seconds=0.7),
                lambda: load(floor, theirs, clients=clients, seconds=0.7),
                ROUNDS,
            )

        one, many = of(1), of(64)
    p50 = [median(each.p50 for each in side) for side in one]
    rates = [median(each.rate for each in side) for side in many]
    cpu = [median(each.cpu for each in side) for side in many]
    figures.append(Figure("`get` over the socket, one client, p50", "us", p50[0], p50[1], 2.0))
    note = f"processor {cpu[0]:.1f} / {cpu[1]:.1f} us a call"
    figures.append(Figure("`get` over the socket, 64 clients", "calls/s", *rates, 0.8, more_is_better=True, note=note))
    return figures


if __name__ == "__main__":
    main(run, {"get": lambda: floors.run(_floor)})
