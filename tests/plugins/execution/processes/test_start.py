"""What a command gets, what it leaves, and what is refused before anything runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from coder_local.testing.daemon import environment
from coder_plugins.execution.processes import MARK, STDERR, STDOUT, Ended, Exit, NotBegun, Vanished, find, posix
from coder_plugins.execution.processes.shim import identity

from .conftest import PYTHON, output, said

pytestmark = [pytest.mark.alone, pytest.mark.skipif(os.name == "nt", reason="the fork server is POSIX")]
FLOOD = int(os.environ.get("CODER_LOCAL_FLOOD_MB", "200")) * 1024 * 1024


async def test_the_exit_code_is_kept(commands):
    child = await commands.start("sh", "-c", "exit 7")
    ended = await child.wait()
    assert (ended.code, ended.signal, ended.lost) == (7, None, False)
    assert child.started_at_ms == ended.started_at_ms <= ended.ended_at_ms
    assert find(child.folder) == Ended(ended)


async def test_the_signal_is_kept(commands):
    child = await commands.start("sh", "-c", "kill -SEGV $$")
    assert (await child.wait()).signal == signal.SIGSEGV


async def test_several_wait_for_one_end_and_one_that_gives_up_changes_nothing(commands):
    child = await commands.start("sh", "-c", "sleep 0.2; exit 3")
    impatient = asyncio.create_task(child.wait())
    others = [asyncio.create_task(child.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    impatient.cancel()
    assert [ended.code for ended in await asyncio.gather(*others)] == [3, 3, 3]


async def test_the_streams_are_kept_byte_for_byte(commands):
    code = "import sys, os; d = bytes(range(256)) * 4000; os.write(1, b'a'); os.write(2, d); sys.stdout.buffer.write(d)"
    child = await commands.python(code)
    assert (await child.wait()).code == 0
    data = bytes(range(256)) * 4000
    assert output(child, STDOUT) == b"a" + data
    assert output(child, STDERR) == data


async def test_output_is_there_before_the_end_is_told(commands):
    for _ in range(10):
        child = await commands.start("sh", "-c", "echo first; echo last")
        await child.wait()
        assert output(child) == b"first\nlast\n"


async def test_the_environment_is_the_one_that_was_given(commands):
    env = {"ONE": "1", "two words": "ä\udcff\n", "EMPTY": ""}
    child = await commands.start("/usr/bin/env", "-0", env=env)
    await child.wait()
    found = dict(pair.split(b"=", 1) for pair in output(child).split(b"\0") if pair)
    assert found.pop(MARK.encode()).decode() == child.mark
    assert found == {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


async def test_the_mark_is_the_callers_where_he_gives_one(commands):
    child = await commands.start("/bin/sh", "-c", f"echo ${MARK}", env={MARK: "attempt-1"})
    await child.wait()
    assert output(child) == b"attempt-1\n"
    assert child.mark == "attempt-1"


async def test_the_command_leads_a_session_and_reads_nothing(commands):
    code = "import os, sys; print(os.getsid(0), os.getpgid(0), os.getpid(), repr(sys.stdin.read()))"
    child = await commands.python(code)
    await child.wait()
    assert output(child).decode().split() == [str(child.pid)] * 3 + ["''"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_nothing_of_the_daemon_is_inherited(commands, tmp_path):
    held = (tmp_path / "lock").open("w")
    listening = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(held.fileno(), True)  # as careless as a library can be
    code = "import os, signal; own = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]"
    code += "; print([(path[14:], os.readlink(path)) for path in own if os.path.lexists(path)])"
    code += "; print([int(s) for s in signal.Signals if signal.getsignal(s) == signal.SIG_IGN])"
    with held, listening:
        child = await commands.python(code)
        await child.wait()
    descriptors, ignored = output(child).decode().splitlines()
    found = dict(eval(descriptors))
    assert set(found) == {"0", "1", "2"}
    assert found["0"] == "/dev/null"
    assert found["1"].startswith("pipe:")
    assert eval(ignored) == [signal.SIGPIPE, signal.SIGXFSZ], "Python itself ignores these two"


async def test_signals_that_the_daemon_ignores_are_not_ignored_by_the_command(commands):
    child = await commands.start("sh", "-c", "trap 'echo heard; exit 0' INT; echo ready; while :; do sleep 0.01; done")
    await said(child, b"ready")
    os.kill(child.pid, signal.SIGINT)
    assert (await child.wait()).code == 0


async def test_a_secret_is_nowhere_on_the_disk(commands):
    secret = "geheimnis-0123456789"
    code = "import os, time\nfor c in os.environ['KEY']: os.write(1, c.encode()); time.sleep(0.002)\n"
    code += "os.write(2, os.environ['KEY'].encode())"
    child = await commands.python(code, secret, env={"KEY": secret}, mask=(secret,))
    await said(child, b"***")
    seen = {path.name: path.read_bytes() for path in child.folder.iterdir()}
    await child.wait()
    for path in child.folder.iterdir():
        assert secret.encode() not in path.read_bytes() + seen.get(path.name, b"")
    assert output(child, STDOUT) == output(child, STDERR) == b"***"
    assert {path.name for path in child.folder.iterdir()} == {"log", "start.json", "exit.json"}


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
async def test_a_secret_is_not_in_the_arguments_of_another_process(commands):
    child = await commands.start(
        "sleep", "30", env={"PATH": os.environ["PATH"], "KEY": "geheimnis"}, mask=("geheimnis",)
    )
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        assert "geheimnis" not in cmdline(int(path.parent.name))
    assert child.pid


async def test_the_files_are_for_their_owner_only(commands):
    child = await commands.start("true")
    await child.wait()
    assert {path.stat().st_mode & 0o777 for path in child.folder.iterdir()} == {0o600}


async def test_long_arguments_reach_the_command(commands):
    arguments = [f"{number}-" + "x" * 1000 for number in range(1000)]
    child = await commands.python("import sys, hashlib; print(len(''.join(sys.argv[1:])))", *arguments)
    await child.wait()
    assert output(child).decode().strip() == str(len("".join(arguments)))


async def test_arguments_beyond_the_system_are_refused_and_nothing_began(commands):
    error = await commands.refused("true", "x" * (64 << 20))
    assert error.field == "/argv"
    assert "too large" in error.message
    assert find(commands.folder / "attempt-0") == NotBegun()


async def test_a_command_that_is_not_there_is_refused(commands):
    error = await commands.refused("no-such-command-here")
    assert (error.message, error.field) == ("command not found: no-such-command-here", "/argv/0")
    assert "PATH" in error.hint
    assert "no PATH" in (await commands.refused("true", env={})).hint
    assert (await commands.refused("./missing")).field == "/argv/0"
    assert find(commands.folder / "attempt-0") == NotBegun()


async def test_a_relative_folder_of_the_path_is_the_commands_and_what_cannot_be_run_there_is_passed_over(
    commands, tmp_path
):
    for folder, mode in (("first", 0o644), ("bin", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "tool").chmod(mode)
    (tmp_path / "tool").mkdir()
    child = await commands.start("tool", env={"PATH": "first::bin:/bin"})
    await child.wait()
    assert output(child) == b"bin\n"


async def test_a_working_folder_that_is_none_is_refused(commands, tmp_path):
    (tmp_path / "file").touch()
    error = await commands.refused("true", cwd=tmp_path / "file")
    assert "is not a folder" in error.message
    assert error.field == "/cwd"
    assert "does not exist" in (await commands.refused("true", cwd=tmp_path / "missing")).message


async def test_a_program_that_cannot_be_loaded_is_refused(commands, tmp_path):
    program = tmp_path / "program"
    program.write_text("echo no first line")
    assert "chmod" in (await commands.refused("./program")).hint
    program.chmod(0o755)
    assert (await commands.refused("./program")).hint == "name its interpreter"
    program.write_text("#!/no/such/interpreter\n")
    assert "interpreter" in (await commands.refused("./program")).message
    assert all(find(folder) == NotBegun() for folder in tmp_path.glob("attempt-*"))
    program.write_text("#!/bin/sh\necho $0\n")
    child = await commands.start("./program")
    assert (await child.wait()).code == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"argv": ()}, "/argv"),
        ({"argv": ("",)}, "/argv"),
        ({"argv": ("true", "a\0b")}, "/argv/1"),
        ({"env": {"A=B": ""}}, "/env"),
        ({"env": {"A": "\0"}}, "/env"),
        ({"log_limit": -1}, "/log_limit"),
    ],
)
async def test_what_no_system_can_run_is_refused(commands, changes, field):
    argv = changes.pop("argv", ("true",))
    assert (await commands.refused(*argv, **changes)).field == field


async def test_a_folder_that_has_an_attempt_is_refused(commands):
    from coder_plugins.execution.processes import Command, LaunchError, start

    child = await commands.start("true")
    await child.wait()  # then its record is whole
    before = (child.folder / "start.json").read_bytes()
    with pytest.raises(LaunchError, match="has one already"):
        await start(child.folder, Command(argv=("/bin/true",), cwd=commands.folder, env={}))
    assert (child.folder / "start.json").read_bytes() == before


async def test_a_flood_costs_neither_memory_nor_disk(commands):
    code = (
        "import os, sys\nfor _ in range(int(sys.argv[1]) >> 20): os.write(1, bytes(1048576))\nos.write(2, b'the error')"
    )
    child = await commands.python(code, str(FLOOD), log_limit=4 << 20)
    peak = 0
    while not (child.folder / "exit.json").exists():
        status = Path(f"/proc/{child.shim.pid}/status").read_text()
        peak = max(peak, int(status.partition("VmRSS:")[2].split()[0]))
        await asyncio.sleep(0.02)
    assert (await child.wait()).code == 0
    assert 0 < peak < 40_000, f"{peak} kB"
    assert (child.folder / "log").stat().st_size <= (4 << 20) + 100
    assert output(child).endswith(b"the error")


async def test_a_process_left_behind_may_go_on_writing_and_is_no_reason_to_wait(commands):
    child = await commands.start("sh", "-c", "(while ! test -e go; do sleep 0.01; done; echo later) & echo now")
    assert (await child.wait()).code == 0
    assert output(child) == b"now\n"
    (commands.folder / "go").touch()
    while b"later" not in output(child):
        await asyncio.sleep(0.01)


async def test_a_command_that_closes_its_output_is_waited_for(commands):
    child = await commands.start("sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 5")
    assert (await child.wait()).code == 5


async def test_many_at_once(commands):
    children = await asyncio.gather(*(commands.start("sh", "-c", f"echo {n}; exit {n}") for n in range(40)))
    assert [(await child.wait()).code for child in children] == list(range(40))
    assert [output(child) for child in children] == [b"%d\n" % n for n in range(40)]


async def test_a_fork_server_that_was_killed_is_replaced(commands):
    running = await commands.start("sh", "-c", "while ! test -e go; do sleep 0.01; done; echo done")
    server = parent_of(running.shim.pid)
    os.kill(server, signal.SIGKILL)
    while identity.of(server) is not None:
        await asyncio.sleep(0.01)
    for _ in range(8):  # more than its shims that are left
        child = await commands.start("true")
        assert (await child.wait()).code == 0
    (commands.folder / "go").touch()
    assert (await running.wait()).code == 0
    assert output(running) == b"done\n"


async def test_idle_shims_that_were_killed_are_replaced(commands):
    first = await commands.start("true")
    await first.wait()
    server = parent_of(first.shim.pid)
    shims = children_of(server)
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    while any(identity.of(pid) for pid in shims):
        await asyncio.sleep(0.01)
    for _ in range(8):
        child = await commands.start("true")
        assert (await child.wait()).code == 0


async def test_the_fork_server_ends_with_the_daemon_and_its_last_command():
    code = """
