"""A data directory that is no good, a program that is too old: each is refused with an error that names the cure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coder_ipc import handshake
from coder_ipc.client import Client
from coder_ipc.errors import RemoteError
from coder_local import __version__
from coder_local._daemon import directory, lock, main, mount
from coder_local.testing.daemon import environment
from tests.doors.serve import Serve

pytestmark = pytest.mark.alone
as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="NOT TESTED HERE: mounts, and gives files away, as root"
)
NOBODY_S = 54_321
NETWORK = """
import sys
from coder_local._daemon import mount
mount.kind = lambda path: mount.MountKind("/mnt/office", "nfs4", True, False)
from coder_local.cli import main
sys.exit(main())
"""
PROTOCOL_2 = """
import sys
from coder_local._transports.jsonrpc import session
session.PROTOCOL = 2
from coder_local.cli import main
sys.exit(main())
"""


def refused(folder: Path, *options: str, program: tuple[str, ...] = ()) -> str:
    """Start `serve`, which is refused the data directory; return what it says."""
    with Serve(folder, *options, **({"command": program} if program else {})) as serve:  # type: ignore[arg-type]
        assert serve.end() == 73
        assert serve.rest() == b""
        error, hint = serve.log().splitlines()
    assert error.startswith(f"error: the data directory {folder / 'data'} cannot be used: ")
    assert hint.startswith("hint: ")
    return f"{error}\n{hint}"


# -- the directory ----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that is mounted read-only, with a data directory on it."""
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        (place / "data").mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@as_root
def test_a_read_only_file_system(read_only: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(read_only / "data")
    with Serve(tmp_path) as serve:
        assert serve.end() == 73
        assert f"{read_only / 'data'} cannot be used: its file system is mounted read-only" in serve.log()
        assert "hint: mount it for writing, or give another one with --data-dir" in serve.log()


@as_root
def test_a_folder_that_is_to_be_made_on_a_read_only_file_system(read_only: Path) -> None:
    with pytest.raises(directory.DirectoryError, match="mounted read-only"):
        directory.prepare(read_only / "other")


def _file(folder: Path) -> Path:
    (folder / "file").write_text("in the way")
    return folder / "file"


def _circle(folder: Path) -> Path:
    (folder / "circle").symlink_to(folder / "circle")
    return folder / "circle"


def _lost(folder: Path) -> Path:
    (folder / "lost").symlink_to(folder / "nowhere")
    return folder / "lost"


@pytest.mark.skipif(sys.platform == "win32", reason="links, and the numbers of its system")
@pytest.mark.parametrize(
    ("make", "why", "cure"),
    [
        (_file, "it is no folder", "move {0}/file away"),
        (lambda folder: _file(folder) / "a" / "b", "{0}/file is no folder", "move {0}/file away"),
        (_lost, "it is no folder", "move {0}/lost away"),
        (
            lambda folder: _circle(folder) / "a",
            "the links at {0}/circle lead in a circle",
            "take the link {0}/circle away",
        ),
        (lambda folder: folder / ("x" * 300), "its name is longer than the file system takes", "choose a shorter one"),
    ],
    ids=["file", "below-a-file", "lost-link", "circle", "long"],
)
def test_what_is_in_the_way_is_said_in_words(tmp_path: Path, make: Callable[[Path], Path], why: str, cure: str) -> None:
    with pytest.raises(directory.DirectoryError) as error:
        directory.prepare(folder := make(tmp_path))
    assert str(error.value) == f"the data directory {folder} cannot be used: {why.format(tmp_path)}"
    assert error.value.hint == f"{cure.format(tmp_path)}, or {directory.ANOTHER}"


@as_root
def test_the_folder_that_may_not_be_written_is_named() -> None:
    os.seteuid(NOBODY_S)
    try:
        with pytest.raises(directory.DirectoryError) as error:
            directory.prepare(Path("/nothing-of-this-name/data"))
    finally:
        os.seteuid(0)
    assert f"user {NOBODY_S} may not write /" in str(error.value)
    assert error.value.hint.startswith("change the permissions of /, or give another one")


def test_no_number_of_the_system_is_shown(tmp_path: Path) -> None:
    for number in errno.errorcode:
        for told in (
            OSError(number, os.strerror(number), str(tmp_path / "file")),
            OSError(number, os.strerror(number)),
        ):
            error = directory.cannot(tmp_path, told)
            assert "Errno" not in str(error)
            assert error.hint.endswith(directory.ANOTHER)


@as_root
def test_somebody_else_s_directory_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    os.chown(data, NOBODY_S, NOBODY_S)
    said = refused(tmp_path)
    assert f"it belongs to user {NOBODY_S}, and this is user root (0)" in said
    assert f"hint: run it as user {NOBODY_S}, or give another one" in said
    assert (list(data.iterdir()), data.stat().st_mode & 0o777) == ([], 0o755)


def test_a_network_drive_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    program = (sys.executable, "-c", NETWORK)
    said = refused(tmp_path, program=program)
    assert "it is on a network drive (nfs4 at /mnt/office)" in said
    assert "--allow-network-directory" in said
    assert list((tmp_path / "data").iterdir()) == []
    (tmp_path / "log").unlink()
    with Serve(tmp_path, "--allow-network-directory", command=program) as serve:
        assert serve.ready()["event"] == "ready"
        assert "warning: " in serve.log()
        assert "a network drive (nfs4 at /mnt/office)" in serve.log()
        assert serve.call("daemon.status")["options"] == ["--allow-network-directory"]


def test_a_system_that_does_not_tell_its_mounts_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: Path) -> mount.MountKind:
        raise OSError("no mounts")

    monkeypatch.setattr(mount, "kind", unknown)
    assert directory.prepare(tmp_path / "new") == (tmp_path / "new").resolve()


