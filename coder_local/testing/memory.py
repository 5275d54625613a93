"""Plugins in memory: the real store and dispatcher, without a daemon, a file or a thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

import msgspec

from coder_local._registry.dispatch import Call
from coder_local._registry.listeners import BACK_OFF
from coder_local._registry.principal import OWNER, Principal, caller_of
from coder_local._store import changes
from coder_local._store.caller import Caller
from coder_local._store.clock import FakeClock
from coder_local.api import DeclarationError, Error, Kind, Settings, Snapshot, Transaction

from .loading import PluginLike, open_kernel

if TYPE_CHECKING:
    from types import TracebackType

    from coder_local._registry.kernel import Kernel
    from coder_local._registry.registry import Prepared

S = TypeVar("S", bound=Settings)
_encode = msgspec.json.Encoder().encode
_ALL = 1_000_000


class Said(NamedTuple):
    """One event as the log has it."""

    type: str
    """`notes.note.pinned`"""
    subject: str
    """`notes.note/<id>`"""
    data: dict[str, Any]


class Progress(NamedTuple):
    """What an action reported."""

    done: float
    total: float | None
    message: str


def sandbox(*plugins: PluginLike, clock: FakeClock | None = None) -> Sandbox:
    """Open some plugins in memory with their migrations applied.

    A plugin is given as its `Domain`, or as the folder of its package. A domain that no package holds (one declared in
    the test itself) gets the tables of its records. Raises `DeclarationError`, saying what must change, if a plugin
    cannot be loaded or its migrations do not make what its records need.
    """
    return Sandbox(open_kernel(plugins, clock or FakeClock()))


class Sandbox:
    """Plugins in memory. Everything runs at once, on the calling thread; `close`, or the end of `with`, ends it."""

    def __init__(self, kernel: Kernel, principal: Principal = OWNER, *, shares: Sandbox | None = None) -> None:
        self.kernel = kernel
        self.progress: list[Progress] = [] if shares is None else shares.progress
        """What actions reported, in order."""
        self._principal = principal
        self._shares = shares  # keeps the one that closes the store alive
        self._settings: dict[type[Settings], Settings] = {} if shares is None else shares._settings
        if shares is None:
            given = self._settings
            kernel.registry.settings_of = lambda settings: given[settings] if settings in given else settings()
            self._end = weakref.finalize(self, kernel.store.close)

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(self, name: str, /, **input: Any) -> Any:
        """Run a query or a command as a caller would, and return its answer as plain data.

        Raises the named error of `coder_local.api`; a fault inside the plugin is `Broken`, with the fault as its cause.
        """
        prepared = self.kernel.registry.find(name)
        if prepared is not None and prepared.operation.kind in {Kind.ACTION, Kind.STREAM}:
            raise TypeError(f"{name} is a {prepared.operation.kind}: use `await box.acall({name!r}, ...)`")
        head = self._head()
        answers: list[tuple[bytes | None, Error | None]] = []
        call = Call(name, _encode(input), self._principal, lambda body, error: answers.append((body, error)))
        self.kernel.dispatcher.start(call)
        body, error = answers[0]
        if error is not None:
            raise error
        if prepared is not None:
            self._hold_to_declaration(prepared, body or b"null", head)
        return msgspec.json.decode(body or b"null")

    async def acall(self, name: str, /, **input: Any) -> Any:
        """Run any operation and return its answer as plain data; of a stream, the list of all its items."""
        prepared = self.kernel.registry.find(name)
        if prepared is not None and prepared.operation.kind is Kind.STREAM:
            return [item async for item in self.items(name, **input)]
        if prepared is None or prepared.operation.kind is not Kind.ACTION:
            return self.call(name, **input)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        cancel = self._start(name, input, _settle(future))
        try:
            body = await future
        finally:
            cancel()
        self._hold_to_declaration(prepared, body, None)
        return msgspec.json.decode(body)

    async def items(self, name: str, /, **input: Any) -> AsyncIterator[Any]:
        """Run a stream and yield its items one by one; leaving the loop ends the stream."""
        queue: asyncio.Queue[bytes | Error | None] = asyncio.Queue()
        cancel = self._start(name, input, lambda _, error: queue.put_nowait(error), queue.put_nowait)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Error):
                    raise item
                yield msgspec.json.decode(item)
        finally:
            cancel()

    def _start(
        self,
        name: str,
        input: dict[str, Any],
        answer: Callable[[bytes | None, Error | None], None],
        item: Callable[[bytes], None] | None = None,
    ) -> Callable[[], None]:
        call = Call(
            name,
            _encode(input),
            self._principal,
            answer,
            progress=lambda done, total, message: self.progress.append(Progress(done, total, message)),
            item=item,
        )
        return self.kernel.dispatcher.start(call) or (lambda: None)

    def _hold_to_declaration(self, prepared: Prepared, body: bytes, head: int | None) -> None:
        """Raise `DeclarationError` if an answer or an event is not what the operation promises to its callers."""
        operation = prepared.operation
        if operation.standard is not None:
            return
        try:
            msgspec.json.decode(body, type=prepared.signature.result)
        except msgspec.ValidationError as error:
            raise DeclarationError(f"{operation.name} does not answer what its return type says: {error}") from error
        if head is None or operation.kind is not Kind.COMMAND:
            return
        own = operation.name.split(".", 1)[0] + "."  # what another plugin says is declared where it was called
        events = self.kernel.registry.events().items()
        declared = {name: event for name, event in events if event is not None and name.startswith(own)}
        for said in self._said_after(head):
            event = declared.get(said.type)
            if event is not None and event not in operation.emits:
                raise DeclarationError(f"{operation.name} said {said.type}; declare it with emits={event.__name__}")

    # -- working in the background ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """Let the plugins work by themselves: `on_start` before the block, listeners in it, `on_stop` at its end.

        An event that a listener fails at is tried again at once, and parked as in the daemon. A second block is what a
        restart is to the plugins. Raises what `on_stop` raises, and `DeclarationError` if one does not start.
        """
        kernel = self.kernel
        kernel.listeners.back_off = (0.0,) * len(BACK_OFF)
        try:
            for plugin in list(kernel.registry.plugins.values()):
                await kernel.begin(plugin)
                if not plugin.loaded:
                    raise DeclarationError(f"{plugin.name} is {plugin.status}: {plugin.reason}")
            yield self
        finally:
            faults = await kernel.end_all()
        if faults:
            raise faults[0]

    async def settled(self) -> None:
        """Wait until the listeners have heard all that was said, and all that they said themselves."""
        while not self.kernel.listeners.idle:
            await asyncio.sleep(0)

    # -- working in the database --------------------------------------------------------------------------------------

    @contextmanager
    def tx(self) -> Generator[Transaction]:
        """Open a transaction to call command functions directly; it commits at the end, and rolls back on an error."""
        with self.kernel.store.writer.transaction(self._caller()) as scope:
            scope.running = self._plugin
            yield scope

    def snapshot(self) -> Snapshot:
        """Return a snapshot to call query functions directly."""
        scope = self.kernel.store.read(lambda scope: scope, self._caller())
        scope.running = self._plugin
        return scope

    def undo(self, change_set: int | None = None) -> list[dict[str, Any]]:
        """Take back what the caller's last command wrote, or a given change set, and return the changes taken back.

        Raises `NotFound` if there is nothing to undo and `Conflict` if it was changed again since.
        """
        with self.kernel.store.writer.transaction(self._caller(changes.UNDO)) as scope:
            found = changes.last_change_set(scope, scope.actor) if change_set is None else change_set
            undone = changes.undo(scope, found)
        return cast("list[dict[str, Any]]", msgspec.to_builtins(undone))

    def _caller(self, operation: str = "") -> Caller:
        return caller_of(self._principal, operation, "")

    @property
    def _plugin(self) -> str:
        """What stands for the running operation, so that a lone plugin has its folder in `tx` and `snapshot`."""
        names = [plugin.domain.name for plugin in self.kernel.registry.plugins.values() if plugin.domain is not None]
        return names[0] if len(names) == 1 else ""

    # -- looking, and setting the scene -------------------------------------------------------------------------------

    @property
    def events(self) -> list[Said]:
        """Everything that was said so far, oldest first."""
        return self._said_after(0)

    def _head(self) -> int:
        return self.kernel.store.bounds().head

    def _said_after(self, seq: int) -> list[Said]:
        found = self.kernel.store.events_after(seq, _ALL)
        return [Said(each.type, each.subject, msgspec.json.decode(each.body)["data"]) for each in found]

    @property
    def clock(self) -> FakeClock:
        """The time; `clock.advance(seconds)` moves it."""
        return cast("FakeClock", self.kernel.store.clock)

    def configure(self, settings: Settings) -> None:
        """Give a plugin other settings than its defaults."""
        self._settings[type(settings)] = settings

    def as_agent(self, name: str) -> Sandbox:
        """Return the same sandbox as an agent of that name sees it."""
        return self.as_caller(actor=f"agent:{name}", owner=False)

    def as_caller(self, **changes: Any) -> Sandbox:
        """Return the same sandbox for another caller: `actor`, `workspace`, `scopes`, `domains`, `owner`."""
        principal = msgspec.structs.replace(self._principal, **changes)
        return Sandbox(self.kernel, principal, shares=self._shares or self)

    def close(self) -> None:
        """Give the memory back; safe to call again."""
        (self._shares or self)._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _settle(future: asyncio.Future[bytes]) -> Callable[[bytes | None, Error | None], None]:
    def answer(body: bytes | None, error: Error | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(body or b"null")

    return answer
