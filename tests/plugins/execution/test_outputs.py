"""What steps leave behind: outputs large and small, artifacts, logs, and secrets that are in none of them."""

from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Invalid, NotFound
from coder_plugins.execution import domain as execution
from coder_plugins.execution.artifacts import jobs
from coder_plugins.execution.logs.adapters import files
from coder_plugins.execution.processes.shim import frames
from coder_plugins.execution.records import INLINE_LIMIT

from . import world as worlds
from .bench import Bench, command, operation, step, work

OVER = INLINE_LIMIT


def artifacts(bench: Bench, id: str, key: str) -> list[dict[str, Any]]:
    return bench.call("execution.artifacts.list", run=id, key=key)["items"]


@pytest.mark.parametrize("how", ["kind", "command", "query"])
async def test_an_output_over_1_mib_is_an_artifact(bench: Bench, how: str) -> None:
    """By a kind of a plugin, by a command that is one commit with its result, and by a query."""
    big = {
        "kind": work("a", size=OVER),
        "command": operation("a", "world.make_big", size=OVER),
        "query": operation("a", "world.big", size=OVER),
    }[how]
    id = await bench.finish(big, work("b", "a"))
    found = bench.steps(id)["a"]
    assert (found["status"], found["output"]) == ("succeeded", None)
    (kept,) = artifacts(bench, id, "a")
    assert (kept["name"], kept["media_type"], kept["bytes"]) == ("output.json", "application/json", OVER + 2)
    assert kept["sha256"] == found["artifact"] == hashlib.sha256(b'"' + b"x" * OVER + b'"').hexdigest()
    page = bench.call("execution.artifacts.read", id=kept["id"], offset=OVER, limit=100)
    assert (page["text"], page["bytes"]) == ('x"', OVER + 2)


async def test_an_output_of_1_mib_stands_in_the_step(bench: Bench) -> None:
    id = await bench.finish(work("a", size=OVER - 2))
    assert len(bench.steps(id)["a"]["output"]) == OVER - 2
    assert artifacts(bench, id, "a") == []


async def test_what_refers_to_an_output_that_is_an_artifact_says_so(bench: Bench) -> None:
    id = await bench.finish(work("a", size=OVER), work("b", "a", output="${{ steps.a.output.x }}"))
    assert bench.steps(id)["b"]["error"]["word"] == "reference"
    assert "artifact" in bench.steps(id)["b"]["error"]["message"]


async def test_equal_contents_are_kept_once(bench: Bench) -> None:
    first = await bench.finish(work("a", size=OVER))
    second = await bench.finish(work("a", size=OVER), work("b", size=OVER))
    hashes = {artifacts(bench, id, key)[0]["sha256"] for id, key in ((first, "a"), (second, "a"), (second, "b"))}
    assert len(hashes) == 1
    blobs = [path for path in (bench.ctx.folder / "blobs").rglob("*") if path.is_file()]
    assert [path.name for path in blobs] == list(hashes)


async def test_an_artifact_that_is_no_text_and_one_that_is_gone(bench: Bench) -> None:
    id = await bench.finish(step("e", "file_edit", {"path": "f", "content": "x"}), work("a", size=OVER))
    (kept,) = artifacts(bench, id, "a")
    blob = bench.ctx.folder / "blobs" / kept["sha256"][:2] / kept["sha256"]
    blob.write_bytes(b"\xff\xfe\x00")
    page = bench.call("execution.artifacts.read", id=kept["id"])
    assert (page["text"], base64.b64decode(page["base64"])) == (None, b"\xff\xfe\x00")
    blob.unlink()
    with pytest.raises(NotFound) as caught:
        bench.call("execution.artifacts.read", id=kept["id"])
    assert caught.value.hint is not None
    assert "execution.keep_days" in caught.value.hint


async def test_the_output_of_a_run_leaves_out_what_is_large(bench: Bench) -> None:
    id = await bench.finish(work("a", size=5_000), work("b", output="small"))
    assert bench.run(id)["output"] == {"b": "small"}


# -- logs -------------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_page_by_page(bench: Bench) -> None:
    id = await bench.finish(work("a", say="one\n"))
    page = bench.call("execution.logs", run=id, step="a")
    assert [(each["stream"], each["text"]) for each in page["items"]] == [("stdout", "one\n")]
    assert page["ended"]
    rest = bench.call("execution.logs", run=id, step="a", offset=page["offset"])
    assert (rest["items"], rest["offset"]) == ([], page["offset"])
    assert bench.attempts(id, "a")[0]["log_bytes"] == len("one\n")


