"""Keeping a plugin's code to the hosts, commands and files that its manifest names, by Python's audit events.

A fence against accidents, and no sandbox: code in C, and code that means harm, gets past it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from coder_local.api import Refused

from .manifest import FILE, Permissions
from .wire import Channel

_FILES = {
    "os.chmod": 2, "os.chown": 3, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1, "os.utime": 3, "os.chflags": None,
    "os.truncate": None, "os.setxattr": None, "os.removexattr": None, "shutil.rmtree": 1,
}  # fmt: skip
"""Where among the arguments the `dir_fd` stands that a relative path begins at, if they have one."""
_PAIRS = frozenset({"os.rename", "os.link"})
"""What has two paths, and then a `dir_fd` for each."""
_FORK_EXEC = "coder_local.fork_exec"
"""Stands for the event that Python does not have: of the function in C by which children are started."""
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", _FORK_EXEC)


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
        # It tells of its starts itself, so it takes the function before that is watched.
        importlib.import_module("subprocess")
        with contextlib.suppress(ImportError):  # Windows has none
            self._watch_forks(importlib.import_module("_posixsubprocess"))
        sys.addaudithook(self._hear)

    def _watch_forks(self, module: Any) -> None:
        """Look at what is started without an audit event, by `multiprocessing` with `spawn` and `forkserver`."""
        fork_exec = module.fork_exec

        def watched(arguments: Any, programs: Any, *rest: Any) -> int:
            self._hear(_FORK_EXEC, (programs[0], arguments))
            started: int = fork_exec(arguments, programs, *rest)
            return started

        module.fork_exec = watched

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

    def open_file(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to open a file of the daemon.

        The event does not tell the `dir_fd` of `os.open`, from which it has no mode: a relative path of it is taken to
        begin at each folder that is open.
        """
        path, mode = arguments[:2]
        self.file(path)
        if mode is None and isinstance(path, (str, bytes)) and not os.path.isabs(path):  # noqa: PTH117 - or bytes
            for folder in _open_folders():
                self.file(path, folder)

    def file(self, path: Any, folder: str = "") -> None:
        """Refuse files of the data directory that are not the plugin's: the database, the owner's token."""
        if isinstance(path, int) or path is None:  # a file that is open already
            return
        real = os.path.realpath(os.path.join(folder, os.fsdecode(path)))  # noqa: PTH118 - either may be empty
        if _inside(real, self._data_dir) and not any(_inside(real, own) for own in self._own):
            raise Refused(
                f"{real} is the daemon's, not the plugin's", hint="keep files in the folder that `folder` tells"
            )

    def pair(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to take a file of the daemon, and to put one in the place of it."""
        self.file(arguments[0], _begin(arguments, 2))
        self.file(arguments[1], _begin(arguments, 3))

    def symlink(self, arguments: tuple[Any, ...]) -> None:
        """Refuse a link to a file of the daemon, and one in the place of it; what it leads to begins where it lies."""
        target, link = arguments[:2]
        folder = _begin(arguments, 2)
        self.file(target, os.path.join(folder, os.path.dirname(os.fsdecode(link))))  # noqa: PTH118, PTH120
        self.file(link, folder)

    def database(self, arguments: tuple[Any, ...]) -> None:
        """Refuse a connection of the plugin's own to a database of the daemon."""
        path = os.fsdecode(arguments[0]).removeprefix("file:").partition("?")[0]
        if path and path != ":memory:":
            self.file(path)

    def resolve(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to look up a host that is not named."""
        host = os.fsdecode(arguments[0] or "")
        if host and not self._is_host(host):
            self._refuse("hosts", host, f"this plugin may not look up {host}")

    def connect(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to connect to a host that is not named; one that is may be reached by each of its addresses."""
        if arguments[1] is not None:  # else it is connected, which was looked at
            self._reach(arguments[1], "connect to")

    def bind(self, arguments: tuple[Any, ...]) -> None:
        """Refuse to be reached at an address that is not named: a port that listens lets in whoever finds it."""
        address: Any = arguments[1]
        if not isinstance(address, (str, bytes)) and address[0] == "":  # any address of this machine
            address = ("::" if len(address) > 2 else "0.0.0.0", *address[1:])  # noqa: S104 - to refuse it
        self._reach(address, "listen at")

    def _reach(self, address: Any, what: str) -> None:
        if isinstance(address, (str, bytes)):
            name = os.fsdecode(address)
            if name not in self._permissions.hosts:
                self._refuse("hosts", name, f"this plugin may not {what} {name}")
            return
        host, port = str(address[0]), int(address[1])
        for entry in self._permissions.hosts:
            name, _, own = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
            if own in {"", str(port)} and (host == name or host in _addresses(name)):
                return
        self._refuse("hosts", host, f"this plugin may not {what} {host}:{port}")

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


def _look_at_file(place: int | None) -> _Look:
    return lambda fence, arguments: fence.file(arguments[0], "" if place is None else _begin(arguments, place))


def _begin(arguments: tuple[Any, ...], place: int) -> str:
    """Return the folder that a relative path begins at by its `dir_fd`, of the argument at `place`."""
    number: Any = arguments[place] if place < len(arguments) else -1
    return "" if number is None or number < 0 else _folder_of(number)


def _folder_of(number: int) -> str:
    """Return the path of a folder that is open; empty if it cannot be told, or is none."""
    try:
        if not stat.S_ISDIR(os.fstat(number).st_mode):
            return ""
        if sys.platform == "darwin":
            import fcntl  # noqa: PLC0415 - there is none on Windows

            return os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - a text
    except OSError:
        return ""


def _open_folders() -> set[str]:
    """Return the paths of all folders that this process has open."""
    try:
        numbers = os.listdir("/dev/fd")  # noqa: PTH208 - on Linux a link, by which it is told there as well
    except OSError:  # Windows, where no path begins at an open folder
        return set()
    return {folder for each in numbers if (folder := _folder_of(int(each)))}


_LOOKS: dict[str, _Look] = {
    "open": Fence.open_file,
    **{event: _look_at_file(place) for event, place in _FILES.items()},
    **dict.fromkeys(_PAIRS, Fence.pair),
    "os.symlink": Fence.symlink,
    **dict.fromkeys(_STARTS, Fence.start),
    **dict.fromkeys(("os.fork", "os.forkpty"), Fence.fork),
    **dict.fromkeys(("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"), Fence.resolve),
    **dict.fromkeys(("socket.connect", "socket.sendto", "socket.sendmsg"), Fence.connect),
    # Without a program it comes from `subprocess`, which told of it before.
    "_winapi.CreateProcess": lambda fence, arguments: fence.start(arguments[:1]) if arguments[0] else None,
    "socket.bind": Fence.bind,
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
