"""The processes that belong to a command: its group, its session, what descends from it, and what carries its mark."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from . import identity
from .identity import Identity

MARK = "CODER_LOCAL_ATTEMPT"
"""The environment variable that tells to which attempt a process belongs, wherever it has moved itself to."""

if sys.platform == "linux":

    def find(leader: Identity, mark: str, keeper: int | None = None) -> set[Identity]:
        """Return the living processes of a command that was started as `leader`.

        Those are its process group and its session, whatever has `CODER_LOCAL_ATTEMPT=mark` in its environment, and
        the descendants of all these and of `keeper` (the shim, to which orphans fall; itself not among them).
        """
        if leader.boot != identity.boot_id():
            return set()
        table: dict[int, tuple[int, int]] = {}
        roots: set[int] = set() if keeper is None else {keeper}
        reused = not _is_own(leader)
        for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib is slow to import)
            if not name.isdigit() or (fields := identity.read_stat(int(name))) is None:
                continue
            if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1:
                continue
            pid = int(name)
            table[pid] = (int(fields[1]), int(fields[19]))
            in_group = leader.pid in (int(fields[2]), int(fields[3])) and not reused
            if in_group or _is_marked(pid, mark):
                roots.add(pid)
        found = _with_descendants(roots, {pid: parent for pid, (parent, _) in table.items()})
        own = {os.getpid(), keeper}
        return {Identity(pid, table[pid][1], leader.boot) for pid in found - own if pid in table}

    def leader_of(mark: str) -> Identity | None:
        """Return the process that leads a session and has `CODER_LOCAL_ATTEMPT=mark` in its environment, or None."""
        for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib is slow to import)
            if name.isdigit() and _is_marked(int(name), mark):
                fields = identity.read_stat(int(name))
                if fields is not None and fields[3] == name.encode() and (found := identity.of(int(name))) is not None:
                    return found
        return None

    def _is_own(leader: Identity) -> bool:
        """Tell whether the leader's id, as that of a group, is still this command's.

        While a group has members, the system gives its id to nobody: so the id is foreign only when a process has it
        that is not the leader. A leader that has ended and was reaped leaves no process with its id.
        """
        fields = identity.read_stat(leader.pid)
        return fields is None or int(fields[19]) == leader.started

    def _is_marked(pid: int, mark: str) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 (pathlib is slow to import)
                return f"{MARK}={mark}".encode() in file.read().split(b"\0")
        except OSError:
            return False  # ended, or another user's

    def _with_descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
        children: dict[int, list[int]] = {}
        for pid, parent in parents.items():
            children.setdefault(parent, []).append(pid)
        found: set[int] = set()
        waiting = list(roots)
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found.add(pid)
                waiting.extend(children.get(pid, ()))
        return found

else:

    def find(leader: Identity, mark: str, keeper: int | None = None) -> set[Identity]:
        """Return the living processes of a command that was started as `leader`, as far as this system tells.

        Those are its process group, whatever has `CODER_LOCAL_ATTEMPT=mark` in its environment, and the descendants
        of all these and of `keeper` (the shim; itself not among them). An orphan in a session of its own is found by
        its environment only.
        """
        if leader.boot != identity.boot_id():
            return set()
        try:
            import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 (the daemon has it, the shim has not)
        except ImportError:
            return {leader} if identity.is_alive(leader) else set()
        found: set[int] = set()
        for process in psutil.process_iter():
            try:
                if process.pid in (leader.pid, keeper) and identity.of(process.pid) is not None:
                    found.update(child.pid for child in process.children(recursive=True))
                if _belongs(process.pid, leader) or process.environ().get(MARK) == mark:
                    found.add(process.pid)
            except psutil.Error:
                continue  # ended, or another user's
        living = (identity.of(pid) for pid in found - {os.getpid(), keeper})
        return {process for process in living if process is not None}

    def leader_of(mark: str) -> Identity | None:
        """Return the process that leads a group and has `CODER_LOCAL_ATTEMPT=mark` in its environment, or None."""
        try:
            import psutil  # noqa: PLC0415 (as above)
        except ImportError:
            return None
        for process in psutil.process_iter():
            try:
                marked = process.environ().get(MARK) == mark
                if marked and (sys.platform == "win32" or os.getpgid(process.pid) == process.pid):
                    return identity.of(process.pid)
            except (psutil.Error, OSError):
                continue  # ended, or another user's
        return None

    def _belongs(pid: int, leader: Identity) -> bool:
        """Tell whether a process is the leader or in its group."""
        if pid == leader.pid:
            return identity.is_alive(leader)
        if sys.platform == "win32":
            return False
        try:
            group = os.getpgid(pid)
        except OSError:
            return False
        leading = identity.of(leader.pid)
        return group == leader.pid and leading in (None, leader)


if sys.platform != "win32":

    def send(leader: Identity, members: set[Identity], number: int) -> None:
        """Send a signal to the group of a command at once, and to each of its members outside of the group.

        A group cannot fork away from a signal; those outside can, so look again after it. `members` is what `find`
        said just now: without a member in the group, its id is nobody's or a stranger's.
        """
        # a stopped process hears no other signal before it is continued
        numbers = (number,) if number == signal.SIGKILL else (number, signal.SIGCONT)
        inside = {member for member in members if _in_group(member, leader.pid)}
        for each in numbers:
            with contextlib.suppress(OSError):
                if inside:
                    os.killpg(leader.pid, each)
            for member in members - inside:
                with contextlib.suppress(OSError):
                    if identity.is_alive(member):
                        os.kill(member.pid, each)

    def _in_group(member: Identity, group: int) -> bool:
        try:
            return os.getpgid(member.pid) == group
        except OSError:
            return False
