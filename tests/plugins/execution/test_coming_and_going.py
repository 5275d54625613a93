"""A plugin that offers a kind of step is disabled and enabled on a running daemon: its kind goes and comes with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.process import Process

pytestmark = pytest.mark.alone

PLUGIN = '''
from coder_local.api import Domain, Effect, Safety, Value, WorkKind
domain = Domain("puffs")

class PuffInput(Value):
    """Nothing."""

class Puff(WorkKind[PuffInput]):
    """Puff."""

    name = "puff"
    input = PuffInput

    def safety(self, read, input, /):
        return Safety.READ

    def effect(self, read, input, /):
        return Effect.REPEATABLE

    async def run(self, step, input, /):
        return "puff"

@domain.hook
def step_kinds():
    return [Puff()]
'''
STEPS = [
    {"key": "go", "kind": "signal", "input": {"name": "go"}},
    {"key": "puff", "kind": "puff", "input": {}, "needs": ["go"]},
]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "data")
    process.start()
    yield process
    process.kill()


def until(daemon: Process, run: str, status: str) -> None:
    end = time.monotonic() + 20
    while (found := daemon.call("execution.runs.get", id=run)["run"])["status"] != status:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_a_run_waits_for_the_plugin_of_its_step_and_goes_on_once_it_is_enabled(daemon: Process) -> None:
    folder = daemon.data_dir / "plugins" / "puffs"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PLUGIN)
    daemon.confirmed("plugins.enable", name="puffs")
    run = daemon.confirmed("execution.start", steps=STEPS)["run"]["id"]
    until(daemon, run, "waiting")
    daemon.call("plugins.disable", name="puffs")
    daemon.call("execution.runs.signal", id=run, name="go")
    until(daemon, run, "blocked")
    daemon.confirmed("plugins.enable", name="puffs")
    until(daemon, run, "succeeded")
