"""Runs: what a step costs beside two bare commits, fan-out, starting a program, resuming, and lists at size.

A kernel on a real file with its writer thread, and the engine in this process: what a daemon does without its doors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from measure import Figure, main, median
from servers import folders

from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.principal import OWNER, Principal
from coder_local.api import Safety
from coder_plugins.execution import processes
from coder_plugins.execution.engine.engine import Engine
from coder_plugins.execution.engine.jobs import engine_of
from coder_plugins.execution.machine import live

CHAIN, FAN, PROGRAMS, UNFINISHED = 200, 1_000, 20, 10_000
FEW, MANY = 1_000, 100_000
ROUNDS = 5
AGREED: Principal = msgspec.structs.replace(OWNER, confirmed=frozenset(Safety))


class Bench:
    """A kernel with planning and execution, and how to ask it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def ask(self, name: str, /, **input: Any) -> Any:
        """Call an operation."""
        return msgspec.json.decode(await self.kernel.dispatcher.call(name, msgspec.json.encode(input), AGREED))

    @property
    def engine(self) -> Engine:
        """The engine that runs."""
        found = engine_of(self.kernel.dispatcher.context("execution", "execution").folder)
        if found is None:
            raise RuntimeError("the kernel was not begun")
        return found

    async def run(self, steps: list[dict[str, Any]], folder: Path | None = None, parallel: int = 1_000) -> float:
        """Run some steps and return the seconds from the call to the end of the run."""
        ctx = self.kernel.dispatcher.context("execution", "execution")
        with ctx.subscribe("execution.run.finished") as ended:
            begun = time.perf_counter()
            where = {} if folder is None else {"folder": str(folder)}
            await self.ask("execution.start", steps=steps, parallel=parallel, **where)
            event = await anext(ended)
            taken = time.perf_counter() - begun
        if event.data["status"] != "succeeded":
            raise RuntimeError(str(await self.ask("execution.runs.get", id=event.data["run"]))[:2_000])
        return taken


@contextlib.asynccontextmanager
async def bench(folder: Path, *, begin: bool = True) -> AsyncIterator[Bench]:
    """Open a kernel, with its engine at work if `begin`."""
    kernel = Kernel(folder)
    kernel.load([Plugin(name, Source.BUNDLED, f"coder_plugins.{name}") for name in ("planning", "execution")])
    kernel.open()
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)
    try:
        if begin:
            for plugin in kernel.registry.plugins.values():
                await kernel.begin(plugin)
        yield Bench(kernel)
    finally:
        await kernel.end_all()
        await asyncio.to_thread(kernel.store.close)


def rename(text: str) -> dict[str, Any]:
    """Return a step that writes one record."""
    return {
        "kind": "operation",
        "input": {"operation": "planning.projects.update", "input": {"id": "BEN", "name": text}},
    }


def chain(tag: int) -> list[dict[str, Any]]:
    """Return steps that each wait for the one before."""
    keys = [f"s{number}" for number in range(CHAIN)]
    needs = [[], *([key] for key in keys)]
    return [{"key": key, "needs": need, **rename(f"{tag} {key}")} for key, need in zip(keys, needs, strict=False)]


def fan(tag: int, **more: Any) -> list[dict[str, Any]]:
    """Return one step that becomes many."""
    return [{"key": "all", "foreach": list(range(FAN)), **rename(f"{tag} ${{{{ item }}}}"), **more}]


def bare_commits(folder: Path, count: int) -> float:
    """Return the seconds that two durable commits for each of `count` steps take, written by hand."""
    path = folder / "bare.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS step (id INTEGER PRIMARY KEY, state TEXT, result TEXT)")
    begun = time.perf_counter()
    for _ in range(count):
        cursor = connection.execute("INSERT INTO step (state) VALUES ('started')")
        connection.execute("UPDATE step SET state = 'done', result = '{}' WHERE id = ?", (cursor.lastrowid,))
    taken = time.perf_counter() - begun
    connection.close()
    return taken


