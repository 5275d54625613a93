"""Finding the daemon to connect to, and making sure that the one that answers is the one meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import runtime
from .errors import NotRunning

PROTOCOL = 1
"""The protocol of docs/protocol.md, the only one this package speaks."""


def locate(target: str | os.PathLike[str] | runtime.Runtime) -> runtime.Runtime:
    """Return the daemon named by `runtime.json` of a data directory, or `target` itself when it is a `Runtime`.

    Raises `NotRunning` when the data directory names none.
    """
    if isinstance(target, runtime.Runtime):
        return target
    data_dir = Path(target).absolute()
    found = runtime.read(data_dir)
    if found is None:
        raise NotRunning(
            f"no daemon runs on {data_dir}", hint=f"start one with: coder-local serve --data-dir '{data_dir}'"
        )
    # the caller's directory is the one that counts: a copied folder carries the other's runtime.json along
    return found._replace(data_dir=str(data_dir))


def params(name: str, token: str, workspace: str | None) -> dict[str, Any]:
    """Return the input of `initialize`."""
    given: dict[str, Any] = {
        "client": {"name": name, "version": str(PROTOCOL)},
        "protocol": {"min": PROTOCOL, "max": PROTOCOL},
        "token": token,
    }
    if workspace is not None:
        given["workspace"] = workspace
    return given


def check(hello: object, expected: runtime.Runtime) -> dict[str, Any]:
    """Return the answer to `initialize` after comparing its data directory with the expected one.

    Raises `NotRunning` when another directory's daemon answered, as happens after a data directory was copied or
    moved together with its `runtime.json`: calls would go to the wrong database.
    """
    answer: dict[str, Any] = dict(hello) if isinstance(hello, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    served = answer.get("data_dir")
    if isinstance(served, str) and not _same_folder(served, expected.data_dir):
        raise NotRunning(
            f"the daemon at {expected.socket} serves {served}, not {expected.data_dir}",
            hint="the folder was probably copied or moved: remove its runtime.json and start a daemon on it",
        )
    return answer


def _same_folder(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
