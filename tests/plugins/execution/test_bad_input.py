"""What cannot run is refused before anything runs: no row, no event, an error that says where and how to cure it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Conflict, Error, Invalid, Refused
from coder_plugins.execution import domain as execution
from coder_plugins.execution.machine import fanout
from coder_plugins.planning import domain as planning

from . import world as worlds
from .bench import Bench, command, operation, step, work, wrong

TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture
def plugins() -> list[Any]:
    return [execution, worlds.world, planning]


# -- the graph --------------------------------------------------------------------------------------------------------


async def test_a_cycle(bench: Bench) -> None:
    error = bench.refused(work("a", "c"), work("b", "a"), work("c", "b"), work("d"))
    wrong(error, Conflict, "/steps", "wait for each other", "take one of these needs away")
    ring = error.data["cycle"]
    assert ring[0] == ring[-1]
    assert sorted(ring[1:]) == ["a", "b", "c"]


async def test_a_step_that_needs_itself(bench: Bench) -> None:
    assert bench.refused(work("a", "a")).data["cycle"] == ["a", "a"]


async def test_steps_that_run_themselves_for_ever(bench: Bench) -> None:
    itself = step("s", "sub_run", {"definition": "self"}, needs=["a"])
    wrong(bench.refused(work("a"), itself), Invalid, "/steps/1/input/definition", "for ever", "when")
    ends = {"value": "${{ inputs.go }}", "equals": True}
    asks = step("a", "approval", {"prompt": "again?"})
    for steps in ([work("a"), itself | {"when": ends}], [work("a"), itself | {"allow_failure": True}], [asks, itself]):
        assert bench.call("execution.check", steps=steps, inputs={"go": True})["ok"]


async def test_an_unknown_need(bench: Bench) -> None:
    wrong(bench.refused(work("build"), work("b", "biuld")), Invalid, "/steps/1/needs/0", "biuld", "did you mean build?")
    wrong(bench.refused(work("a"), work("b", "zzz")), Invalid, "/steps/1/needs/0", "there are a, b")


async def test_a_need_and_a_key_that_stand_twice(bench: Bench) -> None:
    wrong(bench.refused(work("a"), work("b", "a a")), Invalid, "/steps/1/needs/1", "twice")
    wrong(bench.refused(work("a"), work("a")), Invalid, "/steps/1/key", "two steps are called a")


async def test_a_join_that_cannot_be_reached(bench: Bench) -> None:
    wrong(bench.refused(work("a"), work("b", "a", join=2)), Invalid, "/steps/1/join", "2 of them cannot succeed")


async def test_all_that_is_wrong_is_told_at_once(bench: Bench) -> None:
    error = bench.refused(work("a", "x"), work("b", timeout="PT0S"), step("c", "wrok"))
    assert [each["field"] for each in error.data["faults"]] == ["/steps/0/needs/0", "/steps/1/timeout", "/steps/2/kind"]


# -- kinds and operations ---------------------------------------------------------------------------------------------


async def test_an_unknown_operation(bench: Bench) -> None:
    error = bench.refused(operation("a", "planning.tasks.creat", title="x"))
    wrong(error, Invalid, "/steps/0/input/operation", "planning.tasks.creat", "planning.tasks.create")


async def test_what_is_wrong_is_not_said_to_spend(bench: Bench) -> None:
    steps = [operation("a", "planning.tasks.creat"), work("b", harm="external")]
    found = bench.call("execution.check", steps=steps)["findings"]
    assert [(each["step"], each["severity"], each["rule"]) for each in found] == [
        ("a", "error", "unknown_operation"), ("b", "warning", "spends_without_approval"),
    ]  # fmt: skip


async def test_an_operation_of_no_plugin(bench: Bench) -> None:
    wrong(bench.refused(operation("a", "nowhere.do")), Invalid, "/steps/0/input/operation", "nowhere.do")


async def test_an_unknown_kind(bench: Bench) -> None:
    wrong(bench.refused(step("a", "comand")), Invalid, "/steps/0/kind", "'comand'", "did you mean command?")


async def test_a_stream_has_no_end(bench: Bench) -> None:
    error = bench.refused(operation("a", "execution.runs.follow", id="x"))
    wrong(error, Invalid, "/steps/0/input/operation", "stream")


async def test_an_input_that_does_not_fit_the_operation(bench: Bench) -> None:
    error = bench.refused(operation("a", "planning.tasks.create", title=7, nonsense=1))
    fields = {each["field"] for each in error.data["faults"]}
    assert fields == {"/steps/0/input/input/title", "/steps/0/input/input/nonsense"}


async def test_what_hangs_on_a_reference_is_checked_when_it_runs(bench: Bench) -> None:
    id = await bench.finish(work("a", output=7), operation("b", "world.add", "a", text="${{ steps.a.output }}"))
    assert bench.steps(id)["b"]["error"]["word"] == "invalid"
    assert "text" in bench.steps(id)["b"]["error"]["data"]["field"]


async def test_unknown_fields(bench: Bench) -> None:
    wrong(bench.refused(work("a", retires=3)), Invalid, "/steps/0/retires", "retires")
    wrong(bench.refused(step("a", "work", {"fial": 3})), Invalid, "/steps/0/input/fial", "fial")
    with pytest.raises(Invalid) as caught:
        bench.start(work("a"), nonsense=1)
    assert caught.value.field == "/nonsense"


async def test_what_a_kind_itself_has_against_an_input(bench: Bench) -> None:
    wrong(bench.refused(work("a", word="impossible")), Invalid, "/steps/0/input/word", "cannot be", "something else")
    compensate = {"kind": "work", "input": {"word": "impossible"}}
    wrong(bench.refused(work("a", compensate=compensate)), Invalid, "/steps/0/compensate/input/word", "cannot be")


async def test_no_steps(bench: Bench) -> None:
    assert bench.refused().field == "/steps"


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timeout", "queue_timeout", "total_timeout", "deadline"])
async def test_times_of_nothing_or_of_more_than_30_days(bench: Bench, name: str) -> None:
    zero = f"0 is not for ever: leave it out for {'10 minutes' if name == 'timeout' else 'no such limit'}"
    for text, hint in (("PT0S", zero), ("P400D", "at most P30D"), ("P99999999999D", "at most P30D")):
        wrong(bench.refused(work("a", **{name: text})), Invalid, f"/steps/0/{name}", text, hint)
    wrong(bench.refused(work("a", **{name: "soon"})), Invalid, f"/steps/0/{name}")


async def test_no_timeout_is_ten_minutes(bench: Bench) -> None:
    id = await bench.finish(work("a"))
    assert bench.attempts(id, "a")[0]["timeout_ms"] == 600_000


async def test_absurd_times_elsewhere(bench: Bench) -> None:
    for text in ("PT0S", "P400D", "P99999999999D"):
        compensate = {"kind": "work", "timeout": text}
        wrong(bench.refused(work("a", compensate=compensate)), Invalid, "/steps/0/compensate/timeout", text)
        wrong(bench.refused(work("a"), deadline=text), Invalid, "/deadline", text)
    wrong(bench.refused(command("a", "echo", grace="P400D")), Invalid, "/steps/0/input/grace", "P400D")
    for name in ("first", "cap"):
        error = bench.refused(work("a", retry={"max": 3, name: "P99999999999D"}))
        wrong(error, Invalid, f"/steps/0/retry/{name}", "P99999999999D")


@pytest.mark.parametrize("text", ["P99999999999D", "P4000000D"])
async def test_a_timer_that_no_calendar_holds(bench: Bench, text: str) -> None:
    wrong(bench.refused(step("a", "timer", {"duration": text})), Invalid, "/steps/0/input/duration", text)


async def test_a_timer_for_what_is_no_duration(bench: Bench) -> None:
    for value in ("5 min", 5):
        error = bench.refused(step("a", "timer", {"duration": value}))
        wrong(error, Invalid, "/steps/0/input/duration", "an ISO 8601 duration, such as PT15M")


async def test_a_sub_run_of_what_is_no_definition(bench: Bench) -> None:
    error = bench.refused(step("a", "sub_run", {"definition": "last"}))
    wrong(error, Invalid, "/steps/0/input/definition", "the hash of steps that ran before")


async def test_a_timer_until_no_day(bench: Bench) -> None:
    error = bench.refused(step("a", "timer", {"until": "2026-02-31T12:00:00Z"}))
    wrong(error, Invalid, "/steps/0/input/until", "2026-02-31")


async def test_a_timer_whose_reference_becomes_absurd_fails_alone(bench: Bench) -> None:
    id = bench.start(
        work("a", output="P4000000D"), step("b", "timer", {"duration": "${{ steps.a.output }}"}, needs=["a"])
    )
    await bench.until_step(id, "b", "failed")
    assert (await bench.until(id))["status"] == "failed"
    assert bench.status(await bench.finish(work("c"))) == "succeeded", "the engine goes on"


# -- how large --------------------------------------------------------------------------------------------------------


async def test_more_steps_than_2000(bench: Bench) -> None:
    error = bench.refused(*(work(f"s{index}") for index in range(2_001)))
    wrong(error, Invalid, "/steps", "2,000")


async def test_2000_steps_are_taken(bench: Bench) -> None:
    found = bench.call("execution.check", steps=[work(f"s{index}") for index in range(2_000)])
    assert (found["ok"], len(found["order"])) == (True, 2_000)


async def test_a_fan_out_of_more_than_10000(bench: Bench) -> None:
    wrong(bench.refused(work("a", foreach=list(range(10_001)))), Invalid, "/steps/0/foreach", "10001", "10000")
    axes = {name: list(range(101)) for name in ("x", "y")}
    wrong(bench.refused(work("a", matrix={"axes": axes})), Invalid, "/steps/0/matrix", "10201", "10000")
    over = step("a", "map", {"over": list(range(10_001)), "kind": "work"})
    wrong(bench.refused(over), Invalid, "/steps/0/foreach", "10001")


async def test_a_run_that_becomes_too_large_fails_at_the_fan_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "RUN_LIMIT", 10)
    id = await bench.finish(
        work("a", foreach=[1, 2, 3]), work("b", "a", foreach="${{ steps.a.output }}"), work("c", "b", foreach=[1, 2])
    )
    found = bench.steps(id)
    assert len(found) == 9
    assert (found["b"]["status"], found["c"]["status"]) == ("succeeded", "failed")
    assert found["c"]["error"]["word"] == "too_large"
    assert "9 already, and 10 at most" in found["c"]["error"]["message"]


async def test_a_fan_out_that_becomes_too_large_fails_alone(bench: Bench) -> None:
    id = await bench.finish(work("a", output=[0] * 10_001), work("b", "a", foreach="${{ steps.a.output }}"))
    assert bench.steps(id)["b"]["error"]["word"] == "too_large"
    assert len(bench.steps(id)) == 2


async def test_foreach_and_matrix_together(bench: Bench) -> None:
    error = bench.refused(work("a", foreach=[1], matrix={"axes": {"x": [1]}}))
    wrong(error, Invalid, "/steps/0/matrix", "one of them")


async def test_only_what_no_fan_out_becomes(bench: Bench) -> None:
    error = bench.refused(work("test", matrix={"axes": {"os": ["linux", "mac"]}}), only=["test[linx]"])
    wrong(error, Invalid, "/only/0", "test[linx]", "did you mean test[linux]?")
    wrong(bench.refused(work("a", foreach=[1]), work("b"), only=["b"]), Invalid, "/only/0", "b")


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("${{ steps.c.output }}", "steps.c.output", "there is no such step"),
        ("${{ steps.b.output }}", "need not have ended", "add b to its needs"),
        ("${{ step.a.output }}", "names nothing", "it begins with one of inputs, steps"),
        ("${{ inputs.nmae }}", "there is no input nmae", "did you mean name?"),
        ("${{ item }}", "no fan-out", "foreach or matrix"),
        ("${{ matrix.os }}", "no fan-out", "foreach or matrix"),
    ],
)
async def test_a_wrong_reference(bench: Bench, text: str, message: str, hint: str) -> None:
    error = bench.refused(work("a", output={"deep": [text]}), work("b"), inputs={"name": 1})
    wrong(error, Invalid, "/steps/0/input/output/deep/0", message, hint)


async def test_a_reference_that_is_not_closed(bench: Bench) -> None:
    wrong(bench.refused(work("a", output="${{ steps.b")), Invalid, "/steps/0/input", "write ${{ steps.build.output }}")


async def test_wrong_references_in_a_condition_and_a_list(bench: Bench) -> None:
    when = {"value": "${{ steps.b.output }}", "equals": 1}
    wrong(bench.refused(work("a", when=when), work("b")), Invalid, "/steps/0/when/value", "add b to its needs")
    each = "${{ steps.b.output }}"
    wrong(bench.refused(work("a", foreach=each), work("b")), Invalid, "/steps/0/foreach", "add b to its needs")


async def test_a_condition_with_nothing_to_compare(bench: Bench) -> None:
    wrong(bench.refused(work("a", when={"value": 1})), Invalid, "/steps/0/when", "one of equals")
    wrong(bench.refused(work("a", when={"value": 1, "equals": 1, "one_of": [1]})), Invalid, "/steps/0/when", "one of")


# -- commands and folders ---------------------------------------------------------------------------------------------


async def test_a_command_that_is_not_there(bench: Bench) -> None:
    error = bench.refused(command("a", "no-such-program-anywhere", "x"))
    wrong(error, Invalid, "/steps/0/input/run/0", "no-such-program-anywhere", "PATH")
    error = bench.refused(command("a", str(bench.folder.parent / "gone")))
    wrong(error, Invalid, "/steps/0/input/run/0", "gone")


async def test_a_command_that_an_earlier_step_may_make(bench: Bench) -> None:
    for path in (str(bench.folder / "later"), "./later", "${{ inputs.program }}"):
        assert bench.call(
            "execution.check", steps=[command("a", path)], folder=str(bench.folder), inputs={"program": "x"}
        )["ok"]
    error = bench.refused(command("a", "env", env={"PATH": "/nowhere"}))
    wrong(error, Invalid, "/steps/0/input/run/0", "a PATH in env")


async def test_neither_or_both_of_run_and_shell(bench: Bench) -> None:
    wrong(bench.refused(step("a", "command")), Invalid, "/steps/0/input/run", "list of arguments")
    both = step("a", "command", {"run": ["echo"], "shell": "echo"})
    wrong(bench.refused(both), Invalid, "/steps/0/input/run", "shell")
    error = bench.refused(step("a", "command", {"run": "echo a"}))
    wrong(error, Invalid, "/steps/0/input/run", "a list of arguments", "write shell instead of run")
    wrong(bench.refused(step("a", "command", {"run": []})), Invalid, "/steps/0/input/run", "of length >= 1")


async def test_a_reference_inside_a_line_for_the_shell(bench: Bench) -> None:
    for line in ("echo ${{ inputs.name }}", "${{ inputs.name }}"):
        error = bench.refused(command("a", shell=line), inputs={"name": "x; touch harm"})
        wrong(error, Invalid, "/steps/0/input/shell", "pass it by env")
    below = step("s", "sub_run", {"steps": [command("a", shell="echo ${{ run.id }}")]})
    wrong(bench.refused(below), Invalid, "/steps/0/input/steps/0/input/shell", "pass it by env")
    undone = work("a", compensate={"kind": "command", "input": {"shell": "echo ${{ output }}"}})
    wrong(bench.refused(undone), Invalid, "/steps/0/compensate/input/shell", "pass it by env")


@pytest.mark.skipif(os.name == "nt", reason="a line for the shell of POSIX")
async def test_a_reference_passed_by_env_is_no_command(bench: Bench) -> None:
    line = command("a", shell='echo "$NAME"', env={"NAME": "${{ inputs.name }}"})
    id = await bench.finish(line, inputs={"name": "x; touch harm"})
    assert bench.steps(id)["a"]["output"]["stdout"] == "x; touch harm\n"
    assert not (bench.folder / "harm").exists()


async def test_a_step_that_works_in_a_folder_and_a_run_without(bench: Bench) -> None:
    wrong(bench.refused(command("a", "echo"), folder=None), Invalid, "/folder", "give the run a folder")


async def test_a_folder_that_is_none(bench: Bench) -> None:
    (bench.folder / "file").touch()
    wrong(bench.refused(work("a"), folder="some/where"), Invalid, "/folder", "relative")
    wrong(bench.refused(work("a"), folder=str(bench.folder / "gone")), Invalid, "/folder", "no folder")
    wrong(bench.refused(work("a"), folder=str(bench.folder / "file")), Invalid, "/folder", "no folder")


@pytest.fixture
def outside(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not below that of the run, and a link in that one which leads there."""
    other = tmp_path_factory.mktemp("outside")
    (bench.folder / "link").symlink_to(other, target_is_directory=True)
    (bench.folder / "sub").mkdir()
    return other


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("where", ["..", "sub/../..", "{outside}", "link", "link/deeper"])
async def test_a_working_directory_outside(bench: Bench, outside: Path, where: str) -> None:
    cwd = where.format(outside=outside)
    wrong(bench.refused(command("a", "echo", cwd=cwd)), Invalid, "/steps/0/input/cwd", "out of the folder")
    path = f"{cwd}/file"
    edit = step("a", "file_edit", {"path": path, "content": "x"})
    wrong(bench.refused(edit), Invalid, "/steps/0/input/path", "out of the folder")
    wrong(bench.refused(command("a", "echo", artifacts=["../*"])), Invalid, "/steps/0/input/artifacts/0", "out of")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
