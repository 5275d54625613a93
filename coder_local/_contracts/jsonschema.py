"""JSON Schema 2020-12 of types.

A type has up to two schemas. Taken, fields with a default may be missing; answered, they are always there and may grow
new words and fields. Where the two differ and both are used, the taken one is called `<Name>Input`.

msgspec's own generator cannot serve: it fails when two domains list records of the same name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Set
from typing import Any, cast, get_origin

import msgspec
from msgspec import inspect as mi

from coder_local.api import Page

from . import docs, names
from .typegraph import Graph

Schema = dict[str, Any]
REF = "#/components/schemas/"

_LEAVES: dict[type[mi.Type], Schema] = {
    mi.AnyType: {},
    mi.RawType: {},
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.TimeType: {"type": "string", "format": "time"},
    mi.DateType: {"type": "string", "format": "date"},
    mi.DateTimeType: {"type": "string", "format": "date-time"},
    mi.TimeDeltaType: {"type": "string", "format": "duration"},
    mi.UUIDType: {"type": "string", "format": "uuid"},
    mi.DecimalType: {"type": "string", "format": "decimal"},
    mi.BytesType: {"type": "string", "contentEncoding": "base64"},
}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_SIZES = {"string": "Length", "array": "Items", "object": "Properties"}


class Maker:
    """Makes schemas of types, and keeps those that are shared as components."""

    def __init__(
        self, taken: Iterable[Any], answered: Iterable[Any], domains: dict[str, str], inputs: Set[str]
    ) -> None:
        taken, answered = list(taken), list(answered)
        graph = Graph()
        reached_taken, reached_answered = graph.add(taken), graph.add(answered)
        self._words = names.written_words([*taken, *answered], graph.classes)
        modules = {names.home(cls) for cls in graph.classes} | set(domains)
        self._aliases = names.aliases(modules, self._words.keys())
        self._names = names.unique([*graph.classes, *self._aliases.values()], domains, inputs)
        both = reached_taken & reached_answered
        split = graph.holders({cls for cls in both if _differs(graph.classes[cls])}) & both
        used = {*self._names.values(), *inputs}
        self._taken_names = {cls: names.free(f"{self._names[cls]}Input", used) for cls in split}
        self.components: dict[str, Schema] = {}
        self.taken: set[str] = set()
        """Names of the components that are taken only."""
        self.pages: dict[str, Schema] = {}
        """The schema of an item of each component that is a page."""
        for cls, info in graph.classes.items():
            if cls in reached_answered:
                self._keep(self._names[cls], info, taken=False)
            if cls in split or cls not in reached_answered:
                self._keep(self._name(cls, taken=True), info, taken=True)

    def _keep(self, name: str, info: mi.Type, *, taken: bool) -> None:
        schema = self.components[name] = self._component(info, taken=taken)
        if taken:
            self.taken.add(name)
        if get_origin(getattr(info, "cls", None)) is Page:
            self.pages[name] = schema["properties"]["items"].get("items", {})

    def schema(self, type_: Any, *, taken: bool) -> Schema:
        """Return the schema of a type as an operation takes it, or as it answers it."""
        return self._schema(mi.type_info(type_), taken=taken)

    def _name(self, cls: Any, *, taken: bool) -> str:
        return self._taken_names.get(cls, self._names[cls]) if taken else self._names[cls]

    def _schema(self, info: mi.Type, *, taken: bool) -> Schema:
        own: Schema = {}
        while isinstance(info, mi.Metadata):
            own.update(cast(Any, info).extra_json_schema or {})
            info = info.type
        cls = getattr(info, "cls", None)
        if cls in self._names:
            return {"$ref": REF + self._name(cls, taken=taken), **own}
        if isinstance(info, mi.LiteralType):
            return {**self._literal(info.values), **own}
        return {**self._plain(info, taken=taken), **own}

    def _plain(self, info: mi.Type, *, taken: bool) -> Schema:
        match info:
            case mi.IntType():
                return {"type": "integer", **_limits(info)}
            case mi.FloatType():
                return {"type": "number", **_limits(info)}
            case mi.StrType():
                return {"type": "string", **_sizes(info, "string"), **_limits(info)}
            case mi.CollectionType():
                unique = {"uniqueItems": True} if isinstance(info, (mi.SetType, mi.FrozenSetType)) else {}
                items = self._schema(info.item_type, taken=taken)
                return {"type": "array", **({"items": items} if items else {}), **_sizes(info, "array"), **unique}
            case mi.TupleType():
                return _tuple([self._schema(item, taken=taken) for item in info.item_types], len(info.item_types))
            case mi.DictType():
                values = self._schema(info.value_type, taken=taken)
                return {"type": "object", "additionalProperties": values or True, **_sizes(info, "object")}
            case mi.UnionType():
                return self._union(info, taken=taken)
            case _:
                # A type that JSON does not have may be anything: a stranger's plugin must not take the document away.
                return dict(_LEAVES.get(type(info), {}))

    def _union(self, info: mi.UnionType, *, taken: bool) -> Schema:
        parts = sorted(info.types, key=lambda part: isinstance(part, mi.NoneType))
        options = [self._schema(part, taken=taken) for part in parts]
        tagged = {part.tag: part for part in parts if isinstance(part, mi.StructType) and part.tag is not None}
        if len(tagged) < 2:
            return _lift({"anyOf": options})
        mapping = {str(tag): REF + self._name(part.cls, taken=taken) for tag, part in tagged.items()}
        field = next(iter(tagged.values())).tag_field
        return {"anyOf": options, "discriminator": {"propertyName": field, "mapping": mapping}}

    def _literal(self, values: tuple[Any, ...]) -> Schema:
        key = names.words_key(values)
        words = self._words.get(key, values)
        alias = self._aliases.get(key)
        if alias is None:
            return _enum(words)
        name = self._names[alias]
        doc = {"description": alias.doc} if alias.doc else {}
        self.components.setdefault(name, {**doc, **_enum(alias.words)})
        return {"$ref": REF + name}

    def _component(self, info: mi.Type, *, taken: bool) -> Schema:
        cls = getattr(info, "cls", None)
        doc = _doc(cls)
        head: Schema = {"description": doc} if doc else {}
        if isinstance(info, mi.EnumType):
            return {**head, **_enum(tuple(each.value for each in info.cls))}
        assert isinstance(info, (mi.StructType, mi.TypedDictType, mi.DataclassType, mi.NamedTupleType))  # noqa: S101
        fields = [self._field(field, docs.of_fields(cls), taken=taken) for field in info.fields]
        if isinstance(info, mi.NamedTupleType) or getattr(info, "array_like", False):
            return {**head, **_tuple(fields, sum(field.required or not taken for field in info.fields))}
        properties = {field.encode_name: schema for field, schema in zip(info.fields, fields, strict=True)}
        required = [field.encode_name for field in info.fields if field.required or (not taken and _always(field, cls))]
        if isinstance(info, mi.StructType) and info.tag_field is not None:
            properties = {info.tag_field: _enum((info.tag,)), **properties}
            required.insert(0, info.tag_field)
        schema = {**head, "type": "object", "properties": properties, "required": required}
        if taken and isinstance(info, mi.StructType) and info.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return schema

    def _field(self, field: mi.Field, documented: dict[str, str], *, taken: bool) -> Schema:
        schema = self._schema(field.type, taken=taken)
        if field.name in documented:
            schema.setdefault("description", documented[field.name])
        if taken:
            put_default(schema, field.default, field.default_factory)
        return schema


def put_default(schema: Schema, default: Any, factory: Any) -> None:
    """Add a field's default to its schema, if it has one that JSON can say."""
    if factory is not msgspec.NODEFAULT:
        schema["default"] = msgspec.to_builtins(factory(), str_keys=True)
    elif default is not msgspec.NODEFAULT and default is not msgspec.UNSET:
        schema["default"] = msgspec.to_builtins(default, str_keys=True)


