"""When all will be done, and how sure that is."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from msgspec import Meta

from coder_local.api import LocalDate, Refused, Snapshot, Value
from coder_plugins.planning.choice.records import today_of
from coder_plugins.planning.records import Amount, Reference, domain
from coder_plugins.planning.rules import forecast as forecasts
from coder_plugins.planning.rules.errors import ThinData
from coder_plugins.planning.tasks.finding.operations import find_project

from .records import remaining as count_remaining
from .records import throughput as read_throughput


class Week(Value):
    """The chance that all is done within a number of weeks."""

    weeks: int
    day: LocalDate
    chance: float
    """0 to 1."""


class ForecastBasis(Value):
    """What a forecast rests on."""

    throughput: list[int]
    """Tasks done in each past week, oldest first."""
    remaining: int


class ForecastAnswer(Value):
    """Weeks until all is done, by confidence; empty beyond two years."""

    p50: int | None
    p85: int | None
    p95: int | None
    p50_day: LocalDate | None
    p85_day: LocalDate | None
    p95_day: LocalDate | None
    distribution: list[Week]
    basis: ForecastBasis
    until: Week | None = None
    """The chance to be done by the day that was asked about."""


@domain.query("planning.forecast")
def forecast(
    read: Snapshot,
    *,
    project: Reference | None = None,
    tags: tuple[str, ...] = (),
    until: LocalDate | None = None,
    today: LocalDate | None = None,
    throughput: Annotated[tuple[Amount, ...], Meta(max_length=520)] | None = None,
    remaining: Annotated[int, Meta(ge=0, le=100_000)] | None = None,
) -> ForecastAnswer:
    """Return when the open tasks of a project, or with all these tags, will be done, and how sure that is.

    An exact convolution of the tasks done in each of the last 12 weeks: asked twice, the same digits. `until` asks for
    the chance of one day. `throughput` (oldest week first) and `remaining` take the place of what history says. Refused
    with fewer than 4 weeks of history.
    """
    own = None if project is None else find_project(read, project).id
    day = date.fromisoformat(today_of(read, today))
    pace = read_throughput(read, own, tags, day) if throughput is None else list(throughput)
    rest = count_remaining(read, own, tags) if remaining is None else remaining
    try:
        found = forecasts.forecast(pace, rest)
    except ThinData as error:
        hint = (
            "pass `throughput`, the tasks done in each of at least 4 past weeks, oldest first, and `remaining`, the"
            " tasks left to do; or finish tasks for some weeks"
        )
        raise Refused(str(error), hint=hint, data={"weeks": len(pace), "remaining": rest}) from error
    return ForecastAnswer(
        p50=found.p50,
        p85=found.p85,
        p95=found.p95,
        p50_day=_in_weeks(day, found.p50),
        p85_day=_in_weeks(day, found.p85),
        p95_day=_in_weeks(day, found.p95),
        distribution=[
            Week(weeks=each.weeks, day=_in_weeks(day, each.weeks) or "", chance=each.chance)
            for each in found.distribution
        ],
        basis=ForecastBasis(throughput=found.basis.throughput, remaining=rest),
        until=None if until is None else _by(found, day, until),
    )


def _in_weeks(day: date, weeks: int | None) -> str | None:
    return None if weeks is None else (day + timedelta(weeks=weeks)).isoformat()


def _by(found: forecasts.Forecast, day: date, until: str) -> Week:
    weeks = max(0, (date.fromisoformat(until) - day).days // 7)
    return Week(weeks=weeks, day=until, chance=forecasts.chance_within(found, weeks))
