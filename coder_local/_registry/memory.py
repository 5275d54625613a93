"""How much memory a process has."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any


def resident(pid: int | None = None) -> int | None:
    """Return the bytes of a process, of this one without `pid`, that are in memory now; None where nobody tells.

    20 us on Linux. Elsewhere psutil is asked, whose first import takes 15 ms.
    """
    try:
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        psutil: Any = importlib.import_module("psutil")  # see above
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, ValueError, IndexError, ImportError):
        return None
