"""How much memory a process has, alone and with what it started."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def resident(pid: int | None = None) -> int | None:
    """Return the bytes of a process, of this one without `pid`, that are in memory now; None where nobody tells.

    20 us on Linux. Elsewhere psutil is asked, whose first import takes 15 ms.
    """
    try:
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return _asked(lambda psutil: int(psutil.Process(pid).memory_info().rss))
    except (OSError, ValueError, IndexError):
        return None


def tree(pid: int) -> int | None:
    """Return the bytes in memory of a process and of all that it started, and these started; None where nobody tells.

    What several of them share is counted for each. Looks at every process there is, which takes milliseconds: never
    called on the loop's thread.
    """
    own = resident(pid)
    if own is None:
        return None
    begun: list[Any] = _asked(lambda psutil: psutil.Process(pid).children(recursive=True)) or []
    return own + sum(resident(each.pid) or 0 for each in begun)  # one may have ended meanwhile


def _asked(ask: Callable[[Any], T]) -> T | None:
    """Ask psutil; None if it cannot tell, or the process is gone."""
    try:
        psutil: Any = importlib.import_module("psutil")  # see above
    except ImportError:
        return None
    try:
        return ask(psutil)
    except psutil.Error:
        return None
