"""What a hostile page, a stranger's process and a rebinding name get: nothing. Over real sockets."""

import asyncio
import json
import logging

import aiohttp
import pytest

from coder_local._admission.limits import Limits
from coder_local._daemon.core import audit

from .conftest import PAGE, read_answer, serve

PATHS = (
    "/health",
    "/ready",
    "/live",
    "/openapi.json",
    "/api/services",
    "/api/notes",
    "/events",
    "/ws",
    "/rpc",
    "/nowhere",
)
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def nothing_leaked(answer, served):
    """A refusal is one problem that tells nothing of the daemon, its paths, its caller or its version."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["server"] == "coder-local"
    assert "access-control-allow-origin" not in answer.headers
    assert "etag" not in answer.headers
    text = answer.body.decode() + str(answer.headers)
    for secret in (served.token, str(served.kernel.store.folder), "Traceback", "aiohttp", "Python", "notes", "plugin"):
        assert secret not in text
    return problem


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_is_open_without_a_token(http, path):
    for method in ("GET", "POST", "OPTIONS", "PUT", "DELETE"):
        lines = UPGRADE if path in {"/ws", "/rpc"} else ()
        answer = await http.raw(http.head(method, path, *lines, auth=False))
        problem = nothing_leaked(answer, http)
        assert (answer.status, problem["kind"]) == (401, "refused")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer wrong",
        "Authorization: Bearer ",
        "Authorization: Bearer",
        "Authorization: Basic {token}",
        "Authorization: {token}",
        "Authorization: Bearer {token}x",
        "Authorization: Bearer clt_" + "A" * 43,
        "Authorization: Bearer \udcff",
        "Authorization: Bearer {token}\r\nAuthorization: Bearer wrong",
        "Cookie: token={token}",
        "X-Token: {token}",
        "Sec-WebSocket-Protocol: coder-local.v1, coder-local.token.{token}",
    ],
)
async def test_a_wrong_token_is_refused_wherever_it_stands(http, line):
    text = http.head("GET", "/api/notes", line.replace("{token}", http.token), auth=False)
    answer = await http.raw(text.encode("utf-8", "surrogateescape"))
    assert (answer.status, nothing_leaked(answer, http)["kind"]) == (401, "refused")


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "bearer"])
async def test_a_token_in_a_url_is_no_token(http, name):
    answer = await http.raw(http.head("GET", f"/api/notes?{name}={http.token}", auth=False))
    assert answer.status == 401
    nothing_leaked(answer, http)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:{port}.evil.example",
        "127.0.0.1.nip.io:{port}",
        "localhost.:{port}",
        "0.0.0.0:{port}",
        "127.1:{port}",
        "[::]:{port}",
        "",
        "127.0.0.1:{port}@evil.example",
        "user@127.0.0.1:{port}",
    ],
)
async def test_a_name_that_is_not_ours_is_refused_even_with_the_token(http, host):
    for path in ("/api/notes", "/health", "/ws"):
        answer = await http.raw(http.head("GET", path, host=host.replace("{port}", str(http.port)) or " "))
        assert answer.status in {400, 403}
        nothing_leaked(answer, http)


async def test_two_hosts_or_none_are_refused(http):
    answer = await http.raw(http.head("GET", "/health", f"Host: localhost:{http.port}"))
    assert answer.status in {400, 403}
    answer = await http.raw(f"GET /health HTTP/1.1\r\nAuthorization: Bearer {http.token}\r\n\r\n")
    assert answer.status in {400, 403}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_our_own_names_are_served(http, host):
    answer = await http.raw(http.head("GET", "/live", host=f"{host}:{http.port}"))
    assert answer.status == 200


async def test_a_request_as_proxies_make_them_names_the_same_host(http):
    answer = await http.raw(http.head("GET", f"http://127.0.0.1:{http.port}/live"))
    assert answer.status == 200
    answer = await http.raw(http.head("GET", "http://evil.example/live"))
    assert answer.status == 404


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost", "http://localhost:5173", "file://", PAGE + "x", ""]
)
async def test_a_page_that_is_not_allowed_gets_nothing_even_with_the_token(http, origin):
    for path, lines in (("/api/notes", ()), ("/health", ()), ("/ws", UPGRADE), ("/rpc", UPGRADE), ("/events", ())):
        answer = await http.raw(http.head("GET", path, f"Origin: {origin}", *lines))
        assert (answer.status, nothing_leaked(answer, http)["data"]["rule"]) == (403, "origin")


async def test_two_origins_are_refused(http):
    answer = await http.raw(http.head("GET", "/live", f"Origin: {PAGE}", "Origin: https://evil.example"))
    assert answer.status in {400, 403}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_an_image_or_a_navigation_of_a_page_is_refused(http, site):
    answer = await http.raw(http.head("GET", "/api/notes", f"Sec-Fetch-Site: {site}"))
    assert (answer.status, nothing_leaked(answer, http)["data"]["rule"]) == (403, "origin")
    assert (await http.raw(http.head("GET", "/live", "Sec-Fetch-Site: none"))).status == 200


async def test_an_allowed_page_may_read_the_answer(http):
    answer = await http.raw(http.head("GET", "/live", f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site"))
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    answer = await http.raw(http.head("GET", "/nowhere", f"Origin: {PAGE}"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (404, PAGE)
    answer = await http.raw(http.head("GET", "/live", f"Origin: http://127.0.0.1:{http.port}"))
    assert answer.status == 200


async def test_a_preflight_is_answered_for_allowed_pages_alone(http):
    lines = ("Access-Control-Request-Method: PATCH", "Access-Control-Request-Private-Network: true")
    answer = await http.raw(http.head("OPTIONS", "/api/notes", f"Origin: {PAGE}", *lines, auth=False))
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in answer.headers
    for line in ("Origin: https://evil.example", "Origin: null", "X-No: origin"):
        answer = await http.raw(http.head("OPTIONS", "/api/notes", line, *lines, auth=False))
        assert answer.status in {401, 403}
        nothing_leaked(answer, http)
    answer = await http.raw(
        http.head("OPTIONS", "/api/notes", f"Origin: {PAGE}", *lines, auth=False, host="evil.example")
    )
    assert answer.status == 403


async def test_a_page_gives_its_token_as_a_subprotocol(http):
    offer = ("coder-local.v1", f"coder-local.token.{http.token}")
    async with http.session.ws_connect(http.base + "/ws", protocols=offer, headers={"Origin": PAGE}) as socket:
        assert socket.protocol == "coder-local.v1"
        assert "hello" in await socket.receive_json()
    for headers, protocols in (
        ({"Origin": "https://evil.example"}, offer),
        ({}, offer),
        ({"Origin": PAGE}, ("coder-local.v1", "coder-local.token.wrong")),
        ({"Origin": PAGE}, (f"coder-local.token.{http.token}",)),
        ({"Origin": PAGE}, ()),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.session.ws_connect(http.base + "/rpc", protocols=protocols, headers=headers)
        assert refused.value.status in {401, 403}


async def test_a_token_that_is_offered_in_vain_is_not_logged(http, caplog):
    offer = f"Sec-WebSocket-Protocol: coder-local.token.{http.token}"
    answer = await http.raw(http.head("GET", "/ws", *UPGRADE, offer))
    assert (answer.status, answer.json()["kind"]) == (400, "invalid")
    assert http.token not in caplog.text + answer.body.decode()


async def test_failed_authentication_is_slowed_down_and_never_holds_up_the_owner(http):
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    statuses = []
    for _ in range(40):
        writer.write(http.head("GET", "/health", auth=False).encode())
        answer = await read_answer(reader)
        statuses.append(answer.status)
    writer.close()
    assert statuses[:20] == [401] * 20
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["data"]["retry_after_ms"] >= 1
    assert (await http.ask("GET", "/health"))[0] == 200


async def test_a_scoped_token_may_do_what_it_names_and_no_more(http):
    made = await http.new_token(name="reader", scopes=["read"], domains=["notes"])
    assert made.token.startswith("clt_")
    assert (await http.ask("GET", "/api/notes", token=made.token))[0] == 200
    for path, body, rule in (
        ("/api/notes", {"workspace": "w", "title": "t"}, "scope"),
        ("/api/workshop/parts", {"title": "t"}, "domain"),
        ("/api/workshop/sign", {"name": "n"}, "domain"),
    ):
        status, problem, _ = await http.ask("POST", path, body, token=made.token)
        assert (status, problem["kind"], problem["data"]["rule"]) == (403, "refused", rule)
        assert "tokens.create" in problem["hint"]
    await http.revoke(made.info.id)
    assert (await http.ask("GET", "/api/notes", token=made.token))[0] == 401


async def test_an_agent_cannot_do_what_is_for_a_person(http):
    made = await http.new_token(name="robot", scopes=["read", "write"])
    status, problem, _ = await http.ask("POST", "/api/workshop/sign", {"name": "me"}, token=made.token)
    assert (status, problem["data"]["rule"]) == (403, "person_only")
    assert (await http.ask("POST", "/api/workshop/sign", {"name": "me"}))[:2] == (200, "me")


async def test_a_confirmation_of_another_caller_confirms_nothing(http):
    made = await http.new_token(name="robot", scopes=["read", "write", "destructive"])
    _, problem, _ = await http.ask("POST", "/api/workshop/burn", {"what": "x"})
    status, _, _ = await http.ask(
        "POST", "/api/workshop/burn", {"what": "x"}, token=made.token, X_Confirm=problem["data"]["confirm"]
    )
    assert status == 428


async def test_a_scoped_token_is_limited_at_every_path(http):
    made = await http.new_token(name="busy", scopes=["read"], limits=Limits(per_second=1, burst=3))
    statuses = [
        (await http.ask("GET", path, token=made.token))[0] for path in ("/health", "/api/notes", "/live", "/health")
    ]
    assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/nothing", None),
        ("PUT", "/api/notes", None),
        ("GET", "/api/notes?limit=many", None),
        ("POST", "/api/notes?title=a", {}),
        ("PATCH", "/api/notes/x", {"id": "y"}),
    ],
)
async def test_what_no_operation_takes_counts_against_the_limit_of_its_token(http, method, path, body):
    made = await http.new_token(name="busy", scopes=["read", "write"], limits=Limits(per_second=1, burst=3))
    statuses = [(await http.ask(method, path, body, token=made.token))[0] for _ in range(4)]
    assert all(400 <= status < 429 for status in statuses[:3]), statuses
    assert statuses[3] == 429


async def test_a_request_counts_once_and_calls_of_a_websocket_count_each(http):
    made = await http.new_token(name="busy", scopes=["read", "write"], limits=Limits(per_second=1, burst=5))
    status, note, _ = await http.ask("POST", "/api/notes", {"workspace": "w", "title": "a"}, token=made.token)
    assert status == 201
    changed = {"meta": {"colour": "red"}}  # an object is merged: it is read before it is written
    assert (await http.ask("PATCH", f"/api/notes/{note['id']}", changed, token=made.token))[0] == 200
    headers = {"Authorization": f"Bearer {made.token}"}
    async with http.session.ws_connect(http.base + "/rpc", headers=headers) as socket:
        kinds = []
        for number in range(3):
            call = {"jsonrpc": "2.0", "id": number, "method": "notes.get", "params": {"id": note["id"]}}
            await socket.send_json(call)
            kinds.append(json.loads((await socket.receive(5)).data).get("error", {}).get("data", {}).get("kind"))
    assert kinds == [None, None, "rate_limited"]


async def test_there_is_a_limit_on_connections_and_room_again_when_one_ends(tmp_path):
    async with serve(tmp_path, most=lambda: 8) as http:
        opened = [await asyncio.open_connection("127.0.0.1", http.port) for _ in range(8)]
        for reader, writer in opened:
            writer.write(http.head("GET", "/live").encode())
            assert (await read_answer(reader)).status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(http.head("GET", "/live").encode())
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await read_answer(reader)
        writer.close()
        opened[0][1].close()
        async with asyncio.timeout(10):
            while True:
                try:
                    answer = await http.raw(http.head("GET", "/live", "Connection: close"))
                except (ConnectionError, asyncio.IncompleteReadError):
                    continue  # the daemon has not read yet that the other one left
                break
        assert answer.status == 200
        for _, other in opened:
            other.close()


# -- bodies -----------------------------------------------------------------------------------------------------------


async def send(http, body: bytes, *lines: str, method: str = "POST", path: str = "/api/notes"):
    head = http.head(method, path, "Content-Type: application/json", f"Content-Length: {len(body)}", *lines)
    return await http.raw(head.encode() + body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"a":NaN}',
        b'{"title":Infinity}',
        b'{"title":"\xff"}',
        b'{"a":1}{',
        b"\xef\xbb\xbf{}",
        b"'a'",
        b'{"a":1,}',
        b"\x00",
    ],
)
async def test_a_body_that_is_not_json_is_a_400(http, body):
    for lines in ((), ("Idempotency-Key: k",)):
        answer = await send(http, body, *lines)
        assert (answer.status, answer.json()["kind"]) == (400, "invalid"), answer.body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"workspace":"w","title":"a\\u0000b"}', "/title"),
        (b'{"workspace":"w","title":"\\ud800"}', "/title"),
        (b'{"workspace":"w","title":"t","body":%s}' % json.dumps("x" * 1_000_000).encode(), "/body"),
        (b"[]", None),
        (b"3", None),
        (b'{"workspace":"w","title":"t","meta":' + b'{"a":' * 100 + b"1" + b"}" * 101, "/meta"),
        (b'{"workspace":"w","title":"t","meta":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ],
)
async def test_json_that_is_no_input_is_a_422_that_names_the_field(http, body, field):
    for lines in ((), ("Idempotency-Key: k",)):
        answer = await send(http, body, *lines)
        problem = answer.json()
        assert (answer.status, problem["kind"]) == (422, "invalid"), problem
        if field is not None:
            assert problem["field"].startswith(field)


async def test_a_deep_patch_is_refused(http):
    note = await http.call("notes.create", workspace="w", title="a")
    body = b'{"meta":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    answer = await send(http, body, method="PATCH", path=f"/api/notes/{note['id']}")
    assert answer.status == 422


async def test_a_body_over_the_limit_is_refused_by_its_length_alone(http):
    head = http.head("POST", "/api/notes", "Content-Type: application/json", f"Content-Length: {17 * 1024 * 1024}")
    answer = await http.raw(head)
    assert (answer.status, answer.json()["data"]["limit"]) == (413, 16 * 1024 * 1024)
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(http):
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(
        http.head("POST", "/api/notes", "Content-Type: application/json", "Transfer-Encoding: chunked").encode()
    )
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    async def pour():
        while True:
            writer.write(chunk)
            await writer.drain()

    pouring = asyncio.ensure_future(pour())
    async with asyncio.timeout(20):
        answer = await read_answer(reader)
    pouring.cancel()
    writer.close()
    assert (answer.status, answer.json()["kind"]) == (413, "too_large")


async def test_a_stranger_cannot_make_us_read_a_body(http):
    head = http.head("POST", "/api/notes", "Content-Type: application/json", "Content-Length: 1000000", auth=False)
    answer = await http.raw(head)
    assert (answer.status, answer.headers["connection"]) == (401, "close")


async def test_a_body_of_another_kind_is_a_415(http):
    for line in ("Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "X-None: x"):
        answer = await http.raw(http.head("POST", "/api/notes", line, "Content-Length: 2") + "{}")
        assert (answer.status, answer.json()["kind"]) == (415, "invalid")
    answer = await send(http, b"{}", "Content-Encoding: gzip")
    assert answer.status == 415


async def test_a_large_body_within_the_limit_passes_after_100_continue(http):
    body = json.dumps({"workspace": "w", "title": "t", "body": "x" * 90_000}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(
        http.head(
            "POST",
            "/api/notes",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        ).encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    answer = await read_answer(reader)
    writer.close()
    assert answer.status == 201


# -- paths, heads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/notes/../../health",
        "/api/./notes",
        "/api//notes",
        "//api/notes",
        "/api/notes/%2e%2e",
        "/api/notes/..%2f..%2fhealth",
        "/api%2fnotes",
        "/API/notes",
        "/api/notes;a=1",
        "/api/notes%00",
        "/api/notes/%00",
        "/api/notes/..",
        "/health/",
        "/health%20",
        "/api/notes/a%2fhistory",
        "/api/notes/\\..\\x",
        "/api/notes/" + "x" * 5000,
    ],
)
async def test_a_path_is_taken_as_it_was_sent(http, path):
    answer = await http.raw(http.head("GET", path))
    assert answer.status in {400, 404, 422}, answer.body
    assert answer.json()["kind"] in {"not_found", "invalid"}


async def test_an_id_is_no_path(http):
    note = await http.call("notes.create", workspace="w", title="a")
    answer = await http.raw(http.head("GET", f"/api/notes/{note['id'].replace('-', '%2D')}"))
    assert (answer.status, answer.json()["id"]) == (200, note["id"])
    answer = await http.raw(http.head("GET", "/api/notes/%ff"))
    assert (answer.status, answer.json()["field"]) == (422, "/id")


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /live HTTP/1.1\r\nBad Header: \x00\r\n\r\n",
        b"POST /api/notes HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_400_that_says_nothing(http, text, caplog):
    with caplog.at_level(logging.CRITICAL, "aiohttp.server"):
        answer = await http.raw(text)
    assert answer.status == 400
    nothing_leaked(answer, http)


async def test_headers_that_are_dripped_in_lose_the_connection(tmp_path):
    async with serve(tmp_path, header_seconds=0.3) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(b"GET /live HTTP/1.1\r\n")

        async def drip():
            while True:
                writer.write(b"X-More: x\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        dripping.cancel()
        writer.close()
        assert (await http.ask("GET", "/live"))[0] == 200


async def test_a_connection_that_is_used_at_leisure_is_kept(tmp_path):
    async with serve(tmp_path, header_seconds=0.2) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        request = http.head("GET", "/live").encode()
        for _ in range(3):
            writer.write(request[:20])
            await asyncio.sleep(0.05)
            writer.write(request[20:])
            assert (await read_answer(reader)).status == 200
            await asyncio.sleep(0.3)
        writer.close()


async def test_pipelined_requests_are_answered_in_order(http):
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    ids = [f"r{number}" for number in range(100)]
    writer.write("".join(http.head("GET", "/api/notes", f"X-Request-Id: {each}") for each in ids).encode())
    assert [(await read_answer(reader)).headers["x-request-id"] for _ in ids] == ids
    writer.close()


async def test_what_was_refused_at_the_door_leaves_a_line_of_audit(tmp_path):
    async with serve(tmp_path) as served:
        await served.raw(served.head("GET", "/api/notes?token=secret", "Authorization: Bearer wrong", auth=False))
        await served.raw(served.head("GET", "/api/notes", "Origin: https://evil.example"))
        await served.raw(served.head("GET", "/api/notes", host="evil.example"))
        served.kernel.take(audit.declare(served.kernel))
        while len(lines := (await served.call("audit.list"))["items"]) < 3:
            await asyncio.sleep(0)
    assert {(line["actor"], line["operation"], line["outcome"]) for line in lines} == {
        ("unknown", "http.request", "refused")
    }
    host = f"127.0.0.1:{served.port}"
    assert [line["detail"] for line in reversed(lines)] == [
        f"token: GET /api/notes, host {host}",
        f"origin: GET /api/notes, host {host}, origin https://evil.example",
        "host: GET /api/notes, host evil.example",
    ]
