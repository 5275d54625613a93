"""Queries and commands whose functions are in another process; what a command did there is committed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from coder_local._store import consumers, idempotency
from coder_local._store.caller import Caller
from coder_local._store.consumers import Place
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.store import Store
from coder_local.api import Kind

from .answers import once, question_of, settle
from .principal import caller_of

if TYPE_CHECKING:
    from coder_local._isolation.steps import Plan

    from .context import OutsideContext
    from .dispatch import Call, Dispatcher
    from .registry import Prepared
    from .remote import RemotePlugin

HEARING_DEADLINE = 10.0
"""Seconds that a listener may take for one event."""
REPLAY_DEADLINE = 2.0
"""Seconds that the steps of a transaction may hold the writer."""
_encode = msgspec.json.Encoder().encode


async def answer(
    dispatcher: Dispatcher, apart: RemotePlugin, call: Call, prepared: Prepared, input: Any, context: OutsideContext
) -> bytes:
    """Have a query or a command run, and return its answer as JSON."""
    operation = prepared.operation
    raw = _encode({each.name: getattr(input, each.name) for each in prepared.signature.parameters})
    if operation.kind is Kind.QUERY:
        return await apart.inside("query", call.name, context, raw, None)
    command = _Command(dispatcher, apart, call, input, min(operation.deadline, REPLAY_DEADLINE))
    known = await command.known()
    return known or await apart.inside("command", call.name, context, raw, command.commit)


async def hear(
    apart: RemotePlugin,
    store: Store,
    context: Callable[[Caller], OutsideContext],
    name: str,
    seq: int,
    prepare: Callable[[ReadScope, consumers.Event], Caller],
) -> Place:
    """Have a listener hear an event, and return its place, which is saved in the transaction of what it did.

    Raises what `prepare` raises, which tells on whose behalf, and the error of the listener.
    """

    def look(scope: ReadScope) -> tuple[consumers.Event, Caller] | None:
        found = consumers.events(scope, store.epoch, consumers.place_of(scope, name), [seq])
        return (found[0], prepare(scope, found[0])) if found else None

    looked: asyncio.Future[tuple[consumers.Event, Caller] | None] = asyncio.get_running_loop().create_future()
    store.read_apart(look, Caller("daemon", operation=name), settle(looked))
    found = await looked
    if found is None:  # it was heard before, or is no longer in the log
        return Place(seq)
    event, caller = found

    async def commit(plan: Plan) -> bytes:
        def work(scope: WriteScope) -> bytes:
            if consumers.place_of(scope, name) < seq:
                with scope.part(caller) as inner:
                    apart.replay.run(inner, plan)
                consumers.keep(scope, name, Place(seq))
            return plan.answer

        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        store.submit(work, Caller("daemon", operation=name), settle(future), deadline=REPLAY_DEADLINE)
        return await future

    async with asyncio.timeout(HEARING_DEADLINE):
        await apart.inside("listener", name, context(caller), _encode(event.heard), commit)
    return Place(seq)


class _Command:
    """A command whose function is elsewhere, on its way through the writer."""

    def __init__(self, dispatcher: Dispatcher, apart: RemotePlugin, call: Call, input: Any, deadline: float) -> None:
        self._dispatcher = dispatcher
        self._apart = apart
        self._call = call
        self._input = input
        self._deadline = deadline

    async def known(self) -> bytes | None:
        """Return the answer of an earlier call with the same key: then nothing is run."""
        input = self._input
        if input.idempotency_key is None:
            return None
        question = question_of(input)
        found: bytes | None = await self._write(
            lambda scope: idempotency.replay(scope, input.idempotency_key, question)
        )
        return found

    async def commit(self, plan: Plan) -> bytes:
        """Do on the writer what the command did in its process. Raises `Moved` if it must be run again."""

        def work(scope: WriteScope) -> bytes:
            def play() -> bytes:
                self._apart.replay.run(scope, plan)
                return plan.answer

            return once(scope, self._input, play)

        input = self._input
        expected = None if input.if_rev is None else (str(getattr(input, "id", "")), input.if_rev)
        found: bytes = await self._write(work, expected)
        return found

    async def _write(self, work: Callable[[WriteScope], Any], expected: tuple[str, int] | None = None) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        caller = caller_of(self._call.principal, self._call.name, self._call.request_id)
        self._dispatcher.store.submit(work, caller, settle(future), expected=expected, deadline=self._deadline)
        return await future
