"""What an action, a stream, and the work of a plugin by itself are handed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, LiteralString, ParamSpec, TypeVar

import msgspec

from coder_local._store.caller import Caller
from coder_local._store.clock import instant
from coder_local._store.scope import ReadScope
from coder_local.api import Context, Error, Instant, Operation, Rights, Settings, Snapshot, Subscription, Transaction
from coder_local.api.errors import Unauthenticated

from .answers import late, settle
from .hearing import Hearing
from .principal import Principal, principal_of, rights_of

if TYPE_CHECKING:
    from .dispatch import Call, Dispatcher

P = ParamSpec("P")
S = TypeVar("S", bound=Settings)
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class OutsideContext(Context):
    """A context for one caller; `principal.confirmed` says what its calls may be."""

    deadline = 10.0
    """Seconds that a function of `transact` or `read` has."""

    def __init__(self, dispatcher: Dispatcher, call: Call, principal: Principal, *, kept: bool = False) -> None:
        self._dispatcher = dispatcher
        self._call = call
        self.request_id = call.request_id
        self._principal = principal
        self._kept = kept  # rights of another day: their token may have been revoked since
        self._domain = call.name.partition(".")[0]
        self.actor = principal.actor
        self.workspace = principal.workspace

    def now(self) -> Instant:
        return instant(self.now_ms())

    def now_ms(self) -> int:
        return self._dispatcher.store.clock.now_ms()

    async def call(self, name: LiteralString, /, **input: Any) -> Any:
        self._refuse_revoked()
        registry = self._dispatcher.registry
        if not registry.offers(name):
            raise registry.unsupported(name)
        body = await self._dispatcher.call(name, _encode(input), self._principal, self.request_id)
        return msgspec.json.decode(body)

    def offers(self, name: LiteralString, /) -> bool:
        return self._dispatcher.registry.offers(name)

    def operation(self, name: str, /) -> Operation:
        return self._dispatcher.registry.operation(name)

    def settings(self, settings: type[S], /) -> S:
        current: S = self._dispatcher.registry.settings_of(settings)
        return current

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        if self._call.progress is not None:
            self._call.progress(done, total, message)

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:
        return self._dispatcher.registry.offered(hook, **arguments)

    @contextmanager
    def at_work(self) -> Generator[None]:
        self._dispatcher.at_work += 1
        try:
            yield
        finally:
            self._dispatcher.at_work -= 1

    @property
    def folder(self) -> Path:
        return self._dispatcher.registry.folder_of(self._domain)

    # -- on behalf of somebody ----------------------------------------------------------------------------------------

    def rights(self) -> Rights:
        return rights_of(self._principal, self._principal.confirmed or ())

    def acting(self, rights: Rights, request_id: str = "") -> Context:
        made = OutsideContext(self._dispatcher, self._call, principal_of(rights), kept=True)
        made.request_id = request_id
        return made

    def _holds(self) -> bool:
        return not self._kept or self._principal.token is None or self._dispatcher.gate.holds(self._principal)

    def _refuse_revoked(self) -> None:
        if not self._holds():
            raise Unauthenticated("this token was revoked", hint="make another with tokens.create")

    # -- in the database ----------------------------------------------------------------------------------------------

    async def transact(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        self._refuse_revoked()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._dispatcher.store.submit(
            lambda scope: function(scope, *args, **kw), self._caller(function), settle(future), deadline=self.deadline
        )
        return await future

    async def read(self, function: Callable[Concatenate[Snapshot, P], T], /, *args: P.args, **kw: P.kwargs) -> T:
        self._refuse_revoked()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        stopped: list[Error] = []

        def go_on() -> None:
            if stopped:
                raise stopped[0]

        def work(scope: ReadScope) -> T:
            scope.go_on = go_on
            return function(scope, *args, **kw)

        caller = self._caller(function)
        token = self._dispatcher.store.read_apart(work, caller, settle(future))
        if token is None:
            return await future
        over = late(caller.operation, self.deadline)
        timer = loop.call_later(self.deadline, settle(future), None, over)
        try:
            return await future
        finally:
            timer.cancel()
            stopped.append(over)  # its answer is known, or nobody waits for it any more
            token.interrupt()

    def _caller(self, function: Callable[..., Any]) -> Caller:
        """Return on whose behalf a function of the plugin runs in the store, and under which name."""
        principal = self._principal
        word = getattr(function, "__name__", "").lstrip("_")
        return Caller(
            self.actor,
            self.workspace,
            f"{self._domain}.{word if word.isidentifier() else 'transaction'}",
            self.request_id,
            principal=None if principal.unbound else principal,
            confirmed=principal.confirmed,
        )

    # -- listening ----------------------------------------------------------------------------------------------------

    def subscribe(self, *types: str, subjects: Sequence[str] = (), cursor: str | None = None) -> Subscription:
        self._refuse_revoked()
        feed, gate, principal = self._dispatcher.feed, self._dispatcher.gate, self._principal
        assert feed is not None, "nothing is called before the store is open"  # noqa: S101 - for the type checker
        return Hearing(feed, types, subjects, cursor, lambda type_: gate.may_hear(principal, type_), self._holds)