async def in_turn(
    ours: Callable[[int], Coroutine[Any, Any, float]], floor: Callable[[int], Coroutine[Any, Any, float]]
) -> tuple[float, float]:
    """Measure two sides in turn, after a first round that warms up, and return their medians."""
    sides: tuple[list[float], list[float]] = [], []
    for number in range(ROUNDS + 1):
        for side, measured in zip((ours, floor), sides, strict=True):
            measured.append(await side(number))
    return median(sides[0][1:]), median(sides[1][1:])


async def step_figures(folder: Path) -> list[Figure]:
    """Measure one step after the other, and many at once."""
    async with bench(folder) as found:
        await found.ask("planning.projects.create", key="BEN", name="Bench")

        async def ours(number: int) -> float:
            return await found.run(chain(number)) / CHAIN

        async def floor(_: int) -> float:
            return await asyncio.to_thread(bare_commits, folder, CHAIN) / CHAIN

        async def together(number: int) -> float:
            return FAN / await found.run(fan(number))

        async def one_by_one(number: int) -> float:
            return FAN / await found.run(fan(number, max_parallel=1))

        async def alone(number: int) -> float:
            begun = time.perf_counter()
            for each in range(CHAIN):
                await found.ask("planning.projects.update", id="BEN", name=f"{number} alone {each}")
            return (time.perf_counter() - begun) / CHAIN

        one, two = await in_turn(ours, floor)
        itself, _ = await in_turn(alone, floor)
        many, single = await in_turn(together, one_by_one)
    return [
        Figure(
            "overhead of one `operation` step / two bare durable commits",
            "us",
            (one - itself) * 1e6,
            two * 1e6,
            2.5,
            note=f"the step {one * 1e6:,.0f}, its operation by itself {itself * 1e6:,.0f}",
        ),
        Figure(f"{FAN:,} steps fan-out, together / one by one", "steps/s", many, single, 5, more_is_better=True),
    ]


async def program_figures(folder: Path) -> list[Figure]:
    """Measure the start of a program as a step starts it, and whole steps that run one."""
    starts = itertools.count()
    command = processes.Command(argv=("true",), cwd=folder, env=dict(os.environ))

    async def begin(_: int) -> float:
        taken = 0.0
        for _ in range(PROGRAMS):
            attempt = folder / "attempts" / str(next(starts))
            attempt.mkdir(parents=True)
            begun = time.perf_counter()
            child = await processes.start(attempt, command)
            taken += time.perf_counter() - begun
            await child.wait()
        return taken / PROGRAMS

    async def bare(_: int) -> float:
        taken = 0.0
        for _ in range(PROGRAMS):
            begun = time.perf_counter()
            child = await asyncio.create_subprocess_exec("true")
            taken += time.perf_counter() - begun
            await child.wait()
        return taken / PROGRAMS

    async def bare_whole(_: int) -> float:
        begun = time.perf_counter()
        for _ in range(PROGRAMS):
            await (await asyncio.create_subprocess_exec("true")).wait()
        return (time.perf_counter() - begun) / PROGRAMS

    async with bench(folder) as found:
        work = folder / "work"
        work.mkdir()
        steps = [
            {"key": f"s{n}", "kind": "command", "input": {"run": ["true"]}, "needs": [f"s{n - 1}"] if n else []}
            for n in range(PROGRAMS)
        ]

        async def whole(_: int) -> float:
            return await found.run(steps, work) / PROGRAMS

        started = await in_turn(begin, bare)
        done = await in_turn(whole, bare_whole)
    return [
        Figure("start of a `command` step / `create_subprocess_exec`", "ms", *(each * 1e3 for each in started), 2.5),
        Figure(
            "a whole `command` step / the same to its end (no goal set)",
            "ms",
            *(each * 1e3 for each in done),
            float("inf"),
        ),
    ]


