"""Runs through every door: what may be asked of them, and following one while connections are cut."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from coder_ipc.aio import Client
from coder_ipc.errors import EXIT_CODES
from coder_local.testing.daemon import RunningDaemon, command, environment
from tests.plugins.execution import acceptance

from .door import Door, Refusal, Shell

pytestmark = pytest.mark.alone


class Commands:
    """The commands that are made from the declarations, with an option for each field."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._data_dir = daemon.data_dir

    def call(self, name: str, /, **input: Any) -> Any:
        options: list[str] = []
        for field, value in input.items():
            text = value if isinstance(value, str) else json.dumps(value)
            options.append(f"--{field.replace('_', '-')}={text}")
        ended = subprocess.run(
            [*command(), "--data-dir", str(self._data_dir), *name.split("."), *options, "--json", "--yes"],
            stdin=subprocess.DEVNULL, env=environment(), capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if ended.returncode == 0:
            return json.loads(ended.stdout)
        wire = json.loads(ended.stderr.splitlines()[-1])
        assert ended.returncode == EXIT_CODES[wire["kind"]]
        raise Refusal(wire)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def commands(daemon: RunningDaemon) -> Iterator[Door]:
    with closing(Commands(daemon)) as door:
        yield door


@pytest.fixture(scope="module")
def agreeing_shell(daemon: RunningDaemon) -> Iterator[Door]:
    with closing(Shell(daemon, "--yes")) as door:
        yield door


@pytest.fixture(scope="module", params=["socket", "rest", "agreeing_shell", "commands"])
def any_door(request: pytest.FixtureRequest) -> Any:
    """Each door behind which an engine runs."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def until(daemon: RunningDaemon) -> Callable[..., str]:
    """Wait until a run has one of some statuses, by following it."""

    def wait(id: str, *statuses: str) -> str:
        with daemon.client() as client:
            timer = threading.Timer(30, client.close)  # or a run that never ends would hold the test
            timer.start()
            try:
                for said in client.items("execution.runs.follow", {"id": id}):
                    if said["type"] == "run" and said["status"] in statuses:
                        return said["status"]
            finally:
                timer.cancel()
        raise AssertionError(id)

    return wait


@pytest.mark.parametrize("example", acceptance.EXAMPLES, ids=lambda each: each.__name__)
def test_example(
    example: Callable[[acceptance.Call, acceptance.Call, Path], None],
    any_door: Door,
    until: Callable[..., str],
    tmp_path: Path,
) -> None:
    if sys.platform == "win32" and example is acceptance.example_logs_and_artifacts:
        pytest.skip("its shell line is for POSIX")
    example(acceptance.agreeing(any_door.call), until, tmp_path)


# -- following --------------------------------------------------------------------------------------------------------

Item = dict[str, Any]
Follow = Callable[[RunningDaemon, str, "str | None"], AsyncIterator[Item]]


async def _by_socket(daemon: RunningDaemon, id: str, cursor: str | None) -> AsyncIterator[Item]:
    client = await Client.connect(daemon.data_dir)
    try:
        async for item in client.items("execution.runs.follow", _input(id, cursor)):
            yield item
    finally:
        await client.close()


async def _by_sse(daemon: RunningDaemon, id: str, cursor: str | None) -> AsyncIterator[Item]:
    query = urlencode({} if cursor is None else {"cursor": cursor})
    url = f"{daemon.runtime.http}/api/execution/runs/{id}/follow?{query}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {daemon.runtime.token}"}) as session,
        session.get(url) as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        word = ""
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                word = value
            elif name == "data" and word == "item":
                yield json.loads(value)
            elif name == "data":
                assert word == "end", value
                return


async def _by_websocket(daemon: RunningDaemon, id: str, cursor: str | None) -> AsyncIterator[Item]:
    headers = {"Authorization": f"Bearer {daemon.runtime.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{daemon.runtime.http}/rpc") as socket,
    ):
        call = {"jsonrpc": "2.0", "id": 1, "method": "execution.runs.follow", "params": _input(id, cursor)}
        await socket.send_json(call)
        while "result" not in (message := await socket.receive_json(timeout=30)):
            assert message["method"] == "$/item", message
            yield message["params"]["item"]


def _input(id: str, cursor: str | None) -> dict[str, Any]:
    return {"id": id} if cursor is None else {"id": id, "cursor": cursor}


FOLLOWS: tuple[Follow, ...] = (_by_socket, _by_sse, _by_websocket)


def told(items: list[Item]) -> list[tuple[Any, ...]]:
    """Return what was said, with pieces of output of one stream joined."""
    found: list[tuple[Any, ...]] = []
    for each in items:
        at = (each["type"], each["step"], each["status"], each["attempt"], each["stream"])
        if each["type"] == "output" and found and found[-1][:5] == at:
            found[-1] = (*at, found[-1][5] + each["text"])
        else:
            found.append((*at, each["text"]))
    return found


async def follow(
    how: Follow, daemon: RunningDaemon, id: str, cursor: str | None, stop: Callable[[Item], bool] = lambda _: False
) -> list[Item]:
    """Follow a run up to an item, and cut the connection; or to its end."""
    items: list[Item] = []
    stream: Any = how(daemon, id, cursor)
    try:
        async with asyncio.timeout(30):
            async for item in stream:
                items.append(item)
                if stop(item):
                    break
    finally:
        await stream.aclose()
    return items


@pytest.mark.skipif(sys.platform == "win32", reason="its shell line is for POSIX")
@pytest.mark.parametrize("how", FOLLOWS, ids=lambda each: each.__name__.removeprefix("_by_"))
async def test_following_over_a_cut_connection(
    how: Follow, daemon: RunningDaemon, socket: Door, tmp_path: Path
) -> None:
    call = acceptance.agreeing(socket.call)
    shell = "for i in 1 2 3; do echo $i; done; while [ ! -e go ]; do sleep 0.02; done; for i in 4 5 6; do echo $i; done"
    steps = [
        acceptance.step("a", "command", {"shell": shell}),
        acceptance.step("ok", "approval", {"prompt": "?"}, "a"),
        acceptance.step("b", "command", {"run": ["echo", "b"]}, "ok"),
    ]
    id = acceptance.start(call, *steps, folder=str(tmp_path))
    items = await follow(how, daemon, id, None, lambda item: "3\n" in (item["text"] or ""))
    (tmp_path / "go").touch()
    items += await follow(how, daemon, id, items[-1]["cursor"], lambda item: item["approval"] is not None)
    call("execution.approvals.approve", id=items[-1]["approval"])
    items += await follow(how, daemon, id, items[-1]["cursor"])
    found = told(items)
    assert "".join(each[5] for each in found if each[:2] == ("output", "a")) == "1\n2\n3\n4\n5\n6\n"
    assert [each[5] for each in found if each[:2] == ("output", "b")] == ["b\n"]
    ends = [each[:3] for each in found if each[2] in acceptance.ENDS]
    assert ends == [
        ("step", "a", "succeeded"), ("step", "ok", "succeeded"), ("step", "b", "succeeded"), ("run", None, "succeeded"),
    ]  # fmt: skip
    steps_told = [each for each in found if each[0] in {"step", "output"}]
    assert len(steps_told) == len(set(steps_told))
    assert await follow(how, daemon, id, items[-1]["cursor"]) == []
    for place in range(len(items)):
        rest = await follow(how, daemon, id, items[place]["cursor"])
        assert "".join(each["text"] for each in items[: place + 1] + rest if each["step"] == "a" and each["text"]) == (
            "1\n2\n3\n4\n5\n6\n"
        )


@pytest.mark.parametrize("how", FOLLOWS[1:], ids=lambda each: each.__name__.removeprefix("_by_"))
async def test_who_leaves_leaves_no_stream_behind(how: Follow, daemon: RunningDaemon, socket: Door) -> None:
    call = acceptance.agreeing(socket.call)
    id = acceptance.start(call, acceptance.signal("a"))
    for _ in range(20):
        assert await follow(how, daemon, id, None, lambda _: True)
    call("execution.runs.signal", id=id, name="go")
    assert (await follow(how, daemon, id, None))[-1]["status"] == "succeeded"
