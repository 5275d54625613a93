"""The functions of the standard operations: list, get, create, update, delete, history of any record."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from coder_local._store import changes
from coder_local._store.changes import RecordChange
from coder_local._store.connection import fold
from coder_local._store.scope import ReadScope, WriteScope, missing
from coder_local._store.tables import Table
from coder_local.api import Id, Invalid, Operation, Page, Record
from coder_local.api.operations import StandardOperation
from coder_local.api.records import BASE_FIELDS

from .signature import REQUIRED, Parameter, Signature, fits

Limit = Annotated[int, Meta(ge=1, le=500, description="Items on the page.")]
Cursor = Annotated[str, Meta(max_length=2000, description="`next_cursor` of the page before.")]
Query = Annotated[str, Meta(min_length=1, max_length=200, description="Text to find, in any case.")]

_URLSAFE = bytes.maketrans(b"+/", b"-_")
_PLAIN = bytes.maketrans(b"-_", b"+/")
_WIRE_PAGE: Any = msgspec.defstruct("WirePage", [("items", list[Any]), ("next_cursor", str | None)])


class Standard(NamedTuple):
    """A standard operation, ready: its signature, its function over an input, and whether its cost is bounded."""

    signature: Signature
    run: Callable[[Any, Any], Any]
    bounded: Callable[[Any], bool]
    summary: str


def build(operation: Operation, table: Table) -> Standard:
    """Return the standard operation of a record's table."""
    declared = operation.standard
    assert declared is not None  # noqa: S101 - for the type checker
    return {"list": _list, "get": _get, "create": _create, "update": _update, "delete": _delete, "history": _history}[
        declared.verb
    ](operation.name, table, declared)


def _always(_: Any) -> bool:
    return True


def _never(_: Any) -> bool:
    return False


def _words(table: Table) -> str:
    return table.declaration.word.replace("_", " ")


def _get(name: str, table: Table, _: StandardOperation) -> Standard:
    def run(scope: ReadScope, input: Any) -> Any:
        return table.to_wire(scope.row_of(table, input.id))

    signature = Signature([Parameter("id", Id)], table.record, envelope=False, name=name)
    return Standard(signature, run, _always, f"Return one {_words(table)}.")


def _create(name: str, table: Table, _: StandardOperation) -> Standard:
    closed = {*BASE_FIELDS, *table.declaration.read_only} - {"meta"}
    parameters = [
        Parameter(field.name, table.hints[field.name], _default(field))
        for field in msgspec.structs.fields(table.record)
        if field.name not in closed
    ]
    parameters.sort(key=lambda each: each.default is not REQUIRED)
    names = tuple(parameter.name for parameter in parameters)

    def run(scope: WriteScope, input: Any) -> Any:
        return scope.insert(table.record(**{field: getattr(input, field) for field in names}))

    signature = Signature(parameters, table.record, envelope=True, name=name)
    return Standard(signature, run, _never, f"Create one {_words(table)}.")


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return REQUIRED if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _update(name: str, table: Table, _: StandardOperation) -> Standard:
    closed = {*BASE_FIELDS, *table.declaration.read_only} - {"meta"}
    open_ = [field for field in table.by_name if field not in closed]
    parameters = [Parameter("id", Id), *(Parameter(field, table.hints[field] | UnsetType, UNSET) for field in open_)]

    def run(scope: WriteScope, input: Any) -> Any:
        changes = {field: value for field in open_ if (value := getattr(input, field)) is not UNSET}
        return scope.update(scope.named(table.record, input.id), **changes)

    signature = Signature(parameters, table.record, envelope=True, name=name)
    return Standard(signature, run, _never, f"Change some fields of one {_words(table)}; the others stay.")


def _delete(name: str, table: Table, _: StandardOperation) -> Standard:
    def run(scope: WriteScope, input: Any) -> Any:
        return scope.delete(scope.named(table.record, input.id))

    signature = Signature([Parameter("id", Id)], table.record, envelope=True, name=name)
    summary = f"Delete one {_words(table)}; it stays in history, and undo brings it back."
    return Standard(signature, run, _never, summary)


def _history(name: str, table: Table, _: StandardOperation) -> Standard:
    def run(scope: ReadScope, input: Any) -> Page[RecordChange]:
        id_ = scope.id_of(table, input.id)
        if id_ is None:
            raise missing(table, input.id)
        found = changes.history(scope, table, id_, before=number_of(input.cursor), limit=input.limit + 1)
        more = len(found) > input.limit
        page: Page[RecordChange] = Page(items=found[: input.limit])
        return Page(items=page.items, next_cursor=str(page.items[-1].seq)) if more else page

    parameters = [Parameter("id", Id), Parameter("limit", Limit, 50), Parameter("cursor", Cursor | None, None)]
    signature = Signature(parameters, Page[RecordChange], envelope=False, name=name)
    return Standard(signature, run, _never, f"List the changes of one {_words(table)}, newest first.")


def number_of(cursor: str | None) -> int | None:
    """Return the number that a cursor of a history stands for. Raises `Invalid` for any other text."""
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise bad_cursor()
    return int(cursor)


def bad_cursor() -> Invalid:
    """Return the answer for a cursor that this list never gave."""
    return Invalid("this is no cursor of this list", field="/cursor", hint="leave it out to begin at the first page")


