"""The public surface of `coder_local.api` as text: every name with its signature, one to a line."""

import inspect
from typing import Any, ForwardRef

import msgspec

from coder_local import api
from coder_local.api import hooks

HEADER = "# Everything that coder_local.api offers. Written by: python -m tests.api.surface"


class _Text:
    """An annotation that is shown without quotes, in every version of Python."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def surface() -> list[str]:
    """Return one line for each public name, and for each public method and field of a class."""
    lines = [HEADER]
    for name in sorted(api.__all__):
        lines += _lines(name, getattr(api, name))
    return lines + _lines("hooks.Hooks", hooks.Hooks) + [f"hooks.VERSION = {hooks.VERSION}"]


def _lines(name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return _class_lines(name, value)
    if inspect.isroutine(value):
        return [f"{name}{_signature(value)}"]
    return [f"{name} = {_type_text(value)}"]


def _type_text(value: Any) -> str:
    """Return an annotated type without what a process makes anew, such as the address of a function."""
    base, *metas = value.__origin__, *value.__metadata__
    limits = [
        f"{field}={getattr(meta, field)!r}"
        for meta in metas
        for field in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "extra_json_schema")
        if getattr(meta, field) is not None
    ]
    return f"{base.__name__}({', '.join(limits)})"


def _class_lines(name: str, cls: type) -> list[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    lines = [f"{name}({bases})"]
    if issubclass(cls, msgspec.Struct):
        lines += [f"{name}.{field}: {_annotation(cls, field)}" for field in cls.__struct_fields__]
    else:
        own = inspect.get_annotations(cls).items()
        lines += [f"{name}.{field}: {_bare(text)}" for field, text in own if not field.startswith("_")]
    for member, value in sorted(vars(cls).items()):
        if member == "__init__" and not issubclass(cls, (msgspec.Struct, tuple)):
            lines.append(f"{name}{_signature(value)}")
        if member.startswith("_"):
            continue
        function = inspect.unwrap(value.__func__ if isinstance(value, (classmethod, staticmethod)) else value)
        if inspect.isfunction(function):
            lines.append(f"{name}.{member}{_signature(function)}")
        elif isinstance(value, property):
            lines.append(f"{name}.{member}: {inspect.signature(value.fget).return_annotation}")
        elif isinstance(value, (str, int, tuple)) and not inspect.ismemberdescriptor(value):
            lines.append(f"{name}.{member} = {value!r}")
    return lines


def _signature(function: Any) -> inspect.Signature:
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=_bare(each.annotation)) for each in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=_bare(signature.return_annotation))


def _bare(annotation: Any) -> Any:
    if isinstance(annotation, ForwardRef):  # how a NamedTuple keeps its strings
        annotation = annotation.__forward_arg__
    return _Text(annotation) if isinstance(annotation, str) else annotation


def _annotation(cls: type, field: str) -> str:
    for base in cls.__mro__:
        if field in (own := inspect.get_annotations(base)):
            return str(own[field])
    raise AssertionError(f"{cls.__name__}.{field} has no annotation")


if __name__ == "__main__":
    from pathlib import Path

    Path(__file__).with_name("surface.txt").write_text("\n".join(surface()) + "\n", encoding="utf-8", newline="\n")
