"""What can be read of a plan before it runs: what execution says of its steps, its own words, and its budget."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from coder_local.api import Money, Safety, Snapshot, Value, format_duration, parse_duration
from coder_plugins.planning.plans.records import Content, PlanFinding
from coder_plugins.planning.plans.rules import wire
from coder_plugins.planning.plans.rules.ways import flaws, longest_way

_WORST = (Safety.READ, Safety.WRITE, Safety.DESTRUCTIVE, Safety.EXTERNAL)


class SeenStep(Value):
    """A step of a plan, as it was found to be."""

    key: str
    safety: str | None = None
    """The true word on its danger; None if nobody could tell."""
    effect: str | None = None
    """What may be done about it after a crash, as execution calls it."""
    time_ms: int | None = None
    """How long it takes: the median of what equal steps took, else its own estimate."""
    late_ms: int | None = None
    """The 90 % mark of the same."""


class Checkup(Value):
    """All that can be said of a plan before it runs."""

    findings: list[PlanFinding]
    """Errors first."""
    hash: str | None = None
    """Execution's hash of the steps."""
    safety: str | None = None
    """The worst word of all steps."""
    steps: list[SeenStep]
    time_ms: int | None = None
    """How long the longest way through the steps takes; without those that nothing is known of."""
    unknown: list[str]
    """Keys of the steps whose time nobody knows."""


def check_up(read: Snapshot, content: Content) -> Checkup:
    """Return all that can be said of a plan now. Without execution its kinds, operations and inputs are not checked."""
    if not read.offers("execution.check"):
        return _alone(content)
    given = wire.request(content)
    if faults := read.check("execution.check", given):
        found = [
            _error(
                wire.step_at(each.field, content), "schema", each.message, wire.pointer(each.field, content), each.hint
            )
            for each in faults
        ]
        return Checkup(findings=found, steps=_unseen(content), unknown=[step.key for step in content.steps])
    checked = read.call("execution.check", **given)
    seen = {
        each["key"]: SeenStep(key=each["key"], safety=each["safety"], effect=each["effect"])
        for each in checked["steps"]
    }
    if checked["order"]:
        seen = _timed(read, content, seen)
    steps = [seen[step.key] for step in content.steps]
    time, late = _time(content, seen, late=False), _time(content, seen, late=True)
    findings = [_translated(each, content) for each in checked["findings"]]
    findings += _too_mild(content, seen)
    findings += [*_over_time(content, steps, time, late), *_over_money(content, seen)]
    return Checkup(
        findings=sorted(findings, key=lambda each: each.severity),  # "error" is before "warning"
        hash=checked["hash"],
        safety=checked["safety"],
        steps=steps,
        time_ms=time,
        unknown=[step.key for step in steps if step.time_ms is None],
    )


def _alone(content: Content) -> Checkup:
    found = [
        _error(flaw.step, flaw.rule, flaw.message, f"/steps{flaw.pointer}", "take one of these needs away, or mend it")
        for flaw in flaws([(step.key, step.needs) for step in content.steps])
    ]
    found.append(
        PlanFinding(
            severity="warning",
            step=None,
            rule="unchecked",
            message="the plugin execution is not there, so kinds, operations, inputs and dangers were not checked",
            fix="enable the plugin execution, and validate the plan again",
        )
    )
    return Checkup(findings=found, steps=_unseen(content), unknown=[step.key for step in content.steps])


def _unseen(content: Content) -> list[SeenStep]:
    return [SeenStep(key=step.key) for step in content.steps]


def _error(step: str | None, rule: str, message: str, field: str | None, fix: str | None) -> PlanFinding:
    return PlanFinding(severity="error", step=step, rule=rule, message=message, field=field, fix=fix)


def _warning(step: str | None, rule: str, message: str, field: str | None, fix: str | None) -> PlanFinding:
    return PlanFinding(severity="warning", step=step, rule=rule, message=message, field=field, fix=fix)


