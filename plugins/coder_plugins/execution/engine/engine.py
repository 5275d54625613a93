"""The loop of the engine: one turn after the other, and between them the attempts, each a task.

It holds nothing that is not on disk: whoever throws it away and makes another goes on where the last turn ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from coder_local.api import (
    Context,
    Error,
    Heard,
    Locked,
    Stale,
    StepKind,
    Subscription,
    Transaction,
    parse_instant,
)
from coder_plugins.execution.definitions.rules import kinds_of
from coder_plugins.execution.machine.aside import forgive, set_aside
from coder_plugins.execution.machine.attempts import Ended, Job
from coder_plugins.execution.machine.faults import RunFault, tell
from coder_plugins.execution.processes import boot_id
from coder_plugins.execution.records import ExecutionSettings
from coder_plugins.execution.runs.records import ClockJumped

from . import turn as turns
from .carrying import Carrying, job_at, refused
from .turn import Apply, Begun, Prepared, Room, Turn, Work

T = TypeVar("T")
_log = logging.getLogger("coder_local.execution")
LOOK_S = 30.0
"""The longest sleep: a clock that was set, or a machine that slept, is noticed after so long at the latest."""
JUMP_S = 5.0
"""A difference between the two clocks that counts as a jump."""
PARK_S = 8.0
"""Seconds that attempts are given to end when the daemon stops; programs that are adopted are left running at once."""
SOON_S = 600.0
"""A wait that is due within so many seconds keeps the daemon from stopping for want of clients."""
_BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0)
_WAKES = (
    "execution.run.queued", "execution.run.cancelled", "execution.run.resumed", "execution.approval.decided",
    "execution.signal.received", "plugins.plugin.changed",
)  # fmt: skip
"""What a command says that gives the engine something to do. Its own turns say some of them too; one more is cheap."""


class Engine:
    """Carries out what the state machine makes ready. Made for each start of the daemon."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.boot = ""
        self.kinds: dict[str, StepKind[Any]] = {}
        self.carrying = Carrying(ctx, self._take)
        self._turning = False
        self._work: list[Work] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._due: str | None = None
        self._more = False
        self._clocks = (0, 0.0)
        self._stopping = False
        self._plugins_changed = False
        self._aside: dict[str, list[Work]] = {}
        """What stands to be written of runs that were set aside."""
        self._judge_anew = False
        self._at_work: contextlib.AbstractContextManager[None] | None = None
        self.trouble: str | None = None
        """Why results cannot be written now, if they cannot."""
        self.turns = 0
        self._at_once = False
        """Whether operations may be done in the turn that claims them. Not after a crash: one of them may be why, which
        is told by the attempt that it leaves open."""

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Judge what an earlier start left, and begin to work."""
        self.kinds = kinds_of(self._ctx)
        heard = self._ctx.subscribe(*_WAKES)
        try:
            found = await self._past_faults(
                lambda: self._ctx.transact(turns.begin, self.kinds, os.getpid(), not self._aside)
            )
            self.boot, self._at_once = found.boot, found.clean
            self._clocks = self._ctx.now_ms(), time.monotonic()
            await self._judge(found, "the daemon was started again")
        except BaseException:
            heard.close()  # or each start that is tried again would leave one behind
            raise
        self._tasks = [
            asyncio.create_task(self._listen(heard), name="execution: wake"),
            asyncio.create_task(self._loop(), name="execution: turns"),
        ]
        self.wake()

    async def stop(self) -> None:
        """Begin nothing more, let end what ends soon, and leave alone what goes on without the daemon."""
        self._stopping = True
        await self.carrying.leave(PARK_S)
        await self._last_turn()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hold()
        if self._tasks:  # else the start was not done, and what a crash left is still to be judged
            with contextlib.suppress(Error):
                await self._ctx.transact(turns.end, self.boot)

    async def _last_turn(self) -> None:
        """Have written what has ended."""
        self.wake()
        end = time.monotonic() + 1.0
        while (self._work or self._turning) and self.trouble is None and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def wake(self) -> None:
        """Have a turn begun soon."""
        self._wake.set()

    def look_at_plugins(self) -> None:
        """Have the kinds of steps asked for anew: a plugin came or went."""
        self._plugins_changed = True
        self.wake()

    async def _listen(self, heard: Subscription) -> None:
        """Wake the loop at each event that gives it something to do, and for all at once where some were missed."""
        while True:
            try:
                with heard:
                    async for event in heard:
                        self._hear(event)
            except Stale as gap:
                _log.warning("events were missed, so everything is looked at: %s", gap.message)
                heard = self._ctx.subscribe(*_WAKES)
                self._plugins_changed = True
                self._release(*self._aside)
            except Error as error:
                _log.error("the engine hears nothing any more, and looks every %g s: %s", LOOK_S, error.message)
                return
            else:
                return

    def _hear(self, event: Heard) -> None:
        if event.type == "plugins.plugin.changed":
            self._plugins_changed = True
        elif event.type in {"execution.run.resumed", "execution.run.cancelled"} and event.data["run"] in self._aside:
            self._release(event.data["run"])
        self.wake()

    def _release(self, *runs: str) -> None:
        """Go on with runs that were set aside and then resumed."""
        for run in runs:
            self._work += self._aside.pop(run)
            self._judge_anew = True
        self.wake()

    # -- turns --------------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        failures = 0
        while True:
            await self._sleep()
            work, self._work = self._work, []
            try:
                await self._look_at_plugins()
                await self._past_faults(partial(self._turn, work), work)
                failures, self.trouble = 0, None
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - results must not be lost, and the loop must not end
                self._work[:0] = work
                await self._recover_turn(error, work)
                failures += 1
                await asyncio.sleep(_BACK_OFF[min(failures, len(_BACK_OFF)) - 1])
                self.wake()

    async def _look_at_plugins(self) -> None:
        """Ask for the kinds of steps, and let go the runs that were blocked for want of a plugin if any has changed.

        They are asked for in every turn: a plugin that is disabled says so before its kinds are gone.
        """
        self.kinds = kinds_of(self._ctx)
        changed, anew = self._plugins_changed, self._judge_anew
        if not (changed or anew):
            return
        self._plugins_changed = self._judge_anew = False  # now: what is heard meanwhile must not be forgotten
        try:
            if changed:
                await self._ctx.transact(forgive)
            await self._judge(Begun(self.boot, [], ""), "what it waits for may be there")
        except BaseException:
            self._plugins_changed = True
            raise

    async def _judge(self, found: Begun, reason: str) -> None:
        """Judge what an earlier start left, some at a time, and begin to look after what nobody knows the end of."""
        while True:
            for job in found.jobs:
                self._begin(job)
            after = found.after
            if after is None:
                return
            found = await self._past_faults(partial(self._judge_next, after, reason))

    async def _judge_next(self, after: str, reason: str) -> Begun:
        return await self._ctx.transact(turns.judge, self.kinds, self.boot, after, reason)

    async def _turn(self, work: Sequence[Work]) -> None:
        self.turns += 1
        await self._note_jump()
        self._turning = True
        try:
            found = await self._write_turn(work)
        finally:
            self._turning = False
        self._due, self._more = found.due, found.more
        for prepared, go in zip((each for each in work if isinstance(each, Prepared)), found.go, strict=True):
            self.carrying.tell(prepared, go)
        for job in found.jobs:
            if self._stopping:
                self._take(Ended(run=job.run, key=job.key, n=job.n, state="lost"))
            else:
                self._begin(job)
        for run, grace_ms in found.stop:
            self.carrying.stop_run(run, grace_ms)
        for run, key in found.overdue:
            self.carrying.stop_overdue(run, key)
        if found.left:
            self._work[:0] = found.left
        if found.more or found.left:
            self.wake()
        self._hold()

    async def _write_turn(self, work: Sequence[Work]) -> Turn:
        """Make a turn, and where it fails once more with each attempt on disk before its effect.

        One of those that were done at once may be why; then it is known which one.
        """
        given = self.kinds, self.boot, work, self._room(), self.carrying.runs, boot_id()
        if self._at_once:
            try:
                return await self._ctx.transact(turns.turn, *given, True)
            except Locked:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the same turn meets it again or does not
                _log.warning("a turn is made anew, each attempt before its effect: %s", tell(error))
        return await self._ctx.transact(turns.turn, *given, False)

    def _hold(self) -> None:
        """Keep the daemon from stopping for want of clients while steps are done, or are due soon."""
        soon = self._due is not None and parse_instant(self._due).timestamp() - self._ctx.now_ms() / 1000 < SOON_S
        busy = bool(len(self.carrying) or self._work or self._more or soon) and not self._stopping
        if busy and self._at_work is None:
            self._at_work = self._ctx.at_work()
            self._at_work.__enter__()
        elif not busy and self._at_work is not None:
            self._at_work.__exit__(None, None, None)
            self._at_work = None

    async def _past_faults(self, function: Callable[[], Awaitable[T]], work: Sequence[Work] = ()) -> T:
        """Do something in transactions; each run that the state machine fails at is set aside, and it is done anew.

        Raises `RunFault` for a run at which it fails again, and where what could not be saved came from `work`.
        """
        faulted: set[str] = set()
        while True:
            try:
                return await function()
            except RunFault as fault:
                own = fault.saving and any(job_at(each)[0] == fault.run for each in work)
                if own or fault.run in faulted:
                    raise
                faulted.add(fault.run)
                await self._set_aside(fault.run, fault.error)

    async def _set_aside(self, run: str, error: Exception, *work: Work) -> None:
        _log.error("run %s is blocked, for the engine failed at it", run, exc_info=error)
        await self._ctx.transact(set_aside, run, tell(error))
        self._aside.setdefault(run, []).extend(work)

    async def _recover_turn(self, error: Exception, work: Sequence[Work]) -> None:
        """Find the one result that no transaction takes, if the store itself is well, and fail its step.

        Where not even its failure can be written, its run is set aside, and the result kept until it is resumed.
        """
        if isinstance(error, Locked):
            self.trouble = error.message
            _log.warning("results of %d steps wait to be written: %s", len(work), error.message)
            return
        _log.error("a turn failed", exc_info=error)
        kept, self._work = self._work, []
        try:
            self.kinds = kinds_of(self._ctx)
            await self._past_faults(partial(self._turn, []))
        except Exception as own:  # noqa: BLE001 - no result is at fault, so none may be given up
            self.trouble = str(own)
            self._work[:0] = kept
            return
        for each in kept:
            await self._write_one(each)

    async def _write_one(self, each: Work) -> None:
        try:
            await self._past_faults(partial(self._turn, [each]), [each])
        except Locked:
            self._work.append(each)
            return
        except Exception as own:  # noqa: BLE001 - it is told as the failure of its step
            refusal = refused(each, own.error if isinstance(own, RunFault) else own)
        else:
            return
        if isinstance(each, Prepared):
            self.carrying.tell(each, False)
        try:
            await self._past_faults(partial(self._turn, [refusal]), [refusal])
        except Locked:
            self._work.append(refusal)
        except Exception as own:  # noqa: BLE001 - its run is at fault, and no other may wait for it
            kept = refusal if isinstance(each, Prepared) else each
            try:
                await self._set_aside(refusal.run, own, kept)
            except Exception:  # noqa: BLE001 - the store is in trouble just now, and the loop must not end
                self._work.append(kept)

    def _room(self) -> Room:
        if self._stopping:
            return turns.NO_ROOM
        settings = self._ctx.settings(ExecutionSettings)
        processes = self.carrying.processes
        others = len(self.carrying) - processes
        others += sum(1 for each in self._work if isinstance(each, Apply))  # not those of this turn: they end in it
        return Room(max(0, settings.processes - processes), max(0, settings.others - others))

    async def _sleep(self) -> None:
        """Wait until something is to be done, or the next wait is due, half a minute at most."""
        seconds = LOOK_S
        if self._due is not None:
            due = parse_instant(self._due).timestamp() - self._ctx.now_ms() / 1000
            seconds = min(LOOK_S, max(0.0, due))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _note_jump(self) -> None:
        """Say so when the clock on the wall moved other than time went by."""
        wall, mono = self._ctx.now_ms(), time.monotonic()
        jumped = (wall - self._clocks[0]) / 1000 - (mono - self._clocks[1])
        self._clocks = wall, mono
        if abs(jumped) > JUMP_S:
            _log.warning("the clock moved by %.0f s; what is due is looked at anew", jumped)
            await self._ctx.transact(_say_jump, round(jumped))

    # -- attempts -----------------------------------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        if turns.is_one_commit(job):
            self._take(Apply(job))
        else:
            self.carrying.begin(job, self.kinds[job.kind])

    def _take(self, work: Work) -> None:
        """Take in what is to be written, for the next turn."""
        self._work.append(work)
        self.wake()


def _say_jump(tx: Transaction, seconds: int) -> None:
    tx.emit(ClockJumped(seconds=seconds))
