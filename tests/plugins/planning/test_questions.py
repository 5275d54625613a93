"""What is only asked: next, schedule, impact, forecast, explain; and one typed line to a task."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Domain, LocalDate, Refused, Snapshot, TooLarge, Value
from coder_local.testing.memory import Sandbox, sandbox
from coder_plugins.planning.links.records import Link
from coder_plugins.planning.tasks.records import Task
from tests.plugins.planning.acceptance import DAY, diamond, failure

Call = Callable[..., Any]


def create(call: Call, title: str = "a task", **fields: Any) -> dict[str, Any]:
    return call("planning.tasks.create", title=title, **fields)


# -- next --------------------------------------------------------------------------------------------------------------


def test_next_fits_the_time_and_the_energy_at_hand(call: Call) -> None:
    create(call, "short", estimate={"likely": 20}, tags=["energy:high"])
    create(call, "long", estimate={"likely": 200})
    create(call, "unknown")

    def titles(**input: Any) -> list[str]:
        return [each["task"]["title"] for each in call("planning.next", **input)["items"]]

    assert sorted(titles()) == ["long", "short", "unknown"]
    assert titles(minutes=30) == ["short"]
    assert titles(minutes=30, energy="high") == ["short"]
    assert titles(minutes=30, energy="medium") == []
    assert titles(limit=1, energy="low") == ["long"]


def test_a_task_takes_the_urgency_of_what_waits_for_it(call: Call) -> None:
    create(call, "plain")
    create(call, "pressing", priority="urgent", due="2026-11-01")
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    (first,) = call("planning.next")["items"]
    assert (first["task"]["key"], first["inherited_from"]) == ("TASK-1", "TASK-2")
    assert round(sum(term["value"] for term in first["terms"]), 3) == first["score"]
    told = call("planning.explain", record="TASK-1", field="score")
    assert told["value"] == f"{first['score']:g}"
    assert told["terms"] == first["terms"]
    assert "inherited: TASK-2, which waits for it, is more urgent" in told["steps"]


def test_what_the_database_adds_up_is_the_sum_of_the_terms(box: Sandbox) -> None:
    rng, day = random.Random(5), date(2026, 11, 6)
    with box.tx() as tx:
        for number in range(300):
            due = rng.choice([None, day + timedelta(days=rng.randint(-20, 30))])
            tx.insert(
                Task(
                    key=f"X-{number + 1}", title="x", rank="a0", project=None, tags=list("abcd"[: rng.randint(0, 4)]),
                    created_at=f"{day - timedelta(days=rng.randint(-3, 500))}T{rng.randint(0, 23):02}:00:00.000Z",
                    priority=rng.choice(["none", "low", "medium", "high", "urgent"]),
                    due=None if due is None else str(due), status=rng.choice(["backlog", "todo", "doing", "review"]),
                )
            )  # fmt: skip
    found = box.call("planning.next", limit=1000)["items"]
    assert len(found) == 300
    for each in found:
        assert round(sum(term["value"] for term in each["terms"]), 3) == each["score"]
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 200


def test_next_ranks_equals_by_their_place(call: Call) -> None:
    for _ in "ab":
        create(call)
    assert [each["task"]["key"] for each in call("planning.next")["items"]] == ["TASK-1", "TASK-2"]
    call("planning.tasks.reorder", id="TASK-2", before="TASK-1")
    assert [each["task"]["key"] for each in call("planning.next")["items"]] == ["TASK-2", "TASK-1"]


# -- dates -------------------------------------------------------------------------------------------------------------


def test_recorded_time_is_not_counted_again(call: Call) -> None:
    create(call, estimate={"likely": 2 * DAY})
    call("planning.times.create", task="TASK-1", started_at="2026-11-02T08:00:00Z", minutes=DAY)
    (row,) = call("planning.schedule", start="2026-11-09")["items"]
    assert (row["ef"], row["finish"]) == (DAY, "2026-11-09")


def test_what_is_assumed_is_told(call: Call) -> None:
    create(call)
    create(call, estimate={"likely": 60})
    call("planning.tasks.hold", id="TASK-2", reason="parts")
    found = call("planning.schedule")["assumptions"]
    assert [(each["task"], each["kind"]) for each in found] == [("TASK-1", "estimate"), ("TASK-2", "hold")]


def test_a_project_is_scheduled_with_what_it_waits_for_elsewhere(call: Call) -> None:
    call("planning.projects.create", name="Plan", key="PLAN")
    create(call, "outside", estimate={"likely": DAY})
    create(call, "child of outside", estimate={"likely": 2 * DAY})
    create(call, "unconnected", estimate={"likely": 9 * DAY})
    create(call, "inside", project="PLAN", estimate={"likely": DAY})
    call("planning.link", source="TASK-1", target="PLAN-1", kind="blocks")
    call("planning.link", source="TASK-1", target="TASK-2", kind="parent")
    found = call("planning.schedule", project="PLAN", start="2026-11-09")
    rows = {row["key"]: row for row in found["items"]}
    assert {key: row["outside"] for key, row in rows.items()} == {"TASK-1": True, "TASK-2": True, "PLAN-1": False}
    assert (rows["PLAN-1"]["start"], found["finish"]) == ("2026-11-11", "2026-11-11")


def test_closed_tasks_pin_dates_and_are_not_in_the_answer(call: Call) -> None:
    for title in "abc":
        create(call, title, estimate={"likely": DAY})
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    call("planning.link", source="TASK-3", target="TASK-2", kind="blocks")
    call("planning.tasks.finish", id="TASK-1", at="2026-11-04T12:00:00Z")
    call("planning.tasks.drop", id="TASK-3")
    found = call("planning.schedule", start="2026-11-02")
    assert [(row["key"], row["start"]) for row in found["items"]] == [("TASK-2", "2026-11-06")]
    assert (found["total"], found["critical"]) == (1, ["TASK-2"])


def test_a_schedule_may_be_asked_for_its_first_tasks(call: Call) -> None:
    for title in "ab":
        create(call, title, estimate={"likely": DAY})
    call("planning.link", source="TASK-1", target="TASK-2", kind="blocks")
    found = call("planning.schedule", start="2026-11-02", limit=1)
    assert [row["key"] for row in found["items"]] == ["TASK-1"]
    assert (found["total"], found["finish"], found["critical"]) == (2, "2026-11-03", ["TASK-1", "TASK-2"])


def test_points_have_no_working_time(call: Call) -> None:
    call("planning.projects.create", name="Points", key="PTS", unit="points")
    create(call, project="PTS", estimate={"likely": 3})
    found = call("planning.schedule", project="PTS")
    assert found["assumptions"][0]["kind"] == "estimate"
    failure(call, "conflict", "planning.impact", record="PTS-1", change={"estimate": {"likely": 5}})


def test_nothing_to_do_has_no_finish(call: Call) -> None:
    assert call("planning.schedule")["finish"] is None


def test_a_bad_day_is_named(call: Call) -> None:
    data = failure(call, "invalid", "planning.schedule", holidays=["2026-11-11", "2026-02-30"])
    assert data["faults"][0]["field"] == "/holidays/1"
    failure(call, "invalid", "planning.schedule", start="next week")


def test_over_the_limit_is_too_large(box: Sandbox) -> None:
    with box.tx() as tx:
        ids = [tx.insert(Task(key=f"BIG-{number + 1}", title="x", rank="a0")).id for number in range(202)]
    box.kernel.registry.tables.rules[Link].clear()  # or each link is searched for a ring
    with box.tx() as tx:
        pairs = [(source, target) for at, source in enumerate(ids) for target in ids[at + 1 :]]
        for source, target in pairs[:20_001]:
            tx.insert(Link(source=source, target=target, kind="blocks"))
    with pytest.raises(TooLarge) as caught:
        box.call("planning.schedule")
    assert caught.value.data == {"limit": 20_000, "count": 20_001}


calendar = Domain("calendar")


class WorkedDay(Value):
    """A day and the minutes worked on it."""

    day: LocalDate
    minutes: int


class WorkingTime(Value):
    """Working time by day."""

    by_day: list[WorkedDay]


@calendar.query("calendar.working_time")
def working_time(read: Snapshot, *, start: LocalDate, end: LocalDate) -> WorkingTime:
    """Return six hours from Monday to Thursday, and none on Wednesday the 4th."""
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return WorkingTime(
        by_day=[
            WorkedDay(day=str(day), minutes=360 if day.weekday() < 4 and str(day) != "2026-11-04" else 0)
            for day in days
        ]
    )


def test_the_calendar_plugin_says_what_is_worked(planning: Path) -> None:
    with sandbox(planning, calendar) as box:
        create(box.call, estimate={"likely": 4 * 360})
        found = box.call("planning.schedule", start="2026-11-02")
        assert (found["minutes_per_day"], found["finish"]) == (360, "2026-11-09")
        found = box.call("planning.schedule", start="2026-11-02", holidays=["2026-11-09"])
        assert found["finish"] == "2026-11-10"


def test_impact_tells_what_moves_and_writes_nothing(call: Call) -> None:
    _, keys = diamond(call)
    input: dict[str, Any] = {"record": keys["b"], "start": "2026-11-02"}
    found = call("planning.impact", change={"estimate": {"likely": 4 * DAY}}, **input)
    assert {each["title"]: (each["before"]["finish"], each["after"]["finish"]) for each in found["moved"]} == {
        "b": ("2026-11-06", "2026-11-10"),
        "c": ("2026-11-12", "2026-11-16"),
    }
    assert (found["finish_before"], found["finish_after"]) == ("2026-11-12", "2026-11-16")
    assert call("planning.impact", change={}, **input)["moved"] == []
    held = call("planning.impact", change={"hold_until": "2026-11-16"}, **input)
    assert {each["title"] for each in held["moved"]} == {"b", "c"}
    dropped = call("planning.impact", change={"dropped": True}, **input)["moved"]
    assert next(each["after"] for each in dropped if each["title"] == "b") is None
    waits = call("planning.impact", change={"blocked_by": [keys["e"]]}, **input)
    assert waits["finish_after"] == "2026-11-17"
    assert call("planning.schedule", start="2026-11-02")["finish"] == "2026-11-12"


def test_impact_of_a_ring_or_a_bad_estimate_is_refused(call: Call) -> None:
    _, keys = diamond(call)
    assert failure(call, "conflict", "planning.impact", record=keys["a"], change={"blocked_by": [keys["c"]]})["cycle"]
    failure(call, "invalid", "planning.impact", record=keys["a"], change={"estimate": {"low": 2, "likely": 1}})
    failure(call, "not_found", "planning.impact", record=keys["a"], change={"blocked_by": ["TASK-77"]})


def test_a_forecast_with_thin_data_is_refused(call: Call) -> None:
    create(call)
    with pytest.raises(Refused) as caught:
        call("planning.forecast")
    assert "`throughput`" in (caught.value.hint or "")
    assert "`remaining`" in (caught.value.hint or "")
    assert failure(call, "refused", "planning.forecast", throughput=[1, 2, 3])["weeks"] == 3
    failure(call, "refused", "planning.forecast", throughput=[0, 0, 0, 0])


def test_a_forecast_by_a_day(call: Call) -> None:
    asked: dict[str, Any] = {"throughput": [3, 5, 2, 4, 4, 1], "remaining": 20, "today": "2026-11-06"}
    found = call("planning.forecast", until="2026-12-24", **asked)
    assert round(found["until"]["chance"], 4) == 0.4494
    assert found["p50_day"] == "2026-12-25"


def test_a_forecast_by_tags(call: Call) -> None:
    for number, tags in enumerate((["x"], ["x", "y"], ["y"])):
        create(call, tags=tags)
        call("planning.tasks.finish", id=f"TASK-{number + 1}", at=f"2026-10-{10 + number}T12:00:00Z")
    create(call, tags=["x"])
    basis = call("planning.forecast", tags=["x"])["basis"]
    assert (sum(basis["throughput"]), basis["remaining"]) == (2, 1)


# -- explain -----------------------------------------------------------------------------------------------------------


def test_a_date_is_explained_to_its_root(call: Call) -> None:
    _, keys = diamond(call)
    call("planning.tasks.hold", id=keys["b"], reason="waiting for licence", until="2026-11-12")
    told = call("planning.explain", record=keys["c"], field="finish", today="2026-11-02")
    assert told["value"] == "2026-11-19"
    assert told["steps"] == [
        f"{keys['c']} ends on 2026-11-19: it needs 4d, 480 minutes a day",
        f"{keys['c']} starts on 2026-11-16, after {keys['b']}",
        f'{keys["b"]} starts on 2026-11-12: held until 2026-11-12, "waiting for licence"',
    ]


def test_a_wait_is_explained_to_its_root(call: Call) -> None:
    _, keys = diamond(call)
    told = call("planning.explain", record=keys["e"], field="blocked")
    assert told["steps"] == [f"{keys['e']} waits for {keys['d']}; {keys['d']} waits for {keys['a']}"]
    assert call("planning.explain", record=keys["a"], field="blocked")["value"] == "no"


def test_what_has_no_such_figure_is_refused(call: Call) -> None:
    project, keys = diamond(call)
    failure(call, "invalid", "planning.explain", record=project, field="score")
    failure(call, "not_found", "planning.explain", record=keys["a"], field="health")
    failure(call, "not_found", "planning.explain", record="TASK-77", field="score")
    failure(call, "invalid", "planning.explain", record=keys["a"], field="colour")
    call("planning.tasks.finish", id=keys["a"])
    assert call("planning.explain", record=keys["a"], field="finish")["value"] == "2026-11-06"


# -- capture -----------------------------------------------------------------------------------------------------------


def test_one_line_makes_a_task(box: Sandbox) -> None:
    create(box.call)
    found = box.call("planning.capture", text="fix login !high #auth ~2h due fri after TASK-1")
    (task,) = found["tasks"]
    assert (task["title"], task["priority"], task["tags"], task["due"]) == ("fix login", "high", ["auth"], "2026-11-13")
    assert task["estimate"] == {"likely": 120, "low": None, "high": None}
    assert found["unparsed"] == []
    assert [each["task"]["key"] for each in box.call("planning.blocked")["items"]] == ["TASK-2"]
    assert "planning.task.created" in {said.type for said in box.events}


def test_what_is_not_understood_stays_in_the_title(call: Call) -> None:
    call("planning.projects.create", name="Points", key="PTS", unit="points")
    found = call("planning.capture", text="a @NONE after PTS-9 !huge ~2h", project="PTS")
    assert found["tasks"][0]["key"] == "PTS-1"
    assert found["unparsed"] == ["!huge", "@NONE", "after PTS-9", "~2h"]
    assert all(word in found["tasks"][0]["title"] for word in found["unparsed"])


def test_many_lines_make_many_tasks_or_none(call: Call) -> None:
    assert len(call("planning.capture", text="one\n\n two #x \nthree")["tasks"]) == 3
    failure(call, "invalid", "planning.capture", text="four\n!high #x")
    failure(call, "invalid", "planning.capture", text=" \n ")
    failure(call, "invalid", "planning.capture", text="x" * 301)
    failure(call, "invalid", "planning.capture", text="x\n" * 201)
    failure(call, "not_found", "planning.capture", text="x", project="NONE")
    assert len(call("planning.tasks.list")["items"]) == 3
