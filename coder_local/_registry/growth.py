"""Whether the process grows, and whether one plugin did nearly all the work meanwhile.

Nothing tells whose memory it is: Python counts no memory by module, and tracing every allocation would halve the speed.
So this is a suspicion by coincidence: minutes in which the process grew, and who was called in them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

KEPT = 60
"""Samples that are looked at, one a minute."""
DOMINANT = 0.8
"""Share of the calls from which on one plugin did nearly all the work."""
_FEW = 10
"""Calls in a minute below which nobody did any work to speak of."""


class Suspect(NamedTuple):
    """A plugin that did nearly all the work while the process grew."""

    plugin: str
    grown_mb: float
    minutes: int
    share: float


class _Sample(NamedTuple):
    grown: int
    busiest: str
    own: int
    all: int


class Growth:
    """The samples of the last hour."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=KEPT)
        self._resident: int | None = None
        self._calls: Mapping[str, int] = {}

    def sample(self, resident: int, calls: Mapping[str, int]) -> None:
        """Take in the bytes in memory, and how often each plugin was called so far."""
        before = self._calls
        # A content that was exchanged counts from zero again.
        made = {
            name: count - (before.get(name, 0) if before.get(name, 0) <= count else 0) for name, count in calls.items()
        }
        if self._resident is not None:
            busiest = max(made, key=lambda name: made[name], default="")
            self._samples.append(_Sample(resident - self._resident, busiest, made.get(busiest, 0), sum(made.values())))
        self._resident, self._calls = resident, dict(calls)

    def suspect(self) -> Suspect | None:
        """Return the one plugin that was called nearly alone in the minutes in which the process grew, if there is one.

        Minutes in which it shrank count against it: memory that comes back was in use, not lost.
        """
        busy = [each for each in self._samples if each.all >= _FEW and each.own >= DOMINANT * each.all]
        names = {each.busiest for each in busy if each.grown > 0}
        grown = sum(each.grown for each in self._samples)
        for name in sorted(names):
            own = [each for each in busy if each.busiest == name]
            by_it = sum(each.grown for each in own)
            if by_it > 0 and by_it >= DOMINANT * grown:
                share = sum(each.own for each in own) / sum(each.all for each in own)
                return Suspect(name, by_it / 2**20, len(own), share)
        return None
