"""`sandbox`: a plugin in memory, by the same errors, events and history as in the daemon."""

import gc
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local.api import (
    Broken,
    Conflict,
    DeclarationError,
    Domain,
    Invalid,
    NotFound,
    Record,
    Refused,
    Stale,
    Transaction,
)
from coder_local.testing import FakeClock, Said, Sandbox, sandbox
from coder_local.testing.loading import load_folder, package_of
from tests.support.notes import domain as notes
from tests.support.notes.operations import pin
from tests.support.notes.records import Note
from tests.testing.garden import GardenSettings, Plant, domain, grow, tallest

NOTES = Path(sys.modules["tests.support.notes"].__file__ or "").parent


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox(domain) as opened:
        yield opened


def test_a_command_answers_plain_data_and_says_its_events(box: Sandbox) -> None:
    plant = box.call("garden.plants.create", name="oak")
    assert plant["rev"] == 1
    assert box.call("garden.grow", id=plant["id"], by=2)["height"] == 2
    subject = f"garden.plant/{plant['id']}"
    assert box.events == [
        Said("garden.plant.created", subject, {"id": plant["id"], "rev": 1, "changed": []}),
        Said("garden.plant.updated", subject, {"id": plant["id"], "rev": 2, "changed": ["height"]}),
        Said("garden.plant.grew", subject, {"plant": plant["id"]}),
    ]
    assert box.call("garden.tallest")["name"] == "oak"


def test_errors_are_those_that_a_caller_gets(box: Sandbox) -> None:
    plant = box.call("garden.plants.create", name="oak")
    with pytest.raises(NotFound, match=r"no operation 'garden.gro'") as unknown:
        box.call("garden.gro", id="x")
    assert unknown.value.hint == "did you mean garden.grow?"
    with pytest.raises(Invalid) as invalid:
        box.call("garden.grow", idd=plant["id"], by="much")
    assert [fault["field"] for fault in invalid.value.data["faults"]] == ["/idd", "/by", "/id"]
    with pytest.raises(Invalid, match="does not shrink"):
        box.call("garden.grow", id=plant["id"], by=0)
    with pytest.raises(Stale):
        box.call("garden.plants.update", id=plant["id"], height=3, if_rev=7)
    with pytest.raises(Conflict, match="same name"):
        box.call("garden.plants.create", name="oak")


def test_an_idempotency_key_gives_the_first_answer(box: Sandbox) -> None:
    first = box.call("garden.plants.create", name="oak", idempotency_key="k")
    assert box.call("garden.plants.create", name="oak", idempotency_key="k") == first
    with pytest.raises(Conflict):
        box.call("garden.plants.create", name="elm", idempotency_key="k")


def test_a_fault_of_the_plugin_is_the_cause_and_leaves_nothing(box: Sandbox) -> None:
    with pytest.raises(Broken) as raised:
        box.call("garden.fail")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert box.call("garden.plants.list")["items"] == []
    assert box.events == []


def test_an_event_without_emits_and_an_answer_of_another_type_are_faults_of_the_declaration(box: Sandbox) -> None:
    with pytest.raises(DeclarationError, match="emits=PlantSang"):
        box.call("garden.sing", id="x")
    with pytest.raises(DeclarationError, match=r"garden\.lie does not answer what its return type says"):
        box.call("garden.lie")


def test_what_another_plugin_says_when_it_is_called_is_declared_there() -> None:
    visitor = Domain("visitor")

    @visitor.command("visitor.water")
    def water(tx: Transaction, *, plant: str) -> None:
        """Have a plant grow."""
        tx.call("garden.grow", id=plant, by=1)

    with sandbox(domain, visitor) as box:
        box.call("visitor.water", plant=box.call("garden.plants.create", name="oak")["id"])
        assert box.events[-1].type == "garden.plant.grew"


def test_functions_are_called_directly_in_a_transaction_and_a_snapshot(box: Sandbox) -> None:
    with box.tx() as tx:
        plant = grow(tx, id=tx.insert(Plant(name="oak")).id, by=4)
    assert tallest(box.snapshot()) == plant
    assert [said.type for said in box.events] == ["garden.plant.created", "garden.plant.updated", "garden.plant.grew"]