async def test_a_working_directory_that_leads_outside_when_it_runs(bench: Bench, outside: Path) -> None:
    id = bench.start(work("a", hold=True), command("b", "touch", "made", cwd="new", needs="a"))
    await bench.world.until(lambda: bench.world.begun)
    (bench.folder / "new").symlink_to(outside)
    bench.world.let_go()
    await bench.until(id)
    assert bench.steps(id)["b"]["error"]["word"] == "outside"
    assert not list(outside.iterdir())


async def test_a_file_edit_that_says_too_much_or_too_little(bench: Bench) -> None:
    for more in ({}, {"content": "x", "delete": True}, {"content": "x", "replace": [{"old": "a", "new": "b"}]}):
        edit = step("a", "file_edit", {"path": "f", **more})
        wrong(bench.refused(edit), Invalid, "/steps/0/input/content", "exactly one of")


# -- secrets ----------------------------------------------------------------------------------------------------------


def _hides(error: Error) -> None:
    told = f"{error.to_wire()} {error} {error.__cause__}"
    assert TOKEN not in told
    assert TOKEN[8:] not in told


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"output": {"deep": [f"Bearer {TOKEN}"]}}, "/steps/0/input/output/deep/0"),
        ({"compensate": {"kind": "work", "input": {"output": TOKEN}}}, "/steps/0/compensate/input/output"),
        ({"foreach": [TOKEN]}, "/steps/0/foreach/0"),
        ({"matrix": {"axes": {"key": [TOKEN]}}}, "/steps/0/matrix/axes/key/0"),
        ({"when": {"value": 1, "equals": TOKEN}}, "/steps/0/when/equals"),
    ],
)
async def test_a_secret_in_clear(bench: Bench, more: dict[str, Any], field: str) -> None:
    error = bench.refused(work("a", **more))
    wrong(error, Refused, field, "a GitHub token", "secret://")
    assert error.data["rule"] == "secret"
    _hides(error)


