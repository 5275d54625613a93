"""One command for each operation: its options from the input's schema, its help from the docstring."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from coder_ipc.errors import RemoteError

from . import members, schema, stale, texts
from .errors import invalid
from .parser import SETTINGS_OPTIONS, Parser, literal, settings
from .shapes import is_list

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from .catalogue import Operation
    from .schema import Field
    from .session import Session

_SCALARS = ("string", "integer", "number", "any")
_PLACES = 3
_SAFETY = {
    "destructive": "It loses something that undo cannot bring back, or touches files or processes.",
    "external": "It leaves this machine, or spends money.",
}


def run(session: Session, operation: Operation, arguments: Sequence[str]) -> int:
    """Call an operation with the input that a command's arguments spell."""
    own_fields = schema.fields(operation.input)
    parser = build(operation, own_fields)
    parsed = parser.read(arguments)
    _settle(positional(own_fields), vars(parsed))
    given = dict(_given(own_fields, parsed))
    # settings may stand behind the operation's words, where only this parser can tell them from its fields
    session.apply(settings(parsed))
    return call(session, operation, given)


def call(session: Session, operation: Operation, given: dict[str, Any]) -> int:
    """Call an operation and print what it answers, a stream item by item."""
    if operation.kind != "stream":
        try:
            answer = session.call(operation.name, given, safety=operation.safety)
        except RemoteError as error:
            raise stale.explained(session, error, given) if error.kind == "stale" else error from None
        session.output.answer(answer, operation.name)
        return 0
    for item in session.items(operation.name, given, safety=operation.safety):
        session.output.item(item)
    return 0


def build(operation: Operation, own_fields: list[Field]) -> Parser:
    """Return the parser of an operation's command."""
    prog = " ".join(["coder-local", *operation.words])
    by_place = positional(own_fields)
    places = "".join(f" {_usage(field)}" for field in by_place)
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


def positional(own_fields: Sequence[Field]) -> list[Field]:
    """Return the fields that need no option: the first required ones that are one value, then a list of texts.

    Where nothing is required it is the first field, unless that is one of a list's filters or one choice of several.
    """
    required = [field for field in own_fields if field.required]
    if not required:
        return _optional([field for field in own_fields if field.name not in schema.ENVELOPE])
    single = [field for field in required if field.type in _SCALARS][:_PLACES]
    lists = [field for field in required if field.type == "array" and field.element.get("type") == "string"]
    return [*single, *lists] if len(lists) == 1 else single


def _optional(own: list[Field]) -> list[Field]:
    if not own or own[0].type not in _SCALARS or any(field.name == "cursor" for field in own):
        return []
    return own[:1] if len(own) == 1 or not own[0].choices else []


def option(field: Field, prefix: str = "") -> str:
    """Return the option of a field; `--input-NAME` where every command has an option of its name."""
    name = f"--{prefix}{field.name.replace('_', '-')}"
    return name if name not in (*SETTINGS_OPTIONS, "--help") else f"--input-{name.removeprefix('--')}"


def _usage(field: Field) -> str:
    name = f"{field.name.upper()}{' ...' if field.type == 'array' else ''}"
    return name if field.required else f"[{name}]"


def _add(group: Any, own_fields: Iterable[Field]) -> None:
    for field in own_fields:
        common = {"dest": _dest(field), "default": argparse.SUPPRESS, "help": _help(field)}
        if field.type == "boolean":
            group.add_argument(option(field), action=argparse.BooleanOptionalAction, **common)
            continue
        action = "append" if field.type == "array" else "store"
        group.add_argument(option(field), metavar=members.metavar(field), action=action, **common)
        _add_members(group, field)
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


def _add_members(group: Any, field: Field) -> None:
    for path, part in members.dotted(field):
        kind: Any = "append" if part.type == "array" else "store"
        group.add_argument(
            f"--{path.replace('_', '-')}",
            dest=f"field {path}",
            action=argparse.BooleanOptionalAction if part.type == "boolean" else kind,
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


def _dest(field: Field) -> str:
    return f"field {field.name}"  # with a blank, so that no field's name can be that of a setting


def _place(field: Field) -> str:
    return f"place of {field.name}"


def _help(field: Field, *more: str) -> str:
    text = str(field.schema.get("description") or field.element.get("description") or "").strip()
    remarks = [field.limits()]
    remarks += members.remarks(field, option(field))
    if members.has_long_choice(field):
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
        if parts := _parts(field, values):
            if given:
                raise invalid(f"{field.name} is given twice", field=f"/{field.name}", hint="whole or by its members")
            yield field.name, parts


def _settle(by_place: Iterable[Field], values: dict[str, Any]) -> None:
    """Bring the one word that can be a choice to the choice's place: people say `A blocks B`, and not `A B blocks`."""
    places = [_place(field) for field in by_place if field.type in _SCALARS and _place(field) in values]
    for field in by_place:
        told = [place for place in places if values[place] in field.choices]
        if _place(field) in places and len(told) == 1:
            words = [values[place] for place in places if place != told[0]]
            words.insert(places.index(_place(field)), values[told[0]])
            values.update(zip(places, words, strict=True))


def _parts(field: Field, values: dict[str, Any]) -> dict[str, Any]:
    """Return the object whose members were given one by one. Raises `Failure` for one that was given twice."""
    whole: dict[str, Any] = {}
    for path, part in members.dotted(field):
        if (dest := f"field {path}") in values and not members.put(whole, path, _value(part, values[dest])):
            raise invalid(f"{path} is given twice", field=f"/{path.replace('.', '/')}", hint="whole or by its members")
    parts: dict[str, Any] = whole.get(field.name, {})
    return parts


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
