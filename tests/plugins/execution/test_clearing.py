"""Output and artifacts of runs are cleared up when they are old, or when there are too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coder_local.api import NotFound
from coder_plugins.execution.artifacts.adapters import get, place, put
from coder_plugins.execution.artifacts.jobs import clear_up, remove
from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, step, work

DAY = 86_400


def age(path: Path, seconds: float) -> None:
    """Have a file or folder, and all in it, written so long before the time of the sandbox's clock."""
    for each in (path, *path.rglob("*")):
        os.utime(each, (seconds, seconds))


async def test_old_output_goes_and_its_run_stays(bench: Bench) -> None:
    old = await bench.finish(work("a", say="old\n"))
    new = await bench.finish(work("a", say="new\n"))
    open_ = bench.start(work("a", say="open\n"), step("w", "signal", {"name": "go"}))
    await bench.until(open_, "waiting")
    now = bench.box.clock.now_ms() / 1000
    folder = bench.ctx.folder / "runs"
    for run, days in ((old, 31), (new, 29), (open_, 400)):
        age(folder / run[:8] / run, now - days * DAY)
    freed = await clear_up(bench.ctx)
    assert freed > 0
    assert bench.call("execution.logs", run=old, step="a")["items"] == []
    assert [bench.call("execution.logs", run=run, step="a")["items"][0]["text"] for run in (new, open_)] == [
        "new\n",
        "open\n",
    ]
    assert bench.run(old)["status"] == "succeeded"


async def test_over_the_limit_the_oldest_go_first(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(keep_mb=16))
    now = bench.box.clock.now_ms() / 1000
    kept = [put(bench.ctx.folder, bytes([number]) * 6 * 1024 * 1024) for number in range(4)]
    for number, sha256 in enumerate(kept):
        path = bench.ctx.folder / "blobs" / sha256[:2] / sha256
        os.utime(path, (now - 100 + number, now - 100 + number))
    assert await clear_up(bench.ctx) == 2 * 6 * 1024 * 1024
    assert [(bench.ctx.folder / "blobs" / sha256[:2] / sha256).exists() for sha256 in kept] == [
        False,
        False,
        True,
        True,
    ]


async def test_an_artifact_that_is_gone_says_how_to_get_it_again(bench: Bench) -> None:
    id = await bench.finish(work("a", size=2 * 1024 * 1024))
    (artifact,) = bench.call("execution.artifacts.list", run=id)["items"]
    assert bench.call("execution.artifacts.read", id=artifact["id"], limit=10)["bytes"] == artifact["bytes"]
    remove(bench.ctx.folder, frozenset({id}), float("inf"), 0)
    with pytest.raises(NotFound) as caught:
        bench.call("execution.artifacts.read", id=artifact["id"])
    assert "keep_days" in str(caught.value.hint)


def test_a_content_that_is_taken_away_while_it_is_put_again_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, exists = place(tmp_path, put(tmp_path, b"whole")), Path.exists

    def just_before(path: Path) -> bool:
        found = exists(path)
        if path == target:  # and no other file: pytest itself asks for those of this machine
            path.unlink(missing_ok=True)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", just_before)
        sha256 = put(tmp_path, b"whole")
    assert get(tmp_path, sha256, 0, -1) == b"whole"