def _list(name: str, table: Table, declared: StandardOperation) -> Standard:
    filters, search = declared.filters, declared.search
    orders = tuple(dict.fromkeys(["id", *declared.sort]))
    parameters = [Parameter(field, table.hints[field] | None, None) for field in filters]
    if search:
        parameters.append(Parameter("q", Query | None, None))
    choices = tuple(text for field in orders for text in (field, f"-{field}"))
    parameters += [
        Parameter("sort", _choice(choices), "id"),
        Parameter("limit", Limit, 50),
        Parameter("cursor", Cursor | None, None),
    ]
    references = dict(declared.references)
    found_in = " OR ".join(_found_in(field) for field in search)
    plans = {choice: Order(table, choice) for choice in choices}

    def run(scope: ReadScope, input: Any) -> Any:
        order = plans[input.sort]
        terms = ["deleted_at IS NULL", "workspace_id = :workspace"]
        values: dict[str, Any] = {"workspace": scope.workspace, "limit": input.limit + 1}
        for field in filters:
            if (value := getattr(input, field)) is not None:
                terms.append(f"{field} = :field_{field}")  # a record may have fields called workspace, limit or q
                other = references.get(field)
                values[f"field_{field}"] = (
                    table.by_name[field].to_sql(value) if other is None else _named(scope, other, value, field)
                )
        if search and input.q is not None:
            terms.append(f"({found_in})")
            folded = fold(input.q) or ""
            values["folded"] = folded
            values["q"] = "%" + folded.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        if input.cursor is not None:
            terms.append(order.after(input.cursor, values))
        sql = f"SELECT {table.names} FROM {table.name} WHERE {' AND '.join(terms)} ORDER BY {order.sql} LIMIT :limit"  # noqa: S608
        rows = scope.connection.execute(sql, values).fetchall()
        more = len(rows) > input.limit
        items = [table.to_wire(row) for row in rows[: input.limit]]
        return _WIRE_PAGE(items, order.cursor(rows[input.limit - 1]) if more else None)

    def bounded(input: Any) -> bool:
        """Tell whether an index serves both what is asked for and its order, so that only the page's rows are read."""
        asked = sum(getattr(input, field) is not None for field in filters)
        return input.limit <= 50 and not (search and input.q) and (asked == 0 or (asked == 1 and input.sort == "id"))

    signature = Signature(parameters, page_of(table.record), envelope=False, name=name)
    return Standard(signature, run, bounded, f"List {_words(table)}s of the workspace by page, in a stable order.")


def _found_in(field: str) -> str:
    """Return the condition for a text in any case: LIKE folds ASCII alone, and `fold` costs a call for each row."""
    beyond_ascii = f"length({field}) < length(CAST({field} AS BLOB))"
    return f"{field} LIKE :q ESCAPE '\\' OR ({beyond_ascii} AND instr(fold({field}), :folded))"


def _named(scope: ReadScope, record: type[Record] | tuple[type[Record], ...], reference: str, field: str) -> str:
    if isinstance(record, tuple):
        ids = (scope.id_of(scope.tables.of(each), reference) for each in record)
        return next((id_ for id_ in ids if id_ is not None), reference)
    table = scope.tables.of(record)
    found = scope.id_of(table, reference)
    if found is None:
        error = missing(table, reference)
        error.field = f"/{field}"
        raise error
    return found


class Order:
    """One order of a list: its SQL, and the cursor that goes on after a row. Empty values come last, reversed first."""

    def __init__(self, table: Table, choice: str) -> None:
        self._down = choice.startswith("-")
        self._field = choice.removeprefix("-")
        self._terms = table.sort_terms(self._field) if self._field != "id" else []
        way = " DESC" if self._down else ""
        self.sql = ", ".join(f"{term}{way}" for term in (*self._terms, "id"))
        names = list(table.by_name)
        self._at, self._id_at = names.index(self._field), names.index("id")
        self._choice = choice

    def cursor(self, row: Any) -> str:
        """Return the text that stands for the place after a row."""
        place = msgspec.json.encode([self._choice, row[self._at], row[self._id_at]])
        return binascii.b2a_base64(place, newline=False).translate(_URLSAFE).decode().rstrip("=")

    def after(self, cursor: str, values: dict[str, Any]) -> str:
        """Return the condition for the rows after a cursor, and put its values into `values`. Raises `Invalid`."""
        try:
            text = binascii.a2b_base64(cursor.encode().translate(_PLAIN) + b"=" * (-len(cursor) % 4))
            choice, value, id_ = msgspec.json.decode(text, type=tuple[str, str | int | float | None, str])
        except (ValueError, binascii.Error, msgspec.DecodeError) as error:
            raise bad_cursor() from error
        if choice != self._choice or not fits(value):
            raise bad_cursor()
        values["after"], values["after_id"] = value, id_
        sign = "<" if self._down else ">"
        if not self._terms:
            return f"id {sign} :after_id"
        if len(self._terms) == 1:
            return f"({self._field}, id) {sign} (:after, :after_id)"
        if value is None:
            beyond = f"({self._field} IS NULL AND id {sign} :after_id)"
            return f"({beyond} OR {self._field} IS NOT NULL)" if self._down else beyond
        beyond = f"({self._field}, id) {sign} (:after, :after_id)"
        return beyond if self._down else f"({beyond} OR {self._field} IS NULL)"


def _choice(words: tuple[str, ...]) -> Any:
    return Literal[words]


def page_of(record: Any) -> Any:
    """Return the type of a page of records, made at run time."""
    return Page[record]
