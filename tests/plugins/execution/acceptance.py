"""What may be asked of runs, written against any door.

Each example is a function of `call(name, **input)`, which returns an answer as plain data and raises an error with
`kind`, `field`, `hint` and `data`, of `until(id, *statuses)`, which waits for a run, and of a folder to work in.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
ENDS = ("succeeded", "failed", "cancelled", "timed_out")


def agreeing(call: Call) -> Call:
    """Return a call that confirms as the person would when asked to."""

    def confirmed(name: str, /, **input: Any) -> Any:
        try:
            return call(name, **input)
        except Exception as error:
            if getattr(error, "kind", None) != "needs_confirmation":
                raise
            data: Any = getattr(error, "data", None)
            return call(name, **input, confirm=data["confirm"])

    return confirmed


def failure(call: Call, wanted: str, name: str, /, **input: Any) -> Any:
    """Return the error that a call ends with, of that kind."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each door has its own class; the kind is what matters
        call(name, **input)
    assert getattr(caught.value, "kind", None) == wanted, caught.value
    return caught.value


def step(key: str, kind: str, input: dict[str, Any], needs: str = "", **more: Any) -> dict[str, Any]:
    return {"key": key, "kind": kind, "input": input, "needs": needs.split(), **more}


def signal(key: str, needs: str = "") -> dict[str, Any]:
    return step(key, "signal", {"name": "go"}, needs)


def statuses(call: Call, id: str) -> dict[str, str]:
    return {each["key"]: each["status"] for each in call("execution.runs.get", id=id)["steps"]}


def start(call: Call, *steps: dict[str, Any], **options: Any) -> str:
    return call("execution.start", steps=list(steps), **options)["run"]["id"]


def example_start_and_get(call: Call, until: Call, folder: Path) -> None:
    title = uuid.uuid4().hex
    make = {"operation": "planning.tasks.create", "input": {"title": "${{ inputs.title }}"}}
    find = {"operation": "planning.tasks.get", "input": {"id": "${{ steps.make.output.id }}"}}
    steps = [
        step("make", "operation", make), step("find", "operation", find, "make"),
        step("write", "file_edit", {"path": "notes/x.txt", "content": "${{ steps.find.output.title }}\n"}, "find"),
        step("each", "map", {"over": [1, 2], "kind": "timer", "input": {"duration": "PT0S"}}),
    ]  # fmt: skip
    options = {"inputs": {"title": title}, "folder": str(folder)}
    checked = call("execution.check", steps=steps, **options)
    assert (checked["ok"], checked["safety"]) == (True, "destructive")
    id = start(call, *steps, name="an example", approved_hash=checked["hash"], **options)
    assert until(id, *ENDS) == "succeeded"
    assert (folder / "notes" / "x.txt").read_text() == f"{title}\n"
    view = call("execution.runs.get", id=id)
    assert (view["run"]["name"], view["run"]["definition"], view["counts"]) == (
        "an example", checked["hash"], {"succeeded": 6},
    )  # fmt: skip
    found = call("execution.steps.get", run=id, step="find")
    assert found["step"]["output"]["title"] == title
    assert [each["state"] for each in found["attempts"]] == ["done"]
    recorded = call("execution.runs.record", id=id)
    assert [each["step"]["key"] for each in recorded["steps"]] == [
        "make",
        "find",
        "write",
        "each",
        "each[1]",
        "each[2]",
    ]
    assert call("execution.runs.definition", id=id)["steps"][0]["key"] == "make"
    assert id in {each["id"] for each in call("execution.runs.list", status="succeeded", limit=200)["items"]}
    estimate = call("execution.estimate", steps=steps, inputs={"title": title})
    assert estimate["unknown"] == ["each"] or estimate["unknown"] == []


def example_refused(call: Call, until: Call, folder: Path) -> None:
    before = call("execution.runs.list", limit=1)["items"]
    error = failure(
        call, "invalid", "execution.start", steps=[step("a", "operation", {"operation": "planning.task.create"})]
    )
    assert error.field == "/steps/0/input/operation"
    assert "planning.tasks.create" in error.hint
    error = failure(call, "conflict", "execution.start", steps=[signal("a", "b"), signal("b", "a")])
    assert (error.field, error.data["cycle"][0], len(error.data["cycle"])) == ("/steps", error.data["cycle"][-1], 3)
    token = "ghp_" + "a1B2" * 9
    error = failure(call, "refused", "execution.start", steps=[step("a", "file_edit", {"path": "x", "content": token})])
    assert error.field == "/steps/0/input/content"
    assert token not in str(vars(error))
    error = failure(call, "invalid", "execution.start", steps=[step("a", "timer", {"duration": "PT1S"}, retires=1)])
    assert error.field == "/steps/0/retires"
    assert call("execution.runs.list", limit=1)["items"] == before


def example_cancel(call: Call, until: Call, folder: Path) -> None:
    id = start(call, signal("a"), signal("b", "a"))
    assert call("execution.runs.cancel", id=id)["run"]["status"] == "cancelled"
    assert statuses(call, id) == {"a": "cancelled", "b": "cancelled"}
    error = failure(call, "conflict", "execution.runs.cancel", id=id)
    assert error.data["status"] == "cancelled"


