"""From a record to its table: columns, SQL, and the ways between a row, a record and JSON.

A row goes to JSON without becoming a record: a positional twin of the record is filled from the row as it is and
encoded (0.5 us a row of 20 columns, against 4 us by keyword). Columns that SQLite keeps as JSON text pass through.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from coder_local.api import Conflict, DeclarationError, Error, Index, Invalid, Record
from coder_local.api.operations import Rule, TableDeclaration

_encode = msgspec.json.Encoder().encode
_NONE = type(None)


class Column:
    """One field of a record as a column: its SQL type and how its value is kept."""

    __slots__ = ("decoder", "kind", "name", "null", "sql_type")

    def __init__(self, name: str, annotation: Any) -> None:
        self.name = name
        core, self.null = strip(annotation)
        self.kind: Literal["plain", "bool", "json"] = "plain"
        self.decoder: msgspec.json.Decoder[Any] | None = None
        literal = get_args(core)[0] if get_origin(core) is Literal else None
        if core is bool:
            self.kind, self.sql_type = "bool", "INTEGER"
        elif core is int or isinstance(literal, int):
            self.sql_type = "INTEGER"
        elif core is float:
            self.sql_type = "REAL"
        elif core is str or isinstance(literal, str):
            self.sql_type = "TEXT"
        else:
            self.kind, self.sql_type = "json", "TEXT"
            self.decoder = msgspec.json.Decoder(annotation)

    def ddl(self) -> str:
        """Return the column's definition."""
        if self.name == "id":
            return "id TEXT PRIMARY KEY NOT NULL"
        return f"{self.name} {self.sql_type}" + ("" if self.null else " NOT NULL")

    def to_sql(self, value: Any) -> Any:
        """Return what SQLite keeps for a value."""
        if value is None or self.kind == "plain":
            return value
        return int(value) if self.kind == "bool" else _encode(value).decode()


def strip(annotation: Any) -> tuple[Any, bool]:
    """Return a type without `Annotated` and `None`, and whether it may be None."""
    null = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in {Union, types.UnionType}:
            rest = [part for part in get_args(annotation) if part is not _NONE]
            null = null or len(rest) < len(get_args(annotation))
            if len(rest) != 1:
                return annotation, null
            annotation = rest[0]
        else:
            return annotation, null


def _read_types(record: type[Record]) -> tuple[Mapping[str, Any], list[Column]]:
    """Return the types of a record's fields and its columns. Raises `DeclarationError` for a type that is not there."""
    try:
        hints = get_type_hints(record, include_extras=True)
        return hints, [Column(field, hints[field]) for field in record.__struct_fields__]
    except (NameError, SyntaxError, TypeError) as error:
        raise DeclarationError(
            f"{record.__name__}: {error}; types of fields are read at run time, so import them for real"
        ) from error


class Update:
    """The statement that writes some columns of one row, and how their values are taken from a record."""

    def __init__(self, sql: str, columns: Sequence[Column]) -> None:
        self.sql = sql
        self._values = operator.attrgetter(*(column.name for column in columns))  # a loop over them takes twice as long
        self._special = [(index, column) for index, column in enumerate(columns) if column.kind != "plain"]

    def values(self, record: Record) -> list[Any]:
        """Return what SQLite keeps of a record in those columns."""
        values: list[Any] = list(self._values(record))
        for index, column in self._special:
            values[index] = column.to_sql(values[index])
        return values


