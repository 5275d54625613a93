"""Making plans without a model: from templates and from checklists."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_local.api import Invalid
from coder_local.testing.memory import Sandbox
from coder_plugins.planning.plans.rules import checklists
from coder_plugins.planning.plans.rules.templates import TEMPLATES
from coder_plugins.planning.plans.rules.ways import flaws
from tests.plugins.planning.acceptance import failure
from tests.plugins.planning.plans.conftest import Company, approved, until_end

GOAL = "# Check everything\n\nBefore the release."
CHECKLIST = """
- [ ] Prepare
  - [ ] Lint: `ruff check .`
  - [x] Done long ago: `rm -rf old`
  - [ ] `pytest tests/*.py | tee log`
- [ ] Rename `foo` to `bar`
- [-] Dropped
- [ ] Prepare
"""


@pytest.fixture(autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the programs that the plans name on the PATH: a plan with one that is not there cannot run."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("ruff", "pytest"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def by_key(view: Any) -> dict[str, Any]:
    return {step["key"]: step for step in view["version"]["content"]["steps"]}


def test_the_template_checks_makes_what_was_asked_and_nothing_else(box: Sandbox) -> None:
    inputs = {
        "lint": ["ruff", "check"],
        "test": ["pytest"],
        "files": ["a.py", "b.py"],
        "check": ["wc", "-c"],
        "edit": {"path": "a.py", "old": "x", "new": "y"},
        "ping": "http://127.0.0.1:9/",
    }
    view = box.call("planning.plans.generate", goal=GOAL, template="checks", inputs=inputs, folder="/")
    assert (view["plan"]["maker"], view["plan"]["title"], view["plan"]["status"]) == (
        "template:checks",
        "Check everything",
        "draft",
    )
    steps = by_key(view)
    assert {key: step["needs"] for key, step in steps.items()} == {
        "lint": [],
        "test": [],
        "files": ["lint", "test"],
        "approve": ["files"],
        "edit": ["approve"],
        "ping": ["edit"],
    }
    assert steps["files"]["input"] == {"run": ["wc", "-c", "${{ item }}"]}
    assert steps["files"]["options"] == {"foreach": ["a.py", "b.py"]}
    assert steps["approve"]["input"]["shown"]["edit"] == steps["edit"]["input"]
    found = box.call("planning.plans.validate", id=view["plan"]["id"])
    assert (found["ok"], found["findings"], found["safety"]) == (True, [], "external")
    few = box.call("planning.plans.generate", goal=GOAL, template="checks", inputs={"test": ["pytest"]})
    assert list(by_key(few)) == ["test"]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("checks", {"ping": "https://localhost/"}),
        ("release_notes", {"since": "v1.0.0", "version": "1.1.0"}),
        ("tidy", {"format": ["ruff", "format"], "test": ["pytest"]}),
    ],
)
def test_every_template_makes_a_plan_that_passes_validation(box: Sandbox, name: str, inputs: dict[str, Any]) -> None:
    view = box.call("planning.plans.generate", goal=GOAL, template=name, inputs=inputs, folder="/")
    found = box.call("planning.plans.validate", id=view["plan"]["id"])
    assert (found["ok"], found["findings"]) == (True, [])
    assert {each["name"] for each in box.call("planning.plans.templates")["items"]} == set(TEMPLATES)


def test_what_a_template_does_not_take_is_named_with_the_cure(box: Sandbox) -> None:
    with pytest.raises(Invalid) as caught:
        box.call("planning.plans.generate", goal=GOAL, template="cheks")
    assert (caught.value.field, caught.value.hint) == ("/template", "did you mean checks?")
    with pytest.raises(Invalid) as caught:
        box.call("planning.plans.generate", goal=GOAL, template="checks", inputs={"tset": ["a"]})
    assert (caught.value.field, caught.value.hint) == ("/inputs/tset", "did you mean test?")
    with pytest.raises(Invalid) as caught:
        box.call("planning.plans.generate", goal=GOAL, template="checks", inputs={"lint": [1]})
    assert caught.value.field == "/inputs/lint/0"
    for empty in ({"template": "checks"}, {}, {"template": "checks", "checklist": "- [ ] a"}):
        failure(box.call, "invalid", "planning.plans.generate", goal=GOAL, **empty)


def test_a_checklist_becomes_steps_from_top_to_bottom(box: Sandbox) -> None:
    view = box.call("planning.plans.generate", goal=GOAL, checklist=CHECKLIST, folder="/")
    assert view["plan"]["maker"] == "checklist"
    steps = by_key(view)
    assert {key: (step["kind"], step["needs"]) for key, step in steps.items()} == {
        "lint-ruff-check": ("command", []),
        "pytest-tests-py-tee-log": ("command", ["lint-ruff-check"]),
        "prepare": ("approval", ["pytest-tests-py-tee-log"]),
        "rename-foo-to-bar": ("approval", ["prepare"]),
        "prepare-2": ("approval", ["rename-foo-to-bar"]),
    }
    assert steps["lint-ruff-check"]["input"] == {"run": ["ruff", "check", "."]}
    assert steps["pytest-tests-py-tee-log"]["input"] == {"shell": "pytest tests/*.py | tee log"}
    assert box.call("planning.plans.validate", id=view["plan"]["id"])["ok"]


def test_a_checklist_that_cannot_be_read_is_refused(box: Sandbox) -> None:
    with pytest.raises(Invalid, match="No closing quotation"):
        box.call("planning.plans.generate", goal=GOAL, checklist="- [ ] Say `echo 'a`")
    with pytest.raises(Invalid, match="no open item"):
        box.call("planning.plans.generate", goal=GOAL, checklist="- [x] done\n\ntext")


@given(
    lines=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["Do it", "`make x`", "é ñ", "a `b` c `d`"])), min_size=1
    )
)
def test_any_checklist_makes_steps_that_can_be_done(lines: list[tuple[int, str]]) -> None:
    text = "\n".join(f"{'  ' * depth}- [ ] {words} {number}" for number, (depth, words) in enumerate(lines))
    steps = checklists.steps(text)
    assert len(steps) == len(lines)
    assert flaws([(step.key, step.needs) for step in steps]) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit after the tag v1."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    one, two = (["commit", "-q", "--allow-empty", "-m", words] for words in ("One", "Two"))
    for each in (["init", "-q"], one, ["tag", "v1"], two):
        subprocess.run([*git, *each], check=True)
    return tmp_path


@pytest.mark.alone
async def test_release_notes_of_a_real_repository(box: Sandbox, company: Company, repository: Path) -> None:
    asked = {"goal": GOAL, "template": "release_notes", "folder": str(repository)}
    inputs = {"since": "v1", "version": "2.0", "path": "NOTES.md"}
    id = box.call("planning.plans.generate", **asked, inputs=inputs)["plan"]["id"]
    async with box.running():
        approved(box, id)
        with company.subscribe("execution.approval.requested") as events:
            box.call("planning.plans.execute", id=id)
            approval = (await anext(events)).data["approval"]
        (wait,) = box.call("execution.waits.list", kind="approval")["items"]
        assert wait["shown"] == {"path": "NOTES.md", "content": "# 2.0\n\n- Two\n"}
        box.call("execution.approvals.approve", id=approval, shown_hash=wait["shown_hash"])
        assert await until_end(box, company, id) == "succeeded"
    assert (repository / "NOTES.md").read_text() == "# 2.0\n\n- Two\n"


@pytest.mark.alone
async def test_the_checks_of_a_real_folder_against_a_real_server(
    box: Sandbox, company: Company, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    python = [sys.executable, "-c"]
    inputs = {
        "lint": [*python, "print('clean')"],
        "test": [*python, "print('passed')"],
        "files": ["a.txt", "b.txt"],
        "check": [*python, "import sys; print(open(sys.argv[1]).read())"],
        "edit": {"path": "a.txt", "old": "x", "new": "y"},
        "ping": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
    }
    view = box.call("planning.plans.generate", goal=GOAL, template="checks", inputs=inputs, folder=str(tmp_path))
    id = view["plan"]["id"]
    async with server, box.running():
        approved(box, id)
        with company.subscribe("execution.approval.requested") as events:
            run = box.call("planning.plans.execute", id=id)["run"]
            approval = (await anext(events)).data["approval"]
        assert (tmp_path / "a.txt").read_text() == "x"
        box.call("execution.approvals.approve", id=approval)
        assert await until_end(box, company, id) == "succeeded"
    steps = box.call("execution.runs.get", id=run)["steps"]
    outputs = {step["key"]: step["output"] for step in steps if step["role"] == "item"}
    assert sorted(each["stdout"].strip() for each in outputs.values()) == ["x", "x"]
    assert (tmp_path / "a.txt").read_text() == "y"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()
