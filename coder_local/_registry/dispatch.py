"""Dispatch: from a name and JSON bytes to JSON bytes or a named error, without a task or a future on the common path.

Decode, admit, run, encode. A bounded query runs at once on the loop, any other query on the reader's thread, a command
on the writer's, an action or a stream as a task on the loop. `answer(body, error)` is called exactly once, on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from coder_local._store.caller import Caller
from coder_local._store.faults import over_deadline
from coder_local._store.feed import Feed
from coder_local._store.lane import Token
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.store import Store
from coder_local.api import Broken, Context, Error, Kind, Locked, Operation, Safety, TimedOut

from . import elsewhere
from .answers import cancelled, late, once, settle
from .context import OutsideContext
from .held import Held
from .principal import Gate, Principal, caller_of, of_plugin
from .registry import Prepared, Registry

Answer = Callable[[bytes | None, Error | None], None]
Cancel = Callable[[], None]
Progress = Callable[[float, float | None, str], None]
Item = Callable[[bytes], "asyncio.Future[None] | None"]
"""Takes one item of a stream; if it returns a future, the next item waits for it."""

_log = logging.getLogger("coder_local.dispatch")
_encode = msgspec.json.Encoder().encode
_MILD = frozenset({Safety.READ, Safety.WRITE})
_SWEEP = 1.0
"""Seconds between two looks for commands that wait over their deadline behind another."""
_TURN = 64
"""Items of one stream that are passed on before everybody else has a turn."""


class Call:
    """One call of an operation."""

    __slots__ = (
        "answer",
        "confirm",
        "context",
        "expected_rev",
        "item",
        "key",
        "name",
        "principal",
        "progress",
        "raw",
        "request_id",
    )

    def __init__(
        self,
        name: str,
        raw: bytes,
        principal: Principal,
        answer: Answer,
        *,
        request_id: str = "",
        progress: Progress | None = None,
        item: Item | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self.name = name
        self.raw = raw
        self.principal = principal
        self.answer = answer
        self.request_id = request_id
        self.progress = progress
        self.item = item
        self.context = context
        """Of a call made inside another one: what a command on the writer's thread must find as its caller left it."""


