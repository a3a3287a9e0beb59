"""What a path's file system allows, who holds a lock, and names that change without using space.

A part of ``Machine``, in a file of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time

from sysmail.host.port import Room
from sysmail.host.told import told

__all__ = ["Storage", "mount_point"]

# linux/fs.h: _IOR('f', 1, long), and the flags that lsattr(1) shows as i and a.
_GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
_UNCHANGEABLE = 0x10 | 0x20
UNLIMITED = 2**62


class Storage:
    """The half of the real host that is about its file systems."""

    def elapsed(self) -> float:
        """Seconds on a clock that nobody sets."""
        return time.monotonic()

    def room(self, path: str) -> Room:
        """What stands in the way of a change of a path, and how much fits beside it."""
        with told(path, "read"):
            return _room(path)

    def holder(self, path: str) -> str:
        """Who holds a lock of fcntl(2) on a file, or has a lock file open."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            form = "hhqqi4x"
            asked = struct.pack(form, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            said = struct.unpack(form, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        except OSError:
            return ""
        finally:
            os.close(descriptor)
        return "" if said[0] == fcntl.F_UNLCK else _named(said[4])

    def user_of(self, path: str) -> str:
        """A process that has a file open, such as ``pacman (pid 812)``."""
        from sysmail.host.lock import has_open  # only where a package manager may be at work

        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    if int(pid) != os.getpid() and has_open(f"/proc/{pid}/fd/{name}", path):
                        return _named(int(pid))
        return ""

    def keep(self, path: str, name: str) -> bool:
        """Give a file a second name; False where that cannot be, which is no failure."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            os.link(path, name, follow_symlinks=False)
            _sync(os.path.dirname(name))
        except OSError:
            return False
        return True

    def rename(self, path: str, name: str) -> None:
        """Give what is at ``path`` the name of something else, which goes."""
        with told(name, "written"):
            os.rename(path, name)
            _sync(os.path.dirname(name))


def _room(path: str) -> Room:
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    while folder != "/" and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    volume = os.statvfs(folder)
    files = volume.f_ffree if volume.f_files else -1  # btrfs counts none
    there = path if os.path.lexists(path) else folder
    stuck = next((each for each in (there, folder) if _is_unchangeable(each)), "")
    mounted = there == path and not os.path.isdir(path) and _is_mount_point(path)
    read_only = _is_read_only(folder) or (mounted and _is_read_only(path))
    nosuid = bool(os.statvfs(path if mounted else folder).f_flag & os.ST_NOSUID)
    return Room(
        device=os.stat(folder).st_dev,
        # Where no blocks are counted (ramfs, a tmpfs without a limit), nothing is known. Not
        # f_bfree: of that ext4 keeps up to 16 MB for itself, also from root (measured), and what
        # it keeps for root is none for Postfix, which counts like this.
        free=volume.f_bavail * volume.f_frsize if volume.f_blocks else UNLIMITED,
        inodes=files,
        read_only=read_only,
        immutable=stuck,
        mounted=mounted,
        mount=mount_point(path) if read_only or nosuid else "",
        nosuid=nosuid,
    )


def mount_point(path: str) -> str:
    """The mount point that a path, there or not, is below; a bind mount is one too."""
    real, points = os.path.realpath(path), _mount_points()
    while real != "/" and real not in points:
        real = os.path.dirname(real)
    return real


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_read_only(path: str) -> bool:
    """statvfs(3): also where only this mount of the file system is read-only."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _is_unchangeable(path: str) -> bool:
    """Whether chattr(1) made a file or a folder immutable or append-only."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        said = fcntl.ioctl(descriptor, _GET_FLAGS, b"\0" * struct.calcsize("l"))
    except OSError:
        return False  # a file system without such flags
    finally:
        os.close(descriptor)
    return bool(struct.unpack("l", said)[0] & _UNCHANGEABLE)


def _is_mount_point(path: str) -> bool:
    """Also a file that is mounted on a file."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return real in _mount_points()


def _mount_points() -> set[str]:
    """proc_pid_mountinfo(5); spaces are octal there."""
    with (
        contextlib.suppress(OSError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines,
    ):
        return {line.split()[4].replace("\\040", " ") for line in lines}
    return set()


def _named(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as handle:
            return f"{handle.read().strip()} (pid {pid})"
    except OSError as error:
        return f"pid {pid}" if error.errno == errno.ENOENT else "another process"
