"""Giving tasks back to other tools: what nobody changed goes out as it came in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from coder_local.api import Conflict, Invalid, NotFound
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.formats import FORMATS
from coder_plugins.planning.links.records import LinkKind


async def test_what_nobody_changed_goes_out_as_it_came_in(
    box: Sandbox, bring: Callable[..., Any], issues: Path
) -> None:
    report = await bring(path=str(issues))
    answer = box.call("planning.export", format="beads", project=report["project"])
    assert (answer["format"], answer["count"]) == ("beads", report["created"])
    found = [json.loads(line) for line in answer["text"].splitlines()]
    assert found == [json.loads(line) for line in issues.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    "name",
    ["taskwarrior-small.json", "github-small.json", "github-cli-small.json", "vtodo-small.ics", "checklist-small.md"],
)
async def test_every_format_comes_back_as_it_went_in(
    box: Sandbox, bring: Callable[..., Any], examples: Path, name: str
) -> None:
    text = (examples / name).read_bytes().decode()
    format = (await bring(path=str(examples / name)))["format"]
    parse = FORMATS[format].parse
    exported = box.call("planning.export", format=format)["text"]
    # the pure round trip of a format is tested with the format; here nothing may be lost between the two ends
    assert exported == FORMATS[format].render(parse(text, source=f"docs/examples/{name}").tasks)


@pytest.mark.parametrize("format", sorted(FORMATS))
async def test_all_tasks_can_go_out_in_any_format(
    box: Sandbox, bring: Callable[..., Any], issues: Path, format: str
) -> None:
    report = await bring(path=str(issues))
    answer = box.call("planning.export", format=format)
    parsed = FORMATS[format].parse(answer["text"])
    assert parsed.faults == []
    assert len(parsed.tasks) == answer["count"] == report["created"]
    kinds = {"parent"} if format == "markdown" else set(get_args(LinkKind))
    stated = {link.kind for task in parsed.tasks for link in task.links}
    assert stated <= kinds
    assert {"parent"} <= stated


async def test_what_was_changed_here_is_changed_there(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any], waits_for: Callable[..., Any]
) -> None:
    times = {"created_at": "2026-10-01T08:00:00+02:00", "updated_at": "2026-10-01T08:00:00+02:00"}
    records = [
        issue("bd-1", "One", **times, design="kept", dependencies=waits_for("bd-1", "bd-2")),
        issue("bd-2", "Two", **times, due_at="2026-12-01T17:30:00+01:00"),
        issue("bd-3", "Three", **times),
    ]
    await bring(*records)
    (id,) = [item["id"] for item in box.call("planning.tasks.list")["items"] if item["title"] == "Two"]
    box.call("planning.tasks.update", id=id, title="Two!", priority="urgent")
    box.call("planning.unlink", source="BD-2", target="BD-1", kind="blocks")
    box.call("planning.link", source="BD-3", target="BD-1", kind="blocks")
    box.call("planning.tasks.finish", id="BD-3")
    one, two, three = (json.loads(line) for line in box.call("planning.export", format="beads")["text"].splitlines())
    now = box.snapshot().now()
    assert one == {**records[0], "updated_at": now, "dependencies": waits_for("bd-1", "bd-3")}
    assert two == {**records[1], "updated_at": now, "title": "Two!", "priority": 0}
    assert three == {**records[2], "updated_at": now, "status": "closed", "closed_at": now}


async def test_a_project_goes_out_alone_with_its_links_to_others(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any]
) -> None:
    await bring(issue("bd-1"))
    box.call("planning.projects.create", name="Plan", key="PLAN")
    box.call("planning.tasks.create", title="own", project="PLAN")
    box.call("planning.link", source="BD-1", target="PLAN-1", kind="blocks")
    (own,) = (
        json.loads(line) for line in box.call("planning.export", format="beads", project="PLAN")["text"].splitlines()
    )
    assert [(edge["depends_on_id"], edge["type"]) for edge in own["dependencies"]] == [("bd-1", "blocks")]
    assert own["coder_local"]["project"]["meant"] == "Plan"


async def test_a_task_moved_to_another_project_says_so(box: Sandbox, bring: Callable[..., Any]) -> None:
    text = json.dumps(
        [{"uuid": "6f1c3b0e-54d1-4f0a-9a3b-0d6d0e7b7a11", "description": "One", "status": "pending", "project": "old"}]
    )
    await bring(text=text)
    assert json.loads(box.call("planning.export", format="taskwarrior")["text"])[0]["project"] == "old"
    box.call("planning.projects.create", name="New", key="NEW")
    box.call("planning.tasks.move", id=box.call("planning.tasks.list")["items"][0]["key"], project="NEW")
    assert json.loads(box.call("planning.export", format="taskwarrior")["text"])[0]["project"] == "New"


async def test_nothing_goes_out_as_an_empty_text(box: Sandbox) -> None:
    assert box.call("planning.export", format="beads") == {"format": "beads", "text": "", "count": 0}
    with pytest.raises(NotFound, match="no project 'NONE'"):
        box.call("planning.export", format="beads", project="NONE")


async def test_a_file_is_written_once_and_replaced_only_when_told(
    box: Sandbox, bring: Callable[..., Any], issue: Callable[..., Any], tmp_path: Path
) -> None:
    await bring(issue("bd-1", "Löwe"))
    path = tmp_path / "out.jsonl"
    answer = await box.acall("planning.export_file", format="beads", path=str(path))
    assert answer == {"format": "beads", "path": str(path), "count": 1, "bytes": path.stat().st_size}
    assert json.loads(path.read_text("utf-8"))["title"] == "Löwe"
    path.write_text("mine", "utf-8")
    with pytest.raises(Conflict) as caught:
        await box.acall("planning.export_file", format="beads", path=str(path))
    assert (caught.value.field, path.read_text("utf-8")) == ("/path", "mine")
    await box.acall("planning.export_file", format="beads", path=str(path), overwrite=True)
    assert path.read_text("utf-8").startswith("{")
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_file_that_cannot_be_written_says_why(box: Sandbox, tmp_path: Path, overwrite: bool) -> None:
    async def write(path: str) -> None:
        await box.acall("planning.export_file", format="beads", path=path, overwrite=overwrite)

    with pytest.raises(Invalid, match="relative path"):
        await write("out.jsonl")
    with pytest.raises(Invalid, match="is a folder"):
        await write(str(tmp_path))
    with pytest.raises(NotFound, match="there is no folder for"):
        await write(str(tmp_path / "none" / "out.jsonl"))
    assert list(tmp_path.iterdir()) == []
