from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from coder_plugins.planning.formats import ForeignLink, beads

from .examples import BEADS, SMALL_BEADS


def lines(text: str) -> list[object]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("path", sorted({SMALL_BEADS, BEADS}), ids=lambda path: path.stem)
def test_every_line_comes_back_equal(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    result = beads.parse(text)
    assert result.faults == []
    back = lines(beads.render(result.tasks))
    assert back == lines(text)
    assert [list(record) for record in back] == [list(record) for record in lines(text)]  # the order of the fields too


@pytest.mark.parametrize("path", sorted({SMALL_BEADS, BEADS}), ids=lambda path: path.stem)
def test_every_dependency_becomes_a_link(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    words = {
        "parent-child": "parent",
        "related": "relates",
        "discovered-from": "discovered_from",
        "caused-by": "caused_by",
    }
    expected: Counter[str] = Counter()
    for record in lines(text):
        expected.update(words.get(edge["type"], edge["type"]) for edge in record.get("dependencies", []))
        expected.update({"duplicates": "duplicate_of" in record, "relates": "superseded_by" in record})
    found = Counter(link.kind for task in beads.parse(text).tasks for link in task.links)
    assert found == +expected


def issue(**fields: object) -> str:
    return json.dumps({"id": "a-1", "title": "One", "status": "open", "priority": 2, **fields})


def test_the_blocker_is_the_one_depended_on() -> None:
    text = issue(dependencies=[{"issue_id": "a-1", "depends_on_id": "a-2", "type": "blocks"}])
    assert beads.parse(text).tasks[0].links == (ForeignLink("blocks", "a-2", inward=True),)


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("open", "todo"),
        ("in_progress", "doing"),
        ("blocked", "todo"),
        ("deferred", "backlog"),
        ("closed", "done"),
        ("new", "todo"),
    ],
)
def test_status_words(status: str, meant: str) -> None:
    task = beads.parse(issue(status=status)).tasks[0]
    assert task.status == meant
    assert lines(beads.render([task]))[0]["status"] == status


@pytest.mark.parametrize(("number", "meant"), list(enumerate(["urgent", "high", "medium", "low", "none"])))
def test_priorities(number: int, meant: str) -> None:
    assert beads.parse(issue(priority=number)).tasks[0].priority == meant


def test_a_change_writes_the_changed_field_and_leaves_the_rest() -> None:
    source = {
        "id": "a-1",
        "title": "One",
        "status": "blocked",
        "priority": 2,
        "created_at": "2026-09-01T08:30:00.123456+02:00",
        "updated_at": "2026-09-01T08:30:00.123456+02:00",
        "design": {"kept": [1, None]},
        "dependencies": [
            {"issue_id": "a-1", "depends_on_id": "a-2", "type": "blocks", "created_at": "2026-09-01T08:30:00+02:00"},
            {"issue_id": "a-1", "depends_on_id": "a-3", "type": "blocks", "created_at": "2026-09-01T08:31:00+02:00"},
            {"issue_id": "a-1", "depends_on_id": "a-4", "type": "waits-for", "note": "no word for it"},
        ],
    }
    task = beads.parse(json.dumps(source)).tasks[0]
    changed = replace(
        task,
        status="done",
        closed_at="2026-10-01T00:00:00.000Z",
        links=(ForeignLink("blocks", "a-3", inward=True), ForeignLink("parent", "a-9")),
    )
    expected = {
        **source,
        "status": "closed",
        "closed_at": "2026-10-01T00:00:00.000Z",
        "dependencies": [
            source["dependencies"][1],
            source["dependencies"][2],
            {"issue_id": "a-1", "depends_on_id": "a-9", "type": "parent-child"},
        ],
    }
    assert lines(beads.render([changed])) == [expected]


def test_a_change_made_in_the_other_tool_wins_over_what_was_written_beside_it() -> None:
    task = replace(beads.parse(issue()).tasks[0], status="review", recurrence="FREQ=DAILY")
    record = lines(beads.render([task]))[0]
    assert record["status"] == "in_progress"
    assert beads.parse(json.dumps(record)).tasks[0].status == "review"
    again = beads.parse(json.dumps({**record, "status": "closed"})).tasks[0]
    assert (again.status, again.recurrence) == ("done", "FREQ=DAILY")


def test_a_link_is_written_at_the_end_that_can_say_it() -> None:
    tasks = beads.parse(issue() + "\n" + issue(id="a-2")).tasks
    blocking = replace(tasks[0], links=(ForeignLink("blocks", "a-2"), ForeignLink("blocks", "elsewhere")))
    first, second = lines(beads.render([blocking, tasks[1]]))
    assert second["dependencies"] == [{"issue_id": "a-2", "depends_on_id": "a-1", "type": "blocks"}]
    assert first["dependencies"] == [{"issue_id": "elsewhere", "depends_on_id": "a-1", "type": "blocks"}]


def test_all_faults_are_named_at_once_with_their_lines() -> None:
    text = "\n".join(
        [
            issue(),
            '{"id": "a-2", "title": ',
            "",
            json.dumps({"id": "a-3"}),
            json.dumps({"title": "no id"}),
            issue(id="a-4", priority="high", labels="x", created_at="2026-09-01T08:30:00"),
            issue(id="a-1"),
            issue(id="a-5", title="x" * 301),
            issue(id="a-6", description="a\0b"),
            "[1, 2]",
            "<<<<<<< HEAD",
            issue(id="a-7", dependencies=[{"issue_id": "a-8", "depends_on_id": "a-9", "type": "blocks"}, 3]),
            issue(id="a-8", priority=True, estimated_minutes=-1, title=7),
            "NaN",
            '{"id": "a-9", "deep": ' + "[" * 5000 + "]" * 5000 + "}",
            '{"id": "a-10", "deep": ' + "[" * 300 + "]" * 300 + "}",
            issue(id="last", dependencies=[{"issue_id": "last", "depends_on_id": 4}]),
            '{"id": "\ud800"}',
        ]
    )
    result = beads.parse(text)
    assert [task.id for task in result.tasks] == ["a-1"]
    assert [(fault.line, fault.pointer) for fault in result.faults] == [
        (2, ""),
        (4, "/title"),
        (5, "/id"),
        (6, "/priority"),
        (6, "/created_at"),
        (6, "/labels"),
        (7, "/id"),
        (8, "/title"),
        (9, "/description"),
        (10, ""),
        (11, ""),
        (12, "/dependencies"),
        (13, "/priority"),
        (13, "/title"),
        (13, "/estimated_minutes"),
        (14, ""),
        (15, ""),
        (16, ""),
        (17, "/dependencies/0"),
        (18, ""),
    ]
    assert all(fault.message and fault.hint for fault in result.faults)
    said = {fault.line: fault for fault in result.faults}
    assert said[8].message == "title has 301 characters, 300 are allowed"
    assert "line 1" in said[7].message
    assert "merge" in said[11].hint


def test_a_damaged_extension_is_a_fault() -> None:
    for damage in ("text", {"status": 3}, {"status": {"said": "todo", "meant": "never"}}, {"links": {"said": []}}):
        assert [fault.pointer for fault in beads.parse(issue(coder_local=damage)).faults] == ["/coder_local"]


def test_nothing_is_nothing() -> None:
    assert beads.parse("").tasks == beads.parse("\n\n").faults == []
    assert beads.render([]) == ""
