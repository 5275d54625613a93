"""Steps of kind `approval`: a person decides, on exactly what is shown."""

from __future__ import annotations

from collections.abc import Iterable

from coder_local.api import Fault, Snapshot
from coder_plugins.execution.runs.records import Wait

from .records import ApprovalInput, WaitKind


class ApprovalKind(WaitKind[ApprovalInput]):
    """Ask a person; the answer is bound to what was shown, and the first one counts."""

    name = "approval"
    input = ApprovalInput

    def check(self, read: Snapshot, input: ApprovalInput, /) -> Iterable[Fault]:  # noqa: ARG002
        if input.default is not None and input.default not in input.choices:
            yield Fault("/default", f"{input.default!r} is no choice", f"one of {', '.join(input.choices)}")
        if len(set(input.choices)) != len(input.choices):
            yield Fault("/choices", "two choices are the same", None)

    def begin(self, now_ms: int, input: ApprovalInput, /) -> Wait:  # noqa: ARG002
        return Wait(
            run="", key="", kind="approval", prompt=input.prompt, shown=input.shown, choices=input.choices,
            default_choice=input.default,
        )  # fmt: skip
