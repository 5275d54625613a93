"""The statements of docs/protocol.md, byte for byte, of a running daemon."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import pytest

from coder_ipc import RemoteError
from coder_ipc.errors import EXIT_CODES
from coder_local._daemon import main
from coder_local._store.progress import Migrating
from coder_local._transports.jsonrpc import session
from coder_local.api.errors import KINDS
from coder_local.cli import serve
from coder_local.testing.daemon import RunningDaemon, running

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform == "win32", reason="the bytes are sent by a Unix socket"),
]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
PLUGINS = (ROOT / "tests" / "cli" / "probe", ROOT / "tests" / "doors" / "slow")
LIMIT = 16 * 1024 * 1024


def _put_plugins(data_dir: Path) -> None:
    for source in PLUGINS:
        shutil.copytree(source, data_dir / "plugins" / source.name, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with running(tmp_path_factory.mktemp("d"), prepare=[_put_plugins]) as found:
        for plugin in PLUGINS:
            with pytest.raises(RemoteError) as asked:
                found.call("plugins.enable", name=plugin.name)
            found.call("plugins.enable", name=plugin.name, confirm=asked.value.data["confirm"])
        found.call("planning.tasks.create", title="first")
        yield found


class Wire:
    """A connection to the socket on which a test writes the bytes itself."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(30)
        self._socket.connect(address)
        self._file = self._socket.makefile("rb")

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def frame(self, body: bytes, *header: bytes) -> None:
        self.write(b"".join(each + b"\r\n" for each in (*header, b"Content-Length: %d" % len(body))) + b"\r\n" + body)

    def send(self, message: Any) -> None:
        self.frame(json.dumps(message).encode())

    def call(self, id: int | str, method: str, **params: Any) -> None:
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def read(self) -> Any:
        """Return the next message, None when the connection was closed."""
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            if not line:
                return None
            name, _, value = line.partition(b":")
            length = int(value) if name == b"Content-Length" else length
        return json.loads(self._file.read(length))

    def ask(self, id: int | str, method: str, **params: Any) -> Any:
        self.call(id, method, **params)
        return self.read()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def wire(daemon: RunningDaemon) -> Iterator[Wire]:
    with Wire(daemon.runtime.socket) as wire:
        yield wire


