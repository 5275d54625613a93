"""What an import refuses, and how it says so: nothing is written, and every fault is named."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Error, Invalid, NotFound, Refused, TooLarge
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.exchange.records import MOST_BYTES

Bring = Callable[..., Any]


async def failure(bring: Bring, kind: type[Error], **input: Any) -> Error:
    with pytest.raises(kind) as caught:
        await bring(**input)
    return caught.value


async def test_a_wrong_format_gets_the_nearest_name(bring: Bring) -> None:
    error = await failure(bring, Invalid, format="markdwon", text="- [ ] a")
    assert (error.field, error.hint) == ("/format", "did you mean markdown?")


async def test_path_and_text_exclude_each_other(bring: Bring) -> None:
    assert (await failure(bring, Invalid, path="/a", text="b")).field == "/text"
    assert "nothing to import" in (await failure(bring, Invalid)).message


async def test_a_text_that_tells_no_format_asks_for_it(bring: Bring) -> None:
    error = await failure(bring, Invalid, text="hello")
    assert error.field == "/format"
    assert "taskwarrior" in (error.hint or "")


async def test_an_unknown_project_is_named(box: Sandbox, bring: Bring, issue: Callable[..., Any]) -> None:
    error = await failure(bring, NotFound, format="beads", text=json.dumps(issue("a-1")), project="NONE")
    assert error.field == "/project"
    assert box.events == []


async def test_a_relative_path_is_refused_with_an_example(bring: Bring) -> None:
    error = await failure(bring, Invalid, path="issues.jsonl")
    assert error.field == "/path"
    assert Path((error.hint or "").removeprefix("give the whole path, like ")).is_absolute()


async def test_a_path_that_is_no_readable_file_is_told(bring: Bring, tmp_path: Path) -> None:
    assert "no file" in (await failure(bring, NotFound, path=str(tmp_path / "none.jsonl"))).message
    assert "is a folder" in (await failure(bring, Invalid, path=str(tmp_path))).message
    assert (await failure(bring, Invalid, path=str(tmp_path / "a\0b"))).field == "/path"
    assert (await failure(bring, Error, path=str(tmp_path / ("x" * 3_000)))).field == "/path"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in its file system")
async def test_a_pipe_is_refused_and_does_not_hold_a_thread(bring: Bring, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in (await failure(bring, Invalid, path=str(tmp_path / "pipe"))).message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions bind")
async def test_a_file_of_somebody_else_is_refused(bring: Bring, tmp_path: Path) -> None:
    path = tmp_path / "secret.jsonl"
    path.touch(mode=0o000)
    assert (await failure(bring, Refused, path=str(path))).field == "/path"


async def test_a_file_that_is_too_large_is_not_read(bring: Bring, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    error = await failure(bring, TooLarge, path=str(path))
    assert error.data == {"limit": MOST_BYTES}


@pytest.mark.parametrize(("content", "message"), [(b"ok\n\x80\xff", "line 2"), (b"a\nb\0c", "NUL (line 2)")])
async def test_a_file_that_is_no_text_is_refused(bring: Bring, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "binary.md"
    path.write_bytes(content)
    assert message in (await failure(bring, Invalid, path=str(path))).message


async def test_nul_in_a_text_is_refused(bring: Bring) -> None:
    assert (await failure(bring, Invalid, format="markdown", text="- [ ] a\0b")).field == "/text"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_a_file_with_a_byte_order_mark_is_read(
    bring: Bring, find: Callable[[str], Any], issue: Callable[..., Any], tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "issues.jsonl"
    path.write_text(json.dumps(issue("a-1", "Löwe"), ensure_ascii=False), encoding)
    assert (await bring(path=str(path)))["created"] == 1
    assert find("Löwe")["source"] == "beads:a-1"


async def test_faults_are_all_named_with_their_lines_and_nothing_is_written(
    box: Sandbox, bring: Bring, issue: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "issues.jsonl"
    early = issue("a-5", due_at="2026-11-01T12:00:00Z", defer_until="2026-11-10T12:00:00Z")
    lines = [issue("a-1"), "no json", {**issue("a-3"), "priority": 9}, {**issue("a-1"), "title": ""}, early]
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    error = await failure(bring, Invalid, path=str(path))
    messages = [fault["message"] for fault in error.data["faults"]]
    assert [message.partition(":")[0] for message in messages] == ["line 2", "line 3", "line 4", "line 4", "a-5"]
    assert messages[1].startswith("line 3: /priority: ")
    assert "before its start" in messages[-1]
    assert {fault["field"] for fault in error.data["faults"]} == {"/path"}
    assert "skip_faults" in (error.hint or "")
    assert box.events == []
    report = await bring(path=str(path), skip_faults=True)
    assert report["created"] == 1
    assert [each["line"] for each in report["skipped"]] == [2, 3, 4, 4, 0]
    assert report["skipped"][-1]["id"] == "a-5"


async def test_many_faults_are_counted(bring: Bring) -> None:
    error = await failure(bring, Invalid, format="beads", text="no json\n" * 5_000)
    assert error.data["count"] == 5_000
    assert len(error.data["faults"]) == 1_000


async def test_an_endless_recurrence_of_years_is_refused(bring: Bring) -> None:
    def text(rule: str, start: str) -> str:
        lines = ["UID:u-1", "DTSTAMP:20261101T000000Z", "SUMMARY:Water", f"DUE;VALUE=DATE:{start}", f"RRULE:{rule}"]
        return "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VTODO", *lines, "END:VTODO", "END:VCALENDAR", ""])

    error = await failure(bring, Invalid, text=text("FREQ=DAILY", "20150101"))
    assert "more than 1000" in error.message
    assert "UNTIL" in (error.hint or "")
    assert (await bring(text=text("FREQ=DAILY;COUNT=5000", "20150101")))["created"] == 1
    assert (await bring(text=text("FREQ=DAILY", "20261101")))["updated"] == 1


async def test_records_read_elsewhere_are_held_to_the_same_rules(box: Sandbox) -> None:
    good = {"id": "a", "title": "A"}
    bad = [
        good,
        {"id": "a", "title": "again"},
        {"id": "", "title": "x"},
        {"id": "b", "title": "x" * 301},
        {"id": "c", "title": "c", "due": "tomorrow", "created_at": "2026-01-01"},
        {"id": "d", "title": "d", "description": "x" * 1_000_001},
    ]
    with pytest.raises(Invalid) as caught:
        box.call("planning.import_records", format="beads", tasks=bad)
    assert [fault["message"].partition(":")[0] for fault in caught.value.data["faults"]] == [
        "a record", "b", "c", "c", "d", "a",
    ]  # fmt: skip
    report = box.call("planning.import_records", format="beads", tasks=bad, skip_faults=True)
    assert (report["created"], len(report["skipped"])) == (1, 6)
    assert [item["title"] for item in box.call("planning.tasks.list")["items"]] == ["A"]


async def test_an_empty_file_brings_nothing_and_makes_no_project(box: Sandbox, bring: Bring, tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    report = await bring(path=str(path))
    assert (report["created"], report["project"]) == (0, None)
    assert box.events == []


async def test_an_agent_may_import_within_its_grant_and_its_undo_is_its_own(
    box: Sandbox, issue: Callable[..., Any]
) -> None:
    agent = box.as_agent("helper")
    await agent.acall("planning.import", format="beads", text=json.dumps(issue("a-1")))
    with pytest.raises(NotFound):
        box.undo()
    assert len(agent.undo()) == 2
