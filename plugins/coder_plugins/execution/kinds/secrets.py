"""References to secrets in the values of variables and headers, resolved for one attempt."""

from __future__ import annotations

from coder_local.api import StepRun
from coder_plugins.execution.rules.clear import split
from coder_plugins.execution.rules.references import as_text


async def in_clear(step: StepRun, value: str | float) -> tuple[str, list[str]]:
    """Return a value with each `secret://` reference in it replaced, and the secrets, which must be masked."""
    parts = split(as_text(value))
    secrets = [await step.secret(reference) for reference in parts[1::2]]
    parts[1::2] = secrets
    return "".join(parts), secrets
