"""The cache of what is made once and then shared: folders that no host ever writes to.

It is `$SYSMAIL_LAB_CACHE`, or /var/cache/sysmail-lab. A folder's name ends with a hash of what went
into it, so what changed is made anew under another name, and what nobody can use is deleted.
"""

from __future__ import annotations

import ast
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .machine import call
from .mounts import remove_tree


def cache_folder() -> Path:
    """Where everything that outlives a test run is kept."""
    return Path(os.environ.get("SYSMAIL_LAB_CACHE") or "/var/cache/sysmail-lab")


def meaning(source: Path) -> bytes:
    """Python source without its layout, comments and docstrings: those make nothing."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def made_once(target: Path, series: str, current: str, make: Callable[[Path], None]) -> Path:
    """Return `target`, filled by `make` if it is not there yet: by one process, and all or nothing.

    `series` begins the names of all folders beside it of which those that do not begin with
    `current` are out of date: they are deleted, but for what a host still uses.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.parent / f".{series}.lock"):
        if target.is_dir():  # somebody else made it while this run waited
            return target
        began = time.monotonic()
        print(f"lab: making {target.name} (once) ...", file=sys.stderr, flush=True)
        draft = target.parent / f".{series}-draft"
        remove_tree(draft)
        draft.mkdir()
        make(draft)
        # On the disk before it has its name: it is made without syncing, and outlives a crash.
        call(["sync", "--file-system", draft])
        draft.rename(target)
        for other in target.parent.glob(f"{series}-*"):
            if not other.name.startswith(current) and not _in_use(other):
                remove_tree(other)
        print(f"lab: {target.name} made in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _in_use(folder: Path) -> bool:
    """True if some overlay has the folder as a layer."""
    return any(f"{folder}" in line for line in Path("/proc/mounts").read_text().splitlines())