def test_a_transaction_that_raises_leaves_nothing_and_the_next_one_works(box: Sandbox) -> None:
    def break_in_the_middle() -> None:
        with box.tx() as tx:
            tx.insert(Plant(name="oak"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_in_the_middle()
    assert box.events == []
    with box.tx() as tx:
        tx.insert(Plant(name="oak"))
    assert [said.type for said in box.events] == ["garden.plant.created"]
    assert len(box.call("garden.plants.list")["items"]) == 1


def test_time_stands_still_until_it_is_moved() -> None:
    clock = FakeClock()
    with sandbox(domain, clock=clock) as box:
        assert box.clock is clock
        before = box.call("garden.time")
        assert box.call("garden.time") == before == "2026-01-01T00:00:00.000Z"
        box.clock.advance(1.5)
        assert box.call("garden.time") == "2026-01-01T00:00:01.500Z"


def test_undo_takes_back_the_last_command_of_the_same_caller(box: Sandbox) -> None:
    mine = box.call("garden.plants.create", name="oak")
    theirs = box.as_agent("helper").call("garden.plants.create", name="elm")
    undone = box.undo()
    assert [(each["id"], each["action"]) for each in undone] == [(mine["id"], "created")]
    assert [each["id"] for each in box.call("garden.plants.list")["items"]] == [theirs["id"]]
    with pytest.raises(NotFound, match="nothing to undo"):
        box.undo()
    assert box.undo(undone[0]["change_set"] + 2)[0]["action"] == "deleted"  # the undo itself
    assert len(box.call("garden.plants.list")["items"]) == 2


def test_another_caller_sees_the_same_data_and_stands_in_history(box: Sandbox) -> None:
    plant = box.as_agent("helper").call("garden.plants.create", name="oak")
    assert plant["origin"] == "agent:helper"
    assert box.call("garden.plants.history", id=plant["id"])["items"][0]["actor"] == "agent:helper"
    assert box.as_caller(workspace="w").call("garden.plants.create", name="elm")["workspace_id"] == "w"


def test_what_only_a_person_may_do_is_refused_to_an_agent(box: Sandbox) -> None:
    box.call("garden.plants.create", name="oak")
    with pytest.raises(Refused, match="for a person"):
        box.as_agent("helper").call("garden.clear")
    assert box.call("garden.clear") == 1


def test_settings_are_given_and_else_the_defaults(box: Sandbox) -> None:
    for name in ("oak", "elm", "yew"):
        box.call("garden.plants.create", name=name)
    with pytest.raises(Conflict, match="full"):
        box.call("garden.plants.create", name="fir")
    box.configure(GardenSettings(most=4))
    box.call("garden.plants.create", name="fir")
    assert box.snapshot().settings(GardenSettings).most == 4


async def test_an_action_is_awaited_and_reports_progress(box: Sandbox) -> None:
    with pytest.raises(TypeError, match="acall"):
        box.call("garden.order", name="oak")
    assert (await box.acall("garden.order", name="oak"))["name"] == "oak"
    assert box.progress == [(0, 1, "asking"), (1, 1, "")]
    with pytest.raises(Conflict):
        await box.acall("garden.order", name="oak")
    assert await box.acall("garden.time") == box.call("garden.time")


async def test_a_stream_is_a_list_or_is_left_early(box: Sandbox) -> None:
    assert await box.acall("garden.watch", times=3) == [1, 2, 3]
    seen: list[int] = []
    async for number in box.items("garden.watch"):
        seen.append(number)
        if number == 5:
            break
    assert seen == [1, 2, 3, 4, 5]
    with pytest.raises(Conflict, match="enough"):
        await box.acall("garden.watch", times=13)


def test_several_domains_and_a_domain_with_a_package_live_together() -> None:
    with sandbox(domain, notes) as box:
        note = box.call("notes.create", workspace="w", title="a")
        with box.tx() as tx:
            assert pin(tx, id=note["id"]).pinned
            assert tx.get(Note, note["id"]).rev == 2
        assert box.call("garden.plants.list")["items"] == []
    assert package_of(notes) is sys.modules["tests.support.notes"]
    assert package_of(domain) is None


def test_a_folder_is_loaded_as_the_daemon_would(tmp_path: Path) -> None:
    shutil.copytree(NOTES, tmp_path / "notes", ignore=shutil.ignore_patterns("__pycache__"))
    with sandbox(tmp_path / "notes") as box:
        assert box.call("notes.create", workspace="w", title="a")["rev"] == 1
    other = tmp_path / "other" / "notes"
    shutil.copytree(tmp_path / "notes", other, ignore=shutil.ignore_patterns("__pycache__"))
    records = (other / "records.py").read_text("utf-8").replace('"1.0.0"', '"2.0.0"')
    (other / "records.py").write_text(records, encoding="utf-8")
    loaded = load_folder(other).domain  # not what the first folder of that name left behind
    assert loaded is not None
    assert loaded.version == "2.0.0"
    assert load_folder(NOTES).domain is notes  # a package that is imported is not loaded twice


def test_migrations_that_do_not_make_the_records_are_refused_with_the_sql(tmp_path: Path) -> None:
    shutil.copytree(NOTES, tmp_path / "notes", ignore=shutil.ignore_patterns("__pycache__"))
    records = tmp_path / "notes" / "records.py"
    records.write_text(
        records.read_text("utf-8").replace("    pinned:", "    stars: int = 0\n    pinned:"), encoding="utf-8"
    )
    with pytest.raises(DeclarationError, match="ALTER TABLE notes ADD COLUMN stars INTEGER NOT NULL DEFAULT 0"):
        sandbox(tmp_path / "notes")
    shutil.rmtree(tmp_path / "notes" / "migrations")
    with pytest.raises(DeclarationError, match="CREATE TABLE notes"):
        sandbox(tmp_path / "notes")


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"no __init__\.py"):
        sandbox(tmp_path)
    (tmp_path / "__init__.py").write_text("raise RuntimeError('a bad day')", encoding="utf-8")
    with pytest.raises(DeclarationError, match="RuntimeError: a bad day"):
        sandbox(tmp_path)
    twice = Domain("twice")
    with pytest.raises(DeclarationError, match="two plugins are called twice"):
        sandbox(twice, Domain("twice"))


def test_an_unclosed_sandbox_closes_its_database() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        box: Sandbox | None = sandbox(domain)
        assert box is not None
        view: Sandbox | None = box.as_agent("x")
        box = None
        gc.collect()
        assert view is not None
        assert view.call("garden.plants.list")["items"] == []  # the view keeps it open
        view = None
        gc.collect()


def test_closing_twice_is_no_fault() -> None:
    box = sandbox(domain)
    box.as_agent("x").close()
    box.close()


def test_a_record_that_nobody_keeps_is_named() -> None:
    class Stray(Record):
        title: str

    with sandbox(domain) as box, pytest.raises(DeclarationError, match="Stray has no table"):
        box.snapshot().select(Stray)


def test_a_transaction_of_another_caller_has_that_ones_rights(box: Sandbox) -> None:
    with box.as_agent("helper").tx() as tx:
        rights = tx.rights()
    assert (rights.actor, rights.owner) == ("agent:helper", False)
    with box.tx() as tx, tx.acting(rights) as inner:
        assert inner.insert(Plant(name="oak")).origin == "agent:helper"


def test_the_folder_of_a_plugin_lives_as_long_as_the_sandbox() -> None:
    with sandbox(domain) as box:
        with box.tx() as tx:
            folder = tx.folder
        assert folder == box.snapshot().folder
        assert folder.name == "garden"
        (folder / "kept.txt").write_text("here")
    assert not folder.parent.exists()
    with sandbox(domain, notes) as both, both.tx() as tx, pytest.raises(DeclarationError, match="no plugin's function"):
        _ = tx.folder


def test_nobody_agreed_to_what_a_milder_caller_leads_to(box: Sandbox) -> None:
    with box.tx() as tx, tx.acting(tx.rights()) as inner, pytest.raises(Refused, match="nobody agreed"):
        inner.call("garden.clear")
