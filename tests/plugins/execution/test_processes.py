"""Commands as steps: their ends, their times, and that nothing of them is left. Acceptance 6 is here."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from coder_plugins.execution.kinds import command as kind
from coder_plugins.execution.processes import Child, Command
from coder_plugins.execution.records import ExecutionSettings

from .bench import Bench, command, step

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="these are shells of POSIX")]


async def gone(pid: int) -> bool:
    """Tell whether a process is gone, waiting a little for who reaps it."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False


async def pid_in(bench: Bench, name: str) -> int:
    """Wait for a file that a command writes, and return the number in it."""
    path = bench.folder / name
    async with asyncio.timeout(10):
        while not path.exists() or not path.read_text().strip():
            await asyncio.sleep(0.005)
    return int(path.read_text())


async def test_a_command_its_output_and_its_environment(bench: Bench) -> None:
    (bench.folder / "sub").mkdir()
    own = "$CODER_LOCAL_RUN $CODER_LOCAL_STEP $CODER_LOCAL_ATTEMPT_NUMBER $CODER_LOCAL_IDEMPOTENCY_KEY"
    shell = f'pwd; echo "{own} $MINE"; echo e >&2'
    id = await bench.finish(command("a", shell=shell, cwd="sub", env={"MINE": "x"}))
    output = bench.steps(id)["a"]["output"]
    assert output == {
        "exit_code": 0, "signal": None, "stdout": f"{bench.folder.resolve() / 'sub'}\n{id} a 1 {id}/a x\n",
    }  # fmt: skip
    pieces = bench.call("execution.logs", run=id, step="a")["items"]
    assert ("stderr", "e\n") in [(each["stream"], each["text"]) for each in pieces]
    assert bench.attempts(id, "a")[0]["exit_code"] == 0


async def test_arguments_are_not_read_by_a_shell(bench: Bench) -> None:
    id = await bench.finish(command("a", "echo", "$HOME", "*", "; exit 3"))
    assert bench.steps(id)["a"]["output"]["stdout"] == "$HOME * ; exit 3\n"


async def test_exit_codes(bench: Bench) -> None:
    id = await bench.finish(
        command("bad", shell="echo seen; exit 3"), command("ok", shell="exit 3", ok_codes=[0, 3]),
        command("killed", shell="kill -TERM $$"),
    )  # fmt: skip
    found = bench.steps(id)
    assert (found["bad"]["error"]["word"], found["bad"]["error"]["message"]) == ("exit", "it ended with exit code 3")
    assert found["bad"]["error"]["data"] == {"exit_code": 3, "signal": None, "stdout": "seen\n"}
    assert found["ok"]["output"]["exit_code"] == 3
    assert (found["killed"]["error"]["word"], bench.attempts(id, "killed")[0]["signal"]) == ("signal", "SIGTERM")


async def test_json_for_the_steps_after_it(bench: Bench) -> None:
    id = await bench.finish(
        command("a", "echo", '{"n": [1, 2]}', output="json"), command("none", "echo", "x", output="none"),
        command("bad", "echo", "no json", output="json"),
        command("b", "echo", "n${{ steps.a.output.json.n.1 }}", needs="a"),
    )  # fmt: skip
    found = bench.steps(id)
    assert found["b"]["output"]["stdout"] == "n2\n"
    assert "stdout" not in found["none"]["output"]
    assert found["bad"]["error"]["word"] == "output"


async def test_6_a_command_that_ignores_the_soft_signal(bench: Bench) -> None:
    shell = 'trap "" INT TERM; sleep 60 & echo $! > child; echo $$ > own; wait; sleep 60'
    begun = time.monotonic()
    id = await bench.finish(command("a", shell=shell, grace="PT1S", more={"timeout": "PT2S"}))
    assert time.monotonic() - begun < 4
    attempt = bench.attempts(id, "a")[0]
    assert (attempt["error"]["word"], attempt["signal"]) == ("timeout", "SIGKILL")
    assert bench.steps(id)["a"]["status"] == "failed"
    for name in ("own", "child"):
        assert await gone(int((bench.folder / name).read_text())), name


async def test_cancel_ends_a_command_and_all_its_children(bench: Bench) -> None:
    child = "import os, time; open('deep', 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import subprocess, sys, time;"
        f" subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True); time.sleep(60)"
    )
    id = bench.start(command("a", sys.executable, "-c", code), command("b", "echo", needs="a"))
    deep = await pid_in(bench, "deep")
    begun = time.monotonic()
    bench.call("execution.runs.cancel", id=id, grace=0.5)
    assert bench.status(id) == "cancelling"
    assert (await bench.until(id))["status"] == "cancelled"
    assert time.monotonic() - begun < 5
    assert await gone(deep)
    assert bench.attempts(id, "a")[0]["signal"] is not None
    assert bench.statuses(id) == {"a": "cancelled", "b": "cancelled"}


