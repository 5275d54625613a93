"""The life of a plugin's process: import the plugin, tell what it declares, run what the daemon asks, end with it.

The daemon is at the other end of standard input and output; what the plugin prints goes to standard error. A thread
receives, the main thread runs actions on its loop, one thread runs queries and one runs transactions, as in the daemon.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from coder_local._store.lane import Lane, Token
from coder_local.api import Conflict, DeclarationError, Domain, Heard, Snapshot, TooLarge, Transaction

from . import declarations
from .asking import Asker, Run
from .draft import CLOCK, Draft, Reading, View, tables_of
from .fence import Fence
from .manifest import Manifest
from .outside import ChildContext
from .wire import Channel, Message, fault_of

T = TypeVar("T")
DocsOf = Callable[[Any], dict[str, str]]
RUNS = 3
"""How often a transaction is run before what others wrote meanwhile is told to the caller."""
_json = msgspec.json.Encoder().encode


def main(docs_of: DocsOf) -> None:
    """Serve the daemon that started this process until it is gone; `docs_of` is as a `Describer` takes it."""
    channel = _channel()
    messages = channel.messages()
    first = next(messages, None)
    if first is None:
        return
    loop = asyncio.new_event_loop()
    try:
        desk = Desk(channel, loop, first, docs_of)
        channel.send({"t": "hello", "told": desk.told, "import_ms": desk.import_ms})
    except BaseException as error:  # noqa: BLE001 - a plugin's own code; the daemon tells the person
        channel.send({"t": "failed", "declaration": isinstance(error, DeclarationError), **_why(error)})
        return
    threading.Thread(target=_receive, args=(messages, desk), name="receive", daemon=True).start()
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _channel() -> Channel:
    """Take standard input and output for the channel: nothing that the plugin prints or reads may get in between."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return Channel(incoming, outgoing)


def _receive(messages: Any, desk: Desk) -> None:
    try:
        for message in messages:
            desk.take(message)
    finally:
        _end()


def _end() -> None:
    """End this process and what it started: the daemon is gone, and whatever runs must not hold this up.

    Not left to `PR_SET_PDEATHSIG`: that would end this process before it could end those that it started.
    """
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _why(error: BaseException) -> Message:
    told = fault_of(error)
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen "):
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    plain = isinstance(error, (DeclarationError, SyntaxError))
    message = str(error) if isinstance(error, DeclarationError) else told["message"] + ("" if plain else place)
    return {"message": message, "trace": told.get("trace", "")}


