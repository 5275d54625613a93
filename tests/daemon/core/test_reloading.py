"""`plugins.reload`: a new content in the place of the old while everything goes on, or the old one as before."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_local._daemon.core import taking
from coder_local._registry import pausing
from coder_local._registry.dispatch import Call
from coder_local._registry.principal import OWNER
from coder_local._store.caller import Caller
from coder_local.api import Error

from .conftest import Core

BODY = '''
"""Counts what is said."""
import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from coder_local.api import Context, Domain, Event, Heard, Record, Safety, Snapshot, Transaction

WORD = "{word}"
domain = Domain("words")

@domain.table("words")
class Word(Record):
    """A word."""
    text: str

domain.standard(Word, operations=("list", "create"))

@domain.event("words.word.said")
class Said(Event):
    """A word was said."""
    word: str

@domain.query("words.which")
def which(read: Snapshot) -> str:
    """Return the word of this content."""
    return WORD

@domain.command("words.say", emits=Said)
def say(tx: Transaction) -> str:
    """Say it."""
    tx.emit(Said(word=WORD))
    return WORD

@domain.listener("words.word.said")
def heard(tx: Transaction, *, event: Heard) -> None:
    """Write down what was heard, and by which content."""
    tx.insert(Word(text=f"{{event.data['word']}} heard by {{WORD}}"))

@domain.action("words.wait", safety=Safety.READ)
async def wait(ctx: Context, *, gate: str) -> str:
    """Wait for a file, then ask this very plugin."""
    while not Path(gate).exists():
        await asyncio.sleep(0.01)
    return WORD + " " + await ctx.call("words.which")

@domain.stream("words.follow")
async def follow(ctx: Context) -> AsyncGenerator[str]:
    """Say the word, and stay."""
    yield WORD
    await asyncio.Event().wait()

@domain.on_start
async def start(ctx: Context) -> None:
    """Fail if it is to."""
    {start}

{more}
'''
TABLE = """-- Why: to keep words
CREATE TABLE words (id TEXT PRIMARY KEY NOT NULL, workspace_id TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, rev INTEGER NOT NULL, deleted_at TEXT, origin TEXT NOT NULL, meta TEXT NOT NULL,
  text TEXT NOT NULL) STRICT;
