"""Every process that comes of a test, also those whose parents have ended: Linux gives them to the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Generator

import psutil

_PR_SET_CHILD_SUBREAPER = 36
SOON = 2.0
"""Seconds in which nothing is left of what has ended."""


class Family:
    """What came of this process since it was made."""

    def __init__(self) -> None:
        self._before = {each.pid for each in psutil.Process().children(recursive=True)}

    def living(self) -> list[psutil.Process]:
        """Return the descendants that run."""
        found: list[psutil.Process] = []
        for each in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.pid not in self._before and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
        return found

    def named(self, word: str) -> list[psutil.Process]:
        """Return those with a word in their arguments."""
        found: list[psutil.Process] = []
        for each in self.living():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word in argument for argument in each.cmdline()):
                    found.append(each)
        return found

    def is_gone(self) -> None:
        """Wait until none is left; fails after the time that is promised."""
        end = time.monotonic() + SOON
        while left := self.living():
            assert time.monotonic() < end, [(each.pid, each.cmdline()) for each in left if each.is_running()]
            time.sleep(0.02)


@contextlib.contextmanager
def family() -> Generator[Family]:
    """Take in what loses its parent, and end what is left when the block ends."""
    assert sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    made = Family()
    try:
        yield made
    finally:
        for each in made.living():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        _bury()


def _bury() -> None:
    """Take the ends of processes that came to us; the test has waited for its own."""
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if each.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(each.pid, os.WNOHANG)