def example_approve(call: Call, until: Call, folder: Path) -> None:
    ask = {"prompt": "Do it?", "shown": {"lines": 3}}
    id = start(call, step("ok", "approval", ask), step("t", "timer", {"duration": "PT0S"}, "ok"))
    (wait,) = call("execution.waits.list", run=id, kind="approval")["items"]
    assert (wait["prompt"], wait["shown"], wait["status"]) == ("Do it?", {"lines": 3}, "open")
    error = failure(call, "refused", "execution.approvals.approve", id=wait["id"], shown_hash="0" * 64)
    assert error.field == "/shown_hash"
    answer = call("execution.approvals.approve", id=wait["id"], shown_hash=wait["shown_hash"], payload={"note": "x"})
    assert (answer["approval"]["decision"], answer["approval"]["decided_by"]) == ("approve", "user")
    assert until(id, *ENDS) == "succeeded"
    error = failure(call, "conflict", "execution.approvals.reject", id=wait["id"])
    assert error.data["decision"] == "approve"


def example_reject(call: Call, until: Call, folder: Path) -> None:
    id = start(call, step("ok", "approval", {"prompt": "?"}))
    (wait,) = call("execution.runs.get", id=id)["waits"]
    assert call("execution.approvals.reject", id=wait["id"])["run"]["status"] == "failed"


def example_signal(call: Call, until: Call, folder: Path) -> None:
    id = start(call, signal("a"), step("b", "signal", {"name": "then"}, "a"))
    early = call("execution.runs.signal", id=id, name="then", payload=[1], dedupe_key="k")
    assert call("execution.runs.signal", id=id, name="then", payload=[2], dedupe_key="k") == early
    assert call("execution.runs.signal", id=id, name="go", payload={"x": 1})["consumed_by"] == "a"
    assert until(id, *ENDS) == "succeeded"
    outputs = {each["key"]: each["output"]["payload"] for each in call("execution.runs.get", id=id)["steps"]}
    assert outputs == {"a": {"x": 1}, "b": [1]}
    assert failure(call, "conflict", "execution.runs.signal", id=id, name="go").data["status"] == "succeeded"


def example_pause(call: Call, until: Call, folder: Path) -> None:
    id = start(call, signal("a"), step("t", "timer", {"duration": "PT0S"}, "a"))
    assert call("execution.runs.pause", id=id)["run"]["status"] == "paused"
    call("execution.runs.signal", id=id, name="go")
    assert statuses(call, id) == {"a": "succeeded", "t": "pending"}
    call("execution.runs.resume", id=id)
    assert until(id, *ENDS) == "succeeded"


def example_retry_and_rewind(call: Call, until: Call, folder: Path) -> None:
    def steps(third: str) -> list[dict[str, Any]]:
        edits = [{"path": f"{key}.txt", "content": key} for key in ("a", "b")]
        return [
            step("a", "file_edit", edits[0]), step("b", "file_edit", edits[1], "a"),
            step("c", "file_edit", {"path": "a.txt", "content": "c", "expect": third}, "b"),
        ]  # fmt: skip

    id = start(call, *steps("absent"), folder=str(folder))
    assert until(id, *ENDS) == "failed"
    same = call("execution.runs.retry", id=id)
    assert (same["reused"], until(same["run"]["id"], *ENDS)) == (["a", "b"], "failed")
    content = call("execution.steps.get", run=id, step="a")["step"]["output"]["after"]
    latest = call("execution.runs.retry", id=id, source="failed", definition="latest", steps=steps(content))
    assert (latest["reused"], until(latest["run"]["id"], *ENDS)) == (["a", "b"], "succeeded")
    assert (folder / "a.txt").read_text() == "c"
    back = call("execution.runs.rewind", id=latest["run"]["id"], step="b", change={"content": "other"})
    assert back["reused"] == ["a"]
    until(back["run"]["id"], *ENDS)
    assert (folder / "b.txt").read_text() == "other"


def example_logs_and_artifacts(call: Call, until: Call, folder: Path) -> None:
    made = step("a", "command", {"shell": "echo out; echo ü > made.txt; echo err >&2", "artifacts": ["made.txt"]})
    id = start(call, made, folder=str(folder))
    assert until(id, *ENDS) == "succeeded"
    page = call("execution.logs", run=id, step="a")
    assert {(each["stream"], each["text"]) for each in page["items"]} == {("stdout", "out\n"), ("stderr", "err\n")}
    assert call("execution.logs", run=id, step="a", offset=page["offset"])["items"] == []
    (kept,) = call("execution.artifacts.list", run=id)["items"]
    assert call("execution.artifacts.read", id=kept["id"])["text"] == "ü\n"
    kinds = {each["name"] for each in call("execution.kinds")["items"]}
    assert {"operation", "command", "http", "file_edit", "timer", "approval", "signal", "sub_run"} <= kinds


EXAMPLES: tuple[Callable[[Call, Call, Path], None], ...] = (
    example_start_and_get,
    example_refused,
    example_cancel,
    example_approve,
    example_reject,
    example_signal,
    example_pause,
    example_retry_and_rewind,
    example_logs_and_artifacts,
)
