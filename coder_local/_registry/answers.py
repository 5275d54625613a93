"""Answers and ways to wait for them that more than one kind of call shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from coder_local.api import TimedOut


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
