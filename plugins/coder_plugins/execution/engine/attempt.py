"""One attempt, while it is carried out: what its kind may use, and how its end is told."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, LiteralString

import msgspec

from coder_local.api import Context, Error, Found, StepError, StepRun, Unsupported, Value, WorkKind
from coder_plugins.execution.artifacts.adapters import put
from coder_plugins.execution.logs.adapters.files import LogWriter, attempt_folder, output_bytes
from coder_plugins.execution.machine.attempts import Ended, Job, Kept
from coder_plugins.execution.machine.making import under
from coder_plugins.execution.processes import STDERR, STDOUT, unbroken
from coder_plugins.execution.processes.shim.frames import NAME
from coder_plugins.execution.records import INLINE_LIMIT, LARGE
from coder_plugins.execution.rules.clear import mask
from coder_plugins.execution.runs.records import StepFault

_log = logging.getLogger("coder_local.execution")
STOPPED = "stopped"
"""The word of a `StepError` by which a kind tells that it has stopped what it was cancelled in."""
AGAIN_S = 2.0
"""Seconds between two tries to write a large output on a disk that is full."""
LEAST_S = 30.0
"""Seconds that an attempt is given at least after a restart, for the time it was not watched is not its fault."""


_LONG = 256 * 1024


class Attempting(StepRun):
    """An attempt as its kind sees it."""

    def __init__(self, ctx: Context, job: Job) -> None:
        self.job = job
        self.run = job.run
        self.key = job.key
        self.attempt = job.n
        self.idempotency_key = job.idempotency_key
        self.root = None if job.root is None else Path(job.root)
        self.facts = job.facts
        self.grace = None if job.grace_ms is None else job.grace_ms / 1000
        self.masked: list[str] = []
        self.kept: list[Kept] = []
        self.recovering = job.state == "recover"
        self._ctx = ctx
        self._acting: Context | None = None
        self._writer: LogWriter | None = None
        self._folder = attempt_folder(ctx.folder, job.run, job.key, job.n)

    @property
    def folder(self) -> Path:  # type: ignore[override]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    async def call(self, name: LiteralString, /, **input: Any) -> Any:
        if self._acting is None:
            self._acting = self._ctx.acting(self.job.rights, f"{self.run}/{self.key}")
        return await self._acting.call(name, **input)

    def offers(self, name: LiteralString, /) -> bool:
        return self._ctx.offers(name)

    async def secret(self, reference: str) -> str:
        if not self._ctx.offers("secrets.resolve"):
            raise Unsupported(
                f"{reference} cannot be had: no plugin keeps secrets",
                hint="enable the plugin secrets",
                data={"plugin": "secrets"},
            )
        text = str(await self.call("secrets.resolve", reference=reference))
        self.masked.append(text)
        return text

    async def keep(self, name: str, content: bytes, *, media_type: str = "application/octet-stream") -> str:
        sha256 = await asyncio.to_thread(put, self._ctx.folder, content)
        self.kept.append(Kept(name=name, sha256=sha256, bytes=len(content), media_type=media_type))
        return sha256

    def log(self, text: str, *, stream: str = "stdout") -> None:
        if self._writer is None:
            self._writer = LogWriter(self.folder)
        self._writer.write(STDERR if stream == "stderr" else STDOUT, text, self.masked)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        amount = f"{done:g}" if total is None else f"{done:g} of {total:g}"
        self.log(f"{amount} {message}\n".replace("  ", " "))

    async def log_bytes(self) -> int:
        """Return how many bytes of output the log has; aside where it is long, for it may have many frames."""
        try:
            size = (self._folder / NAME).stat().st_size
        except OSError:
            return 0
        if size < _LONG:
            return output_bytes(self._folder)
        return (await unbroken(asyncio.to_thread(output_bytes, self._folder)))[0]

    def close(self) -> None:
        """Let go of the log."""
        if self._writer is not None:
            self._writer.close()


async def carry_out(step: Attempting, kind: WorkKind[Any]) -> Ended:
    """Do what a kind does, within the time that there is, and return how it ended. Raises nothing but cancellation."""
    job, begun = step.job, time.monotonic()
    limit = asyncio.timeout(_seconds(job))
    try:
        input: Value = msgspec.convert(job.input, kind.input)
        with under(job.run, job.key):
            async with limit:
                ended = await _act(step, kind, input)
    except StepError as error:
        ended = failed(job, error)
        if limit.expired():
            ended = _late(job, error.data)
    except Error as error:
        ended = _failed(job, error.kind, error.message, error.to_wire(), retry=error.kind not in _HOPELESS)
    except TimeoutError:
        ended = (
            _late(job, {}) if limit.expired() else _failed(job, "timeout", "something it waited for took too long", {})
        )
    except asyncio.CancelledError:
        ended = _ended(job, "cancelled")
    except Exception as error:  # noqa: BLE001 - a plugin's fault fails its step, and not the engine
        ended = _failed(job, "broken", f"{type(error).__name__}: {error}", {})
    return await _settle(step, ended, begun)


async def _act(step: Attempting, kind: WorkKind[Any], input: Value) -> Ended:
    if step.recovering:
        return _found(step.job, await kind.recover(step, input))
    return _done(step.job, await kind.run(step, input))


_HOPELESS = frozenset({"invalid", "not_found", "refused", "unsupported", "too_large", "needs_confirmation"})
"""Kinds of errors that come again however often a step is tried."""


def _seconds(job: Job) -> float:
    timeout = job.timeout_ms / 1000
    return timeout if not job.elapsed_ms else max(timeout - job.elapsed_ms / 1000, min(timeout, LEAST_S))


async def _settle(step: Attempting, ended: Ended, begun: float) -> Ended:
    """Fill in what is known of every end, and keep a large output beside the database."""
    step.close()
    output, error, artifact = ended.output, ended.error, None
    if step.masked:
        output = mask(output, step.masked)
        error = error and msgspec.convert(mask(msgspec.to_builtins(error), step.masked), StepFault)
    try:
        encoded = msgspec.json.encode(output)
    except Exception as reason:  # noqa: BLE001 - a plugin's fault; it was done, so it is not tried again
        ended = _failed(step.job, "output", f"its output is no JSON: {reason}", {}, retry=False)
        output, error, encoded = None, ended.error, b""
    if len(encoded) > INLINE_LIMIT:
        artifact, _ = await unbroken(_keep_large(step, encoded))  # it has ended, and that must be written
        output = None
    data = {} if error is None else error.data
    log_bytes = await step.log_bytes()
    return msgspec.structs.replace(
        ended,
        output=output,
        error=error,
        artifact=artifact,
        active_ms=round((time.monotonic() - begun) * 1000),
        exit_code=step.exit_code if step.exit_code is not None else data.get("exit_code"),
        signal=step.signal or data.get("signal"),
        log_bytes=log_bytes,
        kept=step.kept,
    )


async def _keep_large(step: Attempting, encoded: bytes) -> str:
    """Keep an output beside the database; while the disk is full it is tried again, for it must not be lost."""
    while True:
        try:
            return await step.keep(LARGE, encoded, media_type="application/json")
        except OSError as error:
            if step.parking:
                raise asyncio.CancelledError from error  # its attempt stands open, and the next start judges it
            _log.warning("the output of %s/%s waits to be written: %s", step.run, step.key, error)
            await asyncio.sleep(AGAIN_S)


def failed(job: Job, error: StepError) -> Ended:
    """Return the end of an attempt at which its kind raised: it failed, or it was stopped because it was cancelled."""
    if error.word == STOPPED:
        fault = StepFault(word=error.word, message=error.message, data=msgspec.to_builtins(error.data))
        return _ended(job, "cancelled", error=fault)
    return _failed(job, error.word, error.message, error.data, retry=error.retry)


def _ended(job: Job, state: str, **rest: Any) -> Ended:
    return Ended(run=job.run, key=job.key, n=job.n, state=state, **rest)


def _done(job: Job, output: Any) -> Ended:
    return _ended(job, "done", output=msgspec.to_builtins(output))


def _failed(job: Job, word: str, message: str, data: dict[str, Any], *, retry: bool = True) -> Ended:
    fault = StepFault(word=word, message=message, data=msgspec.to_builtins(data))
    return _ended(job, "failed", error=fault, retry=retry)


def _late(job: Job, data: dict[str, Any]) -> Ended:
    return _failed(job, "timeout", f"it took longer than {job.timeout_ms / 1000:g} s and was stopped", data)


def _found(job: Job, found: Found) -> Ended:
    if found.state == "done":
        return _done(job, found.output)
    if found.state == "not_begun":
        return _ended(job, "lost")
    fault = StepFault(word=found.word, message=found.message, data=found.data)
    if found.state == "failed" and found.word == STOPPED:
        return _ended(job, "cancelled", error=fault)
    return _ended(job, "failed" if found.state == "failed" else "unknown", error=fault)
