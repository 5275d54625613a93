"""An outside world for steps: it counts what is done to it, and can end the engine at every boundary.

A boundary is a moment between two things that a crash can part: before and after each commit of the engine, and before,
in the middle of and after each effect. There is a kind of step for each class of effect.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from coder_local.api import (
    Conflict,
    Domain,
    Effect,
    Found,
    Record,
    Safety,
    Snapshot,
    StepError,
    StepRun,
    Transaction,
    Value,
    WorkKind,
)

domain = Domain("world")
Place = tuple[str, str]
"""Run and key of a step."""


class Crash(BaseException):
    """The engine ends here, as by SIGKILL; nothing of it may go on."""


class Do(Value):
    """What a step does to the world."""

    fails: int = 0
    """How many attempts fail before one succeeds; -1 for all of them."""
    holds: bool = False
    """Whether it goes on until the world lets it go."""
    resource: str | None = None
    """What it must have for itself."""


class Process:
    """A program of the world: it goes on when the engine ends, and leaves its end behind."""

    def __init__(self, place: Place, input: Do) -> None:
        self.place = place
        self.input = input
        self.answer: str | None = None
        self.killed = False
        self.over = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self.over.is_set()


class Did(NamedTuple):
    """One effect, and the attempt that had it."""

    run: str
    key: str
    attempt: int


class World:
    """What is outside of the engine and of its database. Nothing here is lost by a crash."""

    def __init__(self) -> None:
        self.boundaries: list[str] = []
        """All that were passed, in order."""
        self.crash_at: set[int] = set()
        """Numbers of boundaries, 1 first, at which the engine ends."""
        self.crashed = False
        self.effects: Counter[Place] = Counter()
        """How often each step changed the world."""
        self.answers: dict[Place, Any] = {}
        """What the world answered to the change; a person who looks sees it."""
        self.did: list[Did] = []
        self.tries: Counter[Place] = Counter()
        self.keys: dict[str, Any] = {}
        """Answers to requests, by the key that a repeated one is known by."""
        self.files: dict[Place, str] = {}
        self.processes: dict[tuple[str, str, int], Process] = {}
        self.held: dict[str, Place] = {}
        """Who has each resource."""
        self.gates: dict[Place, asyncio.Event] = {}
        """Steps that go on until they are let go."""
        self.faults: list[str] = []
        """What must never have happened."""
        self.looks: Callable[[StepRun], str | None] = lambda _: None
        """Returns what is wrong with an effect that is about to be had, if anything is."""
        self.tasks: set[asyncio.Task[None]] = set()

    def boundary(self, name: str) -> None:
        """Pass a boundary, or end the engine at it."""
        if self.crashed:
            raise Crash(name)
        self.boundaries.append(name)
        if len(self.boundaries) in self.crash_at:
            self.crashed = True
            raise Crash(name)

    # -- what steps do ------------------------------------------------------------------------------------------------

    def change(self, place: Place) -> Any:
        """Have an effect, and return an answer that is never given again."""
        self.effects[place] += 1
        self.answers[place] = secrets.token_hex(4)
        return self.answers[place]

    def look_at(self, step: StepRun) -> Place:
        """Note that an attempt is about to have an effect, and return its place."""
        fault = self.looks(step)
        if fault is not None:
            self.faults.append(fault)
        self.did.append(Did(step.run, step.key, step.attempt))
        return step.run, step.key

    def fail(self, place: Place, input: Do) -> None:
        """Fail, if this is one of the attempts that do."""
        self.tries[place] += 1
        if input.fails < 0 or self.tries[place] <= input.fails:
            raise StepError(f"try {self.tries[place]} failed", word="connection")

    async def hold(self, place: Place, input: Do) -> None:
        """Go on until the world lets the step go, if it is one of those."""
        if input.holds:
            await self.gates.setdefault(place, asyncio.Event()).wait()
        await asyncio.sleep(0)

    def spawn(self, step: StepRun, input: Do) -> Process:
        """Begin a program."""
        place = self.look_at(step)
        process = self.processes[(*place, step.attempt)] = Process(place, input)
        if input.resource is not None:
            other = self.held.setdefault(input.resource, place)
            if other != place:
                self.faults.append(f"{place} and {other} had {input.resource} at once")
        task = asyncio.create_task(self._live(process))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return process

    async def _live(self, process: Process) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await self.hold(process.place, process.input)
        if process.alive:
            process.answer = self.change(process.place)
            self.end(process)

    def end(self, process: Process) -> None:
        """Bring a program to its end."""
        process.over.set()
        if process.input.resource is not None and self.held.get(process.input.resource) == process.place:
            del self.held[process.input.resource]

    def kill(self, process: Process) -> None:
        """End a program before it did anything."""
        if process.alive:
            process.killed = True
            self.end(process)

    @property
    def ticking(self) -> bool:
        """Whether a program will come to its end by itself."""
        return any(each.alive and (not each.input.holds or self._let_go(each)) for each in self.processes.values())

    def _let_go(self, process: Process) -> bool:
        gate = self.gates.get(process.place)
        return gate is not None and gate.is_set()


_worlds: list[World] = []


def use(world: World) -> None:
    """Have the kinds of steps act on a world from now on."""
    _worlds[:] = [world]


def here() -> World:
    """Return the world that the kinds of steps act on."""
    return _worlds[0]


# -- kinds of steps ---------------------------------------------------------------------------------------------------


class WorldKind(WorkKind[Do]):
    """What all kinds of this world have in common."""

    input = Do
    effect_class: Effect

    def safety(self, read: Snapshot, input: Do, /) -> Safety:
        return Safety.WRITE

    def effect(self, read: Snapshot, input: Do, /) -> Effect:
        return self.effect_class


class Read(WorldKind):
    """Look at the world."""

    name = "w.read"
    effect_class = Effect.REPEATABLE

    async def run(self, step: StepRun, input: Do, /) -> Any:
        world, place = here(), (step.run, step.key)
        world.boundary(f"before {step.key}")
        world.fail(place, input)
        await world.hold(place, input)
        world.boundary(f"after {step.key}")
        return {"seen": secrets.token_hex(4)}


class Pay(WorldKind):
    """Change the world for good, and nobody can tell whether it was."""

    name = "w.once"
    effect_class = Effect.ONCE

    async def run(self, step: StepRun, input: Do, /) -> Any:
        world, place = here(), (step.run, step.key)
        world.boundary(f"before {step.key}")
        world.fail(place, input)
        await world.hold(place, input)
        answer = world.change(world.look_at(step))
        world.boundary(f"middle of {step.key}")
        await asyncio.sleep(0)
        world.boundary(f"after {step.key}")
        return {"answer": answer}


class Send(WorldKind):
    """Change the world by a request that it knows again by its key. A try that fails has lost only the answer."""

    name = "w.keyed"
    effect_class = Effect.KEYED

    async def run(self, step: StepRun, input: Do, /) -> Any:
        world, place = here(), (step.run, step.key)
        world.boundary(f"before {step.key}")
        world.look_at(step)
        if step.idempotency_key not in world.keys:
            world.keys[step.idempotency_key] = world.change(place)
        world.boundary(f"middle of {step.key}")
        world.fail(place, input)
        await world.hold(place, input)
        world.boundary(f"after {step.key}")
        return {"answer": world.keys[step.idempotency_key]}


class Edit(WorldKind):
    """Write a file, of which is known how it was before and how it will be."""

    name = "w.checkable"
    effect_class = Effect.CHECKABLE

    def prepares(self, input: Do, /) -> bool:
        return True

    async def prepare(self, step: StepRun, input: Do, /) -> dict[str, Any]:
        world = here()
        world.boundary(f"prepare {step.key}")
        await asyncio.sleep(0)
        return {"before": world.files.get((step.run, step.key), "absent"), "after": step.key}

    async def run(self, step: StepRun, input: Do, /) -> Any:
        world, place = here(), (step.run, step.key)
        world.boundary(f"before {step.key}")
        world.fail(place, input)
        world.look_at(step)
        world.boundary(f"middle of {step.key}")  # the new content lies beside the file, not yet in its place
        world.files[place] = step.facts["after"]
        world.change(place)
        await world.hold(place, input)
        world.boundary(f"after {step.key}")
        return {"file": step.facts["after"]}

    async def recover(self, step: StepRun, input: Do, /) -> Found:
        world = here()
        world.boundary(f"look at {step.key}")
        now = world.files.get((step.run, step.key), "absent")
        if now == step.facts["after"]:
            return Found(state="done", output={"file": now})
        return Found(state="not_begun" if now == step.facts["before"] else "unknown")


class Work(WorldKind):
    """Run a program of the world."""

    name = "w.adoptable"
    effect_class = Effect.ADOPTABLE
    process = True

    async def run(self, step: StepRun, input: Do, /) -> Any:
        world = here()
        world.boundary(f"before {step.key}")
        world.fail((step.run, step.key), input)
        process = world.spawn(step, input)
        world.boundary(f"middle of {step.key}")
        return await self._watch(step, process)

    async def recover(self, step: StepRun, input: Do, /) -> Found:
        world = here()
        world.boundary(f"look at {step.key}")
        process = world.processes.get((step.run, step.key, step.attempt))
        if process is None:
            return Found(state="not_begun")
        return Found(state="done", output=await self._watch(step, process))

    async def _watch(self, step: StepRun, process: Process) -> Any:
        world = here()
        try:
            await process.over.wait()
        except asyncio.CancelledError:
            if world.crashed or step.parking:
                raise
            world.boundary(f"stop of {step.key}")
            world.kill(process)
            await asyncio.sleep(0)
            raise StepError("it was stopped", word="stopped") from None
        world.boundary(f"after {step.key}")
        if process.killed:
            raise StepError("it was stopped", word="stopped")
        return {"answer": process.answer}


@domain.hook
def step_kinds() -> list[Any]:
    """Return the kinds of steps of this world."""
    return [Read(), Pay(), Send(), Edit(), Work()]


# -- what is in the database ------------------------------------------------------------------------------------------


@domain.table("marks")
class Mark(Record):
    """A change of our own database."""

    label: str


@domain.command("world.mark")
def mark(tx: Transaction, *, label: str, fails: bool = False) -> Mark:
    """Make a mark, and fail afterwards if that is asked for."""
    made = tx.insert(Mark(label=label))
    if fails:
        raise Conflict("it was made to fail")
    return made
