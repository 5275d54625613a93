"""One command for each operation: its options from the input's schema, its help from the docstring."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import schema, texts
from .errors import invalid
from .parser import SETTINGS_OPTIONS, Parser, literal, settings
from .shapes import is_list

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from .catalogue import Operation
    from .schema import Field
    from .session import Session

_METAVARS = {"string": "TEXT", "integer": "N", "number": "NUMBER", "object": "JSON", "array": "JSON", "any": "VALUE"}
_FORMATS = {"date": "YYYY-MM-DD", "date-time": "TIME", "duration": "DURATION"}
_SHORT_CHOICE = 40
_SAFETY = {
    "destructive": "It loses something that undo cannot bring back, or touches files or processes.",
    "external": "It leaves this machine, or spends money.",
}


def run(session: Session, operation: Operation, arguments: Sequence[str]) -> int:
    """Call an operation with the input that a command's arguments spell."""
    own_fields = schema.fields(operation.input)
    parser = build(operation, own_fields)
    parsed = parser.read(arguments)
    given = dict(_given(own_fields, parsed))
    # settings may stand behind the operation's words, where only this parser can tell them from its fields
    session.apply(settings(parsed))
    return call(session, operation, given)


def call(session: Session, operation: Operation, given: dict[str, Any]) -> int:
    """Call an operation and print what it answers, a stream item by item."""
    if operation.kind != "stream":
        session.output.answer(session.call(operation.name, given, safety=operation.safety), operation.name)
        return 0
    for item in session.items(operation.name, given, safety=operation.safety):
        session.output.item(item)
    return 0


def build(operation: Operation, own_fields: list[Field]) -> Parser:
    """Return the parser of an operation's command."""
    prog = " ".join(["coder-local", *operation.words])
    by_place = positional(own_fields)
    places = "".join(f" {field.name.upper()}{' ...' if field.type == 'array' else ''}" for field in by_place)
    parser = Parser(prog, _about(operation), usage=f"{prog} [options]{places}")
    for field in by_place:
        parser.add_argument(
            _place(field),
            metavar=field.name.upper(),
            nargs="*" if field.type == "array" else "?",
            default=argparse.SUPPRESS,
            help=_help(field, f"also as {option(field)}"),
        )
        action = "append" if field.type == "array" else "store"
        parser.add_argument(
            option(field), dest=_dest(field), action=action, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    options = [field for field in own_fields if field not in by_place]
    own = [field for field in options if field.name not in schema.ENVELOPE]
    _add(parser.add_argument_group("fields"), own)
    _add(parser.add_argument_group("fields of every change"), [field for field in options if field not in own])
    parser.add_settings()
    return parser


def positional(own_fields: Iterable[Field]) -> list[Field]:
    """Return the fields that need no option: `id`, else the only required one if it is a text or a list of texts."""
    required = [field for field in own_fields if field.required]
    if ids := [field for field in required if field.name == "id"]:
        return ids
    if len(required) != 1:
        return []
    only = required[0]
    if only.type == "string":
        return required
    return required if only.type == "array" and only.element.get("type") == "string" else []


def option(field: Field, prefix: str = "") -> str:
    """Return the option of a field; `--input-NAME` where every command has an option of its name."""
    name = f"--{prefix}{field.name.replace('_', '-')}"
    return name if name not in (*SETTINGS_OPTIONS, "--help") else f"--input-{name.removeprefix('--')}"


def _add(group: Any, own_fields: Iterable[Field]) -> None:
    for field in own_fields:
        common = {"dest": _dest(field), "default": argparse.SUPPRESS, "help": _help(field)}
        if field.type == "boolean":
            group.add_argument(option(field), action=argparse.BooleanOptionalAction, **common)
            continue
        action = "append" if field.type == "array" else "store"
        group.add_argument(option(field), metavar=_metavar(field), action=action, **common)
        if field.can_be_emptied:
            empty: list[str] | None = [] if field.type == "array" else None
            group.add_argument(
                option(field, "no-"),
                action="store_const",
                const=empty,
                dest=_dest(field),
                default=argparse.SUPPRESS,
                help=f"leave {field.name.replace('_', ' ')} empty",
            )


def _dest(field: Field) -> str:
    return f"field {field.name}"  # with a blank, so that no field's name can be that of a setting


def _place(field: Field) -> str:
    return f"place of {field.name}"


def _metavar(field: Field) -> str:
    if field.choices and len(text := ",".join(field.choices)) <= _SHORT_CHOICE:
        return f"{{{text}}}"
    leaf = field.element if field.type == "array" else field.schema
    kind = leaf.get("type") if field.type == "array" else field.type
    return _FORMATS.get(str(leaf.get("format")), _METAVARS.get(str(kind), "VALUE"))


def _help(field: Field, *more: str) -> str:
    text = str(field.schema.get("description") or field.element.get("description") or "").strip()
    remarks = [field.limits()]
    if field.choices and len(",".join(field.choices)) > _SHORT_CHOICE:
        remarks.append(f"one of {', '.join(field.choices)}")
    if field.type == "array":
        remarks.append("may be repeated")
    if field.required:
        remarks.append("required")
    elif field.default not in (None, "", [], {}):
        remarks.append(f"default {_worded(field.default)}")
    remark = "; ".join(remark for remark in (*remarks, *more) if remark)
    return literal(f"{text} ({remark})".strip() if remark else text)


def _worded(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _about(operation: Operation) -> str:
    summary, description = operation.summary.strip(), operation.description.strip()
    whole = description if description.startswith(summary) else f"{summary}\n\n{description}"
    return "\n\n".join(part for part in (whole, _SAFETY.get(operation.safety)) if part)


def _given(own_fields: Iterable[Field], parsed: Namespace) -> Iterable[tuple[str, Any]]:
    """Yield the fields that were given, with their JSON values. Raises `Failure` for one that was given twice."""
    values = vars(parsed)
    for field in own_fields:
        # argparse sets a `*` that was not given to an empty list, whatever its default
        given = [name for name in (_dest(field), _place(field)) if name in values and values[name] != []]
        if len(given) > 1:
            raise invalid(f"{field.name} is given twice", field=f"/{field.name}", hint=f"leave {option(field)} out")
        if _dest(field) in values and not given:
            yield field.name, []
        for name in given:
            yield field.name, _value(field, values[name])


def _value(field: Field, argument: Any) -> Any:
    if is_list(argument):
        return [element for text in argument for element in field_value(field, text)]
    return field_value(field, argument) if isinstance(argument, str) else argument


def field_value(field: Field, argument: str) -> Any:
    """Return the JSON value of a field's argument, reading the file or the standard input that it names."""
    is_text_list = field.type == "array" and field.element.get("type") == "string"
    if field.is_prose or (field.type in {"array", "object"} and not is_text_list):
        argument = texts.read(argument, field.name)
    return schema.value_of(field, argument)
