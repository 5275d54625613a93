"""An engine over a store in memory, and short words for what every test does with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Error, Refused
from coder_local.testing.memory import Sandbox
from coder_plugins.execution.engine.engine import Engine
from coder_plugins.execution.machine import live

from .world import State

ENDS = ("succeeded", "failed", "cancelled", "timed_out")
LIMIT_S = 10.0


def step(key: str, kind: str, input: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a step as it is written."""
    return {"key": key, "kind": kind, "input": input or {}, **more}


def work(key: str, needs: list[str] | str = "", **more: Any) -> dict[str, Any]:
    """Return a step of kind `work`: what its input has goes into its input, the rest into the step."""
    return _work(key, "work", needs, more)


def pool(key: str, needs: list[str] | str = "", **more: Any) -> dict[str, Any]:
    """Return a step that takes the place of a process."""
    return _work(key, "pool", needs, more)


_OWN = (
    "output",
    "fails",
    "word",
    "final",
    "hold",
    "effect",
    "harm",
    "holds",
    "say",
    "secret",
    "size",
    "odd",
    "gives_up",
)


def _work(key: str, kind: str, needs: list[str] | str, more: dict[str, Any]) -> dict[str, Any]:
    own = {name: more.pop(name) for name in _OWN if name in more}
    return step(key, kind, own, needs=needs.split() if isinstance(needs, str) else needs, **more)


def operation(key: str, name: str, needs: str = "", *, more: dict[str, Any] | None = None, **input: Any) -> Any:
    """Return a step of kind `operation`; what is no part of the operation's input goes into `more`."""
    return step(key, "operation", {"operation": name, "input": input}, needs=needs.split(), **(more or {}))


def command(key: str, *run: str | float, needs: str = "", more: dict[str, Any] | None = None, **input: Any) -> Any:
    """Return a step of kind `command`; without arguments `shell` is given."""
    given = {"run": list(run), **input} if run else input
    return step(key, "command", given, needs=needs.split(), **(more or {}))


class Bench:
    """One store, one engine at a time, one world."""

    def __init__(self, box: Sandbox, folder: Path, world: State) -> None:
        self.box = box
        self.folder = folder
        self.world = world
        self.ctx = box.kernel.dispatcher.context("execution", "execution")
        self.engine = Engine(self.ctx)
        self.call = box.call

    # -- the engine ---------------------------------------------------------------------------------------------------

    async def crash(self) -> None:
        """End the engine as SIGKILL would: it writes nothing more, and what goes on without it goes on."""
        tasks = [*self.engine._tasks, *self.engine.carrying.tasks]
        for task in self.engine._tasks:
            task.cancel()
        for carried in self.engine.carrying._attempts.values():
            carried.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        live._lives.clear()
        live._graphs.clear()

    async def restart(self) -> None:
        """Start an engine anew, after a crash."""
        self.engine = Engine(self.ctx)
        await self.engine.start()

    async def advance(self, seconds: float) -> None:
        """Move the clock on the wall, and have the engine look at it."""
        self.box.clock.advance(seconds)
        await self.turn()

    async def turn(self) -> None:
        """Have the engine make whole turns until nothing moves any more."""
        while True:
            before = self._moves()
            turns = self.engine.turns
            self.engine.wake()
            async with asyncio.timeout(LIMIT_S):
                while self.engine.turns < turns + 2:  # one that began before now, and one after it
                    self.engine.wake()
                    await asyncio.sleep(0)
            if before == self._moves():
                return

    def _moves(self) -> list[tuple[Any, ...]]:
        scope = self.box.kernel.store
        return scope.read(lambda read: read.rows("SELECT id, moves FROM execution_runs"), self.box._caller())

    # -- runs ---------------------------------------------------------------------------------------------------------

    def start(self, *steps: dict[str, Any], **options: Any) -> str:
        """Start a run and return its id; it works in the folder of the test."""
        options.setdefault("folder", str(self.folder))
        options.setdefault("external", True)  # whoever starts it agrees to all that it does
        return self.call("execution.start", steps=list(steps), **options)["run"]["id"]

    def run(self, id: str) -> dict[str, Any]:
        return self.call("execution.runs.get", id=id, limit=1)["run"]

    def status(self, id: str) -> str:
        return self.run(id)["status"]

    def steps(self, id: str) -> dict[str, dict[str, Any]]:
        """Return the steps of a run by key."""
        found = self.call("execution.runs.get", id=id, limit=500)
        steps = list(found["steps"])
        while found["next_cursor"] is not None:
            found = self.call("execution.runs.get", id=id, limit=500, cursor=found["next_cursor"])
            steps += found["steps"]
        return {each["key"]: each for each in steps}

    def statuses(self, id: str) -> dict[str, str]:
        return {key: each["status"] for key, each in self.steps(id).items()}

    def waits(self, id: str) -> dict[str, dict[str, Any]]:
        """Return the open waits of a run by step."""
        return {each["key"]: each for each in self.call("execution.runs.get", id=id)["waits"]}

    def attempts(self, id: str, key: str) -> list[dict[str, Any]]:
        return self.call("execution.steps.get", run=id, step=key)["attempts"]

    def rows(self, table: str) -> int:
        """Return how many rows there are in a table of execution."""
        store = self.box.kernel.store
        sql: Any = f"SELECT count(*) FROM execution_{table}"
        return store.read(lambda read: read.rows(sql), self.box._caller())[0][0]

    async def until(self, id: str, *statuses: str) -> dict[str, Any]:
        """Wait until a run has one of some statuses, without any until it is at its end; return the run."""
        wanted = statuses or ENDS
        await self.so(lambda: self.status(id) in wanted)
        return self.run(id)

    async def until_step(self, id: str, key: str, *statuses: str) -> dict[str, Any]:
        """Wait until a step has one of some statuses, and return it."""
        await self.so(lambda: key in (found := self.steps(id)) and found[key]["status"] in statuses)
        return self.steps(id)[key]

    async def so(self, check: Callable[[], Any]) -> None:
        """Wait until something is so, looking at each event; fails after a while."""
        with self.ctx.subscribe() as heard:
            async with asyncio.timeout(LIMIT_S):
                while not check():
                    await anext(heard)

    async def finish(self, *steps: dict[str, Any], **options: Any) -> str:
        """Run some steps to the end of their run, and return its id."""
        id = self.start(*steps, **options)
        await self.until(id)
        return id

    def events(self, *words: str) -> list[str]:
        """Return the types of the events that were said, without the first word; only some, if any are given."""
        found = [each.type.removeprefix("execution.") for each in self.box.events]
        return [each for each in found if not words or each in words]

    # -- errors -------------------------------------------------------------------------------------------------------

    def refused(self, *steps: dict[str, Any], **options: Any) -> Error:
        """Start what cannot run; return the error, and see to it that nothing was written or done."""
        before = [self.rows(table) for table in ("runs", "steps", "definitions", "attempts")], len(self.box.events)
        with pytest.raises(Error) as caught:
            self.start(*steps, **options)
        assert (
            [self.rows(table) for table in ("runs", "steps", "definitions", "attempts")],
            len(self.box.events),
        ) == before
        assert not self.world.calls
        assert not self.world.begun
        return caught.value


def wrong(error: Error, kind: type[Error], field: str, *parts: str) -> None:
    """Hold an error to its kind, the field that it names, and words of its message and hint."""
    assert isinstance(error, kind), error
    assert not isinstance(error, Refused) or kind is Refused
    assert error.field == field, (error.field, error.message)
    told = f"{error.message} | {error.hint}"
    for part in parts:
        assert part in told, told
