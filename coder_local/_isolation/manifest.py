"""`plugin.toml`: where a third party's plugin runs, and what it may do there beyond its own domain."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from coder_local.api import DeclarationError, Value

FILE = "plugin.toml"
SECRET = "secret://"  # noqa: S105 - the beginning of a reference, not a secret
_LONGEST = 64 * 1024


class Isolation(StrEnum):
    """Where a plugin's code runs."""

    PROCESS = "process"
    """In a process of its own, with the permissions of its manifest."""
    IN_PROCESS = "in_process"
    """In the daemon, where it may do whatever the person may."""


Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Permissions(Value, forbid_unknown_fields=True):
    """What a plugin in a process of its own may do beyond its own domain."""

    operations: tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?$(?!\n)")], ...] = ()
    """Operations of others that it may call: wire names, or all of a domain or a group by `notes.pages.*`."""
    events: tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?$(?!\n)")], ...] = ()
    """Types of events of others that it may hear, in the same way."""
    secrets: tuple[Name, ...] = ()
    """Secrets that it may name in what it calls, as behind `secret://`."""
    hosts: tuple[Name, ...] = ()
    """Hosts that it may connect to or listen at: names or addresses, each with any port or with one
    (`api.example.org:443`)."""
    commands: tuple[Name, ...] = ()
    """Programs that it may start, by name or by whole path."""


class Budgets(Value, forbid_unknown_fields=True):
    """What a plugin's process may use up."""

    memory_mb: Annotated[int, Meta(ge=64, le=65_536)] = 512
    """MiB in memory, with the programs that it started; with more it is ended and started again."""


class Manifest(Value, forbid_unknown_fields=True):
    """What `plugin.toml` says."""

    isolation: Isolation = Isolation.PROCESS
    permissions: Permissions = Permissions()
    budgets: Budgets = Budgets()


WITHOUT = Manifest(isolation=Isolation.IN_PROCESS)
"""What holds for a plugin that has no manifest."""


def read(folder: Path) -> Manifest:
    """Return the manifest in a plugin's folder. Raises `DeclarationError`, naming the key and the cure."""
    import tomllib  # noqa: PLC0415 - 5 ms, and only for a plugin of others

    file = folder / FILE
    try:
        if not os.path.lexists(file):
            return WITHOUT
        if not file.is_file():  # to open a pipe would wait for ever
            raise DeclarationError(f"{FILE} is no file; put one in its place, or remove it")
        with file.open("rb") as opened:
            body = opened.read(_LONGEST + 1)
        if len(body) > _LONGEST:  # what follows would be left out unseen
            raise DeclarationError(f"{FILE} is over {_LONGEST // 1024} KiB; make it shorter")
        told = tomllib.loads(body.decode())
    except RecursionError as error:
        raise DeclarationError(f"{FILE} cannot be read: it is nested too deep") from error
    except (OSError, ValueError) as error:
        raise DeclarationError(f"{FILE} cannot be read: {error}") from error
    _refuse_unknown(told, Manifest, "")
    try:
        return msgspec.convert(told, Manifest)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        key = place.rstrip("`").removeprefix("$.")
        raise DeclarationError(f"{FILE}: {key or 'it'} is wrong: {text}; {_cure(key)}") from error


def _refuse_unknown(told: dict[str, Any], struct: Any, before: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in told.items():
        if key not in fields:
            import difflib  # noqa: PLC0415 - 5 ms, and only for a key that is wrong

            near = difflib.get_close_matches(key, fields, 1)
            has = ", ".join(before + name for name in fields)
            cure = f"did you mean {before}{near[0]}?" if near else f"it has {has}"
            raise DeclarationError(f"{FILE}: there is no key {before}{key}; {cure}")
        if isinstance(value, dict) and fields[key] in {Permissions, Budgets}:
            _refuse_unknown(cast("dict[str, Any]", value), fields[key], f"{before}{key}.")


def _cure(key: str) -> str:
    if key.startswith("isolation"):
        return 'write isolation = "process" or isolation = "in_process"'
    if key.startswith("budgets"):
        return "write budgets.memory_mb as a whole number of MiB from 64 on, such as memory_mb = 512"
    if key.startswith("permissions."):
        name = key.removeprefix("permissions.").partition("[")[0]
        return f"write {name} as a list of texts, such as {name} = {_EXAMPLES.get(name, '[]')}"
    return "write [permissions] and [budgets] as tables"


_EXAMPLES = {
    "operations": '["notes.list", "notes.pages.*"]',
    "events": '["notes.note.*"]',
    "secrets": '["github-token"]',
    "hosts": '["api.example.org"]',
    "commands": '["git"]',
}


def covers(granted: tuple[str, ...], name: str) -> bool:
    """Tell whether a list of names and of `group.*` holds a name, or all that a pattern `group.*` stands for."""
    stem = name.removesuffix("*").removesuffix(".")
    return any(each == name or (each.endswith(".*") and f"{stem}.".startswith(each[:-1])) for each in granted)
