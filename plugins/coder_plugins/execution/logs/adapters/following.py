"""Everything of one run as it happens: its events, and the output of its attempts in between.

The output of an attempt is passed on before its end is told. A cursor holds the place in the event log, and for each
attempt that had not ended the place in its output, so that whoever comes back misses nothing and hears nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from coder_local.api import Context, Heard, Invalid, Snapshot
from coder_plugins.execution.logs.records import Said
from coder_plugins.execution.records import ENDED_RUN
from coder_plugins.execution.runs.records import Attempt, Run, Step

from .files import attempt_folder
from .reading import Decoder, read

END = "end"
"""The cursor of the last item of a run: after it comes nothing."""
LOOK_S = 0.2
"""Seconds between two looks at growing output."""


class _Output:
    """The output of one attempt, from where it was left."""

    def __init__(self, folder: Path, offset: int) -> None:
        self.folder = folder
        self.offset = offset
        self.decoder = Decoder()


class Following:
    """One follower of one run."""

    def __init__(self, ctx: Context, run: str, cursor: str | None) -> None:
        self._ctx = ctx
        self._run = run
        self._over = cursor == END
        self._place, offsets = parse_cursor(None if self._over else cursor)
        self._outputs: dict[tuple[str, int], _Output] = {}
        self._offsets = offsets
        self._fresh = cursor is None

    async def items(self) -> AsyncIterator[Said]:
        """Yield what happens, until the run is at its end and all of it was told. Raises `NotFound`."""
        heard = self._ctx.subscribe("execution.*", cursor=self._place or None)
        try:
            run, attempts = await self._ctx.read(_state, self._run)
            if self._over:
                return
            self._place = self._place or heard.cursor
            # what a cursor does not name had ended before it, or begins after it, and then an event says so
            for key, n in [(each.key, each.n) for each in attempts] if self._fresh else list(self._offsets):
                self._watch(key, n)
            if self._fresh:
                for item in self._drain():
                    yield item
                ended = {(each.key, each.n) for each in attempts if each.ended_at is not None}
                self._outputs = {at: each for at, each in self._outputs.items() if at not in ended}
                over = run.status in ENDED_RUN
                yield self._said("run", run.updated_at, over=over, status=run.status)
                if over:
                    return
            async for item in self._live(heard):
                yield item
        finally:
            heard.close()

    async def _live(self, heard: Any) -> AsyncIterator[Said]:
        following: asyncio.Task[Heard] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(heard))
                done, _ = await asyncio.wait([following], timeout=LOOK_S)
                for item in self._drain():
                    yield item
                if not done:
                    continue
                event, following = following.result(), None
                if event.data.get("run") != self._run:
                    self._place = event.id
                    continue
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
        if what == "step.started":
            self._watch(data["key"], data["attempt"])
        elif what == "step.finished":
            said = list(self._drain())
            self._outputs = {at: each for at, each in self._outputs.items() if at[0] != data["key"]}
        self._place = event.id
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

    def _watch(self, key: str, n: int) -> None:
        if (key, n) not in self._outputs:
            folder = attempt_folder(self._ctx.folder, self._run, key, n)
            self._outputs[key, n] = _Output(folder, self._offsets.get((key, n), 0))

    def _drain(self) -> Iterator[Said]:
        """Yield all output there is."""
        for (key, n), output in self._outputs.items():
            while True:
                frames, offset = read(output.folder, output.offset)
                if not frames:
                    break
                for frame in frames:
                    piece = output.decoder.piece(frame)
                    output.offset = self._offsets[key, n] = frame.next
                    yield self._said("output", piece.at, step=key, attempt=n, stream=piece.stream, text=piece.text)
                output.offset = offset

    def _said(self, type_: Any, at: str, *, over: bool = False, **rest: Any) -> Said:
        offsets = {at_: each.offset for at_, each in self._outputs.items()}
        return Said(type=type_, cursor=END if over else format_cursor(self._place, offsets), at=at, **rest)


_RUN_WORDS = {
    "run.started": "running", "run.cancelled": "cancelling", "run.paused": "paused", "run.resumed": "running",
    "run.queued": "queued",
}  # fmt: skip


def _state(read_: Snapshot, id: str) -> tuple[Run, list[Attempt]]:
    run = read_.get(Run, id)
    return run, read_.select(Attempt, "run = :run", order="started_at, id", run=id)


def _step(read_: Snapshot, id: str) -> Step | None:
    return read_.find(Step, id)


def format_cursor(place: str | None, offsets: dict[tuple[str, int], int]) -> str:
    """Return the text of a cursor: the last event, then for each attempt that goes on key, number and offset."""
    parts = [place or ""] + [f"{offset}/{n}/{key}" for (key, n), offset in offsets.items()]
    return "\n".join(parts)


def parse_cursor(cursor: str | None) -> tuple[str | None, dict[tuple[str, int], int]]:
    """Return what a cursor stands for. Raises `Invalid` for any other text."""
    if cursor is None:
        return None, {}
    place, *rest = cursor.split("\n")
    offsets: dict[tuple[str, int], int] = {}
    try:
        for each in rest:
            offset, n, key = each.split("/", 2)
            offsets[key, int(n)] = int(offset)
    except ValueError:
        raise Invalid("this is no cursor of a run", field="/cursor", hint="give the cursor of the last item") from None
    return place or None, offsets
