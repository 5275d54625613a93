"""What is in the database while a daemon works: references to nothing, tables that are not as their records say.

All of it is mended by the one writer: references by a command that history holds and undo takes back, tables between
two commits.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from coder_local._registry.kernel import Kernel
from coder_local._store import migrations
from coder_local._store.caller import Caller
from coder_local._store.scope import WriteScope
from coder_local._store.tables import Table
from coder_local.api import TimedOut

from .finding import OPERATION, Check, Finding, problem
from .references import Lost, Reference, holders, holds, lost

_PATIENCE = 60.0
"""Seconds that a cure waits for the writer."""
_AT_ONCE = 200
"""Records that one command writes, so that the writer is not held."""
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON")


def references(connection: sqlite3.Connection, named: Sequence[Reference], kernel: Kernel, actor: str) -> Check:
    """Look for fields of live records that name what is not there, and let them go empty where they may be."""
    for found in lost(connection, named):
        table, field = found.table, found.field
        message = (
            f"{field} of {found.number} {table.kind} names a {found.other.kind} that is not there,"
            f" first in {found.first}"
        )
        hint = "give it another, or delete the record"
        if not table.by_name[field].null or not table.history:
            yield Finding(check="references", state="warning", message=message, hint=hint)
            continue
        fix = f"let {field} of {found.number} {table.kind} go empty; coder-local undo brings it back"
        ids = holders(connection, found)
        yield problem("references", message, hint, fix=fix, mend=_emptying(kernel, actor, found, ids))


def _emptying(kernel: Kernel, actor: str, found: Lost, ids: Sequence[tuple[str, str]]) -> Callable[[], str]:
    record, field = found.table.record, found.field
    empty: dict[str, Any] = {field: None}
    beside = found.table.by_name.get(f"{field}_type")
    if beside is not None and beside.null:
        empty[beside.name] = None

    def write(scope: WriteScope, some: Sequence[str]) -> int:
        scope.write_log()
        # looked at again: since the check, somebody may have given it another that is there
        still = [id for id in some if holds(scope.connection, found, id)]
        kept = [each for id in still if (each := scope.find(record, id)) is not None]
        return len([scope.update(each, **empty) for each in kept])

    def mend() -> str:
        count = 0
        for workspace in sorted({workspace for workspace, _ in ids}):
            own = [id for place, id in ids if place == workspace]
            caller = Caller(actor=actor, workspace=workspace, operation=OPERATION)
            for at in range(0, len(own), _AT_ONCE):
                work = partial(write, some=own[at : at + _AT_ONCE])
                count += wait(partial(kernel.store.submit, work, caller))
        return f"{field} of {count} {found.table.kind} is empty now"

    return mend


def tables(connection: sqlite3.Connection, declared: Sequence[Table], kernel: Kernel) -> Check:
    """Look for tables that are not as their records say; what only has to be added can be."""
    existing = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    for table in declared:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
        lacking = [column for column in table.columns if column.name not in columns]
        if columns and lacking and all(column.null for column in lacking):
            names = ", ".join(column.name for column in lacking)
            statements = [f"ALTER TABLE {table.name} ADD COLUMN {column.ddl()}" for column in lacking]
            yield problem(
                "tables", f"{table.name} lacks {names}", "install the version of the plugin that made the data",
                state="error", fix=f"add {names} to {table.name}, empty", mend=_adding(kernel, statements),
            )  # fmt: skip
        else:
            for fault in migrations.verify(connection, [table]):
                hint = "install the version of the plugin that made the data"
                yield Finding(check="tables", state="error", message=fault, hint=hint)
        if not columns or lacking:
            continue  # its indexes may be on what is lacking
        missing = [text for text in table.ddl()[1:] if (match := _INDEX.match(text)) and match[1] not in existing]
        if missing:
            message = (
                f"{table.name} lacks {len(missing)} of its indexes: lists of it are slow, or what is unique is not"
            )
            fix = f"make the indexes of {table.name} anew"
            yield problem("tables", message, "", state="error", fix=fix, mend=_adding(kernel, missing))


def _adding(kernel: Kernel, statements: Sequence[str]) -> Callable[[], str]:
    def add() -> int:
        connection = kernel.store.writer.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return len(statements)

    def mend() -> str:
        count = wait(partial(kernel.store.alone, add, Caller("daemon", operation=OPERATION)))
        return f"{count} statements were carried out"

    return mend


def wait(begin: Callable[[Callable[[Any, BaseException | None], None]], object]) -> Any:
    """Hand something to the writer and wait for its answer, on a thread. Raises what it raises, and `TimedOut`."""
    ended = threading.Event()
    answers: list[tuple[Any, BaseException | None]] = []

    def done(result: Any, error: BaseException | None) -> None:
        answers.append((result, error))
        ended.set()

    begin(done)
    if not ended.wait(_PATIENCE):
        raise TimedOut(f"the writer did not come to it in {_PATIENCE:g} s")
    result, error = answers[0]
    if error is not None:
        raise error
    return result
