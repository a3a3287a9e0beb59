"""Failures of the operating system as errors of sysmail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sysmail.errors import HostError

__all__ = ["FILE_REMEDY", "told"]

FILE_REMEDY = {
    13: "run sysmail as root",
    1: "the file may be immutable (lsattr shows an i): chattr -i it, then retry",
    16: "something is mounted there: unmount it, then retry",
    28: "the disk is full: free space or inodes (df -h, df -i), then retry",
    30: "the file system is mounted read-only: remount it, then retry",
    122: "a disk quota is used up: free space, then retry",
}
"""By errno(3), what to do about it."""


@contextlib.contextmanager
def told(path: str, doing: str) -> Iterator[None]:
    """Turn an OSError into a HostError with a stable code."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(
            "file-not-read"
            if doing == "read"
            else "file-not-removed"
            if doing == "removed"
            else "file-not-written",
            f"{path} could not be {doing}: {reason}",
            FILE_REMEDY.get(error.errno or 0, f"look at {path} and its file system, then retry"),
        ) from error
