"""What an action, a stream, and a start or stop are handed in a plugin's process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, LiteralString, ParamSpec, TypeVar

import msgspec

from coder_local._store.clock import instant
from coder_local.api import (
    Context,
    Heard,
    Instant,
    Operation,
    Rights,
    Settings,
    Snapshot,
    Subscription,
    Transaction,
)

from .asking import Run
from .draft import CLOCK, unsupported

if TYPE_CHECKING:
    from .child import Desk

P = ParamSpec("P")
S = TypeVar("S", bound=Settings)
T = TypeVar("T")
_json = msgspec.json.Encoder().encode


class ChildContext(Context):
    """A context whose calls go to the daemon, which looks whether the manifest and the caller's rights allow them."""

    def __init__(self, desk: Desk, run: Run) -> None:
        self._desk = desk
        self._run = run
        self.actor = run.caller.actor
        self.workspace = run.caller.workspace

    def now(self) -> Instant:
        return instant(self.now_ms())

    def now_ms(self) -> int:
        return CLOCK.now_ms()

    async def call(self, name: LiteralString, /, **input: Any) -> Any:
        body = await self._run.asker.answer(self._run.id, "call", name=name, input=_json(input))
        return msgspec.json.decode(body)

    def offers(self, name: LiteralString, /) -> bool:
        return self._run.offers(name)

    def settings(self, settings: type[S], /) -> S:
        found: S = self._run.settings_of(settings)
        return found

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        self._desk.channel.send(
            {"t": "progress", "run": self._run.id, "done": done, "total": total, "message": message[:1000]}
        )

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        return self._run.offered(hook, **arguments)

    def operation(self, name: str, /) -> Operation:
        return self._run.operation(name)

    def rights(self) -> Rights:
        return self._run.rights

    def acting(self, rights: Rights, request_id: str = "") -> Context:  # noqa: ARG002
        raise unsupported("acting on behalf of somebody else")

    async def transact(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        word = getattr(function, "__name__", "").lstrip("_")
        found: T = await self._desk.apart(
            self._desk.writer, lambda: self._desk.commit(self._run, lambda tx: function(tx, *args, **kw), word)[0]
        )
        return found

    async def read(self, function: Callable[Concatenate[Snapshot, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        found: T = await self._desk.apart(
            self._desk.reader, lambda: self._desk.look(self._run, lambda read: function(read, *args, **kw))
        )
        return found

    def subscribe(self, *types: str, subjects: Sequence[str] = (), cursor: str | None = None) -> Subscription:
        return _Subscription(self._run, types, subjects, cursor)

    @contextmanager
    def at_work(self) -> Generator[None]:
        number = self._run.wait("at_work")
        try:
            yield
        finally:
            self._run.wait("rest", number=number)

    @property
    def folder(self) -> Path:
        return self._run.folder_of("")


class _Subscription(Subscription):
    """Events, each asked for when the plugin is ready for it: the rest waits in the daemon's log."""

    def __init__(self, run: Run, types: Sequence[str], subjects: Sequence[str], cursor: str | None) -> None:
        self._run = run
        told = run.wait("subscribe", types=list(types), subjects=list(subjects), cursor=cursor)
        self._number: int | None = told["number"]
        self.cursor = told["cursor"]

    async def __anext__(self) -> Heard:
        if self._number is None:
            raise StopAsyncIteration
        told = await self._run.asker.answer(self._run.id, "heard", number=self._number)
        if told is None:
            raise StopAsyncIteration
        return msgspec.json.decode(told, type=Heard)

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            self._run.wait("unsubscribe", number=number)