class Dispatcher:
    """Runs calls."""

    def __init__(self, registry: Registry, store: Store, gate: Gate) -> None:
        self.registry = registry
        self.store = store
        self.feed: Feed | None = None
        """What is said, for those who listen; there from the time when the store is open."""
        registry.gate = gate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.streams = 0
        """How many streams run."""
        self._waiting: dict[_Command, float] = {}
        self._queries: set[_Query] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.closing = False
        """Set when the daemon stops: no new work is taken."""
        self.current = ""
        """The operation that runs on the loop now, for the watchdog."""
        self.at_work = 0
        """How many pieces of work keep the daemon from stopping for want of clients."""
        self.held: Held[Call] | None = None
        """Keeps the calls that wait for the plugins, until `release`."""
        self.audit: Callable[[Call, Operation], Callable[[], None]] | None = None
        """Told of each call that is not mild, and what it returns once that was admitted; it may exchange `answer`."""
        self.troubled: Callable[[str, BaseException, str], object] = lambda _name, _error, _report: None
        """Told of each call that ended in an exception which nobody expected, with the report's id."""

    def hold(self, *besides: str) -> None:
        """Let calls wait for `release`, besides those of the operations named: plugins are not loaded yet."""
        self.held = Held(frozenset(besides), self.start, lambda call: call.answer(None, cancelled(call.name)))

    def let(self, *names: str) -> None:
        """Hold the calls of these operations no longer."""
        if self.held is not None:
            self.held.let(frozenset(names), lambda call: call.name)

    def tell_held(self, message: str) -> None:
        """Report to the calls that are held what they wait for."""
        if self.held is not None:
            self.held.tell(lambda call: None if call.progress is None else call.progress(0.0, None, message))

    def refuse_held(self, error: Error, over: float = 0.0) -> None:
        """Answer the calls that have been held for longer than `over` seconds with an error."""
        if self.held is not None:
            self.held.refuse(lambda call: call.answer(None, error), over)

    def under_way(self, domain: str) -> int:
        """Return how many calls of a domain have begun and have not been answered."""
        begun = [each.name for each in self._waiting] + [each.name for each in self._queries]
        begun += [task.get_name() for task in self._tasks]
        return sum(name.startswith(f"{domain}.") for name in begun)

    def cut(self, domain: str, kind: Kind, reason: Error) -> None:
        """Cancel the actions or streams of a domain that run, and answer them with a reason."""
        for task in list(self._tasks):
            declared = self.registry.declared(task.get_name())
            if declared is not None and declared.kind is kind and declared.name.startswith(f"{domain}."):
                task.cancel(reason)

    def release(self) -> None:
        """Begin the calls that were held, in the order in which they came; their deadlines count from now."""
        held, self.held = self.held, None
        if held is not None:
            held.release()

    @property
    def gate(self) -> Gate:
        """Decides whether a call may run."""
        return self.registry.gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self.registry.gate = gate

    def running(self) -> str:
        """Return the operation that runs on the loop now, or nothing; may be asked from another thread."""
        task = asyncio.current_task(self._loop) if self._loop is not None else None
        return task.get_name() if task in self._tasks else self.current

    @property
    def busy(self) -> int:
        """How many commands and actions have not been answered; a stream ends when its reader leaves, or never."""
        return len(self._waiting) + len(self._tasks) - self.streams

    def at_once(self, name: str, raw: bytes, principal: Principal, request_id: str = "") -> bytes | None:
        """Answer a query whose cost is bounded, right here; None for any other call, which is for `start`.

        Raises the named error. Nothing is made that waits for the answer: 7 to 10 % of a look-up by key.
        """
        if self.closing or self.held is not None:
            return None
        try:
            prepared = self.registry.find(name)
            if prepared is None or prepared.operation.kind is not Kind.QUERY or principal.token is not None:
                return None
            input = prepared.signature.decode(raw)
            if not prepared.bounded(input):
                return None
            self.registry.gate.admit(principal, prepared.operation, raw, None)
            prepared.calls += 1
            return self._read(prepared, input, caller_of(principal, name, request_id))
        except Error:
            raise
        except Exception as error:
            raise self.broken(name, request_id, error) from error

    def _read(self, prepared: Prepared, input: Any, caller: Caller) -> bytes:
        self.current = caller.operation
        try:
            return self.store.read(prepared.answer, caller, input)
        finally:
            self.current = ""

    def start(self, call: Call) -> Cancel | None:
        """Begin a call; the answer may come before this returns. The result, if any, cancels it."""
        held = self.held
        if held is not None and held.holds(call.name) and (held.inner or call.principal.confirmed is None):
            return held.take(call)
        try:
            if self.closing and call.principal.confirmed is None:  # what runs to its end may still call
                raise Locked("the daemon is stopping", hint="start it again, then call again")
            asker = call.principal
            if asker.token is not None and asker.confirmed is None and not asker.counted:
                self.registry.gate.limit(asker)  # first: a call that is wrong costs as much as a right one
            prepared = self.registry.find(call.name)
            if prepared is None:
                raise self.registry.unknown(call.name)
            input = prepared.signature.decode(call.raw)
            return self._run(call, prepared, input)
        except Error as error:
            call.answer(None, error)
        except Exception as error:  # noqa: BLE001 - our fault, or a plugin's: the caller gets a report id
            call.answer(None, self.broken(call.name, call.request_id, error))
        return None

    def _run(self, call: Call, prepared: Prepared, input: Any) -> Cancel | None:
        operation = prepared.operation
        confirm = None if operation.kind is Kind.QUERY else input.confirm
        begun = None
        if (operation.safety not in _MILD or operation.person_only) and self.audit is not None:
            begun = self.audit(call, operation)
        self.registry.gate.admit(call.principal, operation, call.raw, confirm)
        if begun is not None:
            begun()
        prepared.calls += 1
        caller = caller_of(call.principal, call.name, call.request_id)
        if operation.kind is Kind.QUERY and prepared.apart is None:
            if prepared.bounded(input):
                call.answer(self._read(prepared, input, caller), None)
                return None
            return self._query(call, prepared, input, caller)
        if operation.kind is Kind.COMMAND and prepared.apart is None:
            return self._command(call, prepared, input, caller)
        task = self.loop.create_task(self._outside(call, prepared, input), name=call.name)
        self._tasks.add(task)
        self.streams += operation.kind is Kind.STREAM
        task.add_done_callback(lambda task: self._ended(task, call, operation.kind))
        return lambda: void(task.cancel())

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that calls are answered on."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    # -- queries ------------------------------------------------------------------------------------------------------

    def _query(self, call: Call, prepared: Prepared, input: Any, caller: Caller) -> Cancel | None:
        query = _Query(self, call, prepared, input)
        self._queries.add(query)
        token = self.store.read_apart(query.work, caller, query.done)
        if token is None:
            return None
        deadline = prepared.operation.deadline
        query.timer = self.loop.call_later(deadline, lambda: query.stop(late(call.name, deadline), token))
        return lambda: query.stop(cancelled(call.name), token)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _command(self, call: Call, prepared: Prepared, input: Any, caller: Caller) -> Cancel:
        command = _Command(self, call, prepared, input)
        expected = None if input.if_rev is None else (str(getattr(input, "id", "")), input.if_rev)
        self._waiting[command] = time.monotonic() + prepared.operation.deadline + 5
        self.store.submit(command.work, caller, command.done, expected=expected, deadline=prepared.operation.deadline)
        return command.cancel

    def forget(self, asked: _Command | _Query) -> None:
        """Take a command or a query that was answered off the list of those that wait."""
        if isinstance(asked, _Query):
            self._queries.discard(asked)
        else:
            self._waiting.pop(asked, None)

    def sweep(self) -> None:
        """Answer the commands that wait over their deadline behind one that does not end; call again and again."""
        now = time.monotonic()
        self.store.writer.stop_overdue()
        for command in [each for each, deadline in self._waiting.items() if deadline < now]:
            command.give_up()
        self._sweeper = self.loop.call_later(_SWEEP, self.sweep)

    # -- actions and streams ------------------------------------------------------------------------------------------

    def _ended(self, task: asyncio.Task[None], call: Call, kind: Kind) -> None:
        self._tasks.discard(task)
        self.streams -= kind is Kind.STREAM
        if task.cancelled():  # before it began: not a line of `_outside` ran, and the caller waits
            call.answer(None, cancelled(call.name))

    async def _outside(self, call: Call, prepared: Prepared, input: Any) -> None:
        operation = prepared.operation
        context = OutsideContext(self, call, admitted(call.principal, operation.safety))
        limit = asyncio.timeout(None if operation.deadline == float("inf") else operation.deadline)
        try:
            async with limit:
                if operation.kind is Kind.STREAM:
                    await _pass_on(prepared.run(context, input), call.item)
                    body = b"null"
                elif prepared.apart is not None and operation.kind is not Kind.ACTION:
                    body = await elsewhere.answer(self, prepared.apart, call, prepared, input, context)
                else:
                    body = prepared.encode(await prepared.run(context, input))
        except asyncio.CancelledError as error:
            reason = error.args[0] if error.args else None  # as `cut` gave it
            call.answer(None, reason if isinstance(reason, Error) else cancelled(call.name))
        except BaseException as error:  # noqa: BLE001 - the caller must get an answer
            if isinstance(error, TimeoutError) and limit.expired():  # another one is the plugin's own
                error = late(call.name, operation.deadline)
            call.answer(None, self.named(call, error))
        else:
            call.answer(body, None)

    def context(self, plugin: str, domain: str) -> Context:
        """Return a context for what a plugin does by itself: it may read and write, nothing that asks for a person."""
        call = Call(f"{domain}.start", b"{}", of_plugin(plugin), lambda _body, _error: None)
        return OutsideContext(self, call, admitted(call.principal, Safety.WRITE))

    def listening(self, caller: Caller) -> OutsideContext:
        """Return a context for a listener: its calls may write, and nothing else."""
        principal = msgspec.structs.replace(caller.principal, confirmed=frozenset[Safety]())
        return OutsideContext(self, Call(caller.operation, b"{}", principal, lambda _body, _error: None), principal)

    async def stop_tasks(self) -> None:
        """Cancel all actions and streams, and wait until they have ended."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    # -- errors -------------------------------------------------------------------------------------------------------

    def named(self, call: Call, error: BaseException) -> Error:
        """Return the error that is sent for one that was raised."""
        return error if isinstance(error, Error) else self.broken(call.name, call.request_id, error)

    def broken(self, name: str, request_id: str, error: BaseException) -> Broken:
        """Log a fault of ours or a plugin's, and return the answer that names the report."""
        report = uuid.uuid4().hex[:12]
        _log.error("%s failed", name, exc_info=error, extra={"report_id": report, "request_id": request_id})
        answer = Broken(
            f"{name} failed; this is a fault of the program, not of the call",
            hint=f"report it with {report}, which is in the log",
            data={"report_id": report},
        )
        answer.__cause__ = error  # never sent; a test in memory shows it
        self.troubled(name, error, report)
        return answer

    async def call(self, name: str, raw: bytes, principal: Principal, request_id: str = "") -> bytes:
        """Run a call and wait for its answer as JSON. Raises the named error."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        cancel = self.start(Call(name, raw, principal, settle(future), request_id=request_id, context=context))
        try:
            return await future
        except asyncio.CancelledError:
            if cancel is not None:
                cancel()
            raise


async def _pass_on(items: AsyncGenerator[Any, None], take: Item | None) -> None:
    """Hand on the items of a stream, waiting for its reader; a stream that is left is closed at once."""
    passed = 0
    async with contextlib.aclosing(items):
        async for item in items:
            wait = None if take is None else take(_encode(item))
            passed += 1
            if wait is not None:
                await wait
            # What never waits would hold the loop, and refill the socket before the wish to cancel was read from it.
            if wait is not None or passed % _TURN == 0:
                await asyncio.sleep(0)


def admitted(principal: Principal, safety: Safety) -> Principal:
    """Return a caller for the calls that are made inside a call which was admitted with that word."""
    return msgspec.structs.replace(principal, confirmed=frozenset({safety}))


def void(_: object) -> None:
    """Take an answer that nobody needs."""


class _Query:
    """A query on its way through the reader. Whoever stops it is answered at once, though it may wait or run still."""

    __slots__ = ("_call", "_dispatcher", "_input", "_prepared", "_stopped", "timer")

    def __init__(self, dispatcher: Dispatcher, call: Call, prepared: Prepared, input: Any) -> None:
        self._dispatcher = dispatcher
        self._call: Call | None = call
        self._prepared = prepared
        self._input = input
        self._stopped: Error | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The operation."""
        return self._prepared.operation.name

    def work(self, scope: ReadScope) -> bytes:
        """Run in a snapshot, on the reader's thread."""
        scope.go_on = self._go_on
        return self._prepared.answer(scope, self._input)

    def _go_on(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def done(self, body: Any, error: BaseException | None) -> None:
        """Answer, on the loop."""
        call, self._call = self._call, None
        if call is None:
            return
        self._dispatcher.forget(self)
        if self.timer is not None:
            self.timer.cancel()
        call.answer(body, None if error is None else self._dispatcher.named(call, error))

    def stop(self, reason: Error, token: Token) -> None:
        """Answer with the reason, and stop it: between two statements, or in the middle of a long one."""
        self._stopped = self._stopped or reason
        token.interrupt()
        self.done(None, reason)


class _Command:
    """A command on its way through the writer."""

    __slots__ = ("_call", "_cancelled", "_dispatcher", "_input", "_prepared")

    def __init__(self, dispatcher: Dispatcher, call: Call, prepared: Prepared, input: Any) -> None:
        self._dispatcher = dispatcher
        self._call: Call | None = call
        self._prepared = prepared
        self._input = input
        self._cancelled = False

    @property
    def name(self) -> str:
        """The operation."""
        return self._prepared.operation.name

    def work(self, scope: WriteScope) -> bytes:
        """Run in the transaction, on the writer's thread."""
        operation, begun = self._prepared.operation, time.monotonic()
        if self._cancelled:
            raise cancelled(operation.name)
        context = None if self._call is None else self._call.context
        answer = self._answer(scope) if context is None else context.run(self._answer, scope)
        if time.monotonic() - begun > operation.deadline:  # it slept in C, where nothing could stop it
            raise over_deadline()
        return answer

    def _answer(self, scope: WriteScope) -> bytes:
        return once(scope, self._input, lambda: self._prepared.answer(scope, self._input))

    def done(self, body: Any, error: BaseException | None) -> None:
        """Answer, on the loop, after the commit."""
        call, self._call = self._call, None
        if call is None:
            return
        self._dispatcher.forget(self)
        if error is None:
            call.answer(body, None)
        elif isinstance(error, Error):
            call.answer(None, error)
        else:
            call.answer(None, self._dispatcher.broken(call.name, call.request_id, error))

    def cancel(self) -> None:
        """Keep it from running if it has not begun; what has begun comes to its end."""
        self._cancelled = True

    def give_up(self) -> None:
        """Answer that it takes too long; it may still be carried out."""
        self._cancelled = True
        self.done(
            None, TimedOut(f"{self._prepared.operation.name} waits for another command; it may still be carried out")
        )
