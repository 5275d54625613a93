"""A project's health: its target date held against the forecast, always with the reasons."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec


class Health(msgspec.Struct, frozen=True):
    """A verdict and the sentences that led to it, the weightiest first."""

    status: Literal["on_track", "at_risk", "off_track", "unknown"]
    reasons: list[str]


def health(
    target: date | None,
    p50: date | None,
    p85: date | None,
    *,
    remaining: int | None = None,
    today: date | None = None,
    why_no_forecast: str | None = None,
) -> Health:
    """Return a project's health from its target and the dates of the 50 % and 85 % forecasts.

    Off track: the target is before p50, or past with work left. At risk: it is before p85. A missing p85 beside a p50
    means a date too far to tell, so it counts as after the target. Nothing left to do is on track; no target or no
    forecast is unknown, and the reason says which (`why_no_forecast` in the forecast's own words).
    """
    if remaining == 0:
        return Health("on_track", ["nothing is left to do"])
    if target is None:
        return Health("unknown", ["the project has no target date"])
    if today is not None and target < today:
        left = "work" if remaining is None else f"{remaining} open task{'s' if remaining != 1 else ''}"
        return Health("off_track", [f"the target {target} has passed with {left} left"])
    if p50 is None:
        return Health("unknown", [f"there is no forecast: {why_no_forecast or 'too little was finished lately'}"])
    if target < p50:
        return Health("off_track", [_late("p50", p50, target, "an even chance")])
    if p85 is None:
        return Health("at_risk", [f"the p85 forecast is too far away to tell, after the target {target}"])
    if target < p85:
        return Health("at_risk", [_late("p85", p85, target, "a safe bet")])
    return Health("on_track", [f"the p85 forecast {p85} is on or before the target {target}"])


def _late(name: str, forecast: date, target: date, meaning: str) -> str:
    days = (forecast - target).days
    return (
        f"the {name} forecast {forecast} ({meaning}) is {days} day{'s' if days != 1 else ''} after the target {target}"
    )
