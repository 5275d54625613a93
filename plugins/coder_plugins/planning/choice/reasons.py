"""Reasons for which a task waits, told with keys instead of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from coder_local.api import Snapshot, Value
from coder_plugins.planning.rules.graph import Reason


class WaitReason(Value):
    """One direct reason for which a task waits."""

    task: str
    """Key of the task that waits."""
    kind: Literal["hold", "blocks"]
    blocker: str | None = None
    """Key of the open task it waits for."""
    hold: str | None = None
    """Why it is held."""
    via: str | None = None
    """Key of the ancestor that the reason is inherited from."""
    text: str
    """The reason in words."""


def keys_of(scope: Snapshot, ids: Iterable[str]) -> dict[str, str]:
    """Return the keys of these tasks by id."""
    sql = "SELECT id, key FROM planning_tasks WHERE id IN (SELECT value FROM json_each(:ids))"
    return dict(scope.rows(sql, ids=sorted(set(ids))))


def ids_in(reasons: Iterable[Reason]) -> set[str]:
    """Return the ids of all tasks that are named in the reasons."""
    return {id for reason in reasons for id in (reason.task, reason.blocker, reason.via) if id is not None}


def tell(reasons: Sequence[Reason], keys: Mapping[str, str]) -> list[WaitReason]:
    """Return reasons with the keys of their tasks."""

    def key(id: str | None) -> str | None:
        return None if id is None else keys.get(id, id)

    told: list[WaitReason] = []
    for reason in reasons:
        words = f'hold "{reason.hold}"' if reason.kind == "hold" else str(key(reason.blocker))
        text = f"{words} (through {key(reason.via)})" if reason.via else words
        told.append(
            WaitReason(
                task=key(reason.task) or "",
                kind=reason.kind,
                blocker=key(reason.blocker),
                hold=reason.hold,
                via=key(reason.via),
                text=text,
            )
        )
    return told