def _rows(heading: str, columns: int) -> list[list[str]]:
    """Return the rows of the table below a heading, their cells without quotes."""
    part = PAGE.partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)
    assert table is not None
    cells = [[cell.strip().strip("`") for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]
    assert all(len(row) == columns for row in cells)
    return cells


# -- tables -----------------------------------------------------------------------------------------------------------


def test_the_table_of_errors_is_the_code_s() -> None:
    told: dict[str, tuple[int, int]] = {}
    for row in _rows("### Errors", 7):
        for kind, status, code in (row[:3], row[4:]):
            if kind:
                told[kind] = int(status.split()[0]), int(code)
    assert told == {kind: (error.code.http, EXIT_CODES[kind]) for kind, error in KINDS.items()}


def test_the_table_of_exit_codes_is_the_code_s() -> None:
    codes = {main.EXIT_OK, main.EXIT_LOCKED, main.EXIT_DATA, main.EXIT_BROKEN, main.EXIT_NO_DIRECTORY}
    codes |= {serve.EXIT_INVALID, serve.EXIT_INTERRUPTED}
    assert {int(row[0]) for row in _rows("Exit codes of `serve`", 2)} == codes


def test_the_table_of_notifications_is_complete() -> None:
    assert [row[0] for row in _rows("Notifications from the daemon", 2)] == [
        "events.event", "events.reset", "$/progress", "daemon.stopping", "daemon.handing_over", "$/item",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [session.IN_FLIGHT, session.SUBSCRIPTIONS])
def test_the_limits_are_the_code_s(number: int) -> None:
    assert f"{number:,} " in PAGE


def test_the_messages_of_the_page_have_the_members_that_are_sent(daemon: RunningDaemon, wire: Wire) -> None:
    examples = [json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    file, line, step, event = examples
    assert step.keys() == set(Migrating.__struct_fields__)
    assert file.keys() == daemon.runtime._asdict().keys()
    assert line.keys() - {"event"} == file.keys() - {"token", "process_started_at"}
    (said,) = daemon.call("events.list", types=["planning.task.created"], limit=1)["items"]
    assert event.keys() == said.keys()
    told = next(row[2] for row in _rows("first\ncall must be `initialize`", 3) if row[0].startswith("initialize"))
    assert set(re.findall(r"\w+", told)) == wire.ask(1, "initialize")["result"].keys()


# -- frames -----------------------------------------------------------------------------------------------------------


def test_other_header_lines_are_ignored(wire: Wire) -> None:
    wire.frame(b'{"jsonrpc":"2.0","id":1,"method":"daemon.status"}', b"Content-Type: application/json", b"X: y")
    assert wire.read()["id"] == 1


def test_a_message_of_16_mib_is_taken(wire: Wire) -> None:
    empty = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "planning.tasks.create", "params": {"title": ""}}).encode()
    wire.frame(empty[:-3] + b"x" * (LIMIT - len(empty)) + empty[-3:])
    answer = wire.read()
    assert (answer["id"], answer["error"]["data"]["field"]) == (1, "/title")


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"Content-Length: %d\r\n\r\n" % (LIMIT + 1), "too_large"), (b"GET / HTTP/1.1\r\n\r\n", "invalid")],
)
def test_after_a_frame_that_cannot_be_read_the_connection_is_closed(wire: Wire, data: bytes, kind: str) -> None:
    wire.write(data)
    answer = wire.read()
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["kind"]) == (None, -32700, kind)
    assert wire.read() is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{nope", -32700),
        (b"[]", -32600),
        (b'{"id":1,"method":"daemon.status"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"daemon.status"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"daemon.statu"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"planning.tasks.get"}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"planning.tasks.get","params":["x"]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"planning.tasks.get","params":{"id":"nobody"}}', -32000),
    ],
)
def test_codes(wire: Wire, body: bytes, code: int) -> None:
    wire.frame(body)
    error = wire.read()["error"]
    assert error["code"] == code
    assert error["message"] == error["data"]["message"]
    assert error["data"]["kind"] in KINDS


def test_faults_stand_in_the_data_of_data(wire: Wire) -> None:
    data = wire.ask(1, "planning.tasks.create", titel="x")["error"]["data"]
    first, _ = data["data"]["faults"]
    assert (data["field"], data["hint"]) == (first["field"], first["hint"]) == ("/titel", "did you mean title?")
    assert len(wire.ask(2, "planning.tasks.create", title="")["error"]["data"]["data"]["faults"]) == 1


# -- calls ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_answered_as_an_array_of_what_has_an_answer(wire: Wire) -> None:
    calls = [{"jsonrpc": "2.0", "id": n, "method": "daemon.status"} for n in ("a", 2)]
    wire.send([*calls, {"jsonrpc": "2.0", "method": "daemon.status"}])
    assert [answer["id"] for answer in wire.read()] == ["a", 2]


def test_an_id_that_waits_is_not_used_twice_and_a_cancelled_call_says_so(wire: Wire) -> None:
    wire.call(1, "probe.hang")
    assert wire.ask(2, "probe.until_hanging")["id"] == 2
    assert wire.ask(1, "daemon.status")["error"]["data"]["kind"] == "conflict"
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}})
    answer = wire.read()
    assert (answer["id"], answer["error"]["data"]["kind"]) == (1, "timeout")
    assert answer["error"]["data"]["data"] == {"cancelled": True}


def test_queries_are_cancelled_while_they_wait_and_while_they_run(wire: Wire) -> None:
    for id in (1, 2):
        wire.call(id, "slow.endless")
    for id in (2, 1):
        wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    errors = [wire.read()["error"]["data"] for _ in range(2)]
    assert [error["kind"] for error in errors] == ["timeout", "timeout"]
    assert [error["data"] for error in errors] == [{"cancelled": True}] * 2


