"""A disk of a host's own that can lose its power: ext4 on a loop device.

After `cut` nothing reaches the image any more, and what was not synced is not in it: the file
system is shut down without writing its journal (EXT4_IOC_SHUTDOWN, as xfstests do it for their
tests of power failures). Mounted again it replays its journal, as after a real cut. What the
kernel would write back by itself is held back as far as it lets us: commits of the journal that
nobody asks for come every ten minutes, and a process that syncs takes along only what it synced
and the metadata before it. A disk that lies about a sync is not what this can show.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from .machine import call, wait_until
from .mounts import mounts_under

SIZE = "3G"  # sparse: takes what is written
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), linux/ext4.h
_NOTHING_IS_WRITTEN = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
# Without barriers a sync does not wait for the machine's own disk; the order of writes stays.
_OPTIONS = "loop,noinit_itable,nobarrier,nodiscard,commit=600"


@dataclass(frozen=True)
class Disk:
    """`image` is the disk, `point` where it is mounted: both in a folder of the host's own."""

    image: Path
    point: Path

    def mount(self) -> None:
        """Make its file system the first time; nothing happens if it is mounted."""
        if mounts_under(self.point):
            return
        self.point.mkdir(parents=True, exist_ok=True)
        # Whoever has a mount namespace of its own meanwhile, such as `ip netns exec`, would keep
        # what is mounted here; of a shared mount it lets go when we do.
        call(["mount", "--bind", self.image.parent, self.image.parent])
        call(["mount", "--make-shared", self.image.parent])
        if not self.image.exists():
            call(["truncate", f"--size={SIZE}", self.image])
            lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
            call(["mkfs.ext4", "-q", "-F", "-N", "65536", "-E", lazy, self.image])
        call(["mount", "-o", _OPTIONS, self.image, self.point])

    def cut(self) -> None:
        """The power goes: from now on every access that needs the disk fails."""
        descriptor = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NOTHING_IS_WRITTEN))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Let go of it, and wait until the kernel has, too: mounted again it is read anew."""
        for point in mounts_under(self.point):
            call(["umount", point])
        wait_until(f"{self.image} is no loop device's", lambda: str(self.image) not in loops())
        for point in mounts_under(self.image.parent):
            call(["umount", "--lazy", point])  # the machine's own disk: no need to wait for that


def loops() -> list[str]:
    """The files behind the loop devices of the machine."""
    words = ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]
    return [line.strip() for line in call(words).splitlines()]
