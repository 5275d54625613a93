"""What a shell may rely on when it starts the daemon: the parent, standard input, signals, faults, addresses.

What docs/spawn-contract.md has in its tables is held to by tests/life/test_contract.py.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coder_ipc import RemoteError
from coder_ipc.client import Client
from coder_ipc.runtime import SOCKET_PATH_LIMIT, read

from .serve import PROMPT, Clock, Serve

pytestmark = pytest.mark.alone
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, modes and Unix sockets are POSIX")


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that can be killed, for a daemon to be the child of."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


# -- standard output --------------------------------------------------------------------------------------------------


@posix
def test_standard_output_is_one_line_whatever_happens(tmp_path: Path) -> None:
    with Serve(tmp_path, "--log-level", "debug") as serve:
        line = serve.ready()
        with pytest.raises(RemoteError):
            serve.call("planning.tasks.create", title="")
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(line["socket"])
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"-32700" in stranger.recv(4096)
        serve.popen.terminate()
        assert serve.end() == 0
        assert serve.rest() == b""
        for logged in serve.log().splitlines():
            assert {"time", "level", "logger", "message"} <= json.loads(logged).keys()


# -- the parent -------------------------------------------------------------------------------------------------------


def test_it_ends_with_its_parent(tmp_path: Path, parent: subprocess.Popen[bytes]) -> None:
    with Serve(tmp_path, "--parent-pid", str(parent.pid)) as serve:
        serve.ready()
        serve.call("planning.tasks.create", title="kept")
        parent.kill()
        clock = Clock()
        assert serve.end() == 0
        assert clock.seconds < PROMPT


def test_a_parent_that_is_gone_already(tmp_path: Path, parent: subprocess.Popen[bytes]) -> None:
    parent.kill()
    parent.wait()
    with Serve(tmp_path, "--parent-pid", str(parent.pid)) as serve:
        assert serve.ready()["event"] == "ready"
        assert serve.end() == 0


@contextlib.contextmanager
def _over_the_socket(serve: Serve) -> Iterator[None]:
    with serve.client():
        yield


@contextlib.contextmanager
def _over_http(serve: Serve) -> Iterator[None]:
    found = read(serve.data_dir)
    assert found is not None
    assert found.http is not None
    connection = http.client.HTTPConnection(urlsplit(found.http).netloc, timeout=30)
    connection.request("GET", "/events", headers={"Authorization": f"Bearer {found.token}"})
    answer = connection.getresponse()
    assert answer.readline() == b"retry: 1000\n"
    yield
    answer.close()
    connection.close()


@pytest.mark.parametrize("attached", [_over_the_socket, _over_http])
def test_it_stays_for_another_client_after_its_parent(
    tmp_path: Path,
    parent: subprocess.Popen[bytes],
    attached: Callable[[Serve], contextlib.AbstractContextManager[None]],
) -> None:
    (tmp_path / "other").mkdir()
    option = ("--parent-pid", str(parent.pid))
    with Serve(tmp_path, *option) as serve, Serve(tmp_path / "other", *option) as other:
        serve.ready()
        other.ready()
        with attached(serve):
            parent.kill()
            assert other.end() == 0  # so the parent's end was noticed
            with pytest.raises(subprocess.TimeoutExpired):
                serve.end(0.5)
        clock = Clock()
        assert serve.end() == 0
        assert clock.seconds < PROMPT


# -- standard input ---------------------------------------------------------------------------------------------------


def _close_input(serve: Serve) -> None:
    assert serve.popen.stdin is not None
    serve.popen.stdin.close()


def test_the_end_of_watched_standard_input_ends_it(tmp_path: Path) -> None:
    with Serve(tmp_path, "--watch-stdin", stdin=subprocess.PIPE) as serve:
        serve.ready()
        with serve.client() as client:
            assert serve.popen.stdin is not None
            serve.popen.stdin.write(b"what is written there is nothing to it\n" * 1000)
            _close_input(serve)
            with pytest.raises(subprocess.TimeoutExpired):
                serve.end(0.5)
            assert client.call("daemon.status")["state"] in {"starting", "ready"}
        clock = Clock()
        assert serve.end() == 0
        assert clock.seconds < PROMPT


def test_standard_input_that_is_not_watched_may_end(tmp_path: Path) -> None:
    with Serve(tmp_path, stdin=subprocess.PIPE) as serve:
        serve.ready()
        _close_input(serve)
        with pytest.raises(subprocess.TimeoutExpired):
            serve.end(0.5)
        assert serve.call("daemon.status")["state"] in {"starting", "ready"}


# -- lingering --------------------------------------------------------------------------------------------------------


def test_it_lingers_after_its_last_client(tmp_path: Path) -> None:
    linger = 2.0
    with Serve(tmp_path, "--linger", str(linger)) as serve:
        serve.ready()
        with serve.client(), pytest.raises(subprocess.TimeoutExpired):
            serve.end(linger + 0.5)
        with serve.client():  # whoever comes in time starts the time anew
            pass
        clock = Clock()
        assert serve.end() == 0
        assert linger - 0.2 < clock.seconds < linger + PROMPT


# -- signals ----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_again_and_again_is_one_clean_stop(tmp_path: Path, how: signal.Signals) -> None:
    with Serve(tmp_path) as serve:
        serve.ready()
        written = serve.call("planning.tasks.create", title="kept")
        for _ in range(20):
            serve.popen.send_signal(how)
        assert serve.end() == 0
        assert not (serve.data_dir / "runtime.json").exists()
        assert "Traceback" not in serve.log()
    with Serve(tmp_path) as serve:
        serve.ready()
        assert serve.call("planning.tasks.get", id=written["id"]) == written


# -- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["--http-prot=1", "--parent-pid=-1", "--parent-pid=0", "--log-level=loud"])
def test_wrong_options_end_with_2_and_say_nothing_on_standard_output(tmp_path: Path, wrong: str) -> None:
    with Serve(tmp_path, wrong) as serve:
        assert serve.end() == 2
        assert serve.rest() == b""
        assert "hint: see coder-local serve --help" in serve.log()
        assert not serve.data_dir.exists()


def test_a_database_that_cannot_be_opened_ends_with_73(tmp_path: Path) -> None:
    (tmp_path / "data" / "coder-local.db").mkdir(parents=True)
    with Serve(tmp_path) as serve:
        assert serve.end() == 73
        assert serve.rest() == b""
        assert "hint: " in serve.log()
        assert "Traceback" not in serve.log()


# -- addresses --------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_costs_http_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Serve(tmp_path, "--http-port", str(port)) as serve:
            assert serve.ready()["http"] is None
            with serve.client() as client:
                assert client.hello["http"] is None
                assert client.call("planning.tasks.create", {"title": "over the socket"})["rev"] == 1
            assert f"port {port} cannot be bound" in serve.log()


def test_a_port_that_is_free_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Serve(tmp_path, "--http-port", str(port)) as serve:
        assert serve.ready()["http"] == f"http://127.0.0.1:{port}"
        with _over_http(serve):
            pass


def test_no_http(tmp_path: Path) -> None:
    with Serve(tmp_path, "--no-http") as serve:
        assert serve.ready()["http"] is None
        assert serve.call("daemon.status")["http"] is None


@pytest.fixture
def short() -> Iterator[Path]:
    """A private folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="cl", dir=None if sys.platform == "win32" else "/tmp") as folder:
        yield Path(folder).resolve()


