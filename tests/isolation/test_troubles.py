"""What a plugin in a process of its own does wrong: it is named, and nobody else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_ipc import process
from tests.faults.process import Process

from .conftest import about, put, refused, until

pytestmark = pytest.mark.alone

BODY = '''
"""Does everything wrong."""
import ctypes, multiprocessing, os, socket, sqlite3, subprocess, time, urllib.request
from pathlib import Path
from coder_local.api import Context, Domain, Record, Safety, Snapshot, Transaction

domain = Domain("trouble")

@domain.table("items")
class Item(Record):
    """Something that is counted."""
    name: str
    count: int = 0

domain.standard(Item, operations=("get", "create", "update"))

@domain.query("trouble.pid")
def pid(read: Snapshot) -> int:
    """Return the process."""
    return os.getpid()

@domain.query("trouble.crash")
def crash(read: Snapshot, *, how: str) -> None:
    """End the process."""
    if how == "exit":
        os._exit(3)
    ctypes.string_at(0)

@domain.query("trouble.loop", deadline=1)
def loop(read: Snapshot) -> None:
    """Never end, in Python or in C."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

@domain.command("trouble.hang", deadline=1)
def hang(tx: Transaction) -> None:
    """Hold the transaction for ever."""
    tx.insert(Item(name="never"))
    time.sleep(3600)

@domain.action("trouble.leak", safety=Safety.READ)
async def leak(ctx: Context) -> None:
    """Take memory until somebody stops it."""
    taken = []
    while True:
        taken.append(bytes(range(256)) * 4096)
        time.sleep(0.002)

@domain.query("trouble.fail")
def fail(read: Snapshot) -> None:
    """Raise what nobody expects."""
    raise RuntimeError("nobody expects this")

@domain.action("trouble.call", safety=Safety.EXTERNAL)
async def call(ctx: Context, *, name: str, input: dict[str, str]) -> object:
    """Call any operation."""
    return await ctx.call(name, **input)

@domain.query("trouble.inside")
def inside(read: Snapshot, *, name: str) -> object:
    """Call any query."""
    return read.call(name)

@domain.action("trouble.hear", safety=Safety.READ)
async def hear(ctx: Context, *, type: str) -> None:
    """Listen to any event."""
    ctx.subscribe(type).close()

@domain.action("trouble.reach", safety=Safety.READ)
async def reach(ctx: Context, *, host: str, port: int) -> str:
    """Connect to any host."""
    with socket.create_connection((host, port), 5) as reached:
        return str(reached.getpeername()[1])

@domain.action("trouble.tell", safety=Safety.READ)
async def tell(ctx: Context, *, host: str, port: int) -> int:
    """Send a datagram to any host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        return sending.sendmsg([b"x"], [], 0, (host, port))

@domain.action("trouble.move", safety=Safety.READ)
async def move(ctx: Context, *, path: str) -> None:
    """Put a file of its own in any place."""
    (ctx.folder / "own").write_text("own")
    os.replace(ctx.folder / "own", path)

@domain.action("trouble.start", safety=Safety.READ)
async def start(ctx: Context, *, command: list[str]) -> str:
    """Start any program."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()

@domain.action("trouble.leave", safety=Safety.READ)
async def leave(ctx: Context, *, command: list[str]) -> None:
    """Start a program and leave it."""
    (ctx.folder / "left").write_text(str(subprocess.Popen(command).pid))

@domain.action("trouble.look", safety=Safety.READ)
async def look(ctx: Context, *, path: str) -> str:
    """Open any file."""
    return Path(path).read_text()

@domain.action("trouble.beneath", safety=Safety.READ)
async def beneath(ctx: Context, *, how: str, folder: str, path: str) -> None:
    """Do something to a file that is named from an open folder on."""
    begin = os.open(folder, os.O_RDONLY)
    os.makedirs(ctx.folder / "deep", exist_ok=True)
    os.chdir(ctx.folder / "deep")
    (ctx.folder / "deep" / "own").write_text("own")
    try:
        if how == "open":
            os.close(os.open(path, os.O_RDONLY, dir_fd=begin))
        elif how == "rename":
            os.rename("own", path, dst_dir_fd=begin)
        elif how == "link":
            os.link(path, "linked", src_dir_fd=begin)
        elif how == "symlink":
            os.symlink(ctx.folder / "deep" / "own", path, dir_fd=begin)
        else:
            {"remove": os.remove, "mkdir": os.mkdir, "utime": os.utime}[how](path, dir_fd=begin)
    finally:
        os.close(begin)

@domain.action("trouble.listen", safety=Safety.READ)
async def listen(ctx: Context, *, host: str) -> None:
    """Let others connect."""
    with socket.socket() as listening:
        listening.bind((host, 0))
        listening.listen()

