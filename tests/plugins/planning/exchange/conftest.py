"""Ways to import into planning in memory."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from coder_local.testing.memory import Sandbox

ROOT = Path(__file__).resolve().parents[4]
LARGE = ROOT.parent / "shared" / "data" / "beads-issues.jsonl"

Bring = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def examples() -> Path:
    """The folder of the example files."""
    return ROOT / "docs" / "examples"


@pytest.fixture
def issues(examples: Path) -> Path:
    """Real issues with their dependencies: the large list where it is there, else the small one."""
    return LARGE if LARGE.exists() else examples / "beads-small.jsonl"


@pytest.fixture
def bring(box: Sandbox) -> Bring:
    """Import JSON Lines of beads from records, or whatever the keywords say."""

    async def run(*records: dict[str, Any], **input: Any) -> dict[str, Any]:
        if records:
            input |= {"format": "beads", "text": "".join(json.dumps(record) + "\n" for record in records)}
        answer: dict[str, Any] = await box.acall("planning.import", **input)
        return answer

    return run


@pytest.fixture
def find(box: Sandbox) -> Callable[[str], dict[str, Any]]:
    """Return the one task with that title."""

    def run(title: str) -> dict[str, Any]:
        (found,) = (item for item in box.call("planning.tasks.list", limit=500)["items"] if item["title"] == title)
        return dict(found)

    return run


@pytest.fixture
def links(box: Sandbox) -> Callable[[], set[tuple[str, str, str]]]:
    """Return all links between tasks that are there, as (title, kind, title)."""

    def run() -> set[tuple[str, str, str]]:
        titles = {item["id"]: item["title"] for item in box.call("planning.tasks.list", limit=500)["items"]}
        found = box.call("planning.links.list", limit=500)["items"]
        ends = [(titles.get(link["source"]), link["kind"], titles.get(link["target"])) for link in found]
        return {(source, kind, target) for source, kind, target in ends if source and target}

    return run


def issue(id: str, title: str = "", **fields: Any) -> dict[str, Any]:
    return {"id": id, "title": title or id, "status": "open", "priority": 2, **fields}


def waits_for(id: str, *others: str, kind: str = "blocks") -> list[dict[str, str]]:
    return [{"issue_id": id, "depends_on_id": other, "type": kind} for other in others]


@pytest.fixture(name="issue")
def _issue() -> Callable[..., dict[str, Any]]:
    """Return one beads issue: `issue(id, title, **fields)`."""
    return issue


@pytest.fixture(name="waits_for")
def _waits_for() -> Callable[..., list[dict[str, str]]]:
    """Return beads dependencies: `waits_for(id, *others, kind=...)`."""
    return waits_for