@pytest.mark.parametrize("size", [1, 300_000, 2_500_000])
async def test_the_length_of_a_log_is_that_of_its_output(bench: Bench, size: int) -> None:
    id = await bench.finish(work("a", say="x" * size))
    folder = files.attempt_folder(bench.ctx.folder, id, "a", 1)
    assert (folder / frames.NAME).stat().st_size > size
    assert bench.attempts(id, "a")[0]["log_bytes"] == size
    with (folder / frames.NAME).open("ab") as log:
        log.write(frames.head(0, frames.GAP, 8) + bytes(8) + frames.head(0, frames.STDOUT, 100) + b"half")
    assert files.output_bytes(folder) == size, "what was dropped, and half a frame, are not kept"


async def test_wrong_places_in_a_log(bench: Bench) -> None:
    id = await bench.finish(work("a", say="one\n"))
    with pytest.raises(Invalid) as caught:
        bench.call("execution.logs", run=id, step="a", offset=3)
    assert caught.value.field == "/offset"
    for wrong in ({"step": "b"}, {"step": "a", "attempt": 2}):
        with pytest.raises(NotFound):
            bench.call("execution.logs", run=id, **wrong)


async def test_each_attempt_has_a_log_of_its_own(bench: Bench) -> None:
    id = await bench.finish(work("a", say="x\n", fails=1, retry={"max": 2, "first": "PT0S"}))
    for attempt in (1, 2):
        assert len(bench.call("execution.logs", run=id, step="a", attempt=attempt)["items"]) == 1


# -- secrets ----------------------------------------------------------------------------------------------------------


class TestSecrets:
    """With a plugin that keeps secrets."""

    @pytest.fixture
    def plugins(self) -> list[Any]:
        return [execution, worlds.world, worlds.secrets]

    def hidden(self, bench: Bench) -> None:
        """Look for the secret in every row and every file."""
        connection: sqlite3.Connection = bench.box.kernel.store.writer.connection
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for line in connection.execute(f"SELECT * FROM {row[0]}").fetchall():
                assert worlds.SECRET not in str(tuple(line)), row[0]
        for path in bench.ctx.folder.rglob("*"):
            if path.is_file():
                assert worlds.SECRET.encode() not in path.read_bytes(), path.name

    async def test_in_the_log_the_output_and_the_error_of_a_kind(self, bench: Bench) -> None:
        reference = "secret://service/key"
        id = await bench.finish(
            work("a", secret=reference, say="it is"),
            work("b", secret=reference, say="it is", fails=1),
        )
        self.hidden(bench)
        page = bench.call("execution.logs", run=id, step="a")
        assert page["items"][0]["text"] == "it is ***"
        assert bench.steps(id)["a"]["output"] == {"echo": ["<***>"]}
        error = bench.steps(id)["b"]["error"]
        assert (error["message"], error["data"]) == ("*** was wrong", {"secret": "***"})
        assert bench.attempts(id, "a")[0]["input"]["secret"] == reference

    @pytest.mark.alone
    async def test_in_the_environment_of_a_command(self, bench: Bench) -> None:
        shell = 'printf "it is %s\\n" "$KEY"; printf "%s" "$KEY" >&2; test -n "$KEY" && printf "%s" "$KEY" | wc -c'
        id = await bench.finish(command("a", shell=shell, env={"KEY": "secret://service/key"}))
        assert bench.run(id)["status"] == "succeeded"
        self.hidden(bench)
        assert bench.steps(id)["a"]["output"]["stdout"].split() == ["it", "is", "***", str(len(worlds.SECRET))]

    @pytest.mark.alone
    async def test_inside_a_longer_value_of_the_environment(self, bench: Bench) -> None:
        env = {"AUTH": "Bearer secret://service/key.", "TWO": "me:secret://service/key@x secret://service/other"}
        shell = 'echo "$AUTH|$TWO"; printf "%s" "$AUTH" | wc -c'
        id = await bench.finish(command("a", shell=shell, env=env))
        self.hidden(bench)
        text = bench.steps(id)["a"]["output"]["stdout"]
        assert text == f"Bearer ***.|me:***@x ***\n{len(worlds.SECRET) + 8}\n"
        assert bench.attempts(id, "a")[0]["input"]["env"] == env

    @pytest.mark.alone
    async def test_of_a_command_that_fails(self, bench: Bench) -> None:
        id = await bench.finish(command("a", shell='echo "$KEY"; exit 3', env={"KEY": "secret://service/key"}))
        self.hidden(bench)
        assert bench.steps(id)["a"]["error"]["data"]["stdout"] == "***\n"

    async def test_without_the_plugin_a_run_that_needs_it_does_not_start(self, bench: Bench) -> None:
        found = bench.call("execution.check", steps=[work("a", secret="secret://x/y")])
        assert found["ok"]


