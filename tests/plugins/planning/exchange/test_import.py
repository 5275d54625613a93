"""Bringing in the tasks of other tools: everything arrives, once, and one undo takes it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.testing.memory import Sandbox


def ready_in_file(path: Path) -> set[str]:
    """Return the ids that can be worked on, told from the file alone."""
    issues = {record["id"]: record for record in map(json.loads, path.read_text("utf-8").splitlines())}
    open_ = {id for id, record in issues.items() if record["status"] != "closed"}
    edges = [edge for record in issues.values() for edge in record.get("dependencies", [])]
    waits = {edge["issue_id"] for edge in edges if edge["type"] == "blocks" and edge["depends_on_id"] in open_}
    parents = {edge["issue_id"]: edge["depends_on_id"] for edge in edges if edge["type"] == "parent-child"}

    def line(id: str) -> list[str]:
        return [id, *(line(parents[id]) if id in parents and parents[id] in open_ else [])]

    return {id for id in open_ if not waits.intersection(line(id))}


def edges_in_file(path: Path) -> Counter[str]:
    words = {"parent-child": "parent", "related": "relates"}
    found: Counter[str] = Counter()
    for record in map(json.loads, path.read_text("utf-8").splitlines()):
        types = [edge["type"] for edge in record.get("dependencies", [])]
        found.update(words.get(each, each.replace("-", "_")) for each in types)
        found.update({"duplicates": "duplicate_of" in record, "relates": "superseded_by" in record})
    return +found


async def test_every_issue_and_every_link_arrives_and_ready_is_what_the_file_says(
    box: Sandbox, bring: Callable[..., Any], issues: Path
) -> None:
    count = len(issues.read_text("utf-8").splitlines())
    started = time.perf_counter()
    report = await bring(path=str(issues))
    seconds = time.perf_counter() - started
    assert seconds < 10, "0.3 s on a quiet machine"
    edges = edges_in_file(issues)
    assert (report["created"], report["links"]) == (count, edges.total())
    assert report["skipped"] == report["unresolved"] == report["refused_links"] == report["left_out"] == []
    with box.tx() as tx:
        rows = tx.rows("SELECT json_extract(meta, '$.source.id'), id, source, key FROM planning_tasks")
        kinds = tx.rows("SELECT kind, count(*) FROM planning_links GROUP BY kind")
    assert len({id for id, *_ in rows}) == count
    assert all(source == f"beads:{id}" for id, _, source, _ in rows)
    assert {key for *_, key in rows} == {f"{report['project']}-{number}" for number in range(1, count + 1)}
    assert Counter(dict(kinds)) == edges
    ids = {task: id for id, task, *_ in rows}
    ready = box.call("planning.ready", limit=10_000)
    assert {ids[item["id"]] for item in ready["items"]} == ready_in_file(issues)
    assert ready["total"] > 10


async def test_the_same_file_again_changes_nothing(box: Sandbox, bring: Callable[..., Any], issues: Path) -> None:
    first = await bring(path=str(issues))
    said = len(box.events)
    second = await bring(path=str(issues))
    assert second == {**first, "created": 0, "unchanged": first["created"], "links_created": 0}
    assert len(box.events) == said
    assert [each["name"] for each in box.call("planning.projects.list")["items"]] == [report_name(issues)]


def report_name(issues: Path) -> str:
    return json.loads(issues.read_text("utf-8").splitlines()[0])["id"].rpartition("-")[0]


async def test_one_undo_takes_back_all_of_an_import(box: Sandbox, bring: Callable[..., Any], issues: Path) -> None:
    first = await bring(path=str(issues))
    undone = box.undo()
    assert len(undone) == first["created"] + first["links_created"] + 1
    assert box.call("planning.tasks.list")["items"] == box.call("planning.projects.list")["items"] == []
    assert box.call("planning.links.list")["items"] == []
    again = await bring(path=str(issues))
    assert (again["created"], again["links"]) == (first["created"], first["links"])


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    box: Sandbox, bring: Callable[..., Any], issues: Path
) -> None:
    dry = await bring(path=str(issues), dry_run=True)
    assert box.events == []
    assert box.call("planning.projects.list")["items"] == []
    assert await bring(path=str(issues)) == {**dry, "dry_run": False}


async def test_progress_is_reported(box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any]) -> None:
    await bring(issue("a-1"))
    assert [(each.done, each.total) for each in box.progress] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [each.message.split()[0] for each in box.progress] == ["reading", "parsing", "writing", "done"]


async def test_what_a_task_holds_of_an_issue(
    bring: Callable[..., Any], find: Callable[[str], Any], issue: Callable[..., Any]
) -> None:
    await bring(
        issue(
            "bd-1",
            "One",
            status="closed",
            priority=0,
            issue_type="bug",
            description="Text",
            labels=["x", "y"],
            assignee="ilse",
            estimated_minutes=90,
            created_at="2026-10-01T08:00:00Z",
            updated_at="2026-10-02T08:00:00Z",
            closed_at="2026-10-03T08:00:00+02:00",
            design="by hand",
        )
    )
    task = find("One")
    assert task["key"] == "BD-1"
    assert task["source"] == "beads:bd-1"
    assert task["origin"] == "import:beads"
    assert (task["status"], task["priority"], task["kind"]) == ("done", "urgent", "bug")
    assert task["description"] == "Text"
    assert task["tags"] == ["x", "y"]
    assert task["assignee"] == "ilse"
    assert task["estimate"]["likely"] == 90
    assert task["created_at"] == "2026-10-01T08:00:00.000Z"
    assert task["completed_at"] == "2026-10-03T06:00:00.000Z"
    source = task["meta"]["source"]
    assert (source["format"], source["id"], source["unknown"]) == ("beads", "bd-1", {"design": "by hand"})
    assert source["read"]["updated_at"] == "2026-10-02T08:00:00.000Z"


async def test_links_of_all_kinds_stand_the_right_way_round(
    bring: Callable[..., Any], links: Callable[[], Any], issue: Callable[..., Any], waits_for: Callable[..., Any]
) -> None:
    report = await bring(
        issue("a-1", dependencies=waits_for("a-1", "a-2")),
        issue("a-2", dependencies=waits_for("a-2", "a-3", kind="parent-child")),
        issue("a-3", dependencies=waits_for("a-3", "a-1", kind="discovered-from")),
        issue("a-4", dependencies=waits_for("a-4", "a-1", kind="related"), duplicate_of="a-2"),
    )
    assert report["links"] == report["links_created"] == 5
    assert links() >= {
        ("a-2", "blocks", "a-1"),
        ("a-3", "parent", "a-2"),
        ("a-3", "discovered_from", "a-1"),
        ("a-4", "duplicates", "a-2"),
    }
    assert {("a-1", "relates", "a-4"), ("a-4", "relates", "a-1")} & links()


async def test_links_to_what_is_not_there_are_told_and_made_when_it_comes(
    box: Sandbox,
    bring: Callable[..., Any],
    links: Callable[[], Any],
    issue: Callable[..., Any],
    waits_for: Callable[..., Any],
) -> None:
    first = issue("a-1", dependencies=waits_for("a-1", "a-2"))
    report = await bring(first)
    assert report["unresolved"] == [{"id": "a-1", "kind": "blocks", "target": "a-2"}]
    assert (report["links"], links()) == (0, set())
    exported = box.call("planning.export", format="beads")["text"]
    assert json.loads(exported) == first
    report = await bring(first, issue("a-2"))
    assert (report["unresolved"], report["links"]) == ([], 1)
    assert links() == {("a-2", "blocks", "a-1")}


async def test_a_link_to_a_task_of_an_earlier_import_is_made(
    bring: Callable[..., Any], links: Callable[[], Any], issue: Callable[..., Any], waits_for: Callable[..., Any]
) -> None:
    await bring(issue("a-1"))
    report = await bring(issue("a-2", dependencies=waits_for("a-2", "a-1")))
    assert (report["created"], report["links"], links()) == (1, 1, {("a-1", "blocks", "a-2")})


async def test_a_ring_is_refused_and_told_and_all_else_comes_in(
    box: Sandbox,
    bring: Callable[..., Any],
    links: Callable[[], Any],
    issue: Callable[..., Any],
    waits_for: Callable[..., Any],
) -> None:
    records = [
        issue("a-1", dependencies=waits_for("a-1", "a-3")),
        issue("a-2", dependencies=waits_for("a-2", "a-1")),
        issue("a-3", dependencies=waits_for("a-3", "a-2")),
        issue("a-4", dependencies=waits_for("a-4", "a-4")),
    ]
    report = await bring(*records)
    assert report["created"] == 4
    assert links() == {("a-3", "blocks", "a-1"), ("a-1", "blocks", "a-2")}
    itself, ring = report["refused_links"]
    assert itself == {"id": "a-4", "kind": "blocks", "target": "a-4", "cycle": ["a-4", "a-4"]}
    assert (ring["id"], ring["target"]) == ("a-3", "a-2")
    assert sorted(ring["cycle"][1:]) == ["a-1", "a-2", "a-3"]
    assert [json.loads(line) for line in box.call("planning.export", format="beads")["text"].splitlines()] == records
    again = await bring(*records)
    assert (again["unchanged"], len(again["refused_links"])) == (4, 2)


async def test_a_ring_with_a_link_made_here_names_the_key_of_the_task(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any], waits_for: Callable[..., Any]
) -> None:
    await bring(issue("a-1"), issue("a-2"))
    box.call("planning.tasks.create", title="own")
    for source, target in (("BEADS-1", "TASK-1"), ("TASK-1", "BEADS-2")):
        box.call("planning.link", source=source, target=target, kind="blocks")
    report = await bring(issue("a-1", dependencies=waits_for("a-1", "a-2")), issue("a-2"))
    assert "TASK-1" in report["refused_links"][0]["cycle"]


async def test_any_status_comes_in(
    bring: Callable[..., Any], find: Callable[[str], Any], issue: Callable[..., Any]
) -> None:
    words = {"open": "todo", "in_progress": "doing", "deferred": "backlog", "closed": "done", "tombstone": "dropped"}
    await bring(*(issue(f"a-{word}", word, status=word, updated_at="2026-01-01T00:00:00Z") for word in words))
    assert {word: find(word)["status"] for word in words} == words
    assert find("closed")["completed_at"] == "2026-01-01T00:00:00.000Z"
    assert find("open")["completed_at"] is None


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("beads-small.jsonl", None),
        ("taskwarrior-small.json", "TW"),
        ("github-small.json", None),
        ("github-cli-small.json", None),
        ("vtodo-small.ics", "VTODOSMALL"),
        ("checklist-small.md", "CHECKLIST"),
    ],
)
async def test_each_format_is_told_by_its_text_and_named_after_its_file(
    box: Sandbox, bring: Callable[..., Any], examples: Path, name: str, project: str | None
) -> None:
    report = await bring(path=str(examples / name))
    assert report["created"] > 1
    assert project in {None, report["project"]}
    again = await bring(path=str(examples / name))
    assert (again["unchanged"], again["created"], again["updated"]) == (report["created"], 0, 0)
    assert again["project"] == report["project"]
    assert len(box.call("planning.projects.list")["items"]) == 1


async def test_a_given_project_is_used_by_key_and_by_id(
    box: Sandbox, bring: Callable[..., Any], find: Callable[[str], Any], issue: Callable[..., Any]
) -> None:
    plan = box.call("planning.projects.create", name="Plan", key="PLAN")
    assert (await bring(issue("a-1"), project="plan"))["project"] == "PLAN"
    assert (await bring(issue("a-2"), project=plan["id"]))["project"] == "PLAN"
    assert (find("a-1")["key"], find("a-2")["key"]) == ("PLAN-1", "PLAN-2")
    assert (await bring(issue("a-1"), issue("a-3")))["project"] == "PLAN"
    assert find("a-3")["key"] == "PLAN-3"


async def test_a_key_that_is_taken_gets_a_number(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any]
) -> None:
    box.call("planning.projects.create", name="Mine", key="BD")
    assert (await bring(issue("bd-1")))["project"] == "BD2"
    assert (await bring(issue("task-1")))["project"] == "TASK2"


async def test_bare_issue_numbers_of_two_projects_are_two_issues(box: Sandbox, bring: Callable[..., Any]) -> None:
    for key in ("ONE", "TWO"):
        box.call("planning.projects.create", name=key, key=key)
        text = json.dumps([{"number": 12, "title": f"Of {key}", "state": "OPEN"}])
        assert (await bring(text=text, format="github", project=key))["created"] == 1
    assert [item["title"] for item in box.call("planning.tasks.list")["items"]] == ["Of ONE", "Of TWO"]
    exported = json.loads(box.call("planning.export", format="github")["text"])
    assert len({record["number"] for record in exported}) == 2
    assert json.loads(box.call("planning.export", format="github", project="TWO")["text"])[0]["number"] == 12


async def test_a_checklist_is_the_same_one_wherever_its_repository_lies(
    box: Sandbox, bring: Callable[..., Any], tmp_path: Path
) -> None:
    box.call("planning.projects.create", name="Plan", key="PLAN")
    for place in ("here", "there"):
        (tmp_path / place / ".git").mkdir(parents=True)
        (tmp_path / place / "docs").mkdir()
        (tmp_path / place / "docs" / "todo.md").write_text("- [ ] one\n- [x] two\n", "utf-8")
    first = await bring(path=str(tmp_path / "here" / "docs" / "todo.md"), project="PLAN")
    second = await bring(path=str(tmp_path / "there" / "docs" / "todo.md"), project="PLAN")
    assert (first["created"], second["created"], second["unchanged"]) == (2, 0, 2)


async def test_two_checklists_of_the_same_name_are_two(box: Sandbox, bring: Callable[..., Any], tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "todo.md").write_text("- [ ] one\n", "utf-8")
        assert (await bring(path=str(tmp_path / place / "todo.md")))["created"] == 1
    assert [each["key"] for each in box.call("planning.projects.list")["items"]] == ["TODO", "TODO2"]


async def test_what_a_task_cannot_hold_is_told_and_written_back(
    box: Sandbox, bring: Callable[..., Any], find: Callable[[str], Any], issue: Callable[..., Any]
) -> None:
    record = issue("a-1", "One", assignee="x" * 201, labels=["ok", "y" * 101])
    report = await bring(record)
    assert {each["field"] for each in report["left_out"]} == {"assignee", "tags"}
    assert (find("One")["assignee"], find("One")["tags"]) == (None, ["ok"])
    assert json.loads(box.call("planning.export", format="beads")["text"]) == record


async def test_fields_too_large_to_keep_are_named(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any]
) -> None:
    record = issue("a-1", notes="x" * 70_000, design="kept")
    report = await bring(record)
    assert report["left_out"] == [
        {"id": "a-1", "field": "notes", "reason": "it is too large to keep, and is not written back"}
    ]
    del record["notes"]
    assert json.loads(box.call("planning.export", format="beads")["text"]) == record


async def test_an_estimate_does_not_come_into_a_project_of_points(
    box: Sandbox, bring: Callable[..., Any], find: Callable[[str], Any], issue: Callable[..., Any]
) -> None:
    box.call("planning.projects.create", name="Points", key="PTS", unit="points")
    record = issue("a-1", estimated_minutes=60)
    report = await bring(record, project="PTS")
    assert [each["field"] for each in report["left_out"]] == ["estimate"]
    assert find("a-1")["estimate"] is None
    assert json.loads(box.call("planning.export", format="beads")["text"]) == record


async def test_a_recurrence_comes_in_and_goes_out(
    box: Sandbox, bring: Callable[..., Any], find: Callable[[str], Any]
) -> None:
    lines = ["BEGIN:VTODO", "UID:u-1", "DTSTAMP:20261101T000000Z", "SUMMARY:Water", "DUE;VALUE=DATE:20261102"]
    text = "\r\n".join(["BEGIN:VCALENDAR", *lines, "RRULE:FREQ=WEEKLY;BYDAY=MO,TH", "END:VTODO", "END:VCALENDAR", ""])
    await bring(text=text)
    task = find("Water")
    assert (task["due"], task["recurrence"]["mode"]) == ("2026-11-02", "fixed")
    assert "RRULE:FREQ=WEEKLY;BYDAY=MO,TH\r\n" in box.call("planning.export", format="vtodo")["text"]


async def test_20000_records_with_a_long_chain_come_in(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any], waits_for: Callable[..., Any]
) -> None:
    count = 20_000
    records = [issue(f"z-{i}", dependencies=waits_for(f"z-{i}", f"z-{i - 1}") if i else []) for i in range(count)]
    report = await bring(*reversed(records))
    assert (report["created"], report["links"]) == (count, count - 1)
    assert box.call("planning.ready")["total"] == 1


async def test_a_text_of_16_mib_comes_in(bring: Callable[..., Any], issue: Callable[..., Any]) -> None:
    assert (await bring(*(issue(f"a-{i}", description="x" * 900_000) for i in range(18))))["created"] == 18


async def test_records_read_elsewhere_come_in_by_the_same_rules(box: Sandbox) -> None:
    tasks = [
        {"id": "xy-1", "title": "One", "links": [{"kind": "blocks", "target": "xy-2"}]},
        {"id": "xy-2", "title": "Two"},
    ]
    report = box.call("planning.import_records", format="beads", tasks=tasks)
    assert (report["created"], report["links"], report["project"]) == (2, 1, "XY")
    assert box.call("planning.import_records", format="beads", tasks=tasks)["unchanged"] == 2
    assert box.call("planning.import_records", format="beads", tasks=[])["project"] is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sets no time zone for one process")
@pytest.mark.parametrize(("zone", "day"), [("Europe/Berlin", "2026-11-03"), ("UTC", "2026-11-02")])
def test_an_instant_is_due_on_the_day_it_has_here(zone: str, day: str) -> None:
    code = "from coder_plugins.planning.exchange.rules.mapping import day_of; print(day_of('2026-11-02T23:00:00.000Z'))"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "TZ": zone, "PYTHONPATH": paths}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == day
