"""Asking the daemon from a plugin's process, and what a run there knows of itself."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coder_local._store.caller import Caller
from coder_local.api import (
    DeclarationError,
    Domain,
    Event,
    Fault,
    Kind,
    Operation,
    Rights,
    Safety,
    Settings,
    Snapshot,
)

from .draft import unsupported
from .wire import Channel, Message, error_of

_json = msgspec.json.Encoder().encode
Settle = Callable[[Message], None]


class Asker:
    """Sends questions, and hands each answer to who asked."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Settle] = {}

    def _ask(self, run: int, what: str, values: Message, settle: Settle) -> int:
        number = next(self._numbers)
        self._waiting[number] = settle
        self.channel.send({"t": "ask", "id": number, "run": run, "what": what, **values})
        return number

    def answered(self, message: Message) -> None:
        """Take an answer; called by whoever receives."""
        settle = self._waiting.pop(message["id"], None)
        if settle is not None:
            settle(message)

    def wait(self, run: int, what: str, **values: Any) -> Any:
        """Ask, and keep this thread until the answer is there. Raises the named error."""
        there = threading.Event()
        found: list[Message] = []

        def settle(message: Message) -> None:
            found.append(message)
            there.set()

        self._ask(run, what, values, settle)
        while not there.wait(0.2):  # in pieces: what ends a run that takes too long lands between two of them
            pass
        return _result(found[0])

    async def answer(self, run: int, what: str, **values: Any) -> Any:
        """Ask, and wait on the loop. Raises the named error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Message] = loop.create_future()

        def settle(message: Message) -> None:
            loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(message))

        number = self._ask(run, what, values, settle)
        try:
            return _result(await future)
        except asyncio.CancelledError:
            self.channel.send({"t": "unask", "id": number})
            raise


def _result(message: Message) -> Any:
    fault = message.get("fault")
    if fault is not None:
        raise error_of(fault)
    return message.get("result")


class Run:
    """One thing that the daemon asked to be run, and on whose behalf. It also serves a scope as its `Calls`."""

    def __init__(self, asker: Asker, domain: Domain, message: Message) -> None:
        self.id: int = message["id"]
        self.asker = asker
        self.domain = domain
        self.name: str = message["name"]
        self.input: bytes = message.get("input", b"{}")
        self.ms: int = message["ms"]
        self.caller = Caller(message["actor"], message["workspace"], self.name, message["request_id"])
        self.rights = msgspec.json.decode(message["rights"], type=Rights)
        self._settings: bytes | None = message.get("settings")
        self._lasting = message["what"] in {"started", "stream"}

    def wait(self, what: str, **values: Any) -> Any:
        """Ask the daemon, keeping this thread."""
        return self.asker.wait(self.id, what, **values)

    # -- as a scope's `Calls` -----------------------------------------------------------------------------------------

    def run_inside(self, scope: Snapshot, name: str, values: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Have the daemon answer a query."""
        return msgspec.json.decode(self.wait("query", name=name, input=_json(values)))

    def offers(self, name: str) -> bool:
        """Ask whether an operation is loaded."""
        return bool(self.wait("offers", name=name))

    def settings_of(self, settings: type[Any], /) -> Any:
        """Return the settings as they were when this run began; of one that goes on for long, as they are now."""
        if settings is not self.domain.settings_type or self._settings is None:
            raise DeclarationError(f"{settings.__name__} are not the settings of {self.domain.name}")
        told = self.wait("settings") if self._lasting else self._settings
        found: Settings = msgspec.json.decode(told, type=settings)
        return found

    def event_type(self, event: type[Event]) -> tuple[str, str]:
        """Return type and subject kind of an event of the plugin."""
        name = next((name for name, each in self.domain.events.items() if each is event), None)
        if name is None:
            raise DeclarationError(f"{event.__name__} is no declared event: put @domain.event(...) on it")
        return name, name.rpartition(".")[0]

    def offered(self, hook: str, /, **arguments: Any) -> Iterable[Any]:  # noqa: ARG002
        """Refuse: what other plugins offer are objects of the daemon's process."""
        raise unsupported(f"the hook {hook}")

    def operation(self, name: str) -> Operation:
        """Return an operation of the daemon; its function is not here."""
        told = self.wait("operation", name=name)
        return Operation(
            told["name"], Kind(told["kind"]), Safety(told["safety"]), None, (), told["deadline"], told["person_only"]
        )

    def check(self, name: str, values: Mapping[str, Any]) -> list[Fault]:
        """Ask what an operation's schema has against an input."""
        return msgspec.json.decode(self.wait("check", name=name, input=_json(values)), type=list[Fault])

    def rights_of(self, caller: Caller) -> Rights:  # noqa: ARG002
        """Return what the caller may do."""
        return self.rights

    def acting(self, caller: Caller, rights: Rights, operation: str) -> Caller:  # noqa: ARG002
        """Refuse: a process could make rights up."""
        raise unsupported("acting on behalf of somebody else")

    def folder_of(self, plugin: str, /) -> Path:  # noqa: ARG002
        """Return the plugin's folder, which the daemon makes."""
        return Path(self.wait("folder"))
