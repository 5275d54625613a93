"""When the rest will be done, from what was done in the last weeks: an exact distribution, not a simulation.

Each coming week is taken to bring the throughput of one of the past weeks, each equally likely, week for week
independent. The distribution of the sum is then an exact convolution: asked twice, it gives the same digits. (It is
what a Monte Carlo forecast would approach with endless runs.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from .errors import ThinData

FEWEST_WEEKS = 4
LAST_WEEKS = 12
MOST_WEEKS = 104
"""Two years; a date further away is told as unknown, for the team and the plan will both have changed."""

QUANTILES = {"p50": 50, "p85": 85, "p95": 95}
"""In percent."""


class Basis(msgspec.Struct, frozen=True):
    """What a forecast rests on: the weekly throughput used, oldest first, and the tasks that remain."""

    throughput: list[int]
    weeks: int
    remaining: int


class Chance(msgspec.Struct, frozen=True):
    """The chance, 0 to 1, that all is done within this number of weeks."""

    weeks: int
    chance: float


class Forecast(msgspec.Struct, frozen=True):
    """Weeks until done with 50, 85 and 95 % confidence (None: not within `MOST_WEEKS`), and the whole distribution.

    `distribution` starts with the first week of any chance and ends at 99.95 % or the last week looked at.
    """

    p50: int | None
    p85: int | None
    p95: int | None
    distribution: list[Chance]
    basis: Basis


def forecast(throughput: Sequence[int], remaining: int, *, most_weeks: int = MOST_WEEKS) -> Forecast:
    """Return how many weeks `remaining` tasks will take, given the tasks done in each past week, oldest first.

    Only the last `LAST_WEEKS` weeks count; weeks without any task done belong in `throughput` as 0. Raises ThinData
    with fewer than `FEWEST_WEEKS` weeks, or when nothing was done in any of them.
    """
    used = list(throughput[-LAST_WEEKS:])
    if len(used) < FEWEST_WEEKS:
        raise ThinData(f"a forecast needs at least {FEWEST_WEEKS} weeks of history, there are {len(used)}")
    if min(used) < 0 or remaining < 0:
        raise ValueError("throughput and remaining must be 0 or more")
    basis = Basis(used, len(used), remaining)
    if not remaining:
        return Forecast(0, 0, 0, [Chance(0, 1.0)], basis)
    if not any(used):
        raise ThinData(f"nothing was finished in the last {len(used)} weeks, so there is no pace to go by")
    found: dict[str, int] = {}
    distribution: list[Chance] = []
    for week, (ways, of) in enumerate(_chances(used, remaining, most_weeks), start=1):
        if ways:
            distribution.append(Chance(week, ways / of))  # of whole numbers of any size the nearest float
        for name, percent in QUANTILES.items():
            if ways * 100 >= of * percent:
                found.setdefault(name, week)
        if ways * 10_000 >= of * 9995:
            break
    return Forecast(found.get("p50"), found.get("p85"), found.get("p95"), distribution, basis)


def chance_within(answer: Forecast, weeks: int) -> float:
    """Return the chance, 0 to 1, that all is done within `weeks` weeks; beyond the distribution its last value."""
    chance = 0.0
    for row in answer.distribution:
        if row.weeks > weeks:
            break
        chance = row.chance
    return chance


def _chances(throughput: Sequence[int], remaining: int, most_weeks: int) -> Iterator[tuple[int, int]]:
    """Yield the exact chance that `remaining` is reached within 1, 2, 3, ... weeks, as so many ways of all.

    The distribution of tasks done so far is one big integer, a slot of bits for each sum below `remaining`: adding a
    shifted copy for each past week is then the convolution at the speed of integer addition.
    """
    if max(throughput) * most_weeks < remaining:
        return
    slot = (len(throughput) ** most_weeks).bit_length() + 1
    below = (1 << (slot * remaining)) - 1
    counts = Counter(throughput)
    sums = 1
    for week in range(1, most_weeks + 1):
        sums = sum(((sums * count) << (slot * done)) & below for done, count in counts.items())
        # Modulo 2**slot - 1 adds up all slots: the number of ways, out of all, in which it is not done yet.
        unfinished = sums % ((1 << slot) - 1)
        ways = len(throughput) ** week
        yield ways - unfinished, ways
