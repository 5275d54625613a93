"""The doors of HTTP: what a request must prove before anybody looks at what it asks for.

A loopback port is open to every page in every browser and to every process of the machine. So: the name it was called
by must be our own (a rebinding name is not), the page it comes from must be allowed, and it must hold a token. In this
order, for every path and method, WebSockets and health among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from coder_local._registry.principal import Principal
from coder_local.api import Refused

from .admission import Admission

SUBPROTOCOL = "coder-local.v1"
"""What a WebSocket speaks."""
TOKEN_SUBPROTOCOL = "coder-local.token."  # noqa: S105 - a prefix, not a secret
"""A page cannot set headers on a WebSocket: it offers its token as a subprotocol with this prefix."""

_METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
_HEADERS = (
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Confirm, X-Request-Id, Last-Event-ID,"
    " Workspace"
)
_EXPOSED = "ETag, Location, Retry-After, X-Request-Id"


class Headers(Protocol):
    """The headers of a request, by name in any case."""

    def get(self, key: str, /) -> str | None:
        """Return the first of that name."""
        ...

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """Return all of that name."""
        ...


class Admitted(NamedTuple):
    """A request that passed: who asks, and the CORS headers that its answer bears."""

    principal: Principal | None
    """None for a preflight, which asks for nothing but the CORS headers."""
    cors: Mapping[str, str]


_NO_HEADERS: Mapping[str, str] = {}


class Doors:
    """Decides on each request. `port` is the one listened on, `origins` returns the pages that are allowed now."""

    def __init__(self, admission: Admission, port: int, origins: Callable[[], Collection[str]]) -> None:
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._own = frozenset(f"http://{host}" for host in self.hosts)
        self._admission = admission
        self._origins = origins

    def admit(self, method: str, headers: Headers) -> Admitted:
        """Return who asks. Raises `Refused`, `Unauthenticated` or `RateLimited`, which tell a stranger nothing."""
        self.check_host(headers)
        origin = self.origin(headers)
        cors = _NO_HEADERS if origin is None else cors_headers(origin)
        if method == "OPTIONS" and origin is not None and headers.get("Access-Control-Request-Method") is not None:
            return Admitted(None, {**cors, **_preflight(headers)})
        return Admitted(self._principal(headers, origin), cors)

    def check_host(self, headers: Headers) -> None:
        """Raise `Refused` unless the request names this daemon, by one of its own names and its port."""
        hosts = headers.getall("Host", [])
        if len(hosts) != 1 or (hosts[0] not in self.hosts and hosts[0].lower() not in self.hosts):
            raise Refused(
                "this host name is not served here",
                hint="use the address of runtime.json: 127.0.0.1 or localhost, with its port",
                data={"rule": "host"},
            )

    def origin(self, headers: Headers) -> str | None:
        """Return the allowed page that the request comes from, None if it comes from no page. Raises `Refused`."""
        origin = headers.get("Origin")
        if origin is None:
            # A page that asks for an image, a script or a navigation sends no Origin; the browser still tells.
            if headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
                raise _foreign_page()
            return None
        if len(headers.getall("Origin", [])) != 1 or origin == "null":
            raise _foreign_page()
        if origin not in self._own and origin not in self._origins():
            raise _foreign_page()
        return origin

    def _principal(self, headers: Headers, origin: str | None) -> Principal:
        fields = headers.getall("Authorization", [])
        if len(fields) == 1 and fields[0][:7].lower() == "bearer ":
            return self._admission.authenticate(fields[0][7:].strip())
        if not fields and origin is not None:
            token = _offered_token(headers.getall("Sec-WebSocket-Protocol", []))
            if token is not None:
                return self._admission.authenticate(token)
        raise self._admission.unauthenticated(
            "a request carries `Authorization: Bearer <token>`, and nowhere else a token"
        )


def cors_headers(origin: str) -> dict[str, str]:
    """Return what lets an allowed page read the answer."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Vary": "Origin",
    }


def _preflight(headers: Headers) -> dict[str, str]:
    answer = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Max-Age": "600",
    }
    if headers.get("Access-Control-Request-Private-Network") == "true":
        answer["Access-Control-Allow-Private-Network"] = "true"
    return answer


def _offered_token(offers: Sequence[str]) -> str | None:
    names = [name.strip() for offer in offers for name in offer.split(",")]
    tokens = [name.removeprefix(TOKEN_SUBPROTOCOL) for name in names if name.startswith(TOKEN_SUBPROTOCOL)]
    return tokens[0] if len(tokens) == 1 and SUBPROTOCOL in names else None


def _foreign_page() -> Refused:
    return Refused(
        "this page may not call the daemon",
        hint="the person can add its origin to the setting daemon.origins",
        data={"rule": "origin"},
    )
