"""An HTTP server over a kernel in a folder, on the test's own loop, and ways to speak to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from coder_local._admission import Admission
from coder_local._admission import tokens as token_functions
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.principal import OWNER
from coder_local._transports.http import HttpServer

from . import workshop

PAGE = "app://shell"


@dataclass
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running server."""

    def __init__(self, kernel: Kernel, admission: Admission, server: HttpServer, port: int) -> None:
        self.kernel = kernel
        self.admission = admission
        self.server = server
        self.port = port
        self.token = admission.owner_token
        self.base = f"http://127.0.0.1:{port}"
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} | {
            name.replace("_", "-"): value for name, value in more.items()
        }

    async def call(self, name: str, **input: Any) -> Any:
        return json.loads(await self.kernel.dispatcher.call(name, json.dumps(input).encode(), OWNER))

    async def ask(
        self, method: str, path: str, json: Any = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Ask as a client does; answers status, body and headers."""
        fields = self.headers(**headers)
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.base + path, json=json, headers=fields) as answer:
            body = await answer.read()
            parsed = _parsed(body, answer.headers.get("Content-Type", ""))
            return answer.status, parsed, answer.headers

    async def raw(self, text: bytes | str) -> Answer:
        """Send bytes as they are, and return the first answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(text.encode() if isinstance(text, str) else text)
            async with asyncio.timeout(10):
                return await read_answer(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def head(self, method: str, target: str, *lines: str, auth: bool = True, host: str | None = None) -> str:
        """Return a request head; `lines` are header lines."""
        fields = [f"{method} {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}"]
        if auth:
            fields.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*fields, *lines, "", ""])

    async def new_token(self, **options: Any) -> Any:
        """Make a scoped token."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.kernel.store.submit(
            lambda scope: token_functions.create(scope, **options),
            token_functions.Caller(),
            lambda made, error: future.set_result(made) if error is None else future.set_exception(error),
        )
        return await future

    async def revoke(self, id: str) -> None:
        """Revoke a scoped token."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.kernel.store.submit(
            lambda scope: token_functions.revoke(scope, id),
            token_functions.Caller(),
            lambda _, error: future.set_result(None) if error is None else future.set_exception(error),
        )
        await future


def _parsed(body: bytes, kind: str) -> Any:
    return json.loads(body) if body and "json" in kind else body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer with a Content-Length, or to the end of the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = headers.get("content-length")
    body = await reader.readexactly(int(size)) if size is not None else b""
    return Answer(int(first.split()[1]), headers, body)


def make_kernel(folder: Path) -> Kernel:
    kernel = Kernel(folder)
    kernel.load([Plugin("notes", Source.CORE, "tests.support.notes")])
    kernel.take(workshop.domain)
    kernel.open()
    connection = kernel.store.writer.connection
    for statement in kernel.registry.tables.of(workshop.Part).ddl():
        connection.execute(statement)
    return kernel


@contextlib.asynccontextmanager
async def serve(folder: Path, **options: Any) -> AsyncIterator[Served]:
    kernel = make_kernel(folder)
    admission = Admission(kernel)
    kernel.dispatcher.gate = admission
    kernel.start(asyncio.get_running_loop().call_soon_threadsafe)
    server = HttpServer(kernel, admission, origins=lambda: [PAGE], **options)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    await server.start(listening)
    served = Served(kernel, admission, server, listening.getsockname()[1])
    try:
        yield served
    finally:
        await served.session.close()
        await server.stop()
        await kernel.dispatcher.stop_tasks()
        await asyncio.to_thread(kernel.store.close)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served