class Desk:
    """Takes what the daemon asks, and has it run."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, first: Message, docs_of: DocsOf) -> None:
        self.channel = channel
        self.loop = loop
        self.asker = Asker(channel)
        manifest = msgspec.json.decode(first["manifest"], type=Manifest)
        self._path = Path(first["database"])
        fence = Fence(channel, manifest.permissions, Path(first["data_dir"]))
        fence.own(Path(first["folder"]))
        fence.close()
        begun = time.perf_counter()
        module = _import(first["location"], first["root"], Path(first["folder"]) if first["in_folder"] else None)
        self.import_ms = (time.perf_counter() - begun) * 1000
        domain = getattr(module, "domain", None)
        if not isinstance(domain, Domain):
            raise DeclarationError(f"{first['location']} exports no `domain`; import it from its records module")
        fence.own(Path(first["data_dir"]) / domain.name)
        self._fence = fence
        self.domain = domain
        self.told = declarations.describe(domain, manifest.permissions, docs_of)
        self._tables = tables_of(domain.tables)
        self._lanes: dict[str, tuple[Lane, Reading]] = {}
        self._running: dict[int, Callable[[], object]] = {}
        self._streams: dict[int, AsyncGenerator[Any, None]] = {}

    # -- taking -------------------------------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message, on the thread that receives."""
        kind = message["t"]
        if kind == "answer":
            self.asker.answered(message)
        elif kind == "cancel":
            cancel = self._running.pop(message["id"], None)
            if cancel is not None:
                cancel()
        elif message["what"] in {"query", "command", "listener"}:
            self._inside(message["what"], Run(self.asker, self.domain, message))
        else:
            self.loop.call_soon_threadsafe(self._outside, message)

    def _done(self, number: int, result: bytes | None, error: BaseException | None) -> None:
        self._running.pop(number, None)
        try:
            told = {"result": result} if error is None else {"fault": fault_of(error)}
            self.channel.send({"t": "done", "id": number, **told})
        except TooLarge as large:
            self.channel.send({"t": "done", "id": number, "fault": fault_of(large)})

    # -- transactions and snapshots -----------------------------------------------------------------------------------

    @property
    def reader(self) -> tuple[Lane, Reading]:
        """The thread and connection for queries."""
        return self._lane("reader")

    @property
    def writer(self) -> tuple[Lane, Reading]:
        """The thread and connection for transactions."""
        return self._lane("writer")

    def _lane(self, name: str) -> tuple[Lane, Reading]:
        found = self._lanes.get(name)
        if found is None:
            with self._fence.open():
                reading = Reading(self._path, self._tables)
            found = self._lanes[name] = Lane(reading.connection, name), reading
        return found

    def _inside(self, what: str, run: Run) -> None:
        work: Callable[[], bytes]
        if what == "query":
            lane, _ = self.reader
            work = lambda: _json(self.look(run, self._function(run)))  # noqa: E731
        else:
            lane, _ = self.writer
            work = lambda: self.commit(run, self._function(run), "")[1]  # noqa: E731
        token = lane.submit(work, lambda result, error: self._done(run.id, result, error))
        self._running[run.id] = token.interrupt

    def _function(self, run: Run) -> Callable[[Any], Any]:
        if (listener := self.domain.listeners.get(run.name)) is not None:
            event = msgspec.json.decode(run.input, type=Heard)
            return lambda tx: listener.function(tx, event=event)
        function: Any = self.domain.operations[run.name].function
        values = declarations.values_of(function, run.input)
        return lambda scope: function(scope, **values)

    def look(self, run: Run, function: Callable[[Snapshot], T]) -> T:
        """Run a function in one snapshot, on the reader's thread."""
        _, reading = self.reader
        with reading.snapshot() as connection:
            return function(View(connection, self._tables, run, run.caller, run.ms))

    def commit(self, run: Run, function: Callable[[Transaction], T], word: str) -> tuple[T, bytes]:
        """Run a function on a snapshot and have the daemon commit what it did, again if what it read has changed.

        Returns its result, and its answer as JSON as the daemon gave it. Raises `Conflict` after the last run.
        """
        _, reading = self.writer
        for _ in range(RUNS):
            with reading.snapshot():
                draft = Draft(reading, self._tables, run, run.caller, CLOCK.now_ms() if word else run.ms)
                result = function(draft)
                answer = b"null" if word else _json(result)
            plan = {"ms": draft.ms, "steps": draft.steps, "answer": answer}
            told = run.wait("commit", word=word, **plan)
            if told is not None:
                return result, told
        raise Conflict(
            f"{run.name} was run {RUNS} times, and each time others changed what it had read",
            hint="call it again",
            data={"runs": RUNS},
        )

    async def apart(self, lane: tuple[Lane, Reading], work: Callable[[], T]) -> T:
        """Run a function on a thread, and wait for it on the loop."""
        future: asyncio.Future[T] = self.loop.create_future()

        def settle(result: T, error: BaseException | None) -> None:
            if not future.done():
                future.set_result(result) if error is None else future.set_exception(error)

        def done(result: Any, error: BaseException | None) -> None:
            self.loop.call_soon_threadsafe(settle, result, error)

        token: Token = lane[0].submit(work, done)
        try:
            return await future
        except asyncio.CancelledError:
            token.interrupt()
            raise

    # -- actions and streams ------------------------------------------------------------------------------------------

    def _outside(self, message: Message) -> None:
        number = message["id"]
        task = self.loop.create_task(self._answered(message))
        self._running[number] = lambda: self.loop.call_soon_threadsafe(task.cancel)

    async def _answered(self, message: Message) -> None:
        number, result, error = message["id"], None, None
        try:
            result = await self._run(message)
        except BaseException as caught:  # noqa: BLE001 - the daemon must get an answer
            error = caught
        self._done(number, result, error)

    async def _run(self, message: Message) -> bytes | None:
        what = message["what"]
        if what == "next":
            return await self._next(message["of"])
        if what == "close":
            stream = self._streams.pop(message["of"], None)
            if stream is not None:
                await stream.aclose()
            return None
        run = Run(self.asker, self.domain, message)
        context = ChildContext(self, run)
        if what in {"started", "stopped"}:
            functions = self.domain.started if what == "started" else self.domain.stopped
            await functions[int(run.name)](context)
            return None
        function: Any = self.domain.operations[run.name].function
        values = declarations.values_of(function, run.input)
        if what == "stream":
            self._streams[run.id] = function(context, **values)
            return None
        return _json(await function(context, **values))

    async def _next(self, number: int) -> bytes | None:
        """Return the next item of a stream as JSON, None at its end."""
        try:
            return _json(await anext(self._streams[number]))
        except StopAsyncIteration:
            self._streams.pop(number, None)
            return None


def _import(location: str, root: str, folder: Path | None) -> ModuleType:
    if folder is None:
        return importlib.import_module(location)
    spec = importlib.util.spec_from_file_location(
        root, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{folder} has no __init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[root] = module  # before it runs, or its own relative imports fail
    spec.loader.exec_module(module)
    return module
