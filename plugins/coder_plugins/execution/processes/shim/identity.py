"""Identity of a process: its id, when it started, and the boot of the machine in which both mean something."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Identity(NamedTuple):
    """One process, never mistaken for a later one with the same id.

    `started` is the system's own figure and only compared, never shown: clock ticks since the boot on Linux,
    microseconds since 1970 on macOS, 100 ns since 1601 on Windows. None of them moves when the clock is set.
    """

    pid: int
    started: int
    boot: str


def of(pid: int) -> Identity | None:
    """Return the identity of a running process, None when it has ended; a zombie has ended."""
    started = started_at(pid)
    return None if started is None else Identity(pid, started, boot_id())


def own() -> Identity:
    """Return the identity of this process."""
    found = of(os.getpid())
    if found is None:
        raise OSError("the system does not tell when this process started")
    return found


def of_child(pid: int) -> Identity:
    """Return the identity of a child of this process that was not waited for yet, and may have ended already."""
    return Identity(pid, _born(pid), boot_id())


def is_alive(identity: Identity) -> bool:
    """Tell whether this very process runs now."""
    return of(identity.pid) == identity


if sys.platform == "linux":
    _boot = ""

    def boot_id() -> str:
        """Return the id that the kernel drew at this boot."""
        global _boot  # noqa: PLW0603 (read once: it cannot change while this process lives)
        if not _boot:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import)
                _boot = file.read().strip()
        return _boot

    def read_stat(pid: int) -> list[bytes] | None:
        """Return the fields of `/proc/PID/stat` from the third (state) on, None when there is no such process."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (pathlib is slow to import)
                # the command's name may hold blanks and parentheses: only what follows the last one is fields
                return file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None

    def started_at(pid: int) -> int | None:
        """Return the start time of a running process, None when it has ended."""
        fields = read_stat(pid)
        # the first thread of a killed process may be a zombie while another still holds its files
        if fields is None or (fields[0] in (b"Z", b"X") and int(fields[17]) <= 1):
            return None
        return int(fields[19])

    def _born(pid: int) -> int:
        fields = read_stat(pid)
        return 0 if fields is None else int(fields[19])

elif sys.platform == "darwin":  # not run on the machines of the test suite
    import ctypes

    _TASK_INFO = 3  # PROC_PIDTBSDINFO
    _TASK_INFO_SIZE = 136
    _ZOMBIE = 5  # SZOMB

    _libc = ctypes.CDLL(None, use_errno=True)

    def boot_id() -> str:
        """Return the id that the kernel drew at this boot."""
        answer = ctypes.create_string_buffer(64)
        size = ctypes.c_size_t(len(answer))
        if _libc.sysctlbyname(b"kern.bootsessionuuid", answer, ctypes.byref(size), None, 0):
            raise OSError(ctypes.get_errno(), "cannot read kern.bootsessionuuid")
        return answer.value.decode("ascii")

    def started_at(pid: int) -> int | None:
        """Return the start time of a running process, None when it has ended."""
        info = ctypes.create_string_buffer(_TASK_INFO_SIZE)
        if _libc.proc_pidinfo(pid, _TASK_INFO, ctypes.c_uint64(0), info, _TASK_INFO_SIZE) != _TASK_INFO_SIZE:
            return None
        if int.from_bytes(info.raw[4:8], sys.byteorder) == _ZOMBIE:
            return None
        seconds = int.from_bytes(info.raw[120:128], sys.byteorder)
        return seconds * 1_000_000 + int.from_bytes(info.raw[128:136], sys.byteorder)

    def _born(pid: int) -> int:
        return started_at(pid) or 0  # of one that has ended the system does not tell it, and no other has 0

elif sys.platform == "win32":  # not run on the machines of the test suite
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED = 0x1000
    _SYNCHRONIZE = 0x100000
    _WAIT_OBJECT_0 = 0

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel32.WaitForSingleObject.restype = wintypes.DWORD
    _kernel32.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    _kernel32.GetProcessTimes.argtypes = (wintypes.HANDLE, *(ctypes.POINTER(wintypes.FILETIME),) * 4)

    def boot_id() -> str:
        """Return a constant: a start time in 100 ns since 1601 is of one boot already."""
        return "windows"

    def started_at(pid: int) -> int | None:
        """Return the start time of a running process, None when it has ended."""
        handle = _kernel32.OpenProcess(_QUERY_LIMITED | _SYNCHRONIZE, False, pid)
        if not handle:
            return None
        try:
            if _kernel32.WaitForSingleObject(handle, 0) == _WAIT_OBJECT_0:
                return None
            times = [wintypes.FILETIME() for _ in range(4)]
            if not _kernel32.GetProcessTimes(handle, *(ctypes.byref(moment) for moment in times)):
                return None
            return (times[0].dwHighDateTime << 32) + times[0].dwLowDateTime
        finally:
            _kernel32.CloseHandle(handle)

    def _born(pid: int) -> int:
        return started_at(pid) or 0
