"""The doors that a call can come in by, each as `call(name, **input)`, and the one error that all of them raise."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from coder_ipc import RemoteError
from coder_ipc.client import Client
from coder_ipc.errors import EXIT_CODES
from coder_local._admission import Admission
from coder_local._contracts.routes import route_of
from coder_local._daemon.core import core_domains
from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER
from coder_local.api import Error
from coder_local.api.errors import KINDS
from coder_local.testing.daemon import RunningDaemon, command, environment

_LONG = 100_000
"""Characters of an input that no argument can hold: Linux takes 128 KiB."""
_HEADERS = {"idempotency_key": "Idempotency-Key", "confirm": "X-Confirm"}


class Refusal(Exception):
    """A named error, whatever door said it."""

    def __init__(self, wire: Mapping[str, Any]) -> None:
        super().__init__(wire.get("message"))
        self.kind: str = wire["kind"]
        self.message: str = wire["message"]
        self.field: str | None = wire.get("field")
        self.hint: str | None = wire.get("hint")
        self.data: dict[str, Any] = wire.get("data") or {}

    def said(self) -> dict[str, Any]:
        """Return all that it says."""
        return vars(self)


class Door(Protocol):
    def call(self, name: str, /, **input: Any) -> Any:
        """Return the answer as plain data. Raises `Refusal`."""
        ...

    def close(self) -> None: ...


class Memory:
    """The kernel as the daemon makes it, in this process and with all in memory: no door at all."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        kernel = self.kernel = Kernel()
        kernel.dispatcher.gate = Admission(kernel)
        for domain in core_domains(kernel):
            kernel.take(domain)
        kernel.load(plugins.bundled())
        kernel.open()
        kernel.start(self._runner.get_loop().call_soon_threadsafe)

    def call(self, name: str, /, **input: Any) -> Any:
        raw = json.dumps(input).encode()
        try:
            return json.loads(self._runner.run(self.kernel.dispatcher.call(name, raw, OWNER)))
        except Error as error:
            raise Refusal(error.to_wire()) from error

    def close(self) -> None:
        self._runner.run(asyncio.to_thread(self.kernel.store.close))
        self._runner.close()


class Socket:
    """JSON-RPC over the socket."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._client = daemon.client()

    def call(self, name: str, /, **input: Any) -> Any:
        return answer_of(self._client, name, input)

    def close(self) -> None:
        self._client.close()


def answer_of(client: Client, name: str, input: dict[str, Any]) -> Any:
    try:
        return client.call(name, input, timeout=60)
    except RemoteError as error:
        wire = {"kind": error.kind, "message": error.message, "field": error.field}
        assert error.code == KINDS[error.kind].code.rpc or (error.kind, error.code) == ("not_found", -32601)
        raise Refusal({**wire, "hint": error.hint, "data": error.data}) from error


class Rest:
    """HTTP, by the route that an operation's declaration gives."""

    def __init__(self, daemon: RunningDaemon) -> None:
        assert daemon.runtime.http is not None
        self._token = daemon.runtime.token
        self._connection = http.client.HTTPConnection(urlsplit(daemon.runtime.http).netloc, timeout=60)
        self._declared = Memory()

    def call(self, name: str, /, **input: Any) -> Any:
        prepared = self._declared.kernel.registry.find(name)
        assert prepared is not None, f"{name} has no route"
        method, path, id_in_path = route_of(prepared)
        headers = {header: input.pop(field) for field, header in _HEADERS.items() if field in input}
        if isinstance(input.get("if_rev"), int):
            headers["If-Match"] = f'"{input.pop("if_rev")}"'
        if id_in_path:
            path = path.replace("{id}", quote(str(input.pop("id")), safe=""))
        if method in {"GET", "DELETE"}:
            return self.ask(method, f"{path}?{_query(input)}".removesuffix("?"), None, headers)[1]
        return self.ask(method, path, json.dumps(input), headers)[1]

    def ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str] = {}) -> tuple[int, Any]:
        """Send one request, and return status and answer. Raises `Refusal` for a problem."""
        content = {} if body is None else {"Content-Type": "application/json"}
        authorization = {"Authorization": f"Bearer {self._token}"}
        self._connection.request(method, path, body, {**authorization, **content, **headers})
        answer = self._connection.getresponse()
        said = json.loads(answer.read() or "null")
        if answer.status < 400:
            return answer.status, said
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert said["status"] == answer.status == KINDS[said["kind"]].code.http
        raise Refusal(said)

    def close(self) -> None:
        self._connection.close()
        self._declared.close()


def _query(input: Mapping[str, Any]) -> str:
    """Return fields as a query string: lists repeat the name, objects are JSON, what is null is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in input.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                pairs.append((name, each if isinstance(each, str) else json.dumps(each)))
    return urlencode(pairs)


class Shell:
    """The command, a process for each call; `options` come with each."""

    def __init__(self, daemon: RunningDaemon, *options: str) -> None:
        self._data_dir: Path = daemon.data_dir
        self._options = options

    def call(self, name: str, /, **input: Any) -> Any:
        text = json.dumps(input)
        by_pipe = len(text) > _LONG
        ended = subprocess.run(
            [
                *command(),
                "--data-dir",
                str(self._data_dir),
                "call",
                name,
                "-" if by_pipe else text,
                "--json",
                *self._options,
            ],
            input=text.encode() if by_pipe else b"",
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if ended.returncode == 0:
            assert ended.stderr == b""
            return json.loads(ended.stdout)
        assert ended.stdout == b""
        wire = json.loads(ended.stderr)
        assert ended.returncode == EXIT_CODES[wire["kind"]]
        raise Refusal(wire)

    def close(self) -> None:
        pass
