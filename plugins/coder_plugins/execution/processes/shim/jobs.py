"""Job objects of Windows: all processes of a command in one thing that can be ended. Not run on Windows yet."""

from __future__ import annotations

import sys

KILL_ON_CLOSE = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
CREATE_SUSPENDED = 0x4


def name_of(mark: str) -> str:
    r"""Return the name of an attempt's job object; a backslash would be read as a namespace."""
    return "Local\\coder-local-" + mark.replace("\\", "_")


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
    _PROCESS_LIST = 3  # JobObjectBasicProcessIdList
    _TERMINATE_AND_QUERY = 0x8 | 0x4
    _MOST = 4096

    class _Limits(ctypes.Structure):
        """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

        _fields_ = (
            ("times", ctypes.c_int64 * 2),
            ("flags", wintypes.DWORD),
            ("working_set", ctypes.c_size_t * 2),
            ("active", wintypes.DWORD),
            ("affinity", ctypes.c_size_t),
            ("classes", wintypes.DWORD * 2),
            ("io", ctypes.c_uint64 * 6),
            ("memory", ctypes.c_size_t * 4),
        )

    class _Processes(ctypes.Structure):
        """JOBOBJECT_BASIC_PROCESS_ID_LIST, with room for many."""

        _fields_ = (("assigned", wintypes.DWORD), ("listed", wintypes.DWORD), ("pids", ctypes.c_size_t * _MOST))

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _ntdll = ctypes.WinDLL("ntdll")
    _kernel32.CreateJobObjectW.restype = wintypes.HANDLE
    _kernel32.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
    _kernel32.OpenJobObjectW.restype = wintypes.HANDLE
    _kernel32.OpenJobObjectW.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR)
    _kernel32.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
    _kernel32.QueryInformationJobObject.argtypes = (
        *(wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD),
        wintypes.LPVOID,
    )
    _kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    _kernel32.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)

    class Job:
        """One job object, open until `close`."""

        def __init__(self, handle: int) -> None:
            self._handle = handle

        @classmethod
        def create(cls, mark: str, *, kill_on_close: bool) -> Job:
            """Make the job of an attempt; with `kill_on_close`, the end of its last holder ends its processes."""
            handle = _kernel32.CreateJobObjectW(None, name_of(mark))
            if not handle:
                raise ctypes.WinError(ctypes.get_last_error())
            limits = _Limits(flags=KILL_ON_CLOSE if kill_on_close else 0)
            if not _kernel32.SetInformationJobObject(
                handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            ):
                raise ctypes.WinError(ctypes.get_last_error())
            return cls(handle)

        @classmethod
        def open(cls, mark: str) -> Job | None:
            """Open the job of an attempt, None when nobody holds it any more."""
            handle = _kernel32.OpenJobObjectW(_TERMINATE_AND_QUERY, False, name_of(mark))
            return cls(handle) if handle else None

        def adopt(self, process: int) -> None:
            """Put a process that was created suspended into the job, and let it run.

            All that it starts is in the job too; assigned while it runs, it could have started something before.
            """
            if not _kernel32.AssignProcessToJobObject(self._handle, process):
                raise ctypes.WinError(ctypes.get_last_error())
            _ntdll.NtResumeProcess(process)

        def pids(self) -> list[int]:
            """Return the ids of the processes in the job."""
            found = _Processes()
            _kernel32.QueryInformationJobObject(
                self._handle, _PROCESS_LIST, ctypes.byref(found), ctypes.sizeof(found), None
            )
            return list(found.pids[: found.listed])

        def terminate(self) -> None:
            """End every process in the job."""
            _kernel32.TerminateJobObject(self._handle, 1)

        def close(self) -> None:
            """Let go of the job."""
            _kernel32.CloseHandle(self._handle)
