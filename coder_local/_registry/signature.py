"""The schema of an operation is the signature of its function: reading it, and decoding an input by it.

msgspec stops at the first fault. On that rare path the input is looked at field by field, and all faults are named.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from coder_local.api import DeclarationError, Fault, Invalid, Kind, Operation

from . import nested
from .nearest import did_you_mean
from .wording import reword

TEXT_LIMIT = 100_000
"""Characters of a text whose type states no limit of its own."""
LIST_LIMIT = 10_000
"""Items of a list whose type states no limit of its own."""
DEPTH_LIMIT = 64
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ROUND = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
FAULT_LIMIT = 100
"""Faults that are named at once: looking for the name that was meant by each of 100,000 would stop the daemon."""

_COLLECTIONS: frozenset[Any] = frozenset((list, tuple, set, frozenset))
REQUIRED = inspect.Parameter.empty
_Rev = Annotated[int, Meta(ge=1, description="The record must have this rev, else `stale`.")]
_Key = Annotated[
    str, Meta(min_length=1, max_length=200, description="The same key and input within 24 h: the first answer.")
]
_Confirm = Annotated[str, Meta(max_length=100, description="The token of a `needs_confirmation` answer.")]
_ENVELOPE: dict[str, Any] = {
    "if_rev": Optional[_Rev],  # noqa: UP045 - `|` of an Annotated is unknown to pyright at run time
    "idempotency_key": Optional[_Key],  # noqa: UP045
    "confirm": Optional[_Confirm],  # noqa: UP045
}
"""What every command takes besides its own parameters; an action and a stream take `confirm` of it."""


class Parameter(NamedTuple):
    """One named input of an operation."""

    name: str
    annotation: Any
    default: Any = REQUIRED


class Signature:
    """The input and answer of one operation."""

    def __init__(
        self, parameters: Sequence[Parameter], result: Any, *, envelope: bool, name: str, confirm: bool = False
    ) -> None:
        self.parameters = tuple(parameters)
        self.result = result
        self.envelope = tuple(_ENVELOPE) if envelope else ("confirm",) if confirm else ()
        """The fields that it takes besides its own: all for a command, `confirm` alone for an action or a stream."""
        own = [parameter.name for parameter in parameters]
        if taken := set(own) & set(_ENVELOPE):
            raise DeclarationError(f"{name}: a parameter may not be called {', '.join(sorted(taken))}")
        fields: list[Any] = [_field(parameter) for parameter in parameters]
        fields += [(field, _ENVELOPE[field], None) for field in self.envelope]
        title = "".join(part.capitalize() for part in re.split(r"[._]", name)) + "Input"
        self.struct: type[msgspec.Struct] = msgspec.defstruct(
            title, fields, kw_only=True, frozen=True, forbid_unknown_fields=True
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.struct)
        self._normalisers = tuple(_normalisers(parameters))
        looks = {parameter.name: nested.looker(parameter.annotation) for parameter in parameters}
        self._nested = {field: look for field, look in looks.items() if look is not None}
        self._integers = tuple(each.name for each in parameters if _is_open_integer(each.annotation))
        self._types = {parameter.name: limited(parameter.annotation) for parameter in parameters} | {
            field: _ENVELOPE[field] for field in self.envelope
        }

    def decode(self, raw: bytes) -> Any:
        """Return the input of JSON bytes. Raises `Invalid` with all faults."""
        try:
            decoded = self._decoder.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._explain(_load(raw), strict=True) from error
        # A NUL can stand in JSON only as its escape; a text about that escape holds the same bytes.
        if (b"\\u0000" in raw and any(text_faults(_load(raw)))) or _too_deep(raw):
            raise self._explain(_load(raw), strict=True)
        if self._nested and (faults := self._unknown(msgspec.json.decode(raw))):
            raise invalid(faults)
        if self._integers:
            self._hold_integers(decoded)
        return self._normalise(decoded) if self._normalisers else decoded

    def convert(self, values: Mapping[str, Any], *, strict: bool) -> Any:
        """Return the input of plain values; texts stand for numbers and truth where not strict. Raises `Invalid`."""
        try:
            decoded = msgspec.convert(dict(values), self.struct, strict=strict)
        except (msgspec.ValidationError, RecursionError) as error:
            raise self._explain(dict(values), strict=strict) from error
        if any(_bad_text(value) for value in values.values() if isinstance(value, str)):
            raise self._explain(dict(values), strict=strict)
        if self._nested and (faults := self._unknown(values)):
            raise invalid(faults)
        self._hold_integers(decoded)
        return self._normalise(decoded)

    def faults(self, values: Mapping[str, Any]) -> list[Fault]:
        """Return all that is wrong with an input of plain values, nothing if it fits."""
        try:
            self.convert(values, strict=True)
        except Invalid as error:
            return msgspec.convert(error.data["faults"], list[Fault])
        return []

    def _hold_integers(self, decoded: Any) -> None:
        """Raise `Invalid` for whole numbers that SQLite cannot keep: JSON has longer ones."""
        faults: list[Fault] = []
        for name in self._integers:
            value = getattr(decoded, name)
            if isinstance(value, int) and not fits(value):
                faults.append(Fault(f"/{name}", "a whole number is at least -2^63 and under 2^63"))
        if faults:
            raise invalid(faults)

    def _unknown(self, values: Mapping[str, Any]) -> list[Fault]:
        """Return the faults of fields inside values that their types do not know."""
        given = ((look, name) for name, look in self._nested.items() if name in values)
        found = (fault for look, name in given for fault in look(values[name], f"/{name}"))
        return list(itertools.islice(found, FAULT_LIMIT))

    def _normalise(self, decoded: Any) -> Any:
        changes: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, function in self._normalisers:
            value = getattr(decoded, name)
            if isinstance(value, str):
                try:
                    normal = function(value)
                except ValueError as error:
                    faults.append(Fault(f"/{name}", str(error)))
                else:
                    if normal != value:
                        changes[name] = normal
        if faults:
            raise invalid(faults)
        return msgspec.structs.replace(decoded, **changes) if changes else decoded

    def _explain(self, values: object, *, strict: bool) -> Invalid:
        """Return the answer for a bad input, naming all that is wrong with it."""
        if not isinstance(values, dict):
            return invalid([Fault("", f"the input is an object, not {_word(values)}")])
        given = cast("dict[str, Any]", values)
        faults = list(itertools.islice(text_faults(given), FAULT_LIMIT))
        for name, value in given.items():
            if len(faults) >= FAULT_LIMIT:
                break
            if name not in self._types:
                hint = did_you_mean(str(name), self._types, "it takes " + (", ".join(self._types) or "nothing"))
                faults.append(Fault(f"/{_escape(str(name))}", f"there is no field {name!r}", hint))
                continue
            try:
                msgspec.convert(value, self._types[name], strict=strict)
            except msgspec.ValidationError as error:
                faults.append(_fault(name, str(error), self._types[name], _choice(value, self._types[name])))
            except RecursionError:
                faults.append(Fault(f"/{name}", "it is nested too deeply"))
            else:
                if look := self._nested.get(name):
                    faults += look(value, f"/{name}")
        faults += [
            Fault(f"/{each.name}", "this field is required")
            for each in self.parameters
            if each.default is REQUIRED and each.name not in given
        ]
        return invalid(faults or [Fault("", "the input does not fit its schema")])


def of_function(operation: Operation) -> Signature:
    """Return the signature of a plugin's function. Raises `DeclarationError` naming what its author must change."""
    function = operation.function
    assert function is not None  # noqa: S101 - for the type checker
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{operation.name}: {error}; types in a signature are read at run time, so import them for real"
        ) from error
    first, *rest = inspect.signature(function).parameters.values()
    if first.kind is inspect.Parameter.KEYWORD_ONLY:
        raise DeclarationError(f"{operation.name}: its first parameter is the snapshot, transaction or context")
    parameters: list[Parameter] = []
    for each in rest:
        if each.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise DeclarationError(f"{operation.name}: put a `*` before {each.name}; parameters are keyword-only")
        if each.name not in hints:
            raise DeclarationError(f"{operation.name}: {each.name} needs a type; it is its schema")
        parameters.append(Parameter(each.name, hints[each.name], each.default))
    if "return" not in hints:
        raise DeclarationError(f"{operation.name}: it needs a return type; it is the schema of its answer")
    outward = operation.kind in {Kind.ACTION, Kind.STREAM}
    return Signature(parameters, hints["return"], envelope=operation.mutates, name=operation.name, confirm=outward)


