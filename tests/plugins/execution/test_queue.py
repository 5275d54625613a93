"""Who comes next: resources, keys of runs, priorities, and turns of workspaces."""

from __future__ import annotations

from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, pool, step, work


async def test_a_resource_has_one_holder_at_a_time(bench: Bench) -> None:
    ids = [
        bench.start(
            work("f", foreach=[0, 1, 2], resources=["port"], holds="port"), work("x", resources=["port"], holds="port")
        )
        for _ in range(3)
    ]
    for id in ids:
        assert (await bench.until(id))["status"] == "succeeded"
    assert len(bench.world.begun) == 12
    assert bench.world.crowds == []
    assert bench.rows("locks") == 0


async def test_a_resource_is_given_to_who_has_waited_longest(bench: Bench) -> None:
    ids = [bench.start(work(key, hold=True, resources=["port"])) for key in "abc"]
    await bench.world.until(lambda: bench.world.begun)
    await bench.turn()
    assert bench.world.begun == ["a"]
    assert [bench.status(id) for id in ids] == ["running", "waiting", "waiting"]
    assert bench.waits(ids[1])["b"]["name"] == "port"
    bench.world.let_go("a")
    await bench.world.until(lambda: len(bench.world.begun) == 2)
    assert bench.world.begun == ["a", "b"]
    bench.world.let_go()
    await bench.until(ids[2])
    assert bench.world.begun == ["a", "b", "c"]


async def test_a_resource_is_given_back_when_its_run_is_cancelled(bench: Bench) -> None:
    first = bench.start(work("a", hold=True, resources=["port"]))
    second = bench.start(work("b", resources=["port"]))
    await bench.until(second, "waiting")
    bench.call("execution.runs.cancel", id=first)
    assert (await bench.until(second))["status"] == "succeeded"


async def test_a_resource_is_given_back_while_a_step_waits_for_its_next_attempt(bench: Bench) -> None:
    retry = {"max": 2, "first": "PT1H", "jitter": "none"}
    first = bench.start(work("a", fails=1, resources=["port"], retry=retry))
    await bench.until_step(first, "a", "waiting")
    await bench.finish(work("b", resources=["port"]))
    await bench.advance(3600)
    assert (await bench.until(first))["status"] == "succeeded"


async def test_a_waiting_step_that_is_cancelled_takes_no_resource(bench: Bench) -> None:
    first = bench.start(work("a", hold=True, resources=["port"]))
    second = bench.start(work("b", resources=["port"]))
    await bench.until(second, "waiting")
    bench.call("execution.runs.cancel", id=second)
    third = bench.start(work("c", resources=["port"]))
    bench.world.let_go()
    await bench.until(first)
    assert (await bench.until(third))["status"] == "succeeded"
    assert bench.world.begun == ["a", "c"]
    assert bench.rows("locks") == 0


async def test_all_resources_of_a_step_or_none(bench: Bench) -> None:
    first = bench.start(work("a", hold=True, resources=["x"]))
    await bench.world.until(lambda: bench.world.begun)
    both = bench.start(work("b", resources=["y", "x"]))
    await bench.until(both, "waiting")
    assert bench.status(await bench.finish(work("c", resources=["y"]))) == "succeeded"
    bench.world.let_go()
    await bench.until(both)
    await bench.until(first)


async def test_two_that_wait_for_each_others_resources_do_not_stand_still(bench: Bench) -> None:
    ids = [bench.start(work("f", foreach=[0, 1], resources=names)) for names in (["x", "y"], ["y", "x"])]
    for id in ids:
        assert (await bench.until(id))["status"] == "succeeded"


async def test_a_resource_survives_a_crash_with_its_holder(bench: Bench) -> None:
    first = bench.start(work("a", hold=True, effect="repeatable", resources=["port"], holds="port"))
    await bench.world.until(lambda: bench.world.begun)
    second = bench.start(work("b", resources=["port"], holds="port"))
    await bench.crash()
    await bench.restart()
    await bench.world.until(lambda: len(bench.world.begun) == 2)
    await bench.turn()
    assert bench.world.begun == ["a", "a"]
    bench.world.let_go()
    await bench.until(first)
    await bench.until(second)
    assert bench.world.crowds == []


async def test_a_resource_of_another_workspace_is_another_one(bench: Bench) -> None:
    bench.start(work("a", hold=True, resources=["port"]))
    await bench.world.until(lambda: bench.world.begun)
    other = bench.box.as_caller(workspace="other")
    id = other.call("execution.start", steps=[work("b", resources=["port"])])["run"]["id"]
    await bench.so(lambda: other.call("execution.runs.get", id=id)["run"]["status"] == "succeeded")


# -- one run at a time ------------------------------------------------------------------------------------------------


