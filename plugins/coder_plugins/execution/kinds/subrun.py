"""Steps of kind `sub_run`: a run of its own, whose end is the end of the step."""

from __future__ import annotations

from collections.abc import Iterable

from coder_local.api import Fault, Safety, Snapshot
from coder_plugins.execution.definitions.records import Definition

from .records import IdleKind, SubRunInput


class SubRunKind(IdleKind[SubRunInput]):
    """Run other steps as a run of their own; it is stopped with this one."""

    name = "sub_run"
    input = SubRunInput

    def check(self, read: Snapshot, input: SubRunInput, /) -> Iterable[Fault]:
        if bool(input.steps) == (input.definition is not None):
            yield Fault("/steps", "give either steps or definition", "definition is a hash, or `self`")
        if input.definition not in {None, "self"} and read.find(Definition, input.definition or "") is None:
            yield Fault("/definition", "no steps with this hash are kept", "give steps instead")

    def safety(self, read: Snapshot, input: SubRunInput, /) -> Safety:
        from coder_plugins.execution.definitions.rules import worst_of  # noqa: PLC0415 - it looks at kinds itself

        if input.definition in {None, "self"}:
            return worst_of(read, input.steps)
        kept = read.find(Definition, input.definition or "")
        return Safety.EXTERNAL if kept is None else worst_of(read, kept.body.steps)
