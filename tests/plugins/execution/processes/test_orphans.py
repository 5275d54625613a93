"""Programs of attempts that have ended are found and ended on demand; those that are followed, and others', are not."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from coder_plugins.execution.logs.adapters.files import attempt_folder
from coder_plugins.execution.processes import Command, start
from coder_plugins.execution.processes.orphans import look
from coder_plugins.execution.processes.shim import records

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform == "win32", reason="there is no environment to read")]
SLEEP = ("/bin/sh", "-c", "sleep 300 & sleep 300")


class Known:
    """A snapshot in which some attempts are open."""

    def __init__(self, *attempts):
        self._attempts = list(attempts)

    def rows(self, sql):
        assert "state IN ('intent', 'started')" in sql
        return self._attempts


@pytest.fixture
async def begin(tmp_path):
    children = []

    async def begin(run: str):
        folder = attempt_folder(tmp_path, run, "build", 1)
        folder.mkdir(parents=True)
        child = await start(folder, Command(argv=SLEEP, cwd=tmp_path, env={"PATH": os.environ["PATH"]}))
        children.append(child)
        while "pid" not in (records.read(str(folder), records.START) or {}):  # its shim adds it when it has told us
            await asyncio.sleep(0.001)
        return child

    yield begin
    for child in children:
        await child.stop(0)
        await child.detach()


async def test_a_program_that_nobody_follows_is_found_and_ended_with_its_children(tmp_path: Path, begin) -> None:
    followed, orphan = await begin("0197-followed"), await begin("0197-orphan")
    known = Known(("0197-followed", "build", 1))
    (symptom,) = await asyncio.to_thread(lambda: list(look(known, tmp_path)))
    assert str(orphan.pid) in symptom.message
    assert str(orphan.folder) in symptom.hint
    assert symptom.state == "warning"
    ended = asyncio.ensure_future(orphan.wait())
    assert await asyncio.to_thread(symptom.mend) == "they have ended"
    await ended
    assert await asyncio.to_thread(lambda: list(look(known, tmp_path))) == []
    assert not (await asyncio.to_thread(lambda: list(look(Known(), tmp_path / "another")))), "of another data directory"
    assert os.kill(followed.pid, 0) is None
