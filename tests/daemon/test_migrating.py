"""What calls that wait are told while a migration runs."""

from __future__ import annotations

import asyncio

import pytest

from coder_local._daemon import migrating
from coder_local._daemon.core import core_domains
from coder_local._daemon.migrating import Reporter
from coder_local._registry.dispatch import Call
from coder_local._registry.kernel import Kernel
from coder_local._registry.principal import OWNER
from coder_local.api import Error, Locked


class Asked:
    """A call, and all that it is told."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.reported: list[str] = []
        self.answers: list[bytes | Error | None] = []
        self.call = Call(
            name, b"{}", OWNER, lambda body, error: self.answers.append(error or body), progress=self._report
        )
        kernel.dispatcher.start(self.call)

    def _report(self, done: float, total: float | None, message: str) -> None:
        assert (done, total) == (0.0, None)
        self.reported.append(message)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel in memory that is on the second of three migrations of a plugin, and holds calls."""
    monkeypatch.setattr(migrating, "_TELL_EVERY", 0.001)
    monkeypatch.setattr(migrating, "_QUIET", 0.0)
    made = Kernel()
    for domain in core_domains(made):
        made.take(domain)
    made.open()
    made.dispatcher.hold("daemon.status")
    made.store.airlock.progress.begin("things", 3, 0)
    made.store.airlock.progress.step("0002_more", 1)
    return made


async def reported(kernel: Kernel, *asked: Asked) -> None:
    while not all(each.reported for each in asked):
        await asyncio.sleep(0)


async def test_who_waits_is_told_why_until_it_is_over_and_then_answered(kernel: Kernel) -> None:
    waits, early = Asked(kernel, "settings.get"), Asked(kernel, "daemon.status")
    assert early.answers
    reporter = Reporter(kernel, asyncio.get_running_loop().call_soon)
    reporter.begin()
    await reported(kernel, waits)
    assert set(waits.reported) == {"migrating things 0002 (2 of 3), 0 s"}
    assert (waits.answers, kernel.dispatcher.at_work) == ([], 1), "no daemon stops for want of clients meanwhile"
    kernel.store.airlock.progress.end()
    while kernel.dispatcher.at_work:
        await asyncio.sleep(0)
    # The next plugin's begins where nobody looks any more.
    kernel.store.airlock.progress.begin("others", 1, 0)
    waits.reported.clear()
    await reported(kernel, waits)
    assert waits.reported[0] == "writing a snapshot before migrating others, 0 s"
    kernel.dispatcher.release()
    assert isinstance(waits.answers[0], bytes)
    reporter.stop()
    assert kernel.store.airlock.progress.stopping


async def test_who_has_waited_long_is_told_when_to_come_back(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "PATIENCE", 0.0)
    waits = Asked(kernel, "settings.get")
    Reporter(kernel, asyncio.get_running_loop().call_soon).begin()
    (error,) = waits.answers
    assert isinstance(error, Locked)
    assert error.message == "the data is being brought up to date: migrating things 0002 (2 of 3), 0 s"
    assert error.data == {"retry_after_ms": 1000}
    kernel.dispatcher.release()
    assert len(waits.answers) == 1
    kernel.store.airlock.progress.end()


async def test_of_a_short_one_nobody_is_told(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "_QUIET", 3600.0)
    waits = Asked(kernel, "settings.get")
    Reporter(kernel, asyncio.get_running_loop().call_soon).begin()
    kernel.store.airlock.progress.end()
    while kernel.dispatcher.at_work:
        await asyncio.sleep(0)
    assert waits.reported == []
    kernel.dispatcher.release()


async def test_calls_of_some_operations_may_begin_before_the_others(kernel: Kernel) -> None:
    early, late, gone = (Asked(kernel, name) for name in ("tokens.list", "settings.get", "tokens.list"))
    assert kernel.dispatcher.held is not None
    kernel.dispatcher.let("tokens.list")
    assert [bool(each.answers) for each in (early, late, gone)] == [True, False, True]
    assert Asked(kernel, "tokens.list").answers, "one that comes afterwards too"
    kernel.dispatcher.release()
    assert late.answers
