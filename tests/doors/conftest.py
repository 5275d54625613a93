from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from coder_local.testing.daemon import RunningDaemon, running

from .door import Door, Memory, Rest, Shell, Socket


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One real daemon for all that a module asks."""
    with running(tmp_path_factory.mktemp("d")) as found:
        yield found


@pytest.fixture(scope="module")
def socket(daemon: RunningDaemon) -> Iterator[Door]:
    with closing(Socket(daemon)) as door:
        yield door


@pytest.fixture(scope="module")
def rest(daemon: RunningDaemon) -> Iterator[Rest]:
    with closing(Rest(daemon)) as door:
        yield door


@pytest.fixture(scope="module")
def shell(daemon: RunningDaemon) -> Iterator[Door]:
    with closing(Shell(daemon)) as door:
        yield door


@pytest.fixture(scope="module")
def memory() -> Iterator[Door]:
    with closing(Memory()) as door:
        yield door


@pytest.fixture(scope="module", params=["memory", "socket", "rest", "shell"])
def door(request: pytest.FixtureRequest) -> Any:
    """Each door in turn."""
    return request.getfixturevalue(request.param)
