"""A plugin to run steps in: operations that count their calls, and kinds of steps that a test holds by the hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from coder_local.api import (
    Conflict,
    Context,
    Domain,
    Effect,
    Event,
    Fault,
    Found,
    Record,
    Safety,
    Snapshot,
    StepError,
    StepKind,
    StepRun,
    Transaction,
    Value,
    WorkKind,
)

world = Domain("world")
secrets = Domain("secrets")


class State:
    """What happened in the world, and what a test says shall happen. Made anew for each test."""

    def __init__(self) -> None:
        self.kinds: list[StepKind[Any]] = [Work(), Pool()]
        self.begun: list[str] = []
        """Keys of the steps of kind `work` and `pool`, in the order in which their attempts began."""
        self.seen: list[tuple[str, int, str]] = []
        """Key, attempt and idempotency key of each."""
        self.ended: list[str] = []
        self.now: Counter[str] = Counter()
        """How many attempts of each kind go on."""
        self.most: Counter[str] = Counter()
        self.holders: Counter[str] = Counter()
        """How many hold each name that they say they hold."""
        self.crowds: list[str] = []
        """Names that two held at once."""
        self.calls: list[str] = []
        """What `world.add` and `world.send` were called with."""
        self.open: set[str] = set()
        """Keys of steps that are let go."""
        self._moved = asyncio.Event()

    def let_go(self, *keys: str) -> None:
        """Have some steps that hold come to their ends; without a key all of them."""
        self.open.update(keys or {"*"})
        self._moved.set()

    def moved(self) -> None:
        """Wake all that wait for something here."""
        self._moved.set()

    async def until(self, check: Callable[[], Any]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(20):
            while not check():
                self._moved = asyncio.Event() if self._moved.is_set() else self._moved
                await self._moved.wait()


state: State


def renew() -> State:
    """Make the world new."""
    global state  # noqa: PLW0603 - the plugin is one for the whole process, as plugins are
    state = State()
    return state


# -- kinds of steps ---------------------------------------------------------------------------------------------------


class WorkInput(Value):
    """A step that does what the test says."""

    output: Any = None
    fails: int = 0
    """How many attempts fail, the first ones."""
    word: str = "failed"
    final: bool = False
    """Whether a failure is one that doing it again cannot help."""
    hold: bool = False
    """Whether it goes on until it is let go."""
    effect: Effect = Effect.ONCE
    harm: Safety = Safety.READ
    holds: str | None = None
    """A name that it says it holds meanwhile."""
    say: str | None = None
    secret: str | None = None
    """A reference that it resolves, and whose text it is careless with."""
    size: int = 0
    """Length of an output that it makes."""
    odd: bool = False
    """Whether its output is a text that is none."""
    gives_up: bool = False
    """Whether it ends as if it were cancelled."""


class Work(WorkKind[WorkInput]):
    """Do what the test says."""

    name = "work"
    input = WorkInput

    def safety(self, read: Snapshot, input: WorkInput, /) -> Safety:
        return input.harm

    def effect(self, read: Snapshot, input: WorkInput, /) -> Effect:
        return input.effect

    def check(self, read: Snapshot, input: WorkInput, /) -> Iterable[Fault]:
        if input.word == "impossible":
            yield Fault("/word", "this cannot be", "say something else")

    async def run(self, step: StepRun, input: WorkInput, /) -> Any:
        state.begun.append(step.key)
        state.seen.append((step.key, step.attempt, step.idempotency_key))
        state.now[self.name] += 1
        state.most[self.name] = max(state.most[self.name], state.now[self.name])
        if input.holds is not None:
            state.holders[input.holds] += 1
            if state.holders[input.holds] > 1:
                state.crowds.append(input.holds)
        try:
            return await self._work(step, input)
        finally:
            state.now[self.name] -= 1
            if input.holds is not None:
                state.holders[input.holds] -= 1
            state.ended.append(step.key)
            state.moved()

    async def _work(self, step: StepRun, input: WorkInput) -> Any:
        secret = None if input.secret is None else await step.secret(input.secret)
        if input.say is not None:
            step.log(input.say if secret is None else f"{input.say} {secret}")
        state.moved()
        if input.hold:
            await state.until(lambda: state.open & {step.key, "*"})
        if step.attempt <= input.fails:
            told = f"attempt {step.attempt} failed" if secret is None else f"{secret} was wrong"
            raise StepError(told, word=input.word, retry=not input.final, data={"secret": secret})
        if input.gives_up:
            raise asyncio.CancelledError
        if input.odd:
            return "\ud800"
        if secret is not None:
            return {"echo": [f"<{secret}>"]}
        return "x" * input.size if input.size else input.output

    async def recover(self, step: StepRun, input: WorkInput, /) -> Found:
        if step.key in state.ended:
            return Found(state="done", output="it was done")
        return Found(state="not_begun") if step.key not in state.begun else Found(state="unknown", message="who knows")


class Pool(Work):
    """The same, in the place of a process."""

    name = "pool"
    process = True


@world.hook
def step_kinds() -> list[Any]:
    """Return the kinds that there are now; a test takes some away."""
    return list(state.kinds)


# -- operations -------------------------------------------------------------------------------------------------------


@world.table("things")
class Thing(Record):
    """Something that an operation made."""

    text: str


@world.event("world.thing.said")
class Said(Event):
    """Something was said."""

    text: str


things = world.standard(Thing, filters=("text",))


@world.command("world.add", emits=Said)
def add(tx: Transaction, *, text: str, fails: bool = False) -> Thing:
    """Keep a text."""
    state.calls.append(text)
    made = tx.insert(Thing(text=text))
    tx.emit(Said(text=text))
    if fails:
        raise Conflict("it cannot be added", data={"text": text})
    return made


@world.query("world.big")
def big(read: Snapshot, *, size: int) -> str:
    """Return a long text."""
    return "x" * size


@world.command("world.make_big")
def make_big(tx: Transaction, *, size: int) -> str:
    """Write something, and return a long text."""
    tx.insert(Thing(text="big"))
    return "x" * size


@world.command("world.again", safety=Safety.DESTRUCTIVE)
def again(tx: Transaction) -> str:
    """Start a run whose one step is this operation."""
    step = {"key": "again", "kind": "operation", "input": {"operation": "world.again"}}
    answer = tx.call("execution.start", steps=[step], name="again")
    return answer["run"]["id"]


@world.command("world.first_add", safety=Safety.DESTRUCTIVE)
def first_add(tx: Transaction) -> str:
    """Keep a text, and start a run; whatever is in the way of that is ignored."""
    tx.call("world.add", text="new")
    with suppress(BaseException):
        step = {"key": "x", "kind": "operation", "input": {"operation": "world.add", "input": {"text": "x"}}}
        return str(tx.call("execution.start", steps=[step])["run"]["id"])
    return "none"


@world.action("world.again_outside", safety=Safety.DESTRUCTIVE)
async def again_outside(ctx: Context) -> str:
    """Start a run whose one step is this operation, from outside a transaction."""
    await asyncio.sleep(0)
    step = {"key": "again", "kind": "operation", "input": {"operation": "world.again_outside"}}
    answer = await ctx.call("execution.start", steps=[step], name="again")
    return answer["run"]["id"]


@world.action("world.send")
async def send(ctx: Context, *, text: str) -> str:
    """Do something outside."""
    state.calls.append(text)
    return text


@world.command("world.burn", safety=Safety.DESTRUCTIVE)
def burn(tx: Transaction) -> str:
    """Do something bad."""
    state.calls.append("burn")
    return "burnt"


@world.command("world.sign", person_only=True)
def sign(tx: Transaction) -> str:
    """Do what only a person may."""
    state.calls.append("sign")
    return tx.actor


SECRET = "hunter2-and-more"


@secrets.query("secrets.resolve")
def resolve(read: Snapshot, *, reference: str) -> str:
    """Return the text that a reference stands for."""
    return SECRET
