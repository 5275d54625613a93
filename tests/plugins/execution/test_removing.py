"""Runs that ended long ago are removed, row by row, and only those that no other needs."""

from __future__ import annotations

import os
from typing import Any

import pytest

from coder_local._store.scope import bind
from coder_local.api import NotFound
from coder_plugins.execution.artifacts import jobs
from coder_plugins.execution.artifacts.jobs import clear_up
from coder_plugins.execution.records import ExecutionSettings
from coder_plugins.execution.runs import jobs as removing
from coder_plugins.execution.runs import operations, rules

from .bench import Bench, step, work

DAY = 86_400
TABLES = ("runs", "steps", "attempts", "waits", "signals", "artifacts", "definitions", "removals")


def rows(bench: Bench) -> dict[str, int]:
    return {table: bench.rows(table) for table in TABLES}


async def test_a_run_goes_whole_after_its_days(bench: Bench) -> None:
    old = bench.start(work("a", say="old\n"), step("w", "signal", {"name": "go"}, needs=["a"]), name="old")
    bench.call("execution.runs.signal", id=old, name="go")
    await bench.until(old)
    await bench.advance(80 * DAY)
    new = await bench.finish(work("b"))
    await bench.advance(11 * DAY)
    kept = await bench.finish(work("b"))
    await clear_up(bench.ctx)
    found = {each["id"] for each in bench.call("execution.runs.list")["items"]}
    assert found == {new, kept}
    assert rows(bench) == {
        "runs": 2, "steps": 2, "attempts": 2, "waits": 0, "signals": 0, "artifacts": 0, "definitions": 1, "removals": 0,
    }  # fmt: skip
    assert not (bench.ctx.folder / "runs" / old[:8] / old).exists()
    for name in ("get", "record", "definition"):
        with pytest.raises(NotFound) as caught:
            bench.call(f"execution.runs.{name}", id=old)
        assert "kept for 90 days" in str(caught.value.hint)


async def test_nothing_is_removed_where_all_is_kept_for_ever(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(keep_runs_days=0, keep_runs=0))
    id = await bench.finish(work("a"))
    await bench.advance(4_000 * DAY)
    await clear_up(bench.ctx)
    assert bench.run(id)["status"] == "succeeded"


async def test_of_too_many_the_oldest_go(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(keep_runs_days=0, keep_runs=2))
    ids: list[str] = []
    for _ in range(4):
        ids.append(await bench.finish(work("a")))
        await bench.advance(60)
    open_ = bench.start(work("a"), step("w", "signal", {"name": "go"}))
    await bench.until(open_, "waiting")
    await clear_up(bench.ctx)
    assert {each["id"] for each in bench.call("execution.runs.list")["items"]} == {*ids[2:], open_}


async def test_what_an_unfinished_run_needs_stays(bench: Bench) -> None:
    needed = await bench.finish(work("a", output=1), work("b", "a", fails=9))
    reused = await bench.finish(work("c", cache=True, output=2))
    free = await bench.finish(work("d"))
    hangs = [step("w", "signal", {"name": "go"})]
    above = bench.start(step("s", "sub_run", {"steps": [work("x")]}), *hangs)
    await bench.until(above, "waiting")
    taking = bench.start(work("c", cache=True, output=2), *hangs)
    again = bench.call("execution.runs.retry", id=needed, definition="latest", steps=[work("a", output=1), *hangs])
    assert again["reused"] == ["a"]
    await bench.until(taking, "waiting")
    await bench.advance(100 * DAY)
    await clear_up(bench.ctx)
    kept = {each["id"] for each in bench.call("execution.runs.list")["items"]}
    (below,) = [each["id"] for each in bench.call("execution.runs.list", parent_run=above)["items"]]
    assert kept == {needed, reused, above, below, taking, again["run"]["id"]}
    assert free not in kept
    for id in (above, taking, again["run"]["id"]):
        bench.call("execution.runs.signal", id=id, name="go")
        await bench.until(id)
    await bench.advance(100 * DAY)
    await clear_up(bench.ctx)
    assert rows(bench) == dict.fromkeys(TABLES, 0)


async def test_a_definition_stays_while_a_step_names_it(bench: Bench) -> None:
    old = await bench.finish(work("x"))
    (hash_,) = [bench.run(old)["definition"]]
    later = bench.start(
        step("w", "signal", {"name": "go"}), step("s", "sub_run", {"definition": hash_}, needs=["w"]),
    )  # fmt: skip
    await bench.until(later, "waiting")
    await bench.advance(100 * DAY)
    await clear_up(bench.ctx)
    with pytest.raises(NotFound):
        bench.run(old)
    bench.call("execution.runs.signal", id=later, name="go")
    assert (await bench.until(later))["status"] == "succeeded"


