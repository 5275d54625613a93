"""A database with thousands of tasks, and what of it lies on which page."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from coder_local._registry import plugins
from coder_local._registry.kernel import Kernel
from coder_local._store.caller import Caller
from coder_local._store.salvage.nodes import read_node
from coder_local._store.salvage.pages import Pages
from coder_local._store.salvage.trees import Tree
from coder_local.api import Record

TASKS = 1200
SNAPSHOT_AT = 800
BY = Caller(actor="person", operation="planning.tasks.create")


class Filled(NamedTuple):
    """A whole database, and a snapshot of when it had fewer rows."""

    database: Path
    snapshot: Path
    fresh: Path
    """A database of the same program without any rows."""
    rows: dict[str, dict[Any, tuple[Any, ...]]]
    """By table, each row by its rowid, or by its key in a table without."""
    places: dict[str, dict[int, set[int]]]
    """By table, the pages that each row of it lies on."""
    branches: set[int]
    """Pages that hold no rows of tables, but lead to them."""


def open_planning(folder: Path) -> Kernel:
    """Return a kernel on a folder with the bundled plugins, their tables made."""
    kernel = Kernel(folder)
    kernel.load(plugin for plugin in plugins.bundled() if plugin.name == "planning")
    kernel.open()
    return kernel


def fill(folder: Path) -> Filled:
    """Make a database with tasks, some of them long, some written twice, and some let go of."""
    folder.mkdir()
    kernel = open_planning(folder)
    record = kernel.registry.tables.named_record("planning_tasks")
    assert record is not None
    chance = random.Random(4)
    made: list[Record] = []

    def add(tx: Any, count: int) -> None:
        for _ in range(count):
            number = tx.number("planning.keys")
            text = "é" * chance.choice([10, 80, 200, 200, 3000 if number % 40 == 0 else 150])
            task: Any = record
            made.append(
                tx.insert(task(title=f"task {number}", key=f"T-{number}", rank=f"a{number:05}", description=text))
            )

    for _ in range(SNAPSHOT_AT // 200):
        kernel.store.write(lambda tx: add(tx, 200), BY)
    snapshot = kernel.store.snapshot("good")
    for _ in range((TASKS - SNAPSHOT_AT) // 200):
        kernel.store.write(lambda tx: add(tx, 200), BY)
    kernel.store.write(lambda tx: [tx.update(each, title="changed") for each in chance.sample(made, 50)], BY)
    connection = kernel.store.writer.connection
    connection.execute("DELETE FROM event WHERE seq < 400")  # as trimming does: its pages are free now
    kernel.store.close()
    path = folder / "coder-local.db"
    fresh = folder / "fresh"
    fresh.mkdir()
    open_planning(fresh).store.close()
    return Filled(path, snapshot, fresh / path.name, rows_of(path), *_places(path))


def rows_of(path: Path) -> dict[str, dict[Any, tuple[Any, ...]]]:
    """Return all rows of a database by table."""
    connection = sqlite3.connect(path)
    found: dict[str, dict[Any, tuple[Any, ...]]] = {}
    tables = connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    for name, keyed in tables.fetchall():
        key = "*" if keyed else "rowid, *"
        rows = connection.execute(f"SELECT {key} FROM {name}").fetchall()
        found[name] = {row if keyed else row[0]: row for row in rows}
    connection.close()
    return found


def _places(path: Path) -> tuple[dict[str, dict[int, set[int]]], set[int]]:
    connection = sqlite3.connect(path)
    roots = connection.execute(
        "SELECT m.name, m.rootpage FROM sqlite_master m JOIN pragma_table_list t ON t.name = m.name"
        " WHERE m.type = 'table' AND NOT t.wr AND m.name NOT LIKE 'sqlite_%'"
    ).fetchall()
    connection.close()
    places: dict[str, dict[int, set[int]]] = {}
    branches: set[int] = set()
    with Pages(path) as pages:
        for name, root in roots:
            tree = Tree(pages, root, index=False)
            assert not tree.damaged
            places[name] = {}
            for number in tree.nodes:
                node = read_node(pages, number)
                if node.right:
                    branches.add(number)
                    continue
                for cell in node.cells:
                    assert cell.rowid is not None
                    places[name][cell.rowid] = {number, *_rest(pages, cell.overflow)}
    return places, branches


def _rest(pages: Pages, page: int) -> list[int]:
    found: list[int] = []
    while page:
        found.append(page)
        content = pages.get(page)
        assert content is not None
        page = int.from_bytes(content[:4], "big")
    return found
