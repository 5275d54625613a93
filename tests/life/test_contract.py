"""docs/spawn-contract.md, line by line: its tables are read, and real processes are held to them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coder_ipc import process, runtime
from coder_ipc.client import Client
from coder_local._daemon import daemon, main, takeover
from coder_local._daemon.core import taking
from coder_local._daemon.lock import Lock
from coder_local.cli import serve as options
from coder_local.cli import session
from coder_local.testing.daemon import environment
from tests.doors import serve
from tests.doors.serve import Serve

pytestmark = pytest.mark.alone
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, signals and Unix sockets are POSIX")
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "spawn-contract.md").read_text("utf-8")
TYPES = {
    "string": (str,),
    "integer": (int,),
    "string or null": (str, type(None)),
    "string, optional": (str,),
    "boolean, optional": (bool,),
}


def table(section: str) -> list[dict[str, str]]:
    """Return the rows of the first table of a section, by the names of its columns."""
    body = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def words(cell: str) -> list[str]:
    """Return what stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


def column(section: str, name: str) -> list[str]:
    return [word for row in table(section) for word in words(row[name])[:1]]


class Running(NamedTuple):
    """A daemon, and the line that it said."""

    serve: Serve
    line: dict[str, Any]

    @property
    def data_dir(self) -> Path:
        return self.serve.data_dir


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, program: list[str]) -> Iterator[Running]:
    """A daemon as a shell starts it."""
    with Serve(tmp_path_factory.mktemp("contract"), command=program) as started:
        yield Running(started, started.ready())


def test_the_page_says_which_version_of_the_contract_it_is() -> None:
    assert PAGE.startswith("# The spawn contract, version 1\n")


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_page() -> None:
    told = {words(row["option"])[0]: "".join(words(row["value"])) for row in table("The command")}
    assert told == {name: value for name, (value, _) in options._VALUES.items()} | dict.fromkeys(options._FLAGS, "")


# -- the ready line ---------------------------------------------------------------------------------------------------


def test_the_line_has_these_fields_of_these_types(running: Running, program: list[str]) -> None:
    told = {words(row["field"])[0]: TYPES[row["type"]] for row in table("The ready line")}
    with Serve(running.data_dir.parent, command=program) as second:
        attached = second.ready()
        assert second.end() == 0
        assert second.rest() == b""
    optional = {words(row["field"])[0] for row in table("The ready line") if "optional" in row["type"]}
    for line in (running.line, attached):
        assert [name for name in line if name not in optional] == [name for name in told if name not in optional]
        assert [name for name, value in line.items() if type(value) not in told[name]] == []
    lines = [
        {name: line[name] for name in line if name not in {"event", *optional}} for line in (running.line, attached)
    ]
    assert lines[0] == lines[1]
    assert (running.line["event"], attached["event"]) == ("ready", "attached")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", attached["http"])
    assert attached["data_dir"] == str(running.data_dir.resolve())
    assert attached["pid"] == running.serve.popen.pid


def test_who_closes_the_other_end_of_standard_output_ends_nothing(tmp_path: Path, program: list[str]) -> None:
    # with a buffer, as ordinary: what could not be written is written once more at the end
    with Serve(tmp_path, command=program, env={"PYTHONUNBUFFERED": ""}) as started:
        assert started.popen.stdout is not None
        started.popen.stdout.close()
        while runtime.read(started.data_dir) is None:
            assert started.popen.poll() is None
        assert started.call("daemon.status")["pid"] == started.popen.pid
        started.popen.terminate()
        assert started.end() == 0


# -- exit codes -------------------------------------------------------------------------------------------------------


def _lingered(folder: Path, program: list[str]) -> Serve:
    with Serve(folder, "--linger=0", command=program) as stopped:  # `attached` is looked at with the line
        stopped.ready()
        stopped.end()
    return stopped


def _wrong_option(folder: Path, program: list[str]) -> Serve:
    return _ended(Serve(folder, "--linger=soon", command=program))


def _held(folder: Path) -> Serve:
    (folder / "data").mkdir(mode=0o700)
    lock = Lock(folder / "data")
    assert lock.take()
    less = "import sys; from coder_local._daemon import main; from coder_local.cli import main as run;"
    less += "main._ATTACH_WAIT = 0.3; sys.exit(run())"
    ended = _ended(Serve(folder, command=[sys.executable, "-c", less]))
    lock.release()
    assert "does not answer" in ended.log()
    return ended


def _newer_data(folder: Path, program: list[str]) -> Serve:
    with Serve(folder, command=program) as first:
        first.ready()
        first.popen.terminate()
        first.end()
    with sqlite3.connect(folder / "data" / "coder-local.db") as base:
        base.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('core', '9999_major_x', '')"
        )
    base.close()
    return _ended(Serve(folder, command=program))