CREATE INDEX words_list_id ON words (workspace_id, id) WHERE deleted_at IS NULL;
"""
MORE = '''
@domain.query("words.more")
def more(read: Snapshot) -> int:
    """Return one."""
    return 1
'''


class Words:
    """The plugin's folder, and the kernel that it runs in."""

    def __init__(self, core: Core, folder: Path) -> None:
        self.core = core
        self.folder = folder

    def write(self, word: str, *, start: str = "pass", more: str = "") -> None:
        (self.folder / "migrations").mkdir(parents=True, exist_ok=True)
        (self.folder / "migrations" / "0001_words.sql").write_text(TABLE)
        (self.folder / "__init__.py").write_text(BODY.format(word=word, start=start, more=more))

    async def heard(self) -> list[str]:
        while not self.core.kernel.listeners.idle:
            await asyncio.sleep(0.01)
        return [each["text"] for each in (await self.core.call("words.list"))["items"]]

    async def reload(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.core.call("plugins.reload", name="words")
        return found


@pytest.fixture
async def words(disk: Core, data_dir: Path) -> Words:
    made = Words(disk, data_dir / "plugins" / "words")
    made.write("first")
    assert (await disk.call("plugins.enable", name="words"))["reason"] == ""
    return made


async def test_the_new_content_answers_and_the_answer_says_what_changed(words: Words) -> None:
    before = await words.core.plugin("words")
    words.write("second", more=MORE)
    found = await words.reload()
    assert (found["reloaded"], found["fault"], found["left"]) == (True, "", [])
    assert (found["added"], found["removed"], found["changed"]) == (["words.more"], [], [])
    assert found["took_ms"] > 0
    assert found["plugin"]["content_hash"] != before["content_hash"]
    assert await words.core.call("words.which") == "second"
    assert await words.core.call("words.more") == 1
    words.write("third", more=MORE.replace("-> int", "-> float").replace("return 1", "return 1.5"))
    found = await words.reload()
    assert (found["added"], found["removed"], found["changed"]) == ([], [], ["words.more"])
    words.write("fourth")
    assert (await words.reload())["removed"] == ["words.more"]
    assert (await words.core.refused("words.more")).kind == "not_found"
    said = (await words.core.call("events.list", types=["plugins.*"]))["items"]
    assert [each["data"]["status"] for each in said] == ["loaded"] * 4
    own = [name for name in sys.modules if name.startswith("coder_local_plugin_") and name.endswith("_words")]
    assert own == ["coder_local_plugin_3_words"]


async def test_what_was_reloaded_is_what_the_next_start_may_load(words: Words) -> None:
    words.write("second")
    found = await words.reload()
    rows = words.core.kernel.store.read(lambda scope: scope.rows("SELECT content_hash FROM plugin_grant"), Caller())
    assert rows == [(found["plugin"]["content_hash"],)]


async def test_a_call_under_way_ends_first_and_those_that_come_meanwhile_are_answered_by_the_new_content(
    words: Words, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    under_way = asyncio.create_task(words.core.call("words.wait", gate=str(gate)))
    while not words.core.kernel.dispatcher.under_way("words"):
        await asyncio.sleep(0)
    words.write("second")
    reloading = asyncio.create_task(words.reload())
    while words.core.kernel.dispatcher.held is None:
        await asyncio.sleep(0.01)
    held = asyncio.create_task(words.core.call("words.which"))
    assert await words.core.call("daemon.status")  # everybody else is served
    assert not held.done()
    gate.touch()
    assert await under_way == "first first"
    assert (await reloading)["reloaded"]
    assert await held == "second"


async def test_a_stream_ends_and_says_that_it_may_be_asked_for_again(words: Words) -> None:
    answer: asyncio.Future[Error | None] = asyncio.get_running_loop().create_future()
    items: list[bytes] = []
    call = Call("words.follow", b"{}", OWNER, lambda _body, error: answer.set_result(error), item=items.append)
    words.core.kernel.dispatcher.start(call)
    while not items:
        await asyncio.sleep(0.01)
    assert (await words.reload())["reloaded"]
    error = await answer
    assert error is not None
    assert (error.kind, error.hint, error.data) == ("timeout", "call it again", {"cancelled": True, "reloaded": True})


async def test_an_action_that_does_not_end_is_stopped(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "DRAIN", 0.1)
    waiting = asyncio.create_task(words.core.refused("words.wait", gate=str(tmp_path / "never")))
    while not words.core.kernel.dispatcher.under_way("words"):
        await asyncio.sleep(0)
    assert (await words.reload())["reloaded"]
    assert (await waiting).data == {"cancelled": True, "reloaded": True}


async def test_listeners_go_on_from_their_places_and_hear_nothing_twice(words: Words) -> None:
    async def say() -> None:
        for _ in range(30):
            await words.core.call("words.say")

    saying = asyncio.create_task(say())
    for number in range(3):
        words.write(f"content{number}")
        assert (await words.reload())["reloaded"]
    await saying
    found = await words.heard()
    assert len(found) == 30
    words.write("last")
    await words.reload()
    await words.core.call("words.say")
    assert (await words.heard())[-1] == "last heard by last"


async def test_hooks_are_those_of_the_new_content(words: Words) -> None:
    hook = "@domain.hook\ndef step_kinds() -> list[str]:\n    return [WORD]\n"
    for word in ("second", "third"):
        words.write(word, more=hook)
        assert (await words.reload())["fault"] == ""
        assert list(words.core.kernel.offered("step_kinds")) == [word]
    words.write("fourth")
    await words.reload()
    assert list(words.core.kernel.offered("step_kinds")) == []


async def test_an_import_that_never_ends_holds_no_other_plugin_up(
    words: Words, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "IMPORT_DEADLINE", 0.5)
    words.write("second", more="import threading\nthreading.Event().wait(20)")
    reloading = asyncio.create_task(words.reload())
    other = data_dir / "plugins" / "other"
    other.mkdir()
    (other / "__init__.py").write_text("from coder_local.api import Domain\ndomain = Domain('other')\n")
    assert (await words.core.call("plugins.enable", name="other"))["status"] == "loaded"
    assert (await reloading)["fault"] == "its import took longer than 0.5 s"
    assert await words.core.call("words.which") == "first"


BAD = {
    "import": ("raise ValueError('no')", "ValueError: no"),
    "syntax": ("def (", "SyntaxError"),
    "declaration": ("domain = 1", "exports no `domain`"),
    "clash": ("domain = Domain('daemon')", "the domain name daemon is taken"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_content_that_cannot_be_loaded_leaves_the_old_one_running(words: Words, name: str) -> None:
    more, fault = BAD[name]
    await words.core.call("words.say")
    words.write("second", more=more)
    found = await words.reload()
    assert not found["reloaded"]
    assert fault in found["fault"]
    assert (found["plugin"]["status"], found["plugin"]["operations"]) == ("loaded", 6)
    assert fault in found["plugin"]["reason"]
    assert "the one before still runs" in found["plugin"]["reason"]
    assert await words.core.call("words.which") == "first"
    await words.core.call("words.say")
    assert await words.heard() == ["first heard by first"] * 2
    words.write("third")
    assert (await words.reload())["plugin"]["reason"] == ""
    assert await words.core.call("words.which") == "third"


async def test_a_start_or_a_migration_that_fails_brings_the_old_content_back(words: Words) -> None:
    words.write("second", start="raise OSError('no port')")
    assert (await words.reload())["fault"] == "stopped_by_start_error: OSError: no port"
    assert await words.core.call("words.which") == "first"
    words.write("third")
    migration = words.folder / "migrations" / "0002_wrong.sql"
    migration.write_text("-- Why: to fail\nnonsense;")
    found = await words.reload()
    assert found["fault"].startswith("stopped_by_migration: ")
    assert await words.core.call("words.which") == "first"
    await words.core.call("words.say")
    assert await words.heard() == ["first heard by first"]
    migration.unlink()
    assert (await words.reload())["reloaded"]


async def test_files_that_change_while_they_are_imported_are_not_taken(words: Words) -> None:
    words.write("second", more=f"Path({str(words.folder / 'more.py')!r}).write_text('half')")
    found = await words.reload()
    assert found["fault"] == "its files changed while they were imported; reload it again"
    assert await words.core.call("words.which") == "first"


async def test_nothing_of_an_old_content_stays_in_memory(words: Words) -> None:
    words.write("second")
    await words.reload()  # the first one may be frozen by the collector of a daemon; each later one is not
    old = weakref.ref(words.core.kernel.registry.plugins["words"].module)  # type: ignore[arg-type]
    for word in ("third", "fourth"):
        await words.core.call("words.say")
        await words.core.call("settings.get")
        words.write(word)
        assert (await words.reload())["reloaded"]
    await asyncio.sleep(0)
    gc.collect()
    assert old() is None


async def test_a_thread_that_goes_on_is_named(words: Words) -> None:
    endless = "import threading\ndef run(): end.wait(30)\nend = threading.Event()\n"
    words.write("second", more=f"{endless}threading.Thread(target=run, name='counter', daemon=True).start()")
    await words.reload()
    old = words.core.kernel.registry.plugins["words"].module
    words.write("third")
    assert (await words.reload())["left"] == ["its thread counter goes on; end it with on_stop"]
    old.end.set()  # type: ignore[union-attr]


async def test_a_plugin_that_does_not_run_is_enabled_and_a_bundled_one_is_refused(words: Words) -> None:
    await words.core.call("plugins.disable", name="words")
    found = await words.reload()
    assert (found["reloaded"], len(found["added"])) == (True, 6)
    assert await words.core.call("words.which") == "first"
    assert (await words.core.refused("plugins.reload", name="daemon")).kind == "conflict"
    agent = words.core.as_agent()
    from coder_local._admission.admission import Admission

    words.core.kernel.dispatcher.gate = Admission(words.core.kernel)
    assert (await agent.refused("plugins.reload", name="words")).kind == "refused"
    assert (await words.core.refused("plugins.reload", name="words")).kind == "needs_confirmation"


# -- installed ones ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with an installed distribution whose package holds two plugins."""
    folder = tmp_path / "site"
    info = folder / "acme_plugins-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[coder_local.plugins]\nanvils = acme_plugins.anvils:domain\nrockets = acme_plugins.rockets:domain\n"
    )
    put_acme(folder, "first")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("acme_plugins")]:
        del sys.modules[name]


def put_acme(site: Path, word: str) -> None:
    package = site / "acme_plugins"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text(f"WORD = {word!r}\n")
    for name in ("anvils", "rockets"):
        (package / f"{name}.py").write_text(
            "from coder_local.api import Domain, Snapshot\nfrom .words import WORD\n"
            f"domain = Domain('{name}')\n@domain.query('{name}.word')\ndef word(read: Snapshot) -> str:\n"
            "    '''Return the word.'''\n    return WORD\n"
        )


async def test_an_installed_plugin_is_imported_anew_with_all_of_its_modules(disk: Core, site: Path) -> None:
    assert (await disk.call("plugins.enable", name="anvils"))["reason"] == ""
    for word in ("secnd", "third", "forth"):  # of one length, in one second: time stamps do not tell them apart
        put_acme(site, word)
        assert (await disk.call("plugins.reload", name="anvils"))["fault"] == ""
        assert await disk.call("anvils.word") == word
    (site / "acme_plugins" / "words.py").write_text("raise ValueError('no')\n")
    assert "ValueError: no" in (await disk.call("plugins.reload", name="anvils"))["fault"]
    assert await disk.call("anvils.word") == "forth"
    assert sys.modules["acme_plugins.words"].WORD == "forth"


async def test_one_that_was_disabled_comes_back_with_its_new_content(disk: Core, site: Path) -> None:
    await disk.call("plugins.enable", name="anvils")
    await disk.call("plugins.disable", name="anvils")
    put_acme(site, "second")
    assert (await disk.call("plugins.enable", name="anvils"))["status"] == "loaded"
    assert await disk.call("anvils.word") == "second"


async def test_two_plugins_of_one_package_are_not_half_reloaded(disk: Core, site: Path) -> None:
    await disk.call("plugins.enable", name="anvils")
    await disk.call("plugins.enable", name="rockets")
    put_acme(site, "second")
    found = await disk.call("plugins.reload", name="anvils")
    assert found["fault"] == (
        "its package is also that of plugin rockets, which would be half reloaded; restart the daemon"
    )
    assert await disk.call("anvils.word") == "first"
