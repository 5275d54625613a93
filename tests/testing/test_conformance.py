"""The checks that every plugin must pass find what they are there to find, and pass what is good."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coder_local.api import Domain, Event, Record, Safety, Settings, Snapshot, Transaction
from coder_local.testing import conformance
from coder_local.testing.conformance import PluginConformance, faults, subject_of
from coder_local.testing.daemon import environment
from tests.support.notes import domain as notes
from tests.testing.garden import domain as garden

INIT = '"""Leaves."""\nfrom .records import domain as domain\n'
RECORDS = '''"""Records."""
from coder_local.api import Domain, Record

domain = Domain("leaves")


@domain.table("leaves")
class Leaf(Record):
    """A leaf."""

    colour: str


domain.standard(Leaf, sort=("colour",))
'''


class TestNotes(PluginConformance):
    plugin = notes


class TestGarden(PluginConformance):
    plugin = garden


def write(folder: Path, *, init: str = INIT, records: str = RECORDS, **migrations: str) -> Path:
    package = folder / "leaves"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").write_text(init, encoding="utf-8")
    (package / "records.py").write_text(records, encoding="utf-8")
    for name, text in migrations.items():
        (package / "migrations" / f"{name.removeprefix('m')}.sql").write_text(text, encoding="utf-8")
    return package


def test_a_type_of_a_record_that_is_not_there_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    records = "from __future__ import annotations\n" + RECORDS.replace("colour: str", "colour: Colour")
    (fault,) = faults(write(tmp_path, records=records))
    assert fault == (
        "Leaf: name 'Colour' is not defined; types of fields are read at run time, so import them for real"
    )


def good_script(folder: Path) -> str:
    from coder_local.testing import migrated

    subject = subject_of(write(folder / "for_ddl"))
    return migrated.script([subject.registry.tables.of(record) for record in subject.domain.tables], "Leaves.")


def test_a_good_plugin_in_a_folder_has_no_faults(tmp_path: Path) -> None:
    assert faults(write(tmp_path, m0001_leaves=good_script(tmp_path))) == []


def test_a_missing_migration_is_given_as_sql_that_puts_it_right(tmp_path: Path) -> None:
    package = write(tmp_path)
    (fault,) = faults(package)
    statements = fault.partition("put into a migration:\n")[2]
    (package / "migrations" / "0001_leaves.sql").write_text(f"-- Leaves.\n{statements}\n", encoding="utf-8")
    assert faults(package) == []


def test_a_missing_column_and_index_are_given_as_sql_that_puts_them_right(tmp_path: Path) -> None:
    script = good_script(tmp_path)
    records = RECORDS.replace("    colour: str\n", '    colour: str\n    form: str = ""\n').replace(
        'sort=("colour",)', 'sort=("colour", "form")'
    )
    package = write(tmp_path, records=records, m0001_leaves=script)
    found = faults(package)
    assert len(found) == 2
    assert "ALTER TABLE leaves ADD COLUMN form TEXT NOT NULL DEFAULT ''" in found[0]
    assert "CREATE INDEX leaves_list_form" in found[1]
    second = "-- Leaves have forms.\n" + "\n".join(fault.partition("next migration: ")[2] for fault in found)
    (package / "migrations" / "0002_form.sql").write_text(second, encoding="utf-8")
    assert faults(package) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("m0002_more", "SELECT 1;", "does not say why it is there"),
        ("m0001_again", "-- Why.\nSELECT 1;", "has the number of 0001_again.sql"),
        ("mleaves", "-- Why.\nSELECT 1;", "leaves.sql is never applied: name it 0001_<words>.sql"),
        ("m0002_more", "-- Why.\nCREATE TABEL x;", "migrations/0002_more.sql fails: near"),
        ("m0002_more", "-- Why.\nDROP TABLE leaves;", "there is no table leaves"),
    ],
)
def test_a_bad_migration_is_named(tmp_path: Path, name: str, text: str, expected: str) -> None:
    package = write(tmp_path, m0001_leaves=good_script(tmp_path), **{name: text})
    assert any(expected in fault for fault in faults(package)), faults(package)


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("from .records import domain as domain\n", "open it with a docstring"),
        (f"{INIT}import sqlite_utils\n", "imports sqlite_utils: import it inside the function"),
        (f"{INIT}import coder_local._store.clock\n", "imports coder_local._store: a plugin imports coder_local.api"),
        ('"""Leaves."""\n', "exports no `domain`"),
        (f"{INIT}raise OSError('no')\n", "OSError: no"),
    ],
)
def test_a_bad_package_is_named(tmp_path: Path, init: str, expected: str) -> None:
    package = write(tmp_path, init=init, m0001_leaves=good_script(tmp_path))
    assert any(expected in fault for fault in faults(package)), faults(package)


class Leaf(Record):
    """A leaf."""

    colour: str


def declared(function: Any, kind: str = "query", **options: Any) -> list[str]:
    domain = Domain("leaves")
    domain.table("leaves")(Leaf)
    getattr(domain, kind)("leaves.do", **options)(function)
    return faults(domain)


def test_operations_that_cannot_be_shown_to_a_caller_are_named() -> None:
    def no_stop(read: Snapshot) -> int:
        """Do it"""
        return 1

    def positional(read: Snapshot, a: int) -> int:
        """Do it."""
        return a

    def untyped(read: Snapshot, *, a=1) -> int:
        """Do it."""
        return a

    def unanswered(read: Snapshot, *, a: int = 1):
        """Do it."""

    def taken(tx: Transaction, *, if_rev: int) -> int:
        """Do it."""
        return if_rev

    def unencodable(read: Snapshot) -> sqlite3.Connection:
        """Do it."""
        raise NotImplementedError

    def undecodable(read: Snapshot, *, a: sqlite3.Connection) -> int:
        """Do it."""
        return 1

    assert "full stop" in declared(no_stop)[0]
    assert "put a `*` before a" in declared(positional)[0]
    assert "a needs a type" in declared(untyped)[0]
    assert "it needs a return type" in declared(unanswered)[0]
    assert "may not be called if_rev" in declared(taken, "command")[0]
    assert "leaves.do: its return type has no JSON form" in declared(unencodable)[0]
    assert "leaves.do" in declared(undecodable)[0]


def test_events_safety_words_rules_and_settings_are_looked_at() -> None:
    class Fell(Event):
        """It fell."""

        leaf: str

    class Mute(Event):
        leaf: str

    class LeafSettings(Settings):
        """Leaves."""

        colour: str

    def do(tx: Transaction) -> None:
        """Do it."""

    def rule(tx: Transaction, before: Leaf | None, after: Leaf) -> None: ...

    assert declared(do, "command", emits=Fell) == [
        "leaves.do emits Fell, which has no @domain.event(...) of this domain"
    ]
    assert "its safety word is read" in declared(do, "command", safety=Safety.READ)[0]
    domain = Domain("leaves")
    domain.table("leaves")(Leaf)
    domain.rule(Leaf)(rule)
    domain.event("leaves.leaf.sang")(Mute)
    domain.settings(LeafSettings)
    found = faults(domain)
    assert found == [
        "LeafSettings.colour needs a docstring: it is shown beside its value",
        "LeafSettings.colour needs a default: a plugin works without settings",
        "Mute needs a docstring",
        "rule needs a docstring",
    ]


def test_the_class_fails_in_pytest_where_the_function_names_a_fault(tmp_path: Path) -> None:
    package = write(tmp_path, init="from .records import domain as domain\n", m0001_leaves=good_script(tmp_path))

    class Bad(PluginConformance):
        plugin = package

    with pytest.raises(AssertionError, match="open it with a docstring"):
        Bad().test_promises_are_readable()
    Bad().test_every_operation_is_described()


def test_the_class_has_a_test_for_every_check() -> None:
    tests = [name for name in vars(PluginConformance) if name.startswith("test_")]
    used = {name for test in tests for name in getattr(PluginConformance, test).__code__.co_names}
    assert {check.__name__ for check in conformance.CHECKS} <= used


def test_what_is_heavy_is_not_imported_by_the_api() -> None:
    code = "import sys, coder_local.api; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert not conformance.HEAVY & set(eval(ran.stdout))  # a list of texts, printed by us


def test_a_type_that_fails_when_it_is_read_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    operation = '''

@domain.query("leaves.fall")
def fall(read: Snapshot, *, at: pathlib.Nowhere) -> int:
    """Let one fall."""
    return 1
'''
    records = "from __future__ import annotations\nimport pathlib\n" + RECORDS.replace(
        "Record\n", "Record, Snapshot\n", 1
    )
    found = faults(write(tmp_path, records=records + operation))
    assert any(fault.startswith("leaves.fall: AttributeError: ") for fault in found), found
