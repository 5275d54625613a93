"""On what file system a path lies: locks may not hold on that of a network, and a read-only one keeps nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

_NETWORK = re.compile(
    "9p|acfs|afpfs|afs|beegfs|ceph|cifs|coda|davfs|drvfs|gfs2|glusterfs|lustre|ncpfs|nfs4?|ocfs2|prl_fs|smb[23]|smbfs"
    "|vboxsf|webdav"
    r"|fuse\.(\w*sshfs|s3fs|rclone|glusterfs\w*|ceph\w*|davfs2?|curlftpfs|vmhgfs-fuse|gvfs\w*|smbnetfs)"
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_REMOTE = 4
_READ_ONLY_VOLUME = 0x80000


class MountKind(NamedTuple):
    """The file system that a path lies on."""

    place: str
    """Where it is mounted."""
    type: str
    """The system's own word for it, `ext4` say; empty where the system does not tell."""
    network: bool
    """Whether other machines may use it at the same time: locks and shared memory do not hold between them."""
    read_only: bool


def kind(path: Path) -> MountKind:
    """Return what a path lies on, or the nearest folder above it that is there. Raises `OSError`; 0.1 ms on Linux."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))
    there = Path(os.path.realpath(there))
    if sys.platform == "linux":
        return from_mountinfo(Path("/proc/self/mountinfo").read_bytes(), there)
    if sys.platform == "win32":
        return _drive(there)
    import subprocess  # noqa: PLC0415 - 5 ms, and not needed on Linux

    output = subprocess.run(["/sbin/mount"], capture_output=True, check=True, timeout=10).stdout
    return from_mount_output(os.fsdecode(output), there)


def from_mountinfo(text: bytes, path: Path) -> MountKind:
    """Return what `/proc/self/mountinfo` says of an absolute path without links."""
    found: list[MountKind] = []
    for line in text.splitlines():
        own, _, system = line.partition(b" - ")
        fields, of_system = own.split(b" "), system.split(b" ")
        if len(fields) < 6 or len(of_system) < 3:
            continue
        place = os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), fields[4]))
        options = {*fields[5].split(b","), *of_system[2].split(b",")}
        found.append(_kind(place, of_system[0].decode("ascii", "replace"), read_only=b"ro" in options))
    return _nearest(found, path)


def from_mount_output(text: str, path: Path) -> MountKind:
    """Return what macOS's `mount` says of an absolute path without links: `DEVICE on PLACE (TYPE, OPTION, ...)`."""
    found: list[MountKind] = []
    for line in text.splitlines():
        match = re.fullmatch(r".+? on (/.*) \(([^()]*)\)", line)
        if match is not None:
            type_, *options = match[2].split(", ")
            # `local` is the kernel's own word for what no other machine serves
            mounted = _kind(match[1], type_, read_only="read-only" in options)
            found.append(mounted._replace(network=mounted.network or "local" not in options))
    return _nearest(found, path)


def _kind(place: str, type_: str, *, read_only: bool) -> MountKind:
    return MountKind(place, type_, _NETWORK.fullmatch(type_) is not None, read_only)


def _nearest(found: Iterable[MountKind], path: Path) -> MountKind:
    """Return the deepest place that holds the path; of two at one place the later one, which hides the other."""
    holding = [each for each in found if path.is_relative_to(each.place)]
    return max(reversed(holding), key=lambda each: len(each.place), default=MountKind("/", "", False, False))


def _drive(path: Path) -> MountKind:
    """Ask Windows for the kind of a path's drive."""
    import ctypes  # noqa: PLC0415 - 5 ms, and on Windows only

    # by name: only the type stubs of Windows have it
    kernel32: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009
    root = path.anchor or "C:\\"
    name, flags = ctypes.create_unicode_buffer(261), ctypes.c_uint32()
    told = kernel32.GetVolumeInformationW(root, None, 0, None, None, ctypes.byref(flags), name, len(name))
    network = root.startswith("\\\\") or kernel32.GetDriveTypeW(root) == _REMOTE
    return MountKind(root, name.value if told else "", network, bool(told and flags.value & _READ_ONLY_VOLUME))
