"""Which run is meant: its id, or `last` for the newest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coder_local.cli.api import Failure, Parser, Session, rows_of

LAST = "last"
PAGE = 500
"""Steps that are asked for at once."""


def add(parser: Parser, *, needed: bool = False) -> None:
    """Add the argument that names a run; without `needed` the newest is meant where none is named."""
    help_ = f"id of the run, or `{LAST}` for the newest"
    if needed:
        parser.add_argument("run", metavar="RUN", help=help_)
    else:
        parser.add_argument("run", metavar="RUN", nargs="?", default=LAST, help=f"{help_} (default)")


def id_of(session: Session, named: str) -> str:
    """Return the id of the run that is meant. Raises `Failure` if there is none."""
    if named != LAST:
        return named
    found = rows_of(session.call("execution.runs.list", {"limit": 1, "sort": "-created_at"})["items"])
    if not found:
        raise Failure("not_found", "there is no run yet", hint="start one with coder-local run PLAN")
    return str(found[0]["id"])


def view_of(session: Session, named: str) -> dict[str, Any]:
    """Return the run that is meant with all its steps and its waits, as `execution.runs.get` does page by page."""
    return whole(session, "execution.runs.get", {"id": id_of(session, named)})


def whole(session: Session, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return all pages of steps as one answer; what else is in it is as the last page has it."""
    found = list(pages(session, operation, asked))
    return {**found[-1], "steps": [step for page in found for step in page["steps"]]}


def pages(session: Session, operation: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the pages of steps that an operation answers, one at least."""
    cursor: str | None = None
    while True:
        page: dict[str, Any] = session.call(
            operation, {**asked, "limit": PAGE, **({"cursor": cursor} if cursor else {})}
        )
        cursor = page["next_cursor"]
        yield page
        if cursor is None:
            return
