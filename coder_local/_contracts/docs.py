"""Docstrings that Python does not keep: those of fields and of type aliases, read from the source.

Where there is no source (a frozen build, a class made at run time) there are no docstrings, and nothing fails.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any


def of_fields(cls: Any) -> dict[str, str]:
    """Return the docstrings of a class's fields, those of its bases included."""
    origin = getattr(cls, "__origin__", cls)
    found: dict[str, str] = {}
    for base in reversed(getattr(origin, "__mro__", ())):
        found.update(_in_module(sys.modules.get(base.__module__)).get(base.__qualname__, {}))
        found.update(vars(base).get("__field_docs__", {}))  # of a class that stands for one in another process
    return found


def of_alias(module: str, name: str) -> str:
    """Return the docstring under a module's type alias, or ""."""
    return _in_module(sys.modules.get(module)).get("", {}).get(name, "")


@cache  # by the module itself: a plugin that is enabled with another content is another module of the same name
def _in_module(module: ModuleType | None) -> dict[str, dict[str, str]]:
    """Return the docstrings of each class's fields by the class's qualified name; the module's own under ""."""
    if module is None or module is builtins:
        return {}
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return {}
    return dict(_scopes(tree, ""))


def _scopes(node: ast.AST, qualname: str) -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(node, (ast.Module, ast.ClassDef)):
        yield qualname, dict(_documented(node.body))
    inside = f"{qualname}." if qualname else ""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _scopes(child, inside + child.name)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _scopes(child, f"{inside}{child.name}.<locals>")
        elif isinstance(child, (ast.If, ast.With, ast.Try)):
            yield from (found for found in _scopes(child, qualname) if found[0] != qualname)


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    text = after.value.value
                    if isinstance(text, str):
                        yield name, inspect.cleandoc(text)
            case _:
                pass
