"""The HTTP server: doors first, then a look-up in a dictionary, then the operation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec
from aiohttp import web

from coder_local._admission.admission import Admission
from coder_local._admission.doors import Doors
from coder_local._admission.refusals import Refusals, Request
from coder_local._contracts.routes import PREFIX
from coder_local._registry.kernel import Kernel
from coder_local._registry.settings import DaemonSettings
from coder_local.api import Broken, Error, Invalid, Kind, NotFound

from . import health, problems
from .connection import HEADER_SECONDS, Server
from .events import Events
from .exchange import Exchange, Problem, common_headers, request_id
from .rest import Rest
from .routes import Found, Routes
from .rpc import Rpc
from .streams import Streams, is_asked_for

_log = logging.getLogger("coder_local.http")
_encode = msgspec.json.Encoder().encode
_WORKSPACE = re.compile(r"[\w.:-]{1,200}", re.ASCII).fullmatch
_STOP_SECONDS = 5.0
"""How long requests under way have to end when the server stops."""

Health = Callable[[], Mapping[str, Any]]
_Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves a kernel over HTTP, also while it loads its plugins: what needs them waits for them.

    `health` returns the body of `/health`, `origins` the pages that are allowed, `most` how many connections there may
    be at a time; all are asked anew each time.
    """

    def __init__(
        self,
        kernel: Kernel,
        admission: Admission,
        *,
        health: Health | None = None,
        origins: Callable[[], Collection[str]] | None = None,
        header_seconds: float = HEADER_SECONDS,
        most: Callable[[], int] | None = None,
    ) -> None:
        self._kernel = kernel
        self._admission = admission
        self._health = health or self._own_health
        self._origins = origins or (lambda: kernel.registry.settings_of(DaemonSettings).origins)
        self._header_seconds = header_seconds
        self._most = most or (lambda: kernel.registry.settings_of(DaemonSettings).http_connections)
        self._started = time.monotonic()
        self._refusals = Refusals(kernel.store)
        self._rest = Rest(kernel.dispatcher)
        self._events = Events(kernel, admission)
        self._streams = Streams(kernel, admission)
        self._rpc = Rpc(kernel, admission)
        self._fixed: dict[str, _Handler] = {
            "/health": self._answer_health,
            "/ready": self._answer_ready,
            "/live": self._answer_live,
            "/openapi.json": self._answer_openapi,
            f"{PREFIX}/services": self._answer_services,
            "/events": self._events.stream,
            "/ws": self._events.socket,
            "/rpc": self._rpc.socket,
        }
        self._routes = Routes(kernel.registry, tuple(self._fixed))
        self._openapi: tuple[int, bytes] | None = None
        self._runner: web.ServerRunner | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self, listening: socket.socket) -> None:
        """Serve on a socket that listens already."""
        self._doors = Doors(self._admission, listening.getsockname()[1], self._origins)
        server = Server(self._handle, header_seconds=self._header_seconds, most=self._most)
        self._runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, listening, backlog=1024).start()

    async def stop(self) -> None:
        """Take no more requests, end the streams, let what runs come to its end."""
        for each in (self._events, self._streams, self._rpc):
            each.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._refusals.close()

    # -- one request --------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        id_ = request_id(request.headers.get("X-Request-Id"))
        try:
            principal, cors = self._doors.admit(request.method, request.headers)
        except Error as error:
            self._refusals.note(error, _stated(request, id_))
            return _refusal(error, id_, request)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not open a door, nor show itself
            return _refusal(_broken(request, id_, error), id_, request)
        common = common_headers(id_, cors)
        if principal is None:
            return web.Response(status=204, headers=common)
        try:
            self._admission.limit(principal)  # whatever is asked: what no operation takes costs as much
            if (workspace := request.headers.get("Workspace")) is not None:
                principal = msgspec.structs.replace(principal, workspace=_workspace(workspace))
            path, _, query = _target(request).partition("?")
            method = "GET" if request.method == "HEAD" else request.method
            exchange = Exchange(request, method, principal, id_, path, query, common)
            return await self._route(exchange)
        except Problem as problem:
            answer = problems.response(problem.error, id_, status=problem.status, headers={**cors, **problem.headers})
            if problem.close:
                answer.force_close()
            return answer
        except Error as error:
            return problems.response(error, id_, headers=cors)
        except ConnectionError:
            raise  # the client has left: there is nobody to answer
        except Exception as error:  # noqa: BLE001 - the caller gets a report id, never a stack
            return problems.response(_broken(request, id_, error), id_, headers=cors)

    async def _route(self, exchange: Exchange) -> web.StreamResponse:
        fixed = self._fixed.get(exchange.path)
        if fixed is not None:
            if exchange.method != "GET":
                return _not_allowed(exchange, ("GET",))
            return await fixed(exchange)
        if exchange.principal.token is not None:
            exchange = exchange._replace(principal=msgspec.structs.replace(exchange.principal, counted=True))
        if self._kernel.dispatcher.held is not None:
            await self._loaded(exchange)
        found = self._routes.find(exchange.path)
        target = found.methods.get(exchange.method)
        if target is None:
            return _not_allowed(exchange, tuple(found.methods))
        kind = target.operation.kind
        if kind is Kind.QUERY:
            asked = self._rest.look_up(exchange, target, found)
            if not asked.done:
                await asked.wait()
            return self._rest.answered(exchange, target, asked.result())
        if kind is Kind.STREAM:
            return await self._stream(exchange, found)
        if kind is Kind.ACTION and is_asked_for(exchange):
            return await self._streams.act(exchange, target, await self._rest.input(exchange, target, found))
        return await self._rest.answer(exchange, target, found)

    async def _loaded(self, exchange: Exchange) -> None:
        """Wait for the plugins, unless what is asked for needs none: until then nobody knows what stands at a path."""
        held = self._kernel.dispatcher.held
        if held is None:
            return
        with contextlib.suppress(Error):
            target = self._routes.find(exchange.path).methods.get(exchange.method)
            if target is not None and not held.holds(target.name):
                return
        await held.ended.wait()

    async def _stream(self, exchange: Exchange, found: Found) -> web.StreamResponse:
        if exchange.request.method == "HEAD":  # what a stream would say is not begun for a look at its headers
            return web.Response(headers={**exchange.common, "Content-Type": "text/event-stream; charset=utf-8"})
        return await self._streams.answer(exchange, found.methods["GET"], found)

    # -- the daemon's own paths ---------------------------------------------------------------------------------------

    def _own_health(self) -> Mapping[str, Any]:
        host = self._kernel.host  # HTTP begins late: who watches the daemon counts from the start of its process
        uptime = time.monotonic() - self._started if host is None else max(0.0, time.time() - host.started_at)
        return health.health(self._kernel, uptime)

    async def _answer_health(self, exchange: Exchange) -> web.Response:
        body = self._health()
        return exchange.answer(_encode(body), status=503 if body["status"] == "unhealthy" else 200)

    async def _answer_ready(self, exchange: Exchange) -> web.Response:
        body = health.ready(self._kernel)
        return exchange.answer(_encode(body), status=200 if body["status"] == "ready" else 503)

    async def _answer_live(self, exchange: Exchange) -> web.Response:
        return exchange.answer(b'{"status":"live"}')

    async def _answer_services(self, exchange: Exchange) -> web.Response:
        return exchange.answer(_encode(health.services(self._kernel)))

    async def _answer_openapi(self, exchange: Exchange) -> web.Response:
        await self._loaded(exchange)
        registry = self._kernel.registry
        if self._openapi is None or self._openapi[0] != registry.generation:
            from coder_local._contracts import openapi  # noqa: PLC0415 - only those who ask for it pay for it

            generation = registry.generation
            self._openapi = generation, _encode(await asyncio.to_thread(openapi.build, registry))
        return exchange.answer(self._openapi[1])


