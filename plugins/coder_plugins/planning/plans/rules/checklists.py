"""Steps from a Markdown checklist; imported when somebody makes a plan of one.

Each open item is a step. One with a single `code` in it is that command, every other one asks a person to do it and to
say that it is done. They are done from top to bottom, the items below an item before it.
"""

from __future__ import annotations

import re
import shlex

from coder_local.api import Fault, Safety
from coder_plugins.planning.formats import markdown
from coder_plugins.planning.formats.foreign import ForeignTask
from coder_plugins.planning.plans.records import STEPS_LIMIT, PlanStep
from coder_plugins.planning.records import refuse

from .templates import approval

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_FOR_A_SHELL = re.compile(r"[|&;<>$*?~(){}]|^cd |^\w+=")
"""What only a shell understands: pipes, files, patterns, variables."""
_CLOSED = frozenset({"done", "dropped"})


def steps(text: str) -> list[PlanStep]:
    """Return the steps of a checklist, in an order in which they can be done.

    Raises `Invalid`, naming all faults, for one without open items or with commands that cannot be read.
    """
    parsed = markdown.parse(text)
    faults = [Fault("/checklist", f"line {each.line}: {each.message}", each.hint) for each in parsed.faults]
    items = _bottom_up([task for task in parsed.tasks if task.status not in _CLOSED])
    if not items and not faults:
        faults.append(Fault("/checklist", "there is no open item in it", "write each as `- [ ] what to do`"))
    if len(items) > STEPS_LIMIT:
        faults.append(Fault("/checklist", f"{len(items)} items: a plan has at most {STEPS_LIMIT} steps"))
    made: list[PlanStep] = []
    taken: set[str] = set()
    for item in items:
        key = _key(item.title, taken)
        try:
            made.append(_step(item, key, needs=[made[-1].key] if made else []))
        except ValueError as error:
            hint = "close its quotes, or write it without `code` to be asked instead"
            faults.append(Fault("/checklist", f"the command of {item.title[:60]!r} cannot be read: {error}", hint))
    refuse(faults)
    return made


def _bottom_up(tasks: list[ForeignTask]) -> list[ForeignTask]:
    """Return the tasks in the order of the list, each after those below it."""
    known = {task.id for task in tasks}
    below: dict[str | None, list[ForeignTask]] = {}
    for task in tasks:
        above = next((link.target for link in task.links if link.kind == "parent" and link.target in known), None)
        below.setdefault(above, []).append(task)
    found: list[ForeignTask] = []
    # Two stacks and no recursion: a list may be nested deeper than Python goes.
    left = list(below.get(None, []))
    while left:
        task = left.pop()
        found.append(task)
        left += below.get(task.id, [])
    return found[::-1]


def _step(item: ForeignTask, key: str, needs: list[str]) -> PlanStep:
    """Return the step of an item. Raises `ValueError` for a command with an open quote."""
    codes: list[str] = _CODE.findall(item.title)
    if len(codes) != 1:
        prompt = f"{item.title}\n\n{item.description}".strip()
        return approval(key, prompt, needs=needs)
    code = codes[0].strip()
    arguments = shlex.split(code)
    if not arguments:
        raise ValueError("it is empty")
    given = {"shell": code} if _FOR_A_SHELL.search(code) else {"run": arguments}
    return PlanStep(
        key=key,
        title=item.title,
        kind="command",
        input=given,
        needs=needs,
        safety=Safety.DESTRUCTIVE,
        expect=item.description or None,
    )


def _key(title: str, taken: set[str]) -> str:
    """Return a key made of the title's first words that no other step has yet."""
    words = "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:40].strip("-") or "step"
    key, number = words, 1
    while key in taken:
        number += 1
        key = f"{words}-{number}"
    taken.add(key)
    return key
