"""Steps of kind `http` against a server of the test: what they answer, what is tried again, and with which key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from coder_local.api import Invalid
from coder_plugins.execution import domain as execution

from . import world as worlds
from .bench import Bench, step, work, wrong

RETRY = {"max": 3, "first": "PT0S", "on": ["server", "connection"]}


class Service:
    """Keeps what it was asked, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs, dict(request.headers), await request.text()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response({"n": len(self.asked), "echo": request.headers.get("X-Key")}, status=status)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def plugins() -> list[Any]:
    return [execution, worlds.world, worlds.secrets]


async def test_a_request_and_its_answer(bench: Bench, service: Service) -> None:
    id = await bench.finish(
        step("a", "http", {"url": f"{service.url}/x?y=1", "method": "POST", "json": {"b": 1}}),
        work("b", "a", output="${{ steps.a.output.json.n }}"),
    )
    output = bench.steps(id)["a"]["output"]
    assert (output["status"], output["json"], output["whole"]) == (200, {"n": 1, "echo": None}, True)
    assert bench.steps(id)["b"]["output"] == 1
    method, path, headers, body = service.asked[0]
    assert (method, path, headers["Content-Type"], body) == ("POST", "/x?y=1", "application/json", '{"b":1}')


async def test_a_server_in_trouble_is_asked_again_with_the_same_key(bench: Bench, service: Service) -> None:
    service.statuses = [503, 500]
    asked = {"url": service.url, "method": "POST", "body": "x", "idempotency_header": "Idempotency-Key"}
    id = await bench.finish(step("a", "http", asked, retry=RETRY))
    assert bench.run(id)["status"] == "succeeded"
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in service.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert [each["error"] and each["error"]["word"] for each in bench.attempts(id, "a")] == ["server", "server", None]


async def test_a_wrong_request_is_not_asked_again(bench: Bench, service: Service) -> None:
    service.statuses = [404]
    id = await bench.finish(step("a", "http", {"url": service.url}, retry={**RETRY, "on": []}))
    error = bench.steps(id)["a"]["error"]
    assert (error["word"], error["data"]["status"], len(service.asked)) == ("status", 404, 1)
    service.statuses = [404]
    id = await bench.finish(step("a", "http", {"url": service.url, "ok_statuses": [404]}))
    assert bench.run(id)["status"] == "succeeded"


async def test_nobody_there(bench: Bench, service: Service) -> None:
    id = await bench.finish(step("a", "http", {"url": "http://127.0.0.1:1/"}, retry=RETRY))
    assert [each["error"]["word"] for each in bench.attempts(id, "a")] == ["connection"] * 3


async def test_a_secret_that_the_server_gives_back_is_kept_nowhere(bench: Bench, service: Service) -> None:
    id = await bench.finish(step("a", "http", {"url": service.url, "headers": {"X-Key": "secret://service/key"}}))
    assert service.asked[0][2]["X-Key"] == worlds.SECRET
    output = bench.steps(id)["a"]["output"]
    assert output["json"]["echo"] == "***"
    assert worlds.SECRET not in str(bench.call("execution.runs.record", id=id))


async def test_a_secret_inside_a_longer_header(bench: Bench, service: Service) -> None:
    headers = {"X-Key": "Bearer secret://service/key", "X-Number": 7}
    id = await bench.finish(step("a", "http", {"url": service.url, "headers": headers}))
    assert service.asked[0][2]["X-Key"] == f"Bearer {worlds.SECRET}"
    assert service.asked[0][2]["X-Number"] == "7"
    assert bench.steps(id)["a"]["output"]["json"]["echo"] == "Bearer ***"
    assert worlds.SECRET not in str(bench.call("execution.runs.record", id=id))


async def test_what_a_request_cannot_be(bench: Bench) -> None:
    url = "http://127.0.0.1/"
    wrong(bench.refused(step("a", "http", {"url": "ftp://x/y"})), Invalid, "/steps/0/input/url")
    both = {"url": url, "body": "x", "json": 1}
    wrong(bench.refused(step("a", "http", both)), Invalid, "/steps/0/input/body", "either body or json")
    split = {"url": url, "headers": {"X": "a\r\nB: c"}}
    wrong(bench.refused(step("a", "http", split)), Invalid, "/steps/0/input/headers/X", "one line")