# -- files of a command -----------------------------------------------------------------------------------------------


@pytest.mark.alone
async def test_files_that_a_command_made_are_kept(bench: Bench) -> None:
    shell = "mkdir -p out/deep && echo 1 > out/a.txt && echo 2 > out/deep/b.json && echo 3 > other"
    id = await bench.finish(command("a", shell=shell, artifacts=["out/**/*"]))
    kept = {each["name"]: each for each in artifacts(bench, id, "a")}
    assert set(kept) == {"out/a.txt", "out/deep/b.json"}
    assert kept["out/deep/b.json"]["media_type"] == "application/json"
    (bench.folder / "out" / "a.txt").write_text("changed")
    assert bench.call("execution.artifacts.read", id=kept["out/a.txt"]["id"])["text"] == "1\n"


@pytest.mark.alone
async def test_a_link_out_of_the_folder_is_not_kept(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("outside") / "secret"
    Path(secret).write_text("private")
    id = await bench.finish(command("a", "ln", "-s", str(secret), "link", artifacts=["*"]))
    assert artifacts(bench, id, "a") == []


# -- file edits -------------------------------------------------------------------------------------------------------


async def test_a_file_edit_and_its_difference(bench: Bench) -> None:
    (bench.folder / "f").write_text("one\ntwo\n")
    edit = {"path": "f", "replace": [{"old": "two", "new": "2"}]}
    id = await bench.finish(step("e", "file_edit", edit))
    assert (bench.folder / "f").read_text() == "one\n2\n"
    output = bench.steps(id)["e"]["output"]
    assert output["changed"]
    assert output["before"] == hashlib.sha256(b"one\ntwo\n").hexdigest()
    text = "".join(each["text"] for each in bench.call("execution.logs", run=id, step="e")["items"])
    assert "-two\n+2\n" in text


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"replace": [{"old": "zzz", "new": ""}]}, "changed"),
        ({"replace": [{"old": "o", "new": ""}]}, "changed"),
        ({"content": "x", "expect": "absent"}, "changed"),
        ({"content": "x", "expect": "0" * 64}, "changed"),
        ({"path": "gone", "replace": [{"old": "a", "new": ""}]}, "missing"),
    ],
)
async def test_a_file_that_is_not_what_it_should_be_is_left_alone(
    bench: Bench, more: dict[str, Any], word: str
) -> None:
    (bench.folder / "f").write_text("one\ntwo\n")
    id = await bench.finish(step("e", "file_edit", {"path": "f", **more}))
    assert bench.steps(id)["e"]["error"]["word"] == word
    assert [path.name for path in bench.folder.iterdir()] == ["f"]
    assert (bench.folder / "f").read_text() == "one\ntwo\n"


async def test_a_file_is_removed_and_what_it_held_is_kept(bench: Bench) -> None:
    (bench.folder / "f").write_text("one")
    id = await bench.finish(step("e", "file_edit", {"path": "f", "delete": True}))
    output = bench.steps(id)["e"]["output"]
    assert (output["after"], (bench.folder / "f").exists()) == ("absent", False)
    kept = bench.ctx.folder / "blobs" / output["before_content"][:2] / output["before_content"]
    assert kept.read_text() == "one"


async def test_contents_of_a_run_that_goes_on_are_kept(bench: Bench) -> None:
    id = bench.start(work("a", size=2_000_000), step("w", "signal", {"name": "go"}, needs=["a"]))
    await bench.until(id, "waiting")
    for path in (bench.ctx.folder / "blobs").glob("*/*"):
        os.utime(path, (1, 1))
    assert await jobs.clear_up(bench.ctx) == 0
    (item,) = bench.call("execution.artifacts.list")["items"]
    part = bench.call("execution.artifacts.read", id=item["id"], offset=1_999_990, limit=100)
    assert part["text"] == 'xxxxxxxxxxx"'
    bench.call("execution.runs.signal", id=id, name="go")
    await bench.until(id)
    assert await jobs.clear_up(bench.ctx) == 2_000_002


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
async def test_a_pipe_is_no_file_to_edit(bench: Bench) -> None:
    os.mkfifo(bench.folder / "pipe")
    id = await bench.finish(step("e", "file_edit", {"path": "pipe", "content": "y"}))
    assert bench.steps(id)["e"]["error"]["message"].endswith("pipe is no file")