def limited(annotation: Any) -> Any:
    """Return a type with limits on its texts and lists where it states none."""
    origin: Any = get_origin(annotation)
    if annotation is str:
        return Annotated[str, Meta(max_length=TEXT_LIMIT)]
    if origin in {Union, types.UnionType}:
        return Union[tuple(limited(part) for part in get_args(annotation))]  # noqa: UP007 - made at run time
    if origin in _COLLECTIONS:
        parts = tuple(part if part is Ellipsis else limited(part) for part in get_args(annotation))
        made: Any = origin.__class_getitem__(parts)
        if origin is tuple and Ellipsis not in parts:
            return made  # its length is fixed, and msgspec refuses a limit on it
        return Annotated[made, Meta(max_length=LIST_LIMIT)]
    return annotation


def fits(value: float | str | None) -> bool:
    """Tell whether SQLite can keep a number."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _is_open_integer(annotation: Any) -> bool:
    """Tell whether a type is a whole number for which no least and greatest value are stated."""
    parts: list[Any] = [annotation]
    for part in parts:
        if part is int:
            return True
        if get_origin(part) is Annotated:
            metas = [meta for meta in part.__metadata__ if isinstance(meta, Meta)]
            below = any(meta.ge is not None or meta.gt is not None for meta in metas)
            above = any(meta.le is not None or meta.lt is not None for meta in metas)
            if not (below and above):
                parts.append(get_args(part)[0])
        elif get_origin(part) in {Union, types.UnionType}:
            parts += get_args(part)
    return False


def invalid(faults: Sequence[Fault]) -> Invalid:
    """Return one `Invalid` that names all faults."""
    first = faults[0]
    if len(faults) == 1:
        return Invalid(first.message, field=first.field or None, hint=first.hint, faults=(first,))
    fields = ", ".join(fault.field or "/" for fault in faults[:5])
    return Invalid(
        f"{len(faults)} things are wrong: {fields}", field=first.field, hint=first.hint, faults=tuple(faults)
    )


def _field(parameter: Parameter) -> Any:
    annotation = limited(parameter.annotation)
    if parameter.default is REQUIRED:
        return parameter.name, annotation
    default = parameter.default
    if isinstance(default, (list, dict, set)):
        given: Any = cast("Any", default)
        return parameter.name, annotation, msgspec.field(default_factory=lambda: copy.copy(given))
    return parameter.name, annotation, default


def _normalisers(parameters: Sequence[Parameter]) -> Iterator[tuple[str, Callable[[str], str]]]:
    for parameter in parameters:
        if function := _extra(parameter.annotation, "normalise"):
            yield parameter.name, function


def _extra(annotation: Any, name: str) -> Any:
    """Return what a value type says of itself beyond msgspec's own limits, also when it may be None."""
    for part in (annotation, *get_args(annotation)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, Meta) and meta.extra and name in meta.extra:
                return meta.extra[name]
    return None


