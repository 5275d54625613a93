"""A plugin that fails again and again is set aside until the person enables it; a bundled one is only named."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from coder_local._registry.plugins import Plugin, Source

from .conftest import Core, running

BODY = '''
from coder_local.api import Conflict, Domain, Event, Heard, Snapshot, Transaction
domain = Domain("faulty")

@domain.event("faulty.thing.said")
class Said(Event):
    """Something was said."""
    thing: str

@domain.query("faulty.fail")
def fail(read: Snapshot, *, named: bool = False) -> int:
    """Fail, with an error that is named or with one that is not."""
    if named:
        raise Conflict("as it should")
    raise RuntimeError("a secret")

@domain.command("faulty.say", emits=Said)
def say(tx: Transaction) -> None:
    """Say something."""
    tx.emit(Said(thing="x"))

@domain.listener("faulty.thing.said")
def heard(tx: Transaction, *, event: Heard) -> None:
    """Fail."""
    raise RuntimeError("a secret")
'''


def put(data_dir: Path) -> None:
    folder = data_dir / "plugins" / "faulty"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(BODY)


async def enable(core: Core, data_dir: Path, **limits: float) -> None:
    put(data_dir)
    assert (await core.call("plugins.enable", name="faulty"))["reason"] == ""
    for name, value in limits.items():
        await core.call("settings.set", plugin="daemon", name=name, value=value)


async def status(core: Core, wanted: str) -> dict[str, Any]:
    while (found := await core.plugin("faulty"))["status"] != wanted:
        await asyncio.sleep(0.01)
    return found


async def test_faults_set_a_plugin_aside_over_restarts_until_the_person_enables_it(data_dir: Path) -> None:
    async with running(data_dir) as core:
        await enable(core, data_dir, quarantine_faults=3)
        for _ in range(5):
            assert (await core.refused("faulty.fail", named=True)).kind == "conflict"  # which is no fault
        reports = [(await core.refused("faulty.fail")).data["report_id"] for _ in range(3)]
        found = await status(core, "quarantined")
        assert found["reason"] == (
            "it failed 3 times in 300 s; the last: RuntimeError in faulty.fail; "
            f"report {reports[-1]}, which is in the log"
        )
        assert found["costs"]["faults"] == 3
        error = await core.refused("faulty.say")
        assert (error.kind, error.hint) == ("unsupported", "look at why, then: coder-local plugins enable faulty")
        async with asyncio.timeout(30):  # it is said after it was done
            while len(said := (await core.call("events.list", types=["plugins.*"]))["items"]) < 2:
                await asyncio.sleep(0.01)
        assert [each["data"]["status"] for each in said] == ["loaded", "quarantined"]
        report = (await core.call("daemon.doctor"))["items"]
        assert any("faulty is quarantined: it failed 3 times" in each["message"] for each in report)
        assert (await core.call("daemon.status"))["plugins_stopped"] == 1
    async with running(data_dir) as core:
        assert (await core.plugin("faulty"))["reason"] == found["reason"]
        enabled = await core.call("plugins.enable", name="faulty")
        assert (enabled["status"], enabled["reason"], enabled["costs"]["faults"]) == ("loaded", "", 0)
        await core.refused("faulty.fail")
        await core.refused("faulty.fail")
        assert (await core.plugin("faulty"))["costs"]["faults"] == 2  # counted from the start again
    async with running(data_dir) as core:
        assert (await core.plugin("faulty"))["status"] == "loaded"


async def test_a_listener_that_fails_counts_too(disk: Core, data_dir: Path) -> None:
    disk.kernel.listeners.back_off = (0.0,) * 4
    await enable(disk, data_dir, quarantine_faults=4)
    await disk.call("faulty.say")
    found = await status(disk, "quarantined")
    assert "RuntimeError in faulty.heard" in found["reason"]


async def test_faults_that_lie_far_apart_and_a_limit_of_zero_set_nothing_aside(disk: Core, data_dir: Path) -> None:
    await enable(disk, data_dir, quarantine_faults=2, quarantine_window=0.001)
    for _ in range(4):
        await disk.refused("faulty.fail")
        await asyncio.sleep(0.002)
    assert (await disk.plugin("faulty"))["status"] == "loaded"
    await disk.call("settings.set", plugin="daemon", name="quarantine_window", value=300)
    await disk.call("settings.set", plugin="daemon", name="quarantine_faults", value=0)
    for _ in range(30):
        await disk.refused("faulty.fail")
    assert (await disk.plugin("faulty"))["costs"]["faults"] == 34
    assert (await disk.plugin("faulty"))["status"] == "loaded"


async def test_a_bundled_plugin_is_named_and_goes_on(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(data_dir)
    monkeypatch.syspath_prepend(data_dir / "plugins")
    async with running(data_dir, Plugin("faulty", Source.BUNDLED, "faulty")) as core:
        await core.call("settings.set", plugin="daemon", name="quarantine_faults", value=2)
        for _ in range(3):
            await core.refused("faulty.fail")
        found = await core.plugin("faulty")
        assert found["status"] == "loaded"
        assert found["costs"]["over"][0].startswith("it failed 2 times in 300 s")
        report = {each["check"]: each for each in (await core.call("daemon.doctor"))["items"]}
        assert report["budgets"]["message"].startswith("faulty: it failed 2 times")
        assert "is not set aside" in report["budgets"]["hint"]
    told = [
        record
        for record in caplog.records
        if record.levelno == logging.ERROR and "failed 2 times" in record.msg % record.args
    ]
    assert len(told) == 1


async def test_a_plugin_is_blamed_for_its_own_code_and_not_for_what_it_calls(disk: Core, data_dir: Path) -> None:
    await enable(disk, data_dir)
    folder = data_dir / "plugins" / "caller"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from coder_local.api import Domain, Snapshot\ndomain = Domain('caller')\n"
        "@domain.query('caller.ask')\ndef ask(read: Snapshot) -> int:\n    '''Ask another.'''\n"
        "    return read.call('faulty.fail')\n"
    )
    assert (await disk.call("plugins.enable", name="caller"))["reason"] == ""
    await disk.refused("caller.ask")
    assert (await disk.plugin("faulty"))["costs"]["faults"] == 1
    assert (await disk.plugin("caller"))["costs"]["faults"] == 0
