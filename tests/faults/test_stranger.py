"""A process of another user, let in by every file mode there is, is hung up on by the socket itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Process

pytestmark = pytest.mark.alone

STRANGER = 65534
"""The user id of `nobody`; any that is not ours would do."""
CALLER = r"""
import os, socket, sys
user, address = int(sys.argv[1]), sys.argv[2]
door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
door.settimeout(20)
if user != os.getuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
door.connect(address)
print("connected", flush=True)
body = b'{"jsonrpc":"2.0","id":1,"method":"daemon.status","params":{}}'
try:
    door.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    print(door.recv(65536).decode() or "hung up")
except (ConnectionResetError, BrokenPipeError):
    print("hung up")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path anybody may walk; pytest's own is its owner's alone."""
    made = Path(tempfile.mkdtemp(prefix="clt-"))
    yield made
    shutil.rmtree(made)


def call_as(user: int, address: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", CALLER, str(user), address], capture_output=True, text=True, timeout=60, check=False
    )
    return (ran.stdout.strip() or ran.stderr.strip()).splitlines()


def test_a_process_of_another_user_is_refused_by_the_socket_itself(folder: Path) -> None:
    if sys.platform == "win32" or os.getuid() != 0:
        pytest.skip("NOT TESTED HERE: only root can act as another user to see the peer check refuse him")
    process = Process(folder / "data")
    address = process.start()["socket"]
    try:
        assert oct(Path(address).stat().st_mode & 0o777) == oct(0o600)
        assert oct(Path(address).parent.stat().st_mode & 0o777) == oct(0o700)
        assert "Permission denied" in call_as(STRANGER, address)[-1]  # the first wall: the folder and the socket
        for path, mode in ((folder, 0o755), (Path(address).parent, 0o755), (Path(address), 0o666)):
            path.chmod(mode)
        connected, said = call_as(STRANGER, address)  # the second: the kernel says who is there
        assert (connected, said) == ("connected", "hung up")
        own = call_as(os.getuid(), address)
        assert json.loads(own[-1])["result"]["pid"] == process.pid  # and it is for him alone that it hung up
        assert process.call("daemon.status")["clients"] == 1
    finally:
        process.kill()
