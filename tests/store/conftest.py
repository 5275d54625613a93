from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local._registry.kernel import Kernel
from coder_local._store.clock import FakeClock

from .items import domain, make_tables


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kernel(clock: FakeClock) -> Kernel:
    """A kernel in memory with one small domain."""
    made = Kernel(clock=clock)
    made.take(domain)
    made.open()
    make_tables(made)
    return made


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel on a real file, whose writer has not been started: commands run on the calling thread."""
    made = Kernel(tmp_path)
    made.take(domain)
    made.open()
    make_tables(made)
    yield made
    made.store.close()
