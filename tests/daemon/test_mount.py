"""What the systems say of a mount is read as they mean it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_local._daemon import mount

INFO = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:44 / /media/a\\040b rw,relatime shared:9 master:2 - nfs4 host:/a rw,vers=4.2
31 22 0:45 / /media/c rw - fuse.sshfs me@host:/c rw
32 22 0:46 / /opt ro,nosuid - squashfs /dev/loop1 ro
33 22 0:47 / /srv rw - ext4 /dev/sdb1 ro
34 22 0:48 / /opt rw - tmpfs tmpfs rw
broken line
"""
MAC = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//me@nas/share on /Volumes/my share (smbfs, nodev, nosuid, mounted by me)
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib", mount.MountKind("/", "ext4", False, False)),
        ("/media/a b/data", mount.MountKind("/media/a b", "nfs4", True, False)),
        ("/media/a bc", mount.MountKind("/", "ext4", False, False)),
        ("/media/c", mount.MountKind("/media/c", "fuse.sshfs", True, False)),
        ("/srv/x", mount.MountKind("/srv", "ext4", False, True)),
        ("/opt/x", mount.MountKind("/opt", "tmpfs", False, False)),  # the later one hides the first
    ],
)
def test_linux_says_it_in_mountinfo(path: str, expected: mount.MountKind) -> None:
    assert mount.from_mountinfo(INFO, Path(path)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr", mount.MountKind("/", "apfs", False, True)),
        ("/System/Volumes/Data/Users/me", mount.MountKind("/System/Volumes/Data", "apfs", False, False)),
        ("/Volumes/my share/data", mount.MountKind("/Volumes/my share", "smbfs", True, False)),
    ],
)
def test_macos_says_it_in_the_output_of_mount(path: str, expected: mount.MountKind) -> None:
    assert mount.from_mount_output(MAC, Path(path)) == expected


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a disk"
    folder.mkdir()
    tool = shutil.which("mount")
    made = tool and subprocess.run([tool, "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=False)
    if not made or made.returncode:
        pytest.skip("a tmpfs can be mounted on Linux, by root, only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_mount_of_this_machine_is_found_by_a_path_that_is_not_there_yet(read_only_disk: Path) -> None:
    assert mount.kind(read_only_disk / "x" / "y") == mount.MountKind(str(read_only_disk), "tmpfs", False, True)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own there")
def test_a_link_is_followed_to_where_the_files_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev")
    found = mount.kind(tmp_path / "link" / "sub")
    assert found.place == mount.kind(Path(os.path.realpath("/dev"))).place