async def test_a_secret_in_clear_in_other_places(bench: Bench) -> None:
    shell = step("a", "command", {"shell": f"curl -H 'Authorization: {TOKEN}' x"})
    for error, field in (
        (bench.refused(shell), "/steps/0/input/shell"),
        (bench.refused(command("a", "echo", env={"TOKEN": TOKEN})), "/steps/0/input/env/TOKEN"),
        (bench.refused(work("a"), inputs={"token": TOKEN}), "/inputs/token"),
        (bench.refused(step("a", "map", {"over": [1, TOKEN], "kind": "work"})), "/steps/0/foreach/1"),
        (
            bench.refused(step("a", "sub_run", {"steps": [work("b", output=TOKEN)]})),
            "/steps/0/input/steps/0/input/output",
        ),
    ):
        wrong(error, Refused, field, "secret://")
        _hides(error)


async def test_a_secret_in_clear_in_the_name_of_something(bench: Bench) -> None:
    error = bench.refused(command("a", "echo", env={TOKEN: "1"}))
    assert isinstance(error, Refused)
    _hides(error)


async def test_a_secret_that_no_plugin_keeps(bench: Bench) -> None:
    wrong(bench.refused(work("a", secret="secret://x/y")), Invalid, "/steps/0", "enable the plugin secrets")


