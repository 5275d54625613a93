"""What all parts of planning share: the domain itself, its settings, estimates, and how faults are told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from coder_local.api import Domain, Fault, Invalid, Settings, Value

from .rules.durations import LONGEST

domain = Domain("planning")

Amount = Annotated[int, Meta(ge=0, le=LONGEST)]
"""Minutes of working time, or points, 0 or more."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
"""A person, an agent or a short label, 1 to 200 characters."""

Reference = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
"""A record, by its id or by its key: a task as `PLAN-12`, a project as `PLAN`."""

Source = Annotated[str, Meta(min_length=1, max_length=500)]
"""Where an imported record comes from, `<format>:<its id there>`, for example `beads:bd-12`."""

Category = Literal["backlog", "todo", "active", "closed"]
"""The four fixed categories that statuses are mapped to, so that no rule depends on a status' name."""

TASK = "planning.task"
"""The kind of a task where kinds of records are named."""
PROJECT = "planning.project"


@domain.settings
class PlanningSettings(Settings):
    """How planning counts."""

    longest_timer: Annotated[int, Meta(ge=1, le=10_080)] = 600
    """Minutes after which a running timer is taken for a forgotten one, and stopping it asks what to keep."""


class Estimate(Value):
    """How much work a task is: minutes of working time, or points, as its project counts. low <= likely <= high."""

    likely: Amount
    """What it will take, most likely; the other two are around it."""
    low: Amount | None = None
    """The best case; the same as `likely` when not given."""
    high: Amount | None = None
    """The worst case; the same as `likely` when not given."""

    @property
    def lowest(self) -> int:
        """The best case, stated or not."""
        return self.likely if self.low is None else self.low

    @property
    def highest(self) -> int:
        """The worst case, stated or not."""
        return self.likely if self.high is None else self.high


def refuse(faults: Sequence[Fault]) -> None:
    """Raise `Invalid` naming all faults; return if there are none."""
    if not faults:
        return
    first = faults[0]
    message = (
        first.message
        if len(faults) == 1
        else f"{len(faults)} things are wrong: " + "; ".join(fault.message for fault in faults[:5])
    )
    raise Invalid(message, field=first.field, hint=first.hint, faults=tuple(faults))


def day_faults(**days: str | None) -> list[Fault]:
    """Return a fault for each text that is no day of the calendar; the names are those of the fields."""
    faults: list[Fault] = []
    for field, text in days.items():
        if text is None:
            continue
        try:
            plain = re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) and date.fromisoformat(text)
        except ValueError:
            plain = None
        if not plain:
            faults.append(Fault(f"/{field}", f"{text[:40]!r} is not a day of the calendar", "write it like 2026-11-20"))
    return faults


def estimate_faults(estimate: Estimate | None) -> list[Fault]:
    """Return what is wrong with an estimate: its figures must rise, from 0 to 100 years."""
    if estimate is None:
        return []
    faults: list[Fault] = []
    if estimate.lowest < 0 or estimate.highest > LONGEST:
        faults.append(Fault("/estimate", f"an estimate is 0 to {LONGEST} minutes or points", "check the unit"))
    if estimate.lowest > estimate.likely:
        hint = f"give a low of at most {estimate.likely}, or leave it out"
        faults.append(Fault("/estimate/low", f"low {estimate.lowest} is over likely {estimate.likely}", hint))
    if estimate.likely > estimate.highest:
        hint = f"give a high of at least {estimate.likely}, or leave it out"
        faults.append(Fault("/estimate/high", f"high {estimate.highest} is under likely {estimate.likely}", hint))
    return faults


def changed(before: msgspec.Struct | None, after: msgspec.Struct, *fields: str) -> bool:
    """Tell whether a write touches one of the fields; a new record touches all."""
    return before is None or any(getattr(before, field) != getattr(after, field) for field in fields)