async def test_of_the_runs_with_a_key_one_runs_at_a_time(bench: Bench) -> None:
    ids = [bench.start(work(key, hold=True), concurrency_key="deploy") for key in "abc"]
    assert [bench.status(id) for id in ids] == ["running", "queued", "queued"]
    bench.world.let_go()
    for id in ids:
        assert (await bench.until(id))["status"] == "succeeded"
    assert (bench.world.begun, bench.world.most["work"]) == (["a", "b", "c"], 1)


async def test_the_more_urgent_run_with_a_key_comes_first(bench: Bench) -> None:
    first = bench.start(work("a", hold=True), concurrency_key="deploy")
    later = [bench.start(work(key), concurrency_key="deploy", priority=rank) for key, rank in (("b", 0), ("c", 5))]
    bench.call("execution.runs.cancel", id=first)
    for id in later:
        await bench.until(id)
    assert bench.world.begun[-2:] == ["c", "b"]


async def test_a_paused_run_does_not_stand_in_the_way_of_its_key(bench: Bench) -> None:
    first = bench.start(work("a", hold=True), concurrency_key="deploy")
    paused = bench.start(work("b"), concurrency_key="deploy")
    third = bench.start(work("c"), concurrency_key="deploy")
    bench.call("execution.runs.pause", id=paused)
    bench.world.let_go()
    await bench.until(first)
    assert (await bench.until(third))["status"] == "succeeded"
    bench.call("execution.runs.resume", id=paused)
    assert (await bench.until(paused))["status"] == "succeeded"


async def test_a_queued_run_that_ends_with_the_one_before_it_lets_the_next_begin(bench: Bench) -> None:
    wait = step("w", "signal", {"name": "go"})
    ids = [bench.start(wait, concurrency_key="deploy", deadline="PT1H") for _ in range(2)]
    third = bench.start(work("c"), concurrency_key="deploy")
    await bench.advance(3600)
    assert [bench.status(id) for id in ids] == ["timed_out", "timed_out"]
    assert (await bench.until(third))["status"] == "succeeded"


async def test_a_key_of_another_workspace_is_another_one(bench: Bench) -> None:
    bench.start(work("a", hold=True), concurrency_key="deploy")
    other = bench.box.as_caller(workspace="other")
    id = other.call("execution.start", steps=[work("b")], concurrency_key="deploy")["run"]["id"]
    await bench.so(lambda: other.call("execution.runs.get", id=id)["run"]["status"] == "succeeded")


async def test_a_retry_waits_for_its_key_as_well(bench: Bench) -> None:
    id = await bench.finish(work("a", fails=1), concurrency_key="deploy")
    other = bench.start(step("w", "signal", {"name": "go"}), concurrency_key="deploy")
    again = bench.call("execution.runs.retry", id=id)["run"]["id"]
    assert bench.status(again) == "queued"
    bench.call("execution.runs.cancel", id=other)
    assert (await bench.until(again))["status"] == "failed"


# -- one queue --------------------------------------------------------------------------------------------------------


async def test_the_more_urgent_comes_first_and_equals_come_in_order(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=1))
    bench.start(pool("first", hold=True))
    await bench.world.until(lambda: bench.world.begun)
    ids = [bench.start(pool(f"p{rank}.{n}"), priority=rank) for n in range(2) for rank in (-1, 0, 7)]
    bench.world.let_go()
    for id in ids:
        await bench.until(id)
    assert bench.world.begun == ["first", "p7.0", "p7.1", "p0.0", "p0.1", "p-1.0", "p-1.1"]


async def test_workspaces_take_turns(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=2))
    bench.start(pool("x", hold=True), pool("y", hold=True))
    await bench.world.until(lambda: bench.world.now["pool"] == 2)
    many = bench.start(*(pool(f"a{index}", hold=True) for index in range(6)))
    other = bench.box.as_caller(workspace="other")
    few = other.call("execution.start", steps=[pool(f"b{index}", hold=True) for index in range(2)])["run"]["id"]
    bench.world.let_go("x", "y")
    await bench.world.until(lambda: len(bench.world.begun) == 4)
    assert sorted(bench.world.begun[2:]) == ["a0", "b0"]
    bench.world.let_go()
    await bench.until(many)
    await bench.so(lambda: other.call("execution.runs.get", id=few)["run"]["status"] == "succeeded")
    assert bench.world.begun.index("b1") < bench.world.begun.index("a3")


async def test_what_cannot_begin_keeps_no_place_from_others(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=2))
    bench.start(pool("holder", hold=True, resources=["port"]))
    await bench.world.until(lambda: bench.world.begun)
    blocked = bench.start(*(pool(f"w{index}", resources=["port"]) for index in range(5)))
    free = bench.start(pool("free"))
    assert (await bench.until(free))["status"] == "succeeded"
    assert bench.world.begun == ["holder", "free"]
    bench.world.let_go()
    assert (await bench.until(blocked))["status"] == "succeeded"
