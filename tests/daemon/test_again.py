"""The options that start a daemon again as it was."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import coder_local._daemon.main as daemon
from coder_local._daemon.again import options_of
from coder_local._daemon.daemon import _bind
from coder_local._daemon.main import ServeOptions
from coder_local.cli import main


@pytest.mark.parametrize(
    "options",
    [
        ServeOptions(Path("/d")),
        ServeOptions(Path("/d"), socket="/s/s", http_port=8080, parent_pid=7, linger=1.5, log_level="DEBUG"),
        ServeOptions(Path("/d"), http_port=None, linger=0.0, allow_network=True, safe=True),
    ],
)
def test_they_are_read_as_what_they_were(options: ServeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ServeOptions] = []
    monkeypatch.setattr(daemon, "serve", lambda given: read.append(given) or 0)
    assert main([*options_of(options), "serve", "--data-dir", "/d"]) == 0
    assert read == [options._replace(data_dir=Path("/d").absolute())]


def test_who_is_at_the_other_end_of_standard_input_is_watched_by_its_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = ServeOptions(Path("/d"), watch_stdin=True)
    assert options_of(watching) == ["--parent-pid", str(os.getppid())]
    assert options_of(watching._replace(parent_pid=7)) == ["--parent-pid", "7"]
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert options_of(watching) == ["--linger", "60"]
    assert options_of(watching._replace(linger=5.0)) == ["--linger", "5"]


def test_what_is_of_one_start_alone_is_left_out() -> None:
    assert options_of(ServeOptions(Path("/d"), take_over=True, http_wish=8080)) == []


def test_the_port_of_the_old_one_is_a_wish_and_that_of_an_option_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _bind(port, 0) as found:
            assert found.getsockname()[1] not in {0, port}
        with pytest.raises(OSError, match="in use"):
            _bind(port)
