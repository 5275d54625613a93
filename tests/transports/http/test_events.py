"""Events pushed over `/events` and `/ws`, streams, and JSON-RPC over `/rpc`."""

import asyncio
import json
import socket as sockets

import aiohttp
import pytest

from coder_local._transports.jsonrpc import batch
from coder_local.api import Domain, Snapshot

from . import workshop
from .conftest import PAGE, Served


class Reader:
    """Reads server-sent events as a browser does."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""
        self.comments = 0

    async def next(self):
        event, data = "message", []
        async with asyncio.timeout(10):
            while True:
                line = (await self.answer.content.readline()).decode()
                assert line, "the stream ended"
                line = line.rstrip("\n")
                if not line:
                    if data:
                        return event, json.loads("\n".join(data))
                    event = "message"
                    continue
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "":
                    self.comments += 1
                    return "comment", None
                if name == "event":
                    event = value
                elif name == "id":
                    self.last_id = value
                elif name == "data":
                    data.append(value)


async def listen(http: Served, path: str = "/events", **headers: str) -> Reader:
    answer = await http.session.get(http.base + path, headers=http.headers(**headers))
    assert answer.status == 200, await answer.text()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return Reader(answer)


async def note(http: Served, title: str):
    return await http.call("notes.create", workspace="w", title=title)


async def events(reader: Reader, count: int):
    found = []
    while len(found) < count:
        event, data = await reader.next()
        if event == "event":
            found.append(data)
    return found


async def test_events_come_as_they_are_committed(http):
    reader = await listen(http)
    made = await note(http, "a")
    (event,) = await events(reader, 1)
    assert event["type"] == "notes.note.created"
    assert event["subject"] == f"notes.note/{made['id']}"
    assert event["id"] == reader.last_id == f"{http.kernel.feed.epoch}:{event['sequence']}"
    reader.answer.close()


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_reader_resumes_where_it_broke_off(http, way):
    reader = await listen(http)
    await note(http, "a")
    await events(reader, 1)
    seen = reader.last_id
    reader.answer.close()
    made = [await note(http, title) for title in "bcd"]
    again = await listen(http, Last_Event_ID=seen) if way == "header" else await listen(http, f"/events?cursor={seen}")
    assert [event["data"]["id"] for event in await events(again, 3)] == [each["id"] for each in made]
    again.answer.close()


async def test_a_reader_that_breaks_off_before_any_event_misses_none(http):
    reader = await listen(http)
    while not reader.last_id:  # comes with the first, empty block
        line = (await reader.answer.content.readline()).decode()
        if line.startswith("id: "):
            reader.last_id = line[4:].strip()
    reader.answer.close()
    made = await note(http, "in the gap")
    again = await listen(http, Last_Event_ID=reader.last_id)
    assert (await events(again, 1))[0]["data"]["id"] == made["id"]
    again.answer.close()


@pytest.mark.parametrize(("cursor", "reason"), [("another:1", "other_epoch"), ("{epoch}:99999", "ahead")])
async def test_a_cursor_that_cannot_be_served_gets_a_reset_and_goes_on_from_the_head(http, cursor, reason):
    await note(http, "a")
    reader = await listen(http, Last_Event_ID=cursor.replace("{epoch}", http.kernel.feed.epoch))
    event, data = await reader.next()
    assert (event, data["reason"]) == ("reset", reason)
    assert reader.last_id == data["head"]
    made = await note(http, "b")
    assert (await events(reader, 1))[0]["data"]["id"] == made["id"]
    reader.answer.close()


async def test_events_are_chosen_by_type_and_subject(http):
    first, second = await note(http, "a"), await note(http, "b")
    typed = await listen(http, "/events?types=notes.note.pinned&types=notes.note.de*")
    about = await listen(http, f"/events?subjects=notes.note/{second['id']}")
    for each in (first, second):
        await http.call("notes.pin", id=each["id"])
    await http.call("notes.delete", id=second["id"])
    assert [event["type"] for event in await events(typed, 3)] == [
        "notes.note.pinned",
        "notes.note.pinned",
        "notes.note.deleted",
    ]
    assert {event["subject"] for event in await events(about, 3)} == {f"notes.note/{second['id']}"}
    typed.answer.close()
    about.answer.close()


async def test_a_bad_cursor_or_field_is_refused_before_the_stream_begins(http):
    for path, field in (
        ("/events?cursor=nonsense", "/cursor"),
        ("/events?curser=1", "/curser"),
        ("/ws?type=x", "/type"),
    ):
        status, problem, _ = await http.ask("GET", path)
        assert (status, problem["field"]) == (422, field)


async def test_an_idle_stream_beats(http):
    http.server._events._heartbeat = 0.02
    reader = await listen(http)
    assert await reader.next() == ("comment", None)
    assert await reader.next() == ("comment", None)
    reader.answer.close()


async def test_a_token_hears_of_its_own_domains_alone(http):
    made = await http.new_token(name="ear", scopes=["read"], domains=["notes"])
    reader = await listen(http, Authorization=f"Bearer {made.token}")
    await http.call("workshop.parts.create", title="screw")
    await note(http, "a")
    assert (await events(reader, 1))[0]["type"] == "notes.note.created"
    reader.answer.close()
    deaf = await http.new_token(name="deaf", scopes=["write"])
    assert (await http.ask("GET", "/events", token=deaf.token))[0] == 403


async def test_a_revoked_token_loses_its_open_streams(http):
    http.server._events._heartbeat = 0.05
    made = await http.new_token(name="ear", scopes=["read"])
    headers = {"Authorization": f"Bearer {made.token}"}
    reader = await listen(http, **headers)
    async with http.session.ws_connect(http.base + "/ws", headers=headers) as socket:
        await socket.receive_json()
        await http.revoke(made.info.id)
        async with asyncio.timeout(5):
            await reader.answer.content.read()
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4401


@pytest.mark.parametrize("path", ["/events", "/ws"])
async def test_a_reader_that_does_not_read_costs_no_memory_and_misses_nothing(http, path):
    """Its socket buffers are filled, then it is paused; nothing is kept for it, and it catches up from the log."""
    slow = sockets.socket()
    slow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(slow, ("127.0.0.1", http.port))
    lines = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    await loop.sock_sendall(slow, http.head("GET", path, *(lines if path == "/ws" else ())).encode())
    async with asyncio.timeout(5):
        while not len(http.kernel.feed):
            await asyncio.sleep(0)
    (subscription,) = http.kernel.feed._subscriptions
    count = 0
    async with asyncio.timeout(60):
        while not subscription.paused or count < 2000:
            await asyncio.gather(*(note(http, "x") for _ in range(200)))
            count += 200
            assert count < 60_000, "it was never paused"
    (connection,) = [each for each in http.server._runner.server.connections if each._current_request is not None]
    held = connection.transport.get_write_buffer_size()
    assert held < 300_000
    await asyncio.gather(*(note(http, "y") for _ in range(200)))
    assert connection.transport.get_write_buffer_size() == held
    last = f'"id":"{http.kernel.feed.epoch}:{count + 200}"'.encode()
    received = b""
    async with asyncio.timeout(60):
        while last not in received:
            received += await loop.sock_recv(slow, 1 << 16)
    assert received.count(b'"notes.note.created"') == count + 200
    slow.close()


async def test_a_websocket_says_hello_and_then_events(http):
    await note(http, "before")
    async with http.session.ws_connect(http.base + "/ws", headers=http.headers()) as socket:
        hello = (await socket.receive_json())["hello"]
        assert hello["cursor"] == hello["head"]
        made = await note(http, "a" * 200)
        event = (await socket.receive_json())["event"]
        assert event["data"]["id"] == made["id"]
        seen = event["id"]
    later = await note(http, "later")
    async with http.session.ws_connect(f"{http.base}/ws?cursor={seen}", headers=http.headers()) as socket:
        await socket.receive_json()
        assert (await socket.receive_json())["event"]["data"]["id"] == later["id"]
    async with http.session.ws_connect(http.base + "/ws?cursor=other:1", headers=http.headers()) as socket:
        await socket.receive_json()
        assert (await socket.receive_json())["reset"]["reason"] == "other_epoch"


async def test_a_crowd_of_listeners_all_hear(http):
    async with asyncio.timeout(60):
        listening = [await http.session.ws_connect(http.base + "/ws", headers=http.headers()) for _ in range(200)]
        for each in listening:
            await each.receive_json()
        made = await note(http, "for all")
        heard = await asyncio.gather(*(each.receive_json() for each in listening))
        assert {each["event"]["data"]["id"] for each in heard} == {made["id"]}
        assert http.kernel.clients.count == 200
        await asyncio.gather(*(each.close() for each in listening))
        while http.kernel.clients.count or len(http.kernel.feed):
            await asyncio.sleep(0)


async def test_a_listener_that_talks_too_much_is_closed(http):
    async with http.session.ws_connect(http.base + "/ws", headers=http.headers()) as socket:
        await socket.receive_json()
        await socket.send_str("x" * 5000)
        message = await socket.receive(timeout=5)
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_a_plain_get_of_a_websocket_is_a_problem(http):
    for path in ("/ws", "/rpc"):
        status, problem, headers = await http.ask("GET", path)
        assert (status, problem["kind"]) == (426, "invalid")
        assert headers["Upgrade"] == "websocket"


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_sends_items_and_an_end(http):
    reader = await listen(http, "/api/workshop/count?to=3")
    found = [await reader.next() for _ in range(5)]
    assert [data["number"] for event, data in found if event == "item"] == [0, 1, 2]
    assert found[-1] == ("end", None)


async def test_a_stream_that_fails_says_how(http):
    reader = await listen(http, "/api/workshop/count?to=3&fail_at=1")
    found = [await reader.next() for _ in range(3)]
    assert found[-1][0] == "error"
    assert (found[-1][1]["kind"], found[-1][1]["status"]) == ("invalid", 422)


async def test_a_stream_that_cannot_begin_answers_a_problem(http):
    status, problem, _ = await http.ask("GET", "/api/workshop/count?to=many")
    assert (status, problem["field"]) == (422, "/to")
    status, body, headers = await http.ask("HEAD", "/api/workshop/count?to=1")
    assert (status, body, headers["Content-Type"]) == (200, b"", "text/event-stream; charset=utf-8")


async def test_a_stream_waits_for_its_reader_and_ends_with_it(http):
    answer = await http.session.get(http.base + "/api/workshop/count?to=100000&size=5000", headers=http.headers())
    reader = Reader(answer)
    for _ in range(10):
        await reader.next()
    (connection,) = [each for each in http.server._runner.server.connections if each._current_request is not None]
    assert connection.transport.get_write_buffer_size() < 1_000_000
    assert http.kernel.dispatcher.streams == 1
    answer.close()
    async with asyncio.timeout(5):
        while http.kernel.dispatcher.streams:
            await asyncio.sleep(0)


# -- actions that tell how far they are --------------------------------------------------------------------------------


async def act(http, path, body, token=None, accept="text/event-stream"):
    fields = http.headers(Accept=accept)
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    return await http.session.post(http.base + path, json=body, headers=fields)


async def told(reader: Reader):
    """Return the next event that is no comment."""
    while (found := await reader.next())[0] == "comment":
        pass
    return found


async def test_an_action_tells_its_progress_and_then_its_result_to_who_asks_for_it(http):
    answer = await act(http, "/api/workshop/saw", {"parts": 3}, accept="text/event-stream, application/json;q=0.5")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    reader = Reader(answer)
    found = [await told(reader)]
    while found[-1][0] == "progress":
        found.append(await told(reader))
    assert found[-1] == ("result", "3 pieces")
    assert found[-2] == ("progress", {"done": 3, "total": 3, "message": "piece 3"})
    assert found[0] == ("progress", {"done": 1, "total": 3, "message": "piece 1"})


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/event-stream", "application/json"])
async def test_whoever_does_not_ask_for_progress_gets_the_result_alone(http, accept):
    answer = await act(http, "/api/workshop/saw", {"parts": 3}, accept=accept)
    assert (answer.status, await answer.json()) == (200, "3 pieces")


async def test_an_action_that_fails_on_its_way_says_how(http):
    reader = Reader(await act(http, "/api/workshop/saw", {"parts": 3, "break_at": 1}))
    found = [await told(reader) for _ in range(2)]
    assert [event for event, _ in found] == ["progress", "error"]
    assert (found[1][1]["kind"], found[1][1]["status"], found[1][1]["field"]) == ("invalid", 422, "/break_at")


async def test_an_action_that_cannot_begin_answers_an_ordinary_problem(http):
    answer = await act(http, "/api/workshop/saw", {"parts": "many"})
    assert (answer.status, (await answer.json())["field"]) == (422, "/parts")
    answer = await http.session.post(
        http.base + "/api/workshop/saw",
        data=b"{",
        headers=http.headers(Accept="text/event-stream", Content_Type="application/json"),
    )
    assert (answer.status, (await answer.json())["kind"]) == (400, "invalid")
    token = (await http.new_token(name="writer", scopes=["write"])).token
    answer = await act(http, "/api/workshop/saw", {"parts": 1}, token=token)
    assert (answer.status, (await answer.json())["kind"]) == (403, "refused")
    answer = await act(http, "/api/workshop/clear", {"what": "all"})
    assert (answer.status, (await answer.json())["kind"]) == (428, "needs_confirmation")


async def test_leaving_cancels_an_action_that_tells_its_progress(http):
    workshop.stopped.clear()
    answer = await act(http, "/api/workshop/wait", {"name": "progress"})
    answer.close()
    async with asyncio.timeout(5):
        while "progress" not in workshop.stopped:
            await asyncio.sleep(0)


# -- JSON-RPC over a WebSocket ----------------------------------------------------------------------------------------


async def test_answers_over_a_websocket_that_nobody_reads_are_kept_up_to_a_limit(http, monkeypatch):
    size, count = 1024 * 1024, 100
    monkeypatch.setattr(batch, "ANSWERS_LIMIT", 8 * size)
    large = Domain("large")

    @large.query("large.text")
    def text(read: Snapshot) -> str:
        """Answer with a large text."""
        return "x" * size

    assert http.kernel.take(large).loaded
    async with http.session.ws_connect(http.base + "/rpc", headers=http.headers(), max_msg_size=0) as socket:
        for number in range(count):
            await socket.send_json({"jsonrpc": "2.0", "id": number, "method": "large.text"})
        while http.kernel.store.reading == 0:
            await asyncio.sleep(0)
        while http.kernel.store.reading:
            await asyncio.sleep(0)
        answers = [await socket.receive_json() for _ in range(count)]
    kept = sum("result" in answer for answer in answers)
    assert 1 <= kept < count / 2
    errors = {answer["error"]["data"]["kind"] for answer in answers if "error" in answer}
    assert errors == {"too_large"}


async def test_json_rpc_over_a_websocket(http):
    async with http.session.ws_connect(http.base + "/rpc", headers=http.headers()) as socket:
        await socket.send_json(
            {"jsonrpc": "2.0", "id": 1, "method": "notes.create", "params": {"workspace": "w", "title": "a"}}
        )
        made = (await socket.receive_json())["result"]
        await socket.send_json({"jsonrpc": "2.0", "id": 2, "method": "events.subscribe", "params": {}})
        assert "cursor" in (await socket.receive_json())["result"]
        await socket.send_bytes(
            json.dumps({"jsonrpc": "2.0", "id": 3, "method": "notes.pin", "params": {"id": made["id"]}}).encode()
        )
        messages = [await socket.receive_json() for _ in range(3)]
        assert [each["result"]["pinned"] for each in messages if each.get("id") == 3] == [True]
        assert {each["params"]["event"]["type"] for each in messages if "method" in each} == {
            "notes.note.updated",
            "notes.note.pinned",
        }
        await socket.send_str("{nonsense")
        assert (await socket.receive_json())["error"]["code"] == -32700


async def test_a_caller_that_does_not_read_its_answers_is_not_read_from(http):
    made = await http.call("notes.create", workspace="w", title="a", body="x" * 90_000)
    async with http.session.ws_connect(http.base + "/rpc", headers=http.headers(), max_msg_size=0) as socket:
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "notes.get", "params": {"id": made["id"]}})
        count = 600

        async def flood():
            for _ in range(count):
                await socket.send_str(request)

        flooding = asyncio.ensure_future(flood())
        connection = None
        async with asyncio.timeout(20):
            while connection is None or not connection.writing_paused:
                await asyncio.sleep(0)
                busy = [each for each in http.server._runner.server.connections if each._current_request is not None]
                connection = busy[0] if busy else None
        assert connection.transport.get_write_buffer_size() < 1_000_000
        async with asyncio.timeout(60):
            answers = [await socket.receive_json() for _ in range(count)]
        await flooding
        assert all(each["result"]["id"] == made["id"] for each in answers)


async def test_a_scoped_token_is_held_to_its_scope_on_rpc(http):
    made = await http.new_token(name="reader", scopes=["read"])
    headers = {"Authorization": f"Bearer {made.token}", "Origin": PAGE}
    async with http.session.ws_connect(http.base + "/rpc", headers=headers) as socket:
        await socket.send_json(
            {"jsonrpc": "2.0", "id": 1, "method": "notes.create", "params": {"workspace": "w", "title": "a"}}
        )
        assert (await socket.receive_json())["error"]["data"]["kind"] == "refused"
        await http.revoke(made.info.id)
        await socket.send_json({"jsonrpc": "2.0", "id": 2, "method": "notes.list", "params": {}})
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4401


async def test_stopping_tells_every_listener(http):
    reader = await listen(http)
    socket = await http.session.ws_connect(http.base + "/ws", headers=http.headers())
    rpc = await http.session.ws_connect(http.base + "/rpc", headers=http.headers())
    await socket.receive_json()
    stopping = asyncio.ensure_future(http.server.stop())
    async with asyncio.timeout(10):
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert (await rpc.receive()).type is aiohttp.WSMsgType.CLOSE
        await reader.answer.content.read()
        await stopping
    assert (socket.close_code, rpc.close_code) == (1001, 1001)