import asyncio, os, sys
from coder_plugins.execution.processes import posix, warm
asyncio.run(warm())
print(os.fstat(posix._server._life).st_ino, flush=True)
sys.stdin.read()
"""
    plugins = str(Path(posix.__file__).parents[3])
    daemon = await asyncio.create_subprocess_exec(PYTHON, "-c", code, stdin=-1, stdout=-1, env=environment())
    pipe = int(await daemon.stdout.readline())
    [server] = fork_servers(plugins, pipe)
    shims = children_of(server)
    daemon.kill()
    await daemon.wait()
    for pid in (server, *shims):
        while identity.of(pid) is not None:
            await asyncio.sleep(0.01)


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def fork_servers(plugins: str, pipe: int) -> set[int]:
    """Return the fork server that holds the pipe of a daemon: what other tests left behind has pipes of its own."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    of_program = {pid for pid in pids if "shim.forkserver" in cmdline(pid) and plugins in cmdline(pid)}
    holders = {pid for pid in of_program if pipe in pipes_of(pid)}
    return {pid for pid in holders if identity.of(pid) and parent_of(pid) not in holders}


def pipes_of(pid: int) -> set[int]:
    """Return the inodes of the pipes that a process has open."""
    try:
        links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - no file behind it
    except OSError:
        return set()
    return {int(link[6:-1]) for link in links if link.startswith("pipe:[")}


def parent_of(pid: int) -> int:
    fields = identity.read_stat(pid)
    assert fields is not None
    return int(fields[1])


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_exit_record_that_a_power_cut_emptied_tells_nothing(tmp_path):
    (tmp_path / "exit.json").write_bytes(b"")
    assert find(tmp_path) == Vanished()
    (tmp_path / "exit.json").write_text(json.dumps({"code": 1}))
    assert find(tmp_path) == Ended(Exit(code=1))
