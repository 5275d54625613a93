"""Clearing up: output and artifacts of ended runs go when they are old, or too many, and later the runs themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from coder_local.api import Context, Snapshot
from coder_plugins.execution.records import ExecutionSettings, domain

from .adapters import place

if TYPE_CHECKING:
    from coder_plugins.execution.runs import jobs as removing

_log = logging.getLogger("coder_local.execution")
_FIRST_S, _EVERY_S = 300.0, 3_600.0
_WRITTEN_S = 3_600.0
"""Seconds within which a step that wrote a content has come to its end."""
_tasks: dict[Path, asyncio.Task[None]] = {}


class Kept(NamedTuple):
    """The folder of one run, or one content."""

    path: Path
    bytes: int
    at: float
    """When it was last written, in seconds since 1970."""


@domain.on_start
async def start(ctx: Context) -> None:
    """Clear up a while after the start, and then every hour."""
    _tasks[ctx.folder] = asyncio.create_task(_again(ctx), name="execution: clearing up")


@domain.on_stop
async def stop(ctx: Context) -> None:
    """Stop clearing up."""
    task = _tasks.pop(ctx.folder, None)
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _again(ctx: Context) -> None:
    await asyncio.sleep(_FIRST_S)
    while True:
        try:
            await clear_up(ctx)
        except Exception:  # noqa: BLE001 - a disk that fails now may not fail in an hour
            _log.exception("old output could not be cleared up")
        await asyncio.sleep(_EVERY_S)


async def clear_up(ctx: Context) -> int:
    """Remove what is over its age or over the limit, the oldest first, and return how many bytes of files that freed.

    Nothing of a run that goes on is touched.
    """
    freed = await remove_runs(ctx)
    settings = ctx.settings(ExecutionSettings)
    open_ = await ctx.read(in_use)
    oldest = ctx.now_ms() / 1000 - settings.keep_days * 86_400
    freed += await asyncio.to_thread(pack_logs, ctx.folder, open_, ctx.now_ms() / 1000 - _WRITTEN_S)
    return freed + await asyncio.to_thread(remove, ctx.folder, open_, oldest, settings.keep_mb * 1024 * 1024)


async def remove_runs(ctx: Context) -> int:
    """Remove runs that are over their age or number, then definitions that nothing uses any more.

    Returns how many bytes of their files that freed.
    """
    from coder_plugins.execution.runs import jobs as removing  # noqa: PLC0415 - once an hour, and not at start

    freed = 0
    while (found := await ctx.read(removing.due, ctx.now_ms())).runs or found.left:
        gone = await ctx.transact(removing.remove, found.runs)
        if not gone.rows:
            break  # they came to be needed meanwhile
        named = await ctx.read(_named, gone.contents) if gone.contents else frozenset[str]()
        freed += await asyncio.to_thread(_remove_files, ctx.folder, gone, named)
    while (unused := await ctx.read(removing.unused)).ids:
        dropped: int = await ctx.transact(removing.drop, unused)
        if not dropped:
            break
    return freed


def _named(read: Snapshot, contents: list[str]) -> frozenset[str]:
    """Return which contents are artifacts of runs that are kept."""
    found = read.rows(
        "SELECT sha256 FROM execution_artifacts WHERE sha256 IN (SELECT value FROM json_each(:contents))"
        " AND deleted_at IS NULL",
        contents=contents,
    )
    return frozenset(sha256 for (sha256,) in found)


def _remove_files(folder: Path, gone: removing.Removed, named: frozenset[str]) -> int:
    """Remove the folders of runs that are gone, and their contents that no other run has; return how many bytes."""
    from coder_plugins.execution.logs.adapters.files import run_folder  # noqa: PLC0415 - 25 ms with the processes

    kept = [_kept_run(path) for run in gone.runs if (path := run_folder(folder, run)).exists()]
    for sha256 in set(gone.contents) - named:
        path = place(folder, sha256)
        # one that was put again just now belongs to a step whose end is not written yet
        if path.exists() and (found := _kept_content(path)).at < time.time() - _WRITTEN_S:
            kept.append(found)
    for each in kept:
        _delete(each.path)
    return sum(each.bytes for each in kept)


def in_use(read: Snapshot) -> frozenset[str]:
    """Return the ids of the runs that have not ended, and the hashes of the contents that are theirs."""
    found = read.rows(
        "WITH open AS (SELECT id FROM execution_runs WHERE status > '' AND finished_at IS NULL"
        "  AND deleted_at IS NULL)"
        " SELECT id FROM open UNION SELECT sha256 FROM execution_artifacts WHERE run IN open AND deleted_at IS NULL"
        " UNION SELECT artifact FROM execution_steps WHERE run IN open AND artifact IS NOT NULL AND deleted_at IS NULL"
    )
    return frozenset(id_ for (id_,) in found)


def pack_logs(folder: Path, open_: frozenset[str], before: float) -> int:
    """Compress the output of runs that have ended, if none came since `before`; return the bytes freed."""
    from coder_plugins.execution.logs.adapters import packing  # noqa: PLC0415 - 25 ms with the processes
    from coder_plugins.execution.processes.shim.frames import NAME  # noqa: PLC0415 - see above

    freed = 0
    for log in (folder / "runs").glob(f"*/*/*/{NAME}"):
        try:
            if log.parents[1].name not in open_ and log.stat().st_mtime < before:
                freed += packing.pack(log.parent)
        except (OSError, ValueError) as error:  # one that is damaged, or a full disk: it stays as it is
            _log.warning("the output in %s was not compressed: %s", log.parent, error)
    return freed


def remove(folder: Path, open_: frozenset[str], oldest: float, limit: int) -> int:
    """Remove what was last written before `oldest`, and of the rest the oldest until `limit` bytes are left."""
    kept = sorted((*_runs(folder, open_), *_contents(folder, open_)), key=lambda each: each.at)
    total, freed = sum(each.bytes for each in kept), 0
    for each in kept:
        if each.at >= oldest and total - freed <= limit:
            break
        if each.path.exists() and each.path.stat().st_mtime > each.at:
            continue  # it was put there again since it was looked at
        _delete(each.path)
        freed += each.bytes
    return freed


def _delete(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _runs(folder: Path, open_: frozenset[str]) -> Iterator[Kept]:
    for path in (folder / "runs").glob("*/*"):
        if path.name not in open_:
            yield _kept_run(path)


def _kept_run(path: Path) -> Kept:
    stats = [each.stat() for each in (path, *path.rglob("*")) if each.exists()]
    return Kept(path, sum(stat.st_size for stat in stats), max(stat.st_mtime for stat in stats))


def _contents(folder: Path, open_: frozenset[str]) -> Iterator[Kept]:
    for path in (folder / "blobs").glob("*/*"):
        if path.name not in open_:
            yield _kept_content(path)


def _kept_content(path: Path) -> Kept:
    stat = path.stat()
    return Kept(path, stat.st_size, stat.st_mtime)
