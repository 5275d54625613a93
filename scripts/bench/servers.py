"""Processes that are measured: the daemon, and the floors that bench scripts run as `SCRIPT --floor NAME FOLDER`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOCKET = "daemon.sock"


class Server:
    """A running server: its folder, its socket, and what it costs."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.socket = str(folder / SOCKET)

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def call(self, method: str, **params: Any) -> Any:
        """Call an operation and return its answer."""
        with connect(self.socket) as connection:
            connection.sendall(frame(method, params))
            answers = (json.loads(body) for body in frames(connection))
            answer = next(each for each in answers if "id" in each)  # the others report progress
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def runtime(self) -> dict[str, Any]:
        """Return what the daemon wrote into `runtime.json`."""
        found: dict[str, Any] = json.loads((self.folder / "runtime.json").read_text("utf-8"))
        return found


def frame(method: str, params: object) -> bytes:
    """Return one call as a frame."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def connect(path: str) -> socket.socket:
    """Connect to a Unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(path)
    return connection


def read_frame(connection: socket.socket) -> bytes:
    """Return the body of the next frame, of a server that sends no other after it."""
    return next(frames(connection))


def frames(connection: socket.socket) -> Iterator[bytes]:
    """Yield the bodies of the frames that come."""
    data = b""
    while True:
        while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + int(data[16:end]):
            more = connection.recv(1_048_576)
            if not more:
                raise ConnectionError("the server hung up")
            data += more
        stop = end + 4 + int(data[16:end])
        yield data[end + 4 : stop]
        data = data[stop:]


def environment() -> dict[str, str]:
    """Return the environment of all servers: the source roots, and bytecode written."""
    paths = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "ipc"), str(HERE)]
    if inherited := os.environ.get("PYTHONPATH"):
        paths.append(inherited)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def daemon_command(folder: Path, *, http: bool = False) -> list[str]:
    """Return the command that runs the daemon with the measuring domain."""
    return [sys.executable, str(HERE / "launch.py"), str(folder), *(["--http"] if http else [])]


def floor_command(script: str, name: str, folder: Path) -> list[str]:
    """Return the command that runs a floor of a bench script."""
    return [sys.executable, str(Path(script).resolve()), "--floor", name, str(folder)]


def spawn(command: list[str], folder: Path) -> Server:
    """Start a server; it may not listen yet."""
    # The socket of a server before, or the first answer would be waited for at the wrong place.
    (folder / SOCKET).unlink(missing_ok=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=log)
    return Server(process, folder)


def wait_for_socket(server: Server, seconds: float = 30) -> None:
    """Return when the server answers connections."""
    end = time.monotonic() + seconds
    while True:
        try:
            connect(server.socket).close()
        except OSError:
            if time.monotonic() > end or server.process.poll() is not None:
                raise RuntimeError(f"it does not listen:\n{(server.folder / 'log').read_text('utf-8')}") from None
            time.sleep(0.005)
        else:
            return


def stop(server: Server) -> None:
    """End a server and wait for it."""
    server.process.terminate()
    try:
        server.process.wait(15)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


@contextlib.contextmanager
def serving(command: list[str], folder: Path) -> Iterator[Server]:
    """Run a server while the block runs."""
    server = spawn(command, folder)
    try:
        wait_for_socket(server)
        yield server
    finally:
        stop(server)


@contextlib.contextmanager
def folders(*names: str) -> Iterator[list[Path]]:
    """Make one folder for each name, on the disk that temporary files are on, and remove them."""
    base = Path(tempfile.mkdtemp(prefix="coder-bench-"))
    try:
        made = [base / name for name in names]
        for folder in made:
            folder.mkdir(mode=0o700)
        yield made
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def both(script: str, floor: str, *, http: bool = False) -> Iterator[tuple[Server, Server]]:
    """Run the daemon and a floor side by side; only one of them is asked at a time."""
    with (
        folders("daemon", "floor") as (ours, theirs),
        serving(daemon_command(ours, http=http), ours) as daemon,
        serving(floor_command(script, floor, theirs), theirs) as hand_written,
    ):
        yield daemon, hand_written


def fill(server: Server, count: int, batch: int = 1000) -> list[str]:
    """Insert items and return their ids; floors answer `bench.fill` too."""
    ids: list[str] = []
    for first in range(0, count, batch):
        ids += server.call("bench.fill", first=first, count=min(batch, count - first))
    return ids
