"""A control group for each host.

Without one, two hosts that were started by the same process would share the group that nspawn
makes for its payload, and one host's systemd would account for the other's services.
Works on machines with the version 1 tree of systemd, with version 2, and with both.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

_TREES = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    """The trees in which systemd keeps its groups on this machine."""
    if (_TREES / "cgroup.procs").exists():
        return [_TREES]
    return [tree for tree in (_TREES / "systemd", _TREES / "unified") if tree.is_dir()]


@dataclass(frozen=True)
class Cgroup:
    """The groups named `name` in every tree that counts."""

    name: str

    def make(self) -> None:
        """Create them; they may exist."""
        for tree in _hierarchies():
            (tree / self.name).mkdir(exist_ok=True)

    def entering(self) -> list[str]:
        """Words to put before an argument list: they put the new process into the groups."""
        return _entering([tree / self.name for tree in _hierarchies()])

    def pids(self) -> set[int]:
        """Every process in the groups."""
        found: set[int] = set()
        for tree in _hierarchies():
            for procs in (tree / self.name).rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in procs.read_text().split())
        return found - {0}

    def remove(self) -> None:
        """Delete them; processes that have just been killed may take a moment to leave."""
        for tree in _hierarchies():
            for _ in range(100):
                top = tree / self.name
                groups = [path for path in top.rglob("*") if path.is_dir()] if top.is_dir() else []
                for group in sorted(groups, reverse=True):
                    with contextlib.suppress(OSError):
                        group.rmdir()
                with contextlib.suppress(OSError):
                    top.rmdir()
                if not top.exists():
                    break
                time.sleep(0.02)


def groups_named(prefix: str) -> list[str]:
    """Names of the groups that begin with `prefix`."""
    return sorted({path.name for tree in _hierarchies() for path in tree.glob(f"{prefix}*")})


def entering_host_of(leader: int) -> list[str]:
    """Like Cgroup.entering, for a group of its own below the top group of a booted systemd.

    Commands that a test runs in a host belong to no unit of it, as those of somebody who logged
    in on a host without logind. `leader` is the process id of that systemd on the machine.
    """
    groups: list[Path] = []
    for line in Path(f"/proc/{leader}/cgroup").read_text().splitlines():
        _, tree, path = line.split(":", 2)
        top = path.removesuffix("/init.scope").lstrip("/")
        if tree == "name=systemd":
            groups.append(_TREES / "systemd" / top)
        elif tree == "":
            unified = _TREES if (_TREES / "cgroup.procs").exists() else _TREES / "unified"
            groups.append(unified / top)
    return _entering([group / "lab.slice" for group in groups if group.is_dir()])


def _entering(groups: list[Path]) -> list[str]:
    script = 'for g in $0; do mkdir -p "$g"; echo $$ >"$g/cgroup.procs"; done; exec "$@"'
    return ["sh", "-c", script, " ".join(str(group) for group in groups)]