class Table:
    """A record's table, compiled once from its declaration."""

    def __init__(self, declaration: TableDeclaration, filters: Sequence[str] = (), sort: Sequence[str] = ()) -> None:
        self.declaration = declaration
        self.record: type[Record] = declaration.record
        self.name = declaration.sql_name
        self.plugin = declaration.path.split(".", 1)[0]
        self.kind = f"{self.plugin}.{declaration.word}"
        self.history = declaration.history
        self.hints, self.columns = _read_types(declaration.record)
        self.by_name = {column.name: column for column in self.columns}
        self.names = ", ".join(self.by_name)
        self.floats = tuple(column.name for column in self.columns if column.sql_type == "REAL")
        self.filters, self.sort = tuple(filters), tuple(sort)
        marks = ", ".join("?" * len(self.columns))
        self.insert_sql = f"INSERT INTO {self.name} ({self.names}) VALUES ({marks})"  # noqa: S608 - names are declared
        self.get_sql = f"SELECT {self.names} FROM {self.name} WHERE id = ? AND deleted_at IS NULL"  # noqa: S608
        self.erase_sql = f"DELETE FROM {self.name} WHERE id = ? AND rev = ?"  # noqa: S608
        self.find_sql = f"SELECT {self.names} FROM {self.name} WHERE id = ?"  # noqa: S608
        key = declaration.key
        by_key = f" FROM {self.name} WHERE workspace_id = ? AND {key} = ? AND deleted_at IS NULL"
        # one statement instead of three; SQLite goes through them in order, so an id comes before a key
        self.named_sql = f"{self.get_sql} UNION ALL SELECT {self.names}{by_key} LIMIT 1" if key else self.get_sql
        self.id_sql = f"SELECT id FROM {self.name} WHERE id = ?"  # noqa: S608
        if key:
            self.id_sql += f" UNION ALL SELECT id{by_key} LIMIT 1"
        self._twin: Any = msgspec.defstruct(self.record.__name__, [(name, Any) for name in self.by_name])
        self._special = [
            (index, column.kind == "bool") for index, column in enumerate(self.columns) if column.kind != "plain"
        ]
        self._updates: dict[tuple[str, ...], Update] = {}
        self._reads: list[tuple[int, Callable[[Any], Any]]] = [
            (index, bool if column.decoder is None else column.decoder.decode)
            for index, column in enumerate(self.columns)
            if column.kind != "plain"
        ]

    def key_of(self, record: Record) -> str | None:
        """Return what people call the record, if it has a human key."""
        key = self.declaration.key
        return None if key is None else getattr(record, key)

    def naming(self, reference: str, workspace: str) -> tuple[str, ...]:
        """Return the values for `named_sql` and `id_sql`: an id, or what people in a workspace call a record."""
        return (reference,) if self.declaration.key is None else (reference, workspace, reference)

    def ddl(self) -> list[str]:
        """Return the statements that make the table and its indexes."""
        columns = ",\n  ".join(column.ddl() for column in self.columns)
        statements = [f"CREATE TABLE {self.name} (\n  {columns}\n) STRICT"]
        for fields in self.declaration.unique:
            statements.append(self._index("unique", Index(fields=fields)))
        for index in self.declaration.indexes:
            statements.append(self._index("by", index))
        whole = {index.fields for index in self.declaration.indexes if not index.where}
        for field in dict.fromkeys(("id", *self.filters, *self.sort)):
            if (field,) not in whole:
                statements.append(self._list_index(field))
        return statements

    def _index(self, word: Literal["unique", "by"], index: Index) -> str:
        # Partial, because lists never show deleted records and a deleted name may be given again.
        kind = "UNIQUE INDEX" if word == "unique" else "INDEX"
        terms = index.fields if word == "unique" else dict.fromkeys((*index.fields, "id"))
        return (
            f"CREATE {kind} {self.name}_{word}_{index.name or '_'.join(index.fields)} ON {self.name}"
            f" ({', '.join(terms)}) WHERE {f'{index.where} AND ' if index.where else ''}deleted_at IS NULL"
        )

    def _list_index(self, field: str) -> str:
        """Return the index that a list by this field walks: a workspace's records in the field's order, then by id."""
        terms = dict.fromkeys(("workspace_id", *self.sort_terms(field), "id"))
        return f"CREATE INDEX {self.name}_list_{field} ON {self.name} ({', '.join(terms)}) WHERE deleted_at IS NULL"

    def sort_terms(self, field: str) -> list[str]:
        """Return the SQL terms that order by a field, empty values last."""
        return [f"({field} IS NULL)", field] if self.by_name[field].null and field in self.sort else [field]

    def update_of(self, names: tuple[str, ...]) -> Update:
        """Return how some columns, two at least, of the row with an id and a rev are written."""
        update = self._updates.get(names)
        if update is None:
            columns = ", ".join(f"{name} = ?" for name in names)
            sql = f"UPDATE {self.name} SET {columns} WHERE id = ? AND rev = ?"  # noqa: S608 - names are declared
            update = self._updates[names] = Update(sql, [self.by_name[name] for name in names])
        return update

    def to_row(self, record: Record) -> list[Any]:
        """Return the values of a record in the order of the columns."""
        row: list[Any] = list(msgspec.structs.astuple(record))
        for index, _ in self._special:
            row[index] = self.columns[index].to_sql(row[index])
        return row

    def from_row(self, row: Sequence[Any]) -> Any:
        """Return the record of a row."""
        values = list(row)
        for index, read in self._reads:
            if (value := values[index]) is not None:
                values[index] = read(value)
        return self.record(**dict(zip(self.by_name, values, strict=True)))

    def to_wire(self, row: Sequence[Any]) -> Any:
        """Return something that encodes to the record's JSON, without making the record."""
        if not self._special:
            return self._twin(*row)
        values = list(row)
        for index, is_bool in self._special:
            if (value := values[index]) is not None:
                values[index] = bool(value) if is_bool else msgspec.Raw(value)
        return self._twin(*values)

    def check(self, found: Mapping[str, tuple[str, bool]]) -> list[str]:
        """Return how the columns that the migrations made (name to SQL type and NOT NULL) differ from the record's.

        Columns that only the database has are of a newer version, and no fault.
        """
        faults: list[str] = []
        for column in self.columns:
            if column.name not in found:
                default = "" if column.null else f" DEFAULT {0 if column.sql_type == 'INTEGER' else repr('')}"
                faults.append(
                    f"{self.name} lacks {column.name}; put into the next migration: "
                    f"ALTER TABLE {self.name} ADD COLUMN {column.ddl()}{default};"
                )
            elif found[column.name][0] != column.sql_type:
                faults.append(
                    f"{self.name}.{column.name} is {found[column.name][0]}, the record needs {column.sql_type}"
                )
        return faults


