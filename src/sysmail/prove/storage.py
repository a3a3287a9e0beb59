"""The file system of the queue: mail needs room, names and a disk that can be written."""

from __future__ import annotations

from typing import Optional

from sysmail.prove.proof import Proof

__all__ = ["trouble"]

SHARE = 1.5
"""smtpd(8) answers 452 below so many times message_size_limit (``smtpd_space_multf``)."""

FEW = 50
"""Names: a message takes up to four at a time (its own, bounce, defer, trace)."""


def trouble(proof: Proof) -> Optional[tuple[str, str]]:
    """What keeps mail from being written down, and the remedy; None where nothing does."""
    path = proof.parameter("queue_directory")
    if not path:
        return None
    room = proof.reader.room(f"{path}/incoming")
    if room.read_only:
        return (
            f"the file system of {path} is mounted read-only: no mail can be taken",
            f"find out why (dmesg: a disk that failed is often remounted so), then "
            f"`mount -o remount,rw {path}`",
        )
    limit = proof.parameter("message_size_limit")
    needed = int(int(limit) * SHARE) if limit.isdigit() else 0
    if room.free < needed:
        return (
            f"the file system of {path} has {room.free // 1024} kB free: below "
            f"{needed // 1024} kB mail over SMTP is refused (452)",
            f"free space there (`df -h {path}`)",
        )
    if 0 <= room.inodes < FEW:
        return (
            f"the file system of {path} has room for {room.inodes} more files: no mail can be kept",
            f"remove files there (`df -i {path}`)",
        )
    return None
