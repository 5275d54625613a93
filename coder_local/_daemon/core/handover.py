"""`daemon.handover`: the daemon goes, because another one waits to follow it."""

from __future__ import annotations

import os

from coder_local import __version__
from coder_local._registry.kernel import Kernel
from coder_local.api import Conflict, Context, Domain, Safety, Unsupported, Value


class HandingOver(Value):
    """The daemon is about to stop, because another one follows it."""

    pid: int
    incarnation: str
    version: str


def add(domain: Domain, kernel: Kernel) -> None:
    """Add the operation to the domain of the daemon."""

    @domain.action("daemon.handover", safety=Safety.WRITE, person_only=True)
    async def handover(ctx: Context, *, incarnation: str, version: str) -> HandingOver:  # noqa: ARG001
        """Let the daemon stop as `daemon.stop` does, for one that waits to follow it: `coder-local daemon handover`.

        `incarnation` is that of the daemon that is meant, `version` that of the next one. Clients of the socket are
        told by `daemon.handing_over`, so that they come back and start none of their own. Raises `Conflict` when
        another daemon answers than the one that was meant.
        """
        host = kernel.host
        if host is None:
            raise Unsupported("there is no daemon around these operations to hand over")
        if incarnation != host.incarnation:
            raise Conflict(
                "another daemon answers than the one that was to hand over",
                field="/incarnation",
                hint="look at it with daemon.status, then ask that one",
            )
        host.hand_over(version)
        return HandingOver(pid=os.getpid(), incarnation=host.incarnation, version=__version__)