def _translated(found: dict[str, Any], content: Content) -> PlanFinding:
    field = found["field"]
    return PlanFinding(
        severity=found["severity"],
        step=found["step"],
        rule=found["rule"],
        message=found["message"],
        field=None if field is None else wire.pointer(field, content),
        fix=found["hint"],
    )


def _too_mild(content: Content, seen: dict[str, SeenStep]) -> Iterator[PlanFinding]:
    """Yield an error for each step that calls itself milder than it is: a person would approve something else."""
    for index, step in enumerate(content.steps):
        true = seen[step.key].safety
        if step.safety is not None and true is not None and _WORST.index(step.safety) < _WORST.index(Safety(true)):
            message = f"{step.key} says that it is {step.safety}, and it is {true}"
            yield _error(step.key, "safety", message, f"/steps/{index}/safety", f"say {true}, or leave it out")


# -- time and money ---------------------------------------------------------------------------------------------------


def _timed(read: Snapshot, content: Content, seen: dict[str, SeenStep]) -> dict[str, SeenStep]:
    given = wire.request(content)
    found = read.call("execution.estimate", steps=given["steps"], inputs=given["inputs"])
    measured = {each["key"]: (each["median_ms"], each["p90_ms"]) for each in found["steps"]}
    timed: dict[str, SeenStep] = {}
    for step in content.steps:
        median, late = measured.get(step.key, (None, None))
        if median is None and step.estimate is not None:
            median = late = round(parse_duration(step.estimate).total_seconds() * 1000)
        one = seen[step.key]
        timed[step.key] = SeenStep(key=one.key, safety=one.safety, effect=one.effect, time_ms=median, late_ms=late)
    return timed


def _time(content: Content, seen: dict[str, SeenStep], *, late: bool) -> int | None:
    """Return how long the longest way takes; None if nothing is known of any step."""
    times = {key: each.late_ms if late else each.time_ms for key, each in seen.items()}
    known = {key: time for key, time in times.items() if time is not None}
    if not known:
        return None
    return round(longest_way({step.key: step.needs for step in content.steps}, known))


def _over_time(content: Content, steps: list[SeenStep], time: int | None, late: int | None) -> Iterator[PlanFinding]:
    if content.budget_time is None:
        return
    budget = parse_duration(content.budget_time).total_seconds() * 1000
    fix = "raise the budget, or take steps out"
    if time is not None and time > budget:
        message = f"it takes about {_length(time)}, and its budget is {content.budget_time}"
        yield _error(None, "over_budget", message, "/budget_time", fix)
    elif late is not None and late > budget:
        message = f"it can take {_length(late)}, and its budget is {content.budget_time}"
        yield _warning(None, "over_budget", message, "/budget_time", fix)
    if unknown := [step.key for step in steps if step.time_ms is None]:
        message = f"nobody knows how long these steps take: {', '.join(unknown[:20])}"
        yield _warning(None, "unknown_time", message, "/budget_time", "give each an estimate")


def _over_money(content: Content, seen: dict[str, SeenStep]) -> Iterator[PlanFinding]:
    budget = content.budget_money
    if budget is None:
        return
    total = 0
    for index, step in enumerate(content.steps):
        field = f"/steps/{index}/cost"
        if step.cost is None:
            if seen[step.key].safety == Safety.EXTERNAL:
                message = f"{step.key} can cost money, and nobody says how much"
                yield _warning(step.key, "unknown_cost", message, field, "give it a cost, 0 if it has none")
        elif step.cost.currency != budget.currency:
            message = f"the cost of {step.key} is in {step.cost.currency}, the budget in {budget.currency}"
            yield _error(step.key, "currency", message, field, f"give it in {budget.currency}")
        else:
            total += step.cost.minor
    if total > budget.minor:
        message = f"it costs {_amount(Money(total, budget.currency))}, and its budget is {_amount(budget)}"
        yield _error(None, "over_budget", message, "/budget_money", "raise the budget, or take steps out")


def _length(ms: int) -> str:
    return format_duration(timedelta(milliseconds=ms))


def _amount(money: Money) -> str:
    return f"{money.amount()} {money.currency}"
