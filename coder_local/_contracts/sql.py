"""The tables as SQL, for whoever looks into the database with a tool of their own."""

from __future__ import annotations

from pathlib import Path

from coder_local import _store
from coder_local._registry.registry import Registry
from coder_local._store import migrations

from .shared import GENERATED


def build(registry: Registry) -> str:
    """Return the statements that make the core's tables as migrated and every record's table, by name."""
    parts = [f"-- {GENERATED}"]
    files = migrations.find_files(Path(_store.__file__).parent / "migrations")
    parts += [f"-- The core's own, {file.name}\n\n{file.read_text('utf-8').strip()}" for file in files]
    for table in sorted(registry.tables.all(), key=lambda each: each.name):
        doc = (table.record.__doc__ or "").strip().split("\n", 1)[0]
        statements = ";\n".join(table.ddl())
        parts.append(f"-- {table.kind}{f': {doc}' if doc else ''}\n{statements};")
    return "\n\n".join(parts) + "\n"
