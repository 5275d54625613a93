"""What the engine and its clearing up look for is found in an index, however many runs have ended."""

from __future__ import annotations

import re
import sqlite3

from coder_plugins.execution.artifacts.jobs import clear_up
from coder_plugins.execution.engine import jobs
from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, work

_WHOLE = re.compile(
    r"^SCAN execution_(?:runs|attempts|waits|artifacts|steps(?! USING INDEX execution_steps_by_queue))\b"
    r"|execution_(?:runs|attempts|waits|artifacts|steps)_list_(?:id|kind|created_at)\b"
)
"""How rows are read of which most are history."""


def plans(connection: sqlite3.Connection, statements: set[str]) -> dict[str, list[str]]:
    """Return how SQLite carries out each statement that looks at rows of execution."""
    found: dict[str, list[str]] = {}
    for statement in statements:
        if "execution_" in statement and statement.lstrip().startswith(("SELECT", "WITH")):
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            found[statement] = [row[3] for row in rows]
    return found


async def test_no_statement_reads_what_has_ended(bench: Bench) -> None:
    store = bench.box.kernel.store
    said: set[str] = set()
    connection = store.writer.connection
    connection.set_trace_callback(said.add)
    try:
        bench.box.configure(ExecutionSettings(keep_runs=1))
        for _ in range(2):
            bench.start(work("a", hold=True, resources=["port"]), concurrency_key="k")
        await bench.world.until(lambda: bench.world.begun)
        other = bench.start(work("b", resources=["port"]))
        await bench.until_step(other, "b", "waiting")
        bench.world.let_go()
        await bench.until(other)
        await bench.so(lambda: len(bench.world.begun) == 3)
        await clear_up(bench.ctx)
        store.read(jobs._any_open, bench.box._caller())
    finally:
        connection.set_trace_callback(None)
    found = plans(connection, said)
    assert len(found) > 15, "the statements were heard"
    assert {sql: plan for sql, plan in found.items() if any(map(_WHOLE.search, plan))} == {}
