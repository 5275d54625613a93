"""Whether the daemon may listen at an address that it was told: without harm to what is there, and closed to others."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from coder_ipc.runtime import SOCKET_PATH_LIMIT

_HINT = "name a path in a folder of your own that nobody else may enter (mode 0700), or leave --socket out"


class PlaceError(Exception):
    """The daemon cannot listen there; the message says why."""

    hint = _HINT


def usable(address: str) -> str:
    """Return an address from `--socket` in full, for clients that run elsewhere. Raises `PlaceError`.

    A file that is no socket would be lost, and a socket at which somebody answers would be taken from him; a folder
    that others may enter is not closed to them behind its owner's back, for it may be `/tmp`.
    """
    if sys.platform == "win32":
        return address
    path = Path(address).parent.resolve() / Path(address).name
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise PlaceError(f"the path of a socket has at most {SOCKET_PATH_LIMIT} bytes here: {path} has more")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & 0o077:
            raise PlaceError(f"{path.parent} is open to other users, so no socket is put there")
        if path.exists() and not path.is_socket():
            raise PlaceError(f"{path} is no socket, and is left alone")
    except OSError as error:
        raise PlaceError(f"the socket {path} cannot be made: {error}") from error
    if _answers(path):
        raise PlaceError(f"another program listens at {path}")
    return str(path)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False  # not there, or left by a process that was killed
        return True