def test_a_query_past_its_deadline_says_which(wire: Wire) -> None:
    error = wire.ask(1, "slow.late")["error"]["data"]
    assert error == {"kind": "timeout", "message": "slow.late took longer than 0.2 s and was stopped"}


def test_progress_and_items(wire: Wire) -> None:
    told = wire.ask(1, "probe.work", steps=1)
    assert told["method"] == "$/progress"
    assert told["params"] == {"id": 1, "done": 1, "total": 1, "message": "step 1"}
    assert wire.read()["result"] == "worked"
    told = wire.ask(2, "probe.count", to=1)
    assert (told["method"], told["params"]) == ("$/item", {"id": 2, "item": 0})
    assert wire.read()["result"] is None


# -- events -----------------------------------------------------------------------------------------------------------


def test_the_answer_comes_first_then_the_reset_then_events(wire: Wire) -> None:
    answer = wire.ask(1, "events.subscribe", cursor="elsewhere:1", types=["planning.*"])["result"]
    assert answer.keys() == {"subscription", "cursor", "head", "min"}
    reset = wire.read()
    assert reset["method"] == "events.reset"
    named = {"subscription": answer["subscription"]}
    assert reset["params"] == {**named, "reason": "other_epoch", "head": answer["head"]}
    made = wire.ask(2, "planning.tasks.create", title="x")["result"]
    told = wire.read()["params"]
    assert told.keys() == {"subscription", "cursor", "event"}
    assert told["cursor"] == told["event"]["id"]
    assert told["event"]["subject"] == f"planning.task/{made['id']}"
    assert wire.ask(3, "events.unsubscribe", **named)["result"] is None


def test_a_batch_is_answered_before_the_events_of_its_subscriptions(wire: Wire) -> None:
    epoch = wire.ask(0, "daemon.status")["result"]["event_head"].partition(":")[0]
    cursors = ("elsewhere:1", f"{epoch}:0", "elsewhere:2")
    asked = [("events.subscribe", {"cursor": cursor, "types": ["planning.*"]}) for cursor in cursors]
    asked.append(("probe.work", {"steps": 0}))
    wire.send(
        [{"jsonrpc": "2.0", "id": id, "method": name, "params": params} for id, (name, params) in enumerate(asked)]
    )
    answers = sorted(wire.read(), key=lambda answer: answer["id"])
    names = [answer["result"]["subscription"] for answer in answers[:3]]
    told = [wire.read() for _ in range(2)]
    assert (told[0]["method"], told[0]["params"]["subscription"]) == ("events.reset", names[0])
    assert (told[1]["method"], told[1]["params"]["subscription"]) == ("events.event", names[1])
    while (last := wire.read())["method"] == "events.event":
        assert last["params"]["subscription"] == names[1]
    assert last["params"]["subscription"] == names[2]