def _fault(folder: Path) -> Serve:
    broken = "import sys; from coder_local._daemon import runtimefile; from coder_local.cli import main;"
    ended = _ended(Serve(folder, command=[sys.executable, "-c", f"{broken} del runtimefile.write; sys.exit(main())"]))
    assert "AttributeError" in json.loads(ended.log().splitlines()[-1])["trace"]
    assert not (ended.data_dir / "daemon.sock").exists()
    return ended


def _no_folder(folder: Path, program: list[str]) -> Serve:
    (folder / "data").write_text("a file")
    return _ended(Serve(folder, command=program))


def _interrupted(folder: Path) -> Serve:
    early = "import os, signal, sys; from coder_local.cli import main, serve;"
    early += "serve._read = lambda _: os.kill(os.getpid(), signal.SIGINT); sys.exit(main())"
    return _ended(Serve(folder, command=[sys.executable, "-c", early]))


def _ended(started: Serve) -> Serve:
    with started:
        started.end()
        assert started.rest() == b""
    return started


PROVOKED: dict[int, Callable[[Path, list[str]], Serve]] = {
    main.EXIT_OK: _lingered,
    options.EXIT_INVALID: _wrong_option,
    main.EXIT_DATA: _newer_data,
    main.EXIT_NO_DIRECTORY: _no_folder,
}
MEDDLED_WITH: dict[int, Callable[[Path], Serve]] = {
    main.EXIT_LOCKED: _held,
    main.EXIT_BROKEN: _fault,
    options.EXIT_INTERRUPTED: _interrupted,
}
"""Codes that only a program comes to whose source was meddled with."""
BY_SIGNALS = {main.EXIT_DATA, options.EXIT_INTERRUPTED}
"""Codes that are come to here by signals that Windows does not have."""


def _cases(codes: Iterable[int]) -> list[Any]:
    return [pytest.param(code, marks=posix if code in BY_SIGNALS else ()) for code in codes]


def test_the_exit_codes_are_those_of_the_page_and_of_the_program() -> None:
    told = [int(row["code"]) for row in table("Exit codes")]
    own = [value for module in (main, options) for name, value in vars(module).items() if name.startswith("EXIT_")]
    assert sorted(told) == sorted(own) == sorted(PROVOKED | MEDDLED_WITH)


@pytest.mark.parametrize("code", _cases(PROVOKED))
def test_each_exit_code_comes_of_what_the_page_says(tmp_path: Path, program: list[str], code: int) -> None:
    _has_said(PROVOKED[code](tmp_path, program), code)


@pytest.mark.parametrize("code", _cases(MEDDLED_WITH))
def test_the_other_exit_codes_come_of_what_the_page_says(tmp_path: Path, code: int) -> None:
    _has_said(MEDDLED_WITH[code](tmp_path), code)


def _has_said(ended: Serve, code: int) -> None:
    assert ended.popen.returncode == code
    explained = PAGE.partition("\nCodes ")[2].partition(" say why")[0]
    if str(code) in re.findall(r"\d+", explained):
        error, hint = ended.log().splitlines()[-2:]
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")


# -- files ------------------------------------------------------------------------------------------------------------


@posix
def test_the_files_are_these_with_these_modes_and_go_when_the_page_says(tmp_path: Path, program: list[str]) -> None:
    rows = {words(row["name"])[0]: row for row in table("Files")}
    beside = set(re.findall(r"`(coder-local\.db-\w+)`", PAGE))
    session_words = [*program, "--data-dir", str(tmp_path / "data")]
    before = os.umask(0)  # the daemon has one of its own
    subprocess.run([*session_words, "store", "snapshot"], env=environment(), check=True, capture_output=True)
    os.umask(before)
    with Client.connect(tmp_path / "data") as client:  # the command started a daemon by its own program
        assert client.call("daemon.status", {})["program"] == program
    there = {path.name for path in (tmp_path / "data").iterdir()}
    modes = {name: f"0{stat.S_IMODE((tmp_path / 'data' / name).stat().st_mode):o}" for name in rows}
    subprocess.run([*session_words, "stop"], env=environment(), check=True, capture_output=True)
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert modes == {name: row["mode"].strip("`") for name, row in rows.items()}
    assert there - beside == set(rows) | (there & {"plugins", "execution"})
    assert (tmp_path / "data" / "logs" / "daemon.stderr.log").exists()
    gone = {name for name, row in rows.items() if row["there"].startswith("until it stops")}
    assert gone == {"daemon.sock", "runtime.json"}
    assert left & {*gone, *beside} == set()
    assert {name for name, row in rows.items() if row["there"].startswith("for good")} <= left


# -- environment ------------------------------------------------------------------------------------------------------


