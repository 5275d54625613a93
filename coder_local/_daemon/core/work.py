"""Waiting on the loop for the writer, and for work that must not run on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import Principal
from coder_local._store.caller import Caller
from coder_local._store.scope import ReadScope, WriteScope
from coder_local.api import Context, Snapshot, Transaction

T = TypeVar("T")


async def write(kernel: Kernel, ctx: Context, operation: str, work: Callable[[WriteScope], T]) -> T:
    """Run a function as one transaction of an action's caller, and return its answer after the commit."""
    return await submit(kernel, Caller(ctx.actor, ctx.workspace, operation), work)


async def submit(kernel: Kernel, caller: Caller, work: Callable[[WriteScope], T]) -> T:
    """Run a function as one transaction, and return its answer after the commit."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    kernel.store.submit(work, caller, _settle(future))
    return await future


async def alone(kernel: Kernel, operation: str, work: Callable[[], T]) -> T:
    """Run a function between two commits, on the writer's thread."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    kernel.store.alone(work, Caller("daemon", operation=operation), _settle(future))
    return await future


async def apart(work: Callable[[], T]) -> T:
    """Run a function on a thread of its own. A daemon thread: one that never ends must not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    settle = _settle(future)

    def run() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - whoever waits must get an answer
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await future


def reading(read: Snapshot) -> ReadScope:
    """Return the store's own side of a snapshot: the core's tables are no records."""
    assert isinstance(read, ReadScope)  # noqa: S101 - the store makes no others
    read.write_log()
    return read


def writing(tx: Transaction) -> WriteScope:
    """Return the store's own side of a transaction."""
    assert isinstance(tx, WriteScope)  # noqa: S101 - the store makes no others
    tx.write_log()
    return tx


def domains_of(scope: ReadScope) -> frozenset[str] | None:
    """Return the domains that the caller's token may speak to; None for all."""
    principal: Principal | None = scope.caller.principal
    return None if principal is None else principal.domains


def _settle(future: asyncio.Future[T]) -> Callable[[Any, BaseException | None], None]:
    def done(result: Any, error: BaseException | None) -> None:
        if future.done():  # its caller has gone
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return done
