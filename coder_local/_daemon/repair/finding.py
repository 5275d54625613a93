"""What a check found, and how it can be mended."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from coder_ipc.errors import IpcError
from coder_local.api import Error, Value

_log = logging.getLogger("coder_local.doctor")
OPERATION = "daemon.repair"
"""Under which cures stand in history and audit."""
HINT = "coder-local doctor --fix keeps what can be read of it; coder-local restore takes a snapshot whole"
"""What to do about a damaged database."""
SALVAGE = "stop the daemon, keep what can be read, take what was lost from the newest good snapshot"
"""What is done about a damaged database; the command does it, for no daemon may run meanwhile."""
State = Literal["ok", "warning", "error"]


class Finding(Value):
    """What one check found."""

    check: str
    state: State
    message: str
    hint: str = ""
    """What to do about it."""
    fix: str = ""
    """What `doctor --fix` would do about it; empty where a person must."""


class Report(Value):
    """What the doctor found."""

    healthy: bool
    """Whether there is no error; warnings may be there."""
    items: list[Finding]


class Repair(Value):
    """One thing that was to be mended."""

    check: str
    message: str
    """What was wrong."""
    done: bool
    said: str
    """What was done, or why it could not be."""


class Problem(NamedTuple):
    """A finding, and what mends it."""

    finding: Finding
    mend: Callable[[], str] | None = None
    """Does what the finding's `fix` says, and returns what was done. Raises as checks do."""


Check = Iterator[Finding | Problem]


def problem(
    check: str, message: str, hint: str = "", *, state: State = "warning", fix: str = "", mend: Callable[[], str]
) -> Problem:
    """Return something that is wrong and can be mended."""
    return Problem(Finding(check=check, state=state, message=message, hint=hint, fix=fix), mend)


def run(name: str, check: Callable[[], Iterable[Finding | Problem]]) -> list[Problem]:
    """Return what a check finds; one that fails is itself a finding, and one that finds nothing is well."""
    found: list[Problem] = []
    try:
        for each in check():
            found.append(each if isinstance(each, Problem) else Problem(each))
    except (OSError, sqlite3.Error, Error, IpcError) as error:
        hint = (error.hint if isinstance(error, Error | IpcError) else None) or ""
        found.append(Problem(Finding(check=name, state="error", message=f"it cannot be checked: {error}", hint=hint)))
    except Exception as error:  # noqa: BLE001 - whatever ails one check, the others look
        _log.exception("check %s failed", name)
        message = f"it cannot be checked: {type(error).__name__}"
        found.append(Problem(Finding(check=name, state="error", message=message, hint="see the log")))
    return found or [Problem(Finding(check=name, state="ok", message="nothing is wrong"))]


def mend(found: Problem) -> Repair:
    """Mend what was found, and say what came of it."""
    finding = found.finding
    assert found.mend is not None  # noqa: S101 - asked for those that have it
    try:
        said = found.mend()
    except (OSError, sqlite3.Error, Error) as error:
        return Repair(check=finding.check, message=finding.message, done=False, said=str(error))
    except Exception as error:  # noqa: BLE001 - a plugin's fault, which keeps no other cure from being done, or noted
        _log.exception("a cure of %s failed", finding.check)
        return Repair(
            check=finding.check, message=finding.message, done=False, said=f"{type(error).__name__}; see the log"
        )
    return Repair(check=finding.check, message=finding.message, done=True, said=said)


def report(found: Iterable[Problem]) -> Report:
    """Return what was found as the doctor says it."""
    items = [each.finding for each in found]
    return Report(healthy=all(item.state != "error" for item in items), items=items)
