"""What others program against is documented and annotated, all of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def decorator_names(node: FunctionNode) -> set[str]:
    """Return the last word of each decorator: `overload` for `@typing.overload`, `setter` for `@name.setter`."""
    names: set[str] = set()
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        names.add(target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", ""))
    return names


def faults_of_function(node: FunctionNode, name: str, *, is_method: bool) -> Iterator[str]:
    """Yield what a public function lacks."""
    decorators = decorator_names(node)
    is_magic = node.name.startswith("__")
    if not is_magic and not decorators & {"overload", "setter", "deleter", "override"} and not ast.get_docstring(node):
        yield f"{name} has no docstring"
    parameters = [*node.args.posonlyargs, *node.args.args]
    if is_method and "staticmethod" not in decorators:
        parameters = parameters[1:]
    parameters += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    yield from (f"{name}: {item.arg} is not annotated" for item in parameters if item.annotation is None)
    if node.returns is None:
        yield f"{name}: the result is not annotated"


def faults(body: list[ast.stmt], prefix: str, *, in_class: bool = False) -> Iterator[str]:
    """Yield what the public names of a module or class lack, also below `if` and `try`."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from faults([*node.body, *node.orelse], prefix, in_class=in_class)
        if not isinstance(node, ast.ClassDef | FunctionNode):
            continue
        is_private = node.name.startswith("_") and not node.name.startswith("__")
        if is_private:
            continue
        name = f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            if not ast.get_docstring(node):
                yield f"{name} has no docstring"
            yield from faults(node.body, f"{name}.", in_class=True)
        else:
            yield from faults_of_function(node, name, is_method=in_class)


def faults_of_text(text: str) -> list[str]:
    """Return what a module lacks."""
    tree = ast.parse(text)
    missing = [] if ast.get_docstring(tree) or not tree.body else ["the module has no docstring"]
    return missing + list(faults(tree.body, ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""M."""\ndef f(a: int, *b: int) -> None:\n    """Do."""', []),
        ('"""M."""\nclass A:\n    """A."""\n    def __init__(self, a): ...', 2),
        ('"""M."""\nif x:\n    def f(*, a: int) -> None: ...', 1),
        ('"""M."""\ndef _f(a): ...', []),
        ("x = 1", 1),
    ],
)
def test_a_missing_docstring_or_annotation_is_noticed(text: str, expected: list[str] | int) -> None:
    found = faults_of_text(text)
    assert found == expected or len(found) == expected


@pytest.mark.parametrize("package", ["coder_local/api", "ipc/coder_ipc"])
def test_every_public_name_is_documented_and_annotated(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules, f"{package} holds no module"
    found = {
        str(path.relative_to(ROOT)): lacking for path in modules if (lacking := faults_of_text(path.read_text("utf-8")))
    }
    assert found == {}
