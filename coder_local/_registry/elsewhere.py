"""Queries and commands whose functions are in another process; what a command did there is committed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from coder_local._store import idempotency
from coder_local._store.scope import WriteScope
from coder_local.api import Kind

from .answers import settle
from .principal import caller_of

if TYPE_CHECKING:
    from coder_local._isolation.steps import Plan

    from .context import OutsideContext
    from .dispatch import Call, Dispatcher
    from .registry import Prepared
    from .remote import RemotePlugin

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


class _Command:
    """A command whose function is elsewhere, on its way through the writer."""

    def __init__(
        self, dispatcher: Dispatcher, apart: RemotePlugin, call: Call, input: Any, deadline: float
    ) -> None:
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
        from .dispatch import question_of  # noqa: PLC0415 - it imports this module

        question = question_of(input)
        return await self._write(lambda scope: idempotency.replay(scope, input.idempotency_key, question))

    async def commit(self, plan: Plan) -> bytes:
        """Do on the writer what the command did in its process. Raises `Moved` if it must be run again."""
        from .dispatch import once  # noqa: PLC0415 - it imports this module

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