def test_the_variables_are_those_that_the_program_reads() -> None:
    read = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()\s*["'](\w+)["']""")
    places = [ROOT / "coder_local", ROOT / "ipc" / "coder_ipc"]
    found = {
        name
        for place in places
        for path in place.rglob("*.py")
        if "testing" not in path.parts and "_frozen" not in path.parts
        for name in read.findall(path.read_text("utf-8"))
    }
    told = set(column("Environment", "variable"))
    assert "CODER_LOCAL_<PLUGIN>_<NAME>" in told
    assert found - _OF_THE_TERMINAL == told - {"CODER_LOCAL_<PLUGIN>_<NAME>"}


_OF_THE_TERMINAL = {"NO_COLOR", "TERM", "COLUMNS"}


def test_the_variables_do_what_the_page_says(tmp_path: Path, program: list[str]) -> None:
    env = environment({"XDG_DATA_HOME": str(tmp_path), "CODER_LOCAL_DAEMON_LINGER": "0.1"})
    env.pop("CODER_LOCAL_DATA_DIR", None)
    ended = subprocess.run([*program, "serve"], env=env, capture_output=True, text=True, timeout=60, check=True)
    if sys.platform not in {"win32", "darwin"}:
        assert f'"data_dir":"{(tmp_path / "coder-local").resolve()}"' in ended.stdout  # and the setting ended it
    (tmp_path / "named").write_text("no folder, so that nothing needs to be started to see which one is taken")
    env["CODER_LOCAL_DATA_DIR"] = str(tmp_path / "named")
    ended = subprocess.run([*program, "serve"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, f"the data directory {tmp_path / 'named'} cannot" in ended.stderr) == (73, True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_its_folder_is_its_data_directory_and_no_secret_stands_where_others_look(running: Running) -> None:
    own = Path(f"/proc/{running.serve.popen.pid}")
    assert (own / "cwd").readlink() == running.data_dir.resolve()
    found = runtime.read(running.data_dir)
    assert found is not None
    for place in (own / "cmdline", own / "environ", running.data_dir.parent / "log"):
        assert found.token.encode() not in place.read_bytes()


# -- stopping ---------------------------------------------------------------------------------------------------------


@posix
def test_each_way_to_stop_does_what_the_page_says(tmp_path: Path, program: list[str]) -> None:
    ways = {row["way"].strip("`"): row["exit code"] for row in table("Stopping")}
    assert [way for way, code in ways.items() if not code] == ["SIGHUP"]
    del ways["SIGHUP"]
    for way, code in ways.items():
        with Serve(tmp_path, command=program) as started:
            line = started.ready()
            told = Notified(line["socket"])
            started.popen.send_signal(signal.SIGHUP)  # before each of the others, and it is none
            assert started.call("daemon.status")["state"] != "stopping"
            if way == "daemon.stop":
                started.call(way)
            else:
                started.popen.send_signal(signal.Signals[way])
            assert started.end() == int(code)
            stays = way == "SIGKILL"
            assert told.until_closed() == ([] if stays else ["daemon.stopping"])
            assert [Path(line["socket"]).exists(), (started.data_dir / "runtime.json").exists()] == [stays, stays]


class Notified:
    """A client that only listens."""

    def __init__(self, address: str) -> None:
        self._channel = socket.socket(socket.AF_UNIX)
        self._channel.settimeout(30)
        self._channel.connect(address)
        ask = b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}'
        self._channel.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(ask), ask))
        self._said = self._channel.recv(65536)  # the answer: from here on it is known

    def until_closed(self) -> list[str]:
        """Return the notifications of the daemon that came before it hung up."""
        with self._channel:
            while piece := self._channel.recv(65536):
                self._said += piece
        return re.findall(r'"method":"([^"]+)"', self._said.decode())


# -- times ------------------------------------------------------------------------------------------------------------


def test_the_times_are_those_of_the_program() -> None:
    told = [float(row["seconds"]) for row in table("Times")]
    assert told == [
        serve.PROMPT,
        daemon.DRAIN,
        daemon._ANSWERING,
        main._ATTACH_WAIT,
        takeover._WAIT,
        taking.IMPORT_DEADLINE,
        session.LINGER,
    ]


# -- what stands between the tables -----------------------------------------------------------------------------------


@posix
def test_what_a_stranger_finds_in_runtime_json_is_enough_to_ask(running: Running) -> None:
    found = runtime.read(running.data_dir)
    assert found is not None
    assert {
        name: value for name, value in running.line.items() if name in found._fields
    }.items() <= found._asdict().items()
    with Client.connect(found) as client:
        assert client.hello["incarnation"] == running.line["incarnation"]
        assert client.hello["data_dir"] == running.line["data_dir"]
    started = process.started_at(found.pid)
    assert started is not None
    assert abs(started - found.process_started_at) < 2
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(running.line["socket"])