def _load(raw: bytes) -> Any:
    import json  # noqa: PLC0415 - 2 ms, and only a bad input needs it

    def constant(word: str) -> Any:
        raise Invalid(f"{word} is not JSON", hint="send null or a number")

    try:
        return json.loads(raw.decode(), parse_constant=constant)  # of bytes it would take UTF-16 too
    except RecursionError as error:
        raise Invalid(f"the input is nested deeper than {DEPTH_LIMIT}", hint="flatten it") from error
    except ValueError as error:
        raise Invalid(f"the input is not JSON: {error}") from error


def _too_deep(raw: bytes) -> bool:
    """Tell whether well-formed JSON is nested over the limit, at the speed of `bytes.replace`: a list may be long."""
    if len(raw) <= 2 * DEPTH_LIMIT or raw.count(b"{") + raw.count(b"[") <= DEPTH_LIMIT:
        return False
    brackets = _TEXTS.sub(b"", raw).translate(_ROUND, _NO_BRACKETS)
    for _ in range(DEPTH_LIMIT):
        if not brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)


def text_faults(value: Any, pointer: str = "", depth: int = 0) -> Iterator[Fault]:
    """Yield a fault for each text in plain JSON that cannot be kept, and for nesting over the limit."""
    if isinstance(value, str):
        if fault := _bad_text(value):
            yield Fault(pointer, fault)
    elif depth >= DEPTH_LIMIT:
        yield Fault(pointer, f"it is nested deeper than {DEPTH_LIMIT}", "flatten it")
    elif isinstance(value, Mapping):
        for name, part in cast("Mapping[str, Any]", value).items():
            yield from text_faults(part, f"{pointer}/{_escape(str(name))}", depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(cast("Sequence[Any]", value)):
            yield from text_faults(part, f"{pointer}/{index}", depth + 1)


def _bad_text(text: str) -> str | None:
    if "\0" in text:
        return "a text may not hold NUL"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "a text may not hold half a surrogate pair"
    return None


def _choice(value: object, annotation: Any) -> str | None:
    """Return the cure for a word that is none of those to choose from."""
    parts: list[Any] = [annotation]
    words: list[str] = []
    for part in parts:
        if get_origin(part) is Literal:
            words += [word for word in get_args(part) if isinstance(word, str)]
        elif get_origin(part) in {Union, types.UnionType}:
            parts += get_args(part)
    if not words or not isinstance(value, str):
        return None
    return did_you_mean(value[:100], words, "give one of " + ", ".join(words))


def _fault(name: str, message: str, annotation: Any, hint: str | None = None) -> Fault:
    text, _, path = message.partition(" - at `")
    if "matching regex" in text and not path and (expected := _extra(annotation, "expected")):
        text = f"expected {expected}"
    pointer = re.sub(r"\[(\d+)\]", r"/\1", path.rstrip("`").removeprefix("$")).replace("[...]", "/*").replace(".", "/")
    return Fault(f"/{_escape(name)}{pointer}", reword(text), hint)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _word(value: object) -> str:
    words: dict[type[Any], str] = {type(None): "null", list: "a list", str: "a text", bool: "true or false"}
    return words.get(type(value), "a number")
