"""Writing a new plugin that works, and looking one over."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

from coder_local._daemon.core import core_domains
from coder_local._registry import modules, plugins
from coder_local._registry.kernel import Kernel

from . import conformance, migrated, templates

_NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")
_COMMANDS = frozenset(
    {
        "backup",
        "call",
        "completion",
        "doctor",
        "events",
        "help",
        "plugins",
        "restore",
        "salvage",
        "selfcheck",
        "serve",
        "status",
        "stop",
        "undo",
    }
)
"""Built-in commands, of the one-folder build too: `coder-local status` would never reach a plugin of that name."""
_TAKEN = _COMMANDS | {"coder_ipc", "coder_local", "coder_plugins", "services", "test", "tests"}
"""Also our own packages, the plugin's own folder of tests, and a route of the daemon's own, `/api/services`."""
_IMPORTED = frozenset({"Conflict", "Domain", "Event", "Record", "Snapshot", "Title", "Transaction"})


def create(name: str, folder: Path) -> list[Path]:
    """Write a working plugin into the new folder `folder/name` and return the files written.

    It holds the package, a first migration made from its records, a test that passes, pyproject.toml and a README.
    Raises `ValueError` for a name that a plugin cannot have, and `FileExistsError` if the place is taken.
    """
    refuse_name(name)
    project = folder / name
    if project.exists() and not (project.is_dir() and not any(project.iterdir())):
        raise FileExistsError(f"there is something at {project} already")
    try:
        return _write(name, project)
    except BaseException:
        shutil.rmtree(project, ignore_errors=True)
        raise


def check(folder: Path) -> list[str]:
    """Return what is wrong with a plugin, in plain words; nothing if all is well. Imports it, so its code runs.

    `folder` is its package, or the project around it.
    """
    package = _package_in(folder)
    if package is None:
        return [f"{folder} holds no plugin: neither it nor a folder in it has __init__.py and records.py"]
    if not package.name.isidentifier():
        return [f"{package} cannot be imported: name the folder as the domain, small letters, digits or _"]
    found = conformance.faults(package)
    project = package.parent / "pyproject.toml"
    return found + (list(_faults_of_project(project, package.name)) if project.is_file() else [])


def refuse_name(name: str) -> None:
    """Raise `ValueError`, saying why and what instead, if a plugin cannot have this name."""
    if not _NAME.fullmatch(name):
        proposal = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_0123456789")
        hint = f"; {proposal!r} would do" if _NAME.fullmatch(proposal) else ""
        raise ValueError(f"{name!r} must be 2 to 31 small letters, digits or _, and begin with a letter{hint}")
    if keyword.iskeyword(name):
        raise ValueError(f"{name!r} is a word of the Python language and cannot be imported; take another")
    if name in sys.stdlib_module_names:
        raise ValueError(f"{name!r} is a module of Python itself, which a plugin of that name would hide; take another")
    if name in _TAKEN or name in _own_names():
        raise ValueError(f"{name!r} is a name of coder-local itself; take another")
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:
        raise ValueError(f"{name!r} is a package that is installed here ({found.origin}); take another")


def _own_names() -> set[str]:
    return {domain.name for domain in core_domains(Kernel())} | {plugin.name for plugin in plugins.bundled()}


def _write(name: str, project: Path) -> list[Path]:
    words = _words(name)
    package = project / name
    files = {
        project / "pyproject.toml": templates.PYPROJECT,
        project / "README.md": templates.README,
        package / "__init__.py": templates.INIT,
        package / "records.py": templates.RECORDS,
        package / "operations.py": templates.OPERATIONS,
        package / "plugin.toml": templates.MANIFEST,
        package / "py.typed": "",
        project / "tests" / f"test_{name}.py": templates.TEST,
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(words), encoding="utf-8", newline="\n")
    migration = package / "migrations" / f"0001_{name}.sql"
    migration.parent.mkdir()
    migration.write_text(_first_migration(package), encoding="utf-8", newline="\n")
    return sorted([*files, migration])


def _words(name: str) -> dict[str, str]:
    title = "".join(part.capitalize() for part in name.split("_"))
    cls = _singular(title)
    if cls in _IMPORTED or cls == "None":
        cls += "Entry"
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls).lower()
    if keyword.iskeyword(word):
        cls, word = f"{cls}Entry", f"{word}_entry"
    return {"name": name, "title": title, "cls": cls, "word": word, "dashed": name.replace("_", "-")}


def _singular(title: str) -> str:
    """Return the record's class of a plugin's name, well enough: Recipes to Recipe, Stories to Story, Boxes to Box."""
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if title.endswith(ending) and len(title) > len(ending) + 1:
            return title.removesuffix(ending) + instead
    return title[:-1] if title.endswith("s") and not title.endswith(("ss", "us", "is")) and len(title) > 2 else title


def _first_migration(package: Path) -> str:
    """Return the migration that makes the records of a package, leaving no trace of having imported it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        subject = conformance.subject_of(package)
    finally:
        sys.dont_write_bytecode = before
        modules.take(f"coder_local_plugin_{package.name}")
    tables = [subject.registry.tables.of(record) for record in subject.domain.tables]
    return migrated.script(tables, f"The records of {package.name} as they were first declared.")


def _package_in(folder: Path) -> Path | None:
    folder = folder.resolve()
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for path in (folder, folder / folder.name, *inside):
        if (path / "__init__.py").is_file() and (path == folder or (path / "records.py").is_file()):
            return path
    return None


def _faults_of_project(project: Path, package: str) -> Iterator[str]:
    try:
        content: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        yield f"{project.name} cannot be read: {error}"
        return
    points: dict[str, str] = content.get("project", {}).get("entry-points", {}).get(plugins.ENTRY_POINTS, {})
    if points.get(package) != package:
        yield (
            f"{project.name} does not announce the plugin, so an installed copy is not found; add\n"
            f'[project.entry-points."{plugins.ENTRY_POINTS}"]\n{package} = "{package}"'
        )
