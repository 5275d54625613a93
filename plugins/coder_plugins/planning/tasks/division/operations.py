"""Dividing one task into parts and joining several into one: links, estimates, checklists and times follow.

A replaced task is deleted and keeps its history; undo brings it back under its old id with all its links.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from coder_local.api import Conflict, Fault, Title, Transaction, Value
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.projects.records import Project
from coder_plugins.planning.records import Estimate, Reference, domain, refuse
from coder_plugins.planning.rules import split as division
from coder_plugins.planning.tasks.finding.operations import find_task, next_key, ranks_after, unit_of
from coder_plugins.planning.tasks.records import CLOSED, ChecklistItem, Task, TaskMerged, TaskSplit
from coder_plugins.planning.times.records import TimeEntry

_PRIORITIES = ("none", "low", "medium", "high", "urgent")
Parts = Annotated[int, Meta(ge=2, le=50)]
Titles = Annotated[tuple[Title, ...], Meta(min_length=2, max_length=50)]


class TaskSplitAnswer(Value):
    """The parts that replace a divided task, in order."""

    parts: list[Task]
    replaced: str
    """Id of the task they replace; undo brings it back."""


class TaskMergeAnswer(Value):
    """The task that is left of several."""

    task: Task
    replaced: list[str]
    """Ids of the tasks it replaces."""


@domain.command("planning.tasks.split", emits=TaskSplit)
def split(
    tx: Transaction,
    *,
    id: Reference,
    parts: Parts | None = None,
    titles: Titles | None = None,
    estimates: tuple[Estimate, ...] | None = None,
) -> TaskSplitAnswer:
    """Replace a task by parts: say how many, or give their titles.

    What waited for it waits for every part, and every part waits for what it waited for. Its checklist is dealt out in
    order, its estimate divided exactly unless the estimates of the parts are given; recorded time goes to the first
    part. Without titles, a part with one checklist item is called by it.
    """
    task = find_task(tx, id)
    count = _count(task, parts, titles, estimates)
    shares = division.split(task.checklist, _whole(task.estimate), count)
    own = None if task.project is None else tx.find(Project, task.project)
    ranks = [task.rank, *ranks_after(tx, task.rank, count - 1)]
    made: list[Task] = []
    for number, share in enumerate(shares):
        estimate = _stated(share.estimate) if estimates is None else estimates[number]
        title = titles[number] if titles else _title(task, share.items, number, count)
        made.append(tx.insert(_part(tx, task, own, title, share.items, estimate, ranks[number])))
    _hand_over_links(tx, task, made)
    _hand_over_times(tx, task, made[0])
    tx.delete(task)
    tx.emit(TaskSplit(task=task.id, parts=[part.id for part in made]))
    return TaskSplitAnswer(parts=made, replaced=task.id)


def _count(
    task: Task, parts: int | None, titles: tuple[str, ...] | None, estimates: tuple[Estimate, ...] | None
) -> int:
    if task.status in CLOSED:
        raise Conflict(f"{task.key} is {task.status}", hint="reopen it first (planning.tasks.reopen)")
    if task.recurrence is not None:
        raise Conflict(f"{task.key} comes back by itself", field="/id", hint="take its recurrence away first")
    count = parts or len(titles or ())
    faults: list[Fault] = []
    if not count:
        faults.append(Fault("/parts", "say into how many parts", "give parts, or titles"))
    if titles is not None and len(titles) != count:
        faults.append(Fault("/titles", f"{len(titles)} titles for {count} parts", "give one for each part"))
    if estimates is not None and len(estimates) != count:
        faults.append(Fault("/estimates", f"{len(estimates)} estimates for {count} parts", "give one for each part"))
    refuse(faults)
    return count


def _whole(estimate: Estimate | None) -> division.Estimate | None:
    return None if estimate is None else division.Estimate(estimate.lowest, estimate.likely, estimate.highest)


def _stated(estimate: division.Estimate | None) -> Estimate | None:
    return None if estimate is None else Estimate(low=estimate.low, likely=estimate.likely, high=estimate.high)


def _title(task: Task, items: list[ChecklistItem], number: int, count: int) -> str:
    if len(items) == 1 and len(items[0].text) <= 300:
        return items[0].text
    tail = f" ({number + 1} of {count})"
    return task.title[: 300 - len(tail)] + tail


def _part(
    tx: Transaction,
    task: Task,
    project: Project | None,
    title: str,
    items: list[ChecklistItem],
    estimate: Estimate | None,
    rank: str,
) -> Task:
    return Task(
        key=next_key(tx, project),
        rank=rank,
        project=task.project,
        title=title,
        description=task.description,
        kind=task.kind,
        status="backlog" if task.status == "backlog" else "todo",
        priority=task.priority,
        estimate=estimate,
        due=task.due,
        wait_until=task.wait_until,
        assignee=task.assignee,
        tags=task.tags,
        hold_reason=task.hold_reason,
        hold_until=task.hold_until,
        checklist=items,
        meta={"split_from": {"id": task.id, "key": task.key}},
    )


@domain.command("planning.tasks.merge", emits=TaskMerged)
def merge(
    tx: Transaction,
    *,
    ids: Annotated[tuple[Reference, ...], Meta(min_length=2, max_length=50)],
    title: Title | None = None,
) -> TaskMergeAnswer:
    """Join tasks into the first one, which takes over the links, checklists, tags and recorded times of the others.

    Estimates add up, the earliest due date and the highest priority hold, descriptions follow one another. An import
    knows the others as parts of the first one, and brings none of them in again. Refused when the links of all together
    would close a ring.
    """
    found = list({task.id: task for task in (find_task(tx, id, "ids") for id in ids)}.values())
    first, others = found[0], found[1:]
    _refuse_unlike(tx, found)
    for other in others:
        _hand_over_links(tx, other, [first])
        _hand_over_times(tx, other, first)
        tx.delete(other)
    merged = tx.update(first, **_joined(found, title))
    tx.emit(TaskMerged(task=first.id, others=[other.id for other in others]))
    return TaskMergeAnswer(task=merged, replaced=[other.id for other in others])


def _refuse_unlike(tx: Transaction, tasks: list[Task]) -> None:
    if len(tasks) < 2:
        refuse([Fault("/ids", "these are all the same task", "name two tasks or more")])
    if len({unit_of(tx, task.project) for task in tasks}) > 1 and any(task.estimate for task in tasks):
        raise Conflict("they are estimated in different units", field="/ids", hint="clear the estimates first")
    over = next((task for task in tasks if task.status in CLOSED), None)
    if over is not None:
        raise Conflict(f"{over.key} is {over.status}", field="/ids", hint="reopen it first (planning.tasks.reopen)")


def _joined(tasks: list[Task], title: str | None) -> dict[str, Any]:
    """Return what the first of the tasks becomes; it is kept equal to the first foreign record among them."""
    first = tasks[0]
    known = next((task for task in tasks if task.source), first)
    meta = first.meta | ({"source": known.meta["source"]} if "source" in known.meta else {})
    estimates = [task.estimate for task in tasks if task.estimate]
    total = Estimate(
        low=sum(each.lowest for each in estimates),
        likely=sum(each.likely for each in estimates),
        high=sum(each.highest for each in estimates),
    )
    due = min((task.due for task in tasks if task.due), default=None)
    return {
        "title": title or first.title,
        "description": "\n\n".join(dict.fromkeys(task.description for task in tasks if task.description)),
        "priority": max((task.priority for task in tasks), key=_PRIORITIES.index),
        "estimate": total if estimates else None,
        "due": due,
        "wait_until": first.wait_until if not due or not first.wait_until else min(first.wait_until, due),
        "tags": list(dict.fromkeys(tag for task in tasks for tag in task.tags)),
        "checklist": [item for task in tasks for item in task.checklist],
        "source": known.source,
        "meta": {**meta, "merged_from": _merged_from(tasks, known.source)},
    }


def _merged_from(tasks: list[Task], source: str | None) -> list[dict[str, Any]]:
    """Return what the first of the tasks is made of: the others, and what all of them were made of before."""
    found: list[dict[str, Any]] = []
    for task in tasks:
        if task is not tasks[0]:
            foreign = {"source": task.source} if task.source and task.source != source else {}
            found.append({"id": task.id, "key": task.key, **foreign})
        before = task.meta.get("merged_from")
        found += before if isinstance(before, list) else []
    return found


def _hand_over_links(tx: Transaction, old: Task, new: list[Task]) -> None:
    """Give every heir the links of a task that goes; its children go to the first heir only."""
    stored = tx.select(Link, "source = :id OR target = :id", id=old.id)
    # The old links go last, so that undo, which runs backwards, finds both their ends when it brings them back.
    known: set[tuple[str, str, str]] = {(link.source, link.target, link.kind) for link in stored}
    for link in stored:
        for heir in new[:1] if link.kind == "parent" and link.source == old.id else new:
            _copy(tx, link, old, heir, known)
    for link in stored:
        tx.delete(link)


def _copy(tx: Transaction, link: Link, old: Task, heir: Task, known: set[tuple[str, str, str]]) -> None:
    source = heir.id if link.source == old.id else link.source
    target = heir.id if link.target == old.id else link.target
    triple = (source, target, link.kind)
    taken = tx.select(
        Link,
        "kind = :kind AND ((source = :source AND target = :target)"
        " OR (kind = 'relates' AND source = :target AND target = :source))",
        kind=link.kind,
        source=source,
        target=target,
    )
    if source == target or triple in known or taken:
        return
    known.add(triple)
    tx.insert(
        Link(source=source, target=target, kind=link.kind, source_type=link.source_type, target_type=link.target_type)
    )


def _hand_over_times(tx: Transaction, old: Task, heir: Task) -> None:
    for entry in tx.select(TimeEntry, "task = :task", task=old.id):
        tx.update(entry, task=heir.id)
