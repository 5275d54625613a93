"""Types as plain data, and back: the daemon knows the types of a plugin's declarations without importing its code."""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import functools
import types
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from coder_local import api
from coder_local.api import DeclarationError, Event, Record, Settings, Value
from coder_local.api import values as values_of_api

Node = Any
"""A type as plain data: a word, or a list that begins with one."""
_PLAIN: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "bytes": bytes, "none": type(None), "any": Any,
    "date": dt.date, "datetime": dt.datetime, "time": dt.time, "timedelta": dt.timedelta,
    "decimal": decimal.Decimal, "uuid": uuid.UUID, "unset": UnsetType, "object": object,
}  # fmt: skip
_OF = {
    "list": (list, collections.abc.Sequence), "set": (set, collections.abc.Set), "frozenset": (frozenset,),
    "dict": (dict, collections.abc.Mapping), "tuple": (tuple,),
    "items": (collections.abc.AsyncIterator, collections.abc.AsyncGenerator, collections.abc.AsyncIterable),
}  # fmt: skip
_BASES: dict[str, Any] = {
    "record": Record, "event": Event, "settings": Settings, "value": Value, "struct": msgspec.Struct
}  # fmt: skip
_LIMITS = (
    "gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz", "title", "description",
    "examples", "extra_json_schema",
)  # fmt: skip
_encode = msgspec.json.Encoder(order="deterministic").encode
"""A set has another order in each process, and one that is started again must tell the same."""
REQUIRED: Node = ["required"]
_UNSET: Node = ["unset"]


@functools.cache
def _known() -> dict[str, Meta]:
    """Return the limits of the API's own value types by `Name/index`: their functions cannot be sent."""
    found: dict[str, Meta] = {}
    for name in dir(values_of_api):
        metas: tuple[Any, ...] = getattr(getattr(values_of_api, name), "__metadata__", ())
        found |= {f"{name}/{index}": meta for index, meta in enumerate(metas) if isinstance(meta, Meta)}
    return found


