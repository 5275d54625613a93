"""The attempts that are carried out: each is a task, and what it comes to is work for the next turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from coder_local.api import Broken, Context, Error, StepError, StepKind, TimedOut, WorkKind
from coder_plugins.execution.machine.attempts import Ended, Job
from coder_plugins.execution.runs.records import StepFault

from .attempt import Attempting, carry_out, failed
from .turn import Prepared, Work

_log = logging.getLogger("coder_local.execution")
At = tuple[str, str, int]
"""Run, key and number of an attempt."""


class Carried:
    """One attempt, while it is carried out."""

    def __init__(self, step: Attempting, *, process: bool) -> None:
        self.step = step
        self.process = process
        """Whether it takes the place of a process."""
        self.overdue = False
        """Whether it is stopped because the deadline of its step has passed."""
        self.go: asyncio.Future[bool] | None = None
        """Told whether it goes on when what was found out before its effect is written."""
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Leave it alone; it is judged by its effect at the next start."""
        self.step.parking = True
        self.stop()

    def stop(self) -> None:
        """Have it stopped."""
        if self.task is not None:
            self.task.cancel()


class Carrying:
    """All attempts that are carried out; `take` is handed what is to be written of them."""

    def __init__(self, ctx: Context, take: Callable[[Work], None]) -> None:
        self._ctx = ctx
        self._take = take
        self._attempts: dict[At, Carried] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def processes(self) -> int:
        """How many of them take the place of a process."""
        return sum(1 for each in self._attempts.values() if each.process)

    @property
    def runs(self) -> list[str]:
        """The runs that they are of, each once."""
        return list(dict.fromkeys(run for run, _, _ in self._attempts))

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What carries them out."""
        return [each.task for each in self._attempts.values() if each.task is not None]

    def begin(self, job: Job, kind: StepKind[Any]) -> None:
        """Carry an attempt out."""
        assert isinstance(kind, WorkKind)  # noqa: S101 - no other kind has attempts
        at = job.run, job.key, job.n
        carried = self._attempts[at] = Carried(Attempting(self._ctx, job), process=kind.process)
        carried.task = asyncio.create_task(self._carry(carried, kind, at), name=f"execution: {job.run}/{job.key}")
        carried.task.add_done_callback(lambda _: self._attempts.pop(at, None))

    async def _carry(self, carried: Carried, kind: WorkKind[Any], at: At) -> None:
        ended = await self._prepare(carried, kind) if carried.step.job.state == "intent" else None
        self._end(at, carried, ended or await carry_out(carried.step, kind))

    async def _prepare(self, carried: Carried, kind: WorkKind[Any]) -> Ended | None:
        """Find out and have written what must be known before the effect; return the end if it does not go on."""
        step, job = carried.step, carried.step.job
        try:
            async with asyncio.timeout(job.timeout_ms / 1000):
                facts = await kind.prepare(step, msgspec.convert(job.input, kind.input))
        except asyncio.CancelledError:
            return Ended(run=job.run, key=job.key, n=job.n, state="cancelled")
        except StepError as error:
            return failed(job, error)
        except TimeoutError:
            return failed(job, StepError("what must be known before it begins took too long", word="timeout"))
        except Exception as error:  # noqa: BLE001 - it fails its step
            return refused(Ended(run=job.run, key=job.key, n=job.n, state="failed"), error)
        carried.go = asyncio.get_running_loop().create_future()
        kept, step.kept = step.kept, []  # they are written with the facts
        self._take(Prepared(job, facts, kept))
        try:
            go = await carried.go
        except asyncio.CancelledError:
            go = False
        step.facts = facts
        return None if go else Ended(run=job.run, key=job.key, n=job.n, state="cancelled")

    def tell(self, prepared: Prepared, go: bool) -> None:
        """Say whether an attempt goes on, for what was found out before its effect is written."""
        carried = self._attempts.get(job_at(prepared))
        if carried is not None and carried.go is not None and not carried.go.done():
            carried.go.set_result(go)

    def _end(self, at: At, carried: Carried, ended: Ended) -> None:
        if carried.step.parking and ended.state != "done":
            return  # it was not stopped, but left: its attempt stands open, and the next start judges it
        if carried.overdue and ended.state == "cancelled":
            ended = _too_late(ended)
        self._attempts.pop(at, None)  # its place is free for the turn that writes its end
        self._take(ended)

    def stop_overdue(self, run: str, key: str) -> None:
        """Stop a step whose deadline has passed."""
        for (of, its, n), carried in self._attempts.items():
            if (of, its) == (run, key):
                _log.info("stopping %s/%s, attempt %d: its deadline has passed", of, its, n)
                carried.overdue = True
                carried.stop()

    def stop_run(self, run: str, grace_ms: int | None) -> None:
        """Stop what is carried out of a run; a program that is being stopped is given less time, if that is asked."""
        grace = None if grace_ms is None else grace_ms / 1000
        for (of, key, n), carried in self._attempts.items():
            step, task = carried.step, carried.task
            sooner = grace is not None and step.grace != grace and step.job.kind == "command"
            if of == run and task is not None and (sooner or not task.cancelling()):
                _log.info("stopping %s/%s, attempt %d", of, key, n)
                if grace is not None:
                    step.grace = grace
                carried.stop()

    async def leave(self, within: float) -> None:
        """Leave programs alone at once, and all others that have not ended `within` seconds."""
        for carried in list(self._attempts.values()):
            if carried.process:
                carried.leave()
        rest = [task for task in self.tasks if not task.done()]
        if rest:
            await asyncio.wait(rest, timeout=within)
        tasks = self.tasks
        for carried in list(self._attempts.values()):
            carried.leave()
        await asyncio.gather(*tasks, return_exceptions=True)  # one may have come to its end all the same


def _too_late(ended: Ended) -> Ended:
    """Return the end of an attempt that was stopped at the deadline of its step."""
    data = {} if ended.error is None else ended.error.data
    fault = StepFault(word="deadline", message="its deadline passed while it worked, and it was stopped", data=data)
    return msgspec.structs.replace(ended, state="failed", error=fault, retry=False)


def job_at(work: Work) -> At:
    """Return which attempt a piece of work is of."""
    of = work if isinstance(work, Ended) else work.job
    return of.run, of.key, of.n


def refused(work: Work, error: Exception) -> Ended:
    """Return the failure of a step whose own result, or operation, could not be written."""
    run, key, n = job_at(work)
    word = error.kind if isinstance(error, Error) else "broken"
    message = error.message if isinstance(error, Error) else f"{type(error).__name__}: {error}"
    if isinstance(error, (TimedOut, Broken)):
        message = f"its result could not be written: {message}"
    retry = word not in {"invalid", "refused", "unsupported", "not_found"}
    return Ended(run=run, key=key, n=n, state="failed", error=StepFault(word=word, message=message), retry=retry)
