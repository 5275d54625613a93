"""Steps of kind `command`: a program in a session of its own, which goes on when the daemon dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import mimetypes
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from coder_local.api import Effect, Fault, Found, Safety, Snapshot, StepError, StepRun, WorkKind, parse_duration
from coder_plugins.execution.definitions.rules import seconds_of
from coder_plugins.execution.processes import (
    Alive,
    Child,
    Command,
    Ended,
    Exit,
    LaunchError,
    NotBegun,
    Vanished,
    find,
    iterate_frames,
    start,
    tail_frames,
    unbroken,
)
from coder_plugins.execution.processes.shim.frames import NAME, STDOUT
from coder_plugins.execution.rules.clear import SCHEME
from coder_plugins.execution.rules.references import as_text, refers

from .folders import inside, is_absolute, leads_out, outside
from .records import CommandInput
from .secrets import in_clear

_TAIL = 64 * 1024
"""Bytes of standard output that stand in the output of the step; the log has more."""
_JSON_LIMIT = 16 * 1024 * 1024
_ARTIFACT_LIMIT = 256 * 1024 * 1024
_GRACE = 10.0
_LONGEST_GRACE = 3_600.0
_OWN = "CODER_LOCAL_"
_STOPPED = "stopped"
"""A file in the folder of an attempt: its program was stopped with the daemon, and did not end by itself."""
_GONE = "the program was begun and is gone, and nobody saw its end"
_STOPPED_WITH = "the program was stopped with the daemon, before it came to its end"


class CommandKind(WorkKind[CommandInput]):
    """Run a program with its arguments; a shell only where one is asked for by name."""

    name = "command"
    input = CommandInput
    process = True
    needs_folder = True

    def safety(self, read: Snapshot, input: CommandInput, /) -> Safety:  # noqa: ARG002
        return Safety.DESTRUCTIVE

    def effect(self, read: Snapshot, input: CommandInput, /) -> Effect:  # noqa: ARG002
        return Effect.ADOPTABLE

    def check(self, read: Snapshot, input: CommandInput, /) -> Iterable[Fault]:  # noqa: ARG002
        if (input.run is None) == (input.shell is None):
            yield Fault("/run", "give either run, a list of arguments, or shell, a line for the shell", None)
        if input.shell is not None and refers(input.shell):  # what a value holds would be read as commands
            told = "a reference inside a line for the shell could become a command of its own"
            yield Fault("/shell", told, 'pass it by env: {"NAME": "${{ ... }}"}, and write "$NAME" in the line')
        for index, pattern in enumerate(input.artifacts):
            if is_absolute(pattern) or leads_out(pattern):
                yield Fault(f"/artifacts/{index}", f"{pattern} leads out of the folder", "name files below it")
        for name in input.env:
            if not name or "=" in name or name.startswith(_OWN):
                yield Fault(f"/env/{name}", f"{name!r} cannot be set", f"no `=` in it, and not {_OWN}...")

        if input.grace is not None and seconds_of(input.grace) > _LONGEST_GRACE:
            yield Fault("/grace", f"a grace cannot be {input.grace}", "at most PT1H")

    def check_in(self, folder: Path, input: CommandInput, /) -> Iterable[Fault]:
        yield from outside(folder, input.cwd or ".", "/cwd")
        yield from _program_faults(folder, input)

    async def run(self, step: StepRun, input: CommandInput, /) -> Any:
        try:
            # it may run already, and who does not know it cannot stop it
            child, cancelled = await unbroken(start(step.folder, await _command(step, input)))
        except LaunchError as error:
            raise StepError(
                error.message, word="not_found", retry=False, data={"field": error.field, "hint": error.hint}
            ) from error
        if cancelled:
            await _let_go(step, input, child)
        return await _watch(step, input, child)

    async def recover(self, step: StepRun, input: CommandInput, /) -> Found:
        found, cancelled = await unbroken(asyncio.to_thread(find, step.folder, step.facts.get("machine")))
        if cancelled and isinstance(found, (NotBegun, Vanished)):
            raise asyncio.CancelledError
        stopped = (step.folder / _STOPPED).exists()
        if isinstance(found, NotBegun):
            return Found(state="not_begun")
        try:
            if isinstance(found, Alive):
                if cancelled:
                    await _let_go(step, input, found.child)
                return Found(state="done", output=await _watch(step, input, found.child))
            if isinstance(found, Ended):
                return Found(state="done", output=_judge(step, input, found.exit))
        except StepError as error:
            if error.word != "vanished" and not stopped:
                return Found(state="failed", message=error.message, word=error.word, data=error.data)
        return await _ask_check(step, input, _STOPPED_WITH if stopped else _GONE)


def _program_faults(folder: Path, input: CommandInput) -> Iterable[Fault]:
    """Yield a fault for a program that is not there; one below the folder may be made by a step before."""
    path = as_text(input.env.get("PATH", os.environ.get("PATH", "")))
    name = as_text(input.run[0]) if input.run else ""
    if not name or refers(name) or refers(path) or SCHEME in path:
        return
    if not is_absolute(name):
        if not os.path.dirname(name) and shutil.which(name, path=path) is None:  # noqa: PTH120 - `./x` is no `x`
            yield Fault("/run/0", f"there is no program {name} on the PATH", "give its path, or a PATH in env")
    elif not Path(name).is_file() and folder.resolve() not in Path(name).resolve().parents:
        yield Fault("/run/0", f"there is no program {name}", "give the path of one that is there")


async def _watch(step: StepRun, input: CommandInput, child: Child) -> Any:
    """Wait for the end of a program, and stop it with all its children when the step is cancelled."""
    try:
        output = _judge(step, input, await child.wait())
        await _keep_artifacts(step, input)
    except asyncio.CancelledError:
        await _let_go(step, input, child)
        raise
    return output


async def _let_go(step: StepRun, input: CommandInput, child: Child) -> None:
    """Stop a program whose step is cancelled, or leave it running where only the daemon stops. Raises what follows."""
    if step.parking and input.on_daemon_death == "adopt":
        await child.detach()
        raise asyncio.CancelledError
    if step.parking:
        (step.folder / _STOPPED).touch()  # before its end can be there, which would be taken for one of its own
    _note(step, await _stop(step, input, child))
    raise StepError("it was stopped", word="stopped", data={"signal": step.signal}) from None


async def _stop(step: StepRun, input: CommandInput, child: Child) -> Exit:
    """Stop a program; if it is cancelled again meanwhile, with less grace, it is stopped sooner."""
    grace = _grace(step, input)
    stops = {asyncio.ensure_future(child.stop(grace))}
    while not all(stop.done() for stop in stops):
        try:
            await asyncio.wait(stops)
        except asyncio.CancelledError:
            if _grace(step, input) < grace:
                grace = _grace(step, input)
                stops.add(asyncio.ensure_future(child.stop(grace)))
    return stops.pop().result()


async def _keep_artifacts(step: StepRun, input: CommandInput) -> None:
    if not input.artifacts or step.root is None:
        return
    base = inside(step.root, input.cwd or ".")
    for pattern in input.artifacts:
        for path in sorted(base.glob(pattern)):
            if path.is_file() and base in path.resolve().parents:
                if path.stat().st_size > _ARTIFACT_LIMIT:
                    raise StepError(f"{path.name} is larger than an artifact may be", word="too_large", retry=False)
                content = await asyncio.to_thread(path.read_bytes)
                media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                await step.keep(path.relative_to(base).as_posix(), content, media_type=media)


def _grace(step: StepRun, input: CommandInput) -> float:
    if step.grace is not None:
        return step.grace
    return _GRACE if input.grace is None else parse_duration(input.grace).total_seconds()


async def _command(step: StepRun, input: CommandInput) -> Command:
    assert step.root is not None  # noqa: S101 - a run without a folder was refused
    masked: list[str] = []
    own: dict[str, str] = {}
    for name, value in input.env.items():
        own[name], secrets = await in_clear(step, value)
        masked += secrets
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    told = {
        "CODER_LOCAL_RUN": step.run,
        "CODER_LOCAL_STEP": step.key,
        "CODER_LOCAL_ATTEMPT_NUMBER": str(step.attempt),
        "CODER_LOCAL_IDEMPOTENCY_KEY": step.idempotency_key,
    }
    return Command(
        argv=tuple(_arguments(input)),
        cwd=inside(step.root, input.cwd or "."),
        env={**inherited, **own, **told},
        mask=tuple(masked),
        on_daemon_death=input.on_daemon_death,
    )


def _arguments(input: CommandInput) -> Sequence[str]:
    if input.run is not None:
        return [as_text(each) for each in input.run]
    assert input.shell is not None  # noqa: S101 - `check` saw to it
    if sys.platform == "win32":
        return ["cmd.exe", "/d", "/s", "/c", input.shell]
    return ["/bin/sh", "-c", input.shell]


def _note(step: StepRun, ended: Exit) -> None:
    step.exit_code = ended.code
    if ended.signal is not None:
        step.signal = _signal_name(ended.signal)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _judge(step: StepRun, input: CommandInput, ended: Exit) -> dict[str, Any]:
    """Return the output of a program that ended well. Raises `StepError` if it did not."""
    _note(step, ended)
    if ended.lost:
        raise StepError("the program is gone, and nobody saw its end", word="vanished", retry=False)
    output = _output(step.folder / NAME, input)
    seen = {"exit_code": ended.code, "signal": step.signal, **output}
    if ended.signal is not None:
        raise StepError(f"it was ended by {step.signal}", word="signal", data=seen)
    if ended.code not in input.ok_codes:
        raise StepError(f"it ended with exit code {ended.code}", word="exit", data=seen)
    if input.output == "json" and "json" not in output:
        raise StepError("its standard output is no JSON", word="output", retry=False, data=seen)
    return seen


def _output(log: Path, input: CommandInput) -> dict[str, Any]:
    if input.output == "none":
        return {}
    if input.output == "text":
        return {"stdout": tail_frames(log, _TAIL, STDOUT).decode("utf-8", "replace")}
    parts: list[bytes] = []
    size = 0
    for frame in iterate_frames(log):
        if frame.stream == STDOUT:
            parts.append(frame.data)
            size += len(frame.data)
        if size > _JSON_LIMIT:
            return {"stdout": b"".join(parts)[-_TAIL:].decode("utf-8", "replace")}
    text = b"".join(parts)
    with contextlib.suppress(msgspec.DecodeError):
        return {"json": msgspec.json.decode(text)}
    return {"stdout": text[-_TAIL:].decode("utf-8", "replace")}


async def _ask_check(step: StepRun, input: CommandInput, message: str) -> Found:
    """Ask the step's own `check` whether it was done, for nobody saw its own end."""
    gone = Found(state="unknown", message=message)
    if input.check is None or step.root is None:
        return gone
    asked = msgspec.structs.replace(
        await _command(step, input), argv=tuple(map(as_text, input.check)), on_daemon_death="kill"
    )
    try:
        ended = await _run_check(step, input, asked)
    except LaunchError as error:
        return Found(state="unknown", message=f"its check could not be run: {error.message}")
    if ended.code == 0:
        return Found(state="done", output={"exit_code": None, "checked": True})
    return Found(state="not_begun") if ended.code == 1 else gone


async def _run_check(step: StepRun, input: CommandInput, asked: Command) -> Exit:
    """Run a check to its end, or stop it when the step is cancelled. Raises `LaunchError` if it cannot be begun."""
    folder = next(each for n in itertools.count(1) if not (each := step.folder / f"check{n}").exists())
    folder.mkdir(mode=0o700)  # one for each time: a daemon may have died while it checked
    child, cancelled = await unbroken(start(folder, asked))
    try:
        if cancelled:
            raise asyncio.CancelledError
        return await child.wait()
    except asyncio.CancelledError:
        await _stop(step, input, child)
        raise
