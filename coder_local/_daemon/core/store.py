"""`store.*`: copies of the database while the daemon works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from coder_local._registry.kernel import Kernel
from coder_local._store import backup, keeping
from coder_local._store.clock import instant
from coder_local.api import Conflict, Context, Domain, FilePath, Instant, Invalid, Safety, Snapshot, Unsupported, Value

from .work import apart

SnapshotName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
_SQLITE = b"SQLite format 3\0"


class CopyInfo(Value):
    """A copy of the database: one file, whole in itself."""

    name: str
    path: str
    bytes: int
    at: Instant
    """When it was written."""
    whole: bool | None = None
    """Whether it was whole when it was last read from end to end; null for what was never read so."""


class CopyList(Value):
    """The snapshots, the newest first."""

    items: list[CopyInfo]


def declare(kernel: Kernel) -> Domain:
    """Return the domain."""
    domain = Domain("store")

    @domain.action("store.backup", safety=Safety.WRITE, person_only=True)
    async def write_backup(ctx: Context, *, path: FilePath, overwrite: bool = False) -> CopyInfo:  # noqa: ARG001
        """Write a consistent copy of the whole database to a file, while everything goes on.

        Its folder must exist. A file that is there is replaced only with `overwrite`, and only if it is itself a
        database. `coder-local restore` puts a copy in place of the data again.
        """
        return await apart(lambda: _backup(kernel, path, overwrite=overwrite))

    @domain.action("store.snapshot", safety=Safety.WRITE)
    async def snapshot(ctx: Context, *, name: SnapshotName = "by-hand") -> CopyInfo:  # noqa: ARG001
        """Write a copy into the data directory's `snapshots`, which keeps the newest five, and read it whole again."""
        return await apart(lambda: _info(kernel.store.snapshot(name)))

    @domain.query("store.snapshots")
    def list_snapshots(read: Snapshot) -> CopyList:  # noqa: ARG001
        """List the snapshots, the newest first."""
        folder = kernel.store.folder
        found = [] if folder is None else backup.snapshots(folder / "snapshots")
        return CopyList(items=[_info(path) for path in found])

    return domain


def _backup(kernel: Kernel, path: str, *, overwrite: bool) -> CopyInfo:
    if kernel.store.folder is None:
        raise Unsupported("a store in memory has no file to copy")
    target = Path(path)
    try:
        _check_target(kernel, target, overwrite=overwrite)
    except OSError as error:
        raise Invalid(f"{path[:200]} cannot be used: {error}", field="/path", hint="choose another place") from error
    kernel.store.backup_to(target)
    return _info(target)


def _check_target(kernel: Kernel, target: Path, *, overwrite: bool) -> None:
    """Raise `Invalid` or `Conflict` if the copy must not go there."""
    if not target.is_absolute():
        raise Invalid(f"{target} is not absolute", field="/path", hint="give the whole path, from the root of the disk")
    if not target.parent.is_dir():
        raise Invalid(f"there is no folder {target.parent}", field="/path", hint="make it first")
    if target.is_dir():
        raise Invalid(f"{target} is a folder", field="/path", hint="give the name of a file in it")
    database = kernel.store.path
    if target.resolve() in {database.with_name(database.name + suffix).resolve() for suffix in ("", "-wal", "-shm")}:
        raise Conflict(f"{target} is the database itself", field="/path", hint="choose another place")
    if not target.exists():
        return
    if not overwrite:
        raise Conflict(f"{target} is there already", field="/path", hint="choose another name, or set overwrite")
    with target.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            raise Conflict(
                f"{target} is no database, and is not overwritten", field="/path", hint="choose another name"
            )


def _info(path: Path) -> CopyInfo:
    stat = path.stat()
    known = keeping.noted(path)
    return CopyInfo(
        name=path.stem, path=str(path), bytes=stat.st_size, at=instant(round(stat.st_mtime * 1000)),
        whole=None if known is None else not known,
    )  # fmt: skip
