"""What a start of the daemon pays for: planning is imported then, and what only some operations need is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LATER = {
    "calendar", "dateutil", "fractions", "graphlib", "icalendar", "shlex", "tempfile", "unicodedata",
    "coder_plugins.planning.capturing.records",
    "coder_plugins.planning.exchange.adapters",
    "coder_plugins.planning.exchange.arrival.records",
    "coder_plugins.planning.exchange.departure.records",
    "coder_plugins.planning.exchange.rules.mapping",
    "coder_plugins.planning.formats.vtodo",
    "coder_plugins.planning.plans.rules.checklists",
    "coder_plugins.planning.plans.rules.templates",
    "coder_plugins.planning.plans.rules.repairs",
    "coder_plugins.planning.rules.capture",
}  # fmt: skip


def test_importing_planning_imports_nothing_that_only_some_operations_need() -> None:
    code = (
        "import sys, coder_local._registry.kernel; before = set(sys.modules); import coder_plugins.planning;"
        " print(*set(sys.modules) - before)"
    )
    paths = os.pathsep.join(str(ROOT / each) for each in (".", "plugins", "ipc"))
    environment = {**os.environ, "PYTHONPATH": paths}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported = set(answer.stdout.split())
    assert "coder_plugins.planning.choice.operations" in imported
    assert imported & LATER == set()
