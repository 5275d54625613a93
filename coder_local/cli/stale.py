"""What a person is told whose change came too late: the record as it is now, and what was changed meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from coder_ipc.errors import IpcError, RemoteError

from .shapes import is_object, rows_of
from .tables import clean

if TYPE_CHECKING:
    from .session import Session

_SHOWN = 100
_LOOKED_AT = 200
"""Changes, the newest; what lies further back is not named."""


def explained(session: Session, error: RemoteError, given: dict[str, Any]) -> RemoteError:
    """Return a `stale` error with the record's present rev and the fields changed since; the same one as JSON."""
    current = (error.data or {}).get("current")
    if session.output.errors_as_json or not is_object(current) or not isinstance(current.get("rev"), int):
        return error
    rev, seen = current["rev"], given.get("if_rev")
    message = f"{error.message}: its rev is {rev} now{f', not {seen}' if seen is not None else ''}"
    changed = _changed(session, current.get("id"), seen) if isinstance(seen, int) else {}
    lines = [f"  {name}: {_text(current[name])}" for name in changed if name in current]
    if lines:
        by = ", ".join(dict.fromkeys(changed.values()))
        message = "\n".join([f"{message}; changed since, by {by}:", *lines])
    hint = f"look at the record again, then repeat the command with --if-rev {rev}"
    return RemoteError(error.kind, message, field=error.field, hint=hint, data=error.data, code=error.code)


def _changed(session: Session, id: object, seen: int) -> dict[str, str]:
    """Return the fields of a record that were changed after a rev, each with who did it last."""
    try:
        rows = rows_of(session.client.call("changes.list", {"limit": _LOOKED_AT}, session.settings.timeout)["items"])
    except IpcError:
        return {}  # the first error is the one that matters
    later = [row for row in rows if row.get("id") == id and isinstance(rev := row.get("rev"), int) and rev > seen]
    return {
        str(field["field"]): str(row.get("actor")) for row in reversed(later) for field in rows_of(row.get("fields"))
    }


def _text(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = clean(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