async def test_a_secret_inside_a_longer_value_that_no_plugin_keeps(bench: Bench) -> None:
    error = bench.refused(command("a", "env", env={"AUTH": "Bearer secret://x/y"}))
    wrong(error, Invalid, "/steps/0", "enable the plugin secrets")
    bench.start(work("a", output="say secret://x/y to the vault"))  # a text that speaks of one


async def test_a_secret_in_a_change_of_a_rewind(bench: Bench) -> None:
    id = await bench.finish(work("a"))
    runs = bench.rows("runs")
    with pytest.raises(Refused) as caught:
        bench.call("execution.runs.rewind", id=id, step="a", change={"output": TOKEN})
    _hides(caught.value)
    assert bench.rows("runs") == runs


# -- what undoes a step -----------------------------------------------------------------------------------------------


def undone_by(value: str, key: str = "a", needs: str = "") -> dict[str, Any]:
    return work(key, needs, compensate={"kind": "work", "input": {"output": value}})


@pytest.mark.parametrize(
    ("text", "part"),
    [("outputs", "names nothing"), ("inputs.no", "there is no input no"), ("steps.zzz.output", "no such step"),
     ("item", "no fan-out")],
)  # fmt: skip
async def test_a_reference_in_what_undoes_a_step(bench: Bench, text: str, part: str) -> None:
    error = bench.refused(undone_by("${{ " + text + " }}"))
    wrong(error, Invalid, "/steps/0/compensate/input/output", part)


async def test_what_undoes_a_step_may_name_its_output_and_any_step(bench: Bench) -> None:
    id = await bench.finish(undone_by("${{ output }} ${{ steps.b.status }}"), work("b", "a", fails=1), inputs={})
    assert bench.steps(id)["a'"]["output"] == "null failed"


async def test_output_is_a_word_only_of_what_undoes_a_step(bench: Bench) -> None:
    wrong(bench.refused(work("a", output="${{ output }}")), Invalid, "/steps/0/input/output", "names nothing")


async def test_a_reference_in_a_matrix(bench: Bench) -> None:
    error = bench.refused(work("a", matrix={"axes": {"x": ["${{ inputs.y }}"]}}), inputs={"y": 1})
    wrong(error, Invalid, "/steps/0/matrix", "no references", "foreach")


@pytest.mark.parametrize("kind", ["approval", "signal", "timer"])
async def test_a_wait_that_is_to_be_taken_from_another_run(bench: Bench, kind: str) -> None:
    input = {"approval": {"prompt": "?"}, "signal": {"name": "go"}, "timer": {"duration": "PT1H"}}[kind]
    wrong(bench.refused(step("w", kind, input, cache=True)), Invalid, "/steps/0/cache", "no result for another run")
