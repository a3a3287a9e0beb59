"""Runs a package manager in a folder that is not booted, without starting any service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .machine import call

_ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
    "SYSTEMD_OFFLINE=1",
]
_KEEP_STOPPED = "usr/sbin/policy-rc.d"

# The mounts live in a mount namespace of this one command: whatever happens to it, nothing
# stays mounted. The host name is the new host's, since maintainer scripts ask for it.
_SETUP = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t sysfs -o ro sysfs "$1/sys"
hostname "$2"
root=$1; shift 2
exec chroot "$root" "$@"
"""


@contextmanager
def services_kept_stopped(root: Path) -> Iterator[None]:
    """While inside, no maintainer script starts a service in `root`."""
    policy = root / _KEEP_STOPPED
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def chroot(
    root: Path, argv: Sequence[str], *, hostname: str = "base", netns: Path | None = None
) -> str:
    """Run a command in `root` and return its output. Raises LabError if it fails.

    `netns` is the network it has: the host's own, whose interfaces maintainer scripts ask for;
    None is the machine's, which only a base that is being built may use.
    """
    network = [] if netns is None else ["nsenter", f"--net={netns}", "--"]
    return call(
        [
            *network,
            *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", _SETUP, "sh", str(root), hostname, "env", "-i", *_ENVIRONMENT, *argv),
        ]
    )
