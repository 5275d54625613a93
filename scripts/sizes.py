"""Print the largest files and functions, and refuse those over the hard limits.

A file may have 500 lines and a function 60. What must be longer stands in `sizes_allowed.txt` with its reason; an
entry that is no longer needed is refused too, so that the list only shrinks.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("coder_local", "plugins", "ipc")
SUFFIXES = {".py", ".ts", ".mts", ".js", ".mjs"}
SKIPPED_FOLDERS = {"node_modules", "dist", "build", "generated", "__pycache__"}
FILE_LIMIT = 500
FUNCTION_LIMIT = 60
SHOWN = 10


@dataclass(frozen=True)
class Size:
    """A measured file or function; `place` is `path` or `path::Class.function`."""

    place: str
    lines: int


def source_files(root: Path) -> Iterator[Path]:
    """Yield the hand-written source files of the three source roots, in a stable order."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root).parts
            if path.suffix in SUFFIXES and path.is_file() and not SKIPPED_FOLDERS.intersection(inside):
                yield path


def measure_functions(place: str, node: ast.AST, prefix: str = "") -> Iterator[Size]:
    """Yield every function below a node, nested ones too; decorators are not counted, docstrings are."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield Size(f"{place}::{name}", (child.end_lineno or child.lineno) - child.lineno + 1)
            yield from measure_functions(place, child, f"{name}.")
        else:
            yield from measure_functions(place, child, prefix)


def measure(root: Path) -> tuple[list[Size], list[Size]]:
    """Return all files and all Python functions, largest first."""
    files: list[Size] = []
    functions: list[Size] = []
    for path in source_files(root):
        place = path.relative_to(root).as_posix()
        text = path.read_text("utf-8")
        files.append(Size(place, len(text.splitlines())))
        if path.suffix == ".py":
            functions.extend(measure_functions(place, ast.parse(text, place)))

    def largest_first(size: Size) -> tuple[int, str]:
        return -size.lines, size.place

    return sorted(files, key=largest_first), sorted(functions, key=largest_first)


def read_allowed(path: Path) -> tuple[set[str], list[str]]:
    """Return the allowed places, and the faults of the list itself."""
    places: set[str] = set()
    faults: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        place, _, reason = (part.strip() for part in line.partition(" # "))
        if not reason:
            faults.append(f"{path.name}:{number}: give the reason: {place} # why it cannot be shorter")
        places.add(place)
    return places, faults


def find_faults(files: list[Size], functions: list[Size], allowed: set[str]) -> list[str]:
    """Return one line for each size over its limit, and for each allowance that nothing needs."""
    over = [(size, FILE_LIMIT) for size in files if size.lines > FILE_LIMIT]
    over += [(size, FUNCTION_LIMIT) for size in functions if size.lines > FUNCTION_LIMIT]
    faults = [
        f"{size.place}: {size.lines} lines, the limit is {limit}: split it"
        for size, limit in over
        if size.place not in allowed
    ]
    needed = {size.place for size, _ in over}
    faults += [f"sizes_allowed.txt: {place} is within its limit: remove the line" for place in sorted(allowed - needed)]
    return faults


def main() -> int:
    """Print the tables; return 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to measure")
    root: Path = parser.parse_args().root.resolve()
    files, functions = measure(root)
    for title, sizes in (("files", files), ("functions", functions)):
        print(f"the {SHOWN} largest of {len(sizes)} {title} (lines):")
        for size in sizes[:SHOWN]:
            print(f"  {size.lines:>5}  {size.place}")
    allowed, faults = read_allowed(root / "scripts" / "sizes_allowed.txt")
    faults += find_faults(files, functions, allowed)
    for fault in faults:
        print(f"error: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
