"""What the doors refused is written down, in few lines however much comes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coder_local._admission import refusals
from coder_local._admission.refusals import LINES_AT_ONCE, Refusals, Request
from coder_local._registry.kernel import Kernel
from coder_local._store import audit
from coder_local._store.audit import AuditLine
from coder_local._store.caller import Caller
from coder_local.api import RateLimited, Refused
from coder_local.api.errors import Unauthenticated

REQUEST = Request("GET", "/api/notes", "127.0.0.1:80", "https://evil.example", "r1")
FOREIGN = Refused("no", data={"rule": "origin"})


class Written:
    """A kernel, and the lines in it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.now = 0.0
        self.refusals = Refusals(kernel.store, lambda: self.now)

    async def lines(self) -> list[AuditLine]:
        done: asyncio.Future[list[AuditLine]] = asyncio.get_running_loop().create_future()
        work = functools.partial(audit.recent, before=None, limit=1000)
        self.kernel.store.submit(work, Caller(), lambda found, _: done.set_result(found))
        return list(reversed(await done))


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Written]:
    kernel = Kernel(tmp_path)
    kernel.open()
    kernel.start(asyncio.get_running_loop().call_soon_threadsafe)
    yield Written(kernel)
    assert await asyncio.to_thread(kernel.store.close)


async def test_each_kind_of_refusal_has_its_line_with_what_the_request_said(written: Written) -> None:
    written.refusals.note(FOREIGN, REQUEST)
    written.refusals.note(Refused("no", data={"rule": "host"}), REQUEST._replace(host="evil.example:80", origin=None))
    written.refusals.note(Unauthenticated("no"), REQUEST._replace(path="/\udcff" + "a" * 5000, origin=None))
    written.refusals.note(RateLimited("no", data={"retry_after_ms": 1}), REQUEST._replace(origin=None))
    lines = await written.lines()
    assert {(each.actor, each.operation, each.request_id, each.input_hash) for each in lines} == {
        ("unknown", "http.request", "r1", "")
    }
    assert [each.outcome for each in lines] == ["refused", "refused", "refused", "rate_limited"]
    assert [each.detail for each in lines] == [
        "origin: GET /api/notes, host 127.0.0.1:80, origin https://evil.example",
        "host: GET /api/notes, host evil.example:80",
        "token: GET /\\udcff" + "a" * 298 + ", host 127.0.0.1:80",
        "rate: GET /api/notes, host 127.0.0.1:80",
    ]


async def test_a_flood_leaves_few_lines_and_the_last_one_counts_the_others(written: Written) -> None:
    for _ in range(10_000):
        written.refusals.note(FOREIGN, REQUEST)
    assert len(await written.lines()) == LINES_AT_ONCE
    written.refusals.note(Unauthenticated("no"), REQUEST)  # another kind is not held up by it
    assert len(await written.lines()) == LINES_AT_ONCE + 1
    written.refusals.close()
    (*_, last) = await written.lines()
    assert last.detail.endswith(f"; the last of {10_000 - LINES_AT_ONCE}")


async def test_what_came_meanwhile_is_written_when_a_line_is_due(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LINES_EVERY", 0.05)
    for _ in range(LINES_AT_ONCE + 3):
        written.refusals.note(FOREIGN, REQUEST)
    while len(lines := await written.lines()) == LINES_AT_ONCE:
        await asyncio.sleep(0.01)
    assert lines[-1].detail.endswith("; the last of 3")
    written.refusals.close()
    assert len(await written.lines()) == LINES_AT_ONCE + 1
