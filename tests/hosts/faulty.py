"""Runs sysmail on a host whose disk is full from its n-th write on, really full.

Copied into the host and run there: `faulty.py NUMBER WHAT HOW WORDS...`. A write is a call of the
system of sysmail's that takes WHAT is lacking, or a program that it runs to change the host, or a
line that a package manager prints. Just before the NUMBER-th one the file system that it goes to
has nothing left, and so whoever else writes there finds it, too:

    space    a file takes all free blocks; writes and new folders fail
    inodes   empty files take all free inodes; new files, folders and links fail

HOW: `stays` fills it up again before each further write, and it is full when the command has ended;
`passes` frees it after this one write. The writes are listed in /run/faulty.writes: with a NUMBER
that is never reached all of them. `faulty.py free` makes room again, `faulty.py spare` takes inodes
of the disk away, so that few are left to be taken at once.

File systems are the host's disk and /run/sysmail, on which a small one is mounted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

DISK, RUN = "/", "/run/sysmail"
FILLER = ".full"
SPARED = "/.spared"
SPARE = 5000
"""More inodes than any change takes."""
BLOCK = 4096

# As they are before anything is counted.
fallocate, make, mkdir = os.posix_fallocate, os.open, os.mkdir


def take_space(point: str) -> None:
    """A file takes all blocks that are free."""
    descriptor = make(f"{point}/{FILLER}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        size = max(os.fstatvfs(descriptor).f_bfree * BLOCK, BLOCK)
        while size >= BLOCK:
            try:
                fallocate(descriptor, os.fstat(descriptor).st_size, size)
            except OSError:
                size = size // 2 // BLOCK * BLOCK
    finally:
        os.close(descriptor)


def take_inodes(point: str) -> None:
    """Empty files take all inodes that are free."""
    folder = Path(point) / FILLER
    with contextlib.suppress(OSError):
        mkdir(folder)
    number = len(list(folder.iterdir())) if folder.is_dir() else 0
    with contextlib.suppress(OSError):
        while True:
            os.close(make(f"{folder}/{number}", os.O_CREAT | os.O_EXCL, 0o600))
            number += 1


TAKE = {"space": take_space, "inodes": take_inodes}
CALLS = {"space": ("write", "mkdir"), "inodes": ("open", "mkdir", "symlink")}


def free() -> None:
    """Room is made."""
    for point in (DISK, RUN):
        filler = Path(point) / FILLER
        if filler.is_dir():
            shutil.rmtree(filler)
        else:
            filler.unlink(missing_ok=True)


def spare() -> None:
    """Take all inodes of the disk but some."""
    here = 0
    while os.statvfs(DISK).f_ffree > SPARE:
        folder = Path(SPARED) / str(here // 1000)
        folder.mkdir(parents=True, exist_ok=True)
        os.close(make(f"{folder}/{here}", os.O_CREAT, 0o600))
        here += 1


class Disk:
    """Counts writes, and is full at one of them."""

    def __init__(self, number: int, what: str, how: str) -> None:
        self.number, self.what, self.how = number, what, how
        self.count = 0
        self.log = open("/run/faulty.writes", "w", buffering=1)  # noqa: SIM115, PTH123

    def before(self, name: str, point: str) -> None:
        """One write, to one of the file systems."""
        self.count += 1
        self.log.write(f"{self.count} {name}\n")
        if self.count == self.number or (self.count > self.number and self.how == "stays"):
            TAKE[self.what](point)

    def after(self) -> None:
        """It is over."""
        if self.count == self.number and self.how == "passes":
            free()


def where(target: Any) -> str:
    """The path of what a call is about, and "" where that is on neither file system."""
    path = str(target)
    if isinstance(target, int):
        path = str(Path(f"/proc/self/fd/{target}").readlink())
    if not path.startswith("/") or path.startswith(("/proc/", "/dev/")):
        return ""
    if path.startswith("/run/") and not path.startswith(RUN + "/"):
        return ""
    return path


def point_of(path: str) -> str:
    """The file system of a path."""
    return RUN if path.startswith(RUN + "/") else DISK


def makes_a_file(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether open(2) is to make one; the other calls always take something."""
    if name != "open":
        return True
    return bool(arguments[1] & os.O_CREAT) and not os.path.lexists(arguments[0])


def arm(disk: Disk) -> None:
    """Let every write of sysmail's pass by the counter."""

    def armed(name: str, original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            path = where(arguments[1 if name == "symlink" else 0])
            counted = path != "" and makes_a_file(name, arguments)
            if counted:
                disk.before(f"{name} {path}", point_of(path))
            try:
                return original(*arguments, **named)
            finally:
                if counted:
                    disk.after()

        return call

    for name in CALLS[disk.what]:
        setattr(os, name, armed(name, getattr(os, name)))
    run = Machine.run

    def counted_run(self: Any, argv: Any, **named: Any) -> Any:
        words = " ".join(argv)[:80]
        tell = named.get("on_line")

        if tell is not None:

            def told(line: str) -> None:
                disk.before(f"{words}: {line[:60]}", DISK)
                tell(line)

            named["on_line"] = told
        disk.before(words, RUN if RUN in words else DISK)
        try:
            return run(self, argv, **named)
        finally:
            disk.after()

    setattr(Machine, "run", counted_run)  # noqa: B010 - a method of the class, for mypy


if __name__ == "__main__":
    if sys.argv[1] == "free":
        free()
    elif sys.argv[1] == "spare":
        spare()
    else:
        sys.path.insert(0, "/opt/sysmail/src")
        sys.dont_write_bytecode = True
        from sysmail.cli.main import main
        from sysmail.host.machine import Machine

        arm(Disk(int(sys.argv[1]), *sys.argv[2:4]))
        sys.exit(main(["--json", *sys.argv[4:]]))