async def resume_figure(folder: Path) -> Figure:
    """Measure a start with runs that were cut off in the middle of a step."""
    async with bench(folder) as found:
        await found.ask("planning.projects.create", key="BEN", name="Bench")
        ask = {"kind": "operation", "input": {"operation": "planning.projects.get", "input": {"id": "BEN"}}}
        go = {"key": "w", "kind": "signal", "input": {"name": "go"}}
        steps = [{"key": "a", **ask}, {"key": "b", "needs": ["a"], **ask}, go]
        run = (await found.ask("execution.start", steps=steps))["run"]["id"]
        while (await found.ask("execution.runs.get", id=run))["counts"].get("succeeded") != 2:
            await asyncio.sleep(0.01)
        path = found.kernel.store.path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE execution_attempts SET state = 'started', ended_at = NULL WHERE key = 'b'")
        connection.execute(
            "UPDATE execution_steps SET status = 'running', finished_at = NULL, ended = NULL WHERE key = 'b'"
        )
        for table in ("runs", "steps", "attempts", "waits"):
            _copy_rows(connection, f"execution_{table}", run)
        connection.commit()
    live.forget()
    async with bench(folder, begin=False) as found:
        engine = Engine(found.kernel.dispatcher.context("execution", "execution"))
        begun = time.perf_counter()
        await engine.start()
        taken = time.perf_counter() - begun
        await engine.stop()
    return Figure(f"start with {UNFINISHED:,} runs cut off in a step", "s", taken, None, 5)


def _copy_rows(connection: sqlite3.Connection, table: str, run: str) -> None:
    """Copy the rows of one run for so many others, under ids of their own."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    changed = [f"replace({name}, :run, printf('run-%08d', i))" if name in {"id", "run"} else name for name in columns]
    own = "id = :run" if table == "execution_runs" else "run = :run"
    if table == "execution_waits":
        changed[columns.index("id")] = "printf('wait-%08d', i)"
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"  # noqa: S608
        f" INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {', '.join(changed)} FROM n, (SELECT * FROM {table} WHERE {own})",
        {"run": run, "count": UNFINISHED - 1},
    )


async def list_figure(few_folder: Path, many_folder: Path) -> Figure:
    """Measure the first page of runs at two sizes."""
    async with bench(few_folder, begin=False) as few, bench(many_folder, begin=False) as many:
        for found, count in ((few, FEW), (many, MANY)):
            await found.ask("execution.start", steps=[{"key": "w", "kind": "signal", "input": {"name": "go"}}])
            await asyncio.to_thread(_copy_runs, found.kernel.store.path, count)

        async def ask(found: Bench) -> float:
            begun = time.perf_counter()
            for _ in range(20):
                await found.ask("execution.runs.list", status="waiting")
            return (time.perf_counter() - begun) / 20

        one, two = await in_turn(lambda _: ask(many), lambda _: ask(few))
    return Figure(f"`runs.list` at {MANY:,} runs / at {FEW:,}", "us", one * 1e6, two * 1e6, 1.5)


def _copy_runs(path: Path, count: int) -> None:
    """Copy the one run so many times, on a connection of its own: the writer's belongs to its thread."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        names = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(execution_runs)") if row[1] != "id")
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"  # noqa: S608
            f" INSERT INTO execution_runs (id, {names})"
            f" SELECT printf('run-%08d', i), {names} FROM n, (SELECT * FROM execution_runs LIMIT 1)"
        )
        connection.commit()


def run() -> list[Figure]:
    """Measure."""
    with folders("steps", "programs", "resume", "few", "many") as (steps, programs, resume, few, many):
        return [
            *asyncio.run(step_figures(steps)),
            *asyncio.run(program_figures(programs)),
            asyncio.run(resume_figure(resume)),
            asyncio.run(list_figure(few, many)),
        ]


if __name__ == "__main__":
    main(run, {})
