"""Following a run: its events and output in order, and going on after any of them with nothing lost or told twice."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from coder_local.api import Invalid, NotFound
from coder_plugins.execution.processes.shim import frames

from .bench import Bench, step, work

Item = dict[str, Any]


def told(items: list[Item]) -> list[tuple[Any, ...]]:
    """Return what was said, without cursors and times; pieces of output of one stream are joined."""
    found: list[tuple[Any, ...]] = []
    for each in items:
        if each["type"] == "output":
            at = ("output", each["step"], each["attempt"], each["stream"])
            if found and found[-1][:4] == at:
                found[-1] = (*at, found[-1][4] + each["text"])
            else:
                found.append((*at, each["text"]))
        else:
            found.append((each["type"], each["step"], each["status"], each["attempt"]))
    return found


def by_step(items: list[Item]) -> dict[str | None, list[tuple[Any, ...]]]:
    """Return what was said of each step, and of the run: the order between steps that run at once is free."""
    found: dict[str | None, list[tuple[Any, ...]]] = {}
    for key in dict.fromkeys(each["step"] for each in items):
        found[key] = told([each for each in items if each["step"] == key])
    return found


class Follower:
    """Follows a run in the background."""

    def __init__(self, bench: Bench, id: str, cursor: str | None = None) -> None:
        self.items: list[Item] = []
        self._came = asyncio.Event()
        self.task = asyncio.create_task(self._follow(bench, id, cursor))

    async def _follow(self, bench: Bench, id: str, cursor: str | None) -> None:
        given = {} if cursor is None else {"cursor": cursor}
        async for item in bench.box.items("execution.runs.follow", id=id, **given):
            self.items.append(item)
            self._came.set()

    async def until(self, *words: str) -> None:
        """Wait for an item that has some texts."""
        async with asyncio.timeout(10):
            while not any(all(word in str(item) for word in words) for item in self.items):
                self._came.clear()
                await self._came.wait()

    async def cut(self) -> list[Item]:
        """Leave, as a connection that breaks does."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        return self.items

    async def end(self) -> list[Item]:
        async with asyncio.timeout(10):
            await self.task
        return self.items


def steps() -> list[dict[str, Any]]:
    return [
        work("go", hold=True), work("a", "go", say="from a\n"), work("b", "a", say="from b\n", hold=True),
        work("c", "b", say="from c\n", fails=1, retry={"max": 2, "first": "PT0S"}),
        step("w", "signal", {"name": "on"}, needs=["c"]), work("f", "w", foreach=[1, 2], say="item\n"),
    ]  # fmt: skip


async def whole(bench: Bench) -> tuple[str, list[Item]]:
    """Run those steps, followed from the first to the last."""
    id = bench.start(*steps())
    follower = Follower(bench, id)
    await follower.until("'status': 'running'")
    bench.world.let_go("go")
    await follower.until("from b")
    bench.world.let_go("b")
    await follower.until("signal")
    bench.call("execution.runs.signal", id=id, name="on")
    return id, await follower.end()


async def test_everything_of_a_run_in_order(bench: Bench) -> None:
    _, items = await whole(bench)
    found = told(items)
    assert found[-1] == ("run", None, "succeeded", None)
    for key in ("a", "b", "c"):
        lines = [each for each in found if each[1] == key]
        assert lines[0] == ("step", key, "running", 1)
        assert lines[-1] == ("step", key, "succeeded", None)
        assert ("output", key, 1, "stdout", f"from {key}\n") in lines
    assert ("output", "c", 2, "stdout", "from c\n") in found
    assert ("wait", "c", "retry", None) in found
    assert ("wait", "w", "signal", None) in found
    assert ("run", None, "waiting", None) in found
    assert sum(1 for each in found if each[0] == "output" and each[1] in {"f[1]", "f[2]"}) == 2


async def test_going_on_after_any_item_tells_the_rest_and_nothing_twice(bench: Bench) -> None:
    id, items = await whole(bench)
    for place in range(len(items)):
        rest = await Follower(bench, id, items[place]["cursor"]).end()
        assert by_step(rest) == by_step(items[place + 1 :]), place


async def test_a_cut_while_it_runs_loses_nothing(bench: Bench) -> None:
    id = bench.start(*steps())
    follower = Follower(bench, id)
    await follower.until("'status': 'running'")
    bench.world.let_go("go")
    await follower.until("from b")
    items = list(await follower.cut())
    bench.world.let_go("b")
    await bench.until_step(id, "w", "waiting")
    bench.call("execution.runs.signal", id=id, name="on")
    await bench.until(id)
    items += await Follower(bench, id, items[-1]["cursor"]).end()
    reference = bench.call("execution.runs.record", id=id)
    output = [each[:4] for each in told(items) if each[0] == "output"]
    assert len(output) == len(set(output)) == 6
    finished = [each[1] for each in told(items) if each[0] == "step" and each[2] == "succeeded"]
    assert sorted(finished) == sorted(each["step"]["key"] for each in reference["steps"])
    assert told(items)[-1] == ("run", None, "succeeded", None)


async def test_a_run_that_has_ended_is_told_at_once(bench: Bench) -> None:
    id = await bench.finish(work("a", say="x\n"), work("b", "a", say="y\n"))
    found = told(await Follower(bench, id).end())
    assert found == [
        ("output", "a", 1, "stdout", "x\n"), ("output", "b", 1, "stdout", "y\n"), ("run", None, "succeeded", None),
    ]  # fmt: skip


