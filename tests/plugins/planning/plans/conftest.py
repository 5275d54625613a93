"""Planning with the real execution beside it, in memory, and a domain with one dangerous operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coder_plugins.execution
from coder_local.api import Context, Domain, Subscription
from coder_local.testing.memory import Sandbox, sandbox

ENDED = {"succeeded", "failed", "cancelled"}


class Company:
    """The plugins that stand beside planning, and an ear for what is said while they work."""

    def __init__(self) -> None:
        self.shell, self.ear = Domain("shell"), Domain("ear")
        self._context: Context | None = None

        @self.shell.action("shell.run")
        async def run(ctx: Context, *, line: str) -> str:
            """Send a line away; as every action, it is taken for one that leaves the machine."""
            return line

        @self.ear.on_start
        async def listen(ctx: Context) -> None:
            self._context = ctx

    def subscribe(self, *types: str) -> Subscription:
        """Listen to what is said, while the plugins work."""
        assert self._context is not None
        return self._context.subscribe(*types)


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture
def execution() -> Path:
    """The folder of the plugin execution."""
    return Path(coder_plugins.execution.__file__).parent


@pytest.fixture
def box(planning: Path, execution: Path, company: Company) -> Iterator[Sandbox]:
    with sandbox(planning, execution, company.shell, company.ear) as box:
        yield box


@pytest.fixture
def alone(planning: Path) -> Iterator[Sandbox]:
    """Planning without execution."""
    with sandbox(planning) as box:
        yield box


@pytest.fixture
def create(box: Sandbox) -> Callable[..., Any]:
    """Write a plan of some steps; answers the plan."""

    def run(*steps: dict[str, Any], **fields: Any) -> Any:
        given = {"title": "A plan", "goal": "See that it works", **fields}
        return box.call("planning.plans.create", steps=list(steps), **given)["plan"]

    return run


def approved(box: Sandbox, id: str) -> Any:
    """Validate a plan and approve it; answers the plan."""
    found = box.call("planning.plans.validate", id=id)
    assert found["ok"], found["findings"]
    return box.call("planning.plans.approve", id=id, content_hash=found["plan"]["content_hash"])


async def until_end(box: Sandbox, company: Company, id: str) -> str:
    """Wait until a plan's run is over, and return the plan's status."""
    with company.subscribe("planning.plan.*") as events:
        while (status := box.call("planning.plans.get", id=id)["status"]) not in ENDED:
            await anext(events)
    return status


async def run_to_end(box: Sandbox, company: Company, id: str) -> tuple[str, str]:
    """Approve and execute a plan; answers its run and the status that it comes to."""
    approved(box, id)
    run = box.call("planning.plans.execute", id=id)["run"]
    return run, await until_end(box, company, id)
