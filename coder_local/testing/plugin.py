"""The pytest plugin that comes with coder-local: the fixtures `sandbox` and `daemon`.

It is loaded in every pytest run of everybody who has installed us, so it imports nothing until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .daemon import RunningDaemon
    from .memory import Sandbox


@pytest.fixture(name="sandbox")
def _sandbox() -> Generator[Callable[..., Sandbox]]:
    """Return `coder_local.testing.sandbox`; what the test opens with it is closed at the end."""
    from .memory import sandbox  # noqa: PLC0415 - see above

    opened: list[Sandbox] = []

    def make(*plugins: Any, **options: Any) -> Sandbox:
        opened.append(sandbox(*plugins, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture(name="daemon")
def _daemon(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningDaemon]:
    """Start a real daemon on a data directory of its own, and stop it at the end."""
    from .daemon import running  # noqa: PLC0415 - see above

    folder: Path = tmp_path_factory.mktemp("daemon")  # short, for a Unix socket's path may have 104 bytes
    with running(folder) as daemon:
        yield daemon