def refusal_of(error: Exception, table: Table) -> Error:
    """Return the answer for a row that SQLite does not take, naming the fields."""
    text, name = str(error), getattr(error, "sqlite_errorname", "")
    word = table.declaration.word
    fields = [part.rsplit(".", 1)[-1] for part in text.partition(": ")[2].split(", ")] if ": " in text else []
    if isinstance(error, OverflowError):
        return Invalid(f"a whole number of the {word} is not under 2^63, or is under -2^63")
    if name == "SQLITE_CONSTRAINT_NOTNULL":
        return Invalid(f"{fields[0]} of the {word} may not be empty", field=f"/{fields[0]}", hint="give it a value")
    if name not in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
        return Invalid(f"the table of the {word} does not take this: {text}")
    own = [field for field in fields if field != "workspace_id"]
    return Conflict(
        f"there is already a {word} with the same {' and '.join(own) or 'key'}",
        field=f"/{own[0]}" if own else None,
        hint="choose another value, or update the one that is there",
        data={"unique": own},
    )


Indexed = Callable[[type[Record]], tuple[Sequence[str], Sequence[str]]]


class Tables:
    """The tables of the loaded plugins, each compiled when it is first needed (100 of them cost 30 ms at start)."""

    def __init__(self) -> None:
        self._declared: dict[type[Record], tuple[TableDeclaration, Sequence[str], Sequence[str]]] = {}
        self._compiled: dict[type[Record], Table] = {}
        self._records: dict[str, type[Record]] = {}
        self.rules: dict[type[Record], list[Rule]] = {}

    def add(self, declaration: TableDeclaration, filters: Sequence[str] = (), sort: Sequence[str] = ()) -> None:
        """Take in a declaration. Raises `DeclarationError` if another record has a table of that name."""
        if declaration.sql_name in self._records:
            raise DeclarationError(f"two records are kept in a table named {declaration.sql_name}")
        self._records[declaration.sql_name] = declaration.record
        self._declared[declaration.record] = (declaration, filters, sort)

    def discard(self, record: type[Record]) -> None:
        """Forget a record's table, when its plugin is stopped."""
        if found := self._declared.pop(record, None):
            self._records.pop(found[0].sql_name, None)
            self._compiled.pop(record, None)
            self.rules.pop(record, None)

    def keeps(self, record: type[Record]) -> bool:
        """Tell whether a loaded plugin keeps a record."""
        return record in self._declared

    def of(self, record: type[Record]) -> Table:
        """Return the table of a record. Raises `DeclarationError` for a record that no loaded plugin keeps."""
        table = self._compiled.get(record)
        if table is None:
            if record not in self._declared:
                raise DeclarationError(f"{record.__name__} has no table: put @domain.table(...) on it")
            table = self._compiled[record] = Table(*self._declared[record])
        return table

    def named_record(self, sql_name: str) -> type[Record] | None:
        """Return the record that is kept in the table of that SQL name."""
        return self._records.get(sql_name)

    def named(self, sql_name: str) -> Table | None:
        """Return the table of that SQL name, or None if its plugin is not loaded."""
        record = self._records.get(sql_name)
        return None if record is None else self.of(record)

    def all(self) -> list[Table]:
        """Return every table, in the order of declaration."""
        return [self.of(record) for record in self._declared]
