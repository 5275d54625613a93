"""Identity and end of a process that need not be a child: pid and start time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

_POLL = 0.02


def started_at(pid: int) -> float | None:
    """Return when a process started, in Unix seconds, or None when it has ended.

    A zombie has ended: only its parent's bookkeeping is left. The value follows the system clock on Linux, so the same
    process answers another number after the clock was set.
    """
    if sys.platform == "win32":
        return _started_at_windows(pid)
    elif sys.platform == "linux":  # noqa: RET505 (type checkers follow a platform through elif only)
        return _started_at_linux(pid)
    else:
        return _started_at_ps(pid)


def wait_exit(pid: int, timeout: float) -> bool:
    """Wait until a process has ended, at most `timeout` seconds; return whether it has."""
    if sys.platform == "win32":
        return _wait_exit_windows(pid, timeout)
    deadline = time.monotonic() + timeout
    if sys.platform == "linux" and (ended := _wait_exit_pidfd(pid, timeout)) is not None:
        return ended
    while started_at(pid) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


if sys.platform == "linux":

    def _started_at_linux(pid: int) -> float | None:
        try:
            # the command's name may hold blanks and parentheses: only what follows the last one is fields
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/stat").read_bytes().partition(b"\nbtime ")[2].split(maxsplit=1)[0]
        except (FileNotFoundError, ProcessLookupError):
            return None
        # the first thread of a killed process may be a zombie while another still holds its files and locks
        if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1:
            return None
        return int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")

    def _wait_exit_pidfd(pid: int, timeout: float) -> bool | None:
        """Wait on a pidfd, exact and without polling; None where the kernel has none."""
        import select  # noqa: PLC0415 (has poll on this platform only)

        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        except OSError:
            return None
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(descriptor)


if sys.platform != "win32":

    def _started_at_ps(pid: int) -> float | None:
        """Ask `ps`, which every POSIX system has; one second's resolution."""
        answer = subprocess.run(  # noqa: S603 (a fixed program and a number)
            ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            check=False,
            env={"LC_ALL": "C", "TZ": "UTC0"},
        )
        state, _, started = answer.stdout.decode("ascii", "replace").strip().partition(" ")
        if not started or state.startswith("Z"):
            return None
        import calendar  # noqa: PLC0415 (with its locale tables, only for systems without /proc)

        return float(calendar.timegm(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))


if sys.platform == "win32":  # pragma: no cover (not run on the machines of the test suite)
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED = 0x1000
    _SYNCHRONIZE = 0x100000
    _WAIT_OBJECT_0 = 0
    _UNIX_EPOCH = 11_644_473_600  # seconds from 1601, where Windows counts from

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel32.WaitForSingleObject.restype = wintypes.DWORD
    _kernel32.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    _kernel32.GetProcessTimes.argtypes = (wintypes.HANDLE, *(ctypes.POINTER(wintypes.FILETIME),) * 4)

    def _started_at_windows(pid: int) -> float | None:
        handle = _kernel32.OpenProcess(_QUERY_LIMITED | _SYNCHRONIZE, False, pid)
        if not handle:
            return None
        try:
            if _kernel32.WaitForSingleObject(handle, 0) == _WAIT_OBJECT_0:
                return None
            times = [wintypes.FILETIME() for _ in range(4)]
            if not _kernel32.GetProcessTimes(handle, *(ctypes.byref(moment) for moment in times)):
                return None
            ticks = (times[0].dwHighDateTime << 32) + times[0].dwLowDateTime
            return ticks / 10_000_000 - _UNIX_EPOCH
        finally:
            _kernel32.CloseHandle(handle)

    def _wait_exit_windows(pid: int, timeout: float) -> bool:
        handle = _kernel32.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            return True
        try:
            return bool(_kernel32.WaitForSingleObject(handle, int(timeout * 1000)) == _WAIT_OBJECT_0)
        finally:
            _kernel32.CloseHandle(handle)