def _differs(info: mi.Type) -> bool:
    """Tell whether a type is taken otherwise than it is answered, its parts aside."""
    if isinstance(info, mi.EnumType):
        return False
    fields = getattr(info, "fields", ())
    return getattr(info, "forbid_unknown_fields", False) or any(
        not field.required or _has_words(field.type) for field in fields
    )


def _has_words(info: mi.Type) -> bool:
    """Tell whether a field holds one of several words, of which an answer may have new ones."""
    match info:
        case mi.Metadata():
            return _has_words(info.type)
        case mi.UnionType():
            return any(_has_words(part) for part in info.types)
        case mi.CollectionType():
            return _has_words(info.item_type)
        case mi.DictType():
            return _has_words(info.value_type)
        case mi.LiteralType() | mi.EnumType():
            return True
        case _:
            return False


def _always(field: mi.Field, cls: Any) -> bool:
    """Tell whether a field with a default is in every answer."""
    config = getattr(getattr(cls, "__origin__", cls), "__struct_config__", None)
    return field.default is not msgspec.UNSET and not (config is not None and config.omit_defaults)


def _lift(union: Schema) -> Schema:
    """Move the description of the one option that is not null to the union, where readers look for it."""
    option, *rest = union["anyOf"]
    if rest == [{"type": "null"}] and "description" in option:
        description = option["description"]
        bare = {word: value for word, value in option.items() if word != "description"}
        return {"anyOf": [bare, *rest], "description": description}
    return union


def _doc(cls: Any) -> str:
    doc: Any = getattr(get_origin(cls) or cls, "__dict__", {}).get("__doc__")
    # What Python gives an Enum that has no docstring of its own.
    return inspect.cleandoc(doc) if isinstance(doc, str) and doc != "An enumeration." else ""


def _enum(values: tuple[Any, ...]) -> Schema:
    for kind, word in ((str, "string"), (bool, "boolean"), (int, "integer")):
        if all(type(value) is kind for value in values):
            return {"type": word, "enum": list(values)}
    return {"enum": list(values)}


def _tuple(items: list[Schema], least: int) -> Schema:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": least, "maxItems": len(items)}


def _limits(info: mi.Type) -> Schema:
    found = {word: getattr(info, name, None) for name, word in _LIMITS.items()}
    return {word: value for word, value in found.items() if value is not None}


def _sizes(info: mi.Type, kind: str) -> Schema:
    found = {f"{side}{_SIZES[kind]}": getattr(info, f"{side}_length", None) for side in ("min", "max")}
    return {word: value for word, value in found.items() if value is not None}