@domain.action("trouble.listen_at", safety=Safety.READ)
async def listen_at(ctx: Context, *, path: str) -> None:
    """Let others of this machine connect."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)

@domain.action("trouble.spawn", safety=Safety.READ)
async def spawn(ctx: Context, *, how: str) -> None:
    """Start a child without the functions that are made for it."""
    context = multiprocessing.get_context("spawn" if how == "lock" else how)
    context.Lock() if how == "lock" else context.Process(target=print).start()

@domain.action("trouble.connect", safety=Safety.READ)
async def connect(ctx: Context, *, path: str) -> None:
    """Open any database."""
    sqlite3.connect(path).execute("SELECT 1")

@domain.query("trouble.rows")
def rows(read: Snapshot, *, sql: str) -> list[tuple[object, ...]]:
    """Read anything."""
    return read.rows(sql)

@domain.command("trouble.count")
def count(tx: Transaction, *, id: str, gate: str, fail: bool = False) -> Item:
    """Count one up, slowly; each run leaves a line."""
    item = tx.get(Item, id)
    with open(tx.folder / "runs", "a") as runs:
        runs.write(f"{item.count}\\n")
    if fail:
        raise RuntimeError("no")
    while not (tx.folder / gate).exists():
        time.sleep(0.005)
    if gate == "each":
        (tx.folder / gate).unlink()
    return tx.update(item, count=item.count + 1)

@domain.query("trouble.environment")
def environment(read: Snapshot) -> list[str]:
    """Tell which variables there are."""
    print("what is printed goes to the log")
    return sorted(os.environ)

@domain.query("trouble.proxies")
def proxies(read: Snapshot) -> dict[str, str]:
    """Tell which proxies Python would use."""
    return urllib.request.getproxies()
'''
TOLD = """
[permissions]
operations = ["planning.projects.*"]
events = ["planning.task.*"]
secrets = ["known"]
hosts = ["localhost"]
commands = ["echo", "sleep"]
[budgets]
memory_mb = 96
"""
TABLE = """-- Why: to count
CREATE TABLE trouble_items (id TEXT PRIMARY KEY NOT NULL, workspace_id TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, rev INTEGER NOT NULL, deleted_at TEXT, origin TEXT NOT NULL, meta TEXT NOT NULL,
  name TEXT NOT NULL, count INTEGER NOT NULL) STRICT;
