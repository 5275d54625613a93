"""`daemon.repair`: mending what the doctor found, each cure with a line of audit."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coder_local._daemon.repair.finding import OPERATION, Finding, Problem, Repair, mend
from coder_local._daemon.repair.references import declared
from coder_local._registry.kernel import Kernel
from coder_local._store import audit
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local.api import Context, Domain, Safety, Unsupported, Value

from .work import apart

CheckName = Annotated[str, Meta(min_length=1, max_length=64)]


class Repairs(Value):
    """What was mended, and what is left."""

    items: list[Repair]
    healthy: bool
    """Whether no error is left; warnings may be."""
    left: list[Finding]
    """What the checks find now that is not well."""


def declare(kernel: Kernel, domain: Domain) -> None:
    """Add the operation to the domain `daemon`."""

    @domain.action("daemon.repair", safety=Safety.DESTRUCTIVE, person_only=True)
    async def repair(
        ctx: Context, *, checks: Annotated[list[CheckName], Meta(max_length=100)] | None = None
    ) -> Repairs:
        """Mend what `daemon.doctor` names a `fix` for, of some checks or of all, then look again.

        What holds data is put into `quarantine`, never deleted; references are let go by a command that undo takes
        back. A damaged database is mended by `coder-local doctor --fix`, which stops the daemon for it.
        """
        if kernel.store.folder is None:
            raise Unsupported("a store in memory has nothing to mend")
        from .doctor import health_checks, problems  # noqa: PLC0415 - not at every start

        tables, references, health = kernel.registry.tables.all(), declared(kernel.registry), health_checks(kernel)

        def look() -> list[Problem]:
            return problems(kernel, tables, references, health, ctx.actor)

        def run() -> Repairs:
            found = [each for each in look() if each.mend is not None]
            wanted = [each for each in found if checks is None or each.finding.check in checks]
            done: list[Repair] = []
            for each in wanted:
                done.append(mend(each))
                _audit(kernel, ctx.actor, ctx.workspace, done[-1])
            left = [each.finding for each in look() if each.finding.state != "ok"]
            return Repairs(items=done, healthy=all(each.state != "error" for each in left), left=left)

        return await apart(run)


def _audit(kernel: Kernel, actor: str, workspace: str, done: Repair) -> None:
    """Add the line of one cure, before the next one: what was done, or why it could not be."""
    from coder_local._daemon.repair.data import wait  # noqa: PLC0415 - not at every start
    from coder_local._daemon.repair.offline import entry  # noqa: PLC0415 - as above

    def write(scope: WriteScope) -> None:
        audit.add(scope, entry(actor, workspace, done))

    wait(lambda done: kernel.store.submit(write, Caller(actor="daemon", operation=OPERATION), done))