async def test_a_run_is_followed_over_a_crash_of_the_engine(bench: Bench) -> None:
    id = bench.start(work("a", say="x\n", hold=True, effect="repeatable"))
    follower = Follower(bench, id)
    await follower.until("'text': 'x")
    await bench.crash()
    bench.world.let_go()
    await bench.restart()
    found = told(await follower.end())
    assert ("output", "a", 2, "stdout", "x\n") in found
    assert found[-1] == ("run", None, "succeeded", None)


async def test_the_question_of_an_approval_is_told_with_its_id(bench: Bench) -> None:
    id = bench.start(work("a"), step("ok", "approval", {"prompt": "?"}, needs=["a"]))
    follower = Follower(bench, id)
    await follower.until("'status': 'approval'", "'approval': '")
    (asked,) = [each for each in follower.items if each["approval"] is not None]
    bench.call("execution.approvals.approve", id=asked["approval"])
    assert told(await follower.end())[-1][2] == "succeeded"


async def test_what_is_no_cursor_and_no_run(bench: Bench) -> None:
    id = await bench.finish(work("a"))
    for cursor in ("nonsense\nx", "a:b:c\n1/x/y"):
        with pytest.raises(Invalid) as caught:
            await Follower(bench, id, cursor).end()
        assert caught.value.field == "/cursor"
    with pytest.raises(NotFound):
        await Follower(bench, "nothing").end()


async def test_two_who_follow_hear_the_same(bench: Bench) -> None:
    id = bench.start(work("a", say="x\n", hold=True))
    both = [Follower(bench, id) for _ in range(2)]
    for each in both:
        await each.until("'text': 'x")
    bench.world.let_go()
    first, second = [told(await each.end()) for each in both]
    assert first == second


async def test_why_a_step_failed_is_told(bench: Bench) -> None:
    id = bench.start(work("a", fails=1, word="odd"))
    items = await Follower(bench, id).end()
    failed = [item for item in items if item["type"] == "step" and item["status"] == "failed"]
    (why,) = [step["error"]["message"] for step in bench.call("execution.runs.get", id=id)["steps"]]
    assert [item["text"] for item in failed] == [why]


async def late(bench: Bench) -> tuple[str, list[Item]]:
    """Run those steps, followed from the middle on: some attempts have ended, one goes on, others are yet to begin."""
    id = bench.start(*steps(), work("z", say="from z\n", hold=True))
    await bench.world.until(lambda: {"go", "z"} <= set(bench.world.begun))
    bench.world.let_go("go")
    await bench.world.until(lambda: "b" in bench.world.begun)
    follower = Follower(bench, id)
    await follower.until("from b")
    bench.world.let_go("b")
    await follower.until("signal")
    bench.call("execution.runs.signal", id=id, name="on")
    await bench.until_step(id, "f", "succeeded")
    bench.world.let_go("z")
    return id, await follower.end()


async def test_going_on_after_any_item_of_one_who_came_late(bench: Bench) -> None:
    id, items = await late(bench)
    found = told(items)
    for key, text in {"a": "from a", "b": "from b", "z": "from z", "f[1]": "item", "f[2]": "item"}.items():
        assert [each for each in found if each[:2] == ("output", key)] == [("output", key, 1, "stdout", f"{text}\n")]
    assert [each[2] for each in found if each[:2] == ("output", "c")] == [1, 2]
    for place in range(len(items)):
        rest = await Follower(bench, id, items[place]["cursor"]).end()
        assert by_step(rest) == by_step(items[place + 1 :]), place


async def test_a_cut_in_the_middle_of_a_character(bench: Bench) -> None:
    text = "x" * (frames.LONGEST - 1) + "\u00e9\u20ac" + "y" * (frames.LONGEST - 3) + "\u20acz"
    id = await bench.finish(work("a", say=text))
    items = await Follower(bench, id).end()
    assert len(items) > 3
    for place in range(len(items)):
        rest = await Follower(bench, id, items[place]["cursor"]).end()
        assert "".join(each["text"] or "" for each in items[: place + 1] + rest) == text


async def test_cursors_stay_short_however_many_attempts_there_were(bench: Bench) -> None:
    count = 2_000
    many = work("f", foreach=list(range(count)), say="x\n")
    id = bench.start(many, work("last", "f", hold=True, say="y\n"), parallel=64)
    early = Follower(bench, id)
    async with asyncio.timeout(120):
        await bench.world.until(lambda: "last" in bench.world.begun)
    follower = Follower(bench, id)
    async with asyncio.timeout(60):
        while not any(each["type"] == "run" for each in follower.items):
            follower._came.clear()
            await follower._came.wait()
    bench.world.let_go()
    items = await follower.end()
    lines = [(each["step"], each["text"]) for each in items if each["type"] == "output"]
    assert len(lines) == len(set(lines)) == count + 1
    assert max(len(each["cursor"]) for each in items) < 200
    assert max(len(each["cursor"]) for each in await early.end()) < 6_000, "of those that go on at once each has a line"
    for place in (*range(0, len(items), 211), len(items) - 3):
        rest = await Follower(bench, id, items[place]["cursor"]).end()
        assert by_step(rest) == by_step(items[place + 1 :]), place
