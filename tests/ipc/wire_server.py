"""A small real server that speaks the protocol of docs/protocol.md, for the tests of its clients.

Run as a program it is a daemon: `python wire_server.py serve --data-dir DIR`. `WIRE_SERVER_FAULT` names what it does
wrong there: `exit`, `silent`, `garbage`.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

from coder_ipc import process, runtime
from coder_ipc.framing import FrameError, FrameParser, encode

TOKEN = "correct-horse"


class WireServer:
    """One data directory served on its socket; events are numbered from 1 in epoch `e1`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.socket = runtime.socket_path(data_dir)
        self.events: list[dict] = []
        self.cancelled: list[int] = []
        self.methods: list[str] = []
        self.connections: set[_Connection] = set()
        self.log = threading.Condition()
        self.answers = True
        self.stopping = asyncio.Event()

        runtime.make_socket_folder(self.socket)
        self.remove_files()
        self.unused = asyncio.Event()
        self.unused.set()

    def remove_files(self) -> None:
        Path(self.socket).unlink(missing_ok=True)
        (self.data_dir / "runtime.json").unlink(missing_ok=True)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_unix_server(lambda: _Connection(self), self.socket)
        self.write_runtime()

    def fields(self) -> dict:
        return {
            "protocol": 1, "version": "0.1.0", "incarnation": f"i{os.getpid()}", "pid": os.getpid(),
            "process_started_at": process.started_at(os.getpid()), "socket": self.socket,
            "http": "http://127.0.0.1:1", "token": TOKEN, "data_dir": str(self.data_dir),
        }  # fmt: skip

    def write_runtime(self) -> None:
        path = self.data_dir / "runtime.json"
        path.with_suffix(".tmp").write_text(json.dumps(self.fields()))
        path.with_suffix(".tmp").replace(path)

    async def stop(self) -> None:
        self.server.close()
        for connection in tuple(self.connections):
            connection.transport.abort()
        await self.unused.wait()
        await self.server.wait_closed()
        self.remove_files()

    def emit(self, kind: str) -> None:
        seq = len(self.events) + 1
        event = {"specversion": "1.0", "id": f"e1:{seq}", "type": kind, "sequence": seq}
        self.events.append(event)
        for connection in self.connections:
            connection.push(event)

    def note(self, method: str, call: int | None = None) -> None:
        with self.log:
            self.methods.append(method)
            if call is not None:
                self.cancelled.append(call)
            self.log.notify_all()

    def wait_for(self, condition) -> bool:
        """Wait, in another thread than the server's, until `condition(self)` holds."""
        with self.log:
            return self.log.wait_for(lambda: condition(self), 10)


