"""What may be asked of making: a plan from a template or a checklist, and which templates there are."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from coder_local.api import Duration, Fault, FilePath, Invalid, Markdown, Money, Snapshot, Title, Transaction, Value
from coder_plugins.planning.plans.operations import PlanView, draft
from coder_plugins.planning.plans.records import PARALLEL, Content, Inputs, Parallel, PlanDrafted, PlanStep
from coder_plugins.planning.records import Reference, domain, refuse

if TYPE_CHECKING:
    from coder_plugins.planning.plans.rules.templates import Template

TemplateName = Annotated[str, Meta(min_length=1, max_length=64)]


class TemplateInfo(Value):
    """A template, and what it takes."""

    name: str
    summary: str
    inputs: dict[str, Any]
    """JSON Schema of what `planning.plans.generate` takes as `inputs` for it."""


class TemplateList(Value):
    """The templates, by name."""

    items: list[TemplateInfo]


@domain.command("planning.plans.generate", emits=PlanDrafted)
def generate(
    tx: Transaction,
    *,
    goal: Markdown,
    template: TemplateName | None = None,
    checklist: Markdown | None = None,
    inputs: Inputs | None = None,
    title: Title | None = None,
    project: Reference | None = None,
    folder: FilePath | None = None,
    parallel: Parallel = PARALLEL,
    budget_time: Duration | None = None,
    budget_money: Money | None = None,
) -> PlanView:
    """Make a plan for a goal, from a template or from a Markdown checklist; `maker` in the answer says from which.

    Nothing of it is checked or started. `inputs` are what the template takes (`planning.plans.templates`). Of a
    checklist each open item is a step, from top to bottom: one with a single `code` in it runs that command, every
    other one asks a person to do it.
    """
    if (template is None) == (checklist is None):
        hint = "give template, one of planning.plans.templates, or checklist, a list like `- [ ] what to do`"
        raise Invalid("a plan is made from either a template or a checklist", field="/template", hint=hint)
    steps = _from_checklist(checklist, inputs) if checklist is not None else _from_template(template or "", inputs)
    content = Content(steps=steps, folder=folder, parallel=parallel, budget_time=budget_time, budget_money=budget_money)
    maker = "checklist" if template is None else f"template:{template}"
    first = next((line.strip("# \t") for line in goal.splitlines() if line.strip("# \t")), "A plan")
    return draft(tx, content, title=title or first[:300], goal=goal, project=project, maker=maker)


@domain.query("planning.plans.templates")
def templates(read: Snapshot) -> TemplateList:  # noqa: ARG001
    """List the templates that a plan can be made from, with what each takes."""
    from coder_plugins.planning.plans.rules.templates import TEMPLATES  # noqa: PLC0415 - most starts make no plan

    return TemplateList(items=[_info(TEMPLATES[name]) for name in sorted(TEMPLATES)])


def _info(template: type[Template]) -> TemplateInfo:
    summary = (template.__doc__ or "").split("\n\n", maxsplit=1)[0]
    return TemplateInfo(name=template.name, summary=" ".join(summary.split()), inputs=msgspec.json.schema(template))


def _from_checklist(text: str, inputs: Inputs | None) -> list[PlanStep]:
    from coder_plugins.planning.plans.rules.checklists import steps  # noqa: PLC0415 - see above

    if inputs:
        raise Invalid("a checklist takes no inputs", field="/inputs", hint="leave them out")
    return steps(text)


def _from_template(name: str, inputs: Inputs | None) -> list[PlanStep]:
    from coder_plugins.planning.plans.rules.templates import TEMPLATES  # noqa: PLC0415 - see above

    template = TEMPLATES.get(name)
    if template is None:
        near = difflib.get_close_matches(name, TEMPLATES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(TEMPLATES))}"
        raise Invalid(f"there is no template {name!r}", field="/template", hint=hint)
    given = inputs or {}
    known = template.__struct_fields__
    faults: list[Fault] = []
    for unknown in [each for each in given if each not in known]:
        near = difflib.get_close_matches(unknown, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
        faults.append(Fault(f"/inputs/{unknown}", f"the template {name} has no input {unknown!r}", hint))
    refuse(faults)
    try:
        made = msgspec.convert(given, template).steps()
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        at = place.strip("`$").replace("[", "/").replace("]", "").replace(".", "/")
        raise Invalid(message, field=f"/inputs{at}", hint="see planning.plans.templates") from error
    if not made:
        hint = f"give at least one of {', '.join(known)}"
        raise Invalid(f"nothing is left to do of the template {name}", field="/inputs", hint=hint)
    return made