def _workspace(name: str) -> str:
    if not _WORKSPACE(name):
        raise Invalid(
            "the header Workspace is 1 to 200 letters, digits and . _ : -",
            hint="leave it out for the workspace `default`",
        )
    return name


def _target(request: web.BaseRequest) -> str:
    """Return path and query as they were sent; nothing is resolved or decoded before it is looked up."""
    raw = request.raw_path
    if raw.startswith("/"):
        return raw
    for prefix in ("http://", "https://"):
        if raw.startswith(prefix):  # a request as proxies make them: the Host header has been checked
            rest = raw[len(prefix) :]
            if rest.partition("/")[0].lower() != request.headers.get("Host", "").lower():
                raise _no_path(raw)
            return "/" + rest.partition("/")[2]
    raise _no_path(raw)


def _no_path(raw: str) -> NotFound:
    return NotFound(f"{raw[:80]!r} is no path here", hint="begin with /")


def _not_allowed(exchange: Exchange, methods: Collection[str]) -> web.Response:
    allowed = ", ".join(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
    if exchange.method == "OPTIONS":
        return web.Response(status=204, headers={**exchange.common, "Allow": allowed})
    error = Invalid(f"{exchange.method[:20]} is not for {exchange.path[:200]!r}", hint=f"use one of {allowed}")
    raise Problem(error, 405, {"Allow": allowed})


def _refusal(error: Error, id_: str, request: web.BaseRequest) -> web.Response:
    answer = problems.response(error, id_)
    if request.can_read_body:
        answer.force_close()  # what was not looked at is not read either
    return answer


def _stated(request: web.BaseRequest, id_: str) -> Request:
    """Return what a request says of itself, for the audit."""
    headers = request.headers
    path = request.raw_path.partition("?")[0]
    return Request(request.method, path, headers.get("Host", ""), headers.get("Origin"), id_)


def _broken(request: web.BaseRequest, id_: str, error: BaseException) -> Broken:
    report = uuid.uuid4().hex[:12]
    _log.error("%s failed", request.method, exc_info=error, extra={"report_id": report, "request_id": id_})
    return Broken(
        "the request failed; this is a fault of the program, not of the call",
        hint=f"report it with {report}, which is in the log",
        data={"report_id": report},
    )