@posix
def test_a_data_directory_with_a_long_name_has_its_socket_elsewhere(tmp_path: Path, short: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 6)
    deep.mkdir(parents=True)
    with Serve(deep, env={"XDG_RUNTIME_DIR": str(short)}) as serve:
        address = Path(serve.ready()["socket"])
        assert len(os.fsencode(address)) <= SOCKET_PATH_LIMIT
        assert short in address.parents
        assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(address.stat().st_mode) == 0o600
        # A client finds it by runtime.json, whatever its own environment says.
        assert serve.call("daemon.status")["socket"] == str(address)
        serve.call("daemon.stop")
        assert serve.end() == 0
        assert not address.exists()


@posix
def test_a_socket_that_was_named_is_where_it_was_named(tmp_path: Path, short: Path) -> None:
    with Serve(tmp_path, "--socket", os.path.relpath(short / "new" / "s")) as serve:
        assert serve.ready()["socket"] == str(short / "new" / "s")
        assert serve.call("daemon.status")["pid"] == serve.popen.pid
        serve.popen.kill()
        serve.end()
    with Serve(tmp_path, "--socket", str(short / "new" / "s")) as serve:  # what a killed one left is in nobody's way
        assert serve.ready()["event"] == "ready"


def _file(folder: Path) -> Path:
    (folder / "precious").write_text("not a socket")
    return folder / "precious"


def _open_folder(folder: Path) -> Path:
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o755)
    return folder / "shared" / "s"


@posix
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (_file, "is no socket, and is left alone"),
        (_open_folder, "is open to other users"),
        (lambda folder: folder / ("x" * SOCKET_PATH_LIMIT), "a socket has at most"),
        (lambda folder: _file(folder) / "s", "cannot be made"),
    ],
    ids=["file", "open-folder", "long", "below-a-file"],
)
def test_a_socket_that_cannot_be_had_without_harm_ends_with_73(
    tmp_path: Path, short: Path, place: Callable[[Path], Path], reason: str
) -> None:
    address = place(short)
    before = sorted((path, path.stat().st_mode) for path in short.rglob("*"))
    with Serve(tmp_path, "--socket", str(address)) as serve:
        assert serve.end() == 73
        assert serve.rest() == b""
        assert reason in serve.log()
        assert "leave --socket out" in serve.log()
    assert sorted((path, path.stat().st_mode) for path in short.rglob("*")) == before


@posix
def test_the_socket_of_another_daemon_is_not_taken_from_it(tmp_path: Path, short: Path) -> None:
    address = str(short / "s")
    (tmp_path / "other").mkdir()
    with Serve(tmp_path, "--socket", address) as first:
        first.ready()
        with Serve(tmp_path / "other", "--socket", address) as second:
            assert second.end() == 73
            assert "another program listens" in second.log()
        with Client.connect(first.data_dir) as client:
            assert client.hello["pid"] == first.popen.pid
