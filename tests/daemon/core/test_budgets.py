"""What a plugin costs stands with it in the list, and what is over its budget is named by the doctor."""

from __future__ import annotations

from pathlib import Path

from coder_local._daemon.core import budgets
from coder_local._registry.growth import Growth
from coder_local._registry.plugins import Plugin, Source

from .conftest import Core

GREEDY = """
import time
from coder_local.api import Domain
domain = Domain("greedy")
time.sleep(0.05)
KEPT = bytearray(b"x") * (40 * 2**20)
"""


async def test_a_plugin_over_its_budget_is_named_with_what_it_takes(disk: Core, data_dir: Path) -> None:
    folder = data_dir / "plugins" / "greedy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(GREEDY)
    enabled = await disk.call("plugins.enable", name="greedy")
    assert enabled["costs"]["import_ms"] == enabled["import_ms"] >= 50
    assert enabled["costs"]["memory_import_kb"] >= 39 * 1024
    assert enabled["costs"]["over"] == []
    await disk.call("settings.set", plugin="daemon", name="import_budget_ms", value=20)
    await disk.call("settings.set", plugin="daemon", name="memory_budget_mb", value=10)
    over = (await disk.plugin("greedy"))["costs"]["over"]
    assert over[0].startswith("its import took ")
    assert over[0].endswith(" ms, of 20 ms that it may take")
    assert over[1].startswith("the process grew by ")
    report = [each for each in (await disk.call("daemon.doctor"))["items"] if each["check"] == "budgets"]
    assert [(each["state"], each["message"]) for each in report] == [("warning", f"greedy: {text}") for text in over]
    assert report[0]["hint"] == "tell its author, or do without it: coder-local plugins disable greedy"


async def test_growth_is_a_suspicion_that_says_so(disk: Core) -> None:
    leaky, growth = Plugin("leaky", Source.FOLDER, "anywhere"), Growth()
    assert budgets.suspicion(disk.kernel.growth, leaky, 0) == ""  # nobody looks yet
    growth.sample(0, {"leaky": 0})
    growth.sample(300 * 2**20, {"leaky": 1000})
    text = budgets.suspicion(growth, leaky, 200)
    assert text.startswith("the process grew by 300 MiB in 1 minutes in which 100% of all calls were its own; ")
    assert text.endswith("that is a suspicion, no proof")
    assert budgets.suspicion(growth, leaky, 400) == ""
    assert budgets.suspicion(growth, Plugin("other", Source.FOLDER, "anywhere"), 200) == ""
