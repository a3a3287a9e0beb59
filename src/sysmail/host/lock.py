"""One change of a host at a time.

flock(2) on a file: the kernel gives it back when its holder ends, however it
ends. The file says who holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from sysmail.errors import RefusedError
from sysmail.host.told import told

__all__ = ["FileLock", "has_open", "is_locked"]


class FileLock:
    """An exclusive lock on ``path``; ``words`` say who holds it, ``wait``: seconds to try."""

    def __init__(self, path: str, words: str, wait: float) -> None:
        with told(path, "written"):
            # Whatever the shell of who runs us has: also for the programs that we run from now on,
            # and Postfix's have to get at a candidate's directories beside the lock.
            os.umask(0o022)
            folder = os.path.dirname(path)
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o755)  # noqa: S103 - what is secret in it has a mode of its own
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    holder = os.read(self._descriptor, 200).decode("utf-8", "replace").strip()
                    os.close(self._descriptor)
                    raise RefusedError(
                        "locked",
                        f"another sysmail is changing this host: {holder or 'unknown'}",
                        "wait until it is done, then retry",
                    ) from None
                time.sleep(0.1)
        with contextlib.suppress(OSError):  # held all the same where /run is full
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, words.encode(), 0)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def has_open(link: str, path: str) -> bool:
    """Whether a link in /proc/PID/fd is to this host's file: a container's reads the same."""
    try:
        return os.readlink(link) == path and os.path.samefile(link, path)
    except OSError:
        return False


def _is_open(path: str) -> bool:
    import glob  # looked for by proofs alone

    return any(has_open(link, path) for link in glob.iglob("/proc/[0-9]*/fd/*"))


def is_locked(path: str) -> bool:
    """Whether a process holds a lock of fcntl(2); a free one is taken for a moment.

    Also whether a process has the file open: libalpm's lock is that the file is there,
    and its process keeps it open; one that nobody has open is what a dead one left.
    """
    if _is_open(path):
        return True
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
