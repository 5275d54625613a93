"""Resident memory of the idle daemon, all bundled plugins loaded and HTTP served. No floor: the goal is megabytes.

The figure is that of a daemon that finds its database. The very first start makes it, and keeps what that took.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from pathlib import Path

import psutil
from measure import Figure, main
from servers import folders, serving


def resident(folder: Path) -> float:
    """Start a daemon, ask it what every client asks, and return its megabytes a second later."""
    command = [sys.executable, "-m", "coder_local", "serve", "--data-dir", str(folder)]
    with serving(command, folder) as daemon:
        found = daemon.runtime()
        request = urllib.request.Request(  # noqa: S310 - the daemon's own address
            f"{found['http']}/health", headers={"Authorization": f"Bearer {found['token']}"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - see above
            answer.read()
        daemon.call("operations.list")  # makes every operation ready, as the first `--help` of a client does
        time.sleep(1)
        return psutil.Process(daemon.process.pid).memory_info().rss / 1024 / 1024


def run() -> list[Figure]:
    """Measure."""
    with folders("daemon") as (folder,):
        first = resident(folder)
        return [
            Figure("resident memory, idle", "MB", resident(folder), None, 60, note=f"the very first start {first:.1f}")
        ]


if __name__ == "__main__":
    main(run, {})
