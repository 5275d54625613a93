"""Importing again: what changed in the file comes, what was changed here stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from coder_local.testing.memory import Sandbox

Find = Callable[[str], dict[str, Any]]


async def test_what_changed_in_the_file_comes_and_what_was_changed_here_stays(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One", description="old", labels=["x"]))
    box.call("planning.tasks.update", id=find("One")["id"], priority="urgent", description="mine")
    report = await bring(issue("bd-1", "One more", description="old", labels=["x", "y"]))
    assert (report["updated"], report["unchanged"], report["created"]) == (1, 0, 0)
    task = find("One more")
    assert (task["priority"], task["description"], task["tags"]) == ("urgent", "mine", ["x", "y"])


async def test_where_both_changed_the_file_wins_and_history_keeps_the_other(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One", description="old"))
    id = find("One")["id"]
    box.call("planning.tasks.update", id=id, description="mine")
    await bring(issue("bd-1", "One", description="theirs"))
    assert find("One")["description"] == "theirs"
    changes = box.call("planning.tasks.history", id=id)["items"]
    assert {"field": "description", "before": "mine", "after": "theirs"} in changes[0]["fields"]


async def test_what_was_merged_is_not_brought_in_again(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any], waits_for: Callable[..., Any],
    links: Callable[[], set[tuple[str, str, str]]],
) -> None:  # fmt: skip
    file = [
        issue("bd-1", "One"),
        issue("bd-2", "Two", dependencies=waits_for("bd-2", "bd-1")),
        issue("bd-3", "Three", dependencies=waits_for("bd-3", "bd-2")),
        issue("bd-4", "Four"),
    ]
    await bring(*file)
    box.call("planning.tasks.create", title="Mine")
    box.call("planning.tasks.merge", ids=["BD-1", "BD-2"])
    assert links() == {("One", "blocks", "Three")}
    for _ in "ab":
        report = await bring(*file)
        assert (report["created"], report["updated"], report["unchanged"]) == (0, 0, 4)
        assert report["refused_links"] == report["unresolved"] == []
        assert links() == {("One", "blocks", "Three")}
    # One that was made here becomes the record that was merged into it; and merged once more, all are known.
    box.call("planning.tasks.merge", ids=["TASK-1", "BD-1", "BD-4"])
    report = await bring(issue("bd-1", "One", priority=0), *file[1:])
    assert (report["created"], report["updated"], report["unchanged"]) == (0, 1, 3)
    assert (find("Mine")["priority"], find("Mine")["source"]) == ("urgent", "beads:bd-1")
    assert links() == {("Mine", "blocks", "Three")}
    box.undo()
    box.undo()
    assert (await bring(*file))["unchanged"] == 4
    assert find("Four")["source"] == "beads:bd-4"


async def test_status_and_its_end_come_together(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    closed = issue("bd-1", "One", status="closed", closed_at="2026-10-01T00:00:00Z")
    await bring(closed)
    box.call("planning.tasks.reopen", id="BD-1")
    await bring({**closed, "description": "more"})
    assert (find("One")["status"], find("One")["completed_at"]) == ("todo", None)
    await bring({**closed, "closed_at": "2026-10-02T00:00:00Z"})
    assert (find("One")["status"], find("One")["completed_at"]) == ("done", "2026-10-02T00:00:00.000Z")


async def test_what_was_finished_here_stays_finished(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One"))
    box.call("planning.tasks.finish", id="BD-1")
    assert (await bring(issue("bd-1", "One")))["unchanged"] == 1
    assert find("One")["status"] == "done"


async def test_days_that_would_cross_come_together(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One", due_at="2026-12-01T12:00:00Z"))
    box.call("planning.tasks.update", id=find("One")["id"], wait_until="2026-11-28")
    await bring(issue("bd-1", "One", due_at="2026-11-20T12:00:00Z"))
    assert (find("One")["due"], find("One")["wait_until"]) == ("2026-11-20", None)


async def test_a_task_that_was_moved_stays_where_it_is(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One"))
    box.call("planning.projects.create", name="Other", key="OTHER")
    box.call("planning.tasks.move", id="BD-1", project="OTHER")
    project = find("One")["project"]
    await bring(issue("bd-1", "One", description="new"))
    assert (find("One")["project"], find("One")["key"]) == (project, "BD-1")


async def test_minutes_do_not_come_into_a_project_of_points(
    box: Sandbox, bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1", "One"))
    box.call("planning.projects.create", name="Other", key="OTHER", unit="points")
    box.call("planning.tasks.move", id="BD-1", project="OTHER")
    await bring(issue("bd-1", "One", estimated_minutes=90, description="new"))
    assert (find("One")["estimate"], find("One")["description"]) == (None, "new")


async def test_links_that_the_source_drops_go_and_others_stay(
    box: Sandbox,
    bring: Callable[..., Any],
    links: Callable[[], Any],
    issue: Callable[..., Any],
    waits_for: Callable[..., Any],
) -> None:
    def records(*others: str) -> list[dict[str, Any]]:
        return [issue("bd-1", dependencies=waits_for("bd-1", *others)), *(issue(f"bd-{i}") for i in (2, 3, 4))]

    await bring(*records("bd-2", "bd-3"))
    box.call("planning.link", source="BD-4", target="BD-1", kind="blocks")
    report = await bring(*records("bd-3"))
    assert (report["links_deleted"], report["links_created"], report["links"]) == (1, 0, 1)
    assert links() == {("bd-3", "blocks", "bd-1"), ("bd-4", "blocks", "bd-1")}
    # what a person made is not the source's to take away, even where it once said the same
    await bring(*records("bd-3", "bd-4"))
    assert (await bring(*records("bd-3")))["links_deleted"] == 0
    assert ("bd-4", "blocks", "bd-1") in links()


async def test_a_link_stated_at_both_ends_goes_only_when_neither_states_it(
    bring: Callable[..., Any], links: Callable[[], Any]
) -> None:
    def tasks(*stating: str) -> str:
        todo = "BEGIN:VTODO\r\nUID:{}\r\nDTSTAMP:20261101T000000Z\r\nSUMMARY:{}\r\n{}END:VTODO\r\n"
        child = "RELATED-TO:b\r\n" if "a" in stating else ""
        parent = "RELATED-TO;RELTYPE=CHILD:a\r\n" if "b" in stating else ""
        return f"BEGIN:VCALENDAR\r\n{todo.format('a', 'a', child)}{todo.format('b', 'b', parent)}END:VCALENDAR\r\n"

    assert (await bring(text=tasks("a", "b")))["links"] == 1
    assert (await bring(text=tasks("b")))["links_deleted"] == 0
    assert links() == {("b", "parent", "a")}
    assert (await bring(text=tasks()))["links_deleted"] == 1


async def test_a_link_taken_away_here_stays_away(
    box: Sandbox,
    bring: Callable[..., Any],
    links: Callable[[], Any],
    issue: Callable[..., Any],
    waits_for: Callable[..., Any],
) -> None:
    records = [issue("bd-1", dependencies=waits_for("bd-1", "bd-2")), issue("bd-2")]
    await bring(*records)
    box.call("planning.unlink", source="BD-2", target="BD-1", kind="blocks")
    assert (await bring(*records))["links_created"] == 0
    assert links() == set()
    exported = [json.loads(line) for line in box.call("planning.export", format="beads")["text"].splitlines()]
    assert "dependencies" not in exported[0]


async def test_a_task_that_was_deleted_here_comes_back_as_a_new_one(
    box: Sandbox,
    bring: Callable[..., Any],
    find: Find,
    links: Callable[[], Any],
    issue: Callable[..., Any],
    waits_for: Callable[..., Any],
) -> None:
    records = [issue("bd-1", dependencies=waits_for("bd-1", "bd-2")), issue("bd-2")]
    await bring(*records)
    box.call("planning.tasks.delete", id=find("bd-2")["id"])
    report = await bring(*records)
    assert (report["created"], report["links_created"]) == (1, 1)
    assert find("bd-2")["key"] == "BD-3"
    assert links() == {("bd-2", "blocks", "bd-1")}


async def test_what_is_gone_from_the_file_stays(
    bring: Callable[..., Any], find: Find, issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1"), issue("bd-2"))
    await bring(issue("bd-2"))
    assert find("bd-1")["status"] == "todo"


async def test_tasks_made_here_go_out_and_come_back_as_the_same_ones(
    box: Sandbox, bring: Callable[..., Any], find: Find, links: Callable[[], Any]
) -> None:
    box.call("planning.projects.create", name="Plan", key="PLAN")
    for title in ("one", "two"):
        box.call("planning.tasks.create", title=title, project="PLAN", priority="high", due="2026-12-01", tags=["x"])
    box.call("planning.tasks.create", title="later", project="PLAN", status="backlog")
    box.call("planning.link", source="PLAN-1", target="PLAN-2", kind="parent")
    before = {title: find(title) for title in ("one", "two", "later")}
    for format in ("beads", "taskwarrior", "github", "vtodo", "markdown"):
        text = box.call("planning.export", format=format, project="PLAN")["text"]
        report = await bring(text=text, format=format, project="PLAN")
        assert (report["created"], report["links_created"], report["links_deleted"]) == (0, 0, 0), format
        for title, task in before.items():
            kept = {
                name: value
                for name, value in find(title).items()
                if name not in {"rev", "updated_at", "meta", "source"}
            }
            assert kept == {name: task[name] for name in kept}, format
    text = box.call("planning.export", format="markdown", project="PLAN")["text"]
    await bring(text=text.replace("- [ ] later", "- [x] later"), format="markdown", project="PLAN")
    assert (find("later")["status"], find("one")["priority"]) == ("done", "high")
    assert links() == {("one", "parent", "two")}
