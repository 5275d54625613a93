"""Taking a plugin in that runs in a process of its own: what is refused, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coder_local._registry import process
from coder_local.api import Error
from coder_local.testing.daemon import environment
from tests.daemon.core.conftest import Core, running

from .conftest import put

pytestmark = pytest.mark.alone

BODY = '''
"""A plugin."""
import os
from coder_local.api import Context, Domain, Event, Heard, Record, Snapshot, Transaction

domain = Domain("small")

@domain.table("small")
class Small(Record):
    """Something small."""
    name: str

@domain.query("small.pid")
def pid(read: Snapshot) -> int:
    """Return the process."""
    return os.getpid()

@domain.query("small.end")
def end(read: Snapshot) -> None:
    """End the process."""
    os._exit(1)
{more}
'''
TABLE = """-- Why: to keep what is small
CREATE TABLE small (id TEXT PRIMARY KEY NOT NULL, workspace_id TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, rev INTEGER NOT NULL, deleted_at TEXT, origin TEXT NOT NULL, meta TEXT NOT NULL,
  name TEXT NOT NULL) STRICT;
CREATE INDEX small_list_id ON small (workspace_id, id) WHERE deleted_at IS NULL;
"""
HOOK = '''
@domain.hook
def widgets() -> list[object]:
    """Return none."""
    return []
'''
RULE = '''
@domain.rule(Small)
def never(tx: Transaction, before: Small | None, after: Small) -> None:
    """Let nothing through."""
'''
LISTENER = '''
@domain.listener("planning.task.*")
def hear(tx: Transaction, *, event: Heard) -> None:
    """Hear."""
'''
SELF = '''
class Node(Record):
    """Holds itself."""
    inner: "Node | None" = None

@domain.query("small.tree")
def tree(read: Snapshot) -> Node:
    """Return a tree."""
    return Node()
'''


LIFE = '''
def _keep(tx: Transaction, name: str) -> None:
    tx.insert(Small(name=name))

@domain.on_start
async def start(ctx: Context) -> None:
    """Write that it began."""
    await ctx.transact(_keep, f"began as {ctx.actor}")

@domain.on_stop
async def stop(ctx: Context) -> None:
    """Write that it ended."""
    await ctx.transact(_keep, "ended")

@domain.command("small.names")
def names(tx: Transaction, *, of: list[str] = []) -> list[str]:
    """Return names, and some more."""
    for each in of:
        tx.insert(Small(name=each))
    if of:
        gone = tx.select(Small, "name IN (SELECT value FROM json_each(:of))", of=of, order="name DESC", limit=1)[0]
        assert tx.delete(gone).deleted_at and tx.find(Small, gone.id) is None
        assert tx.restore(tx.find(Small, gone.id, deleted=True)).rev == 3
        assert tx.update(tx.delete(tx.get(Small, gone.id)), name="hidden").rev == 5
    return [row[0] for row in tx.rows("SELECT name FROM small WHERE deleted_at IS NULL")]

@domain.command("small.steal")
def steal(tx: Transaction) -> None:
    """Send a step that reads what is not its own."""
    tx.steps.append(["read", "SELECT hash FROM token", [], b""])

@domain.command("small.forge")
def forge(tx: Transaction) -> None:
    """Send a step that is none."""
    tx.steps.append(["drop", "small"])

@domain.command("small.reach")
def reach(tx: Transaction, *, name: str) -> None:
    """Send a step that calls what it may not call here, and that guesses the answer."""
    from coder_local._isolation.steps import digest
    tx.steps.append(["call", name, b"{}", digest([[b"null"]])])
'''

LASTING = '''
import asyncio, time
from coder_local.api import Settings

@domain.settings
class SmallSettings(Settings):
    """How it behaves."""
    word: str = "first"

_tasks = []

def _note(tx: Transaction, name: str) -> None:
    tx.insert(Small(name=name))

async def _hear(ctx: Context) -> None:
    with ctx.subscribe("small.said") as events:
        await ctx.transact(_note, "listening")
        async for _ in events:
            await ctx.transact(_note, ctx.settings(SmallSettings).word)

@domain.event("small.said")
class Said(Event):
    """Something was said."""

@domain.on_start
async def start(ctx: Context) -> None:
    """Begin to listen."""
    _tasks.append(asyncio.create_task(_hear(ctx)))

@domain.command("small.say", emits=Said)
def say(tx: Transaction) -> None:
    """Say something."""
    tx.emit(Said())

@domain.query("small.all")
def all_names(read: Snapshot) -> list[str]:
    """Return all names in their order."""
    return [each.name for each in read.select(Small, order="id")]

@domain.command("small.late", deadline=0.3)
def late(tx: Transaction) -> None:
    """Write something, and take too long over it, whatever stops it."""
    tx.insert(Small(name="late"))
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
'''

SENDS = '''
@domain.action("small.send")
async def send(ctx: Context, *, what: str) -> None:
    """Send what the daemon cannot take."""
    channel, run = ctx._desk.channel, ctx._run.id
    if what == "nested":
        from coder_ipc.framing import encode
        os.write(channel._outgoing, encode(b"\\x91" * 5000 + b"\\xc0"))
    elif what == "noise":
        os.write(channel._outgoing, b"no frame\\r\\n\\r\\n" * 100)
    else:
        channel.send({
            "json": {"t": "done", "id": run, "result": b'1},"x":{"y":1'},
            "none": {"t": "done", "id": run},
            "number": {"t": "done", "id": run, "result": 7},
            "missing": {"t": "ask"},
        }[what])
    import asyncio
    await asyncio.sleep(3600)
'''
MAKES = '''
import uuid
from msgspec import field
from coder_local.api import Value

class Made(Value):
    """Something with defaults."""
    made: str | list[str] = field(default_factory=lambda: {default})
    words: frozenset[str] = frozenset(map(str, range(9)))

@domain.query("small.made")
def made(read: Snapshot) -> dict[str, list[str]]:
    """Return the defaults."""
    found = Made()
    return dict(made=list(found.made), words=sorted(found.words))

@domain.query("small.takes")
def takes(read: Snapshot, *, value: Made = Made()) -> None:
    """Take it."""
'''


@pytest.fixture
async def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Core]:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])  # what starts here must import what is tested
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    async with running(folder) as made:
        yield made
        made.kernel.end_processes()


def write(core: Core, more: str = "", told: str = "") -> Path:
    assert core.kernel.store.folder is not None
    return put(core.kernel.store.folder, "small", BODY.format(more=more), told, TABLE)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (HOOK, "the hook widgets of small runs in the daemon only"),
        (RULE, "the rule for Small of small would hold the writer"),
        (SELF, "small.tree: Node holds itself, which cannot be told to another process"),
        (LISTENER, 'put "planning.task.*" into permissions.events of plugin.toml'),
        ("raise RuntimeError('not today')", "RuntimeError: not today ("),
        ("os._exit(9)", "it ended by itself with code 9"),
    ],
)
async def test_what_cannot_run_apart_is_named_when_it_is_enabled(core: Core, more: str, why: str) -> None:
    write(core, more)
    found = await core.call("plugins.enable", name="small")
    assert found["status"] in {"stopped_by_declaration", "stopped_by_import_error"}
    assert why in found["reason"]
    assert found["process"] is None
    write(core, more.replace('"""Let nothing', 'raise RuntimeError\n    """'), 'isolation = "in_process"')
    if more in {HOOK, RULE}:
        assert (await core.call("plugins.enable", name="small"))["status"] == "loaded"


async def test_an_import_over_its_budget_of_memory_is_ended(core: Core) -> None:
    write(core, "import time\ntaken = [b'x' * (120 << 20), time.sleep(60)]", "[budgets]\nmemory_mb = 96")
    found = await core.call("plugins.enable", name="small")
    assert (found["status"], found["process"]) == ("stopped_by_import_error", None)
    assert "over its budget of 96 MiB" in found["reason"]


CHILD = '''
import subprocess, sys
from coder_local.api import Safety

GROW = "import time; taken = bytes(range(256)) * (480 << 10); time.sleep(60)"

@domain.action("small.grow", safety=Safety.READ)
async def grow(ctx: Context, *, deep: bool) -> None:
    """Start what takes 120 MiB, itself or through another program."""
    own = [sys.executable, "-c", GROW]
    through = [sys.executable, "-c", f"import subprocess; subprocess.run({own!r})"]
    subprocess.run(through if deep else own)
'''


@pytest.mark.parametrize("deep", [False, True])
async def test_what_its_children_have_in_memory_is_counted(core: Core, deep: bool) -> None:
    import sys

    write(core, CHILD, f"[permissions]\ncommands = ['{sys.executable}']\n[budgets]\nmemory_mb = 140")
    assert (await core.call("plugins.enable", name="small"))["status"] == "loaded"
    before = await core.call("small.pid")
    error = await core.refused("small.grow", deep=deep)
    assert error.kind == "broken"
    assert "with what it started it had" in str(error)
    assert "over its budget of 140 MiB" in str(error)
    assert await core.call("small.pid") != before


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ('isolated = "process"', "there is no key isolated; did you mean isolation?"),
        ('isolation = "sandbox"', 'isolation is wrong: .*; write isolation = "process" or isolation = "in_process"'),
        (
            "[permissions]\noperation = []",
            "there is no key permissions.operation; did you mean permissions.operations?",
        ),
        ('[permissions]\nhosts = "one"', r'hosts is wrong: .*; write hosts as a list of texts, such as hosts = \["api'),
        ("[budgets]\nmemory_mb = 1", "budgets.memory_mb is wrong: .*; write budgets.memory_mb as a whole number"),
        ("permissions = 1", "permissions is wrong"),
        ("isolation = ", "plugin.toml cannot be read"),
    ],
)
async def test_a_manifest_that_is_wrong_names_the_key_and_the_cure(core: Core, told: str, why: str) -> None:
    import re

    write(core, told=told)
    found = await core.plugin("small")  # before anything is enabled
    assert re.search(why, found["reason"]), found["reason"]
    found = await core.call("plugins.enable", name="small")
    assert found["status"] == "stopped_by_declaration"
    assert re.search(why, found["reason"]), found["reason"]


async def test_the_manifest_is_part_of_what_is_enabled(core: Core) -> None:
    write(core, told='[permissions]\ncommands = ["git"]')
    seen = await core.plugin("small")
    assert (seen["isolation"], seen["permissions"]["commands"]) == ("process", ["git"])
    write(core, told='[permissions]\ncommands = ["git", "rm"]')
    with pytest.raises(Error) as caught:
        await core.call("plugins.enable", name="small", content_hash=seen["content_hash"])
    assert caught.value.kind == "conflict"
    found = await core.call("plugins.enable", name="small")
    assert found["permissions"]["commands"] == ["git", "rm"]
    write(core, told='isolation = "in_process"')
    seen = await core.plugin("small")
    assert seen["permissions"]["commands"] == ["git", "rm"]  # of the content that runs
    assert "with its new manifest it would run in the daemon, with all that you may do" in seen["reason"]
    write(core, told='[permissions]\nhosts = ["localhost"]')
    assert (await core.plugin("small"))["reason"].endswith("would run in a process of its own, hosts localhost")


async def test_without_a_manifest_it_runs_in_the_daemon(core: Core) -> None:
    import os

    (write(core) / "plugin.toml").unlink()
    found = await core.call("plugins.enable", name="small")
    assert (found["status"], found["isolation"], found["permissions"]) == ("loaded", "in_process", None)
    assert await core.call("small.pid") == os.getpid()


async def test_a_process_that_ends_too_often_is_set_aside(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BACK_OFF", (0.0, 0.0))
    write(core)
    await core.call("plugins.enable", name="small")
    for _ in range(3):
        assert (await core.refused("small.end")).kind == "broken"
    while (await core.plugin("small"))["status"] == "loaded":
        await asyncio.sleep(0.01)
    found = await core.plugin("small")
    assert (found["status"], found["process"]) == ("quarantined", None)
    assert "its process ended 3 times" in found["reason"]
    assert "it ended by itself with code 1" in found["reason"]
    assert (await core.refused("small.pid")).kind == "unsupported"
    found = await core.call("plugins.enable", name="small")
    assert (found["status"], found["reason"]) == ("loaded", "")
    assert await core.call("small.pid")


async def test_files_that_changed_are_not_run_when_it_is_started_again(core: Core) -> None:
    folder = write(core)
    await core.call("plugins.enable", name="small")
    (folder / "__init__.py").write_text(BODY.format(more="print('another content')"))
    assert (await core.refused("small.end")).kind == "broken"
    while "not those that were enabled" not in (found := await core.plugin("small"))["reason"]:
        await asyncio.sleep(0.01)
    assert found["process"] is None


async def test_a_reload_exchanges_the_process(core: Core) -> None:
    write(core)
    await core.call("plugins.enable", name="small")
    before = await core.call("small.pid")
    write(
        core,
        'ANSWER = 42\n\n@domain.query("small.answer")\ndef answer(read: Snapshot) -> int:\n    """Answer."""\n'
        "    return ANSWER\n",
    )
    found = await core.call("plugins.reload", name="small")
    assert (found["fault"], found["added"]) == ("", ["small.answer"])
    assert await core.call("small.answer") == 42
    assert await core.call("small.pid") != before
    write(core, "raise RuntimeError('bad')")
    found = await core.call("plugins.reload", name="small")
    assert "RuntimeError: bad" in found["fault"]
    assert await core.call("small.answer") == 42


async def test_its_start_and_stop_are_run_in_its_process(core: Core) -> None:
    write(core, LIFE)
    await core.call("plugins.enable", name="small")
    assert await core.call("small.names") == ["began as plugin:small"]
    await core.call("plugins.disable", name="small")
    await core.call("plugins.enable", name="small")
    assert sorted(await core.call("small.names")) == ["began as plugin:small"] * 2 + ["ended"]


async def test_a_transaction_sees_what_it_wrote_and_all_of_it_is_committed(core: Core) -> None:
    write(core, LIFE)
    await core.call("plugins.enable", name="small")
    assert sorted(await core.call("small.names", of=["a", "b", "c"])) == ["a", "b", "began as plugin:small"]
    assert sorted(await core.call("small.names")) == ["a", "b", "began as plugin:small"]


async def test_steps_that_are_no_ones_to_take_are_refused(core: Core) -> None:
    write(core, LIFE)
    await core.call("plugins.enable", name="small")
    refused = await core.refused("small.steal")
    assert refused.kind == "refused"
    assert "not the plugin's own" in refused.message
    assert (await core.refused("small.forge")).kind == "invalid"
    refused = await core.refused("small.reach", name="plugins.list")
    assert (refused.kind, refused.field) == ("refused", "/permissions/operations")
    assert (await core.refused("small.reach", name="small.names")).kind == "unsupported"


async def told(core: Core, wanted: list[str]) -> None:
    async with asyncio.timeout(30):
        while await core.call("small.all") != wanted:
            await asyncio.sleep(0.01)


async def test_what_its_start_began_goes_on_and_is_begun_again_after_its_process_ended(core: Core) -> None:
    write(core, LASTING)
    found = await core.call("plugins.enable", name="small")
    assert (found["status"], found["reason"]) == ("loaded", "")
    await told(core, ["listening"])
    await core.call("small.say")
    await told(core, ["listening", "first"])
    await core.call("settings.set", plugin="small", name="word", value="second")
    await core.call("small.say")
    await told(core, ["listening", "first", "second"])
    assert (await core.refused("small.end")).kind == "broken"
    await told(core, ["listening", "first", "second", "listening"])
    await core.call("small.say")
    await told(core, ["listening", "first", "second", "listening", "second"])


async def test_a_command_that_was_answered_with_a_timeout_commits_nothing_later(core: Core) -> None:
    write(core, LASTING)
    await core.call("plugins.enable", name="small")
    await told(core, ["listening"])
    assert (await core.refused("small.late")).kind == "timeout"
    before = await core.call("small.pid")
    await core.call("small.say")  # behind it, on the one thread that runs transactions
    await told(core, ["listening", "first"])
    assert await core.call("small.pid") == before


async def test_what_a_process_sends_that_is_no_message_ends_it_and_nobody_else(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BACK_OFF", (0.0,) * 20)
    write(core, SENDS)
    await core.call("plugins.enable", name="small")
    for what in ("json", "none", "number", "missing", "nested", "noise"):
        error = await core.refused("small.send", what=what)
        assert error.kind == "broken", what
        assert process.NO_MESSAGE in error.message, what
    assert await core.call("small.pid")
    assert (await core.plugin("small"))["status"] == "loaded"


@pytest.mark.parametrize(
    ("default", "told"),
    [("uuid.uuid4().hex", "the default of made is another one each time"), ("['a', 'b']", "")],
)
async def test_a_default_that_differs_each_time_is_refused(core: Core, default: str, told: str) -> None:
    write(core, MAKES.format(default=default))
    found = await core.call("plugins.enable", name="small")
    assert found["status"] == ("stopped_by_declaration" if told else "loaded")
    assert told in found["reason"]
    if not told:  # started again it declares the same, although a set has another order there
        assert (await core.refused("small.end")).kind == "broken"
        assert await core.call("small.made") == {"made": ["a", "b"], "words": [*map(str, range(9))]}
