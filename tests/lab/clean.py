"""Takes away what a lab made: its processes, mounts, namespaces, control groups and files.

Everything a lab makes carries its id, `sml<process id of the owner>x<number>`. So this works for
a lab that is being closed, and as well for one whose owner was killed and could not close it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from .cache import cache_folder
from .cgroups import Cgroup, groups_named
from .disk import loops
from .machine import call, start_time, wait_until
from .mounts import remove_tree
from .network import NETNS_FOLDER

# In a lab's folder: the owner's process id and when that process started.
OWNER_FILE = "owner"
_ID = re.compile(r"^(sml(\d+)x\d+)(?:-|$)")


def run_folder() -> Path:
    """Where each lab has a folder of its own, beside the bases: overlays want a real disk."""
    return cache_folder() / "run"


def clean() -> list[str]:
    """Take away every lab whose owner is dead; returns their ids."""
    dead = sorted(lab for lab in _labs() if not _owner_lives(lab))
    for lab in dead:
        take_away(lab)
    return dead


def take_away(lab: str) -> None:
    """Take away everything of one lab, in the order in which it lets go."""
    for _ in range(3):  # a process may have started another one in between
        pids = _processes(lab)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            _reap(pid)
            wait_until(f"process {pid} is gone", lambda pid=pid: not start_time(pid), 10)  # type: ignore[misc]
    for name in groups_named(f"{lab}-"):
        Cgroup(name).remove()
    remove_tree(run_folder() / lab)
    for netns in NETNS_FOLDER.glob(f"{lab}-*"):
        call(["ip", "netns", "del", netns.name])


def traces(lab: str) -> list[str]:
    """Namespaces, mounts, folders and processes that have the lab's id in their names."""
    found = [
        f"{path}" for folder in (run_folder(), NETNS_FOLDER) for path in folder.glob(f"{lab}*")
    ]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if lab in line]
    found += [image for image in loops() if lab in image]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [f"{process.parent.name}: {words}"] if lab in words else []
    return found


def _reap(pid: int) -> None:
    # A child of ours stays a zombie until somebody asks for its end.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _labs() -> set[str]:
    names = [path.name for folder in (run_folder(), NETNS_FOLDER) for path in folder.glob("sml*")]
    names += groups_named("sml")
    return {match[1] for name in names if (match := _ID.match(name))}


def _owner_lives(lab: str) -> bool:
    match = _ID.match(lab)
    now = start_time(int(match[2])) if match else ""
    try:
        then = (run_folder() / lab / OWNER_FILE).read_text().strip()
    except OSError:
        # No folder any more, or not yet: then the process id alone has to do.
        return now != ""
    return now == then != ""


def _processes(lab: str) -> set[int]:
    """Whatever is in the lab's namespaces or control groups, or was started by its name."""
    namespaces = set()
    for path in NETNS_FOLDER.glob(f"{lab}-*"):
        with contextlib.suppress(OSError):
            namespaces.add(path.stat().st_ino)
    found = {pid for name in groups_named(f"{lab}-") for pid in Cgroup(name).pids()}
    machine = f"--machine={lab}-".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            inside = (process / "ns/net").stat().st_ino in namespaces
            if inside or machine in (process / "cmdline").read_bytes():
                found.add(int(process.name))
    return found - {os.getpid()}
