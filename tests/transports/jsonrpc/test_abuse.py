"""What a client may do wrong on the socket: each gets a clear answer, and the daemon stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import framing
from coder_local._registry.kernel import Kernel
from coder_local._store.scope import Caller
from coder_local._transports.jsonrpc import batch
from coder_local._transports.jsonrpc.server import BODY_LIMIT, SocketServer
from coder_local._transports.jsonrpc.session import IN_FLIGHT
from coder_local.api import Context, Domain, Safety, Snapshot
from tests.faults.process import Process
from tests.support.notes import domain

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses a Unix socket by its path")


class Raw:
    """A connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = framing.FrameParser(BODY_LIMIT * 2)
        self.waiting: list[Any] = []

    def send(self, *messages: bytes | dict[str, Any] | list[Any]) -> None:
        for message in messages:
            body = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.writer.write(framing.encode(body))

    async def receive(self) -> Any:
        async with asyncio.timeout(20):
            while not self.waiting:
                data = await self.reader.read(65536)
                if not data:
                    return None
                self.waiting += [json.loads(body) for body in self.parser.feed(data)]
        return self.waiting.pop(0)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A real store on a file, with the notes plugin."""
    folder = tmp_path / "d"
    folder.mkdir()
    kernel = Kernel(folder)
    kernel.take(domain)
    kernel.open()
    for table in kernel.registry.tables.all():
        for statement in table.ddl():
            kernel.store.writer.connection.execute(statement)
    loop = asyncio.get_running_loop()
    kernel.start(loop.call_soon_threadsafe, loop.call_soon)
    yield kernel
    await asyncio.to_thread(kernel.store.close)


@pytest.fixture
async def address(kernel: Kernel) -> AsyncIterator[str]:
    """A real socket in front of it."""
    assert kernel.store.folder is not None
    server = SocketServer(kernel, str(kernel.store.folder / "s"), lambda _: pytest.fail("the socket needs no token"))
    await server.start()
    yield server.address
    await server.stop()


@pytest.fixture
async def raw(address: str) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(address)
    yield Raw(reader, writer)
    writer.close()


def call(id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


NOTE: dict[str, Any] = {"workspace": "w", "title": "t"}


async def test_pipelined_calls_are_all_answered(raw: Raw) -> None:
    raw.send(*(call(number, "notes.create", **NOTE) for number in range(200)))
    answers = [await raw.receive() for _ in range(200)]
    assert {answer["id"] for answer in answers} == set(range(200))
    assert all("result" in answer for answer in answers)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"nonsense", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"notes.list","params":NaN}', -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"notes.list"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"notes.list","params":{"q":"\xff"}}', -32700),
        (b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"\xff":1}}', -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"\xff"}]', -32700),
        (b"[" * 100_000, -32700),
        (b"[" * 100_000 + b"]" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"notes.list","params":' + b"[" * 100_000, -32700),
        (b"1", -32600),
        (b"null", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"notes.list"}', -32600),
        (b'{"id":1,"method":"notes.list"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"notes.list"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"no.such"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"notes.get","params":[1]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"notes.get","params":' + b"[" * 5000 + b"]" * 5000 + b"}", None),
    ],
)
async def test_what_is_no_request_has_its_code_and_the_next_call_is_answered(
    raw: Raw, body: bytes, code: int | None
) -> None:
    raw.send(body, call("next", "notes.list"))
    first = await raw.receive()
    assert first["error"]["data"]["kind"] in {"invalid", "not_found"}
    assert code in {None, first["error"]["code"]}
    assert (await raw.receive())["id"] == "next"


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"Content-Length: abc\r\n\r\n", b'{"jsonrpc":"2.0"}\n', b"\0" * 100,
     b"Content-Length: 99999999999\r\n\r\n", b"X: " + b"y" * 10_000],
)  # fmt: skip
async def test_a_broken_frame_is_answered_and_hung_up_on(raw: Raw, address: str, sent: bytes) -> None:
    raw.send(call(1, "notes.list"))
    raw.writer.write(sent)
    assert (await raw.receive())["id"] == 1
    fault = await raw.receive()
    assert fault["id"] is None
    assert fault["error"]["data"]["kind"] in {"invalid", "too_large"}
    assert await raw.receive() is None
    again = Raw(*await asyncio.open_unix_connection(address))
    again.send(call(2, "notes.list"))
    assert (await again.receive())["id"] == 2
    again.writer.close()


async def test_half_a_frame_is_waited_for(raw: Raw) -> None:
    frame = framing.encode(json.dumps(call(1, "notes.list")).encode())
    for at in range(0, len(frame), 7):
        raw.writer.write(frame[at : at + 7])
        await raw.writer.drain()
        await asyncio.sleep(0)
    assert (await raw.receive())["id"] == 1


async def test_the_answers_of_a_batch_are_bounded_and_the_rest_is_left_out(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.send(call(1, "notes.create", workspace="w", title="t" * 190))
    note = (await raw.receive())["result"]
    limit = 4000
    monkeypatch.setattr(batch, "ANSWERS_LIMIT", limit)
    reads = [{**call(0, "notes.get"), "id": f'a,"result":{n}', "params": {"id": note["id"]}} for n in range(20)]
    raw.send([*reads, call("last", "notes.create", **NOTE)])
    answers = {answer["id"]: answer for answer in await raw.receive()}
    assert set(answers) == {each["id"] for each in reads} | {"last"}
    results = [each for each in answers.values() if "result" in each]
    errors = [each["error"] for each in answers.values() if "error" in each]
    assert 2 < len(results) < 10
    assert len(json.dumps(results)) < limit * 1.2
    assert {each["data"]["kind"] for each in errors} == {"too_large"}
    assert sum("carried out" in each["message"] for each in errors) == 1
    assert sum("nothing was done" in each["message"] for each in errors) == len(errors) - 1
    assert "nothing was done" in answers["last"]["error"]["message"]
    raw.send(call(2, "notes.list"))
    assert len((await raw.receive())["result"]["items"]) == 1


class Large:
    """Operations with large answers, and one that is not answered before it is let go."""

    SIZE = 1024 * 1024

    def __init__(self, kernel: Kernel) -> None:
        self.began, self.let_go = asyncio.Semaphore(0), asyncio.Event()
        large = Domain("large")

        @large.query("large.text")
        def text(read: Snapshot) -> str:
            """Answer with a large text."""
            return "x" * self.SIZE

        @large.action("large.wait", safety=Safety.READ)
        async def wait(ctx: Context) -> int:
            """Wait until it is let go."""
            self.began.release()
            await self.let_go.wait()
            return 1

        assert kernel.take(large).loaded


async def test_answers_that_nobody_reads_are_kept_up_to_a_limit(
    kernel: Kernel, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    Large(kernel)
    limit, count = 8 * Large.SIZE, 100
    monkeypatch.setattr(batch, "ANSWERS_LIMIT", limit)
    raw.send(*(call(number, "large.text") for number in range(count)))
    await raw.writer.drain()
    while kernel.store.reading == 0:
        await asyncio.sleep(0)
    while kernel.store.reading:  # all are answered before the first is read
        await asyncio.sleep(0)
    answers = [await raw.receive() for _ in range(count)]
    assert sorted(answer["id"] for answer in answers) == list(range(count))
    errors = [answer["error"]["data"] for answer in answers if "error" in answer]
    assert 1 <= count - len(errors) <= limit / Large.SIZE + 2  # and what the two sockets themselves hold
    assert {each["kind"] for each in errors} == {"too_large"}
    assert "its answer is not kept" in errors[0]["message"]
    raw.send(call("next", "large.text"))
    assert len((await raw.receive())["result"]) == Large.SIZE


async def test_batches_that_wait_share_the_limit(kernel: Kernel, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Large(kernel)
    monkeypatch.setattr(batch, "ANSWERS_LIMIT", 8 * Large.SIZE)
    for number in range(5):
        raw.send([call(f"{number}.wait", "large.wait"), *(call(f"{number}.{n}", "large.text") for n in range(4))])
    for _ in range(5):
        await large.began.acquire()
    while kernel.store.reading:
        await asyncio.sleep(0)
    large.let_go.set()
    answers = [answer for _ in range(5) for answer in await raw.receive()]
    assert len(answers) == 25
    assert 4 <= sum(len(str(answer.get("result", ""))) == Large.SIZE for answer in answers) <= 8
    raw.send([call("a", "large.text"), call("b", "large.text")])
    assert [len(answer["result"]) for answer in await raw.receive()] == [Large.SIZE] * 2


async def test_progress_is_not_kept_for_a_peer_that_does_not_read(kernel: Kernel, raw: Raw) -> None:
    domain, reported = Domain("steps"), asyncio.Event()

    @domain.action("steps.take", safety=Safety.READ)
    async def take(ctx: Context, *, steps: int) -> int:
        """Report each of many steps as the last one, which is never held back for its time."""
        for step in range(steps):
            ctx.progress(step, step, "x" * 1000)
            await asyncio.sleep(0)
        reported.set()
        return steps

    assert kernel.take(domain).loaded
    raw.send(call(1, "steps.take", steps=20_000))
    await reported.wait()
    heard = 0
    while "result" not in await raw.receive():
        heard += 1
    assert 1 < heard < 10_000


async def test_an_operation_whose_signature_cannot_be_read_is_answered_by_its_id_and_in_a_batch(
    kernel: Kernel, raw: Raw
) -> None:
    odd = Domain("odd")

    @odd.query("odd.ask")
    def ask(read: Snapshot, *, size: int) -> int:
        """Ask."""
        return size

    ask.__annotations__["size"] = "Nowhere"
    assert kernel.take(odd).loaded
    asked, listed = (
        {"jsonrpc": "2.0", "id": 1, "method": "odd.ask"},
        {"jsonrpc": "2.0", "id": 2, "method": "notes.list"},
    )
    raw.send(asked, [asked, listed])
    answer, answers = await raw.receive(), await raw.receive()
    assert (answer["id"], answer["error"]["data"]["kind"]) == (1, "broken")
    assert [each["id"] for each in answers] == [1, 2]
    assert answers[1]["result"]["items"] == []


async def test_a_batch_is_answered_as_one_and_notifications_not_at_all(raw: Raw) -> None:
    notification = {"jsonrpc": "2.0", "method": "notes.create", "params": NOTE}
    raw.send([call(1, "notes.create", **NOTE), notification, call(2, "no.such"), 5])
    answer = await raw.receive()
    assert {each["id"] for each in answer} == {1, 2, None}
    raw.send(notification, call(3, "notes.list"))
    assert (await raw.receive())["id"] == 3


async def test_an_id_that_waits_may_not_be_used_again(raw: Raw) -> None:
    raw.send(call(7, "notes.create", **NOTE), call(7, "notes.create", **NOTE))
    kinds = [("error" in each) for each in [await raw.receive(), await raw.receive()]]
    assert sorted(kinds) == [False, True]


async def test_more_calls_than_may_wait_are_told_when_to_come_back(raw: Raw) -> None:
    count = IN_FLIGHT + 500
    body = b"".join(
        framing.encode(json.dumps(call(number, "notes.create", **NOTE)).encode()) for number in range(count)
    )
    raw.writer.write(body)
    answers = [await raw.receive() for _ in range(count)]
    refused = [each["error"]["data"] for each in answers if "error" in each]
    assert all(each["kind"] == "rate_limited" and each["data"]["retry_after_ms"] > 0 for each in refused)
    assert sum("result" in each for each in answers) >= IN_FLIGHT


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("x\0y", "NUL"),
        ("\ud800", "surrogate"),
        ("x" * 1_000_000, "300"),
        ("", "empty"),
        (5, "a text"),
        (None, "a text"),
    ],
)
async def test_a_bad_text_is_named_by_its_field(raw: Raw, title: Any, message: str) -> None:
    raw.send(call(1, "notes.create", workspace="w", title=title))
    error = (await raw.receive())["error"]
    assert (error["code"], error["data"]["field"]) == (-32602, "/title")
    assert message in error["message"]


async def test_all_faults_are_named_at_once_with_a_guess(raw: Raw) -> None:
    raw.send(call(1, "notes.create", titel="x", workspace=5, pinned="no"))
    data = (await raw.receive())["error"]["data"]
    faults = {each["field"]: each for each in data["data"]["faults"]}
    assert faults.keys() == {"/titel", "/workspace", "/pinned", "/title"}
    assert faults["/titel"]["hint"] == "did you mean title?"


async def test_a_cursor_of_another_epoch_is_reset_after_its_answer(raw: Raw) -> None:
    raw.send(call(1, "events.subscribe", cursor="elsewhere:3"))
    answer, reset = await raw.receive(), await raw.receive()
    assert answer["id"] == 1
    assert reset["method"] == "events.reset"
    assert reset["params"]["subscription"] == answer["result"]["subscription"]
    assert reset["params"]["reason"] == "other_epoch"
    raw.send(call(2, "notes.create", **NOTE))
    got = [await raw.receive(), await raw.receive()]
    assert {each.get("method", "answer") for each in got} == {"events.event", "answer"}


async def test_a_cancelled_call_says_so(raw: Raw) -> None:
    raw.send(call(1, "notes.create", **NOTE), {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}})
    answer = await raw.receive()
    assert "result" in answer or answer["error"]["data"]["data"]["cancelled"] is True


async def test_an_unknown_protocol_is_refused_with_ours(raw: Raw) -> None:
    raw.send(call(1, "initialize", protocol={"min": 2, "max": 3}))
    assert (await raw.receive())["error"]["data"]["data"]["protocol"] == 1


async def test_a_fault_of_ours_is_answered_and_the_connection_goes_on(
    raw: Raw, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of the program")

    with monkeypatch.context() as patched:
        patched.setattr(kernel.dispatcher, "at_once", fail)
        raw.send(call(1, "notes.list"))
        error = (await raw.receive())["error"]
        assert (error["code"], error["data"]["kind"]) == (-32603, "broken")
    raw.send(call(2, "notes.list"))
    assert (await raw.receive())["id"] == 2


@pytest.fixture
def connected() -> Iterator[Callable[[str], socket.socket]]:
    """Connects blocking sockets, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def connect(address: str) -> socket.socket:
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.connect(address)
            made.settimeout(20)
            return made

        yield connect


