"""The modules of a plugin are told while others are imported in other threads."""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType

import pytest

from coder_local._registry import modules


class Garbage:
    """Gives way to other threads when it is collected, which may be in the middle of anything that allocates."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.sleep(0.0001)


def test_an_import_meanwhile_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules | {f"of_many_{n}": ModuleType("x") for n in range(4000)})
    ended = threading.Event()

    def import_and_forget() -> None:
        while not ended.is_set():
            names = [f"imported_{n}" for n in range(40)]
            for name in names:
                sys.modules[name] = ModuleType(name)
                time.sleep(0)
            for name in names:
                del sys.modules[name]

    thread = threading.Thread(target=import_and_forget)
    thread.start()
    try:
        for _ in range(20):
            kept = [(n, n) for n in range(2500)]  # so that new tuples are allocated, which is what collects garbage
            _garbage = [Garbage() for _ in range(20)]
            del _garbage
            assert list(modules.of("of_many_7")) == ["of_many_7"]
            del kept
    finally:
        ended.set()
        thread.join()
