"""`events`: the event log, and what happens while one looks."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .app import Command
from .shapes import is_list, is_object
from .tables import clean

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from .parser import Parser
    from .session import Session

_PAGE = 500
_SINCE = "give --cursor EPOCH:SEQ, the id of the last event seen (events --json shows it), for what came after"
_ABOUT = """\
Without --cursor the newest events are shown, oldest first. A cursor is the id of the last event seen: with it, all
that came after. In a pipe each event is a line of CloudEvents JSON; a line {"reset": ...} says that the cursor could
not be served.
"""


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C, or --timeout without any"
    )
    parser.add_argument("--types", action="append", metavar="TYPE", help="only these, exact or ending in *; repeatable")
    parser.add_argument(
        "--subjects", action="append", metavar="SUBJECT", help="only these, exact or ending in *; repeatable"
    )
    parser.add_argument("--cursor", metavar="EPOCH:SEQ", help="show what came after this event")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="newest events without --cursor (default 20)"
    )
    parser.meant |= dict.fromkeys(("--since", "--after", "--from", "--start", "--offset"), _SINCE)
    parser.meant |= dict.fromkeys(("-n", "--last", "--tail", "--count", "--lines"), "give --limit N for the newest N")


def _events(session: Session, arguments: Namespace) -> int:
    types, subjects = _split(arguments.types), _split(arguments.subjects)
    cursor: str | None = arguments.cursor
    if not arguments.follow:
        for event in _past(session, cursor, types, arguments.limit):
            if _matches(str(event.get("subject")), subjects):
                _show(session, event)
        return 0
    return _follow(session, cursor, types, subjects)


def _split(given: list[str] | None) -> list[str]:
    return [part for each in given or () for part in each.split(",") if part]


def _past(session: Session, cursor: str | None, types: list[str], limit: int) -> Iterator[dict[str, Any]]:
    """Yield the newest events, or all that came after a cursor."""
    asked: dict[str, Any] = {"types": types} if types else {}
    if cursor is None:
        yield from session.call("events.list", {**asked, "limit": limit})["items"]
        return
    while True:
        page = session.call("events.list", {**asked, "cursor": cursor, "limit": _PAGE})
        if page.get("reset"):
            _show_reset(session, {"reason": page["reset"], "head": page["head"]})
        yield from page["items"]
        # a page that is not full reached the head; the cursor alone would chase events that are written meanwhile
        if len(page["items"]) < _PAGE:
            return
        cursor = page["cursor"]


def _follow(session: Session, cursor: str | None, types: list[str], subjects: list[str]) -> int:
    """Show events until Ctrl-C; with --timeout until none came for so long."""
    with session.client.events(cursor, types, subjects) as subscription:
        session.output.note("following; Ctrl-C ends it")
        while (params := subscription.wait(session.settings.timeout)) is not None:
            if "event" in params:
                _show(session, params["event"])
            else:
                _show_reset(session, params)
    return 0


def _matches(subject: str, wanted: list[str]) -> bool:
    return not wanted or any(
        subject.startswith(each[:-1]) if each.endswith("*") else subject == each for each in wanted
    )


def _show_reset(session: Session, params: dict[str, Any]) -> None:
    reason, head = params.get("reason"), params.get("head")
    if session.output.as_json:
        session.output.item({"reset": {"reason": reason, "head": head}})
    session.output.note(f"the cursor cannot be served ({reason}); events before {head} are left out")


def _show(session: Session, event: dict[str, Any]) -> None:
    session.output.item(event if session.output.as_json else _line(event))


def _line(event: dict[str, Any]) -> str:
    data = event.get("data")
    changed = data.get("changed") if is_object(data) else None
    details = ", ".join(map(str, changed)) if is_list(changed) else ""
    parts = [_clock(str(event.get("time"))), event.get("type"), event.get("subject"), event.get("actor"), details]
    return "  ".join(clean(str(part)) for part in parts if part)


def _clock(time: str) -> str:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return time


COMMANDS = {"events": Command(_arguments, _events, _ABOUT)}