async def test_cancel_while_a_command_is_cancelled_already_is_hastened(bench: Bench) -> None:
    shell = 'trap "" INT TERM; echo $$ > own; while true; do sleep 0.05; done'
    id = bench.start(command("a", shell=shell))
    own = await pid_in(bench, "own")
    begun = time.monotonic()
    bench.call("execution.runs.cancel", id=id, grace=30)
    bench.call("execution.runs.cancel", id=id, grace=0)
    await bench.until(id)
    assert time.monotonic() - begun < 5
    assert await gone(own)


async def test_a_command_goes_on_over_a_crash_and_is_not_begun_again(bench: Bench) -> None:
    shell = "echo begun >> effects; while [ ! -e go ]; do sleep 0.01; done; echo whole; exit 0"
    id = bench.start(command("a", shell=shell), command("b", "echo", needs="a"))
    async with asyncio.timeout(10):
        while not (bench.folder / "effects").exists():
            await asyncio.sleep(0.005)
    await bench.crash()
    (bench.folder / "go").touch()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert (bench.folder / "effects").read_text() == "begun\n"
    assert bench.steps(id)["a"]["output"]["stdout"] == "whole\n"
    assert [each["state"] for each in bench.attempts(id, "a")] == ["done"]


async def test_one_that_was_taken_up_and_fails_counts_among_its_attempts(bench: Bench) -> None:
    retry = {"max": 2, "first": "PT0S", "jitter": "none"}
    shell = "echo $$ >> ran; while [ ! -e go ]; do sleep 0.02; done; exit 3"
    id = bench.start(command("a", shell=shell, more={"retry": retry}))
    await pid_in(bench, "ran")
    await bench.crash()
    await bench.restart()
    (bench.folder / "go").touch()
    assert (await bench.until(id))["status"] == "failed"
    assert [each["state"] for each in bench.attempts(id, "a")] == ["failed", "failed"]
    assert len((bench.folder / "ran").read_text().split()) == 2


async def test_a_stop_leaves_a_command_that_is_adopted_and_ends_one_that_is_not(bench: Bench) -> None:
    wait = "while [ ! -e go ]; do sleep 0.01; done"
    id = bench.start(
        command("keep", shell=f"echo $$ > keep; {wait}; echo kept"),
        command("end", shell=f"echo $$ > end; {wait}", on_daemon_death="kill"),
    )
    keep, end = await pid_in(bench, "keep"), await pid_in(bench, "end")
    await bench.engine.stop()
    assert psutil.pid_exists(keep)
    assert await gone(end)
    (bench.folder / "go").touch()
    await bench.restart()
    await bench.until_step(id, "keep", "succeeded", "failed")
    assert bench.steps(id)["keep"]["output"]["stdout"] == "kept\n"
    await bench.until(id, "needs_decision")
    assert "was stopped with the daemon" in bench.waits(id)["end"]["prompt"]
    bench.call("execution.runs.resume", id=id, step="end", choice="retry")
    assert (await bench.until(id))["status"] == "succeeded"


@pytest.mark.parametrize("shell", ["exit 130", "kill -KILL $$", "exit 0"])
async def test_a_program_that_a_stop_ended_is_judged_as_any_that_was_cut_off(bench: Bench, shell: str) -> None:
    """However it takes the signal; one that comes to a good end in its grace has done its work."""
    hold = f"trap '{shell}' INT; echo $$ >> ran; [ -e again ] || {{ touch again; while :; do sleep 0.05; done; }}"
    id = bench.start(command("a", shell=hold, on_daemon_death="kill", more={"idempotent": True}))
    await pid_in(bench, "ran")
    await bench.engine.stop()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    states = ["done"] if shell == "exit 0" else ["unknown", "done"]
    assert [each["state"] for each in bench.attempts(id, "a")] == states


async def test_the_check_of_a_program_that_a_stop_ended(bench: Bench) -> None:
    hold = "echo x >> made; while :; do sleep 0.05; done"
    id = bench.start(command("a", shell=hold, on_daemon_death="kill", check=["test", "-e", "made"]))
    async with asyncio.timeout(10):
        while not (bench.folder / "made").exists():
            await asyncio.sleep(0.005)
    await bench.engine.stop()
    await bench.restart()
    await bench.until(id)
    assert bench.steps(id)["a"]["output"] == {"exit_code": None, "checked": True}


