"""The example files of docs/examples, and the large list that lies beside the repository on some machines."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
EXAMPLES = ROOT / "docs" / "examples"
SMALL_BEADS = EXAMPLES / "beads-small.jsonl"
LARGE_BEADS = ROOT.parent / "shared" / "data" / "beads-issues.jsonl"
BEADS = LARGE_BEADS if LARGE_BEADS.exists() else SMALL_BEADS


def example(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")
