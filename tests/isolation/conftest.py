from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from coder_ipc import RemoteError

ROOT = Path(__file__).parents[2]
SHELF = ROOT / "docs" / "examples" / "shelf"


def put_shelf(data_dir: Path, isolation: str) -> None:
    """Put the example into the plugin folder, to run in one of the two ways."""
    folder = data_dir / "plugins" / "shelf"
    shutil.copytree(SHELF, folder, ignore=shutil.ignore_patterns("__pycache__"))
    told = (folder / "plugin.toml").read_text().replace('isolation = "process"', f'isolation = "{isolation}"')
    (folder / "plugin.toml").write_text(told)


def put(data_dir: Path, name: str, body: str, told: str, migration: str = "") -> Path:
    """Write a plugin of one file into the plugin folder."""
    folder = data_dir / "plugins" / name
    (folder / "migrations").mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(body)
    (folder / "plugin.toml").write_text(told)
    if migration:
        (folder / "migrations" / "0001_first.sql").write_text(migration)
    return folder


class Daemon(Protocol):
    """Whoever calls a daemon."""

    def call(self, name: str, /, **input: Any) -> Any: ...


def about(daemon: Daemon, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = daemon.call("plugins.list")["items"]
    return next(each for each in found if each["name"] == name)


def refused(work: Callable[[], object]) -> RemoteError:
    """The named error that a call is answered with."""
    try:
        answer = work()
    except RemoteError as error:
        return error
    raise AssertionError(f"it was answered: {answer}")


def until(there: Callable[[], Any], limit: float = 30.0) -> Any:
    """Ask until something holds, and return it."""
    end = time.monotonic() + limit
    while True:
        if found := there():
            return found
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
