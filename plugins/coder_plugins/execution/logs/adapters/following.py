"""Everything of one run as it happens: its events, and the output of its attempts in between.

The output of an attempt is passed on before its end is told. A cursor holds the place in the event log; how many of
the attempts that were there at first have been read, in the order in which they began; and for each attempt that goes
on the place in its output. So it is as long as there are attempts at once, however many there were, and whoever comes
back misses nothing and hears nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from coder_local.api import Context, Heard, Snapshot
from coder_plugins.execution.logs.records import Said
from coder_plugins.execution.records import ENDED_RUN
from coder_plugins.execution.runs.records import Run, Step
from coder_plugins.execution.runs.rules import find_run

from .cursors import END, Cursor, Place, format_cursor, parse_cursor
from .files import attempt_folder
from .reading import Decoder, has_more, read

LOOK_S = 0.2
"""Seconds between two looks at growing output."""
_AT_ONCE = 500
"""Attempts that are looked up at once."""

At = tuple[str, int]
"""An attempt: key and number."""


class _Output:
    """The output of one attempt, from where it was left."""

    def __init__(self, place: Place) -> None:
        self.offset = place.offset
        self.decoder = Decoder(place.rest)

    @property
    def place(self) -> Place:
        """Where it is to be gone on from."""
        return Place(self.offset, self.decoder.rest)


class Following:
    """One follower of one run."""

    def __init__(self, ctx: Context, run: str, cursor: str | None) -> None:
        self._ctx = ctx
        self._run = run
        self._over = cursor == END
        self._fresh = cursor is None
        self._at = Cursor() if cursor is None or self._over else parse_cursor(cursor)
        self._outputs = {at: _Output(place) for at, place in self._at.places.items()}

    async def items(self) -> AsyncIterator[Said]:
        """Yield what happens, until the run is at its end and all of it was told. Raises `NotFound`."""
        if self._over or self._at.status in ENDED_RUN:  # of a run that was over there is nothing to be heard
            run = await self._ctx.read(find_run, self._run)
            async for item in self._read_what_was(run):
                yield item
            return
        with self._ctx.subscribe("execution.*", cursor=self._at.event or None) as heard:
            run, attempts = await self._ctx.read(_state, self._run)
            if self._fresh:
                self._at = Cursor(event=heard.cursor, there=attempts, status=run.status)
            over = self._at.status in ENDED_RUN
            async for item in self._read_what_was(run):
                yield item
            if not over:
                async for item in self._live(heard):
                    yield item

    async def _read_what_was(self, run: Run) -> AsyncIterator[Said]:
        """Yield the output of the attempts that were there at first, then what the run was then, unless it was told."""
        while self._at.read < self._at.there:
            found = await self._ctx.read(_attempts, self._run, self._at.read, self._at.there - self._at.read)
            for key, n, ended_at in found:
                async for item in self._rest((key, n), self._watch((key, n))):
                    yield item
                self._at = self._at._replace(read=self._at.read + 1)
                if ended_at is not None:
                    del self._outputs[key, n]
            if not found:  # the run was removed meanwhile
                return
        if self._at.status:
            status, self._at = self._at.status, self._at._replace(status="")
            yield self._said("run", run.updated_at, over=status in ENDED_RUN, status=status)

    async def _live(self, heard: Any) -> AsyncIterator[Said]:
        following: asyncio.Task[Heard] | None = None
        look = 0.0
        try:
            while True:
                following = following or asyncio.ensure_future(anext(heard))
                done, _ = await asyncio.wait([following], timeout=max(0.0, look - time.monotonic()))
                if time.monotonic() >= look:  # not at each event: there may be thousands of both
                    async for item in self._drain():
                        yield item
                    look = time.monotonic() + LOOK_S
                if not done:
                    continue
                event, following = following.result(), None
                if event.data.get("run") != self._run:
                    self._at = self._at._replace(event=event.id)
                    continue
                async for item in self._drain(event.data.get("key")):
                    yield item
                if event.type == "execution.step.started":
                    await self._begin((event.data["key"], event.data["attempt"]))
                said, last = self._told(event)
                for item in said:
                    failed = item.type == "step" and item.status == "failed"
                    yield msgspec.structs.replace(item, text=await self._why(item.step)) if failed else item
                if last:
                    return
        finally:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following

    async def _why(self, key: str | None) -> str | None:
        """Return why a step failed; events tell words and no texts."""
        step = await self._ctx.read(_step, f"{self._run}/{key}")
        return None if step is None or step.error is None else step.error.message

    def _told(self, event: Heard) -> tuple[list[Said], bool]:
        """Return what an event of the run means to who follows it, and whether it is the last."""
        data, what = event.data, event.type.removeprefix("execution.")
        said: list[Said] = []
        if what == "step.finished":
            self._drop(data["key"])
        self._at = self._at._replace(event=event.id)
        if what == "step.started":
            said.append(self._said("step", event.time, step=data["key"], status="running", attempt=data["attempt"]))
        elif what == "step.finished":
            said.append(self._said("step", event.time, step=data["key"], status=data["status"]))
        elif what == "step.waiting" and data["kind"] != "approval":  # that it waits for one is said with its id
            said.append(self._said("wait", event.time, step=data["key"], status=data["kind"]))
        elif what == "approval.requested":
            said.append(self._said("wait", event.time, step=data["key"], status="approval", approval=data["approval"]))
        elif what in _RUN_WORDS or "status" in data:
            over = what == "run.finished"
            said.append(self._said("run", event.time, over=over, status=data.get("status") or _RUN_WORDS[what]))
        return said, what == "run.finished"

    async def _begin(self, at: At) -> None:
        """Follow the output of an attempt that began, unless it was there at first: then it was read, or is followed.

        Events come in the order in which attempts began, so once one was not there none after it was.
        """
        if self._at.there:
            if await self._ctx.read(_ordinal, self._run, f"{self._run}/{at[0]}/{at[1]}") <= self._at.there:
                return
            self._at = self._at._replace(read=0, there=0)
        self._drop(at[0])  # the attempts before it have ended, and their output was told
        self._watch(at)

    def _watch(self, at: At) -> _Output:
        return self._outputs.setdefault(at, _Output(Place()))

    def _drop(self, key: str) -> None:
        self._outputs = {at: each for at, each in self._outputs.items() if at[0] != key}

    async def _drain(self, key: str | None = None) -> AsyncIterator[Said]:
        """Yield all output there is of the attempts that are followed, or of those at one step."""
        for at, output in self._outputs.items():
            if key in {None, at[0]}:
                async for item in self._rest(at, output):
                    yield item

    async def _rest(self, at: At, output: _Output) -> AsyncIterator[Said]:
        """Yield the output of an attempt from where it was left; read aside, but for the look whether there is any."""
        folder = attempt_folder(self._ctx.folder, self._run, *at)
        while has_more(folder, output.offset):
            frames, _ = await asyncio.to_thread(read, folder, output.offset)
            if not frames:
                return
            for frame in frames:
                piece = output.decoder.piece(frame)
                output.offset = frame.next
                yield self._said("output", piece.at, step=at[0], attempt=at[1], stream=piece.stream, text=piece.text)

    def _said(self, type_: Any, at: str, *, over: bool = False, **rest: Any) -> Said:
        places = {each: output.place for each, output in self._outputs.items()}
        cursor = END if over else format_cursor(self._at._replace(places=places))
        return Said(type=type_, cursor=cursor, at=at, **rest)


_RUN_WORDS = {
    "run.started": "running", "run.cancelled": "cancelling", "run.paused": "paused", "run.resumed": "running",
    "run.queued": "queued",
}  # fmt: skip


def _state(read_: Snapshot, id: str) -> tuple[Run, int]:
    """Return a run, and how many attempts it has."""
    counted = read_.rows("SELECT count(*) FROM execution_attempts WHERE run = :run AND deleted_at IS NULL", run=id)
    return find_run(read_, id), counted[0][0]


def _attempts(read_: Snapshot, id: str, after: int, limit: int) -> list[tuple[str, int, str | None]]:
    """Return key, number and end of attempts of a run in the order in which they began."""
    found: list[Any] = read_.rows(
        "SELECT key, n, ended_at FROM execution_attempts WHERE run = :run AND deleted_at IS NULL"
        " ORDER BY rowid LIMIT :limit OFFSET :after",
        run=id,
        limit=min(limit, _AT_ONCE),
        after=after,
    )
    return found


def _ordinal(read_: Snapshot, run: str, id: str) -> int:
    """Return the place of an attempt among those of its run; no row of a run goes before the others, so it stays."""
    found = read_.rows(
        "SELECT count(*) FROM execution_attempts WHERE run = :run AND deleted_at IS NULL"
        " AND rowid <= (SELECT rowid FROM execution_attempts WHERE id = :id)",
        run=run,
        id=id,
    )
    count: int = found[0][0]
    return count


def _step(read_: Snapshot, id: str) -> Step | None:
    return read_.find(Step, id)
