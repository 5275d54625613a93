"""Scoped tokens: named, revocable, limited. Only the hash of each is kept; its text is shown once, when it is made."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from coder_local._registry.principal import Principal
from coder_local._store.caller import Caller
from coder_local._store.clock import instant
from coder_local._store.scope import ReadScope, WriteScope
from coder_local._store.store import Store
from coder_local.api import Fault, Instant, Invalid, NotFound, Safety, Value

from .limits import Limits

PREFIX = "clt_"
"""Every token begins so: a person and a scanner of secrets recognise it."""
_USED_EVERY_MS = 5 * 60 * 1000
"""`last_used_at` is at most this much behind: writing it for each call would make every read a write."""
_ACTOR = re.compile(r"user|(agent|plugin|peer):[A-Za-z0-9._-]{1,80}")
_DOMAIN = re.compile(r"[a-z][a-z0-9_]{1,30}")
_COLUMNS = "id, name, actor, scopes, limits, created_at, last_used_at, revoked_at"


class Grant(msgspec.Struct, frozen=True):
    """What the holder of a token may do."""

    safety: list[Safety]
    domains: list[str] | None = None


class TokenInfo(Value):
    """A token as it is listed: everything but its text."""

    id: str
    name: str
    actor: str
    """Who its holder is: `user`, `agent:<id>`, `plugin:<name>` or `peer:<id>`."""
    scopes: list[Safety]
    domains: list[str] | None
    """The domains it may speak to; null for all."""
    limits: Limits
    created_at: Instant
    last_used_at: Instant | None = None
    """Up to five minutes behind."""
    revoked_at: Instant | None = None


class NewToken(Value):
    """A token that was just made."""

    token: str
    """Its text; it cannot be read again."""
    info: TokenInfo


def create(
    scope: WriteScope,
    *,
    name: str,
    scopes: Collection[Safety] = (Safety.READ,),
    domains: Collection[str] | None = None,
    actor: str | None = None,
    limits: Limits | None = None,
) -> NewToken:
    """Make a token and return it with its text. The actor is `agent:<name>` unless one is given. Raises `Invalid`."""
    actor = actor or "agent:" + (re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80] or "-")
    if faults := list(_faults(name, scopes, domains, actor)):
        raise Invalid(faults[0].message, field=faults[0].field, hint=faults[0].hint, faults=tuple(faults))
    import secrets  # noqa: PLC0415 - 2 ms, and not at every start

    text = PREFIX + secrets.token_urlsafe(32)
    grant = Grant(sorted(set(scopes)), None if domains is None else sorted(set(domains)))
    id_ = scope.new_id()
    scope.connection.execute(
        "INSERT INTO token (id, name, hash, actor, scopes, limits, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (id_, name, _hash(text), actor, _text(grant), None if limits is None else _text(limits), scope.ms),
    )
    return NewToken(token=text, info=find(scope, id_))


def _faults(name: str, scopes: Collection[Safety], domains: Collection[str] | None, actor: str) -> Collection[Fault]:
    found: list[Fault] = []
    if not 1 <= len(name.strip()) <= 100:
        found.append(Fault("/name", "a token has a name of 1 to 100 characters", "say who will hold it"))
    if not scopes:
        found.append(Fault("/scopes", "a token without a scope may do nothing", f"give some of {', '.join(Safety)}"))
    found += [
        Fault(f"/domains/{index}", f"{domain[:40]!r} is no name of a domain", "see plugins.list")
        for index, domain in enumerate(domains or ())
        if not _DOMAIN.fullmatch(domain)
    ]
    if not _ACTOR.fullmatch(actor):
        found.append(Fault("/actor", "an actor is user, agent:<id>, plugin:<name> or peer:<id>"))
    return found


def find(scope: ReadScope, id: str) -> TokenInfo:
    """Return one token. Raises `NotFound`."""
    row = scope.connection.execute(f"SELECT {_COLUMNS} FROM token WHERE id = ?", (id,)).fetchone()  # noqa: S608
    if row is None:
        raise NotFound(f"no token with id {id!r}", field="/id", hint="see tokens.list")
    return _info(row)


def list_tokens(scope: ReadScope) -> list[TokenInfo]:
    """Return all tokens, the newest first, revoked ones among them."""
    return [_info(row) for row in scope.connection.execute(f"SELECT {_COLUMNS} FROM token ORDER BY id DESC")]  # noqa: S608


def revoke(scope: WriteScope, id: str) -> TokenInfo:
    """Make a token worthless from the next call on, also on connections that are open. Raises `NotFound`."""
    scope.connection.execute("UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (scope.ms, id))
    return find(scope, id)


class Tokens:
    """Looks tokens up for the doors."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[str, int] = {}

    def authenticate(self, text: str) -> Principal | None:
        """Return who holds a token, or None if it is none of ours or was revoked."""
        if not text.startswith(PREFIX) or len(text) > 100 or not text.isascii():
            return None
        import hmac  # noqa: PLC0415 - 2 ms, and not at every start

        hashed = _hash(text)
        # The index is searched by hash: its timing tells of hashes, from which no text can be built up.
        row = self._one("SELECT id, hash, actor, scopes, last_used_at, revoked_at FROM token WHERE hash = ?", hashed)
        if row is None or not hmac.compare_digest(bytes(row[1]), hashed) or row[5] is not None:
            return None
        self._note_use(row[0], row[4])
        grant = msgspec.json.decode(row[3], type=Grant)
        return Principal(
            actor=row[2],
            scopes=frozenset(grant.safety),
            domains=None if grant.domains is None else frozenset(grant.domains),
            owner=False,
            token=row[0],
        )

    def valid(self, id: str) -> bool:
        """Tell whether a token that was accepted before still is."""
        return self._one("SELECT 1 FROM token WHERE id = ? AND revoked_at IS NULL", id) is not None

    def limits(self, id: str) -> Limits:
        """Return the limits of a token."""
        row = self._one("SELECT limits FROM token WHERE id = ?", id)
        return Limits() if row is None or row[0] is None else msgspec.json.decode(row[0], type=Limits)

    def _one(self, sql: str, value: str | bytes) -> Any:
        return self._store.read(lambda scope: scope.connection.execute(sql, (value,)).fetchone(), Caller())

    def _note_use(self, id: str, stored: int | None) -> None:
        now = self._store.clock.now_ms()
        if now - max(self._used.get(id, 0), stored or 0) < _USED_EVERY_MS:
            return
        self._used[id] = now

        def work(scope: WriteScope) -> None:
            scope.connection.execute("UPDATE token SET last_used_at = ? WHERE id = ?", (now, id))

        self._store.submit(work, Caller(actor="daemon", operation="tokens.use"), lambda _result, _error: None)


def _info(row: Any) -> TokenInfo:
    grant = msgspec.json.decode(row[3], type=Grant)
    return TokenInfo(
        id=row[0],
        name=row[1],
        actor=row[2],
        scopes=grant.safety,
        domains=grant.domains,
        limits=Limits() if row[4] is None else msgspec.json.decode(row[4], type=Limits),
        created_at=instant(row[5]),
        last_used_at=None if row[6] is None else instant(row[6]),
        revoked_at=None if row[7] is None else instant(row[7]),
    )


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _hash(text: str) -> bytes:
    import hashlib  # noqa: PLC0415 - 2 ms, and not at every start

    return hashlib.sha256(text.encode()).digest()