class Describer:
    """Writes types down; `structs` then holds the classes that are the plugin's own.

    `docs_of` returns the docstrings of a class's fields, which Python does not keep.
    """

    def __init__(self, docs_of: Callable[[Any], dict[str, str]] = lambda _: {}) -> None:
        self.structs: dict[str, Node] = {}
        self._docs_of = docs_of
        self._keys: dict[Any, str] = {}
        self._under_way: set[Any] = set()

    def tell(self, annotation: Any) -> Node:
        """Return a type as plain data. Raises `DeclarationError` for one that cannot be told."""
        if annotation is None:
            return "none"
        for word, plain in _PLAIN.items():
            if annotation is plain:
                return word
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            metas = [self._meta(meta) for meta in annotation.__metadata__ if isinstance(meta, Meta)]
            return ["limited", self.tell(args[0]), metas]
        if origin in {Union, types.UnionType}:
            return ["union", *(self.tell(part) for part in args)]
        if origin is Literal:
            return ["literal", *args]
        return self._composed(annotation, origin, args)

    def _composed(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Node:
        looked: Any = origin or annotation
        for word, those in _OF.items():
            if looked in those:
                return [word, *("..." if part is Ellipsis else self.tell(part) for part in args)]
        name = getattr(looked, "__name__", "")
        if isinstance(looked, type) and getattr(api, name, None) is looked:
            return ["api", name, *(self.tell(part) for part in args)]
        if isinstance(annotation, type) and issubclass(annotation, (msgspec.Struct, enum.Enum)):
            return ["own", self._own(annotation)]
        raise DeclarationError(f"the type {annotation!r} cannot be told to another process")

    def _meta(self, meta: Meta) -> Node:
        for name, known in _known().items():
            if meta == known:
                return name
        if meta.extra:
            raise DeclarationError("a Meta with `extra` cannot be told to another process")
        return {name: value for name in _LIMITS if (value := getattr(meta, name)) is not None}

    def _own(self, cls: Any) -> str:
        if cls in self._under_way:
            raise DeclarationError(f"{cls.__name__} holds itself, which cannot be told to another process")
        key = self._keys.get(cls)
        if key is None:
            key = self._keys[cls] = f"{cls.__qualname__}#{len(self._keys)}"
            self._under_way.add(cls)
            self.structs[key] = self._enum(cls) if issubclass(cls, enum.Enum) else self._struct(cls)
            self._under_way.discard(cls)
            self.structs[key] = self.structs.pop(key)  # behind what it is made of
        return key

    def _enum(self, cls: Any) -> Node:
        members = [[name, member.value] for name, member in cls.__members__.items()]
        base = "str" if issubclass(cls, str) else "int" if issubclass(cls, int) else ""
        return {"enum": cls.__name__, "doc": cls.__doc__, "base": base, "members": members}

    def _struct(self, cls: Any) -> Node:
        base = next(word for word, each in _BASES.items() if issubclass(cls, each))
        inherited: set[str] = set(getattr(_BASES[base], "__struct_fields__", ()))
        hints = get_type_hints(cls, include_extras=True)
        config = cls.__struct_config__
        fields = [
            [field.name, self.tell(hints[field.name]), self._default(field), field.encode_name]
            for field in msgspec.structs.fields(cls)
            if field.name not in inherited
        ]
        options = {name: getattr(config, name) for name in ("frozen", "omit_defaults", "forbid_unknown_fields")}
        if config.tag is not None:
            options |= {"tag": config.tag, "tag_field": config.tag_field}
        return {
            "struct": cls.__name__, "doc": cls.__doc__, "base": base, "fields": fields, "options": options,
            "docs": self._docs_of(cls),
        }  # fmt: skip

    def _default(self, field: msgspec.structs.FieldInfo) -> Node:
        if field.default_factory is not msgspec.NODEFAULT:
            made: Any = field.default_factory()
            if made != field.default_factory():  # the daemon would give the first one to all
                raise DeclarationError(f"the default of {field.name} is another one each time, which cannot be told")
            # Empty ones are plain defaults, which a schema shows; what a function makes is made anew each time.
            return self.value(made) if made in ([], {}) else ["made", _encode(made)]
        return REQUIRED if field.default is msgspec.NODEFAULT else self.value(field.default)

    def value(self, value: Any) -> Node:
        """Return a default as plain data."""
        return _UNSET if value is UNSET else ["value", _encode(value)]


class Rebuilder:
    """Makes types of what a `Describer` wrote. Each class stands in for the plugin's own of the same name."""

    def __init__(self, module: str, structs: dict[str, Node]) -> None:
        self._module = module
        self._made: dict[str, type] = {}
        for key, node in structs.items():
            self._made[key] = self._enum(node) if "enum" in node else self._struct(node)

    def make(self, node: Node) -> Any:
        """Return the type that plain data tells of. Raises `DeclarationError` for what tells of none."""
        if isinstance(node, str) and node in _PLAIN:
            return None if node == "none" else _PLAIN[node]
        word, *rest = cast("Sequence[Any]", node)
        if word == "limited":
            metas = [_known()[meta] if isinstance(meta, str) else Meta(**meta) for meta in rest[1]]
            return functools.reduce(lambda made, meta: Annotated[made, meta], metas, self.make(rest[0]))
        if word == "union":
            return Union[tuple(self.make(part) for part in rest)]  # noqa: UP007 - made at run time
        if word == "literal":
            return cast("Any", Literal)[tuple(rest)]
        if word == "own":
            return self._made[rest[0]]
        if word == "api":
            cls = getattr(api, rest[0])
            return cls[tuple(map(self.make, rest[1:]))] if rest[1:] else cls
        if word in _OF:
            parts = tuple(... if part == "..." else self.make(part) for part in rest)
            made: Any = _OF[word][0]
            return made[parts[0] if len(parts) == 1 else parts] if parts else made
        raise DeclarationError(f"{word!r} is no type")

    def _enum(self, node: Node) -> type:
        mixed: dict[str, Any] = {"str": enum.StrEnum, "int": enum.IntEnum}
        made: Any = mixed.get(node["base"], enum.Enum)(node["enum"], [tuple(pair) for pair in node["members"]])
        made.__doc__, made.__module__ = node["doc"], self._module
        return cast("type", made)

    def _struct(self, node: Node) -> type:
        base = _BASES[node["base"]]
        names: dict[str, Any] = {"__module__": self._module, "__qualname__": node["struct"], "__doc__": node["doc"]}
        hints: dict[str, Any] = {}
        renamed: dict[str, str] = {}
        for name, told, default, sent in node["fields"]:
            hints[name] = self.make(told)
            if default[0] == "made":
                names[name] = msgspec.field(default_factory=functools.partial(self.value, default, hints[name]))
            elif default != REQUIRED:
                names[name] = self.value(default, hints[name])
            if sent != name:
                renamed[name] = sent
        names |= {"__annotations__": hints, "__field_docs__": node["docs"]}
        options = dict(node["options"]) | ({"rename": renamed} if renamed else {})
        return cast("type", type(base)(node["struct"], (base,), names, kw_only=True, **options))

    def value(self, default: Node, annotation: Any) -> Any:
        """Return the default that plain data tells of."""
        return UNSET if default == _UNSET else msgspec.json.decode(default[1], type=annotation)
