"""What every plugin must keep, whoever wrote it: one function that names all faults, and one class of tests.

In a plugin's own tests::

    from coder_local.testing.conformance import PluginConformance
    from notes import domain


    class TestConformance(PluginConformance):
        plugin = domain
"""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import msgspec

from coder_local._contracts import docs
from coder_local._isolation import declarations, manifest
from coder_local._registry.plugins import Plugin, Source
from coder_local._registry.registry import Prepared, Registry
from coder_local.api import DeclarationError, Domain, Kind, Safety

from . import lightness, migrated
from .daemon import environment
from .loading import PluginLike, found

HEAVY = frozenset(
    {
        "PIL", "aiohttp", "aiosqlite", "anthropic", "boto3", "cryptography", "dateutil", "httpx", "icalendar", "jinja2",
        "keyring", "lxml", "matplotlib", "mcp", "numpy", "openai", "pandas", "pluggy", "psutil", "pydantic", "pytest",
        "requests", "rich", "scipy", "sklearn", "sqlalchemy", "sqlite_utils", "torch", "transformers", "urllib3",
        "watchfiles", "yaml",
    }
)  # fmt: skip
"""Packages that a plugin imports inside the function that needs them: each costs every start of the daemon."""


class Subject(NamedTuple):
    """A plugin under examination, taken into a registry of its own."""

    domain: Domain
    registry: Registry
    plugin: Plugin

    @property
    def folder(self) -> Path | None:
        """Folder of its package, None for a domain that was declared in a single file."""
        return self.plugin.folder


def subject_of(plugin: PluginLike) -> Subject:
    """Take a plugin in. Raises `DeclarationError` if it cannot be loaded."""
    registry, examined = Registry(), found(plugin)
    assert examined.domain is not None, "it was found by it"  # noqa: S101 - for the type checker
    registry.take(examined, examined.domain)
    if not examined.loaded:
        raise DeclarationError(f"{examined.name} is {examined.status}: {examined.reason}")
    return Subject(examined.domain, registry, examined)


def faults(plugin: PluginLike) -> list[str]:
    """Return everything that a plugin does not keep, in plain words; nothing if it is as it should be."""
    try:
        subject = subject_of(plugin)
    except DeclarationError as error:
        return [str(error)]
    found = [fault for check in CHECKS for fault in check(subject)]
    return list(dict.fromkeys(found))  # a type that is not there is met by several checks


def operations_are_described(subject: Subject) -> Iterator[str]:
    """Yield the operations whose signature or docstring cannot be shown to a caller."""
    for prepared in _prepared(subject):
        if isinstance(prepared, str):
            yield prepared
            continue
        name = prepared.operation.name
        if prepared.operation.standard is None and not prepared.summary.endswith((".", "!", "?")):
            yield f"{name}: open its docstring with one sentence that ends with a full stop"
        for parameter in prepared.signature.parameters:
            yield from _unencodable(parameter.annotation, f"{name}: the type of {parameter.name}")


def answers_are_encodable(subject: Subject) -> Iterator[str]:
    """Yield the operations whose answer has no JSON."""
    for prepared in _prepared(subject):
        if not isinstance(prepared, str):
            result = prepared.signature.result
            if prepared.operation.kind is Kind.STREAM:  # what goes out are the items
                result = (*get_args(result), Any)[0]
            yield from _unencodable(result, f"{prepared.operation.name}: its return type")


def safety_words_fit(subject: Subject) -> Iterator[str]:
    """Yield the commands that claim to change nothing."""
    for operation in subject.domain.operations.values():
        if operation.kind is Kind.COMMAND and operation.safety is Safety.READ:
            yield f"{operation.name} is a command but its safety word is read: make it a query, or leave the word out"


def emitted_events_are_declared(subject: Subject) -> Iterator[str]:
    """Yield the events that commands name in `emits=` without the domain having declared them."""
    declared = set(subject.domain.events.values())
    for operation in subject.domain.operations.values():
        for event in operation.emits:
            if event not in declared:
                yield f"{operation.name} emits {event.__name__}, which has no @domain.event(...) of this domain"


def migrations_make_the_records(subject: Subject) -> Iterator[str]:
    """Yield how the migrations differ from the records, with the SQL to add."""
    try:
        tables = [subject.registry.tables.of(record) for record in subject.domain.tables]
    except DeclarationError as error:
        yield str(error)
        return
    if subject.folder is not None:
        yield from migrated.faults(subject.folder / "migrations", tables)


