"""Reading what a schedule is made of: activities, the links among them, and the calendar they are worked by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from coder_local.api import Snapshot
from coder_plugins.planning.choice.records import all_links
from coder_plugins.planning.rules.calendar import MONDAY_TO_FRIDAY, Calendar
from coder_plugins.planning.rules.moments import Link
from coder_plugins.planning.rules.schedule import Activity, Hold
from coder_plugins.planning.tasks.records import CLOSED

_AHEAD = 400
"""Days for which the calendar plugin is asked about holidays; later ones count as usual weekdays."""


class Named(NamedTuple):
    """What a schedule shows of a task beside its dates."""

    key: str
    title: str
    status: str
    project: str | None


class Plan(NamedTuple):
    """What is to be scheduled."""

    activities: list[Activity]
    links: list[Link]
    names: dict[str, Named]


def plan(read: Snapshot, project: str | None) -> Plan:
    """Return the open tasks of a project, or of all, with the closed ones they are linked to.

    Tasks of other projects that its own wait for, directly or not, come along: without them its dates would be wrong.
    """
    links = all_links(read)
    rows = read.rows(
        "SELECT t.id, t.key, t.title, t.status, t.project,"
        " CASE WHEN coalesce(p.unit, 'hours') = 'hours' THEN t.estimate ->> '$.likely' END,"
        " t.wait_until, t.hold_reason, t.hold_until, t.completed_at"
        " FROM planning_tasks t LEFT JOIN planning_projects p ON p.id = t.project"
        " WHERE t.deleted_at IS NULL AND t.workspace_id = :workspace"
        " AND (t.status NOT IN ('done', 'dropped') OR t.id IN (SELECT value FROM json_each(:linked)))"
        " ORDER BY t.rank, t.id",
        workspace=read.workspace,
        linked=sorted({id for link in links for id in (link.source, link.target)}),
    )
    if project is not None:
        kept = _upstream((row[0] for row in rows if row[4] == project), links)
        rows = [row for row in rows if row[0] in kept]
        links = [link for link in links if link.source in kept and link.target in kept]
    spent = _spent(read)
    names = {row[0]: Named(*row[1:5]) for row in rows}
    return Plan([_activity(row, spent.get(row[0], 0)) for row in rows], links, names)


def _activity(row: tuple[Any, ...], spent: int) -> Activity:
    id, _, _, status, _, likely, wait, reason, until, completed = row
    if status in CLOSED:
        return Activity(id, done=date.fromisoformat((completed or "1970-01-01")[:10]))
    return Activity(
        id,
        None if likely is None else max(likely - spent, 0),
        wait_until=_day(wait),
        hold=None if reason is None else Hold(reason, _day(until)),
    )


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _spent(read: Snapshot) -> dict[str, int]:
    """Return the minutes recorded on each open task; what is spent is not to be spent again."""
    rows = read.rows(
        "SELECT task, sum(minutes) FROM planning_times WHERE deleted_at IS NULL AND minutes IS NOT NULL"
        " AND workspace_id = :workspace GROUP BY task",
        workspace=read.workspace,
    )
    return dict(rows)


def _upstream(tasks: Iterable[str], links: Sequence[Link]) -> set[str]:
    """Return the tasks and all that they wait for: blockers with their children, ancestors, and theirs."""
    blockers: defaultdict[str, list[str]] = defaultdict(list)
    parents: defaultdict[str, list[str]] = defaultdict(list)
    children: defaultdict[str, list[str]] = defaultdict(list)
    for link in links:
        if link.kind == "blocks":
            blockers[link.target].append(link.source)
        else:
            parents[link.target].append(link.source)
            children[link.source].append(link.target)
    ended = set(tasks)  # whose finish counts, so that their children do too
    known = set(ended)
    queue = list(ended)
    while queue:
        task = queue.pop()
        waits = [*blockers[task], *(children[task] if task in ended else ())]
        for other in (each for each in waits if each not in ended):
            ended.add(other)
            known.add(other)
            queue.append(other)
        for parent in (each for each in parents[task] if each not in known):
            known.add(parent)
            queue.append(parent)
    return known


def calendar(read: Snapshot, start: date, holidays: Sequence[str]) -> Calendar:
    """Return the days that are worked: those of the calendar plugin when it is there, else Monday to Friday, 8 h."""
    off = frozenset(date.fromisoformat(day) for day in holidays)
    if not read.offers("calendar.working_time"):
        return Calendar(holidays=off)
    end = start + timedelta(days=_AHEAD)
    answer = read.call("calendar.working_time", start=start.isoformat(), end=end.isoformat())
    worked = {date.fromisoformat(each["day"]): int(each["minutes"]) for each in answer["by_day"]}
    lengths = Counter(minutes for minutes in worked.values() if minutes > 0)
    if not lengths:
        return Calendar(holidays=off)
    weekdays = frozenset(day.weekday() for day, minutes in worked.items() if minutes > 0) or MONDAY_TO_FRIDAY
    free = frozenset(day for day, minutes in worked.items() if minutes <= 0)
    return Calendar(weekdays, lengths.most_common(1)[0][0], off | free)
