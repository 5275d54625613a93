"""A plugin in a process of its own, as the daemon sees it: what it is asked, and what it may ask in turn."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import msgspec

from coder_local._isolation.fence import refusal
from coder_local._isolation.manifest import SECRET, Manifest, covers
from coder_local._isolation.steps import Moved, Plan
from coder_local._isolation.wire import Message, error_of, fault_of
from coder_local.api import (
    Broken,
    Error,
    Kind,
    Locked,
    RateLimited,
    Refused,
    Subscription,
    Transaction,
    Unsupported,
)

if TYPE_CHECKING:
    from coder_local._isolation.steps import Replay
    from coder_local._store.scope import WriteScope

    from .context import OutsideContext
    from .process import Process
    from .registry import Registry

_log = logging.getLogger("coder_local.plugins")
GRACE = 2.0
"""Seconds that a run which was cancelled has to come to its end before its process is ended."""
_READY = 5.0
"""Seconds that a call waits for a process that is just being started again."""
_MOST = 256
"""Runs of one plugin at a time."""
_SECRET = re.compile(re.escape(SECRET) + r"([A-Za-z0-9_.~/-]*[A-Za-z0-9_~])")
"""As a reference is read in a text where it is resolved."""
_json = msgspec.json.Encoder().encode
Commit = Callable[[Plan], Awaitable[bytes]]


class Run:
    """Something that the process was asked to run."""

    def __init__(self, number: int, what: str, name: str, context: OutsideContext, commit: Commit | None) -> None:
        self.number = number
        self.what = what
        self.name = name
        self.context = context
        self.commit = commit
        """Commits what the run itself did; None for one that is no transaction."""
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.subscriptions: dict[int, Subscription] = {}
        self.at_work: dict[int, AbstractContextManager[None]] = {}
        self.overrun: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Let go what it held."""
        for each in self.subscriptions.values():
            each.close()
        for held in self.at_work.values():
            held.__exit__(None, None, None)
        self.subscriptions.clear()
        self.at_work.clear()
        if self.overrun is not None:
            self.overrun.cancel()


