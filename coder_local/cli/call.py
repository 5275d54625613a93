"""`call`, which names an operation as the wire does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import catalogue, members, operation, schema, stopped, texts
from .app import Command
from .errors import invalid

if TYPE_CHECKING:
    from argparse import Namespace

    from .catalogue import Operation
    from .parser import Parser
    from .schema import Field
    from .session import Session

_ABOUT = """\
The input is given as

  key=value        a value, taken as the type that the operation's schema says; a list's key may be repeated
  key.part=value   one member of an object
  key:=JSON        a value as JSON
  JSON             the whole input, one argument that begins with {
  @FILE            the whole input as JSON from a file; as a value its text
  -                the whole input as JSON from standard input

Nothing stands for an empty input.
"""


def _arguments(parser: Parser) -> None:
    parser.usage = "coder-local call [options] OPERATION [key=value ... | JSON | @FILE | -]"
    parser.add_argument("operation", metavar="OPERATION", help="wire name, changes.list for example")
    parser.add_argument("input", metavar="INPUT", nargs="*", default=[], help="see above")


def _call(session: Session, arguments: Namespace) -> int:
    name: str = arguments.operation
    found = catalogue.find(session.client, name)
    if found is None and (why := stopped.failure(session.client, name.partition(".")[0])):
        raise why
    # what is not listed is called too: the daemon says what it thinks of the name
    called = found or catalogue.Operation(name, "query", "", "", "", {})
    return operation.call(session, called, read_input(called, arguments.input))


def read_input(called: Operation, arguments: list[str]) -> dict[str, Any]:
    """Return the input that the arguments spell. Raises `Failure`."""
    if len(arguments) == 1 and (arguments[0] == "-" or arguments[0].startswith(("{", "@"))):
        return _whole(texts.read(arguments[0], "the input").strip() or "{}")
    own_fields = {field.name: field for field in schema.fields(called.input)}
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key or key == ":":
            raise invalid(f"{argument[:80]!r} is not key=value", hint="see coder-local call --help")
        if key.endswith(":"):
            given[key[:-1]] = _json(key[:-1], texts.read(value, key[:-1]))
        else:
            _put(given, key, value, own_fields.get(key) or members.find(own_fields.values(), key))
    return given


def _put(given: dict[str, Any], key: str, text: str, field: Field | None) -> None:
    # a field that the operation does not have goes out as text: the daemon names the one that was meant
    value = text if field is None else operation.field_value(field, text)
    if isinstance(value, list) and isinstance(given.get(key), list):
        given[key] += value
        return
    is_free = key not in given
    if field is None:
        given.setdefault(key, value)
    else:
        is_free = members.put(given, key, value)
    if not is_free:
        raise invalid(f"{key} is given twice", field=f"/{key}", hint="give it once; only lists may be repeated")


def _whole(text: str) -> dict[str, Any]:
    value = _json("", text)
    if not isinstance(value, dict):
        raise invalid("the input is a JSON object", hint='for example {"id": "0193"}')
    return cast("dict[str, Any]", value)


def _json(key: str, text: str) -> Any:
    try:
        return texts.json_of(text)
    except ValueError as fault:
        raise invalid(f"{key or 'the input'} is not JSON: {fault}", field=f"/{key}" if key else None) from None


COMMANDS = {"call": Command(_arguments, _call, _ABOUT)}
