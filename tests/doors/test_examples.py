"""Planning's acceptance examples through every door."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from tests.plugins.planning import acceptance

from .door import Door

pytestmark = pytest.mark.alone


@pytest.mark.parametrize("example", acceptance.EXAMPLES, ids=lambda each: each.__name__)
def test_example(example: Callable[[acceptance.Call, date], None], door: Door) -> None:
    example(door.call, datetime.now(UTC).date())
