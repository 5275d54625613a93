from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from coder_plugins.planning.formats import CheckItem, ForeignLink, github

from .examples import example


def issue(**fields: object) -> str:
    return json.dumps([{"number": 1, "title": "One", "state": "open", **fields}])


def records(tasks: object) -> list[dict[str, object]]:
    return json.loads(github.render(tasks))


@pytest.mark.parametrize("name", ["github-small.json", "github-cli-small.json"])
def test_the_examples_come_back_equal(name: str) -> None:
    text = example(name)
    result = github.parse(text)
    assert result.faults == []
    assert records(result.tasks) == json.loads(text)


def test_the_example_is_understood() -> None:
    frost, reading, fax, dew = github.parse(example("github-small.json")).tasks
    assert frost.id == "example/frost#1"
    assert (frost.kind, frost.priority, frost.tags, frost.project) == ("feature", "high", ("enhancement",), "0.3")
    assert [item.done for item in frost.checklist] == [True, False, False]
    assert reading.links == (ForeignLink("parent", "example/frost#1"),)
    assert (reading.kind, fax.status, dew.status, dew.kind) == ("bug", "dropped", "done", "pull_request")


def test_ticking_an_item_ticks_it_in_the_body() -> None:
    task = github.parse(example("github-small.json")).tasks[0]
    ticked = tuple(CheckItem(item.text, done=True) for item in task.checklist)
    record = records([replace(task, checklist=ticked)])[0]
    assert record["body"] == task.description.replace("- [ ] f", "- [x] f").replace("- [ ] n", "- [x] n")
    assert "- [ ] this is code" in str(record["body"])


def test_a_new_item_goes_to_the_end_of_the_body() -> None:
    task = github.parse(issue(body="Text\n- [x] one\nmore")).tasks[0]
    changed = replace(task, checklist=(*task.checklist, CheckItem("two")))
    assert records([changed])[0]["body"] == "Text\nmore\n\n- [x] one\n- [ ] two"


def test_a_change_leaves_the_rest_as_it_was() -> None:
    text = example("github-small.json")
    task = github.parse(text).tasks[0]
    changed = replace(task, priority="low", assignee="ilse", status="done", closed_at="2026-11-01T00:00:00.000Z")
    source, record = json.loads(text)[0], records([changed])[0]
    assert record["labels"] == [source["labels"][0], {"name": "priority: low"}]
    assert record["assignees"] == source["assignees"]
    assert record["assignee"] == source["assignees"][1]
    assert (record["state"], record["closed_at"]) == ("closed", "2026-11-01T00:00:00.000Z")
    same = ("id", "node_id", "number", "user", "milestone", "body", "sub_issues_summary", "created_at", "updated_at")
    assert {name: record[name] for name in same} == {name: source[name] for name in same}


def test_a_new_assignee_stands_in_both_fields() -> None:
    task = github.parse(example("github-small.json")).tasks[0]
    record = records([replace(task, assignee="otto")])[0]
    assert record["assignee"] == {"login": "otto"}
    assert record["assignees"] == [{"login": "otto"}, {"login": "ilse", "id": 12}]
    nobody = records([replace(task, assignee=None)])[0]
    assert (nobody.get("assignee"), nobody["assignees"]) == (None, [])


def test_the_command_lines_words_are_kept_on_a_change() -> None:
    task = github.parse(example("github-cli-small.json")).tasks[0]
    record = records([replace(task, status="dropped", closed_at="2026-11-01T00:00:00.000Z")])[0]
    assert (record["state"], record["stateReason"], record["closedAt"]) == (
        "closed",
        "not_planned",
        "2026-11-01T00:00:00.000Z",
    )
    assert record["createdAt"] == "2026-09-01T08:30:00Z"


def test_sub_issues_are_children() -> None:
    text = issue(sub_issues=[{"number": 5}], parent={"number": 2, "url": "https://github.com/o/r/issues/2"})
    assert github.parse(text).tasks[0].links == (
        ForeignLink("parent", "o/r#2"),
        ForeignLink("parent", "5", inward=True),
    )


def test_faults() -> None:
    text = json.dumps(
        [
            {"title": "no number"},
            {"number": "3", "title": "x"},
            {"number": 4},
            {"number": 5, "title": "x", "state": "odd"},
        ]
    )
    result = github.parse(text)
    assert result.tasks == []
    assert [fault.pointer for fault in result.faults] == ["/0/number", "/1/number", "/2/title", "/3/state"]
    wrong = github.parse(issue(labels=[{}], assignees=[3], body=4, created_at="yesterday", milestone={"title": 3}))
    named = {fault.pointer for fault in wrong.faults}
    assert named == {"/0/labels", "/0/assignees", "/0/body", "/0/created_at"}
    assert [fault.pointer for fault in github.parse(json.dumps(json.loads(issue()) * 2)).faults] == ["/1/id"]