@pytest.mark.parametrize("take_over", [False, True])
def test_a_file_system_without_locks_is_not_taken_for_one_that_somebody_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], take_over: bool
) -> None:
    def none(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", none)
    assert main.serve(main.ServeOptions(data_dir=tmp_path / "data", take_over=take_over)) == main.EXIT_NO_DIRECTORY
    said = capsys.readouterr().err
    assert f"its file system has no locks ({os.strerror(errno.ENOLCK)})" in said
    assert "hint: mount it with locks, or give another one" in said


def test_a_command_shows_the_same(tmp_path: Path) -> None:
    """Who only types a command is told by `serve` through its log."""
    (tmp_path / "data" / "runtime.json").mkdir(parents=True)
    argv = [sys.executable, "-m", "coder_local", "--data-dir", str(tmp_path / "data"), "planning", "tasks", "list"]
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 73
    assert "hint: move that folder away" in ended.stderr


# -- an older protocol ------------------------------------------------------------------------------------------------


def test_the_older_of_daemon_and_client_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Serve(tmp_path) as serve:
        serve.ready()
        monkeypatch.setattr(handshake, "PROTOCOL", 0)
        with pytest.raises(RemoteError) as error:
            Client.connect(serve.data_dir, name="old shell")
        monkeypatch.setattr(handshake, "PROTOCOL", 2)
        with pytest.raises(RemoteError) as newer:
            Client.connect(serve.data_dir, name="new shell")
    assert error.value.kind == "unsupported"
    assert error.value.message == f"this daemon, version {__version__}, speaks protocol 1; old shell speaks 0"
    assert error.value.hint == "update the client; the client is the older one"
    assert "speaks protocol 1; new shell speaks 2" in newer.value.message
    assert newer.value.hint is not None
    assert "coder-local daemon handover" in newer.value.hint


def test_a_program_of_another_protocol_does_not_wait_for_what_will_not_come(tmp_path: Path) -> None:
    with Serve(tmp_path, command=(sys.executable, "-c", PROTOCOL_2)) as newer:
        newer.ready()
        for options in ((), ("--take-over",)):
            with Serve(tmp_path, *options) as older:
                assert older.end(14) == 8  # 15 s are for one that does not answer
                assert "speaks protocol 2; coder" in older.log()
                assert "hint: update the client" in older.log()
        argv = [sys.executable, "-m", "coder_local", "--data-dir", str(newer.data_dir), "status"]
        ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 12
        assert "hint: update the client" in ended.stderr
