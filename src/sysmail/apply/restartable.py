"""Whether Postfix, once it is stopped, would start again where the disk is full.

master(8) writes its process id into a file that it has emptied, and makes its sockets anew.
Measured with 3.7: with no block or no inode left it does not start ("cannot update lock file",
"cannot create file exclusively"), while one that runs goes on, and takes mail again once there
is room.
"""

from __future__ import annotations

from sysmail.errors import StepError
from sysmail.facts.model import Facts
from sysmail.host.port import Reader

__all__ = ["NEEDED", "NEEDED_FILES", "places", "require", "require_room"]

NEEDED = 256 * 1024
"""Bytes. Some blocks of it are used, by what Debian's unit copies for the chroot too."""

NEEDED_FILES = 50
"""Sockets, locks and what is copied, some of which was there before."""


def places(facts: Facts) -> list[str]:
    """Where a Postfix that starts writes; none where there is no Postfix."""
    if facts.postfix is None:
        return []
    return [facts.postfix["queue_directory"], facts.postfix["data_directory"]]


def require_room(reader: Reader, facts: Facts) -> None:
    """StepError where it would not start again, and so must not be stopped."""
    for path in places(facts):
        require(reader, path, "Postfix would not start again, and was not stopped")


def require(reader: Reader, path: str, otherwise: str) -> None:
    """StepError that says what is ``otherwise``, where there is no room at a path."""
    room = reader.room(path)
    if room.free < NEEDED:
        raise StepError(
            "disk-full",
            f"the file system of {path} has {room.free // 1024} kB free: {otherwise}",
            f"free space there (`df -h {path}`), then retry",
        )
    if 0 <= room.inodes < NEEDED_FILES:
        raise StepError(
            "no-inodes",
            f"the file system of {path} has room for {room.inodes} more files: {otherwise}",
            f"remove files there (`df -i {path}`), then retry",
        )