async def test_numbers_among_the_variables(bench: Bench) -> None:
    id = await bench.finish(command("c", shell="echo $PORT $PART", env={"PORT": 8080, "PART": 0.5}))
    assert bench.steps(id)["c"]["output"]["stdout"] == "8080 0.5\n"


async def test_programs_run_no_more_at_once_than_the_settings_say(bench: Bench) -> None:
    bench.box.configure(ExecutionSettings(processes=2))
    shell = "mkdir lock$$ && ls -d lock* | wc -l; sleep 0.05; rmdir lock$$"
    id = await bench.finish(command("f", shell=shell, more={"foreach": list(range(6))}))
    counts = [int(each["output"]["stdout"]) for each in bench.steps(id).values() if each["role"] == "item"]
    assert len(counts) == 6
    assert max(counts) <= 2


async def test_a_program_that_is_gone_when_it_is_to_begin(bench: Bench) -> None:
    id = await bench.finish(command("a", "./later"), step("t", "timer", {"duration": "PT0S"}))
    error = bench.steps(id)["a"]["error"]
    assert error["word"] == "not_found"
    assert len(bench.attempts(id, "a")) == 1


async def test_numbers_among_the_arguments(bench: Bench) -> None:
    matrix = {"axes": {"py": [3.12, 3]}}
    id = await bench.finish(command("c", "echo", "${{ matrix.py }}", 7, more={"matrix": matrix}))
    assert [each["stdout"] for each in bench.steps(id)["c"]["output"]] == ["3.12 7\n", "3 7\n"]


async def test_a_second_cancel_with_less_grace_overtakes_the_first(bench: Bench) -> None:
    id = bench.start(command("c", shell="trap '' INT TERM; echo $$ > pid; while :; do sleep 0.05; done"))
    pid = await pid_in(bench, "pid")
    bench.call("execution.runs.cancel", id=id, grace=600)
    await bench.turn()
    bench.call("execution.runs.cancel", id=id, grace=0)
    assert (await bench.until(id))["status"] == "cancelled"
    assert await gone(pid)


async def test_a_program_that_is_cancelled_as_it_begins_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, go = kind.start, asyncio.Event(), asyncio.Event()

    async def slow(folder: Path, what: Command) -> Child:
        child = await real(folder, what)
        begun.set()
        await go.wait()
        return child

    monkeypatch.setattr(kind, "start", slow)
    id = bench.start(command("c", shell="echo $$ > pid; sleep 60"))
    await begun.wait()
    pid = await pid_in(bench, "pid")
    bench.call("execution.runs.cancel", id=id, grace=0)
    await bench.turn()
    go.set()
    assert (await bench.until(id))["status"] == "cancelled"
    assert await gone(pid)


async def test_a_program_that_is_cancelled_while_it_is_looked_for_after_a_crash_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, go = kind.find, threading.Event(), threading.Event()

    def slow(folder: Path, boot: str | None = None) -> Any:
        begun.set()
        assert go.wait(10)
        return real(folder, boot)

    id = bench.start(command("c", shell="echo $$ > pid; while :; do sleep 0.05; done"))
    pid = await pid_in(bench, "pid")
    await bench.crash()
    monkeypatch.setattr(kind, "find", slow)
    await bench.restart()
    assert await asyncio.to_thread(begun.wait, 10)
    bench.call("execution.runs.cancel", id=id, grace=0)
    await bench.turn()
    go.set()
    assert (await bench.until(id))["status"] == "cancelled"
    assert await gone(pid)


async def checking(bench: Bench) -> tuple[str, int]:
    """Return a run whose only program was killed with the daemon, and the check that is asked about it."""
    check = ["/bin/sh", "-c", "echo $$ > checking; while [ ! -e go ]; do sleep 0.01; done"]
    id = bench.start(command("a", shell="echo $$ > own; sleep 60", on_daemon_death="kill", check=check))
    await pid_in(bench, "own")
    await bench.engine.stop()
    await bench.restart()
    return id, await pid_in(bench, "checking")


async def test_a_check_that_is_cancelled_is_stopped(bench: Bench) -> None:
    id, pid = await checking(bench)
    bench.call("execution.runs.cancel", id=id, grace=0)
    assert (await bench.until(id))["status"] == "cancelled"
    assert await gone(pid)


async def test_a_check_that_was_cut_off_by_a_crash_is_asked_anew(bench: Bench) -> None:
    id, _ = await checking(bench)
    await bench.crash()
    (bench.folder / "go").touch()
    await bench.restart()
    assert (await bench.until(id))["status"] == "succeeded"
    assert bench.steps(id)["a"]["output"] == {"exit_code": None, "checked": True}
