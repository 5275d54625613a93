"""An engine in memory that is ended like a killed process, begun anew, and driven until nothing is left to do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from coder_local.api import Context, StepRun, parse_instant
from coder_local.testing.memory import Sandbox, sandbox
from coder_plugins.execution import domain as execution
from coder_plugins.execution.engine.engine import Engine
from coder_plugins.execution.machine import live
from coder_plugins.execution.records import ExecutionSettings

from . import checks
from .world import Crash, World, domain, use

CALM = 12
"""Rounds of the loop without anything done after which the engine has nothing left to do."""
RESTLESS = 5_000
"""Rounds after which it is plain that it will not come to rest."""
ENDED = {"succeeded", "failed", "cancelled", "timed_out"}


class Watched:
    """The engine's context, with a boundary before and after each of its commits."""

    def __init__(self, inner: Context, world: World) -> None:
        self._inner = inner
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def transact(self, function: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
        self._world.boundary(f"before the commit of {function.__name__}")
        found = await self._inner.transact(function, *args, **kw)
        self._world.boundary(f"after the commit of {function.__name__}")
        return found


class Session:
    """A database in memory, a world, and an engine between them that may end at any moment.

    `linger` has a dead engine stay dead until the programs of the world have ended; else it begins again at once.
    """

    def __init__(self, world: World, *, linger: bool = False) -> None:
        self.world = world
        self.linger = linger
        self.box: Sandbox = sandbox(execution, domain)
        self.box.configure(ExecutionSettings(processes=2, others=64))
        self.base: sqlite3.Connection = self.box.kernel.store.writer.connection
        self.engine: Engine | None = None
        self.kept = checks.Kept()
        self.faults = world.faults
        self.crashes = 0
        self.asked = 0
        """How many questions a person was asked because of a crash."""
        world.looks = self._has_an_intent
        use(world)

    def _has_an_intent(self, step: StepRun) -> str | None:
        """Say so if an effect is about to be had without a durable intent (E1)."""
        found = self.base.execute(
            "SELECT count(*) FROM execution_attempts WHERE run = ? AND key = ? AND n = ? AND state = 'started'",
            (step.run, step.key, step.attempt),
        ).fetchone()[0]
        return (
            None if found else f"E1: {step.run}/{step.key} is about to have an effect, and no open attempt is on disk"
        )

    # -- the engine ---------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Begin an engine, as a start of the daemon does."""
        asyncio.get_running_loop().set_exception_handler(_hear_no_crash)
        context = Watched(self.box.kernel.dispatcher.context("execution", "execution"), self.world)
        self.engine = Engine(cast("Context", context))
        with suppress(Crash):
            await self.engine.start()

    async def bury(self) -> None:
        """End what is left of an engine without a word, as SIGKILL does, and forget what was only in its memory."""
        engine = self.engine
        self.world.crashed = True  # from here on nothing of it passes a boundary
        if engine is not None:
            tasks = [*engine._tasks, *engine.carrying.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        live._lives.clear()
        live._graphs.clear()
        self.engine = None
        self.world.crashed = False
        self.crashes += 1

    async def settle(self) -> None:
        """Go on until nothing is left to do; an engine that ends on the way is begun anew. Then check everything."""
        while True:
            await self._calm()
            if not self.world.crashed:
                break
            await self.bury()
            self.check()
            while self.linger and self.world.ticking:
                await asyncio.sleep(0)
            await self.begin()
        self.check(calm=True)

    async def _calm(self) -> None:
        calm, before, rounds = 0, -1, 0
        while calm < CALM and not self.world.crashed:
            await asyncio.sleep(0)
            rounds += 1
            if rounds > RESTLESS:
                self.faults.append("E7: the engine does not come to rest")
                return
            engine = self.engine
            passed = len(self.world.boundaries) + (0 if engine is None else engine.turns)
            busy = engine is None or engine._work or engine._wake.is_set() or self.world.ticking
            calm = 0 if busy or passed != before else calm + 1
            before = passed

    async def close(self) -> None:
        """Give everything back."""
        await self.bury()
        for task in self.world.tasks:
            task.cancel()
        await asyncio.gather(*self.world.tasks, return_exceptions=True)
        self.box.close()

    # -- looking ------------------------------------------------------------------------------------------------------

    def check(self, *, calm: bool = False) -> None:
        """Note all that does not hold now."""
        found = [
            *checks.always(self.base),
            *checks.effects_had_an_intent(self.base, self.world.did),
            *checks.changes_and_results_are_one(self.base),
            *self.kept.ends_stand(self.base),
            *self._no_process_is_left(),
        ]
        if calm:
            context = self.box.kernel.dispatcher.context("execution", "execution")
            found += checks.nothing_stands_still(self.base, context.now())
        self.faults += [each for each in found if each not in self.faults]

    def _no_process_is_left(self) -> list[str]:
        """E6, outside of the database: a run that has ended has no process."""
        ended = {id_ for id_, status in self.base.execute("SELECT id, status FROM execution_runs") if status in ENDED}
        left = [each.place for each in self.world.processes.values() if each.alive and each.place[0] in ended]
        return [f"E6: run {run} has ended, and the process of {key} lives" for run, key in left]

    def status(self, run: str) -> str:
        """Return the status of a run."""
        return str(self.base.execute("SELECT status FROM execution_runs WHERE id = ?", (run,)).fetchone()[0])

    def steps(self, run: str) -> dict[str, str]:
        """Return the statuses of a run's steps, and of those of the runs below it, by key."""
        found: dict[str, str] = dict(self.base.execute("SELECT key, status FROM execution_steps WHERE run = ?", (run,)))
        for child, key in self.base.execute("SELECT id, parent_step FROM execution_runs WHERE parent_run = ?", (run,)):
            found |= {f"{key}.{step}": status for step, status in self.steps(child).items()}
        return found

    def waits(self) -> list[tuple[str, str, str, str, str | None, str | None]]:
        """Return what is waited for: id, run, key, kind, name, due."""
        return self.base.execute(
            "SELECT id, run, key, kind, name, due_at FROM execution_waits WHERE status = 'open' ORDER BY id"
        ).fetchall()

    # -- the person ---------------------------------------------------------------------------------------------------

    def attend(self) -> bool:
        """Do one thing that is waited for, as a person does who looks at the world; False if there is nothing."""
        waits = self.waits()
        for id_, run, key, kind, name, _ in waits:
            if kind == "approval":
                self.box.call("execution.approvals.approve", id=id_)
                return True
            if kind == "decision":
                self.decide(run, key)
                return True
            if kind == "signal":
                self.box.call("execution.runs.signal", id=run, name=name, dedupe_key=f"to {key}")
                return True
        due = [each[5] for each in waits if each[5] is not None]
        if due:
            self.advance(min(due))
        return bool(due)

    def decide(self, run: str, key: str) -> None:
        """Answer what a crash left undecided: look whether it happened, and say so."""
        self.asked += 1
        place = run, key
        if self.world.effects[place]:
            output = {"answer": self.world.answers[place]}
            self.box.call("execution.runs.resume", id=run, step=key, choice="done", output=output)
        else:
            self.box.call("execution.runs.resume", id=run, step=key, choice="retry")

    def advance(self, until: str) -> None:
        """Move the clock on to a moment."""
        ms = round(parse_instant(until).timestamp() * 1000)
        self.box.clock.ms = max(self.box.clock.ms, ms)
        if self.engine is not None:
            self.engine.wake()


def _hear_no_crash(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)
