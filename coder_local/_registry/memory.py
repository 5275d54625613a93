"""How much memory the process has."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


def resident() -> int | None:
    """Return the bytes of the process that are in memory now; None where the system does not tell.

    20 us on Linux. Elsewhere psutil is asked, whose first import takes 15 ms.
    """
    try:
        if sys.platform == "linux":
            return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        psutil: Any = importlib.import_module("psutil")  # see above
        return int(psutil.Process().memory_info().rss)
    except (OSError, ValueError, IndexError, ImportError):
        return None
