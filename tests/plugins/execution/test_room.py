"""The place of what has ended is free for what is next."""

import asyncio

import pytest

from coder_local.testing import sandbox
from coder_plugins import planning
from coder_plugins.execution import domain
from coder_plugins.execution.engine.engine import Engine

pytestmark = pytest.mark.alone


async def test_two_programs_run_side_by_side_behind_a_third(tmp_path, monkeypatch):
    monkeypatch.setenv("CODER_LOCAL_EXECUTION_PROCESSES", "2")
    wait = f"for i in $(seq 400); do test -e {tmp_path}/other && exit 0; sleep 0.05; done; exit 1"
    steps = [
        {"key": "first", "kind": "command", "input": {"run": ["true"]}},
        {"key": "waits", "kind": "command", "needs": ["first"], "input": {"shell": wait}},
        {"key": "other", "kind": "command", "needs": ["first"], "input": {"run": ["touch", f"{tmp_path}/other"]}},
    ]
    with sandbox(domain, planning.domain) as box:
        engine = Engine(box.kernel.dispatcher.context("execution", domain))
        await engine.start()
        try:
            run = box.call("execution.start", steps=steps, folder=str(tmp_path))["run"]["id"]
            async with asyncio.timeout(30):
                while (view := box.call("execution.runs.get", id=run))["run"]["status"] not in {"succeeded", "failed"}:
                    await asyncio.sleep(0.02)
            assert view["run"]["status"] == "succeeded"
        finally:
            await engine.stop()
