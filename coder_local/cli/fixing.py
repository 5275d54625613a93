"""`doctor --fix`: have mended what can be, then look again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from coder_ipc.errors import ConnectionLost, NotRunning

from . import salvage
from .errors import Failure, NoDirectory
from .session import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .doctor import Check
    from .session import Session

_DATABASE = "database"


class Fixed(NamedTuple):
    """One thing that was to be mended, as `daemon.repair` says it."""

    check: str
    message: str
    done: bool
    said: str


def fix(session: Session, look: Callable[[], list[Check]]) -> tuple[list[Fixed], list[Check]]:
    """Ask for each kind of finding, mend what was agreed to, and return what came of it and what is found now.

    Raises `Failure` if there is something to mend and nobody to ask.
    """
    found = look()
    agreed = _agreed(session, [check for check in found if check.fix])
    if not agreed:
        return [], found
    done: list[Fixed] = []
    if _DATABASE in agreed:  # first: the other cures write lines of audit, which no damaged database may be given
        done.append(_salvage(session))
        session.close()
    done += _repair(session, [name for name in agreed if name != _DATABASE])
    session.close()
    return done, look()


def _agreed(session: Session, found: Sequence[Check]) -> list[str]:
    """Return the checks whose findings are to be mended."""
    agreed: list[str] = []
    for name, group in itertools.groupby(sorted(found, key=lambda check: check.check), key=lambda check: check.check):
        lines = [f"  {check.message}\n    -> {check.fix}" for check in group]
        if session.settings.yes or ask("\n".join([f"{name}:", *lines])):
            agreed.append(name)
    if found and not agreed and not session.output.as_json:
        return agreed
    if found and not agreed:
        names = ", ".join(dict.fromkeys(check.check for check in found))
        raise Failure("needs_confirmation", f"to be mended: {names}", hint="give --yes to have all of it mended")
    return agreed


def _repair(session: Session, checks: list[str]) -> list[Fixed]:
    if not checks:
        return []
    try:
        session.attach()
    except (NotRunning, ConnectionLost):
        return _offline(session, checks)
    answer: dict[str, Any] = session.call("daemon.repair", {"checks": checks}, safety="destructive", yes=True)
    return [Fixed(item["check"], item["message"], item["done"], item["said"]) for item in answer["items"]]


def _offline(session: Session, checks: list[str]) -> list[Fixed]:
    from coder_local._daemon.repair.offline import Held  # noqa: PLC0415 - only where no daemon runs
    from coder_local.api import Error  # noqa: PLC0415 - see above

    folder = session.settings.data_dir
    try:
        with Held(folder) as held:
            return [Fixed(each.check, each.message, each.done, each.said) for each in held.repair(checks)]
    except Error as error:
        raise Failure(error.kind, error.message, field=error.field, hint=error.hint) from error
    except OSError as fault:
        raise NoDirectory(folder, fault) from fault


def _salvage(session: Session) -> Fixed:
    try:
        told = salvage.carry_out(session)
    except Failure as error:
        return Fixed(_DATABASE, "the database is damaged", done=False, said=error.message)
    doubt = f" ({told['rows_maybe_deleted']} of them may have been deleted since)" if told["rows_maybe_deleted"] else ""
    said = (
        f"{told['rows_read']} rows were read, {told['rows_from_snapshot']} taken from the snapshot{doubt},"
        f" {told['rows_missing']} are missing; see {told['report']}"
    )
    return Fixed(_DATABASE, "the database was damaged", done=True, said=said)
