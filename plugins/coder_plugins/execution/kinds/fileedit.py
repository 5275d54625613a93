"""Steps of kind `file_edit`: a file, written whole or not at all, and never over a person's own change.

Before the effect three hashes are on disk: of the file as it was, as it will be, and of both contents. After a crash
one look tells what happened; a file that is neither was changed by somebody else, and a person is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coder_local.api import Effect, Fault, Found, Safety, Snapshot, StepError, StepRun, WorkKind
from coder_plugins.execution.artifacts.adapters import sync_folder

from .folders import inside, outside
from .records import FileEditInput

ABSENT = "absent"
"""Stands for the hash of a file that is not there."""
BEFORE = "before"
"""The name of the artifact that is what the file held before."""
_LIMIT = 64 * 1024 * 1024
_DIFF_LIMIT = 64 * 1024


class FileEditKind(WorkKind[FileEditInput]):
    """Write, change or remove one file of the run's folder."""

    name = "file_edit"
    input = FileEditInput
    needs_folder = True

    def safety(self, read: Snapshot, input: FileEditInput, /) -> Safety:  # noqa: ARG002
        return Safety.DESTRUCTIVE

    def effect(self, read: Snapshot, input: FileEditInput, /) -> Effect:  # noqa: ARG002
        return Effect.CHECKABLE

    def check(self, read: Snapshot, input: FileEditInput, /) -> Iterable[Fault]:  # noqa: ARG002
        ways = [input.content is not None, input.replace is not None, input.delete]
        if sum(ways) != 1:
            yield Fault("/content", "give exactly one of content, replace and delete", None)

    def check_in(self, folder: Path, input: FileEditInput, /) -> Iterable[Fault]:
        yield from outside(folder, input.path, "/path")

    def prepares(self, input: FileEditInput, /) -> bool:  # noqa: ARG002
        return True

    async def prepare(self, step: StepRun, input: FileEditInput, /) -> dict[str, Any]:
        facts, before = await asyncio.to_thread(_prepare, step, input)
        kept = None if before is None else await step.keep(BEFORE, before)
        return {**facts, "before_content": kept}

    async def run(self, step: StepRun, input: FileEditInput, /) -> Any:
        """Write the file; once begun it is carried to its end, for a thread cannot be stopped in the middle."""
        writing = asyncio.ensure_future(asyncio.to_thread(_write, step, input))
        while not writing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([writing])
        return writing.result()

    async def recover(self, step: StepRun, input: FileEditInput, /) -> Found:
        return await asyncio.to_thread(_look, step, input)


def _target(step: StepRun, input: FileEditInput) -> Path:
    assert step.root is not None  # noqa: S101 - a run without a folder was refused
    return inside(step.root, input.path)


def _prepare(step: StepRun, input: FileEditInput) -> tuple[dict[str, Any], bytes | None]:
    """Return what must be known of a file before it is written, and what it holds."""
    path = _target(step, input)
    before = read(path)
    if input.expect is not None and input.expect != hash_of(before):
        raise StepError(
            f"{input.path} is not what it should be before: somebody changed it", word="changed", retry=False,
            data={"expected": input.expect, "found": hash_of(before)},
        )  # fmt: skip
    after = _after(input, before)
    (step.folder / "after").write_bytes(b"" if after is None else after)
    mode = None if before is None else path.stat().st_mode & 0o7777
    return {"path": str(path), "before": hash_of(before), "after": hash_of(after), "mode": mode}, before


def _after(input: FileEditInput, before: bytes | None) -> bytes | None:
    if input.delete:
        return None
    if input.content is not None:
        return input.content.encode()
    if before is None:
        raise StepError(f"{input.path} is not there, so nothing in it can be replaced", word="missing", retry=False)
    text = before.decode("utf-8", "surrogateescape")
    for index, each in enumerate(input.replace or []):
        count = text.count(each.old)
        if count != 1:
            raise StepError(
                f"the text of replacement {index} is {count} times in {input.path}, and must be there once",
                word="changed", retry=False, data={"replacement": index, "count": count},
            )  # fmt: skip
        text = text.replace(each.old, each.new)
    return text.encode("utf-8", "surrogateescape")


def _write(step: StepRun, input: FileEditInput) -> dict[str, Any]:
    path, facts = _target(step, input), step.facts
    before = read(path)
    if hash_of(before) != facts["before"]:
        raise StepError(
            f"{input.path} was changed while the step began; nothing was written", word="changed", retry=False
        )
    after = None if facts["after"] == ABSENT else (step.folder / "after").read_bytes()
    if hash_of(before) != facts["after"]:
        replace(path, after)
    step.log(_difference(input.path, before, after))
    return _output(facts, input)


def replace(path: Path, content: bytes | None, mode: int | None = None) -> None:
    """Have a file hold a content, None for no file, on disk when this returns; a new one gets `mode`, else 0o644."""
    if content is None:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644 if mode is None else mode
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _look(step: StepRun, input: FileEditInput) -> Found:
    facts = step.facts
    now = hash_of(read(_target(step, input)))
    if now == facts.get("after"):
        return Found(state="done", output=_output(facts, input))
    if now == facts.get("before"):
        return Found(state="not_begun")
    return Found(state="unknown", message=f"{input.path} is neither as it was before nor as the step leaves it")


def _output(facts: dict[str, Any], input: FileEditInput) -> dict[str, Any]:
    return {
        "path": input.path, "before": facts["before"], "after": facts["after"],
        "changed": facts["before"] != facts["after"], "before_content": facts.get("before_content"),
    }  # fmt: skip


def hash_of(content: bytes | None) -> str:
    """Return the hash of a file's content, `absent` for a file that is not there."""
    return ABSENT if content is None else hashlib.sha256(content).hexdigest()


def read(path: Path) -> bytes | None:
    """Return what a file holds, None if it is not there. Raises `StepError` for a folder, and for one too large."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            what = "a folder" if path.is_dir() else "no file"
            raise StepError(f"{path} is {what}", word="invalid", retry=False)
        if path.stat().st_size > _LIMIT:
            raise StepError(f"{path} is larger than {_LIMIT >> 20} MiB", word="too_large", retry=False)
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _difference(name: str, before: bytes | None, after: bytes | None) -> str:
    old, new = ((each or b"").decode("utf-8", "replace").splitlines(keepends=True) for each in (before, after))
    if len(old) + len(new) > 20_000:
        return f"{name}: {len(old)} lines before, {len(new)} after\n"
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)[:_DIFF_LIMIT]
