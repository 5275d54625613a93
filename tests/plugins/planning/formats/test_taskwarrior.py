from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from coder_plugins.planning.formats import ForeignLink, taskwarrior

from .examples import example

ONE = "0f5a2b1e-7c54-4a8e-9f10-2a6d1c3b4e01"
TWO = "0f5a2b1e-7c54-4a8e-9f10-2a6d1c3b4e02"


def task(**fields: object) -> str:
    return json.dumps([{"uuid": ONE, "description": "One", "status": "pending", **fields}])


def back(text: str) -> list[dict[str, object]]:
    return json.loads(taskwarrior.render(taskwarrior.parse(text).tasks))


def test_the_example_comes_back_equal() -> None:
    text = example("taskwarrior-small.json")
    result = taskwarrior.parse(text)
    assert result.faults == []
    assert len(result.tasks) == 7
    assert back(text) == json.loads(text)


def test_the_example_is_understood() -> None:
    tasks = {task.title: task for task in taskwarrior.parse(example("taskwarrior-small.json")).tasks}
    assert [task.status for task in tasks.values()] == ["todo", "todo", "doing", "todo", "todo", "done", "dropped"]
    assert tasks["Plant out"].links == (
        ForeignLink("blocks", TWO, inward=True),
        ForeignLink("blocks", TWO[:-1] + "3", inward=True),
    )
    assert tasks["Plant out"].wait_until == "2027-04-25T07:00:00.000Z"
    assert tasks["Repair the greenhouse door"].description == "the left hinge first\nhttps://example.org/hinges"
    assert tasks["Water the seedlings"].recurrence == "FREQ=DAILY;INTERVAL=2"
    assert tasks["Sow tomatoes"].unknown == {"id": 2, "urgency": 3.7, "estimate": "PT2H"}


@pytest.mark.parametrize(
    ("period", "rule"),
    [
        ("weekly", "FREQ=WEEKLY"),
        ("2wks", "FREQ=WEEKLY;INTERVAL=2"),
        ("P1M", "FREQ=MONTHLY"),
        ("quarterly", "FREQ=MONTHLY;INTERVAL=3"),
        ("2q", "FREQ=MONTHLY;INTERVAL=6"),
        ("weekdays", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("annual", "FREQ=YEARLY"),
        ("0d", None),
        ("when the moon is full", None),
    ],
)
def test_recurrence_words(period: str, rule: str | None) -> None:
    text = task(recur=period, status="recurring")
    assert taskwarrior.parse(text).tasks[0].recurrence == rule
    assert back(text) == json.loads(text)


def test_one_object_a_line_with_or_without_commas() -> None:
    text = f'{{"uuid":"{ONE}","description":"One"}},\n{{"uuid":"{TWO}","description":"Two"}}\n'
    assert [task.title for task in taskwarrior.parse(text).tasks] == ["One", "Two"]


def test_a_new_note_leaves_the_old_ones_their_times() -> None:
    notes = [{"entry": "20261004T180000Z", "description": "first"}]
    old = taskwarrior.parse(task(annotations=notes, modified="20261005T180000Z")).tasks[0]
    changed = replace(old, description="first\nsecond", updated_at="2026-11-01T00:00:00.000Z")
    record = json.loads(taskwarrior.render([changed]))[0]
    assert record["annotations"] == [*notes, {"entry": "20261101T000000Z", "description": "second"}]


def test_an_id_that_is_no_uuid_is_written_as_one() -> None:
    tasks = [replace(taskwarrior.parse(task()).tasks[0], id=id, format="") for id in ("bd-1", "bd-2")]
    tasks[1] = replace(tasks[1], links=(ForeignLink("blocks", "bd-1", inward=True),))
    first, second = json.loads(taskwarrior.render(tasks))
    assert second["depends"] == [first["uuid"]]
    assert len(first["uuid"]) == 36
    assert taskwarrior.parse(json.dumps([first, second])).tasks[1].links == tasks[1].links


def test_faults_name_the_line_the_task_begins_on() -> None:
    text = (
        '[\n{"uuid":"a","description":"One"},\n\n{"description":"Two","status":"lost","due":"friday"},\n'
        '7,\n{"uuid":"a","description":"\\u0000"}\n]'
    )
    result = taskwarrior.parse(text)
    assert [task.title for task in result.tasks] == ["One"]
    assert [(fault.line, fault.pointer) for fault in result.faults] == [
        (4, "/1/uuid"),
        (4, "/1/status"),
        (4, "/1/due"),
        (5, "/2"),
        (6, "/3/description"),
    ]


def test_broken_json_names_its_line() -> None:
    faults = taskwarrior.parse('[\n{"uuid": "a"},\n{"uuid" "b"}\n]').faults
    assert [fault.line for fault in faults] == [3]
    assert taskwarrior.parse('[{"uuid": "a"').faults[0].message == "not JSON: it ends too early"
    assert "not an object" in taskwarrior.parse("[[]]").faults[0].message
    assert taskwarrior.parse('"text"').faults != []
