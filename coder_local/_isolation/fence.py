"""Keeping a plugin's code to the hosts, commands and files that its manifest names, by Python's audit events.

A fence against accidents, and no sandbox: code in C, and code that means harm, gets past it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from coder_local.api import Refused

from .manifest import FILE, Permissions
from .wire import Channel

_FILES = frozenset(
    {"open", "os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.utime", "shutil.rmtree"}
)
_PAIRS = frozenset({"os.rename", "os.link", "os.symlink"})
"""What has the place of a new name as its second argument."""


class Fence:
    """Refuses what the manifest does not name, once `close` was called; nothing opens it again for good."""

    def __init__(self, channel: Channel, permissions: Permissions, data_dir: Path) -> None:
        self._channel = channel
        self._permissions = permissions
        self._data_dir = os.path.realpath(data_dir)
        self._own: list[str] = []
        self._hosts = {entry.rpartition(":")[0] if _has_port(entry) else entry for entry in permissions.hosts}
        self._off = threading.local()

    def own(self, folder: Path) -> None:
        """Let it use a folder inside the data directory."""
        self._own.append(os.path.realpath(folder))

    def close(self) -> None:
        """Begin to refuse."""
        sys.addaudithook(self._hear)

    @contextmanager
    def open(self) -> Generator[None]:
        """Let this thread through while the block runs."""
        before = getattr(self._off, "off", False)
        self._off.off = True
        try:
            yield
        finally:
            self._off.off = before

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        look = _LOOKS.get(event)
        if look is not None and not getattr(self._off, "off", False):
            with self.open():  # to look may itself connect, or open a file
                look(self, arguments)

    def _refuse(self, permission: str, name: str, what: str) -> None:
        with contextlib.suppress(OSError):
            self._channel.send({"t": "refused", "permission": permission, "name": name[:200]})
        raise refusal(permission, name, what)

    # -- looks --------------------------------------------------------------------------------------------------------

    def file(self, arguments: tuple[Any, ...]) -> None:
        """Refuse files of the data directory that are not the plugin's: the database, the owner's token."""
        path: Any = arguments[0]
        if isinstance(path, int) or path is None:  # a file that is open already
            return
        real = os.path.realpath(os.fsdecode(path))
        if _inside(real, self._data_dir) and not any(_inside(real, own) for own in self._own):
            raise Refused(
                f"{real} is the daemon's, not the plugin's", hint="keep files in the folder that `folder` tells"
            )

    def pair(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to take a file of the daemon, and to put one in the place of it."""
        self.file(arguments[:1])
        self.file(arguments[1:2])

    def database(self, arguments: tuple[Any, ...]) -> None:
        """Refuse a connection of the plugin's own to a database of the daemon."""
        path = os.fsdecode(arguments[0]).removeprefix("file:").partition("?")[0]
        if path and path != ":memory:":
            self.file((path,))

    def resolve(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to look up a host that is not named."""
        host = os.fsdecode(arguments[0] or "")
        if host and not self._is_host(host):
            self._refuse("hosts", host, f"this plugin may not look up {host}")

    def connect(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to connect to a host that is not named; one that is may be reached by each of its addresses."""
        address = arguments[1]
        if address is None:  # it is connected, which was looked at
            return
        if isinstance(address, (str, bytes)):
            name = os.fsdecode(address)
            if name not in self._permissions.hosts:
                self._refuse("hosts", name, f"this plugin may not connect to {name}")
            return
        host, port = str(address[0]), int(address[1])
        for entry in self._permissions.hosts:
            name, _, own = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
            if own in {"", str(port)} and (host == name or host in _addresses(name)):
                return
        self._refuse("hosts", host, f"this plugin may not connect to {host}:{port}")

    def _is_host(self, host: str) -> bool:
        return host in self._hosts or any(host in _addresses(name) for name in self._hosts)

    def start(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to start a program that is not named."""
        program = arguments[0]
        if program is None and len(arguments) > 1:
            words = arguments[1]
            program = words if isinstance(words, (str, bytes)) else cast("Sequence[Any]", words)[0]
        path = os.fsdecode(cast("Any", program))
        allowed = self._permissions.commands
        if path not in allowed and not ("/" not in path and os.path.basename(path) in allowed):  # noqa: PTH119
            found = os.path.basename(path)  # noqa: PTH119 - a word, which need not be a path
            if found not in allowed or not self._is_found(path, found):
                self._refuse("commands", path, f"this plugin may not start {path}")

    def _is_found(self, path: str, word: str) -> bool:
        """Tell whether a path is the program that the word stands for: a file of that name may lie anywhere."""
        import shutil  # noqa: PLC0415 - 2 ms, and only for who starts programs

        found = shutil.which(word)
        return found is not None and os.path.realpath(found) == os.path.realpath(path)

    def fork(self, _arguments: tuple[Any, ...]) -> None:
        """Refuse a copy of this process: it would hold the channel."""
        self._refuse("commands", "os.fork", "a plugin's process may not be copied")

    def module(self, arguments: tuple[Any, ...]) -> None:
        """Refuse the keyring to a plugin that names no secrets."""
        if arguments[0] == "keyring" and not self._permissions.secrets:
            self._refuse("secrets", "keyring", "this plugin may not look into the keyring")


_Look = Callable[[Fence, tuple[Any, ...]], None]
_LOOKS: dict[str, _Look] = {
    **dict.fromkeys(_FILES, Fence.file),
    **dict.fromkeys(_PAIRS, Fence.pair),
    **dict.fromkeys(("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile"), Fence.start),
    **dict.fromkeys(("os.fork", "os.forkpty"), Fence.fork),
    **dict.fromkeys(("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"), Fence.resolve),
    **dict.fromkeys(("socket.connect", "socket.sendto", "socket.sendmsg"), Fence.connect),
    "os.system": lambda fence, arguments: fence.start((b"/bin/sh", *arguments)),
    "sqlite3.connect": Fence.database,
    "import": Fence.module,
}


def refusal(permission: str, name: str, what: str) -> Refused:
    """Return the answer to what the manifest does not allow, and what to put into it."""
    return Refused(
        f"{what}: it is not in its manifest",
        field=f"/permissions/{permission}",
        hint=f'put "{name}" into permissions.{permission} of {FILE}, then enable the plugin again',
        data={"rule": "manifest", "permission": permission, "name": name},
    )


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def _has_port(entry: str) -> bool:
    host, _, port = entry.rpartition(":")
    return bool(host) and port.isdecimal() and (":" not in host or host.endswith("]"))


def _addresses(host: str) -> frozenset[str]:
    """Return the addresses of a host that is named; asked again each time, since they change."""
    import socket  # noqa: PLC0415 - only for who connects

    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()
