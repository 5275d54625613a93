"""One command's conversation with the daemon: attach or start it, call, confirm, show progress."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from coder_ipc import program
from coder_ipc.client import Client
from coder_ipc.errors import ConnectionLost, IpcError, NotRunning, RemoteError

from .errors import NoDirectory
from .output import Output, is_terminal
from .progress import Bar
from .tables import clean

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Self

    from .parser import Settings

LINGER = 60
"""Seconds that a daemon started for a command stays after the last client has left."""
_NAME = "coder-local command"
_SAFETY = {
    "write": "changes records; undo brings them back",
    "destructive": "loses something that undo cannot bring back, or touches files or processes",
    "external": "leaves this machine, or spends money",
}


class Session:
    """The daemon of one data directory, asked by one command; use it in a `with` statement."""

    def __init__(self, settings: Settings) -> None:
        self._client: Client | None = None
        self._waits_for = ""
        self.patience = 10.0
        """Seconds that a daemon has to take the connection."""
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Take settings that were found behind the words of a command."""
        self.settings = settings
        self.output = Output(as_json=settings.json, quiet=settings.quiet)

    @property
    def client(self) -> Client:
        """The connection; the first use attaches to the daemon, or starts one."""
        if self._client is None:
            try:
                return self.attach()
            except (NotRunning, ConnectionLost):  # lost: it is just stopping, and the next one waits for its lock
                self.start()
            return self.attach()
        return self._client

    def attach(self) -> Client:
        """Return the connection, without starting a daemon. Raises as `Client.connect` does."""
        if self._client is None:
            workspace = os.environ.get("CODER_LOCAL_WORKSPACE")
            self._client = Client.connect(self.settings.data_dir, self.patience, name=_NAME, workspace=workspace)
            self._client.on_progress = self._say_wait
        return self._client

    def _say_wait(self, params: dict[str, Any]) -> None:
        """Say what a call waits for, once for each migration: the seconds at the end of it are left to the bar."""
        message = str(params.get("message") or "")
        step = message.rpartition(",")[0]
        if step and step != self._waits_for:
            self._waits_for = step
            self.output.note(clean(message))

    def start(self) -> None:
        """Start a daemon that outlives this command."""
        from coder_ipc.spawn import attach_or_spawn  # noqa: PLC0415 - most commands find one running

        self.output.note(f"starting the daemon of {self.settings.data_dir}; it stops {LINGER} s after its last client")
        try:
            attach_or_spawn(self.settings.data_dir, program.command("--linger", str(LINGER)))
        except IpcError:  # a time limit is an OSError too, and says what it is
            raise
        except OSError as fault:
            raise NoDirectory(self.settings.data_dir, fault) from fault

    def close(self) -> None:
        """Leave the daemon; the next use attaches anew."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, operation: str, given: dict[str, Any] | None = None, *, safety: str = "", yes: bool = False) -> Any:
        """Call an operation and return its answer; asks the person where the daemon wants a confirmation.

        `safety` is the operation's word where it is known; `yes` confirms without asking.
        """
        asked = given or {}
        try:
            return self._ask(operation, asked)
        except RemoteError as error:
            token = self._token(error)
            if token is None:
                raise
            if not (yes or self.settings.yes or self._agrees(operation, asked, safety)):
                raise _unconfirmed(error) from None
        return self._ask(operation, {**asked, "confirm": token})

    def items(self, operation: str, given: dict[str, Any], *, safety: str = "") -> Generator[Any]:
        """Call a stream operation and yield its items; confirms as `call` does."""
        try:
            yield from self.client.items(operation, given)
        except RemoteError as error:
            token = self._token(error)
            if token is None:
                raise
            if not (self.settings.yes or self._agrees(operation, given, safety)):
                raise _unconfirmed(error) from None
        else:
            return
        yield from self.client.items(operation, {**given, "confirm": token})

    def _ask(self, operation: str, given: dict[str, Any]) -> Any:
        client = self.client
        with Bar(operation, quiet=self.settings.quiet) as bar:
            return client.call(operation, given, self.settings.timeout, bar.report)

    @staticmethod
    def _token(error: RemoteError) -> str | None:
        token = (error.data or {}).get("confirm") if error.kind == "needs_confirmation" else None
        return token if isinstance(token, str) else None

    def _agrees(self, operation: str, given: dict[str, Any], safety: str) -> bool:
        meaning = f" is {safety}: it {_SAFETY[safety]}" if safety in _SAFETY else " asks for a confirmation"
        values = [f"  {name}: {value if isinstance(value, str) else repr(value)}" for name, value in given.items()]
        return ask("\n".join([f"{operation}{meaning}", *map(clean, values)]))


def _unconfirmed(error: RemoteError) -> RemoteError:
    """Return the error without its token, with what a person or a script does about it."""
    return RemoteError(error.kind, error.message, field=error.field, hint="give --yes to confirm", code=error.code)


def ask(question: str) -> bool:
    """Ask a person y or N on standard error; False when nobody is there to answer."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return False
    print(f"{question}\nGo on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
