"""The process of a plugin: starting it, sending and receiving, ending it, and starting it again after it died.

A thread starts it, receives from it and waits for its end; another one sends, since a process that does not read must
not hold the loop. A process that ends by itself is started again after a while, and not for ever.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from coder_ipc import program
from coder_local._isolation.wire import NO_MESSAGE, Channel, Message
from coder_local.api import Error

_log = logging.getLogger("coder_local.plugins")
BACK_OFF: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Seconds before a process that ended is started again; with one more end in `WINDOW` it is not."""
WINDOW = 600.0
HELLO_DEADLINE = 30.0
"""Seconds from its start in which it must have imported the plugin."""
_UNTAKEN = 256
"""Messages that are received before they are taken: what floods the daemon has to wait."""
_KEPT = frozenset(
    {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "USER", "LOGNAME", "SHELL", "SYSTEMROOT",
     "APPDATA", "LOCALAPPDATA", "USERPROFILE", "COMSPEC", "PATHEXT", "PYTHONPATH", "PYTHONUTF8", "SSL_CERT_FILE",
     "SSL_CERT_DIR"}
)  # fmt: skip
"""Variables that a plugin's process has from the daemon's environment; others may hold tokens.

None that names a proxy: one that is among the plugin's hosts would lead to all others, and its address may hold a
password.
"""
_SET = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "NO_PROXY": "*"}
"""Variables that it has besides. Without the last one Python takes the proxies of macOS's and Windows' settings."""


class Owner(Protocol):
    """Who is told of a process; all but `first` on the loop."""

    def first(self) -> Message:
        """Return the message that tells the process what it is. Raises `Error` if it must not be started."""
        ...

    def hello(self, message: Message) -> None:
        """Take what the process declares (`told`): it is there."""
        ...

    def take(self, message: Message) -> None:
        """Take another message."""
        ...

    def ended(self, reason: str, again: float | None) -> None:
        """Take that it ended, and in how many seconds it is started again; None if it is not."""
        ...


class Process:
    """A plugin's process, from `start` to `stop`."""

    def __init__(self, name: str, owner: Owner, post: Callable[..., object]) -> None:
        self.name = name
        self._owner = owner
        self._post = post
        self._lock = threading.Lock()
        self._stopping: threading.Event | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._why = ""
        self._deaths: deque[float] = deque()
        self._room = threading.Semaphore(_UNTAKEN)

    @property
    def pid(self) -> int | None:
        """The process that runs; None while there is none."""
        process = self._process
        there = self._stopping is not None and process is not None and process.returncode is None
        return process.pid if there and process is not None else None

    @property
    def deaths(self) -> int:
        """How often it ended by itself within `WINDOW`."""
        return len(self._deaths)

    def start(self) -> None:
        """Have it run, unless it does or is about to."""
        with self._lock:
            if self._stopping is None:
                self._stopping = threading.Event()
                self._deaths.clear()
                threading.Thread(
                    target=self._supervise, args=(self._stopping,), name=f"plugin {self.name}", daemon=True
                ).start()

    def stop(self) -> None:
        """End it for good; returns at once."""
        with self._lock:
            stopping, self._stopping = self._stopping, None
            if stopping is not None:
                stopping.set()
                self._end("it was stopped")

    def kill(self, why: str) -> None:
        """End it because of something it did; it is started again as after any end."""
        with self._lock:
            self._end(why)

    def _end(self, why: str) -> None:
        if self._process is not None and self._process.poll() is None:
            self._why = self._why or why
            _kill(self._process)

    def send(self, message: Message) -> None:
        """Send a message when it reads; to a process that is gone it is not sent."""
        self._outgoing.put(message)

    # -- on the thread that waits for it ------------------------------------------------------------------------------

    def _supervise(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            reason = self._run(stopping)
            if stopping.is_set():
                break
            again = self._again()
            self._post(self._owner.ended, reason, again)
            if again is None or stopping.wait(again):
                break

    def _again(self) -> float | None:
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - WINDOW:
            self._deaths.popleft()
        return BACK_OFF[len(self._deaths) - 1] if len(self._deaths) <= len(BACK_OFF) else None

    def _run(self, stopping: threading.Event) -> str:
        """Run it once, and return why it ended."""
        try:
            first = self._owner.first()
            process = _spawn()
        except Error as error:
            return error.message
        except OSError as error:
            return f"it cannot be started: {error}"
        outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        outgoing.put(first)  # before others can send: whatever comes first tells the process what it is
        with self._lock:
            self._process, self._why = process, ""
            self._outgoing = outgoing
            if stopping.is_set():
                self._end("it was stopped")
        assert process.stdin is not None, "it is a pipe"  # noqa: S101 - for the type checker
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 - for the type checker
        channel = Channel(process.stdout.fileno(), process.stdin.fileno())
        sender = threading.Thread(target=_pass_on, args=(outgoing, channel), name=f"to {self.name}", daemon=True)
        sender.start()
        late = threading.Timer(HELLO_DEADLINE, self.kill, (f"its import took longer than {HELLO_DEADLINE:g} s",))
        late.daemon = True
        late.start()
        told = self._receive(channel, late)
        _kill(process)
        process.wait()
        late.cancel()
        outgoing.put(None)
        sender.join()
        process.stdin.close()
        process.stdout.close()
        return told or self._why or _how(process.returncode)

    def _receive(self, channel: Channel, late: threading.Timer) -> str:
        """Hand on what it sends until it is gone; return why it could not begin, if it tells."""
        for message in channel.messages():
            kind = message.get("t")
            if kind == "hello":
                late.cancel()
                self._post(self._understood, self._owner.hello, message)
            elif kind == "failed":
                self._post(self._owner.take, message)
                return str(message.get("message"))
            else:
                self._room.acquire()
                self._post(self._taken, message)
        self._why = self._why or channel.fault
        return ""

    def _taken(self, message: Message) -> None:
        self._room.release()
        self._understood(self._owner.take, message)

    def _understood(self, take: Callable[[Message], None], message: Message) -> None:
        """Have a message taken; one that is made otherwise than this program makes it ends the process."""
        try:
            take(message)
        except (KeyError, TypeError, ValueError, AttributeError):
            _log.exception("plugin %s sent a message that cannot be taken", self.name, extra={"plugin": self.name})
            self.kill(NO_MESSAGE)


def _spawn() -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in program.clean_environment(os.environ).items() if _is_kept(name)}
    environ |= _SET
    return subprocess.Popen(  # noqa: S603 - this very program
        program.command(program.PLUGIN),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        start_new_session=sys.platform != "win32",
        bufsize=0,
    )


def _is_kept(name: str) -> bool:
    return name in _KEPT or name.startswith("LC_")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started: they are one group, and what a plugin left behind has no use without it."""
    if sys.platform == "win32":
        process.kill()
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()


def _pass_on(outgoing: queue.SimpleQueue[Message | None], channel: Channel) -> None:
    while (message := outgoing.get()) is not None:
        try:
            channel.send(message)
        except OSError:
            return
        except Error as error:
            _log.error("a message to a plugin's process was left out: %s", error)


def _how(code: int) -> str:
    if code < 0:
        try:
            return f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was ended by signal {-code}"
    return f"it ended by itself with code {code}"
