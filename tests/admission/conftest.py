"""A store in memory, an admission with a clock that stands still, and operations of every danger."""

import pytest

from coder_local._admission import Admission
from coder_local._registry.kernel import Kernel
from coder_local._store.clock import FakeClock
from coder_local.api import Kind, Operation, Safety


class Now:
    """Seconds of a clock that is told."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def kernel():
    made = Kernel(clock=FakeClock())
    made.store.open()
    yield made
    made.store.close()


@pytest.fixture
def admission(kernel, now):
    return Admission(kernel, owner_token="owner's", now=now)


def operation(safety=Safety.WRITE, name="notes.do", **more):
    return Operation(name, Kind.COMMAND, safety, None, **more)
