"""Operations of every kind that end, fail or wait when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from coder_local._registry.dispatch import Call, Cancel
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER, Principal
from coder_local.api import Conflict, Context, Domain, Error, Safety, Snapshot, Transaction

MARK: ContextVar[str] = ContextVar("mark", default="")
"""What a caller leaves for what it calls."""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
"""A read that ends only when it is interrupted."""


class Asked:
    """One call, and every answer that it got."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, Error | None]] = []
        self.items: list[Any] = []
        self.answered = asyncio.Event()
        self.cancel: Cancel | None = None

    def take(self, body: bytes | None, error: Error | None) -> None:
        self.answers.append((None if body is None else json.loads(body), error))
        self.answered.set()

    async def answer(self) -> Any:
        """Wait for the answer. Raises the named error, if that is what it is."""
        async with asyncio.timeout(30):
            await self.answered.wait()
        ((body, error),) = self.answers
        if error is not None:
            raise error
        return body

    async def error(self) -> Error:
        """Wait for the answer, which must be an error."""
        try:
            body = await self.answer()
        except Error as error:
            return error
        raise AssertionError(f"it answered {body!r}")


class Probe:
    """A kernel with a domain `probe`, whose operations the test holds in its hand, and a domain `other`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.held = threading.Event()
        """Set when `probe.hold` has the writer."""
        self.release = threading.Event()
        """Lets `probe.hold` go on."""
        self.began = asyncio.Event()
        self.ended: list[str] = []
        """What became of actions and streams."""
        self.ran: list[str] = []
        self.domain, self.other = Domain("probe"), Domain("other")
        _declare_inside(self, self.domain)
        _declare_loops(self, self.domain)
        _declare_outside(self, self.domain)
        _declare_calls(self.domain)
        _declare_other(self.other)

    def ask(self, name: str, principal: Principal = OWNER, /, **input: Any) -> Asked:
        asked = Asked()
        call = Call(
            name,
            json.dumps(input).encode(),
            principal,
            asked.take,
            item=lambda item: asked.items.append(json.loads(item)),
        )
        asked.cancel = self.kernel.dispatcher.start(call)
        return asked


def _declare_inside(probe: Probe, domain: Domain) -> None:
    @domain.query("probe.endless", deadline=30)
    def endless(read: Snapshot) -> int:
        """Read until interrupted."""
        return int(read.rows(ENDLESS)[0][0])

    @domain.query("probe.late", deadline=0.1)
    def late(read: Snapshot) -> int:
        """Read until the deadline."""
        return int(read.rows(ENDLESS)[0][0])

    @domain.query("probe.hold_read", deadline=60)
    def hold_read(read: Snapshot) -> str:
        """Hold the reader until released."""
        probe.held.set()
        probe.release.wait(60)
        return "held"

    @domain.query("probe.brief", deadline=0.1)
    def brief(read: Snapshot) -> int:
        """Answer at once, if it comes to it."""
        probe.ran.append("brief")
        return 1

    @domain.query("probe.ask")
    def ask(read: Snapshot, *, mode: str) -> str:
        """Answer, or fail."""
        return _end(mode)

    @domain.command("probe.hold", deadline=60)
    def hold(tx: Transaction) -> str:
        """Hold the writer until released."""
        probe.held.set()
        probe.release.wait(60)
        return "held"

    @domain.command("probe.sluggish", deadline=0.1)
    def sluggish(tx: Transaction, *, seconds: float = 0.0) -> int:
        """Write, then wait where nothing of Python runs."""
        number = tx.number("probe")
        threading.Event().wait(seconds)
        return number

    @domain.command("probe.do", deadline=0.1)
    def do(tx: Transaction, *, mode: str = "ok") -> str:
        """Write down that it ran, or fail."""
        probe.ran.append(mode)
        return _end(mode)


def _declare_loops(probe: Probe, domain: Domain) -> None:
    @domain.query("probe.spin", deadline=0.2)
    def spin(read: Snapshot) -> int:
        """Read a little, again and again, until told not to go on."""
        try:
            while not probe.release.is_set():
                read.rows("SELECT 1")
        finally:
            probe.ended.append("spin")
        return 1

    @domain.query("probe.loop", deadline=0.2)
    def loop(read: Snapshot) -> int:
        """Loop in Python until released, whatever goes wrong in it."""
        turns = 0
        try:
            while not probe.release.is_set():
                with contextlib.suppress(Exception):
                    turns += 1
        finally:
            probe.ended.append("loop")
        return turns


def _declare_outside(probe: Probe, domain: Domain) -> None:
    async def wait(name: str) -> None:
        probe.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            probe.ended.append(name)
            raise

    @domain.action("probe.act", safety=Safety.READ)
    async def act(ctx: Context, *, mode: str) -> str:
        """Answer, fail, or wait until cancelled."""
        await asyncio.sleep(0)
        if mode == "wait":
            await wait("act")
        return _end(mode)

    @domain.action("probe.act_late", safety=Safety.READ, deadline=0.1)
    async def act_late(ctx: Context) -> None:
        """Wait until the deadline."""
        await wait("act_late")

    @domain.stream("probe.follow")
    async def follow(ctx: Context, *, mode: str, count: int = 3) -> AsyncIterator[int]:
        """Yield numbers, then end, fail, or wait."""
        try:
            for number in range(count):
                yield number
            if mode == "wait":
                await wait("follow")
            _end(mode)
        finally:
            probe.ended.append("closed")


def _declare_calls(domain: Domain) -> None:
    @domain.query("probe.relay_query")
    def relay_query(read: Snapshot, *, name: str, input: dict[str, Any]) -> Any:
        """Call another operation from a query."""
        return read.call(name, **input)  # type: ignore[arg-type]

    @domain.command("probe.relay_command")
    def relay_command(tx: Transaction, *, name: str, input: dict[str, Any]) -> Any:
        """Call another operation from a command."""
        return tx.call(name, **input)  # type: ignore[arg-type]

    @domain.command("probe.look_around")
    def look_around(tx: Transaction) -> list[str]:
        """Tell on which thread it runs, and what its caller left in its context."""
        return [threading.current_thread().name, MARK.get()]

    @domain.action("probe.relay_action", safety=Safety.WRITE)
    async def relay_action(ctx: Context, *, name: str, input: dict[str, Any]) -> Any:
        """Call another operation from an action."""
        return await ctx.call(name, **input)  # type: ignore[arg-type]

    @domain.query("probe.offers")
    def offers(read: Snapshot, *, name: str) -> bool:
        """Tell whether an operation is there."""
        return read.offers(name)  # type: ignore[arg-type]


def _declare_other(domain: Domain) -> None:
    @domain.query("other.double")
    def double(read: Snapshot, *, number: int) -> int:
        """Double a number."""
        return number * 2

    @domain.command("other.set")
    def set_(tx: Transaction, *, number: int) -> int:
        """Take a number."""
        return number

    @domain.command("other.wipe", safety=Safety.DESTRUCTIVE)
    def wipe(tx: Transaction) -> str:
        """Lose something."""
        return "wiped"

    @domain.command("other.personal", person_only=True)
    def personal(tx: Transaction) -> str:
        """Decide what only a person may."""
        return "decided"

    @domain.command("other.wipe_all", safety=Safety.DESTRUCTIVE, person_only=True)
    def wipe_all(tx: Transaction) -> str:
        """Lose it by way of another operation."""
        return str(tx.call("other.wipe"))

    @domain.action("other.reach", safety=Safety.READ)
    async def reach(ctx: Context) -> str:
        """Reach out."""
        return "reached"


def _end(mode: str) -> str:
    if mode == "refuse":
        raise Conflict("as asked")
    if mode == "fault":
        raise RuntimeError("a fault of the plugin")
    if mode == "timeout":
        raise TimeoutError
    return mode