async def test_a_transaction_takes_a_few_hundred_rows_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await bench.finish(work("f", foreach=list(range(300))))
    assert bench.rows("steps") + bench.rows("attempts") > 600
    await bench.advance(100 * DAY)
    seen: list[int] = []
    found = await bench.ctx.read(removing.due, bench.ctx.now_ms())
    assert found.runs == [id]
    while found.runs or found.left:
        before = sum(rows(bench).values())
        gone = await bench.ctx.transact(removing.remove, found.runs)
        seen.append(gone.rows)
        assert before - sum(rows(bench).values()) in {gone.rows, gone.rows - 1}, "a removal is noted, and taken back"
        with pytest.raises(NotFound):  # though some of it is there
            bench.run(id)
        found = await bench.ctx.read(removing.due, bench.ctx.now_ms())
    assert len(seen) > 3
    assert max(seen) <= removing.ROWS
    monkeypatch.setattr(removing, "BUDGET", -1.0)
    small = await bench.finish(work("a"), work("b"))
    await bench.advance(100 * DAY)
    await clear_up(bench.ctx)
    assert rows(bench) == dict.fromkeys(TABLES, 0), f"{small} goes as well, in the smallest pieces"


async def test_what_stands_below_a_run_that_is_needed_is_not_looked_for_in_vain(bench: Bench) -> None:
    id = await bench.finish(step("s", "sub_run", {"steps": [work("x")]}))
    again = bench.call("execution.runs.retry", id=id, definition="latest", steps=[step("w", "signal", {"name": "go"})])
    await bench.advance(100 * DAY)
    assert (await bench.ctx.read(removing.due, bench.ctx.now_ms())).runs == []
    bench.call("execution.runs.signal", id=again["run"]["id"], name="go")
    await bench.until(again["run"]["id"])
    assert len((await bench.ctx.read(removing.due, bench.ctx.now_ms())).runs) == 2


async def test_a_run_that_came_to_be_needed_is_not_removed(bench: Bench) -> None:
    id = await bench.finish(work("a"), work("b", fails=9))
    await bench.advance(100 * DAY)
    found = await bench.ctx.read(removing.due, bench.ctx.now_ms())
    bench.call("execution.runs.retry", id=id, definition="latest", steps=[step("w", "signal", {"name": "go"})])
    assert (await bench.ctx.transact(removing.remove, found.runs)).rows == 0
    assert bench.run(id)["status"] == "failed"


def age(bench: Bench, sha256: str) -> Any:
    path = bench.ctx.folder / "blobs" / sha256[:2] / sha256
    os.utime(path, (path.stat().st_mtime - 7_200,) * 2)
    return path


async def test_artifacts_go_with_the_last_run_that_has_them(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(keep_days=3650))
    first = await bench.finish(work("a", size=2_000_000), work("b", "a", fails=9))
    await bench.advance(50 * DAY)
    second = bench.call("execution.runs.retry", id=first)["run"]["id"]
    await bench.until(second)
    (artifact,) = bench.call("execution.artifacts.list", run=second)["items"]
    path = age(bench, artifact["sha256"])
    await bench.advance(50 * DAY)
    await clear_up(bench.ctx)
    assert {each["id"] for each in bench.call("execution.runs.list")["items"]} == {second}
    assert bench.call("execution.artifacts.read", id=artifact["id"], limit=10)["bytes"] == artifact["bytes"]
    await bench.advance(50 * DAY)
    assert await clear_up(bench.ctx) >= 2_000_000
    assert not path.exists()


async def test_nothing_is_looked_for_row_by_row(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(keep_runs=1))
    id = await bench.finish(work("a"), work("f", foreach=[1, 2]))
    told: list[str] = []

    def spied(read: Any) -> None:
        rows = read.rows

        def spy(sql: Any, **values: Any) -> Any:
            told.extend(line for *_, line in read.connection.execute(f"EXPLAIN QUERY PLAN {sql}", bind(values)))
            return rows(sql, **values)

        read.rows = spy
        removing.due(read, bench.ctx.now_ms())
        removing.unused(read)
        jobs._named(read, ["x"])
        rules.steps_of(read, id, None, 10, record=True)
        operations.get(read, id=id)

    await bench.ctx.read(spied)
    scans = {line for line in told if line.startswith("SCAN ") and "INDEX" not in line}
    assert {line.split()[1] for line in scans} <= {"execution_removals", "kept", "open", "needed", "named", "page"}, (
        scans
    )
