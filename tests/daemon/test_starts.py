"""The record of starts on disk: written before somebody else's code runs, and never in the way of a start."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local._daemon.care import PluginCare
from coder_local._daemon.starts import Starts
from coder_local._registry.kernel import Kernel
from coder_local._registry.plugins import Plugin, Source

STACK = """Fatal Python error: Segmentation fault

Thread 0x00007f {} (most recent call first):
  File "{}/one/__init__.py", line 3 in wait

Current thread 0x00007e (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 1 in string_at
  File "{}/two/deep/er.py", line 7 in end

Extension modules: none
"""


_MADE: list[Starts] = []


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """What each start opened is closed, and the fault handler that the tests run with is put back."""
    yield
    while _MADE:
        _MADE.pop().close()
    faulthandler.enable(sys.__stderr__)


def starts(folder: Path) -> Starts:
    made = Starts(folder / "starts.json", folder / "logs")
    _MADE.append(made)
    return made


def plugins(folder: Path) -> list[Plugin]:
    return [Plugin(name, Source.FOLDER, str(folder / name)) for name in ("one", "two", "three")]


def cut_off(folder: Path, at_work: int | None = None) -> dict[str, str]:
    """A start that is cut off, with a plugin at work."""
    made = starts(folder)
    out = made.begin(plugins(folder))
    if at_work is not None:
        made.at_work(plugins(folder)[at_work], "importing")
    return out


def test_who_was_at_work_in_two_starts_is_left_out_of_the_third(tmp_path: Path) -> None:
    assert [cut_off(tmp_path, 1) for _ in range(2)] == [{}, {}]
    assert list(cut_off(tmp_path)) == ["two"]


def test_the_stack_of_a_fault_names_the_plugin_of_the_thread_that_had_it(tmp_path: Path) -> None:
    for _ in range(2):
        cut_off(tmp_path)
        (tmp_path / "logs" / "fault.txt").write_text(STACK.format("", tmp_path, tmp_path))
    assert list(cut_off(tmp_path)) == ["two"]


def test_a_plugin_that_ends_the_process_while_it_is_enabled_counts_too(tmp_path: Path) -> None:
    running = starts(tmp_path)
    running.begin(plugins(tmp_path))
    running.clean()
    running.at_work(plugins(tmp_path)[0], "importing")
    running.at_work(plugins(tmp_path)[0], "")  # that went well
    running.at_work(plugins(tmp_path)[1], "importing")
    assert cut_off(tmp_path, 1) == {}
    assert list(cut_off(tmp_path)) == ["two"]


def test_a_record_that_cannot_be_read_or_written_keeps_nothing_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "starts.json").write_text('{"open": 7')
    assert cut_off(tmp_path) == {}
    assert "cannot be read and is begun anew" in caplog.text
    (tmp_path / "starts.json").unlink()
    (tmp_path / "starts.json").mkdir()
    assert cut_off(tmp_path) == {}
    assert "cannot be written" in caplog.text


def test_what_the_person_decides_on_is_not_held_against_it(tmp_path: Path) -> None:
    for _ in range(2):
        cut_off(tmp_path, 1)
    made = starts(tmp_path)
    assert list(made.begin(plugins(tmp_path))) == ["two"]
    made.acquit("two")
    made.leave()
    assert cut_off(tmp_path) == {}


async def test_without_plugins_of_others_nothing_is_read_or_written(tmp_path: Path) -> None:
    kernel = Kernel()
    care = PluginCare(kernel, tmp_path)
    assert care.watch_start([]) is None
    kernel.working(Plugin("planning", Source.BUNDLED, "coder_plugins.planning"), "starting")
    kernel.decided("planning")
    await care.settle()
    care.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_is_not_watched_leaves_what_is_known_as_it_is(tmp_path: Path) -> None:
    cut_off(tmp_path, 1)
    safe = starts(tmp_path)
    safe.acquit("three")  # the person enabled it in safe mode
    safe.clean()
    safe.leave()
    assert cut_off(tmp_path, 1) == {}
    assert list(cut_off(tmp_path)) == ["two"]