def promises_are_readable(subject: Subject) -> Iterator[str]:
    """Yield what has no docstring: package, records, events, rules, listeners, settings and each of their fields."""
    domain = subject.domain
    if subject.plugin.module is not None and not inspect.getdoc(subject.plugin.module):
        yield f"{subject.plugin.name}/__init__.py: open it with a docstring that says what the plugin is and promises"
    classes: list[Any] = [*domain.tables, *domain.events.values()]
    if domain.settings_type is not None:
        classes.append(domain.settings_type)
        documented = docs.of_fields(domain.settings_type)
        for field in msgspec.structs.fields(domain.settings_type):
            if field.name not in documented:
                yield f"{domain.settings_type.__name__}.{field.name} needs a docstring: it is shown beside its value"
            if field.required:
                yield f"{domain.settings_type.__name__}.{field.name} needs a default: a plugin works without settings"
    rules = [rule for rules in domain.rules.values() for rule in rules]
    listeners = [listener.function for listener in domain.listeners.values()]
    for each in (*classes, *rules, *listeners):
        if not each.__doc__:
            yield f"{each.__name__} needs a docstring"


def the_import_is_light(subject: Subject) -> Iterator[str]:
    """Yield what the plugin imports that it should not, seen in a process of its own."""
    module = subject.plugin.module
    if module is None:
        return
    folder = subject.plugin.location if subject.plugin.source is Source.FOLDER else ""
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [*lightness.command(), module.__name__, folder],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ran.returncode:
        yield f"{subject.plugin.name} cannot be imported by itself: {ran.stderr.strip().splitlines()[-1]}"
        return
    imported: list[str] = json.loads(ran.stdout.splitlines()[-1])
    for name in sorted({each.partition(".")[0] for each in imported} & HEAVY):
        yield f"importing {subject.plugin.name} imports {name}: import it inside the function that needs it"
    private = (each for each in imported if each.startswith("coder_local._") and each.count(".") == 1)
    for name in sorted(private):
        yield f"{subject.plugin.name} imports {name}: a plugin imports coder_local.api and nothing else of coder_local"


def its_manifest_holds(subject: Subject) -> Iterator[str]:
    """Yield what is wrong with `plugin.toml`, and what cannot run in a process of its own, if it says so."""
    if subject.folder is None:
        return
    try:
        told = manifest.read(subject.folder)
        if (subject.folder / manifest.FILE).exists() and told.isolation is manifest.Isolation.PROCESS:
            declarations.describe(subject.domain, told.permissions, docs.of_fields)
    except DeclarationError as error:
        yield str(error)


CHECKS: tuple[Callable[[Subject], Iterator[str]], ...] = (
    operations_are_described,
    answers_are_encodable,
    safety_words_fit,
    emitted_events_are_declared,
    migrations_make_the_records,
    promises_are_readable,
    the_import_is_light,
    its_manifest_holds,
)


class PluginConformance:
    """Subclass it as `Test...` and set `plugin`, to the domain or the folder of its package; pytest runs the checks."""

    plugin: ClassVar[PluginLike]

    def test_every_operation_is_described(self) -> None:
        """Each has a docstring and typed, keyword-only parameters: its description and schema at every door."""
        self._hold(operations_are_described)

    def test_every_answer_is_encodable(self) -> None:
        """Each return type has a JSON form."""
        self._hold(answers_are_encodable)

    def test_safety_words_fit(self) -> None:
        """What changes something says so."""
        self._hold(safety_words_fit)

    def test_emitted_events_are_declared(self) -> None:
        """Each event in `emits=` is one of the domain."""
        self._hold(emitted_events_are_declared)

    def test_migrations_make_the_records(self) -> None:
        """The migrations lead to the tables and indexes that the records declare."""
        self._hold(migrations_make_the_records)

    def test_promises_are_readable(self) -> None:
        """Package, records, events, rules and settings have docstrings."""
        self._hold(promises_are_readable)

    def test_the_import_is_light(self) -> None:
        """Importing the plugin imports no heavy package and nothing private of the core."""
        self._hold(the_import_is_light)

    def test_its_manifest_holds(self) -> None:
        """`plugin.toml` is one, and what the plugin declares can run where it says."""
        self._hold(its_manifest_holds)

    def _hold(self, check: Callable[[Subject], Iterator[str]]) -> None:
        found = list(check(subject_of(self.plugin)))
        assert not found, "\n".join(found)  # noqa: S101 - it is a test


def _prepared(subject: Subject) -> Iterator[Prepared | str]:
    """Yield every operation, ready to be called, or the reason why it cannot be."""
    for name in subject.registry.names():
        try:
            prepared = subject.registry.find(name)
        except TypeError as error:
            yield f"{name}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever its author's code does when its types are read
            yield str(error) if isinstance(error, DeclarationError) else f"{name}: {type(error).__name__}: {error}"
        else:
            assert prepared is not None, "the registry named it"  # noqa: S101 - for the type checker
            yield prepared


def _unencodable(annotation: Any, what: str) -> Iterator[str]:
    try:
        msgspec.json.schema_components([annotation])
    except TypeError:
        shown = getattr(annotation, "__name__", annotation)
        yield f"{what} has no JSON form ({shown}): use a record, a Value, or plain data"