class _Connection(asyncio.Protocol):
    def __init__(self, server: WireServer) -> None:
        self.server = server
        self.parser = FrameParser(1024 * 1024)
        self.tasks: dict[int, asyncio.Task] = {}
        self.subscriptions: dict[str, list[str]] = {}

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.server.connections.add(self)
        self.server.unused.clear()

    def connection_lost(self, exc) -> None:
        self.server.connections.discard(self)
        if not self.server.connections:
            self.server.unused.set()
        for task in self.tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            bodies = self.parser.feed(data)
        except FrameError as fault:
            self.send(
                {
                    "id": None,
                    "error": {
                        "code": -32000,
                        "message": str(fault),
                        "data": {"kind": fault.kind, "message": str(fault)},
                    },
                }
            )
            self.transport.close()
            return
        for body in bodies:
            message = json.loads(body)
            if self.server.answers:
                self.receive(message)

    def send(self, message: dict) -> None:
        if not self.transport.is_closing():
            self.transport.write(encode(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def receive(self, message: dict) -> None:
        method, params, call = message["method"], message.get("params") or {}, message.get("id")
        if method == "$/cancelRequest":
            if task := self.tasks.get(params["id"]):
                task.cancel()
            self.server.note(method, params["id"])
            return
        self.server.note(method)
        if call is None:
            return
        handler = getattr(self, "do_" + method.replace(".", "_"), None)
        if handler is None:
            self.fail(call, -32601, "not_found", f"no operation {method}", hint="did you mean test.echo?")
            return
        answer = handler(call, params)
        if asyncio.iscoroutine(answer):
            self.tasks[call] = asyncio.create_task(self.run(call, answer))
        elif answer is not NotImplemented:
            self.send({"id": call, "result": answer})

    async def run(self, call: int, work) -> None:
        try:
            self.send({"id": call, "result": await work})
        except asyncio.CancelledError:
            self.fail(call, -32000, "timeout", "cancelled", data={"cancelled": True})
        finally:
            self.tasks.pop(call, None)

    def fail(self, call, code: int, kind: str, message: str, **more) -> None:
        self.send(
            {
                "id": call,
                "error": {"code": code, "message": message, "data": {"kind": kind, "message": message, **more}},
            }
        )
        return NotImplemented

    def do_initialize(self, call, params):
        if params.get("token") != TOKEN:
            return self.fail(call, -32000, "refused", "wrong token")
        return {
            "protocol": 1,
            "pid": os.getpid(),
            "data_dir": str(self.server.data_dir),
            "workspace": params.get("workspace"),
        }

    def do_test_echo(self, call, params):
        return params

    def do_test_invalid(self, call, params):
        faults = [{"field": "/title", "message": "is empty"}, {"field": "/due", "message": "is no date"}]
        return self.fail(call, -32602, "invalid", "2 faults", field="/title", hint="name it", data={"faults": faults})

    def do_test_stale(self, call, params):
        return self.fail(call, -32000, "stale", "changed meanwhile", data={"current": {"rev": 3}})

    async def do_test_hang(self, call, params):
        await asyncio.Event().wait()

    async def do_test_progress(self, call, params):
        for done in range(1, 4):
            self.send({"method": "$/progress", "params": {"id": call, "done": done, "total": 3}})
        if params.get("then") == "hang":
            await asyncio.Event().wait()
        return "done"

    async def do_test_count(self, call, params):
        for item in range(params["to"]):
            self.send({"method": "$/item", "params": {"id": call, "item": item}})
            await asyncio.sleep(0)
        if params.get("then") == "hang":
            await asyncio.Event().wait()

    def do_test_count_fail(self, call, params):
        self.send({"method": "$/item", "params": {"id": call, "item": 0}})
        return self.fail(call, -32603, "broken", "fell over", data={"report_id": "r1"})

    def do_test_emit(self, call, params):
        for kind in params["types"]:
            self.server.emit(kind)

    def do_test_drop(self, call, params):
        self.transport.abort()
        return NotImplemented

    def do_test_garbage(self, call, params):
        self.transport.write(params["bytes"].encode())
        return NotImplemented

    def do_test_stop_reading(self, call, params):
        self.transport.pause_reading()
        return NotImplemented

    def do_test_mixed(self, call, params):
        """Answer between things of no call, of unknown methods and of other shapes."""
        self.send({"id": 999_999, "result": "nobody's"})
        self.send({"id": "text", "result": "nobody's"})
        self.send({"id": [call], "result": "nobody's"})
        self.send({"method": "later.version", "params": [1, 2]})
        self.transport.write(
            encode(json.dumps([17, {"jsonrpc": "2.0", "id": call, "result": "mine", "new": 1}]).encode())
        )
        return NotImplemented

    def do_events_subscribe(self, call, params):
        events = self.server.events
        head = f"e1:{len(events)}"
        name = f"s{call}"
        cursor = params.get("cursor", head)
        after = int(cursor.partition(":")[2])
        answer = {"id": call, "result": {"subscription": name, "cursor": cursor, "head": head, "min": "e1:0"}}
        self.subscriptions[name] = params.get("types", [])
        # in one write with the answer: what a client must not lose
        with _Corked(self):
            self.send(answer)
            if after > len(events):
                self.send({"method": "events.reset", "params": {"subscription": name, "reason": "ahead", "head": head}})
            for event in events[after:]:
                self.push(event, only=name)
        return NotImplemented

    def do_events_unsubscribe(self, call, params):
        del self.subscriptions[params["subscription"]]

    def push(self, event: dict, only: str | None = None) -> None:
        for name, types in self.subscriptions.items():
            wanted = not types or event["type"] in types
            if wanted and only in (None, name):
                params = {"subscription": name, "cursor": event["id"], "event": event}
                self.send({"method": "events.event", "params": params})

    def do_daemon_stop(self, call, params):
        asyncio.get_running_loop().call_soon(self.server.stopping.set)


class _Corked:
    """Gather what a connection sends and write it at once."""

    def __init__(self, connection: _Connection) -> None:
        self.connection, self.inner, self.parts = connection, connection.transport, []

    def __enter__(self) -> None:
        self.connection.transport = self

    def __exit__(self, *_) -> None:
        self.connection.transport = self.inner
        self.inner.write(b"".join(self.parts))

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.parts.append(data)


class ServerThread:
    """A `WireServer` on an event loop of its own thread, for the synchronous client."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = WireServer(self._data_dir)
        self._end = asyncio.Event()
        await self.server.start()
        self._ready.set()
        await self._end.wait()
        await self.server.stop()

    def __enter__(self) -> WireServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self.server

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


async def _serve(data_dir: Path) -> None:
    server = WireServer(data_dir)
    await server.start()
    say(sys.stdout, json.dumps({"event": "ready", **server.fields()}))
    await server.stopping.wait()
    await server.stop()


def say(stream, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def main() -> None:
    command, option, folder = sys.argv[1:]
    assert (command, option) == ("serve", "--data-dir")
    fault = os.environ.get("WIRE_SERVER_FAULT", "")
    say(sys.stderr, f"starting {fault}")
    if fault == "exit":
        say(sys.stderr, "the database is locked by a ghost")
        raise SystemExit(8)
    if fault == "garbage":
        say(sys.stdout, "Hello from a plugin that prints")
        raise SystemExit(0)
    if fault == "silent":
        threading.Event().wait()
    asyncio.run(_serve(Path(folder)))


if __name__ == "__main__":
    main()