class RemotePlugin:
    """What stands in the daemon for the functions of a plugin that are in its process."""

    def __init__(self, name: str, manifest: Manifest, registry: Registry) -> None:
        self.name = name
        self.manifest = manifest
        self.registry = registry
        self.process: Process
        self.replay: Replay
        self.domain = ""
        self.settings: type[Any] | None = None
        self.refused: Callable[[str, str], object] = lambda _permission, _name: None
        """Told of each thing that its manifest does not allow."""
        self.ready = asyncio.Event()
        self._numbers = itertools.count(1)
        self._runs: dict[int, Run] = {}
        self._open: dict[int, Run] = {}
        """Runs that may still ask: their functions have not ended, streams among them, or they are a start, whose
        context serves what it began until the process ends."""
        self._asks: dict[int, asyncio.Task[None]] = {}

    # -- asking the process -------------------------------------------------------------------------------------------

    async def inside(self, what: str, name: str, context: OutsideContext, input: bytes, commit: Commit | None) -> bytes:
        """Run a query or a transaction, and return its answer as JSON."""
        return cast("bytes", await self._request(what, name, context, input, commit))

    async def outside(self, kind: str, name: str, context: Any, values: dict[str, Any]) -> Any:
        """Run an action, or what is run at start or stop."""
        body = await self._request(kind, name, context, _json(_given(values)), None)
        return None if body is None else msgspec.Raw(body)

    async def stream(self, name: str, context: Any, values: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Run a stream: the process is asked for each item when the reader is ready for it."""
        run = await self._begin("stream", name, context, _json(_given(values)), None)
        try:
            await run.answer
            while True:
                if run.number not in self._open:
                    raise self._gone(name, "between two items")
                item = await self._request("next", name, context, b"", None, of=run.number)
                if item is None:
                    return
                yield msgspec.Raw(item)
        finally:
            self._open.pop(run.number, None)
            run.close()
            self.process.send({"t": "run", "id": next(self._numbers), "what": "close", "of": run.number})

    async def _request(
        self, what: str, name: str, context: OutsideContext, input: bytes, commit: Commit | None, **more: Any
    ) -> Any:
        run = await self._begin(what, name, context, input, commit, **more)
        try:
            return await run.answer
        except asyncio.CancelledError:
            if run.number in self._runs:
                if commit is not None:
                    self._open.pop(run.number, None)  # its caller was told that it was stopped: it commits nothing
                self.process.send({"t": "cancel", "id": run.number})
                why = f"{name} did not come to an end {GRACE:g} s after it was stopped"
                run.overrun = asyncio.get_running_loop().call_later(GRACE, self.process.kill, why)
            raise

    async def _begin(
        self, what: str, name: str, context: OutsideContext, input: bytes, commit: Commit | None, **more: Any
    ) -> Run:
        await self._there()
        if len(self._runs) >= _MOST:
            raise RateLimited(f"{self.name} is busy with {_MOST} calls", data={"retry_after_ms": 1000})
        run = Run(next(self._numbers), what, name, context, commit)
        self._runs[run.number] = self._open[run.number] = run
        message = {
            "t": "run", "id": run.number, "what": what, "name": name, "input": input, "ms": context.now_ms(),
            "actor": context.actor, "workspace": context.workspace, "request_id": context.request_id,
            "rights": _json(context.rights()), "settings": self._own_settings(), **more,
        }  # fmt: skip
        self.process.send(message)
        return run

    async def _there(self) -> None:
        """Wait a moment for a process that is being started. Raises `Locked` if it is not there then."""
        if not self.ready.is_set():
            try:
                async with asyncio.timeout(_READY):
                    await self.ready.wait()
            except TimeoutError:
                raise Locked(
                    f"the process of plugin {self.name} is being started again",
                    hint="call again in some seconds; plugins.list tells why it ended",
                    data={"plugin": self.name, "retry_after_ms": 5000},
                ) from None

    # -- what it sends ------------------------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message of the process, on the loop."""
        kind = message.get("t")
        if kind == "done":
            self._done(message)
        elif kind == "ask":
            self._asked(message)
        elif kind == "unask":
            task = self._asks.get(message["id"])
            if task is not None:
                task.cancel()
        elif kind == "progress" and (run := self._open.get(message["run"])) is not None:
            run.context.progress(message["done"], message["total"], message["message"])
        elif kind == "refused":
            self.refused(str(message["permission"]), str(message["name"]))

    def _done(self, message: Message) -> None:
        run = self._runs.get(message["id"])
        if run is None:
            return
        fault, result = message.get("fault"), message.get("result")
        error = None if fault is None else error_of(fault)
        if fault is None and not (result is None and run.what in _UNANSWERED):
            # Raises for what would break the answer that it stands in, which others read.
            msgspec.json.decode(cast("bytes", result).decode(), type=msgspec.Raw)
        del self._runs[run.number]
        if fault is not None or run.what not in _LASTING:
            self._open.pop(run.number, None)
            run.close()
        if run.overrun is not None:
            run.overrun.cancel()
        if run.answer.done():
            return
        if error is None:
            run.answer.set_result(result)
        else:
            run.answer.set_exception(error)

    def dropped(self, reason: str) -> None:
        """Answer all that is under way: the process has ended."""
        self.ready.clear()
        runs, self._runs, self._open = [*({**self._open, **self._runs}).values()], {}, {}
        for task in self._asks.values():
            task.cancel()
        for run in runs:
            run.close()
            if not run.answer.done():
                run.answer.set_exception(self._gone(run.name, reason))

    def _gone(self, name: str, reason: str) -> Error:
        return Broken(
            f"{name} was not answered: the process of plugin {self.name} ended ({reason})",
            hint="call it again: it is started again; if this goes on, look at plugins.list",
            data={"plugin": self.name, "reason": reason},
        )

    # -- what it asks -------------------------------------------------------------------------------------------------

    def _asked(self, message: Message) -> None:
        number = message["id"]
        task = self._asks[number] = asyncio.get_running_loop().create_task(self._answer(message))
        task.add_done_callback(lambda _: self._asks.pop(number, None))

    async def _answer(self, message: Message) -> None:
        told: Message
        try:
            run = self._open.get(message["run"])
            if run is None:
                raise Refused("nothing runs that could ask", hint="use a context only inside its function")
            told = {"result": await self._handle(run, message)}
        except Exception as error:  # noqa: BLE001 - the process must get an answer
            if not isinstance(error, Error):
                _log.exception("an answer to plugin %s failed", self.name, extra={"plugin": self.name})
            told = {"fault": fault_of(error)}
        self.process.send({"t": "answer", "id": message["id"], **told})

    def _handle(self, run: Run, message: Message) -> Coroutine[Any, Any, Any]:
        handler = _HANDLERS.get(message["what"])
        if handler is None:
            raise Unsupported(f"the daemon does not know the question {message['what']!r}")
        return handler(self, run, message)

    def may_call(self, name: str, input: bytes) -> None:
        """Raise `Refused` for an operation or a secret that the manifest does not name."""
        allowed = self.manifest.permissions
        if not (name.startswith(f"{self.domain}.") or covers(allowed.operations, name)):
            self.refused("operations", name)
            raise refusal("operations", name, f"plugin {self.name} may not call {name}")
        text = _json(msgspec.json.decode(input)).decode()  # anew: a slash can be written in more than one way
        for secret in _SECRET.findall(text):
            if secret not in allowed.secrets:
                self.refused("secrets", secret)
                raise refusal("secrets", secret, f"plugin {self.name} may not use the secret {secret}")

    def may_ask(self, name: str, input: bytes) -> None:
        """Raise as `may_call` does, and `Unsupported` for what is no query: a transaction may call nothing else."""
        self.may_call(name, input)
        if self.registry.operation(name).kind is not Kind.QUERY:
            raise Unsupported(
                f"{name} cannot be called inside a transaction of a process of its own",
                hint="call it from an action, by ctx.call, or call a query",
            )

    def may_hear(self, types: list[str]) -> None:
        """Raise `Refused` for events that the manifest does not name."""
        for type_ in types or ["*"]:
            if not (type_.startswith(f"{self.domain}.") or covers(self.manifest.permissions.events, type_)):
                self.refused("events", type_)
                raise refusal("events", type_, f"plugin {self.name} may not hear {type_}")

    async def _call(self, run: Run, message: Message) -> bytes:
        name, raw = message["name"], message["input"]
        self.may_call(name, raw)
        return _json(await run.context.call(name, **msgspec.json.decode(raw)))

    async def _query(self, run: Run, message: Message) -> bytes:
        name, raw = message["name"], message["input"]
        self.may_ask(name, raw)
        values = msgspec.json.decode(raw)
        return _json(await run.context.read(lambda read: read.call(name, **values)))

    async def _offers(self, _run: Run, message: Message) -> bool:
        return self.registry.offers(message["name"])

    async def _operation(self, _run: Run, message: Message) -> Message:
        found = self.registry.operation(message["name"])
        return {
            "name": found.name, "kind": str(found.kind), "safety": str(found.safety), "deadline": found.deadline,
            "person_only": found.person_only,
        }  # fmt: skip

    async def _check(self, _run: Run, message: Message) -> bytes:
        return _json(self.registry.check(message["name"], msgspec.json.decode(message["input"])))

    async def _settings(self, _run: Run, _message: Message) -> bytes | None:
        return self._own_settings()

    def _own_settings(self) -> bytes | None:
        return None if self.settings is None else _json(self.registry.settings_of(self.settings))

    async def _folder(self, run: Run, _message: Message) -> str:
        return str(run.context.folder)

    async def _commit(self, run: Run, message: Message) -> bytes | None:
        """Commit a transaction; None if it must be run again."""
        plan = msgspec.convert({name: message[name] for name in Plan.__struct_fields__}, Plan)
        try:
            if run.commit is not None:
                return await run.commit(plan)
            if run.what not in _OUTSIDE:
                raise Refused(f"{run.name} is no transaction")

            def work(tx: Transaction) -> None:
                self.replay.run(cast("WriteScope", tx), plan)

            work.__name__ = str(message["word"])  # it stands in history as the plugin's own function
            await run.context.transact(work)
        except Moved:
            return None
        return plan.answer

    async def _subscribe(self, run: Run, message: Message) -> Message:
        self.may_hear(message["types"])
        made = run.context.subscribe(*message["types"], subjects=message["subjects"], cursor=message["cursor"])
        run.subscriptions[message["id"]] = made
        return {"number": message["id"], "cursor": made.cursor}

    async def _heard(self, run: Run, message: Message) -> bytes | None:
        try:
            return _json(await anext(run.subscriptions[message["number"]]))
        except (StopAsyncIteration, KeyError):
            return None

    async def _unsubscribe(self, run: Run, message: Message) -> None:
        made = run.subscriptions.pop(message["number"], None)
        if made is not None:
            made.close()

    async def _at_work(self, run: Run, message: Message) -> int:
        held = run.context.at_work()
        held.__enter__()
        run.at_work[message["id"]] = held
        return int(message["id"])

    async def _rest(self, run: Run, message: Message) -> None:
        held = run.at_work.pop(message["number"], None)
        if held is not None:
            held.__exit__(None, None, None)


_UNANSWERED = frozenset({"stream", "started", "stopped", "next"})
"""What may end without an answer."""
_LASTING = frozenset({"stream", "started"})
"""What may go on asking after it was answered."""
_OUTSIDE = frozenset({"action", "stream", "started", "stopped"})
"""What runs outside a transaction, and may have some of its own."""
_Handler = Callable[[RemotePlugin, Run, Message], Coroutine[Any, Any, Any]]
_HANDLERS: Mapping[str, _Handler] = {
    word: getattr(RemotePlugin, f"_{word}")
    for word in (
        "call", "query", "offers", "operation", "check", "folder", "commit", "subscribe", "heard", "unsubscribe",
        "at_work", "rest", "settings",
    )
}  # fmt: skip


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}