async def test_notifications_wait_for_room_and_all_are_carried_out(raw: Raw, kernel: Kernel) -> None:
    held, count = threading.Event(), 3 * IN_FLIGHT
    kernel.store.submit(lambda _: held.wait(), Caller(), lambda *_: None, deadline=float("inf"))
    notification = {"jsonrpc": "2.0", "method": "notes.create", "params": NOTE}
    raw.send(*[notification] * count)
    while kernel.store.writer.waiting < IN_FLIGHT - 1:
        await asyncio.sleep(0.001)
    for _ in range(100):  # turns of the loop in which it would take more
        await asyncio.sleep(0.001)
    assert kernel.store.writer.waiting <= IN_FLIGHT
    held.set()
    done = 0
    while done < count:
        raw.send(call("done", "changes.count"))
        assert (await raw.receive())["id"] == "done"
        done = kernel.store.read(lambda scope: scope.rows("SELECT count(*) FROM notes")[0][0], Caller())


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_100_000_calls_of_a_client_that_does_not_read_grow_no_memory_and_hinder_nobody(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    address = process.start()["socket"]
    try:
        before = resident(process.pid)
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(address)
        deaf.setblocking(False)
        frames = [framing.encode(json.dumps(call(number, "plugins.list")).encode()) for number in range(100_000)]
        left = memoryview(b"".join(frames))
        while left and select.select([], [deaf], [], 0.5)[1]:
            left = left[os.write(deaf.fileno(), left[:65536]) :]
        with process.client() as other:
            assert other.call("daemon.status")["pid"] == process.pid
        assert resident(process.pid) - before < 64 * 2**20
        deaf.close()
        with process.client() as other:
            assert other.call("daemon.status")["clients"] == 1
    finally:
        process.kill()


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_answers_to_pipelined_reads_wait_until_the_peer_takes_them_and_all_come(
    tmp_path: Path, connected: Callable[[str], socket.socket]
) -> None:
    process, count = Process(tmp_path / "data"), 1500
    process.start()
    try:
        project = process.call("planning.projects.create", name="P", key="PA", goal="x" * 20_000)
        address = process.call("daemon.status")["socket"]
        before = resident(process.pid)
        late = connected(address)
        calls = (call(number, "planning.projects.get") | {"params": {"id": project["id"]}} for number in range(count))
        late.sendall(b"".join(framing.encode(json.dumps(each).encode()) for each in calls))
        process.call("daemon.status")
        assert resident(process.pid) - before < 12 * 2**20
        parser, ids = framing.FrameParser(BODY_LIMIT), list[int]()
        while len(ids) < count:
            ids += [json.loads(body)["id"] for body in parser.feed(late.recv(2**20))]
        assert ids == list(range(count))
    finally:
        process.kill()


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_a_long_replay_to_a_client_that_does_not_read_costs_little_and_hinders_nobody(
    tmp_path: Path, connected: Callable[[str], socket.socket]
) -> None:
    process = Process(tmp_path / "data")
    process.start()
    assert process.terminate() == 0
    database = sqlite3.connect(process.data_dir / "coder-local.db")
    database.execute(
        "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200000)"
        " INSERT INTO event (at, type, subject, workspace_id, actor, data)"
        " SELECT strftime('%s', 'now') * 1000, 'a.b.updated', 'a.b/' || i, 'default', 'user',"
        """ '{"id":"' || hex(randomblob(100)) || '"}' FROM s"""
    )
    database.commit()
    epoch = database.execute("SELECT value FROM store_meta WHERE name = 'epoch'").fetchone()[0]
    database.close()
    address = process.start()["socket"]
    try:
        with process.client() as other:
            other.call("daemon.status")
            before = resident(process.pid)
            deaf = connected(address)
            deaf.sendall(framing.encode(json.dumps(call(1, "events.subscribe", cursor=f"{epoch}:0")).encode()))
            assert b'"id":1' in deaf.recv(200)
            waits: list[float] = []
            for _ in range(100):
                begun = time.perf_counter()
                other.call("settings.get", {"plugin": "daemon"})
                waits.append(time.perf_counter() - begun)
        assert resident(process.pid) - before < 24 * 2**20
        assert sorted(waits)[90] < 0.25, "a few may meet what the daemon imports after its start"
    finally:
        process.kill()
