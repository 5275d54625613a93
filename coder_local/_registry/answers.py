"""Answers and ways to wait for them that more than one kind of call shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from coder_local._store import idempotency
from coder_local._store.scope import WriteScope
from coder_local.api import TimedOut

_encode = msgspec.json.Encoder().encode


def late(name: str, deadline: float) -> TimedOut:
    """Return the answer to a call that was stopped at its deadline."""
    return TimedOut(f"{name} took longer than {deadline:g} s and was stopped")


def cancelled(name: str) -> TimedOut:
    """Return the answer to a call that its caller cancelled."""
    return TimedOut(f"{name} was cancelled", data={"cancelled": True})


def settle(future: asyncio.Future[Any]) -> Callable[[Any, BaseException | None], None]:
    """Return what hands a result or an error to whoever waits for a future, if somebody still does."""

    def done(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return done


def question_of(input: Any) -> bytes:
    """Return what must be the same in a repeated call of a command."""
    return _encode(msgspec.structs.replace(input, idempotency_key=None, confirm=None))


def once(scope: WriteScope, input: Any, run: Callable[[], bytes]) -> bytes:
    """Return a command's answer, which is that of the first call where its key was used before."""
    key = input.idempotency_key
    if key is None:
        return run()
    question = question_of(input)
    answer = idempotency.replay(scope, key, question)
    if answer is None:
        answer = run()
        idempotency.keep(scope, key, question, answer)
    else:
        scope.expected = None  # it was held to its rev the first time
    return answer