# -- HTTP -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _asked(daemon: RunningDaemon, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    assert daemon.runtime.http is not None
    connection = http.client.HTTPConnection(urlsplit(daemon.runtime.http).netloc, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {daemon.runtime.token}", **headers})
    answer = connection.getresponse()
    yield answer
    answer.close()
    connection.close()


def _block(answer: http.client.HTTPResponse) -> list[str]:
    """Return the lines of the next server-sent block."""
    lines: list[str] = []
    while line := answer.readline().decode().rstrip("\n"):
        lines.append(line)
    return lines


@pytest.mark.parametrize("path", ["/health", "/ready", "/live", "/api/services"])
def test_the_bodies_of_the_daemon_s_own_paths(daemon: RunningDaemon, path: str) -> None:
    told = next(row[1] for row in _rows("Leaving cancels it.", 2) if row[0] == path)
    members = re.search(r"\{([^{}]*)\}", told)
    assert members is not None
    with _asked(daemon, path) as answer:
        said = json.loads(answer.read())
    first = said["items"][0] if "items" in said else said
    assert list(first) == re.findall(r"\w+", members[1].split(":")[0] if path == "/live" else members[1])
    if path == "/health":
        assert (said["status"], said["service"], said["dependencies"]["database"]) == (
            "healthy",
            "coder-local",
            "connected",
        )
        assert {"planning", "probe", "slow"} <= said["dependencies"].keys()


def test_nothing_is_said_without_a_token(daemon: RunningDaemon) -> None:
    for path in ("/health", "/live", "/nowhere"):
        with _asked(daemon, path, Authorization="Bearer wrong") as answer:
            problem = json.loads(answer.read())
            assert answer.status == 401
        assert problem.keys() == {"type", "title", "status", "detail", "kind", "message", "hint", "request_id"}
        assert (problem["type"], problem["detail"]) == ("urn:coder-local:error:refused", problem["message"])


def test_a_stream_is_items_and_an_end(daemon: RunningDaemon) -> None:
    with _asked(daemon, "/api/probe/count?to=2") as answer:
        blocks = [each for each in answer.read().decode().split("\n\n") if each.strip(":\n")]
    assert blocks == ["event: item\ndata: 0", "event: item\ndata: 1", "event: end\ndata: null"]
    with _asked(daemon, "/api/probe/count?to=many") as answer:
        assert answer.status == 422


def test_server_sent_events(daemon: RunningDaemon) -> None:
    head = daemon.call("daemon.status")["event_head"]
    with _asked(daemon, "/events?types=planning.task.created&types=planning.link.*") as answer:
        assert _block(answer) == ["retry: 1000", f"id: {head}"]
        made = daemon.call("planning.tasks.create", title="x")
        name, id, data = _block(answer)
        event = json.loads(data.removeprefix("data: "))
        assert (name, id, event["data"]["id"]) == ("event: event", f"id: {event['id']}", made["id"])
    with _asked(daemon, f"/events?cursor={event['id']}", **{"Last-Event-ID": head}) as answer:
        assert _block(answer) == ["retry: 1000", f"id: {head}"]
        assert _block(answer) == [name, id, data]


def test_a_reader_that_breaks_off_before_its_reset_is_told_of_it_again(daemon: RunningDaemon) -> None:
    head = daemon.call("daemon.status")["event_head"]
    for _ in range(2):
        with _asked(daemon, "/events", **{"Last-Event-ID": "elsewhere:1"}) as answer:
            assert _block(answer) == ["retry: 1000"]  # an id here would move the reader past what it was not told
            said = json.dumps({"reason": "other_epoch", "head": head}, separators=(",", ":"))
            assert _block(answer) == ["event: reset", f"id: {head}", f"data: {said}"]


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_frames_of_ws(daemon: RunningDaemon, browser: aiohttp.ClientSession) -> None:
    bearer = {"Authorization": f"Bearer {daemon.runtime.token}"}
    async with browser.ws_connect(f"{daemon.runtime.http}/ws?cursor=elsewhere:1", headers=bearer) as ws:
        hello = (await ws.receive_json())["hello"]
        assert list(hello) == ["protocol", "version", "cursor", "head", "min"]
        assert await ws.receive_json() == {"reset": {"reason": "other_epoch", "head": hello["head"]}}
        await ws.send_str("what is sent is ignored")
        made = daemon.call("planning.tasks.create", title="x")
        assert (await ws.receive_json())["event"]["data"]["id"] == made["id"]


async def test_a_page_offers_its_token_as_a_subprotocol(daemon: RunningDaemon, browser: aiohttp.ClientSession) -> None:
    assert daemon.runtime.http is not None
    offer = ("coder-local.v1", f"coder-local.token.{daemon.runtime.token}")
    rpc = f"{daemon.runtime.http}/rpc"
    async with browser.ws_connect(rpc, headers={"Origin": daemon.runtime.http}, protocols=offer) as ws:
        assert ws.protocol == "coder-local.v1"
        for send in (ws.send_str, lambda text: ws.send_bytes(text.encode())):
            await send('{"jsonrpc":"2.0","id":1,"method":"initialize"}')
            assert (await ws.receive_json())["result"]["pid"] == daemon.runtime.pid
    for headers, protocols in (({}, offer), ({"Origin": "https://elsewhere.example"}, offer)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.ws_connect(rpc, headers=headers, protocols=protocols)
        assert refused.value.status in {401, 403}
