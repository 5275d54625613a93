"""What came of a salvage: kept beside the database it made, as `salvage-report.json`."""

from __future__ import annotations

from coder_local.api import Instant, Value

FILE = "salvage-report.json"
SHOWN = 200
"""Ids and reasons that are listed of each table; the numbers count all."""


class Lost(Value):
    """Rowids that were, or may have been, on pages that cannot be read; both ends among them."""

    low: int
    high: int | None
    """Null where nothing tells where it ends."""


class SalvagedTable(Value):
    """What could be had of one table."""

    name: str
    read: int
    """Rows that were read from the damaged file."""
    from_snapshot: int
    """Rows that were lost there, and taken from the snapshot as they were when it was made."""
    maybe_deleted: int
    """Of those, rows of which nothing tells that they were not deleted since: no index of the damaged file names them.

    In a table without row numbers that is each of them: it takes from the snapshot all that it lacks.
    """
    maybe_deleted_keys: list[str]
    """Keys of those rows, the first of them."""
    missing: int | None
    """Rows that an index, or the last number given, names, and that are in neither; null where nothing tells."""
    refused: int
    """Rows that were read, and that the table does not take: they are not its own, or stand in it already."""
    lost: list[Lost]
    """Where the rows were lost; those from the snapshot are taken out of it."""
    missing_ids: list[str]
    """Ids of missing rows, the first of them."""
    damaged_pages: list[int]
    reasons: list[str]
    """Why pages cannot be read and rows are refused, the first of them."""


class SalvageReport(Value):
    """What could be had of a damaged database."""

    source: str
    at: Instant
    page_size: int
    pages: int
    damaged_pages: int
    """Of tables and indexes together; indexes are made anew."""
    doubtful_pages: list[int]
    """Pages with rows of which nobody can tell whether they are still any table's; they are left out."""
    schema_from: str
    """The file that says which tables there are: the damaged one itself, or another where that part of it is lost."""
    schema_whole: bool
    """False if there may have been tables of which nothing tells."""
    snapshot: str | None
    """The whole snapshot that lost rows were looked for in."""
    tables: list[SalvagedTable]
    faults: list[str]
    """What is wrong with the new database; nothing as a rule."""

    @property
    def read(self) -> int:
        """Return how many rows of all tables were read."""
        return sum(table.read for table in self.tables)
