"""What a file held before a step is an artifact of it, and is put back unless the file was changed since."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from typing import Any

import pytest

from coder_local.api import Conflict, Invalid, NotFound, Refused

from .bench import Bench, step, work


def edit(key: str = "e", **input: Any) -> dict[str, Any]:
    return step(key, "file_edit", {"path": "sub/x", **input})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def undo(bench: Bench, id: str, key: str = "e") -> dict[str, Any]:
    return await bench.box.acall("execution.runs.undo_edit", id=id, step=key)


async def test_a_file_is_put_back_once(bench: Bench) -> None:
    file = bench.folder / "sub" / "x"
    file.parent.mkdir()
    file.write_text("old")
    file.chmod(0o750)
    id = await bench.finish(edit(content="new"))
    (kept,) = bench.call("execution.artifacts.list", run=id)["items"]
    assert (kept["name"], kept["n"], kept["sha256"]) == ("before", 1, sha256("old"))
    assert bench.call("execution.artifacts.read", id=kept["id"])["text"] == "old"
    assert file.read_text() == "new"
    answer = {"path": "sub/x", "before": sha256("old"), "after": sha256("new")}
    assert await undo(bench, id) == {**answer, "changed": True}
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("old", 0o750)
    assert await undo(bench, id) == {**answer, "changed": False}


async def test_a_file_that_was_not_there_is_deleted(bench: Bench) -> None:
    id = await bench.finish(edit(content="new"))
    assert bench.call("execution.artifacts.list", run=id)["items"] == []
    assert (await undo(bench, id))["before"] == "absent"
    assert not (bench.folder / "sub" / "x").exists()


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes")
async def test_a_deleted_file_comes_back_as_it_was(bench: Bench) -> None:
    file = bench.folder / "sub" / "x"
    file.parent.mkdir()
    file.write_bytes(b"\0\xff")
    file.chmod(0o700)
    id = await bench.finish(edit(delete=True))
    shutil.rmtree(file.parent)
    assert (await undo(bench, id))["changed"]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"\0\xff", 0o700)


async def test_edits_of_one_file_are_undone_from_the_last_on(bench: Bench) -> None:
    id = await bench.finish(
        edit("one", content="1"), {**edit("two", replace=[{"old": "1", "new": "2"}]), "needs": ["one"]}
    )
    with pytest.raises(Conflict) as caught:
        await undo(bench, id, "one")
    assert caught.value.data["expected"] == sha256("1")
    assert caught.value.data["found"] == sha256("2")
    assert sha256("1") in str(caught.value)
    assert sha256("2") in str(caught.value)
    await undo(bench, id, "two")
    await undo(bench, id, "one")
    assert not (bench.folder / "sub" / "x").exists()


async def test_what_somebody_wrote_since_stays(bench: Bench) -> None:
    id = await bench.finish(edit(content="new"))
    (bench.folder / "sub" / "x").write_text("mine")
    with pytest.raises(Conflict):
        await undo(bench, id)
    assert (bench.folder / "sub" / "x").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
async def test_a_link_leads_nowhere_else(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "x").write_text("new")
    id = await bench.finish(edit(content="new"))
    shutil.rmtree(bench.folder / "sub")
    (bench.folder / "sub").symlink_to(other)
    with pytest.raises(Refused, match="leads out"):
        await undo(bench, id)
    (bench.folder / "sub").unlink()
    (bench.folder / "there").mkdir()
    (bench.folder / "there" / "x").write_text("new")
    (bench.folder / "sub").symlink_to(bench.folder / "there")
    with pytest.raises(Refused, match="another file"):
        await undo(bench, id)
    assert (other / "x").exists()
    assert (bench.folder / "there" / "x").exists()


async def test_what_cannot_be_undone(bench: Bench) -> None:
    file = bench.folder / "sub" / "x"
    file.parent.mkdir()
    file.write_text("old")
    id = await bench.finish(work("a"), edit(content="new"), edit("bad", replace=[{"old": "?", "new": "!"}]))
    with pytest.raises(Invalid) as caught:
        await undo(bench, id, "a")
    assert caught.value.field == "/step"
    with pytest.raises(Conflict, match="bad is failed"):
        await undo(bench, id, "bad")
    with pytest.raises(NotFound):
        await undo(bench, id, "nothing")
    kept = sha256("old")
    (bench.ctx.folder / "blobs" / kept[:2] / kept).unlink()
    with pytest.raises(NotFound, match="not kept any more"):
        await undo(bench, id)
    assert file.read_text() == "new"


async def test_what_was_kept_is_known_after_a_crash(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bench.folder / "sub" / "x"
    file.parent.mkdir()
    file.write_text("old")
    monkeypatch.setattr(bench.engine.carrying, "_end", lambda *_: None)  # the end of the attempt is never written
    id = bench.start(edit(content="new"))
    await bench.until_step(id, "e", "running")
    while not bench.engine.carrying.tasks:
        await asyncio.sleep(0)
    await asyncio.gather(*bench.engine.carrying.tasks)
    assert file.read_text() == "new"
    await bench.crash()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert [each["name"] for each in bench.call("execution.artifacts.list", run=id)["items"]] == ["before"]
    await undo(bench, id)
    assert file.read_text() == "old"