CREATE INDEX trouble_items_list_id ON trouble_items (workspace_id, id) WHERE deleted_at IS NULL;
"""
PROXIES = {
    name: "http://me:secret@localhost:3128"
    for word in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
    for name in (word, word.upper())
}


def begin(data_dir: Path) -> Process:
    put(data_dir, "trouble", BODY, TOLD, TABLE)
    daemon = Process(data_dir)
    daemon.start(TOKEN_OF_SOMEBODY="x", **PROXIES)
    found = daemon.confirmed("plugins.enable", name="trouble")
    assert (found["status"], found["reason"]) == ("loaded", "")
    return daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    begun = begin(tmp_path_factory.mktemp("troubles") / "data")
    yield begun
    begun.kill()


def again(daemon: Process) -> None:
    """Enable it anew: the ends that a test caused are not counted on."""
    daemon.call("plugins.disable", name="trouble")
    daemon.confirmed("plugins.enable", name="trouble")


def audited(daemon: Process, detail: str) -> bool:
    return any(detail in each["detail"] for each in daemon.call("audit.list", actor="plugin:trouble")["items"])


@pytest.mark.parametrize(("how", "why"), [("exit", "ended by itself with code 3"), ("segfault", "SIGSEGV")])
def test_a_crash_is_named_and_the_process_is_started_again(daemon: Process, how: str, why: str) -> None:
    again(daemon)
    before = daemon.call("trouble.pid")
    error = refused(lambda: daemon.call("trouble.crash", how=how))
    assert error.kind == "broken"
    assert "the process of plugin trouble ended" in str(error)
    assert why in str(error)
    assert daemon.call("trouble.pid") not in {before, daemon.pid}
    found = about(daemon, "trouble")
    assert found["status"] == "loaded"
    assert why in found["reason"]


@pytest.mark.parametrize("name", ["trouble.loop", "trouble.hang"])
def test_what_never_ends_is_answered_at_its_deadline_and_others_meanwhile(daemon: Process, name: str) -> None:
    again(daemon)
    before = daemon.call("trouble.pid")
    found: list[Any] = []
    hanging = threading.Thread(target=lambda: found.append(refused(lambda: daemon.call(name))))
    hanging.start()
    while not found:  # the queries, the commands and the loop of the daemon all answer
        assert daemon.call("planning.projects.list")["items"] == []
        daemon.call("trouble.items.create", name="meanwhile")
    hanging.join()
    assert found[0].kind == "timeout"
    assert until(lambda: about(daemon, "trouble")["process"] not in {None, before})
    assert daemon.call("trouble.pid") != before
    assert "did not come to an end" in about(daemon, "trouble")["reason"]
    assert daemon.call("trouble.rows", sql="SELECT count(*) FROM trouble_items WHERE name = 'never'") == [[0]]


def test_a_leak_is_ended_at_its_budget(daemon: Process) -> None:
    again(daemon)
    error = refused(lambda: daemon.call("trouble.leak"))
    assert error.kind == "broken"
    assert "over its budget of 96 MiB" in str(error)
    assert daemon.call("trouble.pid")


def test_an_exception_is_reported_and_the_process_goes_on(daemon: Process) -> None:
    before = daemon.call("trouble.pid")
    error = refused(lambda: daemon.call("trouble.fail"))
    assert error.kind == "broken"
    assert error.data is not None
    report = error.data["report_id"]
    log = daemon.log.read_text()
    assert report in log
    assert "nobody expects this" in log
    assert daemon.call("trouble.pid") == before


def test_an_operation_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    error = refused(lambda: daemon.confirmed("trouble.call", name="planning.tasks.list", input={}))
    assert (error.kind, error.field) == ("refused", "/permissions/operations")
    assert error.hint == (
        'put "planning.tasks.list" into permissions.operations of plugin.toml, then enable the plugin again'
    )
    until(lambda: audited(daemon, "operations planning.tasks.list"))
    assert daemon.confirmed("trouble.call", name="planning.projects.list", input={})["items"] == []
    assert refused(lambda: daemon.call("trouble.inside", name="planning.tasks.list")).kind == "refused"
    assert daemon.call("trouble.inside", name="planning.projects.list")["items"] == []


def test_a_secret_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    project = {"name": "x", "key": "KEY", "goal": "use secret://unknown here"}
    error = refused(lambda: daemon.confirmed("trouble.call", name="planning.projects.create", input=project))
    assert (error.kind, error.field) == ("refused", "/permissions/secrets")
    until(lambda: audited(daemon, "secrets unknown"))
    assert daemon.call("planning.projects.list")["items"] == []


def test_an_event_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    error = refused(lambda: daemon.call("trouble.hear", type="execution.run.*"))
    assert (error.kind, error.field) == ("refused", "/permissions/events")
    until(lambda: audited(daemon, "events execution.run.*"))
    daemon.call("trouble.hear", type="planning.task.created")
    daemon.call("trouble.hear", type="trouble.*")


def test_a_host_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    port = int(daemon.call("daemon.status")["http"].rpartition(":")[2])
    assert daemon.call("trouble.reach", host="localhost", port=port) == str(port)
    error = refused(lambda: daemon.call("trouble.reach", host="192.0.2.1", port=80))
    assert (error.kind, error.field) == ("refused", "/permissions/hosts")
    assert refused(lambda: daemon.call("trouble.reach", host="example.invalid", port=80)).kind == "refused"
    until(lambda: audited(daemon, "hosts 192.0.2.1"))
    assert daemon.call("trouble.tell", host="127.0.0.1", port=9) == 1
    assert refused(lambda: daemon.call("trouble.tell", host="192.0.2.1", port=9)).kind == "refused"


def test_a_command_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    assert daemon.call("trouble.start", command=["echo", "said"]) == "said"
    error = refused(lambda: daemon.call("trouble.start", command=["cat", "/etc/hostname"]))
    assert (error.kind, error.field) == ("refused", "/permissions/commands")
    until(lambda: audited(daemon, "commands cat"))


def test_the_daemons_own_files_and_tables_are_out_of_reach(daemon: Process) -> None:
    for name in ("runtime.json", "coder.db", "settings.toml"):
        path = str(daemon.data_dir / name)
        assert refused(lambda path=path: daemon.call("trouble.look", path=path)).kind == "refused"
        assert refused(lambda path=path: daemon.call("trouble.move", path=path)).kind == "refused"
    daemon.call("trouble.move", path=str(daemon.data_dir / "trouble" / "moved"))
    database = next(daemon.data_dir.glob("*.db"))
    assert refused(lambda: daemon.call("trouble.connect", path=str(database))).kind == "refused"
    assert daemon.call("trouble.rows", sql="SELECT count(*) >= 0 FROM trouble_items") == [[1]]
    both = "WITH x AS (SELECT 1 AS y) SELECT value + y FROM x, json_each('[2]')"
    assert daemon.call("trouble.rows", sql=both) == [[3]]
    for sql in ("SELECT * FROM token", "SELECT name FROM sqlite_master", "SELECT * FROM planning_tasks"):
        assert refused(lambda sql=sql: daemon.call("trouble.rows", sql=sql)).kind == "broken"


@pytest.mark.parametrize("how", ["open", "rename", "link", "symlink", "remove", "mkdir", "utime"])
def test_a_path_from_an_open_folder_on_is_looked_at_like_any_other(daemon: Process, how: str) -> None:
    outside = daemon.data_dir.parent
    for folder, path in ((outside, "data/settings.toml"), (daemon.data_dir / "trouble", "../settings.toml")):
        given = {"how": how, "folder": str(folder), "path": path}
        error = refused(lambda given=given: daemon.call("trouble.beneath", **given))
        assert (error.kind, "is the daemon's" in str(error)) == ("refused", True)
    if how in {"open", "link", "remove", "utime"}:
        (outside / how).write_text("anybody's")
    daemon.call("trouble.beneath", how=how, folder=str(outside), path=how)


def test_to_listen_at_an_address_that_is_not_in_the_manifest_is_refused(daemon: Process) -> None:
    for host, told in (("0.0.0.0", "0.0.0.0"), ("", "0.0.0.0"), ("127.0.0.2", "127.0.0.2")):
        error = refused(lambda host=host: daemon.call("trouble.listen", host=host))
        assert (error.kind, error.field) == ("refused", "/permissions/hosts")
        assert str(error).startswith(f"this plugin may not listen at {told}:0")
    until(lambda: audited(daemon, "hosts 127.0.0.2"))
    daemon.call("trouble.listen", host="127.0.0.1")  # an address of localhost, which is named
    path = daemon.data_dir.parent / "listening"
    assert refused(lambda: daemon.call("trouble.listen_at", path=str(path))).kind == "refused"
    assert not path.exists()


@pytest.mark.parametrize("how", ["spawn", "forkserver", "lock", "fork"])
def test_multiprocessing_starts_nothing_that_is_not_in_the_manifest(daemon: Process, how: str) -> None:
    error = refused(lambda: daemon.call("trouble.spawn", how=how))
    assert (error.kind, error.field) == ("refused", "/permissions/commands")


def test_the_environment_holds_no_tokens_and_what_is_printed_harms_nobody(daemon: Process) -> None:
    variables = daemon.call("trouble.environment")
    assert "PATH" in variables
    assert "TOKEN_OF_SOMEBODY" not in variables
    assert {name for name in variables if "proxy" in name.lower()} == {"NO_PROXY"}
    assert daemon.call("trouble.proxies") == {"no": "*"}
    until(lambda: "what is printed goes to the log" in daemon.log.read_text())


def test_a_transaction_is_run_again_when_what_it_read_has_changed(daemon: Process) -> None:
    item = daemon.call("trouble.items.create", name="counted")
    folder = daemon.data_dir / "trouble"
    (folder / "runs").unlink(missing_ok=True)
    answers: list[Any] = []
    counting = threading.Thread(target=lambda: answers.append(daemon.call("trouble.count", id=item["id"], gate="once")))
    counting.start()
    until(lambda: (folder / "runs").exists() and (folder / "runs").read_text() == "0\n")
    daemon.call("trouble.items.update", id=item["id"], count=10)  # the writer is free meanwhile
    (folder / "once").touch()
    counting.join()
    assert (folder / "runs").read_text() == "0\n10\n"
    assert (answers[0]["count"], answers[0]["rev"]) == (11, 3)


def test_after_three_runs_it_is_a_conflict(daemon: Process) -> None:
    item = daemon.call("trouble.items.create", name="contested")
    folder = daemon.data_dir / "trouble"
    (folder / "runs").unlink(missing_ok=True)
    errors: list[Any] = []
    counting = threading.Thread(
        target=lambda: errors.append(refused(lambda: daemon.call("trouble.count", id=item["id"], gate="each")))
    )
    counting.start()
    for run in range(3):
        until(lambda run=run: _lines(folder / "runs") == run + 1)
        daemon.call("trouble.items.update", id=item["id"], count=100 + run)
        (folder / "each").touch()
        until(lambda: not (folder / "each").exists())
    counting.join()
    assert errors[0].kind == "conflict"
    assert errors[0].data == {"runs": 3}
    assert (folder / "runs").read_text() == "0\n100\n101\n"
    assert daemon.call("trouble.items.get", id=item["id"])["count"] == 102


def test_a_killed_daemon_leaves_no_child(tmp_path: Path) -> None:
    begun = begin(tmp_path / "data")
    child = begun.call("trouble.pid")
    begun.call("trouble.leave", command=["sleep", "600"])
    left = int((begun.data_dir / "trouble" / "left").read_text())
    spinning = threading.Thread(target=lambda: _lost(begun))
    spinning.start()
    begun.kill()
    assert process.wait_exit(child, 2.0)
    assert process.wait_exit(left, 2.0)  # what the plugin had started, too
    spinning.join()


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def _lost(daemon: Process) -> None:
    try:
        daemon.call("trouble.loop")
    except Exception:  # the daemon is gone
        return
