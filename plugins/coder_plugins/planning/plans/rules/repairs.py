"""What can be done about a failed step by rule, without a model; imported when somebody refines after a failed run.

There are three rules. A step that ran out of time gets twice the time. A program that is not there is asked for before
its step. What failed for a moment (no connection, a server's fault, a lock) is tried again, where that cannot do a
thing twice. Every other failure is told, and its step stays: only somebody who understands it can mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from msgspec.structs import replace

from coder_local.api import format_duration, parse_duration
from coder_plugins.planning.plans.records import PlanStep
from coder_plugins.planning.plans.rules.templates import approval

_USUAL_TIMEOUT = "PT10M"
"""What a step has in execution when it says nothing."""
_LONGEST = timedelta(days=30)
_MOMENTARY = frozenset({"connection", "server", "offline", "rate_limited", "locked"})
_TRIES = 3
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Failure(NamedTuple):
    """How a step failed."""

    key: str
    word: str
    """What execution calls it: `timeout`, `exit`, `not_found`, ..."""
    message: str


class Told(NamedTuple):
    """What was done about one failure, or why nothing was."""

    key: str
    word: str
    text: str


def repair(steps: Sequence[PlanStep], failures: Sequence[Failure]) -> tuple[list[PlanStep], list[Told]]:
    """Return the steps with what the rules change, and a word on each failure, in the order of the failures."""
    made = list(steps)
    told: list[Told] = []
    seen: set[tuple[str, str]] = set()
    for failure in failures:
        place = next((index for index, step in enumerate(made) if step.key == failure.key), None)
        if (failure.key, failure.word) in seen:
            continue  # of a fan-out many fail alike, and are one step
        seen.add((failure.key, failure.word))
        if place is None:
            told.append(Told(failure.key, failure.word, "this step is not in the plan any more"))
            continue
        changed, text = _repaired(made[place], failure, {step.key for step in made})
        made[place : place + 1] = changed
        told.append(Told(failure.key, failure.word, text))
    return made, told


def _repaired(step: PlanStep, failure: Failure, taken: set[str]) -> tuple[list[PlanStep], str]:
    if failure.word == "timeout":
        return _longer(step)
    if failure.word == "not_found" and step.kind == "command":
        return _asked_for(step, failure, taken)
    if failure.word in _MOMENTARY:
        return _again(step, failure)
    return [step], f"{failure.message}; no rule mends that, so the step stays as it is: change it, or say what to do"


def _longer(step: PlanStep) -> tuple[list[PlanStep], str]:
    old = str(step.options.get("timeout", _USUAL_TIMEOUT))
    new = format_duration(min(2 * parse_duration(old), _LONGEST))
    if new == old:
        return [step], f"it ran out of {old}, and there is no more than that"
    return [replace(step, options={**step.options, "timeout": new})], f"it ran out of {old}: it gets {new}"


def _asked_for(step: PlanStep, failure: Failure, taken: set[str]) -> tuple[list[PlanStep], str]:
    key, number = f"{step.key[:50]}-install", 1
    while key in taken:
        number += 1
        key = f"{step.key[:50]}-install-{number}"
    run: list[Any] = step.input.get("run") or []
    program = str(run[0]) if run else "the program"
    prompt = f"{step.key} needs {program[:200]}, which was not found. Install it, then approve."
    asked = approval(key, prompt, shown={"failure": failure.message, "command": run}, needs=step.needs)
    return [asked, replace(step, needs=[key])], f"{program[:200]} was not found: {key} asks for it first"


def _again(step: PlanStep, failure: Failure) -> tuple[list[PlanStep], str]:
    method = str(step.input.get("method", "GET"))
    harmless = step.kind == "operation" or method in _READING or "idempotency_header" in step.input
    if step.kind not in {"operation", "http"} or not harmless:
        return [step], f"{failure.message}; done again it might be done twice, so the step stays as it is"
    retry = dict(step.options.get("retry") or {})
    tries = int(retry.get("max", 1)) + _TRIES - 1
    words = retry.get("on")
    on = sorted({*words, failure.word}) if words else [failure.word] if not retry else []
    changed = {**retry, "max": tries, **({"on": on} if on else {})}
    return [
        replace(step, options={**step.options, "retry": changed})
    ], f"it failed for a moment: it is tried {tries} times"
