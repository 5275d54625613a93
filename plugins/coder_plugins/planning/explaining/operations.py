"""Why a figure is what it is: the terms of a score, the chain of a date, the reasons of a wait, of a verdict."""

from __future__ import annotations

from datetime import date
from typing import Literal

from coder_local.api import Invalid, LocalDate, NotFound, Snapshot, Value
from coder_plugins.planning.choice.operations import Term, terms_of
from coder_plugins.planning.choice.records import BY_URGENCY, Question, ids_in, keys_of, load, tell, today_of, worth_of
from coder_plugins.planning.dates import records as planned
from coder_plugins.planning.dates.operations import compute
from coder_plugins.planning.projects.operations import health_of
from coder_plugins.planning.records import Reference, domain
from coder_plugins.planning.rules import graph, schedule, urgency
from coder_plugins.planning.rules.durations import format_human
from coder_plugins.planning.rules.schedule import Activity, Driver, Slot
from coder_plugins.planning.tasks.finding.operations import KEY, find_project, find_task
from coder_plugins.planning.tasks.records import CLOSED, Task

Field = Literal["score", "blocked", "start", "finish", "health"]


class Explanation(Value):
    """A derived figure and what it was made of."""

    record: str
    """Key of the record."""
    field: Field
    value: str
    """The figure itself: a score, a day, `yes`, `no` or a verdict."""
    terms: list[Term]
    """What adds up to it, for a score."""
    steps: list[str]
    """How it comes about, one sentence each, from the record to the root."""


@domain.query("planning.explain")
def explain(read: Snapshot, *, record: Reference, field: Field, today: LocalDate | None = None) -> Explanation:
    """Return what a derived figure is made of.

    Of a task: `score` (the terms of its urgency), `blocked` (the chains of what it waits for), `start` and `finish`
    (the chain of what sets its dates). Of a project: `health`. `today` is also the start of the schedule.
    """
    day = today_of(read, today)
    if field == "health":
        return _health(read, record, day)
    task = _task(read, record)
    if field == "blocked":
        return _blocked(read, task, day)
    if task.status in CLOSED:
        done = (task.completed_at or "")[:10]
        steps = [f"{task.key} is {task.status} since {done}: {'it has no score' if field == 'score' else 'a fact'}"]
        return Explanation(record=task.key, field=field, value="" if field == "score" else done, terms=[], steps=steps)
    return _score(read, task, day) if field == "score" else _date(read, task, field, day)


def _task(read: Snapshot, record: str) -> Task:
    try:
        return find_task(read, record, "record")
    except NotFound:
        if KEY.fullmatch(record.upper()):
            raise
        find_project(read, record, "record")
    raise Invalid("a project has only its health", field="/field", hint="ask for health, or name a task")


def _health(read: Snapshot, record: str, day: str) -> Explanation:
    project = find_project(read, record, "record")
    found = health_of(read, project, day)
    forecast = [
        f"{name} of its {found.remaining} open tasks: {when}"
        for name, when in (("p50", found.p50), ("p85", found.p85))
        if when is not None
    ]
    return Explanation(
        record=project.key, field="health", value=found.status, terms=[], steps=[*found.reasons, *forecast]
    )


def _score(read: Snapshot, task: Task, day: str) -> Explanation:
    loaded = load(read, Question(day), BY_URGENCY)
    worth = worth_of(read, [task.id], day)[task.id]
    own = [place for place in loaded.places if place[2] == task.id]
    ranked = urgency.rank(loaded.linked, loaded.graph, own, limit=1)[0]
    terms = terms_of(worth, ranked)
    steps = [f"{term.name} {term.value:g}" for term in terms]
    if ranked.inherited_from is not None:
        origin = keys_of(read, [ranked.inherited_from])[ranked.inherited_from]
        steps.append(f"inherited: {origin}, which waits for it, is more urgent")
    if task.id in graph.waiting(loaded.graph):
        steps.append("it is blocked, so planning.next does not propose it")
    return Explanation(record=task.key, field="score", value=f"{ranked.score:g}", terms=terms, steps=steps)


def _blocked(read: Snapshot, task: Task, day: str) -> Explanation:
    found = load(read, Question(day)).graph
    chains = graph.chains(found, task.id) if task.id in found.positions and task.status not in CLOSED else []
    keys = keys_of(read, ids_in(step for chain in chains for step in chain))
    steps = ["; ".join(f"{each.task} waits for {each.text}" for each in tell(chain, keys)) for chain in chains]
    return Explanation(
        record=task.key, field="blocked", value="yes" if chains else "no", terms=[],
        steps=steps or ["nothing open blocks it, and it is not held"],
    )  # fmt: skip


def _date(read: Snapshot, task: Task, field: Literal["start", "finish"], day: str) -> Explanation:
    plan = planned.plan(read, None)
    first = date.fromisoformat(day)
    result = compute(plan.activities, plan.links, first, planned.calendar(read, first, ()), plan.names)
    slot = result.slots[task.id]
    activities = {activity.id: activity for activity in plan.activities}
    steps: list[str] = []
    if field == "finish":
        steps.append(_work(task.key, slot, activities[task.id], result.minutes_per_day))
    for id, driver in schedule.chain(result, task.id):
        steps.append(_why(plan, id, result.slots[id], driver, activities[id]))
    moment = slot.start if field == "start" else slot.finish
    return Explanation(record=task.key, field=field, value=moment.isoformat(), terms=[], steps=steps)


def _work(key: str, slot: Slot, activity: Activity, per_day: int) -> str:
    if slot.summary:
        return f"{key} ends on {slot.finish} with the last of its children"
    said = "" if activity.minutes is not None else " (assumed: it has no estimate)"
    return f"{key} ends on {slot.finish}: it needs {format_human(slot.ef - slot.es)}{said}, {per_day} minutes a day"


def _why(plan: planned.Plan, id: str, slot: Slot, driver: Driver, activity: Activity) -> str:
    key = plan.names[id].key
    via = "" if driver.via is None else f" (through {plan.names[driver.via].key})"
    if driver.kind == "done":
        return f"{key} was done on {driver.until}"
    if driver.kind == "task" and driver.task is not None:
        return f"{key} starts on {slot.start}, after {plan.names[driver.task].key}{via}"
    if driver.kind == "hold":
        reason = activity.hold.reason if activity.hold else "an ancestor is held"
        return f'{key} starts on {slot.start}: held until {driver.until}, "{reason}"{via}'
    if driver.kind == "wait_until":
        return f"{key} starts on {slot.start}: it waits until {driver.until}{via}"
    return f"{key} starts on {slot.start}, the first working day"
