import json
import os
import socket
import sys
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_ipc import runtime
from coder_ipc.errors import IpcError

FIELDS = {
    "protocol": 1,
    "version": "0.1.0",
    "incarnation": "01J",
    "pid": 4711,
    "process_started_at": 1763655300.12,
    "socket": "/d/daemon.sock",
    "http": "http://127.0.0.1:1",
    "token": "secret-token",
    "data_dir": "/d",
}


def write(folder: Path, value: object) -> None:
    (folder / "runtime.json").write_text(value if isinstance(value, str) else json.dumps(value))


def test_the_file_is_read_and_later_fields_are_ignored(tmp_path):
    write(tmp_path, FIELDS | {"new": {}})
    assert runtime.read(tmp_path) == runtime.Runtime(**FIELDS)


def test_http_may_be_off(tmp_path):
    write(tmp_path, FIELDS | {"http": None})
    assert runtime.read(tmp_path) == runtime.Runtime(**FIELDS | {"http": None})


def test_the_token_is_not_in_the_repr():
    assert "secret" not in repr(runtime.Runtime(**FIELDS))


def test_no_file_or_no_folder_is_no_daemon(tmp_path):
    assert runtime.read(tmp_path) is None
    assert runtime.read(tmp_path / "missing") is None
    (tmp_path / "runtime.json").mkdir()
    assert runtime.read(tmp_path) is None


def test_a_file_truncated_anywhere_is_no_daemon(tmp_path):
    text = json.dumps(FIELDS)
    for length in range(len(text)):
        write(tmp_path, text[:length])
        assert runtime.read(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [{"pid": True}, {"pid": 0}, {"pid": -1}, {"pid": "4711"}, {"socket": None}, {"socket": "a\0b"}, {"token": 5},
     {"process_started_at": "now"}, {"http": 80}, {"protocol": 1.0}],
)  # fmt: skip
def test_a_field_of_another_type_is_no_daemon(tmp_path, change):
    write(tmp_path, FIELDS | change)
    assert runtime.read(tmp_path) is None


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "http"])
def test_a_missing_field_is_no_daemon(tmp_path, name):
    write(tmp_path, {key: value for key, value in FIELDS.items() if key != name})
    assert runtime.read(tmp_path) is None


@given(content=st.binary(max_size=200) | st.sampled_from([b"[" * 60_000, b"null", b"[]", b"\xff\xfe{}"]))
def test_a_foreign_file_never_crashes(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "runtime.json").write_bytes(content)
    assert runtime.read(folder) is None


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads every file")
def test_a_file_of_another_user_is_a_clear_error(tmp_path):
    write(tmp_path, FIELDS)
    (tmp_path / "runtime.json").chmod(0)
    with pytest.raises(IpcError, match="cannot be read"):
        runtime.read(tmp_path)


@pytest.mark.parametrize("shared", [None, "/srv/data", "relative", ""])
def test_the_default_data_directory_is_that_of_platformdirs(monkeypatch, shared):
    monkeypatch.delenv("CODER_LOCAL_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if shared is not None:
        monkeypatch.setenv("XDG_DATA_HOME", shared)
    assert str(runtime.default_data_dir()) == platformdirs.user_data_dir("coder-local", appauthor=False)


def test_the_environment_names_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("CODER_LOCAL_DATA_DIR", str(tmp_path))
    assert runtime.default_data_dir() == tmp_path
    monkeypatch.setenv("CODER_LOCAL_DATA_DIR", "here")
    assert runtime.default_data_dir() == Path.cwd() / "here"


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes have no path")
class TestSocketPath:
    def test_the_socket_lies_in_the_data_directory(self, tmp_path):
        assert runtime.socket_path(tmp_path, limit=1000) == str(tmp_path / "daemon.sock")

    @pytest.mark.parametrize("letter", ["d", "\u00e4"])
    def test_a_socket_can_be_bound_for_every_length_of_the_data_directory(self, tmp_path, monkeypatch, letter):
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        for length in range(1, 121, 7):
            folder = tmp_path / (letter * length)
            folder.mkdir()
            path = runtime.socket_path(folder)
            runtime.make_socket_folder(path)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path)
            Path(path).unlink()

    def test_the_limit_is_met_exactly(self, tmp_path):
        path = str(tmp_path / "daemon.sock")
        assert runtime.socket_path(tmp_path, limit=len(path)) == path
        assert runtime.socket_path(tmp_path, limit=len(path) - 1) != path

    def test_the_short_name_is_the_same_for_every_spelling_of_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
        long = tmp_path / ("d" * 120)
        long.mkdir()
        (tmp_path / ("l" * 120)).symlink_to(long)
        path = runtime.socket_path(long)
        assert path.startswith(f"/run/user/1/coder-local-{os.getuid()}/")
        assert runtime.socket_path(tmp_path / ("l" * 120)) == path
        assert runtime.socket_path(tmp_path / ("o" * 120)) != path

    def test_a_temporary_folder_that_is_too_long_itself_is_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/" + "x" * 120)
        monkeypatch.setattr("tempfile.tempdir", "/var/" + "y" * 120)
        assert runtime.socket_path(tmp_path / ("d" * 120)).startswith("/tmp/coder-local-")

    def test_the_folder_is_made_for_its_owner_only(self, tmp_path):
        runtime.make_socket_folder(str(tmp_path / "a" / "b" / "x.sock"))
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700

    def test_a_folder_of_the_users_own_is_closed_to_others(self, tmp_path):
        (tmp_path / "open").mkdir(mode=0o755)
        (tmp_path / "link").symlink_to(tmp_path / "open")
        runtime.make_socket_folder(str(tmp_path / "link" / "x.sock"))
        assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700

    @pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_folder_or_a_link_of_another_user_is_refused(self, tmp_path):
        (tmp_path / "theirs").mkdir(mode=0o700)
        (tmp_path / "mine").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "mine")
        os.chown(tmp_path / "theirs", 12345, 12345)
        os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
        for name in ("theirs", "link"):
            with pytest.raises(IpcError, match="another user"):
                runtime.make_socket_folder(str(tmp_path / name / "x.sock"))


def test_a_pipe_is_named_for_the_data_directory(tmp_path):
    name = runtime.pipe_name(tmp_path)
    assert name.startswith("\\\\.\\pipe\\coder-local-")
    assert name == runtime.pipe_name(tmp_path / "." / "x" / "..")
    assert name != runtime.pipe_name(tmp_path / "x")
