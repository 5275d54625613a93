"""`salvage`: what can be read of a damaged database, in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .app import Command
from .errors import Failure, NoDirectory
from .life import stop
from .session import ask

if TYPE_CHECKING:
    from argparse import Namespace

    from coder_local._daemon.repair.salvaging import Salvaged

    from .parser import Parser
    from .session import Session

_ABOUT = """\
Without FILE it is the database in use if that is damaged, else the newest one in quarantine/. Every row of a page that
can be read is kept, and none is made up; rows that are lost are taken from the newest whole snapshot, as they were
then. The report, salvage-report.json, lies beside the damaged file and names what is missing. The daemon is stopped,
and started again if it ran; the database in use is set aside. Event cursors of before are answered with a reset.
"""


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", help="a damaged database, or a folder of quarantine/"
    )


def _salvage(session: Session, arguments: Namespace) -> int:
    named = arguments.file.expanduser().absolute() if arguments.file else None
    folder = session.settings.data_dir
    _look(folder, named)
    question = (
        f"The database in {folder} is replaced by what can be read of the damaged one; the one of now is set aside."
    )
    if not (session.settings.yes or ask(question)):
        raise Failure("needs_confirmation", "a salvage replaces all that is kept", hint="give --yes to confirm")
    session.output.answer(carry_out(session, named))
    return 0


def carry_out(session: Session, named: Path | None = None) -> dict[str, Any]:
    """Stop the daemon, salvage, start it again if it ran, and return what came of it."""
    ran = stop(session)
    try:
        found = _put_in_place(session.settings.data_dir, named)
    finally:
        if ran:
            session.start()
    return told(found) | {"started": ran}


def _look(folder: Path, named: Path | None) -> None:
    """Raise `Failure` if there is nothing to salvage, before anything is stopped for it."""
    from coder_local._daemon.repair import salvaging  # noqa: PLC0415 - for this command only
    from coder_local.api import Error  # noqa: PLC0415 - see above

    try:
        salvaging.to_salvage(folder, named)
    except Error as error:
        raise Failure(error.kind, error.message, field=error.field, hint=error.hint) from error
    except OSError as fault:
        raise NoDirectory(folder, fault) from fault


def _put_in_place(folder: Path, named: Path | None) -> Salvaged:
    from coder_local._daemon.repair import offline, salvaging  # noqa: PLC0415 - for this command only
    from coder_local._daemon.repair.finding import Repair  # noqa: PLC0415 - see above
    from coder_local.api import Error  # noqa: PLC0415 - see above

    try:
        with offline.Held(folder) as held:
            source = salvaging.to_salvage(folder, named)
            found = salvaging.put_in_place(folder, source)
            said = f"{found.report.read} rows were read; see {found.path}"
            held.note([Repair(check="database", message=f"{source} was damaged", done=True, said=said)])
            return found
    except Error as error:
        raise Failure(error.kind, error.message, field=error.field, hint=error.hint) from error
    except OSError as fault:
        raise NoDirectory(folder, fault) from fault


def told(found: Salvaged) -> dict[str, Any]:
    """Return a salvage in numbers, and where it says more."""
    tables = found.report.tables
    missing = [table for table in tables if table.missing or (table.missing is None and table.lost)]
    return {
        "salvaged": found.report.source,
        "rows_read": found.report.read,
        "rows_from_snapshot": sum(table.from_snapshot for table in tables),
        "rows_maybe_deleted": sum(table.maybe_deleted for table in tables),
        "rows_missing": sum(table.missing or 0 for table in tables),
        "rows_refused": sum(table.refused for table in tables),
        "incomplete": [table.name for table in missing],
        "report": str(found.path),
        "set_aside": str(found.set_aside) if found.set_aside else None,
    }


COMMANDS = {"salvage": Command(_arguments, _salvage, _ABOUT)}
